"""Inside: what a module should hold that is not there, found in the student's other files."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.abc
import importlib.machinery
import os
import re
import types
from collections.abc import Iterator

MOST_FILES, MOST_BYTES = 300, 1 << 20
NOT_LOOKED_AT = ("course", "tests", "theory", "benchmarks", "node_modules", "site-packages", "venv", "env")
COURSE_MODULE = re.compile(r"(common|(hw\d|lab\d)_\w+)(\.\w+)*")
"""Of modules that stand in for others: only those that the adapters name."""


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """A missing module of a homework is one whose names lie in other files."""

    def __init__(self, folders: list[str], work: str):
        self.folders, self.work = folders, work

    def find_spec(self, name: str, path: object = None, target: object = None):
        if not COURSE_MODULE.fullmatch(name):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Elsewhere(spec.name, self.folders, self.work)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class _Elsewhere(types.ModuleType):
    """A module that is not there."""

    def __init__(self, name: str, folders: list[str], work: str):
        super().__init__(name)
        self.__folders, self.__work = folders, work

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        near: list[str] = []
        for folder in self.__folders:
            for path in _files(folder):
                names = _defined(path)
                if name in names:
                    return getattr(importlib.import_module(_module_name(path, folder)), name)
                alike = difflib.get_close_matches(name.lower(), [each.lower() for each in names], 2, 0.6)
                near += [
                    f"{each} in {os.path.relpath(path, folder)}" for each in names if each.lower() in alike
                ]
        asked = f"is it {' or '.join(near[:3])}? " if near else ""
        raise LookupError(
            f"{name} was not found: {self.__name__.replace('.', '/')}.py is not there, and no other file "
            f"defines it; {asked}say in check_{self.__work}.py which of your functions it is"
        )


def _files(folder: str) -> Iterator[str]:
    """The student's Python files, as far as MOST_FILES."""
    count = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            each for each in folders if each not in NOT_LOOKED_AT and not each.startswith((".", "__"))
        )
        for name in sorted(names):
            path = os.path.join(place, name)
            if name.endswith(".py") and os.path.getsize(path) <= MOST_BYTES:
                count += 1
                if count > MOST_FILES:
                    return
                yield path


def _defined(path: str) -> list[str]:
    """Functions and classes at the top of a file; none of one that cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [each.name for each in tree.body if isinstance(each, (ast.FunctionDef, ast.ClassDef))]


def _module_name(path: str, folder: str) -> str:
    return os.path.relpath(path, folder)[:-3].replace(os.sep, ".")
