"""Files and folders that are replaced whole or not at all."""

import errno
import os
from pathlib import Path

from common import atomic
from common.errors import InputError

import pytest


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with one old file."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("old")
    return tmp_path / "model"


def files(folder: Path) -> dict[str, str]:
    """Of everything beside the folder and in it."""
    return {
        str(path.relative_to(folder.parent)): path.read_text()
        for path in folder.parent.rglob("*")
        if path.is_file()
    }


def test_a_folder_is_replaced_with_all_its_files(folder):
    with atomic.replacing_folder(folder, advice="free some space") as beside:
        (beside / "new").write_text("new")
        assert files(folder)["model/old"] == "old"  # until the end
    assert files(folder) == {"model/new": "new"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_folder_that_could_not_be_written_leaves_the_old_one(folder, error):
    with (
        pytest.raises((KeyboardInterrupt, InputError)),
        atomic.replacing_folder(folder, advice="free some space") as beside,
    ):
        (beside / "new").write_text("new")
        raise error
    assert files(folder) == {"model/old": "old"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(folder, error, monkeypatch):
    rename, done = os.rename, []

    def second_fails(self, target):
        done.append(target)
        if len(done) == 2:
            raise error
        rename(self, target)

    monkeypatch.setattr(Path, "rename", second_fails)
    with (
        pytest.raises((KeyboardInterrupt, InputError)),
        atomic.replacing_folder(folder, advice="free some space") as beside,
    ):
        (beside / "new").write_text("new")
    assert files(folder) == {"model/old": "old"}
    assert len(done) == 3


def test_a_copy_that_fails_leaves_the_old_file(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    atomic.copy(source, target, advice="free some space")
    assert target.read_bytes() == b"new"
    with pytest.raises(InputError, match="target: No such file or directory; free some space"):
        atomic.copy(tmp_path / "missing", target, advice="free some space")
    assert target.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]
