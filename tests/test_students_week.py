"""A student's week from nothing to the pushed branch: start, check, a wrong block, training, report."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_gans import config, save_pets, words
from test_branches import clone, git  # noqa: F401  a fixture

from course import branches, tasks
from course.command_line import ROOT
from course.student import check, report, start

WRONG = """\
        left, right = x.chunk(2, dim=1)
        enlarged = self.right[1](self.right[2](self.right[0](right)))
        return self.left(left) + self.right[5](self.right[4](self.right[3](enlarged)))
"""


@pytest.fixture
def home(clone, tmp_path, monkeypatch) -> Path:  # noqa: F811
    """An empty home, where git knows a name; the course is its last commit."""
    monkeypatch.setattr(start, "ROOT", clone.root)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in {"COUNT": "2", "KEY_0": "user.name", "VALUE_0": "Аня", "KEY_1": "user.email",
                        "VALUE_1": "a@example.org"}.items():  # fmt: skip
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    return tmp_path


def written(repository: branches.Repository, folder: Path, homework: str) -> None:
    """Write the solution of the course's last commit into the places that are to be written."""
    files = {file.path: file for file in repository.files("HEAD")}
    for path, text in tasks.homework_files(folder):
        if tasks.unwritten(text, path):
            (folder / path).write_text(
                tasks.cut(repository.text(files[path]), path, "none"), encoding="utf-8"
            )
    assert check.unwritten(homework, folder) == []


def test_from_an_empty_folder_to_the_pushed_branch(home, clone, capsys):  # noqa: F811
    mine = home / "мои работы"
    assert start.main(["hw2", str(mine)]) == 0
    assert check.main(["hw2", str(mine)]) == 1
    said = capsys.readouterr().out
    assert (
        "hw2.a  0 of 5 points" in said
        and "not begun  split, work on each half, add: hw2_gan/networks.py:" in said
    )

    written(clone, mine, "hw2")
    networks = mine / "hw2_gan" / "networks.py"
    solved = networks.read_text(encoding="utf-8")
    forward = re.compile(r"        left, right = x\.chunk.*?return self\.left[^\n]*\n", re.DOTALL)
    networks.write_text(forward.sub(lambda _: WRONG, solved, count=1), encoding="utf-8")
    assert check.main(["hw2", str(mine)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "goes through ReLU before it is enlarged; yours after" in said and "hw2.c 5 of 5 points" in said

    networks.write_text(solved, encoding="utf-8")
    assert check.main(["hw2", str(mine)]) == 0
    assert "30 of 30 points" in capsys.readouterr().out

    data = save_pets(home / "pets", {"train": 96, "val": 24, "test": 24})
    flags = words(config(data, mine / "runs", epochs=2))
    subprocess.run(
        [sys.executable, "hw2_gan/train_gan.py", *flags], cwd=mine, check=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(mine)},
    )  # fmt: skip
    (run,) = (mine / "runs" / "hw2").iterdir()
    assert report.main([str(run), "--readme", str(mine / "README.md")]) == 0
    page = (mine / "README.md").read_text(encoding="utf-8")
    assert "96 training images" in page and f"report/{run.name}-loss.png" in page

    remote = home / "remote.git"
    git(home, "init", "--quiet", "--bare", str(remote))
    git(mine, "add", "--all")
    git(mine, "commit", "--quiet", "--message", "Homework 2")
    git(mine, "push", "--quiet", str(remote), "main", "homework_2")
    pushed = git(remote, "ls-tree", "-r", "--name-only", "homework_2").splitlines()
    assert f"report/{run.name}-loss.png" in pushed and not [
        name for name in pushed if name.startswith("runs/")
    ]


def test_the_steps_are_those_that_the_front_page_shows():
    for page in ("README.md", "README.ru.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        commands = ["start hw2", "tasks hw2", "check hw2", "report runs/hw2"]
        places = [text.index(f"python3 -m course {command}") for command in commands]
        assert places == sorted(places)
