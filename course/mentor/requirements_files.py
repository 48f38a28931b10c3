"""Which versions a submission says it needs, in whatever file or cell people write them.  Nothing is
installed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from packaging.requirements import InvalidRequirement, Requirement
from rapidfuzz.distance import OSA

from course.mentor.markdown import decoded

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOCKS = ("poetry.lock", "uv.lock", "pipfile.lock", "pdm.lock", "pylock.toml")
CONDA = ("environment.yml", "environment.yaml", "conda.yml", "conda.yaml", "env.yml", "env.yaml")
INSTALL_CELL = re.compile(
    r"^\s*[!%]\s*(?:python3?\s+-m\s+)?(?:pip3?|uv pip|conda)\s+install\s+(.{1,2000})$", re.MULTILINE
)
MOST_LINES, MOST_BYTES = 3000, 4 << 20


@dataclass
class Needs:
    """What one file or cell asks for."""

    where: str
    pinned: int = 0
    unpinned: int = 0
    notes: list[str] = field(default_factory=list)


def is_requirements(path: str) -> bool:
    """Whether a file's name says that it lists what has to be installed (`requarements.txt` too)."""
    name = path.rsplit("/", 1)[-1].casefold()
    if name in LOCKS or name in CONDA or name in ("pyproject.toml", "pipfile"):
        return True
    stem, dot, ending = name.rpartition(".")
    stem = re.split(r"[\s_.-]", stem)[0]
    return (
        dot == "."
        and ending in ("txt", "in", "md")
        and OSA.distance(stem, "requirements", score_cutoff=2) <= 2
    )


def read(path: str, content: bytes) -> Needs:
    """What a file asks for; what is wrong with it stands in its notes."""
    name = path.rsplit("/", 1)[-1].casefold()
    text = decoded(content[:MOST_BYTES])
    try:
        if name in LOCKS:
            return _lock(path, name, text)
        if name == "pyproject.toml":
            return _pyproject(path, text)
    except (ValueError, RecursionError, TypeError, AttributeError):
        return Needs(path, notes=["damaged: it cannot be read"])
    if name in CONDA:
        return _conda(path, text)
    needs = Needs(path)
    if name.rpartition(".")[2] == "txt" and "\0" in text:
        needs.notes.append("not a text file")
        return needs
    if re.match(r"requirements\b", name) is None and name != "pipfile":
        needs.notes.append("its name is misspelt, so no tool finds it")
    return _lines(needs, text.splitlines())


def from_cells(cells: Iterable[tuple[str, str]]) -> list[Needs]:
    """What `!pip install` cells ask for, of (place, code)."""
    found = []
    for where, code in cells:
        words = [word for line in INSTALL_CELL.findall(code) for word in line.split()]
        words = [word.strip("'\"") for word in words if not word.startswith("-") and "/" not in word]
        if words:
            found.append(_lines(Needs(where), [word for word in words if re.match(r"[A-Za-z]", word)]))
    return found


def _lines(needs: Needs, lines: list[str]) -> Needs:
    """Count the lines of a requirements file as pip would read them."""
    refused, elsewhere, options = [], 0, 0
    for number, line in enumerate(lines[:MOST_LINES], 1):
        text = re.sub(r"(^|\s)#.*$", "", line).strip().rstrip("\\").strip()
        text = re.sub(r"\s--hash=\S+", "", text)
        if not text:
            continue
        if text.startswith("-"):
            options += 1
            continue
        if "@ file:" in text:
            elsewhere += 1
            continue
        if re.match(r"(git\+|https?:|\.{0,2}/)", text):
            needs.pinned += "@" in text
            needs.unpinned += "@" not in text
            continue
        try:
            asked = Requirement(text)
        except InvalidRequirement:
            refused.append(number)
            continue
        exact = bool(asked.url) or any(each.operator in ("==", "===", "~=") for each in asked.specifier)
        needs.pinned += exact
        needs.unpinned += not exact
    if refused:
        needs.notes.append(
            f"pip would refuse line {refused[0]}" + (f" and {len(refused) - 1} more" if refused[1:] else "")
        )
    if elsewhere:
        needs.notes.append(f"{elsewhere} lines point to files of another computer (@ file:)")
    if options:
        needs.notes.append(f"{options} lines are options of pip")
    return needs


def _lock(path: str, name: str, text: str) -> Needs:
    if name == "pipfile.lock":
        return Needs(path, pinned=len(json.loads(text).get("default", {})))
    return Needs(
        path, pinned=len(tomllib.loads(text).get("package", tomllib.loads(text).get("packages", [])))
    )


def _pyproject(path: str, text: str) -> Needs:
    table = tomllib.loads(text)
    needs = _lines(
        Needs(path),
        [line for line in table.get("project", {}).get("dependencies", []) if isinstance(line, str)],
    )
    for name, version in table.get("tool", {}).get("poetry", {}).get("dependencies", {}).items():
        asked = version.get("version", "") if isinstance(version, dict) else str(version)
        if name != "python":
            needs.pinned += bool(re.match(r"=?=?\d", asked))
            needs.unpinned += not re.match(r"=?=?\d", asked)
    return needs


def _conda(path: str, text: str) -> Needs:
    """`- name=version` lines; those of pip inside have two signs."""
    needs = Needs(path)
    for line in text.splitlines()[:MOST_LINES]:
        if match := re.match(r"\s*-\s*([A-Za-z0-9_.-]+(?:\[[^\]]*\])?)\s*([=<>!~]*)", line):
            needs.pinned += "=" in match[2]
            needs.unpinned += "=" not in match[2]
    return needs
