"""The folder that a student's commands take where none is named."""

from __future__ import annotations

import re
from pathlib import Path

from course import tasks

HOMEWORK = re.compile(r"(hw|lab)\d_\w+|common")


def here() -> Path:
    """The current folder; in a folder of the course's layout, the repository that holds it."""
    place = Path.cwd()
    for each in (place, *place.parents):
        if HOMEWORK.fullmatch(each.name) and (each.parent / ".git").exists():
            return each.parent
    return place


def is_solved_course(homework: str, folder: Path) -> bool:
    """Whether the course's own solution of a homework lies there, with the marks of its tasks."""
    if not (folder / tasks.LIST).is_file():
        return False
    mark = re.compile(rf"^[ ]*# task {homework}\.", re.MULTILINE)
    return any(mark.search(text) for _, text in tasks.homework_files(folder, errors="replace"))
