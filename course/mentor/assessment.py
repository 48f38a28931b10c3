"""One student from the repository to the evidence, as plain data that can be kept."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from course.mentor import (
    evidence,
    handed_out,
    history,
    layout,
    main_page,
    remarks,
    repositories,
    running,
    similarity,
)
from course.mentor.layout import README, Submission
from course.mentor.objects import File, Objects, Tree, shown
from course.mentor.page import Page
from course.mentor.reading import Reader, Reading
from course.mentor.repositories import Mirror, Unavailable
from course.mentor.rubric import Course, Rubric
from course.mentor.students import Student

MOST_IN_GALLERY, MOST_THUMBNAILS = 120, 24
WORKER_MEMORY = 3 << 30
"""Address space of a process that reads students' files, libraries included: a bomb ends it, not this
computer."""
READ, UNAVAILABLE = "read", "could not be read"


@dataclass(frozen=True)
class Options:
    """What a run of `grade` was asked for, as far as one student needs it."""

    blob_mb: int = 64
    limit_mb: int = 1024
    fetch_seconds: float = 300
    run: bool = False
    """Whether the code is wanted, for the checks."""
    given: str = ""
    """Where handed_out.py keeps what the course hands out; empty where nothing was."""


def code_digest() -> str:
    """Changes with every file here: evidence of another version is not reused."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.*")):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def bound_memory() -> None:
    """Of a process that decodes what students wrote.

    It stands here and not in grade.py, whose libraries take seconds to import: workers need none of them."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (WORKER_MEMORY, WORKER_MEMORY))
    except (ImportError, ValueError, OSError):
        pass


def assess(
    student: Student,
    mirror_folder: Path,
    course: Course,
    rubric: Rubric,
    digest: str,
    known: str | None,
    options: Options,
) -> dict | None:
    """What there is of one student; None if nothing changed since the evidence with the key `known`.

    digest: of the rubric and the code; together with the repository's state it makes the key.
    """
    limits = {"blob_mb": options.blob_mb, "limit_mb": options.limit_mb, "seconds": options.fetch_seconds}
    try:
        mirror = repositories.update(student, mirror_folder, **limits)
    except Unavailable as error:
        return {
            "student": asdict(student),
            "status": UNAVAILABLE,
            "trouble": str(error),
            "works": {},
            "main": {},
        }
    key = hashlib.sha256(f"{digest} {mirror.key()} {student} {sorted(mirror.rewritten)}".encode()).hexdigest()
    if key == known:
        return None
    return {
        "key": key,
        "student": asdict(student),
        "status": READ,
        **_read(student, mirror, course, rubric, options),
    }


def _read(student: Student, mirror: Mirror, course: Course, rubric: Rubric, options: Options) -> dict:
    with Objects(mirror.folder) as objects:
        reader = Reader(objects, student.source, handed_out.load(options.given))
        titles: dict[str, str] = {}

        def title(file: File) -> str:
            if file.id not in titles:
                blocks = reader.page(file).blocks
                titles[file.id] = next((block.text for block in blocks if block.kind == "heading"), "")
            return titles[file.id]

        changed = lambda commit, folder: history.last_change(mirror.folder, commit, folder)
        found, default, notes = layout.find(mirror, objects, rubric.names, changed, title)
        page = _main_page(default, reader)
        main = main_page.evidence_of(page, rubric, student.last_name, student.first_name)
        return {
            "notes": [*mirror.notes, *notes],
            "main": {name: evidence.as_data(each) for name, each in main.items()},
            "works": {
                work: _work(found[work], mirror, reader, course, rubric)
                | ({"program": running.program(found[work], objects)} if options.run else {})
                for work in rubric.works
                if work in found
            },
        }


def _main_page(default: Tree | None, reader: Reader) -> Page | None:
    """The README on top of the default branch."""
    files = default.files if default else []
    top = next((file for file in files if "/" not in file.path and README.match(file.path)), None)
    return reader.page(top) if top else None


def _work(submission: Submission, mirror: Mirror, reader: Reader, course: Course, rubric: Rubric) -> dict:
    """Place, dates, evidence and remarks of one work."""
    reading = reader.read(submission)
    checks = evidence.Checks(reading, rubric)
    demands = rubric.works[submission.work]
    return {
        "place": submission.place,
        "how": submission.how,
        "commit": submission.reference.commit,
        "others": submission.others,
        "dates": _dates(submission, mirror, course),
        "items": {name: evidence.as_data(checks.evidence(rubric.items[name])) for name in demands.items},
        "remarks": remarks.remarks(reading),
        "gallery": _gallery(reading, checks),
        "code": similarity.units(reading.code),
        "notes": [shown(note, 300) for note in reading.notes],
    }


def _gallery(reading: Reading, checks: evidence.Checks) -> list[dict]:
    """The pictures, each once, with what to compare them by; thumbnails of the first ones."""
    found: dict[str, dict] = {}
    for seen in reading.pictures:
        name = seen.picture.digest if seen.picture else f"{seen.shown.where} {seen.shown.target[:80]}"
        if name in found or len(found) >= MOST_IN_GALLERY:
            continue
        picture = seen.picture
        found[name] = {
            "label": seen.label,
            "where": seen.shown.where,
            "status": seen.status,
            "note": seen.note,
            "plot": checks.is_plot(seen),
            "digest": picture.digest if picture else "",
            "hash": "" if picture is None or picture.looks_drawn else picture.hash,
            "jpeg": picture.thumbnail if picture and len(found) < MOST_THUMBNAILS else "",
        }
    return list(found.values())


def _dates(submission: Submission, mirror: Mirror, course: Course) -> dict | None:
    """What the commits say about the deadline; None where git has no history of it."""
    reference = submission.reference
    found = history.commits(mirror.folder, reference.commit, submission.folder)
    if not found:
        return None
    work = next(work for work in course.works if work.id == submission.work)
    moment = lambda day: None if day is None else history.end_of_day(day, course.utc_offset_hours)
    dates = history.judge(
        found,
        moment(work.deadline),
        moment(course.grade.last_push),
        mirror.first_seen.get(reference.commit),
        time.time(),
    )
    if before := mirror.rewritten.get(reference.name):
        dates.notes.append(
            f"the history was rewritten: {before[:10]}, seen here earlier, is no longer part of it"
        )
    return asdict(dates)
