"""`python3 -m course grade`: what a group's repositories hold, with evidence and suggested points.

python3 -m course grade students.csv                # columns student_id, repository, last_name, first_name
python3 -m course grade repositories/ --out marks   # a folder that holds one repository a student

Everything is read as data: nothing is checked out, and nothing of a student's is executed unless --run is
given, and then in a sandbox alone.  What --out gets:

    index.html       for going through the group: j and k move, / searches
    grades.csv       nbgrader's columns, a line for each student and work
    criteria.csv     every item of the rubric, what was found and where
    totals.csv       points and marks by the course's scale
    similarity.csv   code and pictures that two students share
    checks.csv       with --run: what every check of the students' code said
    marks.toml       the mentor's own marks, which go before every suggestion; never overwritten
    feedback/        a page for each student, in English and Russian
    results/         the same in Gradescope's format
    changes.md       what is different from the last run

An interrupted run keeps what is done; the next one reads only what changed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import sys
import time
from concurrent.futures import TimeoutError as Late
from dataclasses import asdict
from pathlib import Path

from common import atomic
from common.errors import InputError

from pebble import ProcessExpired, ProcessPool

from course.mentor import (
    assessment,
    changes,
    feedback,
    handed_out,
    pages,
    points,
    rubric,
    running,
    sandbox,
    similarity,
    students,
    tables,
)
from course.mentor.assessment import Options
from course.mentor.rubric import Course, Rubric
from course.mentor.sandbox import Limits
from course.mentor.students import Student

WAIT = 4
"""Times the seconds of computing that a student's code may take: where other programs compute as well."""


