"""Which statements of a notebook make what checks can ask, without training, reading files or fetching."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

QUIET = (
    "torch", "numpy", "math", "cmath", "fractions", "functools", "itertools", "collections", "dataclasses",
    "operator", "types", "typing", "enum", "random", "einops", "pathlib", "os.path", "torchvision.transforms",
)  # fmt: skip
"""Modules whose functions only compute, but for those named in LOUD."""
LOUD = re.compile(
    r"(load|save|open|read|write|from_pretrained|download|urlopen|fetch|fromfile|loadtxt|genfromtxt|savetxt|"
    r"memmap|tofile|hub|compile|mkdir|unlink|rmdir|rename|touch|glob|rglob|iterdir|backward|step|fit|train_on|"
    r"mount|run|system|popen|input|exec|__import__|exit|quit|breakpoint)(_\w+)?"
)
"""Names of functions and methods that read, write, fetch or train."""
LOUD_BUILTINS = ("open", "input", "exec", "eval", "compile", "__import__", "exit", "quit", "breakpoint")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
IMPORTS = (ast.Import, ast.ImportFrom)


@dataclass(frozen=True)
class Names:
    """What the notebook's names are."""

    imported: dict[str, str]
    """Name -> the module, or module and function, that it stands for."""
    made: dict[str, list[ast.AST]]
    """Functions, classes and `.methods`, with all their definitions."""
    loud: set[str]
    """Those of them that train, read or fetch, themselves or by what they call."""


def kept(cells: list[list[ast.stmt]]) -> list[list[ast.stmt]]:
    """Of every cell the imports, the functions and classes, and the assignments they need."""
    everything = [each for cell in cells for statement in cell for each in _within(statement)]
    names = _names(everything)
    reads: dict[str, set[str]] = {}
    """Name -> what its assignments read."""
    for each in everything:
        if isinstance(each, ASSIGNMENTS) and each.value is not None:
            for name in targets(each):
                reads.setdefault(name, set()).update(_read(each.value))
    waiting = [name for each in everything if _defines(each) for name in _read(each)]
    wanted: set[str] = set()
    while waiting:
        if (name := waiting.pop()) not in wanted:
            wanted.add(name)
            waiting += reads.get(name, ())
    return [list(_kept(cell, wanted, names)) for cell in cells]


def targets(statement: ast.stmt) -> list[str]:
    """The names that a statement binds, or whose content it changes."""
    if isinstance(statement, DEFINITIONS):
        return [statement.name]
    if isinstance(statement, IMPORTS):
        return [(each.asname or each.name).partition(".")[0] for each in statement.names]
    if not isinstance(statement, ASSIGNMENTS):
        return [name for each in _parts(statement) for name in targets(each)]
    places = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return [each.id for place in places for each in ast.walk(place) if isinstance(each, ast.Name)]


def _kept(body: Iterable[ast.stmt], wanted: set[str], names: Names) -> Iterator[ast.stmt]:
    for each in body:
        if isinstance(each, IMPORTS) or _defines(each):
            yield each
        elif isinstance(each, ASSIGNMENTS):
            if each.value is not None and (
                _is_plain(each) or (wanted & set(targets(each)) and is_quiet(each, names))
            ):
                yield each
        elif isinstance(each, ast.If) and is_quiet(each.test, names) and "__name__" not in _read(each.test):
            then, other = list(_kept(each.body, wanted, names)), list(_kept(each.orelse, wanted, names))
            if then or other:
                yield ast.If(each.test, then or [ast.Pass()], other)
        elif isinstance(each, ast.Try):
            then = list(_kept(each.body, wanted, names))
            handlers = [
                ast.ExceptHandler(one.type, one.name, list(_kept(one.body, wanted, names)) or [ast.Pass()])
                for one in each.handlers
            ]
            if then or any(not isinstance(one.body[0], ast.Pass) for one in handlers):
                yield (
                    ast.Try(then or [ast.Pass()], handlers, [], [])
                    if handlers
                    else ast.If(ast.Constant(True), then, [])
                )
        else:  # a loop is not run, what it defines is there
            yield from (one for one in _within(each) if _defines(one))


