"""A method on one page: a script of course/one_page/ with all that it takes from the course's files in it.

What the page imports by name from a homework or from common/ stands on it, with what that needs in turn;
docstrings become comments, which the notebook shows as text.  Imports of modules (`from common import data`)
stay imports: they are plumbing.
"""

from __future__ import annotations

import ast
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import InputError

from course import tasks
from course.command_line import ROOT

PAGES = {
    "hw1_bayes_and_autoencoders/train_vae.py": "course/one_page/hw1_vae.py",
    "hw2_gan/train_gan.py": "course/one_page/hw2_gan.py",
    "hw4_diffusion/train_ddpm.py": "course/one_page/hw4_ddpm.py",
}
"""Script -> the page on which its method stands."""
OURS = re.compile(r"(common|(hw|lab)\d+_\w+)(\.\w+)+")
"""Modules whose names are taken onto the page."""
CONSTANT = re.compile(r"^(?P<name>[A-Z_]+) = (?P<value>[^#\n]+?)(?:  #.*)?$", re.MULTILINE)


def of_script(name: str, flags: str | None = None, root: Path = ROOT) -> str:
    """The page of a script, with the constants that `flags` change.  InputError where there is none."""
    there = [script for script, page in PAGES.items() if (root / page).is_file()]
    if name not in there:
        raise InputError(
            f"--one-page: there is no such page of {name}; there are {', '.join(there) or 'none'}"
        )
    text = (root / PAGES[name]).read_text(encoding="utf-8")
    return inlined(with_constants(text, flags or ""), root)


def with_constants(text: str, flags: str) -> str:
    """`--steps 20` as STEPS = 20; InputError for a constant that the page lacks, or another kind of value."""
    known = {found["name"]: found["value"] for found in CONSTANT.finditer(text)}
    words = shlex.split(flags)
    if len(words) % 2:
        raise InputError(f"--flags {flags!r}: names and values in turn are expected, as in --steps 20")
    for flag, value in zip(words[::2], words[1::2]):
        name = flag.removeprefix("--").replace("-", "_").upper()
        if not flag.startswith("--") or name not in known:
            there = ", ".join(f"--{each.lower().replace('_', '-')}" for each in known)
            raise InputError(f"--flags {flag}: the page has no such constant; it has {there}")
        if known[name].isdigit() and (not value.isdigit() or int(value) == 0):
            raise InputError(f"--flags {flag} {value}: a whole number from 1 on is expected")
        new = value if known[name].isdigit() else repr(value)
        text = re.sub(
            rf"^{name} = .*", lambda _, line=f"{name} = {new}": line, text, count=1, flags=re.MULTILINE
        )
    return text


# ---- names and what they mean


@dataclass(frozen=True)
class Module:
    """A file's text, and what stands at its top level."""

    path: str
    lines: list[str]
    defined: dict[str, ast.stmt]
    imported: dict[str, ast.alias]
    """Local name -> what is imported; `asname` says from where for `from X import Y`."""
    sources: dict[str, str | None]
    """Local name -> X of `from X import Y`; None for `import X`."""

    @staticmethod
    def read(text: str, path: str) -> Module:
        defined, imported, sources = {}, {}, {}
        for statement in ast.parse(text).body:
            if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                defined[statement.name] = statement
            elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                defined |= {name.id: statement for one in targets for name in ast.walk(one)
                            if isinstance(name, ast.Name)}  # fmt: skip
            elif isinstance(statement, (ast.Import, ast.ImportFrom)):
                for alias in statement.names:
                    local = alias.asname or alias.name.partition(".")[0]
                    imported[local] = alias
                    sources[local] = statement.module if isinstance(statement, ast.ImportFrom) else None
        return Module(path, text.splitlines(), defined, imported, sources)

    def source(self, statement: ast.stmt) -> list[str]:
        """Its lines, with decorators, without marks of tasks."""
        first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
        last = statement.end_lineno
        return [line for line in self.lines[first - 1 : last] if not tasks.LIKE_A_MARK.match(line)]


