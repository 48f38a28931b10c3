"""What the course itself hands out: no evidence of a student's work, whatever it says.

Known are every file that the course's repository ever held, by its name in git, and the lines of its pages
and scripts, so that a file which a student began with and then changed counts for its own lines alone.  Lines
inside a task are not handed out: starter code has none of them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from common import atomic
from common.errors import InputError

from course import tasks
from course.mentor import git
from course.mentor.git import GitError, Limits
from course.mentor.layout import README
from course.mentor.page import Page

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_GIT = (
    "README*",
    "requirements.txt",
    "common",
    "course",
    "hw*",
    "lab*",
    "tests",
    "theory",
    "benchmarks",
)
"""What is read where the course's folder is no repository."""
PAGES, SCRIPTS = (".md",), (".py", ".ipynb")
TEMPLATES = "course/student/templates/"
LINK = re.compile(r"(?P<picture>!?)\[(?P<words>(?:[^\[\]]|\[[^\[\]]*\])*)\]\([^()\s]+\)")
CODE_OF_TWO_LINES = re.compile(r"`[^`\n]*\n[^`\n]*`")
NO_WORDS = re.compile(r"^\s*(?:>\s*)*\d+[.)]\s|</?\w[^<>]*>")
"""The number of a list's item, and tags."""
LONG_LINE, LEAST_LONG = 20, 15
"""A file that has so many lines of at least so many letters of one of the course's was made of that one."""


class HandedOut:
    """What the course hands out, ready to be asked."""

    def __init__(self, blobs: Iterable[str] = (), paths: Iterable[str] = (), lines: dict | None = None):
        self.blobs, self.paths, self.lines = set(blobs), list(paths), lines or {}

    def is_whole(self, blob: str) -> bool:
        """Whether a file is one of the course's as it stands."""
        return blob in self.blobs

    def own_code(self, path: str, text: str) -> str:
        """The lines of a script or cell that are the student's, under the heads of the functions and classes
        they stand in; the whole text where it was not made of a file of the course's."""
        if not self.lines:
            return text
        lines = text.splitlines()
        keys = [code_key(line) for line in lines]
        given = self._given(path, lines, keys)
        if not given:
            return text
        own = {
            number
            for number, (line, key) in enumerate(zip(lines, keys))
            if key
            and key not in given
            and not line.lstrip().startswith("#")
            and not tasks.UNWRITTEN.fullmatch(line)
        }
        return "\n".join(lines[number] for number in sorted(own | _heads(lines, own)))

    def mark(self, page: Page, blob: str = "") -> None:
        """Leave on a page what the student wrote: headings stay, as what stands under them may be own."""
        if not self.lines:
            return
        lines = [line for block in page.blocks for line in block.text.split("\n")]
        keys = [text_key(line) for line in lines]
        given = set(keys) if self.is_whole(blob) else self._given(page.file, lines, keys)
        kept = []
        for block in page.blocks if given else ():
            own = [line for line in block.text.split("\n") if (key := text_key(line)) and key not in given]
            if block.kind in ("heading", "output"):
                kept.append(replace(block, own=block.kind == "output" or bool(own)))
            elif block.kind == "code":
                if code := self.own_code(page.file, block.text):
                    kept.append(replace(block, text=code))
            elif own:
                first = block.text.split("\n", 1)[0]
                head = [first] if block.kind == "table" and first not in own else []
                kept.append(replace(block, text="\n".join(head + own)))
        if given:
            page.blocks = kept
            page.given = not any(block.own for block in kept)
            page.links = [] if page.given else page.links

    def _given(self, path: str, lines: list[str], keys: list[str]) -> set[str]:
        """Those of the keys that are lines of the files a student's file was made of."""
        places = {key: self.lines[key] for key in keys if key in self.lines}
        shared: dict[int, set[str]] = {}
        for line, key in zip(lines, keys):
            for place in places.get(key, ()) if len(line.strip()) >= LONG_LINE else ():
                shared.setdefault(place, set()).add(key)
        name = _name(path)
        made_of = {place for place, common in shared.items() if len(common) >= LEAST_LONG}
        made_of |= {place for place, each in enumerate(self.paths) if f"/{name}".endswith(f"/{each}")}
        return {key for key, where in places.items() if not made_of.isdisjoint(where)}


def _heads(lines: list[str], own: set[int]) -> set[int]:
    """The lines with `def` and `class` above the given lines that these stand in."""
    found, above = set(), []
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        above = [each for each in above if each[0] < indent]
        if number in own:
            found.update(place for _, place in above)
        if re.match(r"\s*(?:async\s+def|def|class)\b", line):
            above.append((indent, number))
    return found


def _name(path: str) -> str:
    """READMEs and the templates they begin as are one: `course start` moves them about."""
    if README.match(path.rsplit("/", 1)[-1]) or path.startswith(TEMPLATES):
        return "README"
    return path


def code_key(line: str) -> str:
    """What is kept of a line of code; empty for a blank one."""
    plain = " ".join(line.split())
    return _key("code", plain) if plain else ""


