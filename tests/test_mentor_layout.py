"""Where a homework lies, what its words, numbers, names and dates say, and what a mentor would remark."""

import datetime
import json
import re
from pathlib import Path

import pytest
from student_repositories import Commit, build, git, point, seconds, tree, write_object
from student_writing import picture

from course.mentor import (
    assessment,
    evidence,
    history,
    layout,
    numbers,
    rubric,
    said,
    words,
)
from course.mentor.history import Commit as Dated
from course.mentor.objects import shown
from course.mentor.students import Student

pytest.importorskip("resource", reason="limits as POSIX has them")
COURSE, RUBRIC, _ = rubric.read()
NAMES = RUBRIC.names


def assess(tmp_path: Path, commits: list[Commit], head: str = "main", source: str | None = None) -> dict:
    folder = build(tmp_path / "s", commits, head)
    student = Student("s", source or str(folder), "Иванов", "Иван")
    return assessment.assess(student, tmp_path / "m.git", COURSE, RUBRIC, "", None, assessment.Options())


def notebook(*cells: object, **more: object) -> bytes:
    return json.dumps({"cells": list(cells), "nbformat": 4, **more}).encode()


# ---- where a homework lies


@pytest.mark.parametrize(
    ("name", "work"),
    [
        *(
            (name, "hw1")
            for name in ("homework_1", "homework1", "Homework-1", "hw1", "HW_01", "HW-1", "hw_1")
        ),
        *(
            (name, "hw1")
            for name in ("1_homework", "HW_1.Bayes_stuff", "дз1", "ДЗ №1", "Домашняя работа 1", "homewrok_1")
        ),
        *(
            (name, "hw2")
            for name in ("student/homework_2", "feature/gan", "Лабораторная работа №2", "Homework 2: CSPup")
        ),
        *((name, "lab8") for name in ("lab8", "lab_8", "Lab-08", "lab_08_generative")),
        *(
            (name, None)
            for name in ("main", "master", "dev", "hw10", "homework_12", "week1", "v2", "h4ck", "fix", "")
        ),
    ],
)
def test_names_of_branches_and_folders(name, work):
    assert NAMES.work(name) == work


START = Commit("main", {"a": "1"})
PAGE = "# Homework\n\nSome words about the task of this homework.\n"


@pytest.mark.parametrize(
    ("commits", "place", "how"),
    [
        ([START, Commit("homework_1", {"README.md": PAGE})], "homework_1", "branch"),
        ([Commit("main", {"hw_1/README.md": PAGE, "README.md": "# Me"})], "main:hw_1/", "folder"),
        ([Commit("main", {"work/HW1/readme.MD": PAGE})], "main:work/HW1/", "folder"),
        ([START, Commit("hw1", {"hw1/README.md": PAGE, "x.py": "x"})], "hw1:hw1/", "branch"),
        (
            [START, Commit("refs/pull/3/head", {"hw1/README.md": PAGE})],
            "pull request 3:hw1/",
            "pull request",
        ),
        ([START, Commit("refs/remotes/origin/hw1", {"README.md": PAGE})], "origin/hw1", "branch"),
        ([Commit("main", {"README.md": "# Homework 1\n\nVAE on digits"})], "main", "title"),
        (
            [START, Commit("hw2", {"hw1/README.md": PAGE, "hw2/README.md": PAGE})],
            "hw2:hw1/",
            "carried folder",
        ),
    ],
)
def test_places_where_people_put_a_homework(tmp_path, commits, place, how):
    found = assess(tmp_path, commits)["works"]["hw1"]
    assert (found["place"], found["how"]) == (place, how)


def test_a_branch_that_carries_earlier_homeworks_shows_its_own(tmp_path):
    earlier = {"hw1/README.md": "# HW 1\n\nThe task of the first one.", "hw1/styles.py": "bayes = 1"}
    own = {"hw2/README.md": "# HW 2\n\nThe task of the second one.", "hw2/gan.py": "class Generator: pass"}
    found = assess(tmp_path, [START, Commit("hw2", {**earlier, **own})])["works"]["hw2"]
    assert found["place"] == "hw2:hw2/"
    assert found["items"]["files"]["places"] == ["hw2/gan.py"]


def test_the_same_homework_on_main_and_on_a_branch(tmp_path):
    commits = [
        Commit("hw1", {"README.md": PAGE}, date="2024-02-01"),
        Commit("main", {"hw1/README.md": PAGE + "More.", "README.md": "# Me"}, date="2024-03-01"),
    ]
    found = assess(tmp_path, commits)["works"]["hw1"]
    assert found["place"] == "hw1"
    assert found["others"] == ["newer than this one: main:hw1/", "main:hw1/ (folder)"]


