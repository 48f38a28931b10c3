"""`python3 -m course check hw2 [DIR]`: public checks of your code, and what is wrong in words.

    python3 -m course check hw2                 # the code here
    python3 -m course check hw2 ~/my-homework   # of another folder: scripts and notebooks
    python3 -m course check hw2 --json          # for programs; --junit FILE for others

Every function of a task is asked with small inputs and its answers are compared with what is right and with
what typical mistakes give.  The code runs in a process of its own; of a notebook only imports, functions,
classes and the assignments that these need, and nothing that trains, reads files or fetches.  If your files
or functions have other names, they are looked for; what is not found is asked for in check_hw2.py, a copy of
course/checks/hw2_adapter.py on top of your repository.  The points are those of these checks alone: a mentor
also looks at pictures, numbers and words.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from common import atomic
from common.errors import InputError

from course import tasks
from course.checks import notebook_code
from course.checks.questions import FAILED, NOT_BEGUN, RIGHT, WRONG, Verdict, verdict
from course.checks.reports import TaskReport, as_data, homeworks, questions, report
from course.command_line import ROOT
from course.student import answers, here
from course.tasks import Region

SEED = 0
"""Of the public inputs; a mentor's are drawn from another one."""
NOT_FOUND = re.compile(r"(?P<function>\w+) was not found: (?P<why>.*); say in check_\w+\.py ", re.DOTALL)
"""Of what checks/elsewhere.py says."""
SHOWN = {RIGHT: "right", WRONG: "WRONG", NOT_BEGUN: "not begun", FAILED: "FAILED"}


def main(arguments: list[str]) -> int:
    """Exit status 0 where all is right, 1 where something is not or cannot be read, 2 for an unknown
    homework."""
    parser = argparse.ArgumentParser(
        prog="python3 -m course check", description=__doc__.partition("\n\n")[0],
        epilog=__doc__.partition("\n\n")[2], formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("homework", help="such as hw2")
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="default: here")
    parser.add_argument("--all", action="store_true", help="show what is right too")
    parser.add_argument("--json", action="store_true", help="the report as JSON instead of text")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write it as JUnit XML too")
    parser.add_argument(
        "--seconds",
        type=some_seconds,
        default=300,
        help="your code may compute so long a question (default: 300)",
    )
    options = parser.parse_args(arguments)
    if options.homework not in (known := homeworks()):
        there = ", ".join(known)
        print(f"course check: {options.homework}: no such homework; there are {there}", file=sys.stderr)
        return 2
    try:
        folder = Path(os.path.expanduser(options.folder or here.here())).absolute()
        if here.is_solved_course(options.homework, folder):
            said = (
                f"{folder} holds the course's own solution of {options.homework}; for yours, name its folder"
            )
            print(f"course check: {said}", file=sys.stderr)
        reports = check(options.homework, folder, options.seconds)
        if options.junit:
            write_junit(options.junit, options.homework, reports)
    except (InputError, tasks.TaskError, OSError) as error:
        print(f"course check: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"folder": str(folder), **as_data(options.homework, reports)}, indent=2))
    else:
        print(f"{options.homework} in {folder}", end="\n\n")
        print(as_text(reports, options.homework, folder, everything=options.all))
    return 0 if all(report.right == report.asked for report in reports) else 1


def some_seconds(text: str) -> float:
    """Of the command line: from a second to a day."""
    with contextlib.suppress(ValueError):
        if 1 <= float(text) <= 86400:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text} is no number of seconds from 1 to 86400")


