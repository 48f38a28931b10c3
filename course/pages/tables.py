"""What a table of a page is made of: columns in two languages, rows from committed summaries.

How numbers are written is decided here and nowhere else: English has points and commas (1,910,339.5), Russian
commas and narrow no-break spaces, the latter from five digits on (1910,5 but 1 910 339,5).
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NOT_RUN = {"en": "not run", "ru": "не запускалось"}
THIN_SPACE = "\u202f"
"""Between the thousands of Russian numbers: narrow, and no line breaks at it."""


def number(value: float, language: str, digits: int = 0, signed: bool = False) -> str:
    """`value` with `digits` decimals as the language writes it; if `signed`, with a plus above 0."""
    text = f"{value:{'+' if signed else ''},.{digits}f}".replace("-", "−")
    if language != "ru":
        return text
    whole, point, decimals = text.partition(".")
    short = abs(value) < 9999.5  # four digits stand together
    return whole.replace(",", "" if short else THIN_SPACE) + point.replace(".", ",") + decimals


def percent(share: float, language: str, digits: int = 0) -> str:
    """A share of 1 as per cent: 0.846 -> 84.6 %."""
    return f"{number(100 * share, language, digits)} %"


def counted(count: int, one: str, few: str, many: str) -> str:
    """A Russian noun after a number: 1 поток, 2 потока, 5 потоков, 11 потоков."""
    last, tens = count % 10, count // 10 % 10
    if last == 1 and tens != 1:
        return one
    return few if last in (2, 3, 4) and tens != 1 else many


def device(kept: str, language: str) -> str:
    """The device a summary names, in words: `cpu, 1 threads` -> CPU, 1 thread; a GPU keeps its name."""
    found = re.fullmatch(r"cpu, (\d+) threads?", kept)
    if not found:
        return kept
    threads = int(found[1])
    if language == "ru":
        return f"процессор, {threads} {counted(threads, 'поток', 'потока', 'потоков')}"
    return f"CPU, {threads} {'thread' if threads == 1 else 'threads'}"


@dataclass(frozen=True)
class Column:
    """One column: the key of its value in a row, and its heading in both languages."""

    key: str
    en: str
    ru: str
    digits: int = 3

    def cell(self, row: dict, language: str) -> str:
        """A word, or a number with its standard deviation where the row has one under KEY_sd."""
        value = row.get(self.key)
        if isinstance(value, dict):
            return value[language]
        if value is None:
            return NOT_RUN[language]
        if isinstance(value, str):
            return value
        text, spread = number(value, language, self.digits), row.get(f"{self.key}_sd")
        return text if spread is None else f"{text} ± {number(spread, language, self.digits)}"


@dataclass(frozen=True)
class Table:
    """Rows taken from committed summaries."""

    columns: tuple[Column, ...] | Callable[[Path], tuple[Column, ...]]
    """A function of the repository's folder where a heading holds a number."""
    rows: Callable[[Path], list[dict]]
    """Folder of the repository -> rows; a row with a true `best` is set in bold."""
    note: Callable[[Path, str], str]
    """Folder of the repository, language -> the line under the table: N, seeds, device, command."""


@dataclass(frozen=True)
class Text:
    """Prose with numbers in it, instead of a table."""

    write: Callable[[Path, str], str]
    """Folder of the repository, language -> Markdown."""


def markdown(table: Table | Text, language: str, root: Path) -> str:
    """The table and the line under it, or the prose, as GitHub's Markdown."""
    if isinstance(table, Text):
        return table.write(root, language)
    columns = table.columns(root) if callable(table.columns) else table.columns
    lines = [
        "| " + " | ".join(getattr(column, language) for column in columns) + " |",
        "|" + "---|" * len(columns),
    ]
    for row in table.rows(root):
        cells = [column.cell(row, language) for column in columns]
        lines.append("| " + " | ".join(f"**{cell}**" if row.get("best") else cell for cell in cells) + " |")
    return "\n".join(lines) + f"\n\n{table.note(root, language)}\n"


def summary(root: Path, path: str) -> dict:
    """A committed summary.json; ValueError naming it when there is none."""
    try:
        return json.loads((root / path / "summary.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"{path}/summary.json is missing; run `python3 -m course run --full` and keep it"
        ) from error


def flags(root: Path, path: str) -> dict:
    """The flags of a committed run."""
    return json.loads((root / path / "config.json").read_text(encoding="utf-8"))


def command_of(root: Path, path: str) -> str:
    """The command that made a committed summary."""
    return json.loads((root / path / "env.json").read_text(encoding="utf-8"))["command"]
