"""Which equations are derived, cited, checked and quoted.  The contract: theory/README.md.

A tag such as ``bayes.2`` lives in four places:

- derived: ``\\tag{bayes.2}`` in a ```` ```math ```` block of theory/en/*.md and of theory/ru/*.md;
- cited: ``eq. (bayes.2)`` or ``eqs. (bayes.2)-(bayes.5), (bayes.9)`` in a docstring or comment of the code;
- checked: a test of theory/checks decorated with ``@verifies("bayes.2")``;
- quoted: what that test hands to `theory.printed.printed`, the equation as the pages print it.

``python -m theory.tags`` prints the table.  Standard library only, nothing here imports the code it reads.
"""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from theory.pages import LANGUAGES, REPOSITORY, TAG, read_page

CODE_FOLDERS = ("common", "hw*", "lab8*", "course", "pretrained")

_TAG = r"[a-z][a-z0-9_]*\.[0-9]+"
_CITES = re.compile(r"\beqs?\.", re.IGNORECASE)
_RANGE = re.compile(rf"\(({_TAG})\)(?:\s*[-–]\s*\(({_TAG})\))?")
_MALFORMED = re.compile(rf"\beqs?(?:\.?\s+{_TAG}|\s*\({_TAG}\))|\bequations?\s+\(?{_TAG}", re.IGNORECASE)

F = TypeVar("F", bound=Callable)


class Place(NamedTuple):
    """Where a tag was found."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


def verifies(*tags: str) -> Callable[[F], F]:
    """Mark a test of theory/checks as the one that verifies the equations ``tags``."""
    for tag in tags:
        if not re.fullmatch(_TAG, tag):
            raise ValueError(f"not an equation tag: {tag!r}; write for example 'bayes.2'")

    def mark(test: F) -> F:
        test.verifies = tags
        return test

    return mark


def order(tag: str) -> tuple[str, int]:
    """Sorting key: bayes.9 before bayes.10."""
    name, number = tag.split(".")
    return name, int(number)


def expand(first: str, last: str) -> list[str]:
    """Tags from first to last, both included: expand("ae.1", "ae.3") == ["ae.1", "ae.2", "ae.3"]."""
    (name, low), (other, high) = order(first), order(last)
    if name != other or high < low:
        raise ValueError(f"not a range of tags: ({first})-({last})")
    return [f"{name}.{number}" for number in range(low, high + 1)]


def cited_in_text(text: str) -> Iterator[tuple[str, int]]:
    """(tag, offset) of every (name.1) and range (name.1)-(name.3) in a text that says eq. or eqs."""
    if not _CITES.search(text):
        return
    for match in _RANGE.finditer(text):
        first, last = match.group(1), match.group(2) or match.group(1)
        for tag in expand(first, last):
            yield tag, match.start()


def code_files(root: Path = REPOSITORY) -> list[Path]:
    """The Python files whose citations count."""
    return sorted(path for folder in CODE_FOLDERS for path in root.glob(f"{folder}/**/*.py"))


def _prose(path: Path) -> Iterator[tuple[str, int]]:
    """(text, first line) of every string and of every run of comment lines of a Python file."""
    comment, start, last = "", 0, -1
    strings = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        line = token.start[0]
        if token.type in strings:
            yield token.string, line
        elif token.type == tokenize.COMMENT:
            if comment and line != last + 1:
                yield comment, start
                comment = ""
            start = start if comment else line
            comment += token.string.lstrip("#") + "\n"
            last = line
    if comment:
        yield comment, start


def cited(root: Path = REPOSITORY) -> dict[str, list[Place]]:
    """Tags cited in the code, with the places."""
    found: dict[str, list[Place]] = {}
    for path in code_files(root):
        for text, start in _prose(path):
            for tag, offset in cited_in_text(text):
                found.setdefault(tag, []).append(Place(path, start + text.count("\n", 0, offset)))
    return found


def malformed_citations(root: Path = REPOSITORY) -> list[str]:
    """Citations that name a tag but not in the form eq. (name.1), which would be overlooked."""
    problems = []
    for path in code_files(root):
        for text, start in _prose(path):
            for match in _MALFORMED.finditer(text):
                place = Place(path, start + text.count("\n", 0, match.start()))
                problems.append(f"{place}: {match.group()!r}; write it as eq. (name.1)")
    return problems


def derived(language: str, root: Path = REPOSITORY) -> dict[str, list[Place]]:
    """Tags derived in the pages of one language, with the places."""
    found: dict[str, list[Place]] = {}
    for path in sorted((root / "theory" / language).glob("*.md")):
        for block in read_page(path).math_blocks:
            for tag in block.tags:
                found.setdefault(tag, []).append(Place(path, block.line))
    return found


class Check(NamedTuple):
    """A test function of theory/checks."""

    place: Place
    tags: list[str]
    """What it says it verifies."""
    quotations: list[str]
    """The printed equations that it quotes."""
    names: set[str]
    """Every name that it uses, or that a function or constant of its file that it uses does, and so on."""


def checks(root: Path = REPOSITORY) -> Iterator[Check]:
    """Every test function of theory/checks that verifies something."""
    for path in sorted((root / "theory" / "checks").glob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        uses = {name: names_in(node) for node in tree.body for name in _defined(node)}
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                tags = [ast.literal_eval(tag) for call in calls_of("verifies", *node.decorator_list)
                        for tag in call.args]  # fmt: skip
                quotations = [ast.literal_eval(call.args[0]) for call in calls_of("printed", node)]
                if tags:
                    yield Check(Place(path, node.lineno), tags, quotations, _closure(node.name, uses))


def calls_of(name: str, *nodes: ast.AST) -> list[ast.Call]:
    """Calls of the function of that name anywhere in the nodes."""
    found = [part for node in nodes for part in ast.walk(node)]
    return [part for part in found if isinstance(part, ast.Call) and getattr(part.func, "id", "") == name]


def names_in(node: ast.AST) -> set[str]:
    """Names that are read, `g` and `f` of `g.f` for example."""
    parts = [part for part in ast.walk(node) if isinstance(getattr(part, "ctx", None), ast.Load)]
    return {part.attr if isinstance(part, ast.Attribute) else part.id for part in parts
            if isinstance(part, (ast.Attribute, ast.Name))}  # fmt: skip


def _defined(node: ast.stmt) -> list[str]:
    """Names that a statement at the top of a file defines."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    targets = [part for target in getattr(node, "targets", []) for part in ast.walk(target)]
    return [part.id for part in targets if isinstance(part, ast.Name)]


