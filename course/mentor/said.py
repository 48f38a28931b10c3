"""What the checks say, in the language of the reader: their lines are English, messages.toml has the
Russian."""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path

from course.pages.tables import number

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

QUOTE = re.compile("“([^”]*)”")
MESSAGES = Path(__file__).resolve().parent / "messages.toml"


@functools.cache
def _russian() -> tuple[dict[str, str], list[tuple[re.Pattern, str]]]:
    table = tomllib.loads(MESSAGES.read_text(encoding="utf-8"))
    longest_first = sorted(table["lines"].items(), key=lambda line: -len(line[0]))
    patterns = []
    for english, russian in longest_first:
        pieces = [re.escape(piece) for piece in english.split("{}")]
        patterns.append((re.compile("(.+?)".join(pieces) + r"\Z", re.DOTALL), russian))
    return table["words"], patterns


def word(text: str, language: str) -> str:
    """A status or another single word."""
    return text if language == "en" else _russian()[0].get(text, text)


def points(value: float | None, language: str) -> str:
    """Points in halves as the language writes them, – where there are none."""
    return "–" if value is None else number(value, language, 0 if value == round(value) else 1)


def line(text: str, language: str) -> str:
    """A note or remark; what has no Russian stays as it is."""
    if language == "en" or not text:
        return text
    if QUOTE.fullmatch(text):
        return _one(text)
    return "; ".join(_one(part) for part in text.split("; "))


def change(text: str, language: str) -> str:
    """A line of changes.py: who, which work, from what to what."""
    if language == "en":
        return text
    return "".join(part if part in (": ", " → ") else _one(part) for part in re.split(r"(: | → )", text))


def _one(text: str) -> str:
    if quoted := QUOTE.fullmatch(text):  # a student's words stay as they are
        return f"«{quoted[1]}»"
    words, lines = _russian()
    if text in words:
        return words[text]
    for pattern, russian in lines:
        if match := pattern.match(text):
            pieces = russian.split("{}")
            return pieces[0] + "".join(
                _one(value) + piece for value, piece in zip(match.groups(), pieces[1:])
            )
    return text


def translated(text: str) -> bool:
    """Whether a line of the checks has its Russian."""
    return all(any(pattern.match(part) for pattern, _ in _russian()[1]) for part in text.split("; ") if part)
