"""Files decoded once into a mapped file: killed, damaged, changed, shared by processes, on a full disk."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from common.data import decoded
from common.errors import InputError

import pytest
import torch
from PIL import Image

COUNT, SIDE, ROW = 24, 8, 3 * 8 * 8
NAMES = [f"{number:02d}.png" for number in range(COUNT)]


def draw(path: Path, level: int) -> None:
    """A picture of one grey level whose file size depends on it, so that another level is another file."""
    Image.new("RGB", (60, 60), (level,) * 3).save(path)
    with path.open("ab") as file:
        file.write(bytes(level))  # behind the end of the PNG, where no reader looks


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for level, name in enumerate(NAMES):
        draw(folder / name, level)
    return folder


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(decoded, "CHUNK", 5)


def decode(folder: Path, count: int | None = None) -> tuple[list[int], list[str], list[str]]:
    """The grey level of each image of the cache beside `folder`, the names, the skipped ones."""
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    images, names, skipped = decoded.decode_once(folder.parent / "x.u8", folder, sizes, SIDE, count=count)
    assert images.shape == (len(names), 3, SIDE, SIDE) and images.dtype == torch.uint8
    return images[:, 0, 0, 0].tolist(), names, skipped


@pytest.fixture
def seen(monkeypatch) -> list[str]:
    """Names of the files decoded so far, as they come."""
    names, read_images = [], decoded.read_images

    def reading(paths, *arguments):
        names.extend(path.name for path in paths)
        return read_images(paths, *arguments)

    monkeypatch.setattr(decoded, "read_images", reading)
    return names


def test_nothing_is_decoded_twice(folder, seen, capsys):
    assert decode(folder, count=7) == (list(range(7)), NAMES[:7], []) and seen == NAMES[:10]
    assert "decoding 7 of 7 images into" in capsys.readouterr().err  # a plain line without a terminal
    assert decode(folder) == (list(range(COUNT)), NAMES, []) and seen == NAMES
    assert decode(folder)[0] == list(range(COUNT)) and seen == NAMES
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "damage", ["a flipped bit", "cut off", "deleted", "half a line", "a lost line", "junk"]
)
def test_only_damaged_chunks_are_made_again(folder, seen, capsys, damage):
    decode(folder)
    raw, journal = folder.parent / "x.u8", folder.parent / "x.jsonl"
    content, lines = bytearray(raw.read_bytes()), journal.read_bytes().splitlines(keepends=True)
    seen.clear()
    capsys.readouterr()
    if damage == "a flipped bit":
        content[12 * ROW + 5] ^= 4  # row 12, of the third chunk
        raw.write_bytes(content)
        expected = NAMES[10:15]
    elif damage == "cut off":
        raw.write_bytes(content[: 17 * ROW])
        expected = NAMES[15:]
    elif damage == "deleted":
        raw.unlink()
        expected = NAMES
    elif damage == "half a line":
        journal.write_bytes(b"".join(lines)[:-20])
        expected = NAMES[20:]
    elif damage == "a lost line":
        journal.write_bytes(b"".join(lines[:1] + lines[2:]))
        expected = NAMES[5:10]
    else:
        journal.write_bytes(b"".join([*lines[:3], b"\xff\0junk\n", b"[1, 2]\n", b"{}\n", lines[4]]))
        expected = NAMES[15:20]
    assert decode(folder)[0] == list(range(COUNT)) and seen == expected
    chunks = {"a flipped bit": 1, "cut off": 2, "deleted": 5}.get(damage)
    said = capsys.readouterr().err
    assert (f"{chunks} of 5 chunks are damaged" in said) if chunks else ("warning" not in said)
    assert decode(folder)[0] == list(range(COUNT)) and seen == expected


def test_a_changed_source_is_noticed(folder, seen, capsys):
    decode(folder)
    seen.clear()
    draw(folder / NAMES[11], 40)  # other content under an old name
    assert decode(folder)[0][11] == 40 and seen == NAMES[10:15]
    assert "1 of 5 chunks came from other files" in capsys.readouterr().err
    seen.clear()
    (folder / NAMES[7]).unlink()  # every later image moves up
    assert decode(folder)[0][6:12] == [6, 8, 9, 10, 40, 12]
    assert seen == [*NAMES[5:7], *NAMES[8:]]


def test_unreadable_files_are_remembered_until_they_are_repaired(folder, seen):
    (folder / NAMES[7]).write_bytes(b"not a picture")
    without = [number for number in range(COUNT) if number != 7]
    levels, names, skipped = decode(folder)
    assert levels == without and NAMES[7] not in names and skipped[0].startswith(f"{NAMES[7]}: ")
    seen.clear()
    assert decode(folder) == (levels, names, skipped) and not seen
    draw(folder / NAMES[7], 7)  # one row more: the later chunks move
    assert decode(folder)[0] == list(range(COUNT)) and seen == NAMES[5:]
    (folder / NAMES[7]).write_bytes(b"not a picture")
    assert decode(folder, count=7)[0] == without[:7]  # as if stopped here: the later chunks lie a row too far
    assert decode(folder)[0] == without


def test_a_folder_that_goes_away_is_no_set_of_unreadable_images(folder):
    sizes = {name: (folder / name).stat().st_size for name in NAMES}
    (folder / NAMES[3]).unlink()
    with pytest.raises(InputError, match=r"03\.png: changed or vanished"):
        decoded.decode_once(folder.parent / "x.u8", folder, sizes, SIDE)


def test_a_full_disk_is_one_line(folder, monkeypatch):
    usage = type(shutil.disk_usage(folder))

    def fails(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 0))
        with pytest.raises(InputError, match=r"x\.u8: needs 0\.0 GB more and the disk has 0\.0 GB"):
            decode(folder)
    with monkeypatch.context() as patch:
        patch.setattr(decoded, "read_images", fails)
        with pytest.raises(InputError, match=r"x\.u8: cannot be read or written .*No space left"):
            decode(folder)
    assert decode(folder)[0] == list(range(COUNT))


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {repository!r})
from common.data import decoded
decoded.CHUNK = 4
read_images = decoded.read_images
def slowly(paths, *arguments):
    with open({log!r}, "a") as log:
        log.write("".join(path.name + "\\n" for path in paths))
    time.sleep({pause})
    while not Path({gate!r}).exists():
        time.sleep(0.01)
    return read_images(paths, *arguments)
decoded.read_images = slowly
folder = Path({folder!r})
sizes = {{path.name: path.stat().st_size for path in sorted(folder.iterdir())}}
print("ready", flush=True)
print(len(decoded.decode_once(folder.parent / "x.u8", folder, sizes, {side})[0]))
"""