def check(homework: str, folder: Path, seconds: float, seed: int = SEED) -> list[TaskReport]:
    """A report on every task of a homework; InputError for a folder without code."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the one with your code")
    asked = questions(homework, seed)
    with tempfile.TemporaryDirectory(prefix="notebooks-") as name:
        wrong = notebook_code.extract(folder, Path(name))
        if not any(Path(name).rglob("*.py")) and not any(folder.rglob("*.py")):
            raise InputError(
                wrong[0] if wrong else
                f"{folder}: no scripts (*.py) and no notebooks (*.ipynb); name the folder with your code"
            )  # fmt: skip
        for each in wrong:
            print(f"course check: left out: {each}", file=sys.stderr)
        found = answers.ask(homework, [folder, Path(name)], [each.call for each in asked], seconds)
    verdicts = [verdict(question, answer, homework) for question, answer in zip(asked, found)]
    return report(homework, verdicts, unwritten(homework, folder))


def unwritten(homework: str, folder: Path) -> list[Region]:
    """The places of a starter tree that are still to be written."""
    found = [
        region
        for path, text in tasks.homework_files(folder, errors="replace")
        for region in tasks.unwritten(text, path)
    ]
    return [region for region in found if region.homework == homework]


# ---- how it is shown


def as_text(reports: Sequence[TaskReport], homework: str, folder: Path, *, everything: bool) -> str:
    """For people: a line a task, and below it what is not right and what is still to be written; what was not
    found at all is explained once, at the end."""
    lines = []
    lost: dict[str, str] = {}
    """Function of the adapter -> what was not found for it."""
    for each in reports:
        points = "not asked" if each.points is None else f"{each.points:g} of {each.task.points} points"
        lines.append(f"{each.task.name}  {points:16} {each.task.title}")
        known = {f"{place.task}: {place.what}" for place in each.unwritten}
        unfound = [NOT_FOUND.match(one.words) for one in each.verdicts]
        lost |= {one["function"]: one["why"] for one in unfound if one}
        for one in each.verdicts:
            if (
                one.words not in known
                and (one.status != RIGHT or everything)
                and not NOT_FOUND.match(one.words)
            ):
                lines += _lines_of(one)
        if functions := dict.fromkeys(one["function"] for one in unfound if one):
            lines += _wrapped(FAILED, f"not found: {', '.join(functions)}")
        lines += [f"    not begun  {place.what}: {place.place}" for place in each.unwritten]
    asked, right = sum(each.asked for each in reports), sum(each.right for each in reports)
    total = sum(each.points or 0 for each in reports)
    most = sum(each.task.points for each in reports if each.points is not None)
    if lost:
        lines += ["", *_how_to_name(lost, homework, folder)]
    return "\n".join(
        [*lines, "", f"{homework}: {right} of {asked} checks are right, {total:g} of {most} points"]
    )


def _lines_of(one: Verdict) -> list[str]:
    said = f"{one.question.title}: {one.words}" if one.words else one.question.title
    lines = _wrapped(one.status, said)
    return lines if one.status == RIGHT else [*lines, f"               read {one.question.read}"]


def _wrapped(status: str, said: str) -> list[str]:
    first, *others = textwrap.wrap(said, 94, break_long_words=False)
    return [f"    {SHOWN[status]:9}  {first}", *(f"               {line}" for line in others)]


def _how_to_name(lost: dict[str, str], homework: str, folder: Path) -> list[str]:
    """What to do about functions that were not found."""
    adapter = ROOT / "course" / "checks" / f"{homework}_adapter.py"
    own = folder / f"check_{homework}.py"
    copy = f"Say in {own}" if own.exists() else f"Copy {adapter} as {own} and say there"
    said = (
        f"{len(lost)} functions were not found in {folder}.  {copy} which of yours they are; it says "
        "what each is given and gives:"
    )
    lines = textwrap.wrap(said, 105, break_long_words=False, break_on_hyphens=False)
    for function, why in lost.items():
        lines += textwrap.wrap(
            f"{function}: {why}", 105, initial_indent="    ", subsequent_indent="        ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return lines


def write_junit(path: Path, homework: str, reports: Sequence[TaskReport]) -> None:
    """A test case a question, as JUnit has it."""
    suites = ElementTree.Element("testsuites", name=f"course check {homework}")
    for each in reports:
        wrong = [one for one in each.verdicts if one.status in (WRONG, NOT_BEGUN)]
        errors = [one for one in each.verdicts if one.status == FAILED]
        suite = ElementTree.SubElement(
            suites, "testsuite", name=f"{each.task.name} {each.task.title}", tests=str(each.asked),
            failures=str(len(wrong) + len(each.unreached)), errors=str(len(errors)),
        )  # fmt: skip
        for one in each.verdicts:
            case = ElementTree.SubElement(
                suite, "testcase", classname=each.task.name, name=one.question.title
            )
            if one.status != RIGHT:
                kind = "error" if one.status == FAILED else "failure"
                ElementTree.SubElement(
                    case, kind, type=one.status, message=one.words
                ).text = f"read {one.question.read}"
        for place in each.unreached:
            case = ElementTree.SubElement(suite, "testcase", classname=each.task.name, name=place.what)
            ElementTree.SubElement(case, "failure", type=NOT_BEGUN, message=f"to be written: {place.place}")
    with atomic.replacing(path, advice="name another file by --junit") as beside:
        ElementTree.ElementTree(suites).write(beside, encoding="utf-8", xml_declaration=True)
