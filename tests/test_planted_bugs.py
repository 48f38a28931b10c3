"""What planted_bugs.py knows of: every file with equations, every script that trains or evaluates."""

import ast
import re

from course.tasks import tomllib
from theory import tags
from theory.pages import REPOSITORY

LIST = "benchmarks/planted_bugs.toml"
SCRIPT = re.compile(r"(train|eval|compare)(_\w+)?\.py")
HELD = tomllib.loads((REPOSITORY / LIST).read_text(encoding="utf-8"))


def cites_an_equation(source: str) -> bool:
    """Whether a docstring of the file names a tag."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds))
    return any(any(tags.cited_in_text(ast.get_docstring(node) or "")) for node in nodes)


def test_every_file_and_test_on_the_list_exists():
    named = set(HELD["tests"]).union(*HELD["tests"].values()) | {each["file"] for each in HELD["equivalent"]}
    gone = sorted(name for name in named if not (REPOSITORY / name).is_file())
    assert not gone, f"{LIST} names what does not exist: {', '.join(gone)}"
    empty = [file for file, tests in HELD["tests"].items() if not tests]
    assert not empty, f"{LIST} names no test of {', '.join(empty)}"


def test_files_with_equations_and_scripts_that_train_or_evaluate_are_on_the_list():
    """Figures and pages are left alone: no test reads a number off them."""
    files = {path.relative_to(REPOSITORY): path for path in tags.code_files()}
    missing = [
        name.as_posix()
        for name, path in files.items()
        if name.parts[0] != "course"
        and not name.stem.endswith("_figures")
        and name.as_posix() not in HELD["tests"]
        and (SCRIPT.fullmatch(name.name) or cites_an_equation(path.read_text(encoding="utf-8")))
    ]
    assert not missing, f"{LIST} lacks {', '.join(missing)}"
