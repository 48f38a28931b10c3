"""The answers as one HTML page that needs nothing else: styles, script, figures and formulas are inside."""

import base64
import mimetypes
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from common.atomic import replacing

from course.student.exam_markdown import Rendering
from course.student.formulas import as_mathml
from theory.exam_pages import SECTIONS, Answer, Item, Question

WORDS = {
    "title": {"en": "Oral exam: deep generative models", "ru": "Устный экзамен: глубокие порождающие модели"},
    "search": {"en": "Search", "ru": "Поиск"},
    "nothing": {"en": "No question has these words.", "ru": "Таких слов нет ни в одном вопросе."},
    "unfold": {"en": "Unfold all", "ru": "Раскрыть всё"},
    "fold": {"en": "Fold all", "ru": "Свернуть всё"},
    "exam": {"en": "Exam", "ru": "Экзамен"},
    "lab": {"en": "Lab", "ru": "Лабораторная"},
}


def write_page(path: Path, answers: Sequence[tuple[Question, Answer]], language: str) -> None:
    """Write the page of all answers."""
    with replacing(path, advice="name another file") as beside:
        beside.write_text(page(answers, language), encoding="utf-8")


def page(answers: Sequence[tuple[Question, Answer]], language: str) -> str:
    """The HTML of all answers: every question folded, and in it every answer."""
    word = {name: texts[language] for name, texts in WORDS.items()}
    groups = groupby(answers, key=lambda pair: pair[0].kind)
    body = "\n".join(
        f"<h2>{word[kind]}</h2>\n" + "\n".join(_question(*pair, language) for pair in pairs)
        for kind, pairs in groups
    )
    style, script = (
        files("course.student").joinpath(name).read_text("utf-8") for name in ("exam.css", "exam.js")
    )
    return f"""<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{word["title"]}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{word["title"]}</h1>
<form role="search" onsubmit="return false">
<label>{word["search"]} <input type="search" id="search" autocomplete="off"></label>
<button type="button" id="unfold" data-fold="{word["fold"]}">{word["unfold"]}</button>
</form>
<p id="nothing" role="status" hidden>{word["nothing"]}</p>
</header>
<main>
{body}
</main>
<script>
{script}</script>
</body>
</html>
"""


def _question(question: Question, answer: Answer, language: str) -> str:
    rendering = Rendering(formula=as_mathml, picture=_embedded)
    html = lambda markdown: rendering.html(markdown, answer.path.parent)
    section = lambda part, inside: f"<h3>{SECTIONS[part][language]}</h3>\n{inside}"
    items = lambda these: "\n".join(_folded(one, html) for one in these)
    parts = [
        _fold(SECTIONS["short"][language], html(answer.short)),
        section("follow_ups", items(answer.follow_ups)),
        section("wrong", items(answer.wrong)),
        _fold(SECTIONS["full"][language], html(answer.full)),
        section("places", html(answer.places)),
        section("sources", html(answer.sources)),
    ]
    inside = "\n".join(parts)
    number = f'<span class="number">{question.number}</span>'
    return (
        f'<details class="question" id="{question.id}">\n<summary>{number} {escape(answer.title)} '
        f'<span class="theme">{question.theme_in(language)}</span></summary>\n{inside}\n</details>'
    )


def _folded(item: Item, html) -> str:
    return _fold(escape(item.question), html(item.answer))


def _fold(summary: str, inside: str) -> str:
    return f'<details class="answer"><summary>{summary}</summary>\n{inside}</details>'


def _embedded(file: Path) -> str:
    kind = mimetypes.guess_type(file.name)[0]
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"
