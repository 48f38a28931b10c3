"""Tasks: which lines of the solution a student writes, and for how many points.

    # task hw2.a: the two halves of a CSPup block
    ...the solution, whole statements of one block...
    # end task

Names, titles and points are data (course/tasks.toml); a task may have several regions, in the homework's
files, and in common/ where an equation that a student must write lives there.  Starter code has in place of a
region

    raise NotImplementedError("hw2.a: the two halves of a CSPup block")

and in a file of data a comment.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from course.command_line import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LIST = Path("course/tasks.toml")
KINDS = (".py", ".toml")
"""Of files that may hold tasks."""
BEGIN = re.compile(r"[ ]*# task (?P<task>[a-z]+\d\.[a-z]): (?P<what>\S.*)")
UNWRITTEN = re.compile(r'\s*raise NotImplementedError\("(?P<task>[a-z]+\d\.[a-z]): (?P<what>.*)"\)')
END = re.compile(r"[ ]*# end task")
LIKE_A_MARK = re.compile(r"\s*#+\s*(end\s+)?task\b(?!s)", re.IGNORECASE)


class TaskError(Exception):
    """A mark that is misplaced or misspelt, a task that the list lacks: file, line and what to do."""


@dataclass(frozen=True)
class Region:
    """Lines of one file between two marks."""

    task: str
    """`hw2.a`."""
    what: str
    """What these lines do, in a few words."""
    path: str
    """The file, relative to the repository."""
    first: int
    """Number of the line with the first mark."""
    last: int
    """Number of the line with the last mark."""

    @property
    def homework(self) -> str:
        return self.task.split(".")[0]

    @property
    def place(self) -> str:
        return f"{self.path}:{self.first}"


@dataclass(frozen=True)
class Task:
    """What a student is asked to write."""

    name: str
    title: str
    points: int
    regions: tuple[Region, ...] = ()

    @property
    def homework(self) -> str:
        return self.name.split(".")[0]


def regions(text: str, path: str) -> list[Region]:
    """The regions of a file's text, in order.  Raises TaskError."""
    found: list[Region] = []
    opened: tuple[int, re.Match] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if not LIKE_A_MARK.match(line):
            continue
        begin, end = BEGIN.fullmatch(line), END.fullmatch(line)
        if not begin and not end:
            raise TaskError(
                f"{path}:{number}: {line.strip()!r} is no mark of a task; "
                "write `# task hw2.a: what these lines do` or `# end task`"
            )
        if begin and opened:
            raise TaskError(
                f"{path}:{number}: a task begins inside the one of line {opened[0]}; end that first"
            )
        if begin:
            opened = (number, begin)
        elif opened is None:
            raise TaskError(f"{path}:{number}: a task ends that never began")
        else:
            found.append(Region(opened[1]["task"], opened[1]["what"], path, opened[0], number))
            opened = None
    if opened:
        raise TaskError(f"{path}:{opened[0]}: this task never ends; write `# end task` after its last line")
    return found


def unwritten(text: str, path: str) -> list[Region]:
    """The lines of starter code in whose place a solution is to be written."""
    found = ((number, UNWRITTEN.fullmatch(line)) for number, line in enumerate(text.splitlines(), 1))
    said = lambda mark: mark["what"].replace('\\"', '"')
    return [Region(mark["task"], said(mark), path, number, number) for number, mark in found if mark]


def cut(text: str, path: str, homework: str) -> str:
    """The text without the marks; each region of `homework` gives way to a NotImplementedError that names the
    task, in data to a comment; the regions of other homeworks stay solved.  Raises TaskError."""
    lines = text.splitlines(keepends=True)
    for region in reversed(regions(text, path)):
        if region.homework != homework:
            del lines[region.last - 1], lines[region.first - 1]
            continue
        mark = lines[region.first - 1]
        indent = mark[: len(mark) - len(mark.lstrip())]
        if not path.endswith(".py"):
            lines[region.first - 1 : region.last] = [f"{indent}# {region.task}: {region.what}\n"]
            continue
        message = f"{region.task}: {region.what}".replace('"', '\\"')
        lines[region.first - 1 : region.last] = [f'{indent}raise NotImplementedError("{message}")\n']
    return "".join(lines)


def listed(toml: str) -> dict[str, Task]:
    """The tasks of a list, without their regions, by name."""
    return {
        f"{homework}.{letter}": Task(f"{homework}.{letter}", task["title"], task["points"])
        for homework, tasks in tomllib.loads(toml).items()
        for letter, task in tasks.items()
    }


def with_regions(tasks: dict[str, Task], files: Iterable[tuple[str, str]]) -> list[Task]:
    """The tasks with the regions that (path, text) of `files` hold, solved or to be written.

    Raises TaskError for an unknown task."""
    found: dict[str, list[Region]] = {name: [] for name in tasks}
    for path, text in files:
        for region in [*regions(text, path), *unwritten(text, path)]:
            if region.task not in found:
                raise TaskError(
                    f"{region.place}: {LIST} has no task {region.task}; correct the name, or add it"
                )
            found[region.task].append(region)
    return [Task(task.name, task.title, task.points, tuple(found[task.name])) for task in tasks.values()]


def homework_files(root: Path, errors: str = "strict") -> list[tuple[str, str]]:
    """(path relative to `root`, text) of every file that may hold a task; errors: of decoding, as in open."""
    folders = [root / "common", *sorted(root.glob("hw*_*")), *sorted(root.glob("lab*_*"))]
    paths = [path for folder in folders for kind in KINDS for path in sorted(folder.rglob(f"*{kind}"))]
    return [
        (path.relative_to(root).as_posix(), path.read_text(encoding="utf-8", errors=errors)) for path in paths
    ]


def all_tasks(root: Path = ROOT) -> list[Task]:
    """Every task of the course with its regions.  Raises TaskError."""
    return with_regions(listed((root / LIST).read_text(encoding="utf-8")), homework_files(root))


def main(arguments: list[str]) -> int:
    """`python3 -m course tasks`: exit status 1 for a mark that is wrong, 2 for an unknown homework."""
    parser = argparse.ArgumentParser(
        prog="python3 -m course tasks", description="What a student writes, where it stands, and its points."
    )
    parser.add_argument("homework", nargs="?", help="such as hw2; default: all of them")
    options = parser.parse_args(arguments)
    try:
        tasks = all_tasks()
    except TaskError as error:
        print(f"course tasks: {error}", file=sys.stderr)
        return 1
    known = list(dict.fromkeys(task.homework for task in tasks))
    if options.homework not in (None, *known):
        print(
            f"course tasks: {options.homework}: no such homework; there are {', '.join(known)}",
            file=sys.stderr,
        )
        return 2
    for homework in known if options.homework is None else [options.homework]:
        own = [task for task in tasks if task.homework == homework]
        print(f"{homework}: {sum(task.points for task in own)} points")
        for task in own:
            print(f"  {task.name}  {task.points:2}  {task.title}")
            for region in task.regions:
                print(textwrap.indent(f"{region.place}  {region.what}", " " * 13))
    return 0
