"""From evidence to points and from points to the mark: suggestions by the rubric, the mentor's own marks
above them.

What could not be read is never counted as missing: it widens the suggestion to a range, whose lower end is
used until a mentor decides.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from common import atomic
from common.errors import InputError

from course.mentor import evidence, history
from course.mentor.rubric import Course, Rubric, Step

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEMPLATE = """# The mentor's own marks: they go before every suggestion, never changed by `course grade`.
#
# [ivanov]         # the student's id
# talk = 8         # points for the talk
# exam = 3         # points of the oral exam
# resit = true     # the homeworks count at most for the points of a resit
# note = "..."     # goes into the feedback
#
# [ivanov.hw2]
# cspup = 4.5      # a part of the work, as criteria.csv calls it
# total = 25       # or the whole work at once
# note = "..."
#
# ["Иванов-Иван".hw2]     # an id with other letters than Latin ones stands in quotes
# total = 20
"""
PERSONAL = {"talk", "exam", "resit", "note"}


@dataclass(frozen=True)
class PartPoints:
    """One part of a work: what the evidence suggests, and the mentor's mark if there is one."""

    id: str
    most: float
    low: float
    high: float
    mark: float | None = None

    @property
    def value(self) -> float:
        return self.low if self.mark is None else self.mark


@dataclass
class WorkPoints:
    """One work of one student."""

    work: str
    most: float
    status: str
    """not handed in, not accepted, could not be read, on time, late, unclear, no deadline."""
    parts: list[PartPoints] = field(default_factory=list)
    total: float | None = None
    """The mentor's mark for the whole work."""
    note: str = ""

    @property
    def value(self) -> float | None:
        """None where there is nothing to give points for: missing is not zero."""
        if self.total is not None:
            return self.total
        return sum(part.value for part in self.parts) if self.parts else None

    @property
    def high(self) -> float | None:
        if self.total is not None or not self.parts:
            return self.total
        return sum(part.high if part.mark is None else part.mark for part in self.parts)

    @property
    def marked(self) -> bool:
        """Whether the mentor has decided all of it."""
        return self.total is not None or (
            bool(self.parts) and all(part.mark is not None for part in self.parts)
        )


@dataclass
class Result:
    """One student's points and mark."""

    works: dict[str, WorkPoints]
    talk: float | None
    exam: float | None
    total: float
    letter: str
    mark: int
    rules: list[str]
    """Special rules that changed the total."""
    final: bool
    """Something was handed in, and all of it is marked by the mentor."""
    note: str = ""
    known: bool = True
    """False for a repository that could not be read and was not marked by hand: that is not 0 points."""


NOT_HANDED_IN, NOT_READ = "not handed in", "could not be read"


def half(points: float) -> float:
    """Rounded to halves, as mentors write them."""
    return round(2 * points) / 2


def suggest(items: dict[str, dict], names: list[str], most: float, optional: set[str]) -> tuple[float, float]:
    """Lowest and highest points for a part, by the share of its items that were found."""
    counted = [items[name]["status"] for name in names if name not in optional or len(names) == 1]
    found = sum(status == evidence.FOUND for status in counted)
    open_ = sum(status in (evidence.UNREADABLE, evidence.EXTERNAL) for status in counted)
    share = most / max(1, len(counted))
    return half(found * share), half((found + open_) * share)


def work_points(name: str, assessed: dict, marks: dict, course: Course, rubric: Rubric) -> WorkPoints:
    """Points of one work; `assessed` is the student's evidence."""
    most = next(work.points for work in course.works if work.id == name)
    own = marks.get(name, {})
    points = WorkPoints(name, most, NOT_HANDED_IN, total=own.get("total"), note=str(own.get("note", "")))
    if assessed["status"] != "read":
        points.status = NOT_READ
    found = assessed["works"].get(name)
    if found is not None:
        points.status = found["dates"]["status"] if found["dates"] else history.UNCLEAR
    accepted = found is not None and points.status != history.NOT_ACCEPTED
    marked = any(part.id in own for part in rubric.works[name].parts)
    if not accepted and not marked:
        return points
    optional = {item for item, each in rubric.items.items() if each.optional}
    for part in rubric.works[name].parts:
        low, high = suggest(found["items"], part.items, part.points, optional) if accepted else (0.0, 0.0)
        points.parts.append(PartPoints(part.id, part.points, low, high, own.get(part.id)))
    return points


