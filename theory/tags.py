"""Which equations are derived, cited and checked.  The contract: theory/README.md.

A tag such as ``bayes.2`` lives in three places:

- derived: ``\\tag{bayes.2}`` in a ```` ```math ```` block of theory/en/*.md and of theory/ru/*.md;
- cited: ``eq. (bayes.2)`` or ``eqs. (bayes.2)-(bayes.5), (bayes.9)`` in a docstring or comment of the code;
- checked: a test of theory/checks decorated with ``@verifies("bayes.2")``.

``python -m theory.tags`` prints the table.  Standard library only, nothing here imports the code it reads.
"""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from theory.pages import LANGUAGES, REPOSITORY, read_page

CODE_FOLDERS = ("common", "hw*", "lab8*", "course")

_TAG = r"[a-z][a-z0-9]*\.[0-9]+"
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


def checked(root: Path = REPOSITORY) -> dict[str, list[Place]]:
    """Tags that a test function of theory/checks names in @verifies(...), with the places."""
    found: dict[str, list[Place]] = {}
    for path in sorted((root / "theory" / "checks").glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not (isinstance(node, ast.FunctionDef) and node.name.startswith("test_")):
                continue
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "verifies":
                    for argument in decorator.args:
                        found.setdefault(ast.literal_eval(argument), []).append(Place(path, node.lineno))
    return found


def main() -> None:
    """Print every tag with the number of its derivations, citations and checks."""
    columns = {language: derived(language) for language in LANGUAGES}
    columns |= {"cited": cited(), "checked": checked()}
    print(f"{'tag':14}" + "".join(f"{name:>9}" for name in columns))
    for tag in sorted(set().union(*columns.values()), key=order):
        print(f"{tag:14}" + "".join(f"{len(places.get(tag, [])):>9}" for places in columns.values()))


if __name__ == "__main__":
    main()
