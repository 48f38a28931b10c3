"""The definitions of a notebook as a module: what checks can import without running the notebook."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from common.errors import InputError

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
        raise InputError(f"{name}: no notebook: {reason}; save it anew in Jupyter, or take it away") from None


def without_magics(cell: str) -> str:
    """The Python of a cell; nothing of one in another language."""
    lines = cell.splitlines()
    if lines and (found := CELL_MAGIC.match(lines[0])):
        if found["name"] not in PYTHON_CELLS:
            return ""
        lines = lines[1:]
    return "\n".join(line for line in lines if not MAGIC.match(line))


def as_module(cells: list[str]) -> str:
    """Imports, functions, classes and plain constants of the cells, in their order; no cell is run.

    An import that fails leaves its name undefined: Colab's own modules are nowhere else."""
    parts = []
    for cell in cells:
        try:
            tree = ast.parse(without_magics(cell))
        except (SyntaxError, ValueError, RecursionError):  # a draft: what needs it will say so
            continue
        parts += [text for statement in tree.body if (text := _kept(statement))]
    future = [part for part in parts if part.startswith("from __future__")]
    return "\n\n".join(dict.fromkeys([*future, *(part for part in parts if part not in future)])) + "\n"


def _kept(statement: ast.stmt) -> str:
    """The statement's text if it only defines something."""
    text = ast.unparse(statement)
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        if text.startswith("from __future__"):
            return text
        return f"try:\n    {text}\nexcept ImportError:\n    pass"
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return text
    plain = isinstance(statement, ast.Assign) and not any(
        isinstance(node, (ast.Call, ast.Await, ast.Yield, ast.ListComp, ast.GeneratorExp, ast.Subscript))
        for node in ast.walk(statement.value)
    )
    return text if plain else ""


def extract(folder: Path, into: Path) -> list[str]:
    """Write a module for every notebook of a folder; their names, which imports can use."""
    names = []
    for path in notebooks_in(folder):
        stem = re.sub(r"\W+", "_", path.stem).strip("_") or "notebook"
        name = next(
            name for n in range(1000)
            if (name := f"notebook_{stem}" + (f"_{n}" if n else "")) not in names
        )  # fmt: skip
        (into / f"{name}.py").write_text(as_module(code_cells(path)), encoding="utf-8")
        names.append(name)
    return names
