"""Who is to be graded: the rows of a CSV file, or the repositories of a folder."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from common.errors import InputError

COLUMNS = {
    "id": ("student_id", "id", "login", "username", "user", "логин", "студент_id"),
    "last_name": ("last_name", "surname", "family_name", "фамилия"),
    "first_name": ("first_name", "given_name", "имя"),
    "name": ("name", "student", "full_name", "фио", "студент"),
    "email": ("email", "e_mail", "mail", "почта"),
    "source": ("repository", "repo", "url", "link", "path", "репозиторий", "ссылка"),
}
"""Headings as people write them, for each thing a row can say."""
ENCODINGS = ("utf-8-sig", "cp1251")  # of files saved by spreadsheets
MOST_BYTES, MOST_STUDENTS = 4 << 20, 2000
WEB_PARTS = re.compile(r"/(?:-/)?(?:tree|blob|raw|commits|pull|merge_requests)/.*$")


@dataclass(frozen=True)
class Student:
    """One row: who, and where the work lies."""

    id: str
    """Names files: letters of any alphabet, digits, `.`, `-`, `_`; never empty."""
    source: str
    """An address, or the path of a folder."""
    last_name: str = ""
    first_name: str = ""
    email: str = ""

    @property
    def name(self) -> str:
        return f"{self.last_name} {self.first_name}".strip() or self.id

    @property
    def protocol(self) -> str:
        """The one transport that git may use for it: https, ssh or file; InputError for any other."""
        return protocol(self.source)


def read(path: Path) -> list[Student]:
    """The students of a CSV file, or of a folder that holds one repository for each, in their order."""
    path = Path(path)
    if path.is_dir():
        if is_repository(path):
            raise InputError(
                f"{path}: a repository itself; give the folder that holds the students' repositories, "
                "or a CSV file"
            )
        folders = [each for each in sorted(path.iterdir()) if each.is_dir() and not each.name.startswith(".")]
        found = [Student(identifier(each.name), str(each)) for each in folders]
        lack = "no folders in it; give the folder that holds the students' repositories, or a CSV file"
    elif path.is_file():
        found = [_student(row, number, path) for number, row in _rows(path)]
        lack = "no rows in it; a heading and a line for each student are needed"
    else:
        raise InputError(f"{path}: no such file or folder; give a CSV file, or a folder of repositories")
    if not found:
        raise InputError(f"{path}: {lack}")
    if len(found) > MOST_STUDENTS:
        raise InputError(f"{path}: {len(found)} students; at most {MOST_STUDENTS} are graded at once")
    _refuse_twins(found, path)
    return found


def is_repository(folder: Path) -> bool:
    """Whether a folder is one repository, bare or not, rather than a folder of them."""
    return (folder / ".git").exists() or all((folder / name).exists() for name in ("HEAD", "objects", "refs"))


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Number of the line and what stands in it, for each line that is not empty."""
    text = _text(path)
    first = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count))
    try:
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file ({error}); save it as one, in UTF-8") from None
    heading = [_column(cell) for cell in (lines[0][1] if lines else [])]
    if "source" not in heading or not {"id", "name", "last_name"} & set(heading):
        raise InputError(
            f"{path}: its first line is {first[:100]!r}; columns `student_id` and `repository` are needed, "
            "`last_name`, `first_name` and `email` are read if there"
        )
    return [(number, dict(zip(heading, row))) for number, row in lines[1:] if any(row)]


def _text(path: Path) -> str:
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path}: larger than {MOST_BYTES >> 20} MB, so not a list of students")
    content = path.read_bytes()
    for encoding in ENCODINGS:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise InputError(f"{path}: neither UTF-8 nor Windows-1251; save it in UTF-8")


def _column(heading: str) -> str:
    """What a heading means, or the heading itself."""
    plain = re.sub(r"\W+", "_", heading.strip().casefold()).strip("_")
    return next((column for column, names in COLUMNS.items() if plain in names), plain)


def _student(row: dict[str, str], number: int, path: Path) -> Student:
    """One row; a path in it begins where the CSV file lies."""
    last, first = row.get("last_name", ""), row.get("first_name", "")
    if not last and not first:
        last, _, first = row.get("name", "").partition(" ")
    who = row.get("id") or f"{last}-{first}".strip("-")
    source = row.get("source", "")
    if not who:
        raise InputError(f"{path}: line {number} names no student; fill in `student_id`")
    if source and "://" not in source and not re.match(r"[\w.-]+@[\w.-]+:", source):
        source = str(path.parent / Path(os.path.expanduser(source)))
    return Student(identifier(who), trimmed(source), last, first, row.get("email", ""))


def _refuse_twins(students: list[Student], path: Path) -> None:
    seen: dict[str, Student] = {}
    for student in students:
        twin = seen.setdefault(student.id.casefold(), student)
        if twin is not student:
            raise InputError(
                f"{path}: {student.id!r} stands there twice; give each student an id of their own"
            )


def identifier(text: str) -> str:
    """A name for files from whatever a student is called: `Иванов И.` -> `Иванов-И-1f0c`, a plain name as it
    is; never empty."""
    text = unicodedata.normalize("NFC", text).removesuffix(".git")
    plain = re.sub(r"[^\w.-]+", "-", text).strip("-.")[:60]
    if plain and plain == text:
        return plain
    return f"{plain or 'student'}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:4]}"


def trimmed(source: str) -> str:
    """The repository of an address copied from a browser: what follows `/tree/…` belongs to a page of it."""
    if not source.startswith(("https://", "http://")):
        return source
    return WEB_PARTS.sub("", source.split("?", maxsplit=1)[0].split("#", maxsplit=1)[0].rstrip("/"))


def protocol(source: str) -> str:
    """https, ssh or file, whichever git is to use; InputError for anything else."""
    if not source:
        raise InputError("no repository is named for this student")
    if any(not character.isprintable() for character in source) or source.startswith("-"):
        raise InputError(f"{source[:80]!r} is not an address of a repository")
    if re.match(r"[\w.-]+@[\w.-]+:(?!:)", source):
        return "ssh"
    scheme = urlsplit(source).scheme.lower() if "://" in source else ""
    if scheme in ("https", "ssh"):
        host = urlsplit(source).hostname or ""
        if host and not host.startswith("-"):
            return scheme
    elif not scheme and not re.match(r"\w+::", source):
        return "file"
    raise InputError(f"{source[:80]!r} is not read: only https://, ssh and paths of folders are")
