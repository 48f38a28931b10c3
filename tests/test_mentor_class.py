"""A class of forty: the evidence against what is known by construction, and a second run."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from grading import rows, run
from student_class import FOUND, invent

from course.mentor import rubric

pytest.importorskip("resource", reason="limits as POSIX has them")
ROOT = Path(__file__).resolve().parent.parent
COURSE, RUBRIC, _ = rubric.read()


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The class, the folder of its grades, and what the command returned."""
    root = tmp_path_factory.mktemp("class")
    group = invent(root / "repositories")
    lines = ["student_id,last_name,first_name,repository"]
    lines += [f"{each.id},{each.last_name},{each.first_name},{each.folder}" for each in group]
    (root / "students.csv").write_text("\n".join(lines), encoding="utf-8")
    return group, root, run(root / "students.csv", "--out", root / "grades")


def evidence(root: Path, student: str) -> dict:
    return json.loads((root / "grades" / "students" / f"{student}.json").read_text())


def test_every_student_is_read(graded):
    group, root, status = graded
    assert status == 0
    assert [row["student_id"] for row in rows(root / "grades" / "totals.csv")] == [each.id for each in group]
    for each in group:
        assert evidence(root, each.id)["works"].keys() == each.works.keys(), each


def test_the_evidence_agrees_with_what_is_there(graded):
    """Precision and recall of every item over forty students, two works each."""
    group, root, _ = graded
    right, wrong, lost = Counter(), Counter(), Counter()
    for each in group:
        found = evidence(root, each.id)["works"]
        for work, handed in each.works.items():
            for item, truth in handed.truth.items():
                there = found[work]["items"][item]["status"] == FOUND
                right[item] += there and truth == FOUND
                wrong[item] += there and truth != FOUND
                lost[item] += not there and truth == FOUND
    for item in {*right, *wrong, *lost}:
        precision = right[item] / max(1, right[item] + wrong[item])
        recall = right[item] / max(1, right[item] + lost[item])
        assert min(precision, recall) >= 0.95, f"{item}: precision {precision:.2f}, recall {recall:.2f}"


def test_late_works_and_missing_names_are_told(graded):
    group, root, _ = graded
    table = rows(root / "grades" / "grades.csv")
    statuses = {(row["student_id"], row["assignment"]): row["status"] for row in table}
    for each in group:
        assert (evidence(root, each.id)["main"]["name"]["status"] == FOUND) == each.named, each
        for work in each.works:
            deadline = next(w.deadline for w in COURSE.works if w.id == work)
            expected = "no deadline" if deadline is None else "on time" if each.on_time else "late"
            assert statuses[each.id, work] == expected, (each, work)
    assert set(statuses.values()) == {"on time", "late", "no deadline", "not handed in"}


def test_copies_are_found_however_they_are_disguised_and_nothing_else(graded):
    """Precision and recall 1 over all 780 pairs; notebooks of phrases alone may be the same to the letter."""
    group, root, _ = graded
    found = {
        frozenset((row["first"], row["second"]))
        for row in rows(root / "grades" / "similarity.csv")
        if row["kind"] == "code" and (row["note"] != "the very same file" or "training" in row["first_place"])
    }
    assert found == {frozenset((each.id, each.copied_from)) for each in group if each.copied_from}


def test_the_hostile_ones_do_no_harm(graded):
    group, root, _ = graded
    hostile = [each.id for each in group if each.kind == "hostile"]
    assert len(hostile) == 2 and not (root / "repositories" / "it-was-run").exists()
    page = (root / "grades" / "index.html").read_text()
    assert (
        "<script>alert" not in page
        and 'href="javascript' not in page
        and "evil.example/x.whl" not in re.findall(r'(?:href|src)="([^"]*)"', page)
    )
    for table in (root / "grades").glob("*.csv"):
        for row in rows(table):
            assert not [cell for cell in row.values() if cell and cell.startswith(("=", "+", "-", "@"))]


def test_a_second_run_reads_nothing_anew(graded, capsys):
    _, root, _ = graded
    before = {path: path.read_bytes() for path in (root / "grades").glob("*.csv")}
    assert run(root / "students.csv", "--out", root / "grades") == 0
    printed = capsys.readouterr().out
    assert printed.count("(unchanged)") == 40
    assert "0 of them new or changed" in printed
    assert {path: path.read_bytes() for path in before} == before


def test_pages_and_feedback_of_everyone_are_there(graded):
    group, root, _ = graded
    for each in group:
        russian = (root / "grades" / "feedback" / f"{each.id}.ru.md").read_text()
        english = (root / "grades" / "feedback" / f"{each.id}.en.md").read_text()
        assert russian.count("\n## ") == english.count("\n## ") == 6
        assert russian.count("|---|") == english.count("|---|")
    page = (root / "grades" / "index.html").read_text()
    assert page.count("<article") == 40
