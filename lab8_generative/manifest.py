"""manifest.jsonl of a folder of pictures: one line each, what it is or what was wrong."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pydantic

from lab8_generative.polite_download import write_whole


@dataclass(frozen=True)
class Row:
    """A line of the manifest.  `problem` is None for a picture that is there; else there is no file."""

    id: int
    name: str
    url: str | None
    sha256: str | None
    """SHA-256 of the file."""
    bytes: int
    size: int
    """Side in pixels."""
    artwork: str
    background: str
    problem: str | None

    def file(self, folder: Path) -> Path:
        return folder / "images" / f"{self.id:04d}.png"


ROWS = pydantic.TypeAdapter(Row)


class Manifest:
    """The rows of a folder by id.  A row is appended when its picture is decided; of several the last
    counts."""

    def __init__(self, folder: Path):
        self.folder, self.path, self.rows = folder, folder / "manifest.jsonl", {}
        if not self.path.exists():
            return
        for line in self.path.read_text("utf-8", errors="replace").splitlines():
            try:
                row = ROWS.validate_json(line, strict=True)
            except ValueError:
                continue  # cut off when a run was killed: its picture is fetched again
            self.rows[row.id] = row
        self.save()

    def add(self, row: Row) -> None:
        self.rows[row.id] = row
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")

    def save(self) -> None:
        """One line per id, in order."""
        lines = [json.dumps(asdict(self.rows[id])) + "\n" for id in sorted(self.rows)]
        write_whole(self.path, "".join(lines).encode())

    def is_there(self, id: int) -> bool:
        """Whether the picture lies in its place as it was written."""
        row = self.rows.get(id)
        if row is None or row.problem:
            return False
        path = row.file(self.folder)
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == row.sha256
