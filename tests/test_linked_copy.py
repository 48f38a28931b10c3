"""The copy of an environment by hard links, and what is put back from it."""

import os
from pathlib import Path

import pytest

from course import linked_copy
from course.linked_copy import link_tree, restore


def picture(folder: Path) -> dict[str, object]:
    """Every path below `folder`: a link's target, a file's text, or None for a folder."""
    seen = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            seen[name] = os.readlink(path)
        else:
            seen[name] = None if path.is_dir() else path.read_text()
    return seen


@pytest.fixture
def tree(tmp_path) -> Path:
    folder = tmp_path / "дерево"
    (folder / "lib" / "package").mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "lib" / "package" / "a.py").write_text("old a")
    (folder / "lib" / "package" / "b.py").write_text("old b")
    (folder / "bin" / "tool").write_text("old tool")
    (folder / "lib64").symlink_to("lib")
    (folder / "bin" / "python").symlink_to("/usr/bin/python3")
    (folder / "log").write_text("first")
    return folder


def replace(path: Path, text: str) -> None:
    """Write a file as pip does: a new one in the place of the old."""
    path.unlink(missing_ok=True)
    path.write_text(text)


def change_everything(tree: Path) -> None:
    replace(tree / "lib" / "package" / "a.py", "new a")
    (tree / "lib" / "package" / "b.py").unlink()
    (tree / "lib" / "package" / "b.py").mkdir()
    (tree / "lib" / "package" / "b.py" / "inside").write_text("new")
    (tree / "lib" / "more").mkdir()
    (tree / "lib" / "more" / "c.py").write_text("new c")
    (tree / "bin" / "tool").unlink()
    (tree / "bin" / "tool").symlink_to("elsewhere")
    (tree / "bin" / "python").unlink()
    (tree / "lib64").unlink()
    (tree / "lib64").mkdir()
    replace(tree / "log", "second")


def test_everything_is_put_back_but_what_is_left_alone(tree, tmp_path):
    before = picture(tree)
    link_tree(tree, tmp_path / "copy", leave_out=("log",))
    change_everything(tree)
    restore(tmp_path / "copy", tree, leave_alone=("log",))
    assert picture(tree) == {**before, "log": "second"}


def test_a_copy_takes_no_space(tree, tmp_path):
    link_tree(tree, tmp_path / "copy", leave_out=())
    assert os.path.samefile(tree / "bin" / "tool", tmp_path / "copy" / "bin" / "tool")
    assert os.readlink(tmp_path / "copy" / "lib64") == "lib"


def test_only_the_top_is_left_out(tree, tmp_path):
    (tree / "lib" / "log").write_text("of a package")
    link_tree(tree, tmp_path / "copy", leave_out=("log",))
    assert (tmp_path / "copy" / "lib" / "log").exists()
    assert not (tmp_path / "copy" / "log").exists()


def test_unchanged_files_are_not_touched(tree, tmp_path, monkeypatch):
    link_tree(tree, tmp_path / "copy", leave_out=())
    replace(tree / "bin" / "tool", "new tool")
    put_back = []
    monkeypatch.setattr(linked_copy, "put_back", lambda copy, here: put_back.append(here))
    restore(tmp_path / "copy", tree)
    assert put_back == [tree / "bin" / "tool"]


def test_an_interrupted_restoration_can_be_repeated(tree, tmp_path, monkeypatch):
    before = picture(tree)
    link_tree(tree, tmp_path / "copy", leave_out=())
    change_everything(tree)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda source, target: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            restore(tmp_path / "copy", tree)
    restore(tmp_path / "copy", tree)
    assert picture(tree) == before


def test_a_file_system_without_hard_links(tree, tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(1, "Operation not permitted")

    before = picture(tree)
    monkeypatch.setattr(os, "link", refuse)
    link_tree(tree, tmp_path / "copy", leave_out=())
    change_everything(tree)
    restore(tmp_path / "copy", tree)
    assert picture(tree) == before
