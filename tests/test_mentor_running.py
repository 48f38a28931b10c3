"""`course grade --run`: checks of students' code in the sandbox, honest, wrong and hostile."""

from __future__ import annotations

import json
from pathlib import Path

from common.errors import InputError

import pytest
from grading import rows, run
from sandboxed import HANG, needs_sandbox
from student_repositories import Commit, build

from course import tasks
from course.command_line import ROOT
from course.mentor import grade, running, sandbox
from course.mentor.layout import Submission
from course.mentor.objects import File, Tree
from course.mentor.repositories import Reference
from course.mentor.sandbox import Limits

PAGE = {"README.md": "# Homework 4\n\n## Task\n\nDiffusion.\n"}
SECONDS = 20
"""Of computing: importing torch takes three."""


def solved(**changed: tuple[str, str]) -> dict[str, str]:
    """The homework as a student hands it in; changed: file of the homework -> (old text, new text)."""
    files = dict(PAGE)
    for path, text in tasks.homework_files(ROOT):
        if path.startswith(("common/", "hw4_diffusion/")):
            files[path] = tasks.cut(text, path, "none")
    for name, (old, new) in changed.items():
        path = f"hw4_diffusion/{name}.py"
        assert old in files[path]
        files[path] = files[path].replace(old, new, 1)
    return files


def notebook(*cells: str) -> str:
    made = [{"cell_type": "code", "source": each, "metadata": {}, "outputs": []} for each in cells]
    return json.dumps({"cells": made, "nbformat": 4, "nbformat_minor": 5, "metadata": {}})


FORGED = """
import json, os, sys
for number in range(3, 64):
    try:
        os.write(number, json.dumps({"arrays": []}).encode() + b"\\n")
    except OSError:
        pass
print("all checks passed: 30 of 30 points")
sys.modules["pytest"] = sys.modules["numpy.testing"] = sys
import numpy
numpy.allclose = numpy.array_equal = lambda *a, **k: True


def noised(x0, eps, alpha, sigma):
    return x0


def guided(with_class, without, scale):
    return with_class
"""
NOISED = "def noised(x0, eps, alpha, sigma):\n    return alpha * x0 + sigma * eps"
ENDLESS = "def noised(x0, eps, alpha, sigma):\n    while True:\n        pass\n"
FORKS = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n"
STUDENTS = {
    "good": solved(),
    "wrong": solved(diffusion=("alpha * eps - sigma * x0", "sigma * x0 - alpha * eps")),
    "starter": {
        **PAGE,
        **{path: tasks.cut(text, path, "hw4") for path, text in tasks.homework_files(ROOT)
           if path.startswith(("common/", "hw4_diffusion/"))},
    },
    "notebook": {**PAGE, "DDPM.ipynb": notebook("!pip install torch", NOISED, "train(")},
    "forger": {**PAGE, "diffusion.py": FORGED},
    "endless": {**PAGE, "diffusion.py": ENDLESS},
    "forks": {**PAGE, "diffusion.py": FORKS + "def noised(x0, eps, alpha, sigma): return x0\n"},
    "words": PAGE,
}  # fmt: skip


