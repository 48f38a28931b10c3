"""Repositories of invented students, built with git itself (`git fast-import`), for the tests of the
mentor's tools."""

import datetime
import hashlib
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


@dataclass
class Commit:
    """One commit: what it adds to (or, with None, removes from) a branch."""

    branch: str
    """A branch's name, or a whole reference (refs/pull/1/head)."""
    files: dict[str, bytes | str | None] = field(default_factory=dict)
    date: str = "2024-03-01"
    """When it was committed: YYYY-MM-DD, at noon in Moscow."""
    authored: str | None = None
    start: str | None = None
    """The branch that this one goes out from; None: its own last commit, or nothing."""


def git(folder: Path, *arguments: str, stdin: bytes = b"", check: bool = True) -> str:
    """What git prints in a repository."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], input=stdin, capture_output=True, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 0 or not check, done.stderr.decode()
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def build(folder: Path, commits: list[Commit], head: str = "main") -> Path:
    """A bare repository with these commits, made in one go."""
    folder.mkdir(parents=True)
    git(folder, "init", "--bare", "--quiet", f"--initial-branch={head}")
    git(folder, "config", "uploadpack.allowFilter", "true")  # as forges do
    git(folder, "fast-import", "--quiet", "--force", stdin=b"".join(map(_stream, commits)))
    return folder


def _stream(commit: Commit) -> bytes:
    name = reference(commit.branch)
    lines = [b"commit %s\n" % name.encode()]
    lines.append(f"author Student <s@example.org> {seconds(commit.authored or commit.date)} +0300\n".encode())
    lines.append(f"committer Student <s@example.org> {seconds(commit.date)} +0300\n".encode())
    lines.append(b"data 4\nwork\n")
    if commit.start:
        lines.append(f"from {reference(commit.start)}\n".encode())
    for path, content in commit.files.items():
        quoted = (
            b'"'
            + path.encode("utf-8", "surrogateescape")
            .replace(b"\\", b"\\\\")
            .replace(b'"', b'\\"')
            .replace(b"\n", b"\\n")
            + b'"'
        )
        if content is None:
            lines.append(b"D %s\n" % quoted)
            continue
        data = content.encode() if isinstance(content, str) else content
        lines.append(b"M 100644 inline %s\ndata %d\n%s\n" % (quoted, len(data), data))
    return b"".join(lines) + b"\n"


def reference(branch: str) -> str:
    return branch if branch.startswith("refs/") else f"refs/heads/{branch}"


def seconds(date: str) -> int:
    zone = datetime.timezone(datetime.timedelta(hours=3))
    return int(datetime.datetime.fromisoformat(f"{date}T12:00:00").replace(tzinfo=zone).timestamp())


def write_object(folder: Path, kind: str, content: bytes) -> str:
    """Put an object into a repository as it is, however wrong; its name."""
    return git(folder, "hash-object", "-t", kind, "-w", "--stdin", "--literally", stdin=content)


def tree(entries: list[tuple[str, bytes, str]]) -> bytes:
    """A raw tree of (mode, name, object)."""
    return b"".join(
        b"%s %s\0%s" % (mode.encode(), name, bytes.fromhex(entry)) for mode, name, entry in entries
    )


def point(folder: Path, branch: str, tree_name: str) -> str:
    """Commit a tree, whatever is in it, as a branch."""
    who = f"Student <s@example.org> {seconds('2024-03-01')} +0300"
    commit = write_object(
        folder, "commit", f"tree {tree_name}\nauthor {who}\ncommitter {who}\n\nwork\n".encode()
    )
    loose = folder / reference(branch)
    loose.parent.mkdir(parents=True, exist_ok=True)
    loose.write_text(commit + "\n")
    return commit


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