def child(folder: Path, log: Path, *, pause: float = 0, gate: Path | None = None) -> subprocess.Popen:
    """A process that decodes `folder`; it logs the names of each chunk, pauses, and waits for the gate."""
    paths = {"repository": Path(decoded.__file__).parents[2], "log": log, "folder": folder}
    paths = {name: str(path) for name, path in {**paths, "gate": gate or folder}.items()}
    code = CHILD.format(**paths, pause=pause, side=SIDE)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], **pipes)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_killed_process_loses_one_chunk_at_most(folder, monkeypatch):
    monkeypatch.setattr(decoded, "CHUNK", 4)
    log, raw = folder.parent / "log.txt", folder.parent / "x.u8"
    killed = child(folder, log, pause=0.3)
    while not log.exists() or len(log.read_text().split()) < 12:
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    first = log.read_text().split()
    assert len(first) < COUNT
    with raw.open("ab") as file:
        file.write(b"half a row")  # as if killed within the write
    log.unlink()

    second = child(folder, log)
    out, err = second.communicate()
    assert second.returncode == 0 and out.split() == ["ready", str(COUNT)], err
    again = log.read_text().split()
    assert len(set(first) & set(again)) <= 4 and set(first) | set(again) == set(NAMES)
    assert decode(folder)[0] == list(range(COUNT))


@pytest.mark.skipif(sys.platform == "win32", reason="no locks between processes there")
def test_two_processes_share_the_work(folder):
    log, gate = folder.parent / "log.txt", folder.parent / "gate"
    both = [child(folder, log, gate=gate) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    time.sleep(0.3)  # time enough to begin the same chunk, were there no lock
    gate.touch()
    for process in both:
        out, err = process.communicate()
        assert process.returncode == 0 and out.strip() == str(COUNT), err
    assert sorted(log.read_text().split()) == NAMES