@pytest.fixture(scope="module")
def graded(tmp_path_factory) -> tuple[Path, int]:
    """The folder of grades of a group."""
    root = tmp_path_factory.mktemp("running")
    for name, files in STUDENTS.items():
        build(root / "group" / name, [Commit("homework_4", files)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grade, "WAIT", HANG)  # only computing counts here
        status = run(root / "group", "--out", root / "out", "--run", "--run-seconds", SECONDS, "--jobs", 2)
    return root / "out", status


def of(graded, student: str) -> dict[str, str]:
    """Title of a check -> status and words."""
    found = [row for row in rows(graded[0] / "checks.csv") if row["student_id"] == student]
    return {row["check"]: f"{row['status']}: {row['words']}" for row in found}


@needs_sandbox
def test_a_right_solution_has_all_points_of_what_is_asked(graded):
    assert graded[1] == 0
    found = of(graded, "good")
    assert set(found.values()) == {"right: "} and len(found) > 20
    page = (graded[0] / "feedback" / "good.en.md").read_text()
    assert "the code of hw4.b passes for 4 of 4 points" in page
    assert (
        "код hw4.b проходит проверки на 4 из 4 баллов" in (graded[0] / "feedback" / "good.ru.md").read_text()
    )


@needs_sandbox
def test_a_mistake_is_told_by_its_name_and_nothing_else_is_wrong(graded):
    found = of(graded, "wrong")
    wrong = {title: said for title, said in found.items() if said != "right: "}
    assert wrong == {"what to predict: v": "wrong: the sign is wrong: v is alpha eps - sigma x_0"}
    assert "v is alpha eps" in (graded[0] / "feedback" / "wrong.en.md").read_text()


@needs_sandbox
def test_starter_code_is_not_begun(graded):
    assert {said.split(":")[0] for said in of(graded, "starter").values()} == {"not begun"}


@needs_sandbox
def test_a_notebook_alone(graded):
    found = of(graded, "notebook")
    assert found["an image with noise"] == "right: " and "was not found" in found["guidance"]


@needs_sandbox
def test_forging_answers_gives_no_points(graded):
    found = of(graded, "forger")
    assert not [title for title, said in found.items() if said == "right: "]
    assert (graded[0] / "index.html").is_file()


@needs_sandbox
def test_code_that_never_ends_or_forks_costs_only_its_own_time(graded):
    assert "did not end within" in of(graded, "endless")["an image with noise"]
    forks = set(of(graded, "forks").values())
    assert not any(said == "right: " for said in forks)
    assert (of(graded, "words") and "right: " not in of(graded, "words").values()) or not of(graded, "words")


@needs_sandbox
def test_a_second_run_runs_nothing_and_says_the_same(graded, monkeypatch):
    out, _ = graded
    before = (out / "checks.csv").read_bytes()
    monkeypatch.setattr(sandbox, "ask", lambda *given: pytest.fail("it was run again"))
    assert run(out.parent / "group", "--out", out, "--run", "--run-seconds", SECONDS) == 0
    assert (out / "checks.csv").read_bytes() == before
    assert (out / "secret-seed").stat().st_mode & 0o077 == 0


def test_inputs_are_drawn_with_a_seed_of_each_folders_own(tmp_path):
    seeds = {running.secret_seed(tmp_path / name) for name in ("one", "two")}
    assert len(seeds) == 2 and running.secret_seed(tmp_path / "one") in seeds
    (tmp_path / "one").write_text("x")
    with pytest.raises(InputError, match="one: holds no number"):
        running.secret_seed(tmp_path / "one")


def test_without_a_sandbox_nothing_is_read_or_run(tmp_path, monkeypatch, capsys):
    build(tmp_path / "group" / "ivanov", [Commit("homework_4", STUDENTS["wrong"])])
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    assert run(tmp_path / "group", "--out", tmp_path / "out", "--run") == 2
    assert "no sandbox on this machine: install bubblewrap" in capsys.readouterr().err
    assert not list((tmp_path / "out" / "students").glob("*.json"))


def test_time_for_all_starts_has_an_end(monkeypatch):
    monkeypatch.setattr(sandbox, "refuse_without", lambda: None)
    asked = []

    def _run(command, given, limits):
        asked.append(limits.seconds)
        return b"", "late"

    monkeypatch.setattr(sandbox, "_run", _run)
    calls = [running.exchange.Call("f")] * 5
    found = sandbox.ask({}, {"module": "x"}, calls, Limits(seconds=10, seconds_in_all=0.0))
    assert asked == [] and found[0].why == "not asked: 0 s were over"
    sandbox.ask({}, {"module": "x"}, calls, Limits(seconds=10, seconds_in_all=1000))
    assert max(asked) <= 10


# ---- what is run


class Kept:
    """Objects whose names are their content."""

    def read(self, name: str, most: int) -> bytes:
        return name.encode()


def submission(how: str, folder: str, *paths: str) -> Submission:
    files = [File(path, "x = 1\n", "link" if path == "link.py" else "file") for path in paths]
    reference = Reference("homework_2", "0" * 40, "branch")
    own = [file for file in files if file.path.startswith(folder)]
    return Submission("hw2", reference, folder, how, own, Tree(files))


def test_python_of_the_work_and_what_it_shares_is_run_and_nothing_else():
    own, shared = "hw2_gan/net.py", "common/a.py"
    others = ("hw1_bayes/b.py", "tests/t.py", "course/c.py", "data.csv", "link.py", "venv/lib.py")
    paths = (own, shared, *others, "hw2_gan/\x1bname.py")
    assert set(running.program(submission("branch", "hw2_gan/", *paths), Kept())) == {own, shared}
    assert set(running.program(submission("folder", "hw2_gan/", *paths), Kept())) == {own}


def test_where_modules_are_looked_for():
    code = {"hw2/src/net.py": "", "hw2/pack/__init__.py": "", "hw2/pack/a.py": "", "b.py": ""}
    assert running.folders(code) == ["", "hw2", "hw2/src"]


def test_a_file_that_names_its_encoding_is_still_python_when_it_is_written():
    _, text = running._as_module("a.py", "# -*- coding: cp1251 -*-\nx = 'Иванов'\n".encode("cp1251"))
    names: dict = {}
    exec(compile(text.encode(), "a.py", "exec"), names)
    assert names["x"] == "Иванов"
