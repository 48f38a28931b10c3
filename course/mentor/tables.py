"""The tables of a run: CSV that spreadsheets and nbgrader read, and Gradescope's JSON."""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common import atomic

from course.mentor import history
from course.mentor.evidence import MISSING
from course.mentor.objects import shown
from course.mentor.points import NOT_READ, Result, WorkPoints
from course.mentor.rubric import Course, Rubric, Work

ADVICE = "close the program that has it open, or name another folder by --out"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula."""


@dataclass
class Everything:
    """All that a run found."""

    course: Course
    rubric: Rubric
    assessed: dict[str, dict]
    results: dict[str, Result]
    alike: list[dict]
    """Pairs that share code or pictures (similarity.py)."""
    changed: list[str]

    def work(self, name: str) -> Work:
        return next(work for work in self.course.works if work.id == name)

    def missing(self, items: dict[str, dict], language: str) -> list[str]:
        """Titles of what was asked for and is not there; points hang on each of them."""
        asked = {name: self.rubric.items[name] for name in items}
        return [
            getattr(each.title, language)
            for name, each in asked.items()
            if items[name]["status"] == MISSING and not each.optional
        ]


def write(everything: Everything, out: Path) -> None:
    """Every table of the run."""
    _csv(out / "grades.csv", grades(everything))
    _csv(out / "criteria.csv", criteria(everything))
    _csv(out / "totals.csv", totals(everything))
    _csv(out / "similarity.csv", _alike(everything.alike))
    if ran := checks(everything):
        _csv(out / "checks.csv", ran)
    for student in everything.assessed:
        _text(out / "results" / f"{student}.json", json.dumps(gradescope(everything, student), indent=1))
    lines = "".join(f"- {line}\n" for line in everything.changed) or "Nothing changed since the last run.\n"
    _text(out / "changes.md", f"# Changes since the last run\n\n{lines}")


def plain(value: object) -> object:
    """A cell that no spreadsheet evaluates: what a student wrote may begin like a formula."""
    if not isinstance(value, str):
        return "" if value is None else value
    return f"'{value}" if value.startswith(FORMULA) else value


def grades(everything: Everything) -> list[dict]:
    """A row for each student and work, nbgrader's columns first; points are empty where nothing was handed
    in."""
    rows = []
    for student, each in everything.assessed.items():
        who = each["student"]
        for name, work in everything.results[student].works.items():
            found = each["works"].get(name)
            rows.append(
                {
                    "assignment": name,
                    "duedate": _day(everything.work(name).deadline, everything.course),
                    "timestamp": _time(found["dates"]["last_committed"])
                    if found and found["dates"]
                    else None,
                    "student_id": who["id"],
                    "last_name": who["last_name"],
                    "first_name": who["first_name"],
                    "email": who["email"],
                    "raw_score": work.value,
                    "late_submission_penalty": None if work.value is None else 0,
                    "score": work.value,
                    "max_score": work.most,
                    "status": work.status,
                    "marked_by": _marked_by(work),
                    "could_be": work.high,
                    "place": found["place"] if found else None,
                    "commit": found["commit"] if found else None,
                    "trouble": each.get("trouble"),
                }
            )
    return rows


def _marked_by(work: WorkPoints) -> str | None:
    if work.value is None:
        return None
    return "mentor" if work.marked else "suggested"


def criteria(everything: Everything) -> list[dict]:
    """A row for each item of each work that was found."""
    rows = []
    for each in everything.assessed.values():
        parts = lambda name: {
            item: part.id for part in everything.rubric.works[name].parts for item in part.items
        }
        places = [("main", each["main"], {})]
        places += [(name, work["items"], parts(name)) for name, work in each["works"].items()]
        for name, items, part in places:
            for item, found in items.items():
                rows.append(
                    {
                        "student_id": each["student"]["id"],
                        "work": name,
                        "part": part.get(item, "form"),
                        "item": item,
                        "title": everything.rubric.items[item].title.en,
                        "status": found["status"],
                        "where": "; ".join(found["places"]),
                        "note": found["note"],
                    }
                )
    return rows


def checks(everything: Everything) -> list[dict]:
    """A row for each check of each student's code that was run."""
    return [
        {
            "student_id": student,
            "work": name,
            "task": task["task"],
            "check": one["title"],
            "status": one["status"],
            "words": shown(one["words"], 500),
            "read": one["read"],
        }
        for student, each in everything.assessed.items()
        for name, work in each["works"].items()
        for task in work.get("checks", {"tasks": []})["tasks"]
        for one in task["checks"]
    ]


def totals(everything: Everything) -> list[dict]:
    """A row for each student: points, the mark by the scale, and which special rules were applied."""
    rows = []
    for student, each in everything.assessed.items():
        result = everything.results[student]
        rows.append(
            {
                "student_id": student,
                "last_name": each["student"]["last_name"],
                "first_name": each["student"]["first_name"],
                **{name: work.value for name, work in result.works.items()},
                "talk": result.talk,
                "exam": result.exam,
                "total": result.total if result.known else None,
                "letter": result.letter if result.known else None,
                "mark": result.mark if result.known else None,
                "rules": "; ".join(result.rules),
                "state": _state(result),
                "trouble": each.get("trouble"),
            }
        )
    return rows


def _state(result: Result) -> str:
    if not result.known:
        return NOT_READ
    return "marked" if result.final else "suggested"


def _alike(pairs: list[dict]) -> list[dict]:
    keys = ("kind", "first", "second", "share", "first_place", "second_place", "note")
    return [{key: pair.get(key) for key in keys} for pair in pairs] or [dict.fromkeys(keys)]


def gradescope(everything: Everything, student: str) -> dict:
    """results.json as Gradescope's autograders write it."""
    result, tests = everything.results[student], []
    for name, work in result.works.items():
        items = everything.assessed[student]["works"].get(name, {}).get("items", {})
        for part in work.parts:
            wanted = next(each for each in everything.rubric.works[name].parts if each.id == part.id)
            output = "\n".join(
                f"{everything.rubric.items[item].title.en}: {items[item]['status']}"
                for item in wanted.items
                if item in items
            )
            title = f"{name}: {wanted.title.en}"
            tests.append({"name": title, "score": part.value, "max_score": part.most, "output": output})
    score = sum(work.value or 0 for work in result.works.values())
    return {"score": score, "visibility": "visible", "tests": tests}


def _csv(path: Path, rows: Iterable[dict]) -> None:
    """Every cell quoted, none a formula; the mark of UTF-8 for spreadsheets that expect it."""
    rows = list(rows)
    columns = list(rows[0]) if rows else []
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if (cell := plain(_one_line(value))) is None else cell for value in row.values()])
    _text(path, text.getvalue(), encoding="utf-8-sig")


def _one_line(value: object) -> object:
    return shown(value, 2000) if isinstance(value, str) else value


def _text(path: Path, text: str, encoding: str = "utf-8") -> None:
    with atomic.replacing(path, advice=ADVICE) as beside:
        beside.write_bytes(text.encode(encoding, "backslashreplace"))


def _day(day: datetime.date | None, course: Course) -> str | None:
    return None if day is None else _time(history.end_of_day(day, course.utc_offset_hours))


def _time(seconds: float) -> str:
    """In UTC, as nbgrader writes it."""
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    except (OverflowError, OSError, ValueError):
        return ""
    return moment.strftime("%Y-%m-%d %H:%M:%S")