@dataclass
class Page:
    """What is put together."""

    root: Path
    imports: dict[str, set[str]] = field(default_factory=dict)
    """`from X` -> names; "" -> whole import lines."""
    blocks: list[str] = field(default_factory=list)
    done: set[tuple[str, str]] = field(default_factory=set)
    modules: dict[str, Module] = field(default_factory=dict)

    def module(self, name: str) -> Module | None:
        """One of the course's own; None for others."""
        path = f"{name.replace('.', '/')}.py"
        if not OURS.fullmatch(name) or not (self.root / path).is_file():
            return None
        if name not in self.modules:
            self.modules[name] = Module.read((self.root / path).read_text(encoding="utf-8"), path)
        return self.modules[name]

    def need(self, module: Module, name: str) -> None:
        """What a name of a module means, and all that it needs, before it."""
        if (module.path, name) in self.done:
            return
        self.done.add((module.path, name))
        if name in module.defined:
            statement = module.defined[name]
            for other in names_in(statement):
                self.need(module, other)
            self.blocks.append(block(module, statement))
        elif name in module.imported:
            self.imported(module, name)

    def imported(self, module: Module, name: str) -> None:
        alias, source = module.imported[name], module.sources[name]
        theirs = self.module(source) if source else None
        if theirs and not alias.asname and alias.name in {*theirs.defined, *theirs.imported}:
            self.need(theirs, alias.name)
        elif source is None:
            self.imports.setdefault("", set()).add(ast.unparse(ast.Import([alias])))
        else:
            self.imports.setdefault(source, set()).add(ast.unparse(alias))


def names_in(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement reads and does not bind itself, in order."""
    walked = sorted(
        (node for node in ast.walk(statement) if isinstance(node, ast.Name)),
        key=lambda node: (node.lineno, node.col_offset),
    )
    bound = {node.id for node in walked if isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in ast.walk(statement) if isinstance(node, ast.arg)}
    yield from dict.fromkeys(node.id for node in walked if node.id not in bound)


# ---- what is written


def inlined(text: str, root: Path) -> str:
    """The page's script, of which nothing but modules of the course is imported from it."""
    own, page = Module.read(text, ""), Page(root)
    statements = ast.parse(text).body
    docstring = "\n".join(own.lines[: statements[0].end_lineno])
    for name in own.imported:
        if own.sources[name] != "__future__":
            page.need(own, name)
    body = []
    for statement in statements[1:]:
        if not isinstance(statement, (ast.Import, ast.ImportFrom)):
            body.append((statement, block(own, statement)))
    constants = [one for statement, one in body if isinstance(statement, ast.Assign)]
    others = [one for statement, one in body if not isinstance(statement, ast.Assign)]
    parts = [docstring, import_lines(page.imports), "\n".join(constants)]
    return "\n\n".join(parts) + "\n\n\n" + "\n\n\n".join([*page.blocks, *others]) + "\n"


def block(module: Module, statement: ast.stmt) -> str:
    """A statement's lines; of a function or class the docstring as a comment before it."""
    lines = module.source(statement)
    words = ast.get_docstring(statement) if isinstance(statement, (ast.FunctionDef, ast.ClassDef)) else None
    if words is None:
        return "\n".join(lines)
    first = statement.body[0]
    gone = first.end_lineno - first.lineno + 1
    start = first.lineno - min([statement.lineno, *(d.lineno for d in statement.decorator_list)])
    code = [*lines[:start], *lines[start + gone :]]
    if not code[start].strip():
        del code[start]
    source = f" From {module.path}." if module.path else ""
    said = textwrap.wrap(
        f"`{statement.name}`: {' '.join(words.split())}{source}", 106, break_on_hyphens=False
    )
    return "\n".join([*(f"# {line}" for line in said), "", *code])


def import_lines(imports: dict[str, set[str]]) -> str:
    """Sorted: of Python's own library, of the course, of others'."""
    lines = [(line.split()[1].partition(".")[0], line) for line in imports.get("", ())]
    lines += [
        (source.partition(".")[0], f"from {source} import {', '.join(sorted(names))}")
        for source, names in imports.items() if source
    ]  # fmt: skip
    kind = lambda top: 0 if top in sys.stdlib_module_names else 1 if OURS.match(f"{top}.x") else 2
    groups: dict[int, list[str]] = {}
    for top, line in sorted(lines, key=lambda each: (each[1].startswith("from"), each[1].lower())):
        groups.setdefault(kind(top), []).append(line)
    written = ["\n".join(groups[number]) for number in sorted(groups)]
    return "\n\n".join(["from __future__ import annotations", *written])
