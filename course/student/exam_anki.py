"""The answers as cards for Anki, which shows formulas with MathJax.

A note is known by its GUID.  It is made of the question's id, the part, the item's number and the language,
never of the words, so that importing a newer deck changes the cards one has and keeps their dates.  Hence new
follow-up questions go to the end of their list.
"""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from common.atomic import replacing

import genanki

from course.student.exam_markdown import Rendering
from theory.exam_pages import Answer, Question
from theory.pages import REPOSITORY, TAG

MODEL_ID = 1_607_301_124
DECK_IDS = {"en": 1_607_301_125, "ru": 1_607_301_126}
"""Chosen once at random; Anki knows kinds of notes and decks by them."""
DECK_NAMES = {"en": "Deep generative models: oral exam", "ru": "Глубокие порождающие модели: устный экзамен"}
FULL = {"en": "In full", "ru": "Подробно"}
WHY_WRONG = {"en": "What is wrong here?", "ru": "Что здесь неверно?"}

MODEL = genanki.Model(
    MODEL_ID,
    "Deep generative models: oral exam",
    fields=[{"name": name} for name in ("Front", "Back", "Where")],
    templates=[
        {
            "name": "Card",
            "qfmt": '<div class="where">{{Where}}</div>{{Front}}',
            "afmt": "{{FrontSide}}<hr id=answer>{{Back}}",
        }
    ],
    css=".card { font-family: sans-serif; font-size: 18px; text-align: left; line-height: 1.45 }\n"
    ".where { color: #777; font-size: 13px } img { max-width: 100% } table { border-collapse: collapse }\n"
    "td, th { border: 1px solid #999; padding: 2px 6px } .wide { overflow-x: auto }",
)


def write_deck(path: Path, answers: Sequence[tuple[Question, Answer]], language: str) -> None:
    """A package with one note for each question, follow-up question and wrong answer, and their figures."""
    deck = genanki.Deck(DECK_IDS[language], DECK_NAMES[language])
    pictures: dict[str, Path] = {}
    for question, answer in answers:
        for note in _notes(question, answer, language, pictures):
            deck.add_note(note)
    with TemporaryDirectory() as folder:
        packed = []
        for name, file in pictures.items():  # a package names a picture by the last part of its path
            packed.append(Path(folder, name))
            packed[-1].write_bytes(file.read_bytes())
        with replacing(path, advice="name another file") as beside:
            genanki.Package(deck, media_files=[str(one) for one in packed]).write_to_file(str(beside))


def _notes(
    question: Question, answer: Answer, language: str, pictures: dict[str, Path]
) -> Iterator[genanki.Note]:
    rendering = Rendering(formula=_mathjax, picture=lambda file: _packed(file, pictures))
    html = lambda markdown: rendering.html(markdown, answer.path.parent)
    full = f"<details><summary>{FULL[language]}</summary>{html(answer.full)}</details>"
    cards = [("answer", 0, answer.title, html(answer.short) + full)]
    cards += [("follow-up", n, one.question, html(one.answer)) for n, one in enumerate(answer.follow_ups)]
    cards += [
        ("wrong", number, f"{one.question} {WHY_WRONG[language]}", html(one.answer))
        for number, one in enumerate(answer.wrong)
    ]
    where = f"{question.id} · {question.theme_in(language)}"
    for part, number, front, back in cards:
        guid = genanki.guid_for("deep-generative-models-course", question.id, part, number, language)
        yield genanki.Note(
            MODEL, [escape(front), back, where], guid=guid, tags=[question.id, question.theme, part]
        )


def _packed(file: Path, pictures: dict[str, Path]) -> str:
    """The name of a figure in the package: its path in the repository, which no other figure has."""
    name = "-".join(file.relative_to(REPOSITORY).parts)
    pictures[name] = file
    return name


def _mathjax(latex: str, display: bool) -> str:
    latex = escape(TAG.sub("", latex).strip(), quote=False)
    return rf"\[{latex}\]" if display else rf"\({latex}\)"
