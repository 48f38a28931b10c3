"""Files of a commit as bytes, straight from git's objects: trees are read here entry by entry, with caps.

Names are bytes that a student chose.  Those that no checkout should take (`..`, with a slash, `.git`,
empty) are counted and left out; links and submodules are named and never followed.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from course.mentor import git

MOST_FILES, MOST_DEPTH, MOST_TREE_BYTES, MOST_COMMIT_BYTES = 20_000, 40, 16 << 20, 1 << 20
FOLDER, LINK, SUBMODULE = 0o40000, 0o120000, 0o160000
FORBIDDEN_NAMES = {b"", b".", b"..", b".git"}


class Unreadable(Exception):
    """Why an object is not read, in a few words."""


@dataclass(frozen=True)
class File:
    """One entry of a commit's tree."""

    path: str
    """Bytes that are no UTF-8 as lone surrogates; `shown` makes it printable."""
    id: str
    kind: str = "file"
    """file, link or submodule."""


@dataclass
class Tree:
    """The files of a commit, and what was odd about them."""

    files: list[File] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Objects:
    """The objects of one bare repository, read through one git process while the `with` block lasts."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Objects:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def read(self, name: str, most: int) -> bytes:
        """The content of an object of at most `most` bytes; Unreadable otherwise."""
        size = self._ask(name)
        if size > most:
            self._end()  # before git has written it all
            raise Unreadable(f"too large: {megabytes(size)} (at most {megabytes(most)} are read)")
        content = self._process.stdout.read(size + 1)
        if len(content) != size + 1:
            self._end()
            raise Unreadable("damaged, or git needs too much memory for it")
        return content[:-1]

    def tree(self, commit: str) -> Tree:
        """The files of a commit, at most MOST_FILES of them and MOST_DEPTH folders deep."""
        found, odd, folded = Tree(), Counter(), set()
        waiting = [("", self._tree_of(commit), 0)]
        folders = 0
        while waiting:
            prefix, name, depth = waiting.pop()
            inner = []
            for mode, path, entry in self._entries(prefix, name, odd, found.notes):
                odd["names that differ only by case"] += path.casefold() in folded
                folded.add(path.casefold())
                if mode != FOLDER:
                    found.files.append(
                        File(path, entry, {LINK: "link", SUBMODULE: "submodule"}.get(mode, "file"))
                    )
                elif depth < MOST_DEPTH:
                    inner.append((path + "/", entry, depth + 1))
                else:
                    odd[f"folders more than {MOST_DEPTH} deep, not looked into"] += 1
            folders += len(inner)
            waiting += reversed(inner)
            if len(found.files) + folders > MOST_FILES:
                found.notes.append(f"more than {MOST_FILES} files and folders: the rest is not looked at")
                del found.files[MOST_FILES:]
                break
        found.notes += [f"{what}: {count}" for what, count in odd.items() if count]
        return found

    def _tree_of(self, commit: str) -> str:
        words = self.read(commit, MOST_COMMIT_BYTES)[:80].split()
        if words[:1] != [b"tree"]:
            raise Unreadable("the reference points to no commit")
        return words[1].decode("ascii", "replace")

    def _entries(
        self, prefix: str, name: str, odd: Counter, notes: list[str]
    ) -> Iterator[tuple[int, str, str]]:
        """Mode, whole path and object of each acceptable entry of one folder."""
        try:
            content = self.read(name, MOST_TREE_BYTES)
        except Unreadable as error:
            notes.append(f"folder {shown(prefix) or '/'}: {error}")
            return
        for mode, raw, entry in entries(content, len(name) // 2):
            if trouble := _trouble(raw):
                odd[trouble] += 1
                continue
            yield mode, prefix + raw.decode("utf-8", "surrogateescape"), entry

    def _ask(self, name: str) -> int:
        """Send a name to `git cat-file` and read the line it answers with: how many bytes follow."""
        if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", name):
            raise Unreadable("not the name of an object")
        if self._process is None:
            self._process = git.start(["cat-file", "--batch"], self.folder)
        line = b""
        with contextlib.suppress(OSError):  # it may have ended
            self._process.stdin.write(f"{name}\n".encode())
            self._process.stdin.flush()
            line = self._process.stdout.readline(400)
        words = line.split()
        if len(words) == 3 and words[2].isdigit():
            return int(words[2])
        if words[1:] == [b"missing"]:
            raise Unreadable("too large, left out when the repository was fetched (or lost)")
        self._end()
        raise Unreadable("damaged, or git needs too much memory for it")

    def _end(self) -> None:
        if self._process is not None:
            git.end(self._process)
        self._process = None


def entries(content: bytes, length: int) -> Iterator[tuple[int, bytes, str]]:
    """Mode, name and object of each entry of a raw tree whose object names have `length` bytes."""
    place = 0
    while place < len(content):
        space = content.find(b" ", place, place + 12)
        end = content.find(b"\0", space)
        if space < 0 or end < 0 or len(content) < end + 1 + length or content[place:space].strip(b"01234567"):
            raise Unreadable("damaged folder")
        yield (
            int(content[place:space] or b"0", 8),
            content[space + 1 : end],
            content[end + 1 : end + 1 + length].hex(),
        )
        place = end + 1 + length


def _trouble(name: bytes) -> str | None:
    """What is wrong with one name in a folder, if anything."""
    if name.lower() in FORBIDDEN_NAMES or b"/" in name or b"\\" in name:
        return "names that lead out of the folder or into .git, left out"
    if len(name) > 255:
        return "names longer than any file system takes, left out"
    return None


def megabytes(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MB" if size >= 1 << 20 else f"{size / 1024:,.1f} kB"


def shown(text: str, most: int = 160) -> str:
    """A student's text on one line that a page, a table or a terminal can take: control characters, marks of
    direction and broken letters become visible, and what is too long is cut."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(
        f"\\x{ord(c) - 0xDC00 if 0xDC80 <= ord(c) <= 0xDCFF else ord(c):02x}"
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else c
        for c in cut
    )
