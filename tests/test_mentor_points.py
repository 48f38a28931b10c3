"""From evidence to points, and from points to the mark by the course's scale and its special rules."""

import re
from pathlib import Path

import pytest

from course.mentor import points, rubric, tables
from course.mentor.history import end_of_day

pytest.importorskip("resource", reason="limits as POSIX has them")
ROOT = Path(__file__).resolve().parent.parent
COURSE, RUBRIC, _ = rubric.read()


def test_what_could_not_be_read_widens_the_suggestion():
    items = {"a": {"status": "found"}, "b": {"status": "unreadable"}, "c": {"status": "missing"}}
    assert points.suggest(items, ["a", "b", "c"], 9, set()) == (3, 6)
    assert points.suggest(items, ["a"], 9, set()) == (9, 9)
    items["c"]["status"] = "external"
    assert points.suggest(items, ["a", "b", "c"], 9, set()) == (3, 9)
    assert points.suggest(items, ["a", "b", "c"], 9, {"b"}) == (4.5, 9), "what is optional does not count"


@pytest.mark.parametrize(
    ("total", "letter", "mark"),
    [
        *(
            (110, "A", 5),
            (88.5, "A", 5),
            (88, "B", 4),
            (79, "C", 4),
            (71, "D", 3),
            (66, "E", 3),
            (60, "E", 3),
        ),
        *((59.5, "FX", 2), (0, "FX", 2)),
    ],
)
def test_the_scale_of_the_course(total, letter, mark):
    step = points.mark_of(total, COURSE)
    assert (step.letter, step.mark) == (letter, mark)


def assessed(day: float, *works: str) -> dict:
    dates = {"status": "late", "first_committed": day, "first_seen": None}
    items = {name: {item: {"status": "found"} for item in RUBRIC.works[name].items} for name in works}
    return {
        "status": "read",
        "works": {name: {"dates": dates, "items": items[name]} for name in works},
        "main": {},
    }


ALL = ("hw1", "hw2", "hw3", "hw4", "lab8")
TERM = end_of_day(COURSE.grade.term_until, 3)


@pytest.mark.parametrize(
    ("day", "marks", "total", "rule"),
    [
        (TERM - 1, {}, 100, ""),
        (TERM + 1, {}, 70, "nothing handed in during the term"),
        (TERM + 1, {"talk": 5}, 105, ""),
        (TERM + 1, {"exam": 5}, 75, "nothing handed in during the term"),
        (TERM - 1, {"resit": True}, 60, "resit"),
        (TERM - 1, {"resit": True, "exam": 4}, 64, "resit"),
    ],
)
def test_the_special_rules(day, marks, total, rule):
    result = points.result(assessed(day, *ALL), marks, COURSE, RUBRIC)
    assert result.total == total
    assert rule in "; ".join(result.rules)


def test_work_pushed_after_the_last_day_gives_nothing():
    late = assessed(TERM + 1, "hw2")
    late["works"]["hw2"]["dates"]["status"] = "not accepted"
    result = points.result(late, {}, COURSE, RUBRIC)
    assert result.works["hw2"].value is None
    assert result.works["hw2"].status == "not accepted"


def test_points_and_parts_of_the_rubric_agree_with_the_course():
    for work in COURSE.works:
        if work.id in RUBRIC.works:
            assert sum(part.points for part in RUBRIC.works[work.id].parts) == work.points
    assert sum(work.points for work in COURSE.works) == 110


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "=cmd|' /C calc'!A0", "＝1"])
def test_no_cell_is_a_formula(cell):
    assert tables.plain(tables._one_line(cell))[0] in "'\\"


def test_nothing_handed_in_is_no_final_mark():
    result = points.result(assessed(TERM - 1), {}, COURSE, RUBRIC)
    assert (result.known, result.final) == (True, False)
    marked = points.result(assessed(TERM - 1), {"hw1": {"total": 0}}, COURSE, RUBRIC)
    assert marked.final, "the mentor has said 0"


def test_the_example_in_the_written_marks_is_right(tmp_path):
    path = tmp_path / "marks.toml"
    points.read_marks(path, set(), COURSE, RUBRIC)
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub("^# ?", "", text.partition("\n")[2], flags=re.MULTILINE), encoding="utf-8")
    marks = points.read_marks(path, {"ivanov", "Иванов-Иван"}, COURSE, RUBRIC)
    assert marks["Иванов-Иван"]["hw2"]["total"] == 20
