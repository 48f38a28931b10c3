"""All that one submission shows, read once: its pages, its code, its pictures and what it says it needs."""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from dataclasses import dataclass, field

from course.mentor import markdown, notebooks, pictures, requirements_files, targets
from course.mentor.handed_out import HandedOut
from course.mentor.layout import Submission
from course.mentor.objects import File, Objects, Unreadable, shown
from course.mentor.page import Page, Shown
from course.mentor.pictures import Picture
from course.mentor.requirements_files import Needs

MOST_NOTEBOOKS, MOST_SCRIPTS, MOST_SCRIPT_BYTES, MOST_TOTAL_BYTES = 40, 300, 1 << 20, 200 << 20
MOST_DECODED, MOST_UNSHOWN, MOST_IN_A_FOLDER = 250, 40, 60
PICTURE_FILE = re.compile(r"\.(png|jpe?g|gif|webp|bmp|svg)$", re.IGNORECASE)
DATA_FOLDER = re.compile(
    r"(^|/)(data|datasets?|train|test|val|images_data|\.ipynb_checkpoints|node_modules|venv|\.venv)/", re.I
)
OK, MISSING, UNREADABLE, EXTERNAL = "ok", "missing", "unreadable", "external"
GIVEN = "given"
"""Of a picture that the course handed out; none of a reading's pictures has it."""


@dataclass
class Seen:
    """A picture that was meant to be shown, and what became of it."""

    shown: Shown
    status: str
    note: str = ""
    picture: Picture | None = None

    @property
    def label(self) -> str:
        """How a person would call it."""
        return shown(self.shown.alt or self.shown.target.rsplit("/", 1)[-1] or self.shown.where, 80)


@dataclass
class Reading:
    """What there is to look for evidence in."""

    pages: list[Page] = field(default_factory=list)
    """READMEs, then notebooks."""
    code: list[tuple[str, str]] = field(default_factory=list)
    """(place, text) of scripts and code cells."""
    own: list[tuple[str, str]] = field(default_factory=list)
    """The same, without what the course handed out."""
    pictures: list[Seen] = field(default_factory=list)
    needs: list[Needs] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    """Of every file of the branch: a page may name one of another folder."""
    unread: list[str] = field(default_factory=list)
    """Notebooks and scripts that are there and could not be read."""

    @property
    def readmes(self) -> list[Page]:
        return [page for page in self.pages if not page.notebook]


