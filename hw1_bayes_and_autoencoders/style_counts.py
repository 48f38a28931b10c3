"""Counts of options per attribute, read from TOML or JSON, with every mistake named."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Attribute:
    """One attribute of a style: its options, how often each was observed, and what else it is called."""

    name: str
    options: tuple[str, ...]
    counts: tuple[int, ...]
    aliases: tuple[str, ...]
    """One per option, empty where there is none."""

    @property
    def total(self) -> int:
        """N, the number of observations."""
        return sum(self.counts)

    def index(self, option: str) -> int | None:
        """Place of an option given by its name or alias."""
        for names in (self.options, self.aliases):
            if option in names:
                return names.index(option)
        return None


def read_counts(path: Path) -> tuple[Attribute, ...]:
    """The attributes of a .toml or .json file: {attribute: {option: count or {count, alias}}}.

    Raises InputError naming file, attribute and option for anything that is not a table of counts: a missing
    or unreadable file, no attributes or options, counts that are negative or not integers, or all zero."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = (
            json.loads(text, object_pairs_hook=_without_repetition)
            if path.suffix.lower() == ".json"
            else tomllib.loads(text)
        )
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a TOML or JSON file of counts") from error
    except ValueError as error:  # wrong encoding, wrong syntax, a name given twice
        raise InputError(
            f"{path}: not a table of counts ({error}); see style_counts.toml for the form"
        ) from error
    if not isinstance(content, dict) or not content:
        raise InputError(
            f"{path}: no attributes; expected a table of counts for each, as in style_counts.toml"
        )
    return tuple(_attribute(path, name, table) for name, table in content.items())


def _without_repetition(pairs: list[tuple[str, object]]) -> dict:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is given twice")
    return dict(pairs)


def _attribute(path: Path, name: str, table: object) -> Attribute:
    if not isinstance(table, dict) or not table:
        raise InputError(f"{path}: attribute {name!r} has no options; write one count for each")
    rows = [
        _count_and_alias(f"{path}: attribute {name!r}, option {option!r}", value)
        for option, value in table.items()
    ]
    counts, aliases = zip(*rows)
    if sum(counts) == 0:
        raise InputError(
            f"{path}: attribute {name!r}: all counts are 0; nothing was observed, so leave it out"
        )
    return Attribute(name, tuple(table), counts, aliases)


def _count_and_alias(where: str, value: object) -> tuple[int, str]:
    alias = ""
    if isinstance(value, dict):
        if "count" not in value or not value.keys() <= {"count", "alias"}:
            raise InputError(
                f"{where}: found {value}; write a count, or {{ count = 7, alias = 'other name' }}"
            )
        value, alias = value["count"], value.get("alias", "")
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{where}: found {value!r}; a count is an integer, 0 or more")
    return value, str(alias)
