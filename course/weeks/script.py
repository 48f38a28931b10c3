"""One way of starting one homework script, as data."""

import re
import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Script:
    """One way of starting one homework script."""

    name: str
    """Unique; its log is called the same, and `{name}` in other arguments stands for its run directory."""
    file: str
    """The script, relative to the repository; the part before the first underscore is its week."""
    what: str
    """What a student sees by running it, in a few words."""
    data: str
    """The set it works on, for the table."""
    short: str | None
    """Arguments for a minute or so on two CPU cores; None: it belongs to the full run only."""
    full: str
    """Arguments for the numbers in the README."""
    shows: tuple[str, ...]
    """Numbers of its summary.json that the table shows; a run that does not measure them has failed."""
    keeps_figures: tuple[str, ...] = ("*",)
    """Which of its figures `course results` keeps beside its numbers, as shell patterns."""
    only_draws: bool = False
    """Figures are all it leaves, in a folder that it is given: no run directory of its own, no numbers."""

    @property
    def week(self) -> str:
        return self.file.split("_", 1)[0]

    def arguments(self, full: bool) -> list[str] | None:
        """Its command line's words, or None if the short run leaves it out."""
        text = self.full if full else self.short
        return None if text is None else shlex.split(text)

    def needs(self, full: bool) -> list[str]:
        """Names of the scripts whose run directories its arguments mention."""
        return re.findall(r"\{(\w+)\}", " ".join(self.arguments(full) or []))
