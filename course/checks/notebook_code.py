"""The definitions of a notebook as a module: what checks can import without running the notebook."""

from __future__ import annotations

import ast
import contextlib
import json
import re
from pathlib import Path

from common.errors import InputError

from course.checks import kept_statements

MAGIC = re.compile(r"^\s*[%!?]|^\s*[\w.]+\?{1,2}\s*$")
CELL_MAGIC = re.compile(r"^\s*%%(?P<name>\w+)")
PYTHON_CELLS = ("time", "timeit", "capture", "prun")
"""Cell magics below which there is Python."""
NOT_LOOKED_AT = (".ipynb_checkpoints", ".venv", "venv", "node_modules", "site-packages")


def notebooks_in(folder: Path) -> list[Path]:
    """The notebooks of a folder and of those below it."""
    found = sorted(folder.rglob("*.ipynb"))
    return [path for path in found if not set(path.relative_to(folder).parts) & set(NOT_LOOKED_AT)]


def code_cells(path: Path) -> list[str]:
    """The text of the code cells; InputError for a file that is no notebook."""
    try:
        return cells_of_text(path.read_text(encoding="utf-8-sig"), str(path))
    except UnicodeDecodeError:
        raise InputError(f"{path}: no notebook: not text in UTF-8; save it anew in Jupyter") from None


def cells_of_text(text: str, name: str) -> list[str]:
    """The same of a notebook's text; `name` is for the error."""
    try:
        notebook = json.loads(text)
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]
        found = [cell.get("source", cell.get("input", "")) for cell in cells if cell["cell_type"] == "code"]
        return ["".join(source) for source in found]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        reason = "not JSON" if isinstance(error, ValueError) else "JSON, but not of a notebook"
        if not text.strip():
            reason = "empty"
        elif re.search(r"^<{7} ", text, re.MULTILINE):
            reason = "there are marks of a merge conflict (<<<<<<<)"
        raise InputError(f"{name}: no notebook: {reason}; save it anew in Jupyter, or take it away") from None


def without_magics(cell: str) -> str:
    """The Python of a cell; nothing of one in another language."""
    lines = cell.splitlines()
    if lines and (found := CELL_MAGIC.match(lines[0])):
        if found["name"] not in PYTHON_CELLS:
            return ""
        lines = lines[1:]
    return "\n".join(line for line in lines if not MAGIC.match(line))


def as_module(cells: list[str], name: str = "the notebook") -> str:
    """Imports, functions and classes of the cells and the assignments that these need, in their order; no
    other line of a cell is run.

    Above each stands the cell it is of, for messages.  One that fails leaves its name undefined, and the
    module's `__why__` says why: Colab's own modules are nowhere else."""
    trees = []
    for cell in cells:
        try:
            trees.append(ast.parse(without_magics(cell)).body)
        except (SyntaxError, ValueError, RecursionError):  # a draft: what needs it will say so
            trees.append([])
    future, parts = [], ["__why__ = {}"]
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    for number, (tree, statements) in enumerate(zip(trees, kept_statements.kept(trees)), 1):
        there = {each for statement in statements for each in kept_statements.targets(statement)}
        for each in (each for statement in tree for each in kept_statements.targets(statement)):
            if each not in there:
                parts.append(f"# {each} is set in code cell {number}, by a line that checks do not run")
        for statement in statements:
            if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                future.append(ast.unparse(statement))
                continue
            with contextlib.suppress(RecursionError):
                parts.append(f"# code cell {number} of {name}\n{_guarded(statement)}")
    return "\n\n".join([*dict.fromkeys(future), *parts]) + "\n"


def _guarded(statement: ast.stmt) -> str:
    """The statement's text; if it fails, the others are still there."""
    names = kept_statements.targets(statement)
    (guard,) = ast.parse(
        "try:\n    pass\nexcept (Exception, SystemExit) as __error:\n"
        f"    __why__.update(dict.fromkeys({names}, __error))"
    ).body
    guard.body = [statement]
    return ast.unparse(ast.fix_missing_locations(guard))


def extract(folder: Path, into: Path) -> list[str]:
    """Write a module for every notebook of a folder, at the same place below `into`; a line for each file
    that is no notebook."""
    wrong, taken = [], set()
    for path in notebooks_in(folder):
        shown = path.relative_to(folder)
        try:
            text = as_module(code_cells(path), str(shown))
        except (InputError, OSError) as error:
            wrong.append(str(error))
            continue
        stem = re.sub(r"\W+", "_", path.stem).strip("_") or "notebook"
        place = next(
            place for n in range(1000)
            if (place := into / shown.parent / f"notebook_{stem}{f'_{n}' if n else ''}.py") not in taken
        )  # fmt: skip
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8", errors="surrogatepass")
        taken.add(place)
    return wrong
