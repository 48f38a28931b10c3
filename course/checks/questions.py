"""A question to a student's code, and judging its answer in words that say what to do.

A judge knows what is right and what each typical mistake would give.  An answer that equals a mistake is
told by its name; any other wrong one by what it differs in.  Nothing here runs a student's code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from course.checks.exchange import Answer, Call, Lost, Raised, Unfit

Judge = Callable[[list[np.ndarray]], str | None]
"""Arrays -> what is wrong with them; None where nothing is."""
Values = np.ndarray | float | Sequence
NOT_THERE = re.compile(r"cannot import name '(?P<name>\w+)' from '(?P<module>[\w.]+)'")
RETURNS_NONE = "the function returns None; is a return missing?"
RIGHT, WRONG, NOT_BEGUN, FAILED = "right", "wrong", "not begun", "failed"


@dataclass(frozen=True)
class Question:
    """What one function of a task is asked."""

    task: str
    """`hw2.c`."""
    title: str
    """What is asked, in a few words: `the discriminator's loss`."""
    call: Call
    judge: Judge
    read: str
    """Where to read: a page and its heading."""


@dataclass(frozen=True)
class Verdict:
    """What came of a question."""

    question: Question
    status: str
    """RIGHT, WRONG, NOT_BEGUN or FAILED: an exception, or a limit."""
    words: str = ""
    """What is wrong, or why there is no answer."""


def verdict(question: Question, answer: Answer, work: str) -> Verdict:
    """Judge one answer."""
    if isinstance(answer, Lost):
        return Verdict(question, FAILED, answer.why)
    if isinstance(answer, Raised):
        return _of_exception(question, answer, work)
    if isinstance(answer, Unfit):
        strange = f"the function returns {answer.found[:100]}; numbers are expected"
        return Verdict(question, WRONG, RETURNS_NONE if answer.found == "None" else strange)
    if not all(np.isfinite(array).all() for array in answer):
        return Verdict(question, WRONG, "there are numbers that are not finite (nan or inf) in the answer")
    try:
        words = question.judge(answer)
    except (ValueError, IndexError, TypeError) as error:  # other arrays than any judge thought of
        words = f"the answer has an unexpected form ({error}); see its docstring for shapes"
    return Verdict(question, WRONG if words else RIGHT, words or "")


def _of_exception(question: Question, raised: Raised, work: str) -> Verdict:
    """NotImplementedError is work not begun; a missing name asks for the adapter."""
    if raised.kind == "NotImplementedError":
        return Verdict(question, NOT_BEGUN, raised.said)
    if not raised.at and "NoneType" in raised.said:  # where the checks go on with what was returned
        return Verdict(question, WRONG, RETURNS_NONE)
    missing = NOT_THERE.search(raised.said)
    if missing:
        path = missing["module"].replace(".", "/") + ".py"
        words = f"{path} has no {missing['name']}; say in check_{work}.py which of your functions it is"
    elif raised.kind == "LookupError" and f"check_{work}.py" in raised.said:
        words = raised.said
    elif raised.kind == "SystemExit" and raised.importing:
        name = raised.importing
        words = f'importing {name} ended the program: put what is to run under `if __name__ == "__main__":`'
    else:
        words = f"{raised.kind}: {raised.said}"
    return Verdict(question, FAILED, f"{words} ({raised.at})" if raised.at else words)


# ---- judges


def same(right: Values, mistakes: Mapping[str, Values] | None = None, *, tolerance: float = 1e-4) -> Judge:
    """The answer's one array equals `right`; mistakes: in words -> what the answer then is."""

    def judge(answer: list[np.ndarray]) -> str | None:
        if len(answer) != 1:
            return f"one array was expected, {len(answer)} came"
        return difference(answer[0], right, mistakes or {}, tolerance)

    return judge


