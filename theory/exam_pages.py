"""Questions of the oral exam and the pages that answer them, read.

    questions = read_questions()
    answer = read_answer(questions[3], "en")      # None while nobody has written the page
    answer.short, answer.follow_ups[0].question

A page has the question as its heading and the sections of SECTIONS in that order; under "Follow-up questions"
and "Wrong answers" every heading of the third level is one item.  Standard library only, but for TOML on
Python 3.10.
"""

import re
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from theory.pages import REPOSITORY, Page, read_page

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = REPOSITORY / "theory" / "exam"
QUESTIONS = FOLDER / "questions.toml"
KINDS = ("exam", "lab")
SECTIONS = {
    "short": {"en": "In two minutes", "ru": "За две минуты"},
    "full": {"en": "In full", "ru": "Подробно"},
    "follow_ups": {"en": "Follow-up questions", "ru": "Дополнительные вопросы"},
    "wrong": {"en": "Wrong answers", "ru": "Неверные ответы"},
    "places": {"en": "Where it lives", "ru": "Где это в курсе"},
    "sources": {"en": "Sources", "ru": "Источники"},
}
"""Parts of an answer and the headings under which a page has them."""
THEMES_IN_RUSSIAN = {
    "generation": "генерация",
    "autoencoders": "автокодировщики",
    "gan": "GAN",
    "diffusion": "диффузия",
}
"""What is shown of a theme; one that is not here is shown as questions.toml has it."""

_HEADING = re.compile(r"^(#{1,6}) +(.*?) *$")


class PageError(ValueError):
    """A page or the list of questions that cannot be used: the message names the file and what is wrong."""


@dataclass(frozen=True)
class Question:
    """One question, as questions.toml has it."""

    id: str
    theme: str
    page: str
    weight: float
    en: str
    ru: str

    @property
    def kind(self) -> str:
        """`exam` or `lab`."""
        return self.id.split("-")[0]

    @property
    def number(self) -> int:
        """Its number among the questions of its kind."""
        return int(self.id.split("-")[1])

    def text(self, language: str) -> str:
        """The question in words."""
        return {"en": self.en, "ru": self.ru}[language]

    def theme_in(self, language: str) -> str:
        """The theme in words."""
        return THEMES_IN_RUSSIAN.get(self.theme, self.theme) if language == "ru" else self.theme

    def path(self, language: str) -> Path:
        """The page that answers it."""
        return FOLDER / language / f"{self.page}.md"


@dataclass(frozen=True)
class Item:
    """A follow-up question and its answer, or a wrong answer and what is wrong with it."""

    question: str
    answer: str


@dataclass(frozen=True)
class Answer:
    """A page taken apart; every part is Markdown without its heading."""

    path: Path
    title: str
    short: str
    full: str
    follow_ups: tuple[Item, ...]
    wrong: tuple[Item, ...]
    places: str
    sources: str

    @cached_property
    def page(self) -> Page:
        """The page as a whole."""
        return read_page(self.path)


def read_questions(path: Path = QUESTIONS) -> list[Question]:
    """The questions in the order of the file; PageError where an entry is wrong."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))["question"]
    except (OSError, KeyError, ValueError) as error:
        raise PageError(
            f"{path}: no list of questions ([[question]]) can be read from it: {error}"
        ) from error
    questions = [_question(entry, path) for entry in entries]
    for attribute in ("id", "page"):
        values = [getattr(question, attribute) for question in questions]
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise PageError(f"{path}: the {attribute} {twice[0]} stands there twice")
    return questions


def _question(entry: dict, path: Path) -> Question:
    try:
        question = Question(**entry)
    except TypeError as error:
        raise PageError(
            f"{path}: {entry.get('id', entry)}: {error}".replace("Question.__init__() ", "")
        ) from error
    if not re.fullmatch(rf"({'|'.join(KINDS)})-[1-9][0-9]*", question.id):
        raise PageError(
            f"{path}: the id {question.id!r} is not KIND-NUMBER with a kind of {', '.join(KINDS)}"
        )
    if not question.weight > 0:
        raise PageError(f"{path}: {question.id}: the weight is {question.weight} and has to be above 0")
    return question


def read_answer(question: Question, language: str) -> Answer | None:
    """The page of a question in a language, or None if there is none; PageError if parts are missing."""
    path = question.path(language)
    if not path.exists():
        return None
    page = read_page(path)
    ((title, text),) = _cut(page, page.text, 1) or [("", "")]
    sections = dict(_cut(page, text, 2))
    wanted = [SECTIONS[part][language] for part in SECTIONS]
    if list(sections) != wanted:
        raise PageError(f"{path}: its sections are {', '.join(sections)}; expected {', '.join(wanted)}")
    parts = {part: sections[SECTIONS[part][language]] for part in SECTIONS}
    items = {
        part: tuple(Item(*one) for one in _cut(page, parts[part], 3)) for part in ("follow_ups", "wrong")
    }
    return Answer(path=path, title=title, **parts | items)


def _cut(page: Page, text: str, level: int) -> list[tuple[str, str]]:
    """(title, text below) of every heading of a level; PageError for text above the first."""
    prose = Page(page.path, text).prose.split("\n")  # without fences, whose lines may begin with #
    starts = [
        number for number, line in enumerate(prose)
        if (found := _HEADING.match(line)) and len(found[1]) == level
    ]  # fmt: skip
    lines = text.split("\n")
    if "".join(lines[: starts[0] if starts else None]).strip():
        raise PageError(f"{page.path}: text without a heading of level {level}: {text.strip()[:60]!r}")
    ends = [*starts[1:], len(lines)]
    return [
        (_HEADING.match(lines[start])[2], "\n".join(lines[start + 1 : end]).strip())
        for start, end in zip(starts, ends)
    ]
