"""Markdown pages on a homework's branch: moved to the top, without links that lead nowhere there."""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from urllib.parse import unquote

from theory.pages import Page

LINK = re.compile(r"(?P<picture>!?)\[(?P<words>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^()\s]+)\)")
SOURCE = re.compile(r'(?P<before>\b(?:src|href)=")(?P<target>[^"]+)(?P<after>")')
REPORT = re.compile(r"<!-- report -->\n.*?<!-- end of report -->\n?", re.DOTALL)
FENCE = re.compile(r"^(?:```|~~~).*?^(?:```|~~~)[ \t]*$", re.DOTALL | re.MULTILINE)


def without_report(page: str) -> str:
    """The page without what the course's own runs measured."""
    return REPORT.sub("", page)


def without_dead_links(pages: Mapping[str, str], there: Collection[str]) -> dict[str, str]:
    """The pages, by their paths: links to files that are not `there`, and to headings that none of the pages
    has, become their words; pictures that are not there go."""
    folders = {posixpath.dirname(name) for name in there}
    anchors = {path: set(Page(Path(path), text).anchors) for path, text in pages.items()}

    def leads_somewhere(path: str, target: str) -> bool:
        if "://" in target or target.startswith("mailto:"):
            return True
        file, _, anchor = target.partition("#")
        name = posixpath.normpath(posixpath.join(posixpath.dirname(path), file)) if file else path
        if name in anchors:
            return not anchor or unquote(anchor) in anchors[name]
        return name in there or name == "." or any(f"{folder}/".startswith(f"{name}/") for folder in folders)

    def mended(path: str) -> Callable[[re.Match], str]:
        words = lambda found: "" if found["picture"] else found["words"]
        return lambda found: found[0] if leads_somewhere(path, found["target"]) else words(found)

    return {
        path: _outside_of_code(text, functools.partial(LINK.sub, mended(path)))
        for path, text in pages.items()
    }


def moved_up(page: str, folder: str) -> str:
    """A page of `folder` for the top of the branch: the same links from there."""

    def moved(found: re.Match) -> str:
        target = found["target"]
        if target.startswith("#") or "://" in target or target.startswith("mailto:"):
            return found[0]
        name, mark, anchor = target.partition("#")
        up = posixpath.normpath(posixpath.join(folder, name)) + ("/" if name.endswith("/") else "")
        return found[0].replace(target, up + mark + anchor)

    return _outside_of_code(page, lambda text: SOURCE.sub(moved, LINK.sub(moved, text)))


def _outside_of_code(page: str, change: Callable[[str], str]) -> str:
    """`change` of everything but fenced blocks."""
    parts, end = [], 0
    for block in FENCE.finditer(page):
        parts += [change(page[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(page[end:])])