def main(arguments: list[str]) -> int:
    """Exit status 0 when every repository was read, 1 when one was not, 2 for wrong flags or files, 130 after
    Ctrl-C."""
    options = parser().parse_args(arguments)
    try:
        return grade(options)
    except InputError as error:
        print(f"course grade: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncourse grade: interrupted; what is done is kept, start it again to go on", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python3 -m course grade",
        description=__doc__.split("\n\n", 1)[0],
        epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("students", type=Path, help="a CSV file with a line for each student, or a folder of repositories")
    add("--out", type=Path, default=Path("grades"), help="folder for what is found (default: grades)")
    add(
        "--deadlines",
        type=Path,
        default=rubric.COURSE,
        help="the year's points and dates (default: course.toml)",
    )
    add(
        "--rubric",
        type=Path,
        default=rubric.RUBRIC,
        help="what is looked for (default: rubric.toml of the course)",
    )
    add(
        "--starter",
        type=Path,
        nargs="*",
        default=[],
        help="files or folders every student was given besides the course: no evidence, and not copied",
    )
    add("--language", choices=("en", "ru"), default="en", help="of index.html (default: en)")
    add(
        "--jobs",
        type=count,
        default=os.cpu_count() or 1,
        help="students read at the same time (default: all cores)",
    )
    add("--run", action="store_true", help="run the checks on the students' code, in a sandbox")
    add(
        "--run-seconds",
        type=amount,
        default=60,
        help="of computing, for one start of a student's code (default: 60)",
    )
    add("--seconds", type=amount, default=120, help="for reading one student, after fetching (default: 120)")
    add("--limit-mb", type=count, default=1024, help="a repository may have at most so much (default: 1024)")
    add("--blob-mb", type=count, default=64, help="larger files are left on the server (default: 64)")
    return made


def count(text: str) -> int:
    """A flag's whole number from 1 on."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; a whole number from 1 on is meant")
    return int(text)


def amount(text: str) -> float:
    """A flag's number above 0."""
    if not re.fullmatch(r"[0-9]{0,9}\.?[0-9]{0,9}", text) or not re.search("[1-9]", text):
        raise argparse.ArgumentTypeError(f"{text!r}; a number above 0 is meant")
    return float(text)


def grade(options: argparse.Namespace) -> int:
    """Read what changed, then write every table and page from all there is."""
    started = time.monotonic()
    course, looked, digest = rubric.read(options.deadlines, options.rubric)
    group = students.read(options.students)
    out = options.out.resolve()
    for name in ("repositories", "students"):
        _make(out / name)
    marks = points.read_marks(out / "marks.toml", {student.id for student in group}, course, looked)
    digest += assessment.code_digest()
    if options.run:
        sandbox.refuse_without()
        digest += "with code"
    given = out / "handed-out.json"
    digest += handed_out.collect(options.starter, given)
    limits = Options(options.blob_mb, options.limit_mb, run=options.run, given=str(given))
    assessed, fresh = read_all(group, out, course, looked, digest, limits, options.jobs, options.seconds)
    if options.run:
        wait = WAIT * options.run_seconds
        limits = Limits(seconds=wait, cpu_seconds=options.run_seconds, seconds_in_all=3 * wait)
        running.run_all(assessed, out, options.jobs, limits)
    results = {
        name: points.result(each, marks.get(name, {}), course, looked) for name, each in assessed.items()
    }
    alike = similarity.compare(assessed, similarity.starter_units(options.starter, out / "starter.json"))
    changed = changes.since_last(out / "last.json", assessed, results)
    everything = tables.Everything(course, looked, assessed, results, alike, changed)
    tables.write(everything, out)
    feedback.write(everything, out)
    pages.write(everything, out / "index.html", options.language)
    changes.keep(out / "last.json", assessed, results)
    return _report(everything, out, fresh, time.monotonic() - started)


def read_all(
    group: list[Student],
    out: Path,
    course: Course,
    looked: Rubric,
    digest: str,
    limits: Options,
    jobs: int,
    seconds: float,
) -> tuple[dict[str, dict], int]:
    """Evidence of every student, in their order, and how many were read anew; each is kept as soon as it is
    there."""
    found, fresh = {}, 0
    # spawned: a fork of a process with threads and large libraries has no room left under its own limit
    fresh_processes = multiprocessing.get_context("spawn")
    with ProcessPool(
        max(1, jobs), max_tasks=20, initializer=assessment.bound_memory, context=fresh_processes
    ) as pool:
        waiting = {}
        for student in group:
            known = _known(out / "students" / f"{student.id}.json")
            mirror = out / "repositories" / f"{student.id}.git"
            waiting[student.id] = (
                known,
                pool.schedule(
                    assessment.assess,
                    args=[student, mirror, course, looked, digest, known and known.get("key"), limits],
                    timeout=limits.fetch_seconds + seconds,
                ),
            )
        try:
            for number, student in enumerate(group, 1):
                known, future = waiting[student.id]
                new = _outcome(future, student, limits.fetch_seconds + seconds)
                found[student.id] = known if new is None else new
                if new is not None:
                    fresh += 1
                    _keep(out / "students" / f"{student.id}.json", new)
                _progress(number, len(group), student, found[student.id], new is None)
        except BaseException:
            for student in group:  # those that were done while another was waited for
                _, future = waiting[student.id]
                if student.id not in found and future.done() and not future.cancelled():
                    new = _outcome(future, student, 0)
                    if new is not None:
                        _keep(out / "students" / f"{student.id}.json", new)
            pool.stop()
            raise
    return found, fresh


def _outcome(future: object, student: Student, seconds: float) -> dict | None:
    """What a worker answered; whatever ended it is a status of this one student."""
    try:
        return future.result()
    except Late:
        trouble = f"took longer than {seconds:g} s: see --seconds"
    except (ProcessExpired, MemoryError):
        trouble = "needed more memory than a student may use"
    except Exception as error:
        trouble = f"an error in reading it: {type(error).__name__}: {error}"[:300]
    return {
        "student": asdict(student),
        "status": assessment.UNAVAILABLE,
        "trouble": trouble,
        "works": {},
        "main": {},
    }


def _known(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _keep(path: Path, data: dict) -> None:
    with atomic.replacing(path, advice="make room and start again") as beside:
        beside.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8", errors="backslashreplace")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out {folder.parent}: {error.strerror}; name a folder that can be written"
        ) from None


def _progress(number: int, count: int, student: Student, found: dict, unchanged: bool) -> None:
    works = ", ".join(found["works"]) or "no homework found"
    said = found.get("trouble") or works
    print(f"[{number}/{count}] {student.id}: {said}{' (unchanged)' if unchanged else ''}", flush=True)


def _report(everything: tables.Everything, out: Path, fresh: int, seconds: float) -> int:
    lost = [name for name, each in everything.assessed.items() if each["status"] != assessment.READ]
    print(f"\n{len(everything.assessed)} students in {seconds:.0f} s, {fresh} of them new or changed")
    print(
        f"{len(everything.changed)} changes since the last run (changes.md)"
        if everything.changed
        else "no changes"
    )
    if everything.alike:
        print(f"{len(everything.alike)} pairs share code or pictures (similarity.csv)")
    print(f"open {out / 'index.html'}")
    if lost:
        print(f"course grade: could not be read: {', '.join(lost)}", file=sys.stderr)
    return 1 if lost else 0
