"""Python code as a stream of tokens to compare: own names and literals are one word each, and statements that
everybody writes are left out.

What is common stands in common_code.toml: it is known before a class is read, so that a group of three is
judged like one of a hundred.
"""

from __future__ import annotations

import bisect
import functools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Literal, Name, Operator, Punctuation, String, Text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COMMON = Path(__file__).resolve().parent / "common_code.toml"
LEXER = PythonLexer(stripnl=False, ensurenl=False)
BEGINS = ("def", "class", "import", "from", "@")
"""What begins a statement even where a bracket before it was never closed."""


@dataclass
class Statement:
    """One logical line."""

    tokens: list[tuple[str, int]] = field(default_factory=list)
    """(word, line)."""
    libraries: set[str] = field(default_factory=set)
    """What follows a dot, but for `self.`."""
    called: set[str] = field(default_factory=set)
    """Bare names before a bracket."""

    last: str = ""
    """The last name as it is written."""

    def add(self, kind: object, value: str, line: int) -> None:
        """One of pygments' tokens."""
        before = [word for word, _ in self.tokens[-2:]]
        if kind in String or kind in Literal:
            word = "L"
            if before[-1:] == ["L"]:  # a string is several tokens
                return
        elif kind in Keyword or kind in Operator or kind in Punctuation:
            word = value.strip()
        elif kind in Name and before[-1:] == ["."] and before != ["self", "."]:
            word = value
            self.libraries.add(value)
        else:
            word = "self" if value == "self" else "N"
        if word.startswith("(") and before[-1:] == ["N"]:
            self.called.add(self.last)
        self.last = value
        self.tokens.append((word, line))

    def is_common(self) -> bool:
        words, beside, shapes = common()
        if self.tokens[0][0] in ("import", "from"):
            return True
        if (self.libraries | self.called) & words and self.libraries <= words | beside:
            return True
        return " ".join(word for word, _ in self.tokens) in shapes


@functools.cache
def common() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Words that make a statement common, words that may stand beside them, whole statements."""
    table = tomllib.loads(COMMON.read_text(encoding="utf-8"))
    words = frozenset(word for group in table["words"].values() for word in group)
    shapes = frozenset(
        " ".join(word for word, _ in each.tokens) for each in statements(table["shapes"]["statements"])
    )
    return words, frozenset(table["beside"]["words"]), shapes


def tokens(text: str) -> list[tuple[str, int, int]]:
    """(word, line, place among all tokens) of the statements that are not common."""
    found, place = [], 0
    for each in statements(text):
        if not each.is_common():
            found += [(word, line, place + index) for index, (word, line) in enumerate(each.tokens)]
        place += len(each.tokens)
    return found


def statements(text: str) -> Iterator[Statement]:
    """The logical lines of Python code: own names are N, strings and numbers L, comments nothing.

    What follows a dot is a library's name and stays, since a copier cannot rename it; after `self.` it is
    own.
    """
    text = re.sub(r"^[ \t]*[!%].*$", "", text, flags=re.MULTILINE)  # a notebook's commands to its shell
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    made, depth, fresh = Statement(), 0, True
    for place, kind, value in LEXER.get_tokens_unprocessed(text):
        if kind in Comment or kind in Text or kind in String.Doc:
            fresh = fresh or ("\n" in value and not value.startswith("\\"))
        elif value.strip():
            if fresh and made.tokens and (depth <= 0 or value in BEGINS):
                yield made
                made, depth = Statement(), 0
            fresh = False
            made.add(kind, value, bisect.bisect_right(starts, place))
            if kind in Punctuation:
                depth += sum(value.count(each) for each in "([{") - sum(value.count(each) for each in ")]}")
    if made.tokens:
        yield made
