"""Students' files as they really lie there: `course check` finds what it asks, and names what it cannot."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from course.checks import elsewhere, inside, notebook_code
from course.checks.elsewhere import Finder
from course.command_line import ROOT


@pytest.fixture
def found(tmp_path, monkeypatch):
    """A function that gives what the checks take for a name of the homework's `networks`."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def ask(name: str, *more: Path, module: str = "hw2_gan.networks"):
        finder = Finder([str(tmp_path), *map(str, more)], "hw2")
        monkeypatch.setattr(
            sys, "meta_path", [each for each in sys.meta_path if type(each) is not Finder] + [finder]
        )
        return getattr(finder.create_module(importlib.machinery.ModuleSpec(module, finder)), name)

    yield ask
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or str(tmp_path)
        if file.startswith(str(tmp_path)):
            del sys.modules[name]
    elsewhere._defined.cache_clear()


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def notebook(path: Path, *cells: str) -> None:
    made = [{"cell_type": "code", "source": cell} for cell in cells]
    write(path, json.dumps({"cells": made}))


def module(*cells: str) -> dict:
    """The names of what is kept of a notebook's cells."""
    names: dict = {"__name__": "x"}
    exec(compile(notebook_code.as_module([*cells]), "x", "exec"), names)
    return names


# ---- notebooks


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "empty"), ("<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> b\n", "marks of a merge conflict")],
)
def test_a_broken_notebook_is_named_and_the_others_are_read(tmp_path, text, why):
    write(tmp_path / "a" / "Untitled.ipynb", text)
    notebook(tmp_path / "a" / "work.ipynb", "def f():\n    return 1")
    (said,) = notebook_code.extract(tmp_path / "a", tmp_path / "into")
    assert "Untitled.ipynb: no notebook" in said and why in said
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["notebook_work.py"]


def test_assignments_that_functions_need_are_there():
    names = module(
        "import math\nfrom fractions import Fraction",
        "def linear(n):\n    return [i / n for i in range(n)]",
        "def second():\n    return betas[1], half, rate",
        "T = 4\nbetas = linear(T)\nhalf = Fraction(1, 2)",
        "if math.sqrt(T) > 1:\n    rate = 'fast'\nelse:\n    rate = 'slow'",
        "from fractions import nothing_there\nunread = Fraction(1, 3)",
    )
    assert names["second"]() == (0.25, names["half"], "fast") and "unread" not in names


def test_nothing_of_a_notebook_trains_reads_or_fetches(tmp_path):
    touched = tmp_path / "touched"
    names = module(
        f"from pathlib import Path\nimport os, subprocess\nplace = Path({str(touched)!r})",
        "class Trainer:\n    def go(self):\n        place.touch()\n        loss.backward()\n"
        "def train():\n    loss.backward()\n    place.touch()\n",
        "history = train()\nmade = place.mkdir()\nfile = open(place, 'w')\ncode = os.system('true')\n"
        "code = subprocess.run(['true'])\nother = Trainer().go()\nraw = place.read_text()",
        "def uses():\n    return history, made, file, code, other, raw",
        "for i in range(3):\n    place.touch()",
        "with open(place, 'w') as log:\n    log.write('x')",
    )
    assert not touched.exists()
    assert not {"history", "made", "file", "code", "other", "raw", "log"} & set(names)


def test_a_notebook_of_many_names_is_read_at_once():
    calls = "\n".join(f"def f{i}():\n    return f{i + 1}(), f{i + 1}(), f{i // 2}()" for i in range(300))
    chain = "\n".join(f"x{i + 1} = f0(x{i})" for i in range(300))
    deep = "y = " + "+".join(["f0()"] * 3000)
    text = notebook_code.as_module([calls, chain, "def g():\n    return x300, y", deep])
    assert "x300 = f0(x299)" in text


def test_functions_by_lambda_and_below_if_with_loop_and_try_are_found(tmp_path, found):
    text = (
        "f1 = lambda x: abs(x)\n"
        "if True:\n    def f2(x): return 2\n"
        "with open(__file__):\n    def f3(x): return 3\n"
        "for i in range(1):\n    def f4(x): return 4\n"
        "try:\n    import nowhere\nexcept ImportError:\n    def f5(x): return 5\n"
    )
    write(tmp_path / "scripted.py", text)
    names = module(text)
    for number in range(1, 6):
        name = f"f{number}"
        assert found(name)(-number) == names[name](-number) == number