def _closure(name: str, uses: dict[str, set[str]]) -> set[str]:
    found, ahead = set(), [name]
    while ahead:
        new = uses.get(ahead.pop(), set()) - found
        found |= new
        ahead += new
    return found


def checked(root: Path = REPOSITORY) -> dict[str, list[Place]]:
    """Tags that a test function of theory/checks names in @verifies(...), with the places."""
    found: dict[str, list[Place]] = {}
    for check in checks(root):
        for tag in check.tags:
            found.setdefault(tag, []).append(check.place)
    return found


def quoted(root: Path = REPOSITORY) -> dict[str, list[Place]]:
    """Tags whose printed equation is quoted by a test that verifies them, with the places."""
    found: dict[str, list[Place]] = {}
    for check in checks(root):
        for tag in {tag for text in check.quotations for tag in TAG.findall(text)} & {*check.tags}:
            found.setdefault(tag, []).append(check.place)
    return found


def cited_by_function(path: Path) -> dict[str, set[str]]:
    """Tags cited inside each function and class of a Python file, by its name; methods belong to both."""
    source, found = path.read_text(encoding="utf-8"), {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            text = ast.get_source_segment(source, node)
            found.setdefault(node.name, set()).update(tag for tag, _ in cited_in_text(text))
    return found


def main() -> None:
    """Print every tag with the number of its derivations, citations, checks and quotations."""
    columns = {language: derived(language) for language in LANGUAGES}
    columns |= {"cited": cited(), "checked": checked(), "quoted": quoted()}
    print(f"{'tag':14}" + "".join(f"{name:>9}" for name in columns))
    for tag in sorted(set().union(*columns.values()), key=order):
        print(f"{tag:14}" + "".join(f"{len(places.get(tag, [])):>9}" for places in columns.values()))


if __name__ == "__main__":
    main()