def result(assessed: dict, marks: dict, course: Course, rubric: Rubric) -> Result:
    """All points of one student, and the mark by the course's scale with its special rules."""
    works = {name: work_points(name, assessed, marks, course, rubric) for name in rubric.works}
    talk, exam = marks.get("talk"), marks.get("exam")
    homework = sum(each.value or 0 for each in works.values())
    rules = []
    if marks.get("resit") and homework > course.grade.resit_homework_points:
        homework = course.grade.resit_homework_points
        rules.append(f"resit: the homeworks count for {homework:g} points at most")
    total = homework + (talk or 0)
    cap = course.grade.nothing_in_term_at_most
    if total > cap and talk is None and not _in_term(assessed, course):
        total = cap
        rules.append(f"nothing handed in during the term, and no talk: {cap:g} points at most")
    total += exam or 0
    step = mark_of(total, course)
    known = assessed["status"] == "read" or any(each.value is not None for each in works.values())
    note = str(marks.get("note", ""))
    with_points = [each for each in works.values() if each.value is not None]
    final = bool(with_points) and all(each.marked for each in with_points)
    return Result(works, talk, exam, total, step.letter, step.mark, rules, final, note, known)


def mark_of(points: float, course: Course) -> Step:
    return next(step for step in course.grade.scale if step.holds(points))


def _in_term(assessed: dict, course: Course) -> bool:
    until = history.end_of_day(course.grade.term_until, course.utc_offset_hours)
    dates = [work["dates"] for work in assessed["works"].values() if work["dates"]]
    return any(
        each["first_committed"] <= until or (each["first_seen"] or until + 1) <= until for each in dates
    )


def read_marks(path: Path, students: set[str], course: Course, rubric: Rubric) -> dict[str, dict]:
    """The mentor's marks; the file is made, with nothing in it, where there is none yet."""
    if not path.exists():
        with atomic.replacing(path, advice="name another folder by --out") as beside:
            beside.write_text(TEMPLATE, encoding="utf-8")
    try:
        marks = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML: {error}; correct it and start again") from None
    for student, own in marks.items():
        if student not in students:
            raise InputError(f"{path}: there is no student {student!r}; the ids are those of grades.csv")
        if not isinstance(own, dict):
            raise InputError(f"{path}: {student} must be a table: [{student}]")
        _check_marks(path, student, own, course, rubric)
    return marks


def _check_marks(path: Path, student: str, own: dict, course: Course, rubric: Rubric) -> None:
    talk = next((work.points for work in course.works if work.id == "talk"), 0)
    bounds = {"talk": (0, talk), "exam": course.grade.exam_points}
    for name, value in own.items():
        if name in bounds:
            _within(path, f"{student}.{name}", value, *bounds[name])
        elif name in rubric.works and isinstance(value, dict):
            most = {part.id: part.points for part in rubric.works[name].parts}
            most["total"] = sum(most.values())
            for part, points in value.items():
                if part != "note" and part not in most:
                    raise InputError(
                        f"{path}: [{student}.{name}] has {part!r}; its parts are {', '.join(most)}"
                    )
                if part != "note":
                    _within(path, f"{student}.{name}.{part}", points, 0, most[part])
        elif name not in PERSONAL:
            takes = ", ".join(sorted(PERSONAL))
            raise InputError(f"{path}: [{student}] has {name!r}; it takes {takes} and tables of works")


def _within(path: Path, name: str, value: object, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise InputError(f"{path}: {name} = {value!r}; points from {least:g} to {most:g} are meant")
