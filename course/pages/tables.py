"""What a table of a page is made of: columns in two languages, rows from committed summaries."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NOT_RUN = {"en": "not run", "ru": "не запускалось"}


@dataclass(frozen=True)
class Column:
    """One column: the key of its value in a row, and its heading in both languages."""

    key: str
    en: str
    ru: str
    digits: int = 3

    def cell(self, row: dict, language: str) -> str:
        """A word, or a number with its standard deviation where the row has one under KEY_sd; Russian writes
        decimal commas."""
        value = row.get(self.key)
        if isinstance(value, dict):
            return value[language]
        if value is None:
            return NOT_RUN[language]
        if isinstance(value, str):
            return value
        spread = row.get(f"{self.key}_sd")
        text = f"{value:.{self.digits}f}" + ("" if spread is None else f" ± {spread:.{self.digits}f}")
        return text.replace(".", ",") if language == "ru" else text


@dataclass(frozen=True)
class Table:
    """Rows taken from committed summaries."""

    columns: tuple[Column, ...]
    rows: Callable[[Path], list[dict]]
    """Folder of the repository -> rows; a row with a true `best` is set in bold."""
    note: Callable[[Path], dict[str, str]]
    """Folder of the repository -> the line under the table, by language: N, seeds, device, command."""


@dataclass(frozen=True)
class Text:
    """Prose with numbers in it, instead of a table."""

    write: Callable[[Path, str], str]
    """Folder of the repository, language -> Markdown."""


def markdown(table: Table | Text, language: str, root: Path) -> str:
    """The table and the line under it, or the prose, as GitHub's Markdown."""
    if isinstance(table, Text):
        return table.write(root, language)
    lines = [
        "| " + " | ".join(getattr(column, language) for column in table.columns) + " |",
        "|" + "---|" * len(table.columns),
    ]
    for row in table.rows(root):
        cells = [column.cell(row, language) for column in table.columns]
        lines.append("| " + " | ".join(f"**{cell}**" if row.get("best") else cell for cell in cells) + " |")
    return "\n".join(lines) + f"\n\n{table.note(root)[language]}\n"


def summary(root: Path, path: str) -> dict:
    """A committed summary.json; ValueError naming it when there is none."""
    try:
        return json.loads((root / path / "summary.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"{path}/summary.json is missing; run `python3 -m course run --full` and keep it"
        ) from error


def command_of(root: Path, path: str) -> str:
    """The command that made a committed summary."""
    return json.loads((root / path / "env.json").read_text(encoding="utf-8"))["command"]
