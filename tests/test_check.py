"""`course check` on students' folders: their layouts, notebooks, starter code, and what cannot be checked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

from common.errors import InputError

import pytest

from course import tasks
from course.checks import exchange, notebook_code, questions
from course.command_line import ROOT
from course.student import answers, check
from theory.pages import read_page

BLOCK = """
import torch
import torch.nn.functional as F
from torch import nn


class CSPupBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        half = channels // 2
        self.left = nn.ConvTranspose2d(half, half, 4, 2, 1)
        self.conv1 = nn.Conv2d(half, half, 1)
        self.up = nn.ConvTranspose2d(half, half, 4, 2, 1)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1)
        self.conv3 = nn.Conv2d(half, half, 3, padding=1)

    def forward(self, x):
        left, right = x.chunk(2, 1)
        right = {RIGHT}
        return self.left(left) + self.conv3(F.relu(self.conv2(right)))
"""
GOOD = BLOCK.replace("{RIGHT}", "self.up(F.relu(self.conv1(right)))")
BAD = BLOCK.replace("{RIGHT}", "F.relu(self.up(self.conv1(right)))")
AFTER = "the right half goes through ReLU before it is enlarged; yours after"


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    status = check.main([*map(str, arguments)])
    said = capsys.readouterr()
    return status, re.sub(r"\s+", " ", said.out), said.err


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def notebook(path: Path, *cells: str) -> None:
    content = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [
            {"cell_type": "code", "source": cell.splitlines(keepends=True), "outputs": [], "metadata": {}}
            for cell in cells
        ],
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_wrong_block_in_a_file_of_the_students_own(tmp_path, capsys):
    """No folder hw2_gan, no common: what is there is found, what is not is asked for."""
    status, out, _ = run(capsys, "hw2", write(tmp_path / "мой код", model=BAD), "--junit", tmp_path / "x.xml")
    assert status == 1 and AFTER in out and "hw2.a 2.5 of 5 points" in out
    assert "read theory/en/layers.md#the-cspup-block" in out
    assert "not found: upsample" in out and out.count("check_hw2.py") == 1
    assert "cspup_generator: no file defines CSPupGenerator" in out
    assert f"Copy {ROOT / 'course/checks/hw2_adapter.py'} as {tmp_path / 'мой код' / 'check_hw2.py'}" in out
    assert out.startswith(f"hw2 in {tmp_path / 'мой код'} hw2.a")
    cases = ElementTree.parse(tmp_path / "x.xml").getroot().iter("testcase")
    failed = {case.get("name"): case[0].get("message") for case in cases if len(case)}
    assert failed["its output"] == AFTER and "gradients" not in failed


def test_other_names_are_asked_for_and_taken_from_the_students_adapter(tmp_path, capsys):
    folder = write(tmp_path, net__layers=GOOD.replace("CSPupBlock", "CspUpBlok"), net____init__="")
    _, out, _ = run(capsys, "hw2", folder)
    assert "is it CspUpBlok in net/layers.py:7?" in out
    adapter = (
        "def cspup_block(channels):\n    from net.layers import CspUpBlok\n    return CspUpBlok(channels)\n"
    )
    write(folder, check_hw2=adapter)
    _, out, _ = run(capsys, "hw2", folder)
    assert "hw2.a 5 of 5 points" in out


def test_definitions_of_a_notebook_are_checked_and_nothing_of_it_is_run(tmp_path, capsys):
    head, body = BAD.split("\n\n\n")
    notebook(
        tmp_path / "Домашка 2.ipynb",
        "%matplotlib inline\n!pip install torch\n" + head,
        "from google.colab import drive\ndrive.mount('/content')",
        "%%time\n" + body,
        "raise SystemExit('training would begin here')",
        "%%bash\nrm -rf /nowhere",
        "this is not Python",
    )
    status, out, _ = run(capsys, "hw2", tmp_path)
    assert status == 1 and AFTER in out


def test_code_that_ends_its_process_is_named_and_the_rest_is_asked(tmp_path, capsys):
    folder = write(
        tmp_path,
        hw2_gan__networks=GOOD + "\n\ndef upsample(channels, kind):\n    import os\n    os._exit(3)\n",
        hw2_gan____init__="",
    )
    status, out, _ = run(capsys, "hw2", folder, "--all")
    assert status == 1 and "right its output" in out and "it ended with status 3" in out
    assert "hw2_gan/networks.py has no CSPupGenerator" in out


def test_code_that_never_ends_is_ended_and_named(tmp_path, capsys):
    endless = "def minimax_generator(fake):\n    while True:\n        pass\n"
    folder = write(tmp_path, common__adversarial=endless, common____init__="")
    status, out, _ = run(capsys, "hw2", folder, "--seconds", "8")
    assert status == 1 and "it did not end within 8 s" in out


def test_a_forgotten_return_is_told_and_every_other_question_is_asked(tmp_path, capsys):
    losses = "def cross_entropy_discriminator(*given):\n    given[0].exp()\n"
    names = [f"{kind}_{player}" for player, kinds in {
        "discriminator": ("least_squares", "hinge", "wasserstein"),
        "generator": ("minimax", "non_saturating", "least_squares", "linear"),
    }.items() for kind in kinds]  # fmt: skip
    losses += "".join(f"def {name}(*given):\n    pass\n" for name in names)
    folder = write(tmp_path, common__adversarial=losses, common____init__="", hw2_gan__networks=GOOD)
    _, out, _ = run(capsys, "hw2", folder, "--all")
    none = "the function returns None; is a return missing?"
    assert out.count(none) >= 10 and f"WRONG the discriminator's loss: {none}" in out
    assert "right its output" in out and "not asked" not in out and "written to by" not in out


def test_each_question_has_its_own_time(tmp_path, capsys):
    """Together they take longer than one may."""
    slow = "def f(*given):\n    import time\n    begin = time.process_time()\n"
    slow += "    while time.process_time() < begin + 2: pass\n    return given[0]\n"
    slow += "minimax_generator = non_saturating_generator = linear_generator = least_squares_generator = f\n"
    slow += "hinge_discriminator = wasserstein_discriminator = f\n"
    folder = write(tmp_path, common__adversarial=slow, common____init__="")
    _, out, _ = run(capsys, "hw2", folder, "--seconds", "8")
    assert "did not end" not in out and out.count("WRONG") >= 6


def test_a_script_that_reads_its_flags_at_import_is_told_how_to_be_importable(tmp_path, capsys):
    flags = "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('data')\n"
    folder = write(tmp_path, a_train=flags + "parser.parse_args()\n" + GOOD)
    _, out, _ = run(capsys, "hw2", folder)
    said = 'importing a_train.py ended the program: put what is to run under `if __name__ == "__main__":`'
    assert said in out


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("os.kill(os.getpid(), 11)", "it was ended by signal 11 (Segmentation fault)"),
        ("os._exit(1)", "it ended with status 1"),
        ("os._exit(0)", "it ended before it answered"),
    ],
)
def test_what_a_process_printed_is_not_why_it_ended(tmp_path, ending, said):
    code = f"import os, sys\ndef f():\n    print('step 7', file=sys.stderr, flush=True)\n    {ending}\n"
    about = {"module": "work", "folders": [str(write(tmp_path, work=code))]}
    found = exchange.ask(answers.Process(60), about, [exchange.Call("f")], 100)
    assert found == [exchange.Lost(said)]


def test_only_processes_that_end_are_counted():
    forged = exchange.ask(lambda given: (b"nothing\n", ""), {}, [exchange.Call("f")] * 20, 100)
    assert forged == [exchange.Lost(exchange.FORGED)] * 20


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ("None", "the function returns None; is a return missing?"),
        ("'text'", "the function returns str; numbers are expected"),
        ("{}", "the function returns dict; numbers are expected"),
        ("numpy.array([1j])", "the function returns array of complex128; numbers are expected"),
        ("[[1.0, None]]", "the function returns list with NoneType in it; numbers are expected"),
    ],
)
def test_what_is_no_numbers_is_named(tmp_path, result, said):
    code = f"import numpy\ndef f():\n    return {result}\n"
    about = {"module": "work", "folders": [str(write(tmp_path, work=code))]}
    (found,) = exchange.ask(answers.Process(60), about, [exchange.Call("f")], 100)
    verdict = questions.verdict(questions.Question("hw2.a", "", exchange.Call("f"), None, ""), found, "hw2")
    assert (verdict.status, verdict.words) == (questions.WRONG, said)


def test_json_for_programs(tmp_path, capsys):
    check.main(["hw2", str(write(tmp_path, model=BAD)), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["tasks"][0]["points"] == 2.5 and found["tasks"][0]["of"] == 5
    assert found["tasks"][0]["checks"][0]["words"] == AFTER


@pytest.mark.parametrize("homework", check.homeworks())
def test_every_question_says_where_to_read(homework):
    for question in check.questions(homework, 0):
        path, _, anchor = question.read.partition("#")
        assert anchor in read_page(ROOT / path).anchors, question.read


def test_every_homework_with_tasks_has_checks():
    assert set(check.homeworks()) == {task.homework for task in tasks.all_tasks()}
    for homework in check.homeworks():
        asked = {question.task for question in check.questions(homework, 0)}
        assert asked == {t.name for t in tasks.all_tasks() if t.homework == homework and t.regions}


@pytest.mark.parametrize("homework", check.homeworks())
def test_starter_code_is_not_begun_and_nothing_else_is_wrong_with_it(tmp_path, capsys, homework):
    for path, text in tasks.homework_files(ROOT):
        if path.startswith(("common/", homework)):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(tasks.cut(text, path, homework), encoding="utf-8")
    status, out, _ = run(capsys, homework, tmp_path)
    assert status == 1 and "WRONG" not in out and "FAILED" not in out
    places = [r for task in tasks.all_tasks() if task.homework == homework for r in task.regions]
    assert out.count("not begun") >= len(places) and re.search(rf"{homework}: 0 of \d+ checks are right", out)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["hw9", "."], 2, "hw9: no such homework; there are hw1, hw2"),
        (["hw2", "nowhere"], 1, "nowhere: no such folder"),
        (["hw2", "empty"], 1, "empty: no scripts (*.py) and no notebooks"),
        (["hw2", "broken"], 1, "broken.ipynb: no notebook: not JSON"),
        (["hw2", "other"], 1, "other.ipynb: no notebook: JSON, but not of a notebook"),
    ],
)
def test_what_cannot_be_checked_is_one_line(tmp_path, capsys, monkeypatch, arguments, status, said):
    monkeypatch.chdir(tmp_path)
    for name, text in (("empty", None), ("broken", "{"), ("other", '{"a": 1}')):
        Path(name).mkdir()
        if text:
            Path(name, f"{name}.ipynb").write_text(text)
    found, _, err = run(capsys, *arguments)
    assert found == status and said in err and err.count("\n") == 1


def test_a_notebook_becomes_a_module_of_its_definitions():
    text = notebook_code.as_module([
        "import os\nx = 3\ny = os.getcwd()\nz = [a for a in range(3)]",
        "def f():\n    return x",
        "from __future__ import annotations\nfor i in range(3): print(i)",
        "?help\nf??\n%timeit f()",
    ])  # fmt: skip
    names: dict = {}
    exec(compile(text, "x", "exec"), names)
    assert names["f"]() == 3 and not {"y", "z", "i"} & set(names)


def test_checkpoints_of_jupyter_are_no_notebooks(tmp_path):
    (tmp_path / ".ipynb_checkpoints").mkdir()
    notebook(tmp_path / ".ipynb_checkpoints" / "a-checkpoint.ipynb", "x = 1")
    assert notebook_code.notebooks_in(tmp_path) == []
    (tmp_path / "old.ipynb").write_text(json.dumps({"worksheets": [{"cells": [
        {"cell_type": "code", "input": ["x = 1"]}]}]}))  # fmt: skip
    assert notebook_code.code_cells(tmp_path / "old.ipynb") == ["x = 1"]
    (tmp_path / "bad.ipynb").write_text("[]")
    with pytest.raises(InputError, match=r"bad\.ipynb: no notebook"):
        notebook_code.code_cells(tmp_path / "bad.ipynb")


def test_the_folder_that_is_read_is_the_current_one(tmp_path, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(check, "check", lambda homework, folder, seconds: asked.append(folder) or [])
    for name in ("mine/.git", "mine/hw2_gan", "notebooks"):
        (tmp_path / name).mkdir(parents=True)
    for place in ("notebooks", "mine", "mine/hw2_gan"):
        monkeypatch.chdir(tmp_path / place)
        _, out, err = run(capsys, "hw2")
        assert out.startswith(f"hw2 in {asked[-1]} ") and not err
    assert asked == [tmp_path / "notebooks", tmp_path / "mine", tmp_path / "mine"]


def test_the_course_own_solution_is_called_so(capsys, monkeypatch):
    monkeypatch.setattr(check, "check", lambda homework, folder, seconds: [])
    monkeypatch.chdir(ROOT / "hw2_gan")
    _, _, err = run(capsys, "hw2", ROOT)
    assert err == f"course check: {ROOT} holds the course's own solution of hw2; for yours, name its folder\n"


def test_a_file_in_another_encoding_is_no_starter_code(tmp_path):
    (tmp_path / "hw2_gan").mkdir()
    (tmp_path / "hw2_gan" / "model.py").write_bytes("# coding: cp1251\n# модель\n".encode("cp1251"))
    assert check.unwritten("hw2", tmp_path) == []


@pytest.mark.parametrize("seconds", ["nan", "1e400", "0", "-5", "five"])
def test_a_time_that_is_none_is_refused(tmp_path, capsys, seconds):
    with pytest.raises(SystemExit) as end:
        check.main(["hw2", str(tmp_path), "--seconds", seconds])
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f"argument --seconds: {seconds} is no number of seconds from 1 to 86400")
