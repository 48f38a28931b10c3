"""Image files decoded once into one file of raw bytes that is memory-mapped: for sets larger than memory.

`celeba-v1-train-64px.u8` holds uint8 rows (3, S, S) one after another and nothing else. Beside it
`celeba-v1-train-64px.jsonl` has one line for each chunk of 1,000 files: which files (a hash of their names
and sizes), which of them could not be read, where the rows begin, and their CRC-32.  A line is written after
its rows, so a killed process loses the chunk in hand and nothing else.  A chunk counts only while its line,
its files and its rows agree, so damage, changed sources and half-written ends are one case: that chunk is
made again.

Rows are written with `write`, not through the map: on a full disk that is an error, not a SIGBUS.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from common.data.decoding import read_images
from common.errors import InputError

import filelock
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

CHUNK = 1000
"""Files decoded between two lines of the journal: what a kill can lose."""


class Line(NamedTuple):
    """What the journal says about one chunk."""

    chunk: int
    files: str
    """Hash of the names and sizes of its files."""
    start: int
    """Its first row."""
    rows: int
    crc32: int
    skipped: dict[str, str]
    """Name and reason of each file that could not be read."""


def decode_once(
    path: Path, folder: Path, sizes: dict[str, int], side: int, *, count: int | None = None
) -> tuple[Tensor, list[str], list[str]]:
    """The files of `folder` as one memory-mapped uint8 tensor (N, 3, side, side), centre-cropped.

    path   of the raw file to make or to continue; the journal lies beside it
    sizes  bytes of each file by name, in the order wanted
    count  decode no more chunks than the first `count` images need; a later call goes on from there

    Returns the images, their names, and a line "name: reason" for each file that could not be read.  The
    tensor is read-only: writing into it is a crash.  InputError when there is no room, or a file is gone.
    """
    decoded = _Decoded(path, folder, sizes, side)
    try:
        lines = decoded.lines(count)
        if lines is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(path.with_name(f".{path.name}.lock")):
                lines = decoded.lines(count) or decoded.make(count)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read or written ({error}); free some space or choose another --data-dir"
        ) from error
    names = [name for line in lines for name in decoded.chunks[line.chunk] if name not in line.skipped]
    skipped = [f"{name}: {reason}" for line in lines for name, reason in line.skipped.items()]
    return _mapped(path, len(names), side)[:count], names[:count], skipped


class _Decoded:
    """One raw file, its journal, and the files they come from."""

    def __init__(self, path: Path, folder: Path, sizes: dict[str, int], side: int):
        self.path, self.journal = path, path.with_suffix(".jsonl")
        self.folder, self.sizes, self.side = folder, sizes, side
        self.row_bytes = 3 * side * side
        names = list(sizes)
        self.chunks = [names[i : i + CHUNK] for i in range(0, len(names), CHUNK)]
        self.files = [
            hashlib.sha256("\n".join(f"{name} {sizes[name]}" for name in chunk).encode()).hexdigest()[:32]
            for chunk in self.chunks
        ]

    def lines(self, count: int | None) -> list[Line] | None:
        """The lines of the chunks with the first `count` images, or None where one must be made."""
        written, lines, start = self._written(), [], 0
        for chunk in range(len(self.chunks)):
            if count is not None and start >= count:
                break
            line = written.get(chunk)
            if line is None or line.start != start or line.files != self.files[chunk]:
                return None
            lines.append(line)
            start += line.rows
        with ThreadPoolExecutor(4) as pool:  # crc32 releases the GIL
            return lines if all(pool.map(self._is_sound, lines)) else None

    def make(self, count: int | None) -> list[Line]:
        """Decode what is missing of the first `count` images; chunks in order, each where the last ended."""
        written = self._written()
        intact = self._intact(written)
        wanted = min(len(self.sizes), len(self.sizes) if count is None else count)
        kept = sum(written[chunk].rows for chunk in intact)
        self._announce(wanted, kept)
        lines, start = [], 0
        self.path.touch()
        with (
            open(self.path, "r+b") as raw,
            open(self.journal, "ab") as journal,
            tqdm(total=wanted, desc=self.path.stem, unit="img", disable=not sys.stderr.isatty()) as bar,
        ):
            if journal.tell() and not self.journal.read_bytes().endswith(b"\n"):
                journal.write(b"\n")  # the last line was cut off; it must not swallow the next
            for chunk, names in enumerate(self.chunks):
                if count is not None and start >= count:
                    break
                line = written.get(chunk)
                if chunk not in intact or line.start != start:
                    line = self._decode(chunk, start, raw)
                    journal.write(json.dumps(line._asdict()).encode() + b"\n")
                    journal.flush()
                lines.append(line)
                start += line.rows
                bar.update(min(len(names), wanted - bar.n))
        return lines

    def _decode(self, chunk: int, start: int, raw) -> Line:
        names = self.chunks[chunk]
        images, readable, skipped, _ = read_images([self.folder / name for name in names], self.side)
        lost = sorted(set(names) - {names[i] for i in readable})
        for name in lost:  # unreadable is one thing; a folder that goes away meanwhile is another
            found = self.folder / name
            if not found.is_file() or found.stat().st_size != self.sizes[name]:
                raise InputError(
                    f"{found}: changed or vanished while the set was read; run again when nothing writes "
                    "there"
                )
        rows = images.numpy().tobytes()
        raw.seek(start * self.row_bytes)
        raw.write(rows)
        raw.flush()
        reasons = dict(text.split(": ", 1) for text in skipped)
        return Line(chunk, self.files[chunk], start, len(images), zlib.crc32(rows), reasons)

    def _written(self) -> dict[int, Line]:
        """The journal by chunk, the last line of each; lines that are no lines are left out."""
        written: dict[int, Line] = {}
        if not self.journal.is_file():
            return written
        for text in self.journal.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, TypeError):
                line = Line(**json.loads(text))
                known = 0 <= line.chunk < len(self.chunks) and line.start >= 0
                if known and line.rows == len(self.chunks[line.chunk]) - len(line.skipped):
                    written[line.chunk] = line
        return written

    def _is_sound(self, line: Line) -> bool:
        """Whether the rows of a line are those that were written."""
        try:
            with open(self.path, "rb") as raw:
                raw.seek(line.start * self.row_bytes)
                rows = raw.read(line.rows * self.row_bytes)
        except FileNotFoundError:
            return False
        return len(rows) == line.rows * self.row_bytes and zlib.crc32(rows) == line.crc32

    def _intact(self, written: dict[int, Line]) -> set[int]:
        """Chunks that need not be made again; says how many do, and why."""
        same = [line for line in written.values() if line.files == self.files[line.chunk]]
        changed = len(written) - len(same)
        with ThreadPoolExecutor(4) as pool:
            sound = list(pool.map(self._is_sound, same))
        for number, what in ((changed, "came from other files"), (sound.count(False), "are damaged")):
            if number:
                print(
                    f"warning: {self.path}: {number} of {len(self.chunks)} chunks {what} and are made again",
                    file=sys.stderr,
                )
        return {line.chunk for line, good in zip(same, sound) if good}

    def _announce(self, wanted: int, kept: int) -> None:
        need = wanted * self.row_bytes - (self.path.stat().st_size if self.path.is_file() else 0)
        free = shutil.disk_usage(self.path.parent).free
        if need > free:
            raise InputError(
                f"{self.path}: needs {need / 1e9:.1f} GB more and the disk has {free / 1e9:.1f} GB free; "
                "free some space or choose another --data-dir"
            )
        if not sys.stderr.isatty():
            print(f"decoding {wanted - kept:,} of {wanted:,} images into {self.path}", file=sys.stderr)


def _mapped(path: Path, rows: int, side: int) -> Tensor:
    if rows == 0:
        return torch.empty(0, 3, side, side, dtype=torch.uint8)
    array = np.memmap(path, np.uint8, mode="r", shape=(rows, 3, side, side))
    with warnings.catch_warnings():  # a read-only map needs no memory of its own, and torch warns of it
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array)
