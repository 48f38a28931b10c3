"""How this process and one with a student's code exchange calls and answers: JSON and bytes of numbers,
nothing that could hold code."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

INSIDE = Path(__file__).with_name("inside.py")
KINDS = "fiub"
"""Of arrays that are exchanged: numbers alone."""
MOST_HEADER, MOST_STARTS = 1 << 16, 6
"""Bytes of what an answer says of itself; processes that may end before all is asked."""
FORGED = "its answer is no list of arrays: it was written to by something else"
ENDED = "it ended before it answered"


@dataclass(frozen=True)
class Call:
    """One function and what it is given."""

    name: str
    arrays: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True)
class Raised:
    """A call that ended in an exception."""

    kind: str
    said: str
    at: str
    """`networks.py:12` of the student's, or nothing."""
    importing: str = ""
    """The file of the student's whose import it ended, or nothing."""


@dataclass(frozen=True)
class Unfit:
    """A call that gave something else than arrays of numbers."""

    found: str
    """`None`, `str`, `list with NoneType in it`."""


@dataclass(frozen=True)
class Lost:
    """A call without an answer: the process ended in it, or met a limit."""

    why: str


Answer = list[np.ndarray] | Raised | Unfit | Lost
Run = Callable[[bytes], tuple[bytes, str]]
"""Starts inside.py with an input; what it wrote, and why it ended early (nothing if it did not)."""


def ask(run: Run, about: dict, calls: Sequence[Call], most: int) -> list[Answer]:
    """An answer to every call; one that ends the process is lost alone, those after it are asked anew.

    about: where things are inside; most: bytes of an answer."""
    found: list[Answer] = []
    ended = 0
    while (left := calls[len(found) :]) and ended < MOST_STARTS:
        written, why = run(request(about, left))
        answers, place = _read(written, most)
        found += answers[: len(left)]
        if len(answers) < len(left):
            forged = not why and place < len(written)
            found.append(Lost(FORGED if forged else why or ENDED))
            ended += not forged
    return found + [Lost(f"not asked: others before it ended {MOST_STARTS} times")] * (
        len(calls) - len(found)
    )


def why_ended(status: int, said: str) -> str:
    """Why a process ended with a status other than 0, or with minus the number of a signal; said: its errors,
    of which only an exception's last line is a reason."""
    if status < 0:
        return f"it was ended by signal {-status} ({signal.strsignal(-status)})"
    if "Traceback (most recent call last)" in said or said.startswith("bwrap:"):
        return said.strip().splitlines()[-1]
    return f"it ended with status {status}"


def request(about: dict, calls: Sequence[Call]) -> bytes:
    """The input of inside.py."""
    lines = [json.dumps({**about, "count": len(calls)}).encode() + b"\n"]
    bodies = []
    for call in calls:
        arrays = [np.asarray(array, order="C") for array in call.arrays]
        header = {"call": call.name, "arrays": [[array.dtype.str, list(array.shape)] for array in arrays]}
        lines.append(json.dumps(header).encode() + b"\n")
        bodies += [array.tobytes() for array in arrays]
    return b"".join(lines + bodies)


def read(content: bytes, most: int) -> list[Answer]:
    """The answers in what a process wrote, up to the first that is not whole or not what it says it is."""
    return _read(content, most)[0]


def _read(content: bytes, most: int) -> tuple[list[Answer], int]:
    """The answers, and where they end."""
    answers, place = [], 0
    while place < len(content):
        end = content.find(b"\n", place, place + MOST_HEADER)
        if end < 0:
            break
        try:
            answer, place = _answer(content, json.loads(content[place:end]), end + 1, most)
        except (ValueError, TypeError, KeyError, IndexError, RecursionError, AttributeError, MemoryError):
            break
        answers.append(answer)
    return answers, place


def _answer(content: bytes, header: dict, place: int, most: int) -> tuple[Answer, int]:
    """One answer, and where the next one begins.  ValueError and others for what is none."""
    if "raised" in header:
        return Raised(*(str(header[part]) for part in ("raised", "said", "at", "importing"))), place
    if "unfit" in header:
        return Unfit(str(header["unfit"])), place
    arrays, begin = [], place
    for name, shape in header["arrays"]:
        kind = np.dtype(name)
        if kind.kind not in KINDS or not all(isinstance(side, int) and 0 <= side <= most for side in shape):
            raise ValueError(name)
        size = kind.itemsize * int(np.prod([1, *shape], dtype=object))
        if size > most or place + size > len(content) or place + size - begin > most:
            raise ValueError(size)
        arrays.append(np.frombuffer(content[place : place + size], kind).reshape(shape))
        place += size
    return arrays, place
