"""What went wrong in making the environment, in one line that also says what to do."""

import contextlib
import errno
import os
import re
import shutil
from pathlib import Path

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_SPACE_WORDS = re.compile(r"No space left|quota exceeded|File too large|not enough space on the disk", re.I)
NO_NETWORK_WORDS = re.compile(
    r"connection error|connection broken by|ConnectionError|ConnectTimeout|ReadTimeout"
)


class InstallError(Exception):
    """What went wrong and what to do about it, in one line."""


def explain(lines: list[str], log: Path) -> str:
    """One line that says why pip or venv failed, from what it printed and from its log."""
    lines = [line.strip() for line in lines if line.strip()]
    errors = [line for line in lines if re.match(r"ERROR: |error: |\w*Error: |\u00d7 ", line)]
    last = (errors or lines or ["it printed nothing"])[-1]
    text = "\n".join(lines)
    with contextlib.suppress(OSError):
        text += log.read_text(encoding="utf-8", errors="replace")
    if NO_SPACE_WORDS.search(text):
        return f"{disk_full(log.parent)} ({last})"
    if "externally-managed-environment" in text:
        return (
            "this Python belongs to the operating system, which lets nobody install into it; leave out --here"
        )
    if NO_NETWORK_WORDS.search(text):
        return f"no network: pip cannot reach its package index ({last}); connect and start again; log: {log}"
    return f"the installation failed: {last}; log: {log}"


def explain_os_error(error: OSError, root: Path) -> str:
    return (
        disk_full(root) if error.errno in NO_SPACE else f"{error.filename or root}: {error.strerror or error}"
    )


def disk_full(path: Path) -> str:
    temporary = Path(os.environ.get("TMPDIR") or os.environ.get("TEMP") or "/tmp")  # where pip unpacks
    places = [place for place in (path, temporary) if place.exists()]
    free = " and ".join(
        f"{shutil.disk_usage(place).free / 1e9:.1f} GB are free at {place}" for place in places
    )
    return f"the disk is full: {free}; make room and start again"
