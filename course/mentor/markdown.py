"""A student's Markdown as blocks, pictures and links.  Nothing of it is ever rendered."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from markdown_it import MarkdownIt
from markdown_it.token import Token

from course.mentor.page import Block, Link, Page, Shown, TookTooLong, limited

MOST_BYTES, MOST_LINE, MOST_BLOCKS, MOST_PICTURES, SECONDS = 1 << 20, 20_000, 20_000, 1000, 5
LOOSE_PICTURE = re.compile(
    r"!\[(?P<alt>[^\]\n]{0,300})\]\((?P<target>[^\n]{1,400}?\.(?:png|jpe?g|gif|webp|bmp|svg))\s*\)",
    re.IGNORECASE,
)
"""As people write it who have spaces in a file's name: no Markdown, and yet it is clear what is meant."""
BOLD_LINE = re.compile(r"\s*(?:\*\*|__)([^*_\n]{1,120})(?:\*\*|__)\s*:?\s*")
ADDRESS = re.compile(r"(?<![(\"'<])https?://[^\s)>\]\"']{4,400}")
PARSER = MarkdownIt("commonmark").enable("table")


def read(file: str, content: bytes) -> Page:
    """The page of a README file."""
    page = Page(file)
    if len(content) > MOST_BYTES:
        page.notes.append(f"only its first {MOST_BYTES >> 20} MB are read")
    add(page, decoded(content[:MOST_BYTES]), lambda line: f"{file}:{line}")
    return page


def decoded(content: bytes) -> str:
    """Text in the encodings that editors leave: UTF-8, UTF-16 with its mark, Windows-1251."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at_the_cut = error.start >= len(content) - 4
        return content.decode("utf-8-sig" if at_the_cut else "cp1251", "replace")


def add(page: Page, text: str, where: object, attachments: dict[str, bytes] | None = None) -> None:
    """Put the blocks, pictures and links of a Markdown text on the page; `where` turns a line into a
    place."""
    lines = text.split("\n")
    if any(len(line) > MOST_LINE for line in lines):
        page.notes.append(f"lines longer than {MOST_LINE} letters are cut")
        text = "\n".join(line[:MOST_LINE] for line in lines)
    try:
        with limited(SECONDS):
            _Walk(page, where, attachments or {}).over(PARSER.parse(text))
    except TookTooLong as error:
        page.notes.append(f"not read: {error}")
    except RecursionError:
        page.notes.append("not read: nested too deeply")


class _Walk:
    """One pass over the tokens of a text."""

    def __init__(self, page: Page, where: object, attachments: dict[str, bytes]):
        self.page, self.where, self.attachments = page, where, attachments
        self.cells: list[str] | None = None  # of the table that is being read

    def over(self, tokens: list[Token]) -> None:
        kind, level, line = "text", 0, 1
        for token in tokens[: 20 * MOST_BLOCKS]:
            line = token.map[0] + 1 if token.map else line
            if token.type == "heading_open":
                kind, level = "heading", int(token.tag[1])
            elif token.type == "heading_close":
                kind = "text"
            elif token.type == "table_open":
                self.cells = []
            elif token.type == "tr_close":
                self.cells.append("\n")
            elif token.type == "table_close":
                rows = "".join(self.cells).strip("\n")
                self.cells = None
                self.block("table", rows, line)
            elif token.type == "inline":
                self.inline(token, kind, level, line)
            elif token.type in ("fence", "code_block"):
                self.block("text", token.content, line)
            elif token.type == "html_block":
                self.html(token.content, line)

    def inline(self, token: Token, kind: str, level: int, line: int) -> None:
        text = _text(token)
        if self.cells is not None:
            self.cells.append(f"{text.strip()} | ")
        elif kind == "heading":
            self.heading(level, text, line)
        else:
            first, _, rest = text.partition("\n")
            if BOLD_LINE.fullmatch(token.content.partition("\n")[0]):
                self.heading(7, first, line)  # below every true heading, above the text that follows
                text = rest
            self.block("text", LOOSE_PICTURE.sub("", text), line)
        self.loose(_text(token, code=False), line)
        for child in token.children or ():
            if child.type in ("softbreak", "hardbreak"):
                line += 1
            elif child.type == "image":
                self.picture(str(child.attrs.get("src", "")), child.content, line)
            elif child.type == "link_open":
                self.page.links.append(Link(str(child.attrs.get("href", "")), text[:200], self.where(line)))
            elif child.type == "html_inline":
                self.html(child.content, line, inline=True)

    def loose(self, text: str, line: int) -> None:
        """Pictures and addresses that stand in plain text."""
        for match in LOOSE_PICTURE.finditer(text if "![" in text else ""):
            self.picture(match["target"], match["alt"], line + text[: match.start()].count("\n"))
        for address in ADDRESS.findall(text):
            self.page.links.append(Link(address, "", self.where(line)))

    def heading(self, level: int, text: str, line: int) -> None:
        self.page.headings = [each for each in self.page.headings if each[0] < level]
        self.page.headings.append((level, text.strip()[:200]))
        self.page.last_text = ""
        self.block("heading", text, line)

    def block(self, kind: str, text: str, line: int) -> None:
        if text.strip() and len(self.page.blocks) < MOST_BLOCKS:
            self.page.blocks.append(Block(kind, text, self.where(line), self.page.section))
            if kind != "heading":
                self.page.last_text = text.strip()[-300:]

    def picture(self, target: str, alt: str, line: int) -> None:
        data = (
            self.attachments.get(target.removeprefix("attachment:"))
            if target.startswith("attachment:")
            else None
        )
        if len(self.page.pictures) < MOST_PICTURES:
            self.page.pictures.append(
                Shown(
                    self.page.file,
                    self.where(line),
                    target,
                    data,
                    alt[:300],
                    self.page.section,
                    self.page.last_text,
                )
            )

    def html(self, content: str, line: int, inline: bool = False) -> None:
        tags = _Tags()
        tags.feed(content)
        tags.close()
        for kind, value, alt in tags.pieces():
            if kind == "link":
                self.page.links.append(Link(value, alt[:200], self.where(line)))
            elif kind == "picture":
                self.picture(value, alt, line)
            elif inline:
                continue  # the text of a paragraph is read with it
            elif kind == "text":
                self.block("text", value, line)
                self.loose(value, line)
            else:
                self.heading(int(kind), value, line)


class _Tags(HTMLParser):
    """The headings, text, pictures and links of a piece of HTML, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.silent = False

    def pieces(self) -> list[tuple[str, str, str]]:
        """(kind, value, alternative text): kind is text, picture, link or the level of a heading."""
        self.flush("text")
        return self.found

    def flush(self, kind: str) -> None:
        if text := " ".join("".join(self.words).split()):
            self.found.append((kind, text, ""))
        self.words = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if tag in ("img", "image") and (target := values.get("src") or values.get("href")):
            self.found.append(("picture", target, values.get("alt") or values.get("title") or ""))
        elif tag == "a" and values.get("href"):
            self.found.append(("link", values["href"], ""))
        elif re.fullmatch(r"h[1-6]", tag):
            self.flush("text")
        self.silent = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.silent = False
        if re.fullmatch(r"h[1-6]", tag):
            self.flush(tag[1])

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.words.append(data)


def _text(token: Token, code: bool = True) -> str:
    """The words of an inline token, as a reader sees them, with or without what is set as code."""
    parts = []
    for child in token.children or ():
        if child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif child.type == "text" or (code and child.type == "code_inline"):
            parts.append(child.content)
    return "".join(parts)
