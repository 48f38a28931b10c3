"""Numbers as people write them in two languages, and which of a table's stand under a word."""

from __future__ import annotations

import re
from collections.abc import Callable

NUMBER = re.compile(
    r"(?<![\w.,])\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?![\w])|(?<![^\W_])\d+(?:[.,]\d+)*k?(?![^\W_])|[^\W_]+"
)
"""Numbers and words: 60 000 and 0,75 are one, a digit inside a word (stylegan2) is none."""


def in_table(
    text: str, section: str, heads: Callable[[str], bool], whole_table: bool
) -> tuple[list[float], bool]:
    """Numbers in the rows and columns that `heads` holds of, or in the whole table where it holds of the
    heading above it; and whether anything heads any."""
    rows = [[cell.strip() for cell in row.split("|")] for row in text.split("\n")[:500]]
    above = heads(section.rsplit(" / ", 1)[-1])
    columns = {index for index, cell in enumerate(rows[0]) if heads(cell)} if rows else set()
    found, said = [], bool(columns) or above
    for row in rows:
        whole = above or (whole_table and columns) or (row and heads(row[0]))
        said = said or bool(whole)
        for index, cell in enumerate(row):
            if whole or index in columns:
                found += values(NUMBER.findall(cell))
    return found, said


def values(tokens: list[str]) -> list[float]:
    """The numbers among words and numbers."""
    return [number for token in tokens if (number := value(token)) is not None]


def value(token: str) -> float | None:
    """The number that a token is: 0,75 and 60 000 and 10k too; None for a word."""
    if not token[0].isdigit():
        return None
    plain = re.sub(r"\s", "", token)
    factor = 1000 if plain.endswith("k") else 1
    plain = plain.rstrip("k")
    if re.fullmatch(r"\d{1,3}(,\d{3})+", plain) and not plain.startswith("0"):
        plain = plain.replace(",", "")
    try:
        return float(plain.replace(",", ".")) * factor
    except ValueError:
        return None