def test_no_main_at_all(tmp_path):
    found = assess(
        tmp_path, [Commit("homework_2", {"README.md": PAGE, "gan.py": "x = 1"})], head="homework_2"
    )
    assert found["works"]["hw2"]["place"] == "homework_2"


def test_a_stale_page_on_top_is_not_the_homeworks(tmp_path):
    main = {"README.md": "# Ivanov\n\nThe data set is faces and the conclusions follow."}
    commits = [Commit("main", main), Commit("hw1", {"hw1/a.py": "x = 1"}, start="main")]
    items = assess(tmp_path, commits)["works"]["hw1"]["items"]
    assert items["readme"]["status"] == items["conclusions"]["status"] == "missing"


def test_only_a_link_to_kaggle_is_code_elsewhere(tmp_path):
    text = PAGE + "\nThe code: https://www.kaggle.com/code/me/gan\n"
    items = assess(tmp_path, [Commit("hw2", {"README.md": text})], head="hw2")["works"]["hw2"]["items"]
    assert items["files"]["status"] == "external"
    assert items["generator_code"]["status"] == "external"
    assert items["platform"]["status"] == "found"


# ---- words, numbers, names


@pytest.mark.parametrize(
    ("text", "term", "says"),
    [
        ("Наш набор данных", "набор дан", True),
        ("наборы даных", "набор дан", True),
        ("Эксперемент", "эксперимент", True),
        ("зелёный", "зелен", True),
        ("результат сравнения", "сравнен", True),
        ("lossy", "loss$", False),
        ("data", "date", False),
    ],
)
def test_terms_are_beginnings_of_words_with_a_slip_forgiven(text, term, says):
    assert (words.says(words.words(text), term) >= 0) is says


def test_names_in_code_are_taken_apart():
    assert {"cspupblock", "csp", "up", "block"} <= words.identifiers("class CSPUpBlock: pass")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("FID 45,93 and 0.75", [45.93, 0.75]),
        ("60 000 картинок", [60000]),
        ("10k images, 1,024 of them", [10000, 1024]),
        ("stylegan2 x3 v1", []),
        ("202599", [202599]),
    ],
)
def test_numbers_as_people_write_them(text, values):
    assert numbers.values(numbers.NUMBER.findall(text)) == values


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ivanov Ivan", True), ("Иванов И.", True), ("ИВАНОВ ИВАН", True), ("Студент: ivanov", True),
        ("Ivan", True), ("Курс генеративных моделей", False), ("Сидоров Пётр", False),
    ],
)  # fmt: skip
def test_a_name_in_either_alphabet(tmp_path, text, found):
    status = assess(tmp_path, [Commit("main", {"README.md": f"# Page\n\n{text}\n"})])["main"]["name"][
        "status"
    ]
    assert status == ("found" if found else "missing")


def test_a_metric_named_without_a_value_is_said(tmp_path):
    text = PAGE + "The threshold was chosen by eye. The TPR is 0,75.\n"
    items = assess(tmp_path, [Commit("hw1", {"README.md": text})], head="hw1")["works"]["hw1"]["items"]
    assert items["tpr"]["status"] == "found"
    assert items["threshold"] == {
        "status": "missing",
        "places": [],
        "note": "README.md:3: named without a value",
    }


# ---- dates

DEADLINE, LAST = seconds("2024-03-09") + 40_000, seconds("2024-06-22")


@pytest.mark.parametrize(
    ("authored", "committed", "seen", "status"),
    [
        ("2024-03-08", "2024-03-08", None, "on time"),
        ("2024-03-11", "2024-03-11", None, "late"),
        ("2024-03-08", "2024-03-20", None, "unclear"),
        ("2024-03-08", "2024-07-20", None, "not accepted"),
        ("2024-03-01", "2024-03-08", None, "unclear"),
        ("2030-01-01", "2030-01-01", "2024-03-08", "on time"),
        ("1999-01-01", "1999-01-01", None, "unclear"),
    ],
)
def test_what_dates_say(authored, committed, seen, status):
    commits = [Dated("a" * 40, seconds(authored), seconds(committed))]
    found = history.judge(commits, DEADLINE, LAST, seen and seconds(seen), now=seconds("2026-01-01"))
    assert found.status == status


def test_the_version_by_the_deadline_is_named():
    commits = [
        Dated("b", seconds("2024-03-20"), seconds("2024-03-20")),
        Dated("a", seconds("2024-03-01"), seconds("2024-03-01")),
    ]
    found = history.judge(commits, DEADLINE, LAST, None, now=seconds("2026-01-01"))
    assert (found.status, found.version_in_time, found.commits_in_time) == ("late", "a", 1)


