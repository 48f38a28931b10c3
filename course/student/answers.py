"""A student's own code asked on their own computer: in a process of its own, which may be ended."""

from __future__ import annotations

import contextlib
import math
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from course.checks import exchange
from course.checks.exchange import Answer, Call
from course.processes import end_with_parent

MOST_BYTES = 256 << 20
PATIENCE = 10
OUT_OF_TIME = -getattr(signal, "SIGXCPU", 0) or None
"""Status of a process that has used up its time."""


@dataclass(frozen=True)
class Process:
    """Starts inside.py beside the student's code."""

    seconds: float
    """Of computing for one call, after which it is ended; ten times as long it may wait, or sleep."""

    def __call__(self, given: bytes) -> tuple[bytes, str]:
        with tempfile.TemporaryDirectory(prefix="check-") as name:
            asked, answers, errors = (Path(name) / part for part in ("asked", "answers", "errors"))
            asked.write_bytes(given)
            with asked.open("rb") as stdin, answers.open("wb") as stdout, errors.open("wb") as stderr:
                # no threads: what is called between fork and exec is safe
                process = subprocess.Popen(
                    [sys.executable, "-I", "-B", str(exchange.INSIDE)],
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    preexec_fn=end_with_parent(),  # noqa: PLW1509
                )
                why = self._wait(process, answers)
            said = errors.read_text(encoding="utf-8", errors="replace")
            return answers.read_bytes(), why or self._why(process.returncode, said)

    def _wait(self, process: subprocess.Popen, answers: Path) -> str:
        """Nothing, or that no answer came in time."""
        size = -1
        try:
            while size < (size := answers.stat().st_size):  # as long as there are new answers
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE * self.seconds)
                    return ""
            return f"it did not end within {PATIENCE * self.seconds:g} s"
        finally:
            process.kill()
            process.wait()

    def _why(self, status: int, said: str) -> str:
        """In words, why it ended; nothing where all is well.  said: its errors."""
        if status == OUT_OF_TIME:
            return f"it did not end within {self.seconds:g} s"
        return exchange.why_ended(status, said) if status else ""


def ask(work: str, folders: Sequence[Path], calls: Sequence[Call], seconds: float) -> list[Answer]:
    """An answer of the code in `folders` to every call."""
    places = [str(folder.absolute()) for folder in folders]
    about = {"work": work, "folders": places, "seconds_each": max(1, math.ceil(seconds))}
    return exchange.ask(Process(seconds), about, calls, MOST_BYTES)
