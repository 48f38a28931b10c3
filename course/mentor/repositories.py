"""A bare copy of each student's repository: fetched with limits, nothing checked out, nothing of it
executed.

Of a server's references the branches, the pull requests and the default branch are taken; blobs over a size
stay on the server where it can leave them out.  Where only a folder is given, its `.git` is read through
git as well, so no configuration, alternates or linked folder of a student's is followed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from common import atomic
from common.errors import InputError

from course.mentor import git
from course.mentor.git import GitError, Limits
from course.mentor.students import Student

MOST_REFERENCES, MOST_NAME_BYTES = 400, 250
LISTING_BYTES = 8 << 20
DEPTH = 2000
"""Commits of history that dates are read from."""
WANTED = re.compile(
    r"refs/(?:heads/(?P<branch>.+)|remotes/[^/]+/(?P<remote>.+)|pull/(?P<pull>\d+)/head"
    r"|merge-requests/(?P<merge>\d+)/head)$"
)
SEEN = "seen.json"


class Unavailable(Exception):
    """Why there is nothing to read of a student, in one line."""


@dataclass(frozen=True)
class Reference:
    """A branch, a branch of a remote, or a pull request, and the commit it stands at."""

    name: str
    """As people call it: `homework_1`, `origin/homework_1`, `pull request 3`."""
    commit: str
    kind: str = "branch"
    """branch, remote branch, or pull request."""


@dataclass
class Mirror:
    """What was fetched of one student."""

    folder: Path
    references: list[Reference]
    head: str | None
    """The default branch's name; None where it points nowhere."""
    notes: list[str] = field(default_factory=list)
    first_seen: dict[str, float] = field(default_factory=dict)
    """Commit: when it was first fetched here, in seconds; whoever pushed it did so before."""
    rewritten: dict[str, str] = field(default_factory=dict)
    """Reference: the commit seen there earlier that its history no longer holds."""

    def key(self) -> str:
        """Changes whenever a reference moves."""
        state = [self.head, sorted((each.name, each.commit) for each in self.references)]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def update(
    student: Student, folder: Path, *, blob_mb: int = 64, limit_mb: int = 1024, seconds: float = 300
) -> Mirror:
    """Fetch what changed of a student's repository into the bare repository `folder`; Unavailable if it
    cannot be read."""
    limits = Limits(seconds=seconds, file_bytes=limit_mb << 20)
    try:
        protocol = student.protocol
        address = student.source if protocol != "file" else str(_git_folder(Path(student.source)))
        listing, head, notes = _list(address, protocol, limits)
        if not listing:
            raise Unavailable("the repository is empty: it has no branches")
        length = len(next(iter(listing.values())).commit)
        if not _is_mirror(folder, length):
            _make(folder, length)
        seen = _read_seen(folder)
        if seen.get("references") != _state(listing):
            listing = _fetch(address, protocol, folder, listing, blob_mb, limits)
        return _remember(folder, listing, head, notes, seen)
    except (GitError, InputError) as error:
        raise Unavailable(git.redacted(str(error))) from None
    except OSError as error:
        raise Unavailable(f"{error.filename or folder}: {error.strerror or error}") from None


def _git_folder(path: Path) -> Path:
    """The repository that lies in a folder, itself and nothing it points to."""
    if not path.is_dir():
        raise InputError(f"{path}: no such folder")
    path = path.resolve()
    inner = path / ".git"
    if inner.is_symlink() or inner.is_file():
        raise InputError(f"{inner}: points to another folder, which is not followed")
    place = inner if inner.is_dir() else path
    if not (place / "HEAD").exists() or not (place / "objects").is_dir():
        raise InputError(f"{path}: not a git repository")
    for part in (place / "objects", place / "objects" / "pack", place / "refs", place / "HEAD"):
        if part.is_symlink():
            raise InputError(f"{part}: a link to another folder, which is not followed")
    for name in ("alternates", "http-alternates"):
        if (place / "objects" / "info" / name).exists():
            raise InputError(
                f"{place}: borrows objects of another repository (alternates), which is not followed"
            )
    if (place / "commondir").exists():
        raise InputError(f"{place}: belongs to another repository (commondir), which is not followed")
    return place


def _list(address: str, protocol: str, limits: Limits) -> tuple[dict[str, Reference], str | None, list[str]]:
    """Full name: reference, for those wanted; the default branch; what was left out."""
    limits = Limits(limits.seconds, limits.memory_bytes, LISTING_BYTES)
    try:
        printed = git.run(["ls-remote", "--symref", "--", address], None, protocols=protocol, limits=limits)
    except GitError as error:
        if "more than" in str(error):
            raise Unavailable(f"its list of references is longer than {LISTING_BYTES >> 20} MB") from None
        raise
    found, head, left_out = {}, None, 0
    for line in printed.decode("utf-8", "surrogateescape").splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: refs/heads/") and name == "HEAD":
            head = value.removeprefix("ref: refs/heads/")
        reference = _reference(name, value)
        if reference is None:
            continue
        if len(found) >= MOST_REFERENCES or len(name.encode("utf-8", "surrogateescape")) > MOST_NAME_BYTES:
            left_out += 1
            continue
        found[name] = reference
    notes = [f"{left_out} references are not looked at (more than {MOST_REFERENCES}, or long names)"]
    return found, head, notes if left_out else []


