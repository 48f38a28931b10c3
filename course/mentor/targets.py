"""Which file a picture's target means: as Markdown has it, and as people write it."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote, urlsplit

from course.mentor.students import protocol


def paths(target: str, page: str, source: str, branch: str) -> tuple[list[str], bool]:
    """The paths in the repository that a target on a page can mean, the likeliest first; whether it may lie
    elsewhere if none of them is there."""
    if re.match(r"(?:https?:)?//", target, re.IGNORECASE):
        own = _own_path(target, source, branch)
        return ([own] if own else []), True
    if re.match(r"[a-z][a-z0-9+.-]+:", target, re.IGNORECASE):
        return [], False
    found = []
    for text in dict.fromkeys((target, unquote(target))):
        for each in (re.sub(r"[?#].*$", "", text).replace("\\", "/"), text):
            base = "" if each.startswith("/") else posixpath.dirname(page)
            found.append(posixpath.normpath(posixpath.join(base, each.lstrip("/"))))
    found.append(posixpath.normpath(unquote(target).lstrip("/")))  # as if the page lay on top
    return [path for path in dict.fromkeys(found) if not path.startswith("..")], False


def _own_path(address: str, source: str, branch: str) -> str | None:
    """The path inside the same repository that a `blob` or `raw` address means."""
    parts = urlsplit(address)
    match = re.match(
        r"/(?P<home>[^/]+/[^/]+?)(?:\.git)?/(?:-/)?(?P<kind>blob/|raw/|tree/)?(?:refs/heads/)?(?P<rest>.+)$",
        unquote(parts.path),
    )
    raw_host = (parts.hostname or "").startswith("raw.")
    if not match or not (match["kind"] or raw_host):
        return None
    if (home := _home(source)) and home != match["home"].casefold():
        return None
    for name in (branch, "main", "master"):
        if match["rest"].startswith(f"{name}/"):
            return match["rest"].removeprefix(f"{name}/")
    return match["rest"].partition("/")[2] or None


def _home(source: str) -> str | None:
    """`owner/name` of a repository on a server; None for a folder, which does not say."""
    if protocol(source) == "file":
        return None
    match = re.search(r"[:/]([^/:]+/[^/:]+?)(?:\.git)?/?$", source)
    return match[1].casefold() if match else None