def text_key(line: str) -> str:
    """What is kept of a line of a page: its words, without marks of Markdown and HTML."""
    plain = " ".join(re.findall(r"[^\W_]+", NO_WORDS.sub("", line)))
    return _key("text", plain.casefold()) if plain else ""


def _key(kind: str, plain: str) -> str:
    return hashlib.blake2b(f"{kind} {plain}".encode("utf-8", "replace"), digest_size=8).hexdigest()


# ---- reading the course's own clone

known_code_key, known_text_key = (
    functools.lru_cache(1 << 18)(code_key),
    functools.lru_cache(1 << 18)(text_key),
)
"""For the course's lines, most of which stand in many versions of a file."""


def collect(extra: Iterable[Path], kept: Path) -> str:
    """Write into `kept` what the course and the files `extra` hold, unless it stands there already; a digest
    of it."""
    more = [
        (file.relative_to(path if path.is_dir() else path.parent).as_posix(), content)
        for path in extra
        for file, content in contents([path])
    ]
    here = [] if _history() else list(_on_disk())
    named = [*_history(), *((_blob(content), path) for path, content in [*here, *more])]
    parts = [Path(__file__).read_bytes(), Path(tasks.__file__).read_bytes(), repr(named).encode()]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    try:
        known = json.loads(kept.read_text(encoding="utf-8"))["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        known = None
    if known != digest:
        places: dict[str, int] = {}
        lines: dict[str, set[int]] = {}
        for path, content in [*_texts(_history()), *here, *more]:
            place = places.setdefault(_name(path), len(places))
            for key in _keys(path, content):
                lines.setdefault(key, set()).add(place)
        data = {"digest": digest, "blobs": sorted({blob for blob, _ in named}), "paths": list(places)}
        data["lines"] = {key: sorted(found) for key, found in lines.items()}
        with atomic.replacing(kept, advice="make room and start again") as beside:
            beside.write_text(json.dumps(data), encoding="utf-8")
    return digest


@functools.lru_cache(1)
def load(kept: str) -> HandedOut:
    """What `collect` wrote; nothing for an empty name."""
    if not kept:
        return HandedOut()
    data = json.loads(Path(kept).read_text(encoding="utf-8"))
    return HandedOut(data["blobs"], data["paths"], data["lines"])


def contents(paths: Iterable[Path]) -> list[tuple[Path, bytes]]:
    """The files of the folders and files that --starter names."""
    files = [
        file
        for path in paths
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if not file.is_dir()
    ]
    try:
        return [(file, file.read_bytes()) for file in files]
    except OSError as error:
        raise InputError(
            f"--starter {error.filename}: {error.strerror}; name existing files or folders"
        ) from None


@functools.cache
def _history() -> list[tuple[str, str]]:
    """(name in git, path) of everything in the history of the course; empty where it has none here."""
    try:
        printed = git.run(["rev-list", "--objects", "HEAD"], ROOT / ".git", limits=Limits(seconds=120))
    except GitError:
        return []
    entries = (line.split(" ", 1) for line in printed.decode("utf-8", "replace").splitlines())
    return [(entry[0], entry[1]) for entry in entries if len(entry) == 2 and entry[1]]


def _texts(named: list[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    """(path, content) of the pages and scripts of the history."""
    wanted = [(blob, path) for blob, path in named if path.endswith(PAGES + SCRIPTS)]
    asked = "".join(f"{blob}\n" for blob, _ in wanted).encode()
    printed = (
        git.run(["cat-file", "--batch"], ROOT / ".git", stdin=asked, limits=Limits(120)) if wanted else b""
    )
    place = 0
    for _, path in wanted:
        end = printed.index(b"\n", place)
        words = printed[place:end].split()
        size = int(words[2]) if len(words) == 3 else -1  # missing in a partial clone
        if size >= 0:
            yield path, printed[end + 1 : end + 1 + size]
        place = end + 2 + size


def _on_disk() -> Iterator[tuple[str, bytes]]:
    for path, content in contents(sorted(each for name in WITHOUT_GIT for each in ROOT.glob(name))):
        yield path.relative_to(ROOT).as_posix(), content


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _keys(path: str, content: bytes) -> set[str]:
    """The keys of the lines of a page or script, those inside tasks left out."""
    text = content.decode("utf-8", "replace")
    if path.endswith(PAGES):
        words = LINK.sub(lambda link: "" if link["picture"] else link["words"], text)
        joined = CODE_OF_TWO_LINES.sub(lambda code: code[0].replace("\n", " "), words)  # as it is read
        return {known_text_key(line) for line in [*words.splitlines(), *joined.splitlines()]} - {""}
    if not path.endswith(".py"):
        return set()
    lines = text.splitlines()
    try:
        found = tasks.regions(text, path) if "# task " in text else []
    except tasks.TaskError:  # of an earlier time
        found = []
    inside = {number for region in found for number in range(region.first - 1, region.last)}
    return {known_code_key(line) for number, line in enumerate(lines) if number not in inside} - {""}
