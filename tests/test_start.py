"""`course start`: a student's repository from nothing, the next homework, and what is never touched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_branches import course, git  # noqa: F401  a fixture

from course.student import start

IDENTITY = {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "Аня",
            "GIT_CONFIG_KEY_1": "user.email", "GIT_CONFIG_VALUE_1": "a@example.org"}  # fmt: skip


@pytest.fixture
def home(course, tmp_path, monkeypatch) -> Path:  # noqa: F811
    """A student's home, where git knows their name."""
    monkeypatch.setattr(start, "ROOT", course)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def files(folder: Path) -> set[str]:
    return {
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and ".git" not in p.parts
    }


def test_a_repository_from_nothing(home, capsys):
    folder = home / "мои работы"
    assert start.main(["hw1", str(folder)]) == 0
    assert "branch homework_1" in capsys.readouterr().out
    assert git(folder, "branch", "--format=%(refname:short)").split() == ["homework_1", "main"]
    assert git(folder, "ls-tree", "-r", "--name-only", "main").split() == [".gitignore", "README.md"]
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert page.startswith("# First\n\n## Task\n") and "## Experiments" in page
    assert 'NotImplementedError("hw1.a: the loss")' in (folder / "common" / "losses.py").read_text()
    assert {"hw1_first/README.md", "hw1_first/train.py", "theory/en/one.md"} < files(folder)
    assert not {name for name in files(folder) if "second" in name or "results" in name}
    assert git(folder, "log", "--format=%an", "homework_1").split() == ["Аня", "Аня"]
    assert git(folder, "status", "--porcelain") == ""


def test_no_commit_of_the_solution_comes_along(home):
    folder = home / "mine"
    start.main(["hw1", str(folder)])
    blobs = git(
        folder, "cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)"
    ).splitlines()
    texts = [git(folder, "cat-file", "blob", line.split()[0]) for line in blobs if line.endswith("blob")]
    assert any("hw1.a: the loss" in text for text in texts)
    assert not any("return x" in text for text in texts)


def test_the_next_homework_is_the_next_branch(home, capsys):
    folder = home / "mine"
    start.main(["hw1", str(folder)])
    (folder / "README.md").write_text("my own words\n")
    git(folder, "commit", "--quiet", "--all", "--message", "mine")
    first = git(folder, "rev-parse", "homework_1")
    git(folder, "switch", "--quiet", "main")
    assert start.main(["hw2", str(folder), "--lang", "ru"]) == 0
    assert git(folder, "rev-parse", "homework_1") == first
    assert "## Задача" in (folder / "README.md").read_text(encoding="utf-8")
    assert git(folder, "merge-base", "homework_1", "homework_2") == git(folder, "rev-parse", "main")
    capsys.readouterr()
    assert start.main(["hw1", str(folder)]) == 1
    assert "the branch homework_1 is there already; it stays as it is" in capsys.readouterr().err
    assert git(folder, "rev-parse", "homework_1") == first


@pytest.mark.parametrize("where", [".", "common", "new/inside", "../a clone", "../a work tree"])
def test_a_clone_of_the_course_is_never_taken_over(home, course, capsys, monkeypatch, where):  # noqa: F811
    git(home, "clone", "--quiet", str(course), str(home / "a clone"))
    git(course, "worktree", "add", "--quiet", "--detach", str(home / "a work tree"))
    monkeypatch.chdir(course)
    assert start.main(["hw1", where]) == 1
    assert re.fullmatch(r"course start: .* is a clone of the course; .*\n", capsys.readouterr().err)
    for clone in (course, home / "a clone"):
        assert git(clone, "branch", "--list", "--format=%(refname:short)").split()[-1] == "main"
        assert (clone / "hw2_second").is_dir() and git(clone, "status", "--porcelain") == ""
    assert not (course / "new").exists()


def test_a_folder_of_another_repository_becomes_no_repository_unless_it_is_made_one(home, capsys):
    outer, inner = home / "мои работы", home / "мои работы" / "hw1"
    outer.mkdir()
    git(outer, "init", "--quiet")
    assert start.main(["hw1", str(inner)]) == 1
    said = capsys.readouterr().err
    assert f"inside the repository {outer}; " in said and f"git init '{inner}'" in said
    assert not inner.exists()
    git(outer, "init", "--quiet", str(inner))
    assert start.main(["hw1", str(inner)]) == 0 and git(outer, "branch", "--list") == ""


def test_an_empty_clone_of_ones_own_repository_is_begun_like_a_new_one(home):
    remote, folder = home / "remote", home / "mine"
    git(home, "init", "--quiet", "--bare", "--initial-branch", "main", str(remote))
    git(home, "clone", "--quiet", str(remote), str(folder))
    assert start.main(["hw1", str(folder)]) == 0
    assert git(folder, "branch", "--format=%(refname:short)").split() == ["homework_1", "main"]
    assert git(folder, "remote").strip() == "origin"


@pytest.mark.parametrize(
    "what", ["a folder with files", "uncommitted", "in the way", "no name", "a file", "in a file", "unknown"]
)
def test_what_cannot_be_done_is_said_and_nothing_changes(home, capsys, monkeypatch, what):
    folder, homework, status = home / "mine", "hw2", 1
    if what == "a folder with files":
        folder.mkdir()
        (folder / "notes.txt").write_text("mine\n")
        message = "not empty, and no repository"
    elif what == "uncommitted":
        start.main(["hw1", str(folder)])
        (folder / "README.md").write_text("changed\n")
        message = "there are changes that no commit has"
    elif what == "in the way":
        start.main(["hw1", str(folder)])
        git(folder, "switch", "--quiet", "main")
        (folder / "LICENSE").write_text("mine\n")
        message = "git switch failed"
    elif what == "no name":
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
        message = "git does not know your user.email"
    elif what == "a file":
        folder.write_text("mine\n")
        message = f"{folder}: a file; name a new folder"
    elif what == "in a file":
        folder.write_text("mine\n")
        folder, message = folder / "hw2", f"{folder}: a file; name a new folder"
    else:
        homework, status, message = "hw9", 2, "hw9: no such homework; there are hw1, hw2, lab8"
    before = files(folder) if folder.is_dir() else folder.is_file()
    texts = {name: (folder / name).read_bytes() for name in before} if folder.is_dir() else {}
    capsys.readouterr()
    assert start.main([homework, str(folder)]) == status
    assert message in capsys.readouterr().err
    assert (files(folder) if folder.is_dir() else folder.is_file()) == before
    assert all((folder / name).read_bytes() == text for name, text in texts.items())
    if folder.is_dir() and (folder / ".git").exists():
        assert "homework_2" not in git(folder, "branch", "--list")
