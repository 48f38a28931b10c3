"""`course grade` as its tests start it: the course's own files, slow to compare, are read once."""

import csv
import functools
import tempfile
from pathlib import Path

from course.mentor import grade, handed_out, similarity


@functools.cache
def starter() -> dict[str, bytes]:
    """What is kept of the course's own files: their fingerprints, and what is handed out."""
    with tempfile.TemporaryDirectory() as folder:
        similarity.starter_units([], Path(folder) / "starter.json")
        handed_out.collect([], Path(folder) / "handed-out.json")
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def lend_starter(out: Path) -> None:
    """Put them where a run that writes to `out` looks for them."""
    out.mkdir(parents=True, exist_ok=True)
    for name, content in starter().items():
        (out / name).write_bytes(content)


def run(*arguments: object) -> int:
    """The exit status of `course grade ARGUMENTS`."""
    words = [str(argument) for argument in arguments]
    lend_starter(Path(words[words.index("--out") + 1]))
    return grade.main(words)


def rows(path: Path) -> list[dict]:
    """A CSV file as a run writes it."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))