def test_what_fails_in_a_notebook_takes_nothing_with_it_and_says_why(tmp_path, found):
    into = tmp_path.with_name(f"{tmp_path.name}-into")
    notebook(
        tmp_path / "ДЗ 2 Иванов.ipynb",
        "from nowhere import lightning",
        "class Net(lightning.Module):\n    pass\n",
        "def good():\n    return device\n",
        "device = open('x')",
    )
    notebook_code.extract(tmp_path, into)
    with pytest.raises(NameError) as missing:
        found("good", into)()
    with pytest.raises(NameError, match="lightning") as failed:
        found("Net", into)
    folders = [str(into), str(tmp_path)]
    assert inside._place(missing.value, folders) == (
        "ДЗ 2 Иванов.ipynb, code cell 3; device is set in code cell 4, by a line that checks do not run"
    )
    assert inside._place(failed.value, folders) == "ДЗ 2 Иванов.ipynb, code cell 2"
    with pytest.raises(LookupError, match=r"is it good in ДЗ 2 Иванов\.ipynb, code cell 3\?"):
        found("goods", into)


def test_a_notebook_imports_what_lies_beside_it(tmp_path, found):
    write(tmp_path / "hw2" / "layers.py", "def half(x):\n    return x / 2\n")
    notebook(
        tmp_path / "hw2" / "gan.ipynb", "from layers import half", "def quarter(x):\n    return half(half(x))"
    )
    into = tmp_path.with_name(f"{tmp_path.name}-into")
    notebook_code.extract(tmp_path, into)
    assert found("quarter", into)(8) == 2


# ---- scripts


@pytest.mark.parametrize(
    ("head", "encoding"), [("", "utf-8-sig"), ("# -*- coding: cp1251 -*-\n", "cp1251"), ("", "utf-8")]
)
def test_any_encoding_that_python_reads(tmp_path, found, head, encoding):
    write(tmp_path / "модель.py", f"{head}def f():\n    return 'Иванов'\n", encoding)
    assert found("f")() == "Иванов"


def test_a_file_that_is_no_python_is_named(tmp_path, found):
    write(tmp_path / "gan.py", "def f(:\n    pass\n")
    with pytest.raises(LookupError, match=r"gan\.py cannot be read: invalid syntax \(line 1\)"):
        found("f")


def test_folders_with_dots_and_neighbours_of_the_same_name(tmp_path, found):
    for number in (1, 2):
        write(tmp_path / f"hw{number}.1" / "utils.py", f"def n():\n    return {number}\n")
        text = f"from utils import n\n\ndef f{number}():\n    import later\n    return n(), later.x\n"
        write(tmp_path / f"hw{number}.1" / "src" / "nonsat.py", text)
        write(tmp_path / f"hw{number}.1" / "src" / "later.py", f"x = {number}\n")
    assert found("f1")() == (1, 1)
    finder = next(each for each in sys.meta_path if type(each) is Finder)
    there = finder.create_module(importlib.machinery.ModuleSpec("hw2_gan.networks", finder))
    assert there.f2() == (2, 2)


def test_a_package_keeps_its_relative_imports(tmp_path, found):
    write(tmp_path / "net" / "__init__.py", "")
    write(tmp_path / "net" / "parts.py", "x = 7\n")
    write(tmp_path / "net" / "whole.py", "from .parts import x\n\ndef f():\n    return x\n")
    assert found("f")() == 7


def test_a_file_named_like_a_module_of_python(tmp_path, found):
    write(tmp_path / "random.py", "def noise():\n    return 4\n")
    assert found("noise")() == 4
    import random

    assert random.random() < 1
    write(tmp_path / "gan.py", "from random import noise\n\ndef f():\n    return noise()\n")
    with pytest.raises(ImportError, match=r"gan\.py then imports; rename your random\.py"):
        found("f")


def test_no_file_of_the_current_folder_runs_in_the_course_itself(tmp_path):
    for name in ("random.py", "shutil.py", "signal.py"):
        write(tmp_path / name, "raise SystemExit('a student's file was run')\n")
    done = subprocess.run(
        [sys.executable, "-m", "course", "--help"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "usage: python3 -m course" in done.stdout, done.stderr