def test_a_deadline_is_the_end_of_its_day_in_moscow():
    assert history.end_of_day(datetime.date(2024, 3, 9), 3) == pytest.approx(1710017999.999999)


# ---- remarks


def test_numbers_and_pictures_that_do_not_fit(tmp_path):
    cell = {"cell_type": "code", "source": "x", "outputs": [{"text": "fid: 45.9312"}]}
    text = PAGE + "FID is 45.93, MSE is 0.0265.\n\n![one](a.png) ![two](b.png)\n\n[code](train.ipynb)\n"
    files = {"README.md": text, "a.png": picture(1), "b.png": picture(1), "work.ipynb": notebook(cell)}
    assert assess(tmp_path, [Commit("hw1", files)], head="hw1")["works"]["hw1"]["remarks"] == [
        "one and the same picture is shown as one (README.md:6) and two (README.md:6)",
        "README.md:8 names train.ipynb, which is not there",
        "README.md:3: 0.0265 stands in no output of the notebooks",
    ]


def test_every_remark_has_its_russian():
    for line in (
        "one and the same picture is shown as one and two",
        "README.md:6 names train.ipynb, which is not there",
        "2 of 5 pictures; x.png: broken picture",
        "3 with a version, 1 without; r.txt: pip would refuse line 2 and 3 more",
        "/tmp/group/x: not a git repository",
        "took longer than 120 s: see --seconds",
        "homework_1: names that lead out of the folder or into .git, left out: 3",
        "a.ipynb: not read: not JSON: damaged or cut off",
        "gan.ipynb: too large: 200 MB (at most 48 MB are read)",
    ):
        assert said.translated(line)
        assert re.search("[а-я]{3}", said.line(line, "ru"))
    assert not said.translated("something new")


def test_a_slow_git_or_odd_objects_are_one_status(tmp_path):
    source = build(tmp_path / "s", [Commit("main", {"a": "1"})])
    blob = write_object(source, "blob", b"# Homework\n")
    names = sorted([b"README.md\n.png", "\u202ereadme.md".encode(), b"readme.md", b"../x"])
    point(
        source, "homework_1", write_object(source, "tree", tree([("100644", name, blob) for name in names]))
    )
    git(source, "pack-refs", "--all")
    found = assessment.assess(
        Student("s", str(source)), tmp_path / "m.git", COURSE, RUBRIC, "", None, assessment.Options()
    )
    assert found["status"] == "read"
    assert shown("\u202e") not in ("\u202e",)
    assert json.dumps(found)


def test_pictures_elsewhere_are_not_missing_and_lost_ones_are(tmp_path):
    text = PAGE + "![Loss](https://e.org/loss.png)\n\n![FID](fid.png)\n\n![Avatar](avatar.png)\n"
    files = {"README.md": text, "avatar.png": b"\x89PNG broken"}
    found = assess(tmp_path, [Commit("hw1", files)], head="hw1")["works"]["hw1"]
    status = {name: found["items"][name]["status"] for name in ("loss_curve", "metric_curve", "avatars")}
    assert status == {"loss_curve": "external", "metric_curve": "missing", "avatars": "unreadable"}
    assert found["remarks"] == ["README.md:6 shows fid.png, which is not there"]


def test_notes_are_russian_from_end_to_end():
    assert said.line("net.py: a link, which is not followed", "ru") == "net.py: ссылка, туда не заходим"
    assert said.line("a submodule, which is not followed", "ru") == "подмодуль git, туда не заходим"
    assert said.line("HW-2 (branch)", "ru") == "HW-2 (ветка)"
    for how in layout.ORDER:
        assert said.translated(f"hw2 ({how})")


def test_a_name_that_is_no_utf8_is_shown_by_its_bytes():
    assert shown(b"hw1_\xef\xf0".decode("utf-8", "surrogateescape")) == "hw1_\\xef\\xf0"


def test_a_quotation_from_the_middle_begins_with_a_whole_word_after_dots():
    text = "The network was trained for a very long time, and the conclusion is that it works."
    assert evidence._around(text, "conclusion") == "… a very long time, and the conclusion is that it works."
    assert evidence._around("A conclusion.", "conclusion") == "A conclusion."


def test_a_page_may_name_a_script_of_another_folder(tmp_path):
    text = PAGE + "[a](../common/data/captions.py#L3) [b](../common/lost.py) [c](my%20net.py)\n"
    files = {"hw1/README.md": text, "common/data/captions.py": "x = 1", "hw1/my net.py": "x = 1"}
    remarks = assess(tmp_path, [Commit("hw1", files)], head="hw1")["works"]["hw1"]["remarks"]
    assert remarks == ["hw1/README.md:4 names lost.py, which is not there"]
