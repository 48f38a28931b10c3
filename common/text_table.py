"""A table in Markdown from rows of numbers, as scripts print and keep it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Column(NamedTuple):
    """A heading, the key of its values in a row, and their format (`.2f`, `.0%`)."""

    title: str
    key: str
    form: str = ""

    def cell(self, row: dict) -> str:
        """A word, or a number with ± its standard deviation where the row has one under KEY_sd; – for
        neither."""
        value = row.get(self.key)
        if value is None:
            return "–"
        spread = row.get(f"{self.key}_sd")
        return f"{value:{self.form}}" + ("" if spread is None else f" ± {spread:{self.form}}")


def markdown(
    columns: Sequence[Column], rows: Sequence[dict], *, bold: Callable[[dict], bool] = lambda row: False
) -> str:
    """A line for each row; columns that no row has a value for are left out."""
    columns = [column for column in columns if any(row.get(column.key) is not None for row in rows)]
    cells = [
        [f"**{column.cell(row)}**" if bold(row) else column.cell(row) for column in columns] for row in rows
    ]
    lines = [[column.title for column in columns], ["---"] * len(columns), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
