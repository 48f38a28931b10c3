"""Reads hypotheses.toml and parts.toml: what each hypothesis changes, and why it might help."""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from common import command_line
from common.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).with_name("hypotheses.toml")
PARTS = FILE.with_name("parts.toml")
"""Parts of StyleGAN2 tried in one of the hypotheses: entries that stand below all of FILE's."""
LANGUAGES = ("en", "ru")
KEYS = ("builds-on", "goal", "idea", "flags")

Config = TypeVar("Config")


@dataclass(frozen=True)
class Hypothesis:
    """One experiment: what it should achieve, why it might, and what it changes."""

    name: str
    builds_on: str | None
    """The hypothesis whose flags it starts from."""
    goal: dict[str, str]
    """Language -> text."""
    idea: dict[str, str]
    flags: dict[str, Any]
    """All flags that differ from train_gan.py's defaults, those it inherits included."""


def configuration(config_class: type[Config], name: str, path: Path = FILE) -> Config:
    """The Config of train_gan.py that a hypothesis implies.

    InputError naming file and entry for an unknown hypothesis, an unknown flag, or a value that a flag cannot
    have."""
    one = hypothesis(name, path)
    known = {field.name for field in dataclasses.fields(config_class)} - {"hypothesis", "resume", "outdir"}
    for flag in one.flags:
        if flag not in known:
            raise InputError(
                f"{path}: [{name}] flags: {command_line.flag(flag)[2:]}: train_gan.py has no such flag to "
                "change; see train_gan.py --help"
            )
    try:
        return command_line.checked(config_class(hypothesis=name, **one.flags))
    except InputError as error:
        raise InputError(f"{path}: [{name}] flags: {error}") from None


def hypothesis(name: str, path: Path = FILE) -> Hypothesis:
    """InputError that lists the known ones for an unknown name."""
    known = read(path)
    if name not in known:
        raise InputError(
            f"--hypothesis {name}: unknown; there are {', '.join(known)}; add yours to {path.name}"
        )
    return known[name]


@functools.cache
def read(path: Path = FILE) -> dict[str, Hypothesis]:
    """All hypotheses of a file by name, in its order, then the parts; InputError naming file, entry and what
    to do."""
    known = entries(path, {})
    return known | entries(PARTS, known) if path == FILE else known


def entries(path: Path, above: dict[str, Hypothesis]) -> dict[str, Hypothesis]:
    """Those of one file, which may build on what stands `above` it."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; the hypotheses stand there") from error
    except ValueError as error:  # wrong encoding, wrong syntax, a name given twice
        raise InputError(f"{path}: not readable as TOML ({error}); see the entries of the course") from error
    known: dict[str, Hypothesis] = {}
    for name, entry in content.items():
        where = f"{path}: [{name}]"
        if not re.fullmatch(r"[\w-]+", name):
            raise InputError(f"{where}: letters, digits, - and _ make a name: it becomes part of a folder's")
        if name in above:
            raise InputError(f"{where}: {FILE.name} has one of that name; give it another")
        known[name] = _hypothesis(where, name, entry, above | known)
    return known


def _hypothesis(where: str, name: str, entry: object, known: dict[str, Hypothesis]) -> Hypothesis:
    if not isinstance(entry, dict):
        raise InputError(f"{where}: found {entry!r}; write a hypothesis as a table, its name in brackets")
    if unknown := entry.keys() - set(KEYS):
        raise InputError(f"{where}: unknown: {', '.join(sorted(unknown))}; an entry has {', '.join(KEYS)}")
    parent, changes = entry.get("builds-on"), entry.get("flags", {})
    if parent is not None and parent not in known:
        raise InputError(f"{where}: builds-on {parent!r}: no hypothesis of that name stands above it")
    if not isinstance(changes, dict) or not changes:
        raise InputError(f"{where}: changes no flag; write what differs, such as flags.epochs = 20")
    inherited = known[parent].flags if parent is not None else {}
    changes = {flag.replace("-", "_"): value for flag, value in changes.items()}
    texts = {part: _text(f"{where}: {part}", entry.get(part)) for part in ("goal", "idea")}
    return Hypothesis(name, parent, texts["goal"], texts["idea"], inherited | changes)


def _text(where: str, text: object) -> dict[str, str]:
    """Language -> words."""
    for language in LANGUAGES:
        if not isinstance(text, dict) or not isinstance(text.get(language), str) or not text[language]:
            raise InputError(f"{where}.{language} is missing; say it in a sentence without a full stop")
    return {language: text[language].strip() for language in LANGUAGES}
