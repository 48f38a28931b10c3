"""Markdown pages taken apart: headings, tables, pictures, links, formulas.  Standard library only."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from urllib.parse import unquote

REPOSITORY = Path(__file__).resolve().parents[1]
LANGUAGES = ("en", "ru")

INLINE_MATH = re.compile(r"\$`(.*?)`\$", re.S)
CODE_SPAN = re.compile(r"(?<![$`])`([^`\n]+)`(?!\$)")
TEXT_IN_MATH = re.compile(r"\\text\{[^}]*\}")
_FENCE = re.compile(r"^( *)(`{3,})([^\n`]*)\n(.*?)^ *\2 *$", re.M | re.S)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
TAG = re.compile(r"\\tag\{([^}]*)\}")
_HEADING = re.compile(r"^(#{1,6}) +(.*?)(?: +#+)? *$", re.M)
_HTML_ANCHOR = re.compile(r"""<[^>]*\b(?:id|name)=["']([^"']+)["']""")


@dataclass(frozen=True)
class Fence:
    """A fenced block: language (``math``, ``bash``, ...), body, first line, indentation, surroundings."""

    language: str
    body: str
    line: int
    indented: bool
    alone: bool  # blank lines, or the page's ends, before and after

    @property
    def tags(self) -> list[str]:
        """The equation numbers in the block."""
        return TAG.findall(self.body)


@dataclass(frozen=True)
class Page:
    """A Markdown page; parts are read when asked for."""

    path: Path
    text: str

    @cached_property
    def fences(self) -> list[Fence]:
        """Every fenced block, in order."""
        return [self._fence(match) for match in _FENCE.finditer(self.text)]

    def _fence(self, match: re.Match) -> Fence:
        indent, _, language, body = match.groups()
        before, after = self.text[: match.start()], self.text[match.end() :].rstrip()
        alone = (not before or before.endswith("\n\n")) and (not after or after.startswith("\n\n"))
        return Fence(language.strip(), body, before.count("\n") + 1, bool(indent), alone)

    @cached_property
    def prose(self) -> str:
        """The text with fenced blocks blanked; line numbers hold."""
        return _FENCE.sub(lambda match: "\n" * match.group().count("\n"), self.text)

    @cached_property
    def math_blocks(self) -> list[Fence]:
        """The display formulas."""
        return [fence for fence in self.fences if fence.language == "math"]

    @cached_property
    def numbered(self) -> dict[str, str]:
        """LaTeX of each numbered equation, white space normalised and words (``\\text{...}``) taken out."""
        return {
            tag: " ".join(words_out(block.body).split()) for block in self.math_blocks for tag in block.tags
        }

    @cached_property
    def headings(self) -> list[int]:
        """Levels of the headings, in order."""
        return [len(marks) for marks, _ in _HEADING.findall(self.prose)]

    @cached_property
    def anchors(self) -> list[str]:
        """What may follow ``#`` in a link to this page: the slugs of its headings, then anchors in HTML."""
        slugs: list[str] = []
        for _, title in _HEADING.findall(self.prose):
            slug, copies = slug_of(title), 0
            while (anchor := f"{slug}-{copies}" if copies else slug) in slugs:
                copies += 1
            slugs.append(anchor)
        return slugs + _HTML_ANCHOR.findall(self.prose)

    @cached_property
    def tables(self) -> list[tuple[int, int]]:
        """(rows without the row of dashes, columns) of every table."""
        shapes = []
        for block in re.findall(r"(?:^\|.*\n?)+", self.prose, re.M):
            rows = block.strip().split("\n")
            shapes.append((len(rows) - 1, max(len(re.findall(r"(?<!\\)\|", row)) - 1 for row in rows)))
        return shapes

    @cached_property
    def links(self) -> list[tuple[str, str, str]]:
        """(``!`` for a picture, text, target) of every link."""
        return _LINK.findall(INLINE_MATH.sub("", self.prose))

    @cached_property
    def pictures(self) -> list[str]:
        """File names of the pictures, in order."""
        return [Path(target).name for mark, _, target in self.links if mark]

    @cached_property
    def code_spans(self) -> list[str]:
        """Text of every `code span` that is not a formula."""
        return CODE_SPAN.findall(INLINE_MATH.sub("", self.prose))


def words_out(latex: str) -> str:
    """The formula with every ``\\text{...}`` emptied: what two languages share."""
    return TEXT_IN_MATH.sub(r"\\text{}", latex)


def slug_of(title: str) -> str:
    """GitHub's anchor of a heading: lower case, letters of any alphabet, digits, -, _, and - for a space."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)  # of a link, its text
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


@cache
def read_page(path: Path) -> Page:
    """The page at ``path``, read once."""
    return Page(path, path.read_text(encoding="utf-8"))


def dead_links(page: Page) -> list[str]:
    """Links of a page to a file that is not there, or to a heading that the file does not have."""
    problems = []
    for _, _, target in page.links:
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        path = page.path.parent / unquote(name)
        if not path.exists():
            problems.append(f"{target}: no such file")
        elif fragment and (not name or path.suffix == ".md"):
            anchors = read_page(path.resolve()).anchors if name else page.anchors
            if unquote(fragment) not in anchors:
                near = get_close_matches(unquote(fragment), anchors, 1, 0)
                problems.append(f"{target}: no such heading; the nearest is #{near[0] if near else ''}")
    return problems
