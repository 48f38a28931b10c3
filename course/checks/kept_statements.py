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
    """Functions and classes, with all their definitions."""
    methods: dict[str, list[ast.AST]]


def kept(cells: list[list[ast.stmt]]) -> list[list[ast.stmt]]:
    """Of every cell the imports, the functions and classes, and the assignments they need."""
    everything = [each for cell in cells for statement in cell for each in _within(statement)]
    names = _names(everything)
    definitions = [each for each in everything if _defines(each)]
    wanted = {name for each in definitions for name in _read(each)}
    candidates = [each for each in everything if isinstance(each, ASSIGNMENTS) and each.value is not None]
    while True:  # what a wanted assignment reads is wanted, too
        more = {
            name for each in candidates if wanted & set(targets(each)) for name in _read(each.value)
        } - wanted
        if not more:
            break
        wanted |= more
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
    imported: dict[str, str] = {}
    made: dict[str, list[ast.AST]] = {}
    methods: dict[str, list[ast.AST]] = {}
    for each in statements:
        if isinstance(each, ast.Import):
            for one in each.names:
                imported[one.asname or one.name.partition(".")[0]] = (
                    one.name if one.asname else one.name.partition(".")[0]
                )
        elif isinstance(each, ast.ImportFrom):
            for one in each.names:
                imported[one.asname or one.name] = f"{each.module or ''}.{one.name}"
        elif _defines(each):
            for name in targets(each):
                made.setdefault(name, []).append(each)
        if isinstance(each, ast.ClassDef):
            for one in each.body:
                if isinstance(one, ast.FunctionDef):
                    methods.setdefault(one.name, []).append(one)
    return Names(imported, made, methods)


def is_quiet(node: ast.AST, names: Names, seen: frozenset[str] = frozenset()) -> bool:
    """Whether what it calls only computes; so must the notebook's own functions that it calls."""
    if isinstance(node, ast.ClassDef):  # making an object of it
        begins = ("__init__", "__post_init__", "__new__")
        return all(
            is_quiet(each, names, seen)
            for each in (*node.bases, *node.body)
            if not isinstance(each, ast.FunctionDef) or each.name in begins
        )
    return all(
        _is_quiet_call(each.func, names, seen) for each in ast.walk(node) if isinstance(each, ast.Call)
    )


def _is_quiet_call(called: ast.AST, names: Names, seen: frozenset[str]) -> bool:
    chain: list[str] = []
    while isinstance(called, ast.Attribute):
        chain.insert(0, called.attr)
        called = called.value
    if any(LOUD.fullmatch(each) for each in chain):
        return False
    root = called.id if isinstance(called, ast.Name) else ""  # another call is looked at by itself
    if root in names.imported and root not in names.made:
        known = ".".join([names.imported[root], *chain])
        quiet = known.startswith(tuple(f"{each}." for each in QUIET))
        return quiet and not any(LOUD.fullmatch(each) for each in known.split("."))
    if not chain and root in LOUD_BUILTINS:
        return False
    own = {each: names.methods[each] for each in chain if each in names.methods}
    own |= {root: names.made[root]} if root in names.made else {}
    return all(
        is_quiet(each, names, seen | {name})
        for name, made in own.items()
        if name not in seen
        for each in made
    )