def each(*judges: Judge) -> Judge:
    """One judge for each array of the answer; the first thing that is wrong."""

    def judge(answer: list[np.ndarray]) -> str | None:
        if len(answer) != len(judges):
            return f"{len(judges)} arrays were expected, {len(answer)} came"
        return next((words for one, array in zip(judges, answer) if (words := one([array]))), None)

    return judge


def named(name: str, judge: Judge) -> Judge:
    """The same judge, its words after the name of what it looks at."""
    return lambda answer: f"{name}: {words}" if (words := judge(answer)) else None


def shape_of(found: np.ndarray) -> str:
    return f"shape {tuple(found.shape)}"


def close(found: np.ndarray, other: Values, tolerance: float = 1e-4) -> bool:
    """Whether two arrays have one shape and the same numbers but for rounding."""
    other = np.asarray(other)
    scale = max(1.0, float(np.abs(other).max(initial=0)))
    return found.shape == other.shape and bool(
        np.abs(found.astype(float) - other.astype(float)).max(initial=0) <= tolerance * scale
    )


def difference(
    found: np.ndarray, right: Values, mistakes: Mapping[str, Values] | None = None, tolerance: float = 1e-4
) -> str | None:
    """In words, how an array differs from what is right; None where it does not."""
    right = np.asarray(right, dtype=float)
    if close(found, right, tolerance):
        return None
    for words, mistaken in (mistakes or {}).items():
        if close(found, mistaken, tolerance):
            return words
    if found.shape != right.shape:
        return f"expected {shape_of(right)}, found {shape_of(found)}{_lost_axes(found, right)}"
    return _relation(found.astype(float), right) or _first_difference(found.astype(float), right, tolerance)


def _lost_axes(found: np.ndarray, right: np.ndarray) -> str:
    """What a missing axis may mean."""
    if found.ndim < right.ndim:
        return "; you may have taken a mean or a sum over one axis too many"
    return "; a sum or a mean may be missing" if found.ndim > right.ndim else ""


def _relation(found: np.ndarray, right: np.ndarray) -> str | None:
    """A factor or a summand that all numbers share."""
    if right.size < 2 or not np.ptp(right) > 1e-6:
        return None
    large = np.abs(right) > 1e-3 * np.abs(right).max()
    ratios = found[large] / right[large]
    if np.ptp(ratios) < 1e-3 * max(1e-6, abs(ratios.mean())):
        ratio = ratios.mean()
        return (
            "the sign is wrong"
            if abs(ratio + 1) < 1e-3
            else f"every number is {ratio:.4g} times as large as it should be"
        )
    apart = found - right
    if np.ptp(apart) < 1e-3 * np.ptp(right):
        how = "large" if apart.mean() > 0 else "small"
        return f"every number is too {how} by {abs(apart.mean()):.4g}"
    return None


def _first_difference(found: np.ndarray, right: np.ndarray, tolerance: float) -> str:
    scale = max(1.0, float(np.abs(right).max(initial=0)))
    places = np.argwhere(np.abs(found - right) > tolerance * scale)
    place = tuple(int(i) for i in places[0])
    at = f" at {list(place)}" if place else ""
    share = f"; {len(places)} of {right.size} numbers differ" if right.size > 1 else ""
    return f"expected {right[place]:.5g}{at}, found {found[place]:.5g}{share}"


@dataclass
class Maker:
    """Collects the questions of a homework, with the task and the page that they have in common."""

    task: str = ""
    page: str = ""
    made: list[Question] = field(default_factory=list)

    def ask(self, title: str, call: str, inputs: Sequence[Values], judge: Judge, read: str) -> None:
        """One more question; `read`: a heading of the page, page#heading, or path/page#heading."""
        place = read if "#" in read else f"{self.page}#{read}"
        place = place if "/" in place else f"theory/en/{place}"
        arrays = tuple(np.asarray(each) for each in inputs)
        self.made.append(Question(self.task, title, Call(call, arrays), judge, place))