def _reference(name: str, commit: str) -> Reference | None:
    match = WANTED.match(name)
    if not match or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
        return None
    if match["branch"]:
        return Reference(match["branch"], commit)
    if match["remote"]:
        return (
            None
            if match["remote"] == "HEAD"
            else Reference(name.removeprefix("refs/remotes/"), commit, "remote branch")
        )
    return Reference(f"pull request {match['pull'] or match['merge']}", commit, "pull request")


def _is_mirror(folder: Path, length: int) -> bool:
    return (folder / "HEAD").is_file() and _read_seen(folder).get("length", length) == length


def _make(folder: Path, length: int) -> None:
    """An empty bare repository whose objects have names of `length` digits."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    form = "sha1" if length == 40 else "sha256"
    git.run(["init", "--bare", "--quiet", "--template=", f"--object-format={form}"], folder)
    _settle(folder, length)


def _settle(folder: Path, length: int) -> None:
    """Write the mirror's configuration anew: after a fetch that left blobs out, git would go on asking its
    server."""
    sha256 = "\n[extensions]\n\tobjectFormat = sha256" if length == 64 else ""
    version = 1 if length == 64 else 0
    (folder / "config").write_text(f"[core]\n\trepositoryformatversion = {version}\n\tbare = true{sha256}\n")


def _fetch(
    address: str, protocol: str, folder: Path, listing: dict[str, Reference], blob_mb: int, limits: Limits
) -> dict[str, Reference]:
    """Bring the objects of the references here, under names of our own; the references as they came, since
    one may have moved after it was listed."""
    wanted = "".join(f"+{name}:refs/student/{index}\n" for index, name in enumerate(listing))
    remote = {"remote.student.url": address, "remote.student.uploadpack": "git-upload-pack"}
    arguments = [
        "fetch",
        "--quiet",
        "--force",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
    ]
    arguments += [f"--depth={DEPTH}", f"--filter=blob:limit={blob_mb}m", "--stdin", "student"]
    for lock in folder.rglob("*.lock"):  # of a fetch that was killed: nobody else writes here
        lock.unlink(missing_ok=True)
    try:
        git.run(
            arguments,
            folder,
            protocols=protocol,
            stdin=wanted.encode("utf-8", "surrogateescape"),
            settings=remote,
            limits=limits,
        )
    finally:
        _settle(folder, len(next(iter(listing.values())).commit))
        for left in (folder / "objects" / "pack").glob("tmp_*"):
            left.unlink(missing_ok=True)
    printed = git.run(["for-each-ref", "--format=%(refname) %(objectname)", "refs/student"], folder).decode()
    came = dict(line.split(" ") for line in printed.splitlines())
    return {
        name: replace(reference, commit=came[f"refs/student/{index}"])
        for index, (name, reference) in enumerate(listing.items())
    }


def _state(listing: dict[str, Reference]) -> dict[str, str]:
    return {name: reference.commit for name, reference in listing.items()}


def _read_seen(folder: Path) -> dict:
    try:
        return json.loads((folder / SEEN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _remember(
    folder: Path, listing: dict[str, Reference], head: str | None, notes: list[str], seen: dict
) -> Mirror:
    """The mirror with what earlier visits know: when each commit was first seen, and which are gone since."""
    first_seen, now = dict(seen.get("first_seen", {})), time.time()
    rewritten = dict(seen.get("rewritten", {}))
    for name, reference in listing.items():
        first_seen.setdefault(reference.commit, now)
        before = seen.get("references", {}).get(name)
        if before not in (None, reference.commit) and not _is_ancestor(folder, before, reference.commit):
            rewritten[reference.name] = before
            git.run(["update-ref", f"refs/before/{before}", before], folder)  # keeps it from being pruned
    state = {
        "length": len(next(iter(listing.values())).commit),
        "references": _state(listing),
        "first_seen": first_seen,
        "rewritten": rewritten,
    }
    if state != seen:
        with atomic.replacing(folder / SEEN, advice="make room and start again") as beside:
            beside.write_text(json.dumps(state), encoding="utf-8")
    return Mirror(folder, list(listing.values()), head, notes, first_seen, rewritten)


def _is_ancestor(folder: Path, before: str, now: str) -> bool:
    try:
        git.run(["merge-base", "--is-ancestor", before, now], folder)
    except GitError:
        return False
    return True
