"""What a page of a student's says, whoever wrote it: blocks of text under headings, pictures, links, code.

A README and a notebook become the same thing here, so that every check reads both alike.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Block:
    """One paragraph, table, code cell or output."""

    kind: str
    """heading, text, table, code or output."""
    text: str
    where: str
    """`README.md:12` or `gan.ipynb cell 3`."""
    section: str = ""
    """The headings above it, outermost first."""
    own: bool = True
    """False for a heading that the course handed out."""


@dataclass(frozen=True)
class Shown:
    """A picture that a page shows."""

    page: str
    """The file that shows it; a relative target begins in its folder."""
    where: str
    target: str = ""
    """Path or address; empty where the page holds the picture itself."""
    data: bytes | None = None
    alt: str = ""
    section: str = ""
    near: str = ""
    """The text just before it."""
    code: str = ""
    """That drew it, in a notebook."""


@dataclass(frozen=True)
class Link:
    target: str
    text: str
    where: str


@dataclass
class Page:
    """One README or notebook."""

    file: str
    blocks: list[Block] = field(default_factory=list)
    pictures: list[Shown] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What of it was not read."""
    headings: list[tuple[int, str]] = field(default_factory=list)
    """(level, text) of those above what is added next: in a notebook they hold for the cells that follow."""
    last_text: str = ""
    given: bool = False
    """Nothing on it but what the course handed out (handed_out.py)."""

    @property
    def section(self) -> str:
        return " / ".join(text for _, text in self.headings)

    @property
    def notebook(self) -> bool:
        return self.file.lower().endswith(".ipynb")


class TookTooLong(Exception):
    """The work inside `limited` needed more time than it had."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TookTooLong in the block after so many seconds: a page can be written to be slow to parse.

    Only in the main thread of a POSIX process; elsewhere the time of the whole student bounds it.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TookTooLong(f"takes longer than {seconds:g} s to parse")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
