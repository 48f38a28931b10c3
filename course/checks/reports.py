"""What came of a homework's questions, by task, with points."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from course import tasks
from course.checks.questions import NOT_BEGUN, RIGHT, Question, Verdict
from course.command_line import ROOT
from course.tasks import Region, Task


@dataclass(frozen=True)
class TaskReport:
    """What came of one task."""

    task: Task
    verdicts: tuple[Verdict, ...]
    unwritten: tuple[Region, ...]
    """Places that still raise NotImplementedError."""

    @property
    def asked(self) -> int:
        """Questions, and places to be written that none of them reached."""
        return len(self.verdicts) + len(self.unreached)

    @property
    def unreached(self) -> list[Region]:
        reached = {each.words for each in self.verdicts if each.status == NOT_BEGUN}
        return [place for place in self.unwritten if f"{place.task}: {place.what}" not in reached]

    @property
    def right(self) -> int:
        return sum(each.status == RIGHT for each in self.verdicts)

    @property
    def points(self) -> float | None:
        """In halves, rounded down, so that all of them need everything right; None where nothing is asked."""
        return int(2 * self.task.points * self.right / self.asked) / 2 if self.asked else None


def homeworks() -> list[str]:
    """Those whose checks are here."""
    found = sorted(Path(__file__).parent.glob("*_adapter.py"))
    return [path.name.removesuffix("_adapter.py") for path in found]


def questions(homework: str, seed: int) -> list[Question]:
    return importlib.import_module(f"course.checks.{homework}").questions(seed)


def report(homework: str, verdicts: Sequence[Verdict], places: Sequence[Region]) -> list[TaskReport]:
    """The verdicts and the places that are still to be written, by task."""
    listed = tasks.listed((ROOT / tasks.LIST).read_text(encoding="utf-8"))
    return [
        TaskReport(
            task,
            tuple(each for each in verdicts if each.question.task == name),
            tuple(place for place in places if place.task == name),
        )
        for name, task in listed.items()
        if task.homework == homework
    ]


def as_data(homework: str, reports: Sequence[TaskReport]) -> dict:
    """For programs."""
    return {
        "homework": homework,
        "tasks": [
            {
                "task": each.task.name,
                "title": each.task.title,
                "points": each.points,
                "of": each.task.points,
                "checks": [
                    {"title": one.question.title, "status": one.status, "words": one.words,
                     "read": one.question.read}
                    for one in each.verdicts
                ],
                "unwritten": [f"{place.place}: {place.what}" for place in each.unwritten],
            }
            for each in reports
        ],
    }  # fmt: skip
