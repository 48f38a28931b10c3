"""Inside: what a module should hold that is not there, found in the student's other files."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import sys
import types
from collections.abc import Iterator

MOST_FILES, MOST_BYTES = 300, 1 << 20
NOT_LOOKED_AT = ("course", "tests", "theory", "benchmarks", "node_modules", "site-packages", "venv", "env")
COURSE_MODULE = re.compile(r"(common|(hw\d|lab\d)_\w+)(\.\w+)*")
"""Of modules that stand in for others: only those that the adapters name."""
CELL = re.compile(r"# (code cell \d+) of (.+)\n?")
"""Above what notebook_code.py takes out of a notebook."""


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what nobody else does: a module that lies beside the student's file that imports it, or above
    it; a module of a homework whose names lie in other files."""

    def __init__(self, folders: list[str], work: str):
        self.folders, self.work = folders, work
        self.beside: dict[str, str] = {}
        """Module -> the folder where it was found."""

    def find_spec(self, name: str, path: object = None, target: object = None):
        if path is None:
            for place in self._reach(_importing_file()):
                spec = importlib.machinery.PathFinder.find_spec(name, [place])
                if spec is not None:
                    self.beside[name] = place
                    return spec
        if not COURSE_MODULE.fullmatch(name):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Elsewhere(spec.name, self)

    def exec_module(self, module: types.ModuleType) -> None:
        pass

    def _reach(self, path: str) -> list[str]:
        """The folder of a student's file and those above it; a notebook's module lies at the same place
        below a folder of its own."""
        for folder in self.folders:
            if path.startswith(os.path.join(folder, "")):
                inner, found = os.path.relpath(os.path.dirname(path), folder), []
                while inner not in ("", "."):
                    found += [os.path.join(each, inner) for each in self.folders]
                    inner = os.path.dirname(inner)
                return found + self.folders
        return []

    def load(self, path: str, folder: str) -> types.ModuleType:
        """The module of a student's file, which need not have a name that can be imported."""
        reach = self._reach(path)
        for name, place in list(self.beside.items()):
            if place not in reach:  # another homework's file of the same name
                for each in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
                    del sys.modules[each]
                del self.beside[name]
        shown = os.path.relpath(path, folder)
        name = shown[:-3].replace(os.sep, ".")
        try:
            if _is_found(name, path):
                return importlib.import_module(name)
            return _load_file(f"file:{shown[:-3].replace('.', '_')}", path)
        except ImportError as error:
            top = (error.name or "").partition(".")[0]
            found = getattr(sys.modules.get(top), "__file__", None) or ""
            own = [file for each in reach if os.path.isfile(file := os.path.join(each, f"{top}.py"))]
            if top not in sys.modules or not own or found in own:
                raise
            words = f"{top}.py has the name of a module of Python or of a library, which {shown} then imports"
            raise ImportError(f"{words}; rename your {top}.py").with_traceback(error.__traceback__) from None


def _importing_file() -> str:
    """The file whose line imports something now."""
    frame = sys._getframe(1)
    while frame and (frame.f_code.co_filename == __file__ or "importlib" in frame.f_code.co_filename):
        frame = frame.f_back
    return frame.f_code.co_filename if frame else ""


def _is_found(name: str, path: str) -> bool:
    """Whether Python finds this file under this name."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise
        return False
    except ValueError:  # `__main__`
        return False
    return spec is not None and spec.origin == path


def _load_file(name: str, path: str) -> types.ModuleType:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


class _Elsewhere(types.ModuleType):
    """A module that is not there."""

    def __init__(self, name: str, finder: Finder):
        super().__init__(name)
        self.__finder = finder

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        near: list[str] = []
        unread: list[str] = []
        for folder in self.__finder.folders:
            for path in _files(folder):
                names, why = _defined(path)
                if name in names:
                    module = self.__finder.load(path, folder)
                    if name not in vars(module) and name in vars(module).get("__why__", {}):
                        raise module.__why__[name]
                    return getattr(module, name)
                shown = where(path, 0, folder)
                alike = difflib.get_close_matches(name.lower(), [each.lower() for each in names], 2, 0.6)
                near += [
                    f"{each} in {where(path, line, folder)}" for each, line in names.items()
                    if each.lower() in alike
                ]  # fmt: skip
                unread += [f"{shown} cannot be read: {why}"] if why else []
        asked = f"; is it {' or '.join(near[:3])}?" if near else ""
        broken = f" ({'; '.join(unread[:2])})" if unread else ""
        work = self.__finder.work
        function = _function_of(f"{work}_adapter.py") or name
        needs = (
            "no file defines it"
            if function == name
            else f"no file defines {name}, which the course's own calls"
        )
        raise LookupError(
            f"{function} was not found: {needs}{broken}{asked}; say in check_{work}.py which of your "
            "functions it is"
        )


def _function_of(file: str) -> str:
    """The function of this file that is being called."""
    frame = sys._getframe(1)
    while frame and os.path.basename(frame.f_code.co_filename) != file:
        frame = frame.f_back
    return frame.f_code.co_name if frame and frame.f_code.co_name.isidentifier() else ""


def where(path: str, line: int, folder: str) -> str:
    """File and line as a student knows them, the file alone for line 0; of a notebook the cell."""
    lines = _lines(path)
    above = lines[:line] if line else lines
    cell = next((found for each in reversed(above) if (found := CELL.fullmatch(each))), None)
    if cell and os.path.basename(path).startswith("notebook_"):
        return f"{cell[2]}, {cell[1]}" if line else cell[2]
    return os.path.relpath(path, folder) + (f":{line}" if line else "")


def not_run(path: str, name: str | None) -> str:
    """Where a notebook sets a name that is missing, if checks do not run that line."""
    begin = f"# {name} is set in code cell "
    return next((each[2:].strip() for each in _lines(path) if each.startswith(begin)), "")


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readlines()
    except OSError:
        return []


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


@functools.lru_cache(None)
def _defined(path: str) -> tuple[dict[str, int], str]:
    """Name -> line of the functions and classes of a file, those below an `if` or in a loop too; why it
    cannot be read."""
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())  # bytes: it may begin with a mark, or name its encoding
    except SyntaxError as error:
        return {}, f"{error.msg} (line {error.lineno})" if error.lineno else str(error.msg)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        return {}, str(error) or type(error).__name__
    return dict(_definitions(tree.body)), ""


def _definitions(body: list[ast.stmt]) -> Iterator[tuple[str, int]]:
    for each in body:
        if isinstance(each, (ast.FunctionDef, ast.ClassDef)):
            yield each.name, each.lineno
        elif isinstance(each, ast.Assign) and isinstance(each.value, ast.Lambda):
            yield from ((one.id, each.lineno) for one in each.targets if isinstance(one, ast.Name))
        else:
            for part in ("body", "orelse", "finalbody", "handlers"):
                yield from _definitions(getattr(each, part, []))
