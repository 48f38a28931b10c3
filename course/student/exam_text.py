"""Parts of an answer for the terminal: Markdown for Rich, formulas in Unicode, links and figures by path."""

import os
import re
from pathlib import Path

from rich.markdown import Markdown

from course.student.exam_words import WORDS
from course.student.formulas import as_text
from theory.pages import INLINE_MATH, REPOSITORY

_BLOCK = re.compile(r"^```math\n(.*?)^```$", re.M | re.S)
_COMMENT = re.compile(r"<!--.*?-->\n?", re.S)
_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


def terminal(markdown: str, folder: Path, language: str) -> Markdown:
    """What Rich prints for a part of a page in `folder`."""
    return Markdown(plain(markdown, folder, language), code_theme="ansi_dark", hyperlinks=False)


def plain(markdown: str, folder: Path, language: str = "en") -> str:
    """The same Markdown without LaTeX and without anything that only a browser follows."""
    text = _BLOCK.sub(lambda block: f"```text\n{as_text(block[1])}\n```", _COMMENT.sub("", markdown))
    text = INLINE_MATH.sub(lambda math: f"`{as_text(math[1])}`", text)
    figure = WORDS[language]["figure"]
    text = _PICTURE.sub(lambda picture: f"{figure}: {picture[1]} ({place(picture[2], folder)})", text)
    return _LINK.sub(lambda link: link[1] + _where(*link.groups(), folder), text)


def place(target: str, folder: Path) -> str:
    """The target of a link as a path from the repository's folder; addresses and own headings as they are."""
    if re.match(r"[a-z]+:|#", target):
        return target
    name, hash_, fragment = target.partition("#")
    return Path(os.path.relpath(folder / name, REPOSITORY)).as_posix() + hash_ + fragment


def _where(text: str, target: str, folder: Path) -> str:
    """Where a link leads, unless its text says so already or is a number from a kept result."""
    where = place(target, folder)
    return "" if ".json#" in target or where == text else f" ({where})"