class Reader:
    """Reads submissions of one student; a page or picture that two of them share is read once."""

    def __init__(self, objects: Objects, source: str, given: HandedOut | None = None):
        self.objects, self.source, self.given = objects, source, given or HandedOut()
        self.looked: dict[str, Picture] = {}
        self.bytes_left = MOST_TOTAL_BYTES

    def read(self, submission: Submission) -> Reading:
        """Everything of one submission, as far as the caps allow."""
        reading = Reading(paths=[file.path for file in submission.tree.files])
        for file in submission.readmes:
            if (content := self._content(file, reading, markdown.MOST_BYTES * 4)) is not None:
                self._add(reading, markdown.read(shown(file.path), content), file)
        self._read_notebooks(submission, reading)
        self._read_scripts(submission, reading)
        self._read_needs(submission, reading)
        self._look(submission, reading)
        return reading

    def page(self, file: File) -> Page:
        """One README by itself."""
        reading = Reading()
        content = self._content(file, reading, markdown.MOST_BYTES * 4)
        page = markdown.read(shown(file.path), content or b"")
        page.notes += reading.notes
        self.given.mark(page, file.id)
        return page

    def _content(self, file: File, reading: Reading, most: int) -> bytes | None:
        if file.kind != "file":
            reading.notes.append(f"{shown(file.path)}: a {file.kind}, which is not followed")
            return None
        try:
            content = self.objects.read(file.id, min(most, self.bytes_left))
        except Unreadable as error:
            reading.notes.append(f"{shown(file.path)}: {error}")
            return None
        self.bytes_left -= len(content)
        return content

    def _add(self, reading: Reading, page: Page, file: File) -> None:
        self.given.mark(page, file.id)
        reading.pages.append(page)
        reading.notes += [f"{page.file}: {note}" for note in page.notes]

    def _read_notebooks(self, submission: Submission, reading: Reading) -> None:
        found = [file for file in submission.files if file.path.lower().endswith(".ipynb")]
        found = [file for file in found if not DATA_FOLDER.search(file.path)]
        for file in found[:MOST_NOTEBOOKS]:
            content = self._content(file, reading, notebooks.MOST_BYTES)
            if content is None:
                reading.unread.append(shown(file.path))
                continue
            page = notebooks.read(shown(file.path), content)
            if not page.blocks and page.notes:
                reading.unread.append(page.file)
            cells = lambda page: [(each.where, each.text) for each in page.blocks if each.kind == "code"]
            reading.code += cells(page)
            self._add(reading, page, file)
            reading.own += cells(page)
        if len(found) > MOST_NOTEBOOKS:
            reading.notes.append(f"only {MOST_NOTEBOOKS} of {len(found)} notebooks are read")

    def _read_scripts(self, submission: Submission, reading: Reading) -> None:
        found = [file for file in submission.files if file.path.lower().endswith(".py")]
        for file in found[:MOST_SCRIPTS]:
            content = self._content(file, reading, MOST_SCRIPT_BYTES)
            if content is None:
                reading.unread.append(shown(file.path))
            else:
                text = markdown.decoded(content)
                reading.code.append((shown(file.path), text))
                if not self.given.is_whole(file.id) and (own := self.given.own_code(file.path, text)):
                    reading.own.append((shown(file.path), own))
        if len(found) > MOST_SCRIPTS:
            reading.notes.append(f"only {MOST_SCRIPTS} of {len(found)} scripts are read")

    def _read_needs(self, submission: Submission, reading: Reading) -> None:
        """Files of the homework, else those on top of its branch, and install cells."""
        inside = [file for file in submission.files if requirements_files.is_requirements(file.path)]
        on_top = [
            file
            for file in submission.tree.files
            if "/" not in file.path and requirements_files.is_requirements(file.path)
        ]
        for file in (inside or on_top)[:20]:
            if (
                self.given.is_whole(file.id) and not reading.own
            ):  # the course's list, and nothing that needs it
                continue
            content = self._content(file, reading, requirements_files.MOST_BYTES)
            if content is not None:
                reading.needs.append(requirements_files.read(shown(file.path), content))
        reading.needs += requirements_files.from_cells(reading.code)

    def _look(self, submission: Submission, reading: Reading) -> None:
        """Decode the pictures that pages show, and those that lie beside them unshown."""
        files = {file.path.casefold(): file for file in submission.tree.files}
        files |= {file.path: file for file in submission.tree.files}
        used: set[str] = set()
        for page in reading.pages:
            found = [self._see(picture, submission, files, used) for picture in page.pictures]
            page.pictures = [each.shown for each in found if each.status != GIVEN]
            page.given = page.given and not page.pictures
            reading.pictures += [each for each in found if each.status != GIVEN]
        left = [file for file in submission.files if PICTURE_FILE.search(file.path) and file.path not in used]
        left = [file for file in left if file.kind == "file" and not DATA_FOLDER.search(file.path)]
        left = [file for file in left if not self.given.is_whole(file.id)]
        by_folder: dict[str, list[File]] = {}
        for file in left:
            by_folder.setdefault(posixpath.dirname(file.path), []).append(file)
        few = [file for group in by_folder.values() if len(group) <= MOST_IN_A_FOLDER for file in group]
        for file in few[:MOST_UNSHOWN]:
            place = Shown("", shown(file.path), file.path)
            reading.pictures.append(
                self._from_file(place, file, note="lies in the folder, and no page shows it")
            )

    def _see(self, picture: Shown, submission: Submission, files: dict[str, File], used: set[str]) -> Seen:
        """What became of one picture of a page; the path of its file goes into `used`."""
        if (content := _embedded(picture)) is not None:
            return self._decode(picture, content)
        branch = submission.reference.name.removeprefix("origin/")
        paths, elsewhere = targets.paths(picture.target.strip(), picture.page, self.source, branch)
        for path in paths:
            file = files.get(path) or files.get(path.casefold())
            if file is not None:
                used.add(file.path)
                other = "" if file.path == path else f"its name is {shown(file.path)}: the case differs"
                return self._from_file(picture, file, note=other)
        if elsewhere:
            return Seen(picture, EXTERNAL, "lies on another site: not looked at")
        return Seen(picture, MISSING, f"shows {shown(picture.target, 80)}, which is not there")

    def _from_file(self, picture: Shown, file: File, note: str = "") -> Seen:
        if self.given.is_whole(file.id):
            return Seen(picture, GIVEN)
        if file.kind != "file":
            return Seen(picture, UNREADABLE, f"a {file.kind}, which is not followed")
        if file.id not in self.looked:
            if len(self.looked) >= MOST_DECODED:
                return Seen(picture, UNREADABLE, f"more than {MOST_DECODED} pictures: not looked at")
            try:
                self.looked[file.id] = pictures.look(self.objects.read(file.id, pictures.MOST_BYTES))
            except Unreadable as error:
                return Seen(picture, UNREADABLE, str(error))
        return _judged(picture, self.looked[file.id], note)

    def _decode(self, picture: Shown, content: bytes) -> Seen:
        if len(self.looked) >= MOST_DECODED:
            return Seen(picture, UNREADABLE, f"more than {MOST_DECODED} pictures: not looked at")
        found = pictures.look(content)
        self.looked.setdefault(found.digest, found)
        return _judged(picture, found, "")


def _judged(shown_: Shown, picture: Picture, note: str) -> Seen:
    if picture.trouble:
        return Seen(shown_, UNREADABLE, picture.trouble, picture)
    return Seen(shown_, OK, note, picture)


def _embedded(picture: Shown) -> bytes | None:
    """The picture that a page holds itself; None where it names a file."""
    if picture.data is not None or not picture.target.startswith("data:"):
        return picture.data
    try:
        return base64.b64decode(picture.target.partition(",")[2][: pictures.MOST_BYTES])
    except (binascii.Error, ValueError):
        return b""
