"""A script as cells of a notebook, and back: nothing is lost on the way, and nothing is run.

The docstring and comments at the top level become text; imports, constants and every function or class become
a cell of code each.  What a cell was made of stands in its metadata, so that the script comes back as it was,
but for what was changed in the notebook.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

SECTION = re.compile(r"# ---- (?P<title>.+)")
COMMAND = re.compile(r"(?:python3?|torchrun|pip|COURSE\w+=\S+ python3?) .*")
DOCSTRING, HEADING, COMMENT, CODE, MAIN, ADDED = "docstring", "heading", "comment", "code", "main", "added"
"""What a cell is made of; ADDED: only the notebook has it."""


@dataclass(frozen=True)
class Cell:
    """One cell; `blank`: empty lines before it in the script."""

    of: str
    text: str
    blank: int = 0
    script: str = ""
    """MAIN's own lines in the script, where the notebook has others."""

    @property
    def is_code(self) -> bool:
        return self.of in (CODE, MAIN, ADDED)


@dataclass
class _Lines:
    """Lines of a script that are still to be put into cells."""

    lines: list[str]
    place: int = 0
    cells: list[Cell] = field(default_factory=list)

    def add(self, of: str, end: int, text: str | None = None) -> None:
        """The lines up to `end` as a cell, empty lines before them counted."""
        begin = self.place
        while begin < end and not self.lines[begin].strip():
            begin += 1
        source = "\n".join(self.lines[begin:end]).rstrip("\n")
        shown = source if text is None else text
        self.cells.append(Cell(of, shown, begin - self.place, source if of == MAIN else ""))
        self.place = end


def of_script(script: str) -> list[Cell]:
    """The cells of a script.  Raises SyntaxError."""
    left = _Lines(script.splitlines())
    statements = ast.parse(script).body
    if statements and _is_docstring(statements[0]):
        first = statements[0]
        written = "\n".join(left.lines[first.lineno - 1 : first.end_lineno])
        left.add(DOCSTRING, first.end_lineno, as_markdown(written.removeprefix('"""').removesuffix('"""')))
        statements = statements[1:]
    for position, statement in enumerate(statements):
        first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))]) - 1
        _comments(left, first)
        after = statements[position + 1] if position + 1 < len(statements) else None
        if not _goes_on(left, statement, after):
            end = statement.end_lineno
            while end < len(left.lines) and left.lines[end].startswith(" "):  # a comment that ends a function
                end += 1
            left.add(MAIN if _is_main(statement) else CODE, end)
    if any(line.strip() for line in left.lines[left.place :]):
        left.add(CODE, len(left.lines))
    return left.cells


def to_script(cells: list[Cell]) -> str:
    """The script that the cells were made of, or would be."""
    parts = []
    for cell in cells:
        if cell.of == ADDED:
            continue
        text = {
            DOCSTRING: lambda c: f'"""{from_markdown(c.text)}"""',
            HEADING: lambda c: f"# ---- {c.text.removeprefix('## ')}",
            COMMENT: lambda c: "\n".join(f"# {line}".rstrip() for line in c.text.splitlines()),
            CODE: lambda c: c.text,
            MAIN: lambda c: c.script,
        }[cell.of](cell)
        parts.append("\n" * cell.blank + text + "\n")
    return "".join(parts)


def _is_docstring(statement: ast.stmt) -> bool:
    value = getattr(statement, "value", None)
    return (
        isinstance(statement, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str)
    )


def _is_main(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


def _goes_on(left: _Lines, statement: ast.stmt, after: ast.stmt | None) -> bool:
    """Whether the next statement belongs into the same cell: imports with imports, constants with constants,
    and the words below a constant with it."""
    if after is None:
        return False
    between = left.lines[statement.end_lineno : after.lineno - 1]
    if any(line.lstrip().startswith("#") for line in between):
        return False
    imports, plain = (ast.Import, ast.ImportFrom), (ast.Assign, ast.AnnAssign, ast.Expr)
    both = lambda kinds: isinstance(statement, kinds) and isinstance(after, kinds)
    return both(imports) or both(plain)


def _comments(left: _Lines, first: int) -> None:
    """The comments before line `first` as text cells."""
    while left.place < first:
        begin = left.place
        while begin < first and not left.lines[begin].strip():
            begin += 1
        if begin == first or not left.lines[begin].startswith("#"):
            return
        if found := SECTION.fullmatch(left.lines[begin]):
            left.add(HEADING, begin + 1, f"## {found['title']}")
            continue
        end = begin
        while end < first and left.lines[end].startswith("#"):
            end += 1
        if (
            end < first and left.lines[end].strip()
        ) or end == first:  # it stands right above code: it stays there
            return
        text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in left.lines[begin:end])
        left.add(COMMENT, end, text)


# ---- docstrings


def as_markdown(docstring: str) -> str:
    """Its first line as a heading, commands as code."""
    first, _, rest = docstring.partition("\n")
    lines, inside = [f"# {first}"], False
    for line in rest.splitlines():
        is_command = bool(COMMAND.match(line))
        if is_command != inside:
            lines.append("```" if inside else "```bash")
            inside = is_command
        lines.append(line)
    return "\n".join([*lines, *(["```"] if inside else []), *([""] if docstring.endswith("\n") else [])])


def from_markdown(text: str) -> str:
    """The docstring again."""
    lines = [line for line in text.split("\n") if line not in ("```", "```bash")]
    return "\n".join([lines[0].removeprefix("# "), *lines[1:]])