def _parts(statement: ast.stmt) -> Iterator[ast.stmt]:
    """The statements directly inside one that is no function and no class."""
    if not isinstance(statement, DEFINITIONS):
        for name in ("body", "orelse", "finalbody"):
            yield from getattr(statement, name, [])
        for handler in getattr(statement, "handlers", []):
            yield from handler.body


def _within(statement: ast.stmt) -> Iterator[ast.stmt]:
    yield statement
    for each in _parts(statement):
        yield from _within(each)


def _defines(statement: ast.stmt) -> bool:
    """Whether it makes a function or a class."""
    bound = isinstance(statement, (ast.Assign, ast.AnnAssign)) and isinstance(statement.value, ast.Lambda)
    return bound or isinstance(statement, DEFINITIONS)


def _is_plain(statement: ast.stmt) -> bool:
    computed = (ast.Call, ast.Await, ast.Yield, ast.ListComp, ast.GeneratorExp, ast.Subscript, ast.AugAssign)
    return not any(isinstance(node, computed) for node in ast.walk(statement))


def _read(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _names(statements: list[ast.stmt]) -> Names:
    names = Names({}, {}, set())
    for each in statements:
        if isinstance(each, ast.Import):
            for one in each.names:
                top = one.name.partition(".")[0]
                names.imported[one.asname or top] = one.name if one.asname else top
        elif isinstance(each, ast.ImportFrom):
            for one in each.names:
                names.imported[one.asname or one.name] = f"{each.module or ''}.{one.name}"
        elif _defines(each):
            for name in targets(each):
                names.made.setdefault(name, []).append(each)
            for one in each.body if isinstance(each, ast.ClassDef) else []:
                if isinstance(one, ast.FunctionDef):
                    names.made.setdefault(f".{one.name}", []).append(one)
    _find_loud(names)
    return names


def _find_loud(names: Names) -> None:
    """Fill `loud`: what calls a loud function is loud."""
    callers: dict[str, list[str]] = {}
    waiting = []
    for name, definitions in names.made.items():
        for called in (called for each in definitions for called in _calls(each)):
            if _is_loud(called, names):
                waiting.append(name)
            for own in _own(called, names):
                callers.setdefault(own, []).append(name)
    while waiting:
        if (name := waiting.pop()) not in names.loud:
            names.loud.add(name)
            waiting += callers.get(name, ())


def is_quiet(node: ast.AST, names: Names) -> bool:
    """Whether what it calls only computes; so must the notebook's own functions that it calls."""
    return not any(_is_loud(each, names) or names.loud & set(_own(each, names)) for each in _calls(node))


def _calls(node: ast.AST) -> Iterator[ast.AST]:
    """What is called in it; of a class, when an object of it is made."""
    if not isinstance(node, ast.ClassDef):
        yield from (each.func for each in ast.walk(node) if isinstance(each, ast.Call))
        return
    for base in node.bases:
        yield base
        yield from _calls(base)
    for each in node.body:
        if not isinstance(each, DEFINITIONS) or each.name in ("__init__", "__post_init__", "__new__"):
            yield from _calls(each)


def _chain(called: ast.AST) -> tuple[str, list[str]]:
    """`nn`, [`Linear`] for nn.Linear; no name where another call gave the object."""
    chain: list[str] = []
    while isinstance(called, ast.Attribute):
        chain.append(called.attr)
        called = called.value
    return called.id if isinstance(called, ast.Name) else "", chain[::-1]


def _is_loud(called: ast.AST, names: Names) -> bool:
    """Whether the called thing itself reads, writes, fetches or trains, or may do so."""
    root, chain = _chain(called)
    if root in names.imported and root not in names.made:
        known = ".".join([names.imported[root], *chain])
        quiet = known.startswith(tuple(f"{each}." for each in QUIET))
        return not quiet or any(LOUD.fullmatch(each) for each in known.split("."))
    return any(LOUD.fullmatch(each) for each in chain) or (not chain and root in LOUD_BUILTINS)


def _own(called: ast.AST, names: Names) -> list[str]:
    """The notebook's own functions and methods that it may be."""
    root, chain = _chain(called)
    return [each for each in (root, *(f".{one}" for one in chain)) if each in names.made]
