"""Parts of an answer as HTML: GitHub's Markdown, with formulas and pictures as the caller wants them."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from course.student.exam_text import place


@dataclass(frozen=True)
class Rendering:
    """How the parts that Markdown leaves open become HTML."""

    formula: Callable[[str, bool], str]
    """LaTeX, display or not -> HTML."""
    picture: Callable[[Path], str]
    """File -> address for the attribute `src`."""

    def html(self, markdown: str, folder: Path) -> str:
        """A part of a page in `folder` as HTML."""
        parser = MarkdownIt("commonmark", {"html": True}).enable("table")
        parser.inline.ruler.before("backticks", "math", _inline_math)
        parser.renderer.rules |= {
            "math": lambda tokens, at, options, env: self.formula(tokens[at].content, False),
            "fence": self._fence,
            "image": lambda tokens, at, options, env: self._image(tokens[at], folder),
            "link_open": lambda tokens, at, options, env: _link_open(tokens[at], folder),
            "link_close": lambda tokens, at, options, env: (
                "</a>" if tokens[at].meta.get("away") else "</span>"
            ),
            "table_open": lambda tokens, at, options, env: '<div class="wide"><table>\n',
            "table_close": lambda tokens, at, options, env: "</table></div>\n",
        }
        tokens = parser.parse(markdown)
        for token in tokens:
            _pair_links(token.children or [])
        return parser.renderer.render(tokens, parser.options, {})

    def _fence(self, tokens, at, options, env) -> str:
        token = tokens[at]
        if token.info.strip() == "math":
            return f'<div class="formula">{self.formula(token.content, True)}</div>\n'
        return f"<pre><code>{escape(token.content)}</code></pre>\n"

    def _image(self, token: Token, folder: Path) -> str:
        text = escape(token.content)
        source = self.picture((folder / token.attrGet("src")).resolve())
        return f'<img src="{source}" alt="{text}">'


def _inline_math(state: StateInline, silent: bool) -> bool:
    """The inline formula of the pages: dollar, backtick, LaTeX, backtick, dollar."""
    if not state.src.startswith("$`", state.pos):
        return False
    end = state.src.find("`$", state.pos + 2)
    if end < 0:
        return False
    if not silent:
        state.push("math", "", 0).content = state.src[state.pos + 2 : end]
    state.pos = end + 2
    return True


def _pair_links(tokens: list[Token]) -> None:
    """Tell both ends of each link whether it leads to the web, and its beginning the text."""
    for number, token in enumerate(tokens):
        if token.type == "link_open":
            about = {
                "away": token.attrGet("href").startswith(("http:", "https:")),
                "text": tokens[number + 1].content,
            }
        if token.type in ("link_open", "link_close"):
            token.meta = about


def _link_open(token: Token, folder: Path) -> str:
    """A link to the web stays one.  Of one into the repository, where there is nothing to open, the path is
    kept, unless it is the text of the link."""
    target = token.attrGet("href")
    if token.meta["away"]:
        return f'<a href="{escape(target)}">'
    path = place(target, folder)
    title = "" if path == token.meta["text"] else f' title="{escape(path)}"'
    return f'<span class="place"{title}>'
