"""`python3 -m course exam`: a drill for the oral exam.

    python3 -m course exam                                # two questions, the ones that need it most
    python3 -m course exam --question 8 --lang ru         # exam question 8, in Russian
    python3 -m course exam --lab --theme gan              # two of the lab's questions on GANs
    python3 -m course exam --stats                        # what was asked, how it went, what is due
    python3 -m course exam export --anki deck.apkg        # cards for Anki
    python3 -m course exam export --html exam.html        # one page that needs no network

Answer aloud before you press a key.  Questions are in theory/exam/questions.toml, answers beside them."""

import argparse
import locale
import random
import sys
from datetime import datetime, timezone
from pathlib import Path

from common.errors import InputError

from rich.table import Table

from course.student import exam_history
from course.student.exam_drill import Screen, Sitting
from course.student.exam_words import WORDS, spoken
from theory.exam_pages import KINDS, PageError, Question, read_answer, read_questions
from theory.pages import LANGUAGES

ROOM_FOR_WORDS = 90
"""Columns from which on the table of --stats has the questions in words."""


def main(arguments: list[str]) -> int:
    """Exit status 0; 1 when a page or file cannot be used, 2 for a wrong command line."""
    try:
        if arguments[:1] == ["export"]:
            return export(parse_export(arguments[1:]))
        options = parse(arguments)
        return stats(options) if options.stats else drill(options)
    except (InputError, PageError) as error:
        print(f"course exam: {error}", file=sys.stderr)
        return 1


def parse(arguments: list[str]) -> argparse.Namespace:
    """The flags of the drill."""
    parser = argparse.ArgumentParser(
        prog="python3 -m course exam",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_choice_flags(parser)
    parser.add_argument("--question", type=int, metavar="N", help="this one only, by its number")
    parser.add_argument("--count", type=int, default=2, metavar="N", help="how many to draw (default: 2)")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="draw the same ones again, given the same history"
    )
    parser.add_argument("--plain", action="store_true", help="no colours, whole lines instead of single keys")
    parser.add_argument(
        "--stats", action="store_true", help="what was asked, how it went, what is due; asks nothing"
    )
    parser.add_argument(
        "--history", type=Path, metavar="FILE", help="keep the marks there instead of with the user"
    )
    options = parser.parse_args(arguments)
    if options.count < 1:
        parser.error(f"argument --count: {options.count} is below 1")
    options.history = options.history or exam_history.default_path()
    return options


def parse_export(arguments: list[str]) -> argparse.Namespace:
    """The flags of `exam export`."""
    parser = argparse.ArgumentParser(
        prog="python3 -m course exam export",
        description="Write the answers as a deck for Anki or as one HTML page.",
    )
    add_choice_flags(parser)
    parser.add_argument("--anki", type=Path, metavar="FILE", help="a deck for Anki (FILE.apkg)")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="one page that needs no network (FILE.html)"
    )
    options = parser.parse_args(arguments)
    if not (options.anki or options.html):
        parser.error("name a file to write: --anki FILE.apkg or --html FILE.html")
    return options


def add_choice_flags(parser: argparse.ArgumentParser) -> None:
    """Which questions, in which language."""
    parser.add_argument("--lab", action="store_true", help="the questions of the lab (default: all)")
    parser.add_argument("--theme", metavar="NAME", help="questions of one theme, such as gan")
    parser.add_argument("--lang", choices=LANGUAGES, default=language_of_user(), help="default: %(default)s")


def language_of_user() -> str:
    """Russian for who has set it in the environment, English for everybody else."""
    return "ru" if (locale.getlocale()[0] or "").lower().startswith(("ru", "russian")) else "en"


def chosen(options: argparse.Namespace) -> list[Question]:
    """The questions that the flags ask for, written or not; InputError where there are none."""
    questions = read_questions()
    number = getattr(options, "question", None)
    if options.lab or number is not None:
        kind = KINDS[options.lab]
        questions = [question for question in questions if question.kind == kind]
    if options.theme:
        themes = list(dict.fromkeys(question.theme for question in questions))
        if options.theme not in themes:
            raise InputError(
                f"--theme {options.theme}: no question there; the themes are {', '.join(themes)}"
            )
        questions = [question for question in questions if question.theme == options.theme]
    if number is not None:
        numbers = [question.number for question in questions]
        if number not in numbers:
            raise InputError(
                f"--question {number}: not there; the numbers are {', '.join(map(str, numbers))}"
            )
        questions = [question for question in questions if question.number == number]
    return questions


def written(questions: list[Question], language: str) -> list[Question]:
    """Those with a page in this language; InputError where none has."""
    found = [question for question in questions if question.path(language).exists()]
    if not found:
        names = ", ".join(question.id for question in questions)
        raise InputError(f"{names}: no page in {language} answers it yet; see --stats for what is written")
    return found


def drill(options: argparse.Namespace) -> int:
    """Draw questions and ask them."""
    questions = written(chosen(options), options.lang)
    for question in questions:
        read_answer(question, options.lang)  # a page that cannot be read is found before the drill begins
    history = exam_history.load(options.history)
    now = datetime.now(timezone.utc)
    drawn = exam_history.draw(questions, history, options.count, now, random.Random(options.seed))
    Sitting(drawn, options.lang, Screen(options.plain), options.history).run()
    return 0


def stats(options: argparse.Namespace) -> int:
    """A table of the questions: how often, how well, how long, how much each is needed, and in words."""
    history, now, screen = (
        exam_history.load(options.history),
        datetime.now(timezone.utc),
        Screen(options.plain),
    )
    room, words = screen.console.width >= ROOM_FOR_WORDS, WORDS[options.lang]
    table = Table(*words["columns"], *[""] * room, box=None, pad_edge=False)
    for question in chosen(options):
        asked = history.of(question)
        row = [
            question.id,
            str(len(asked)),
            str(asked[-1].mark) if asked else "–",
            f"{asked[-1].time.astimezone():%Y-%m-%d}" if asked else "–",
            spoken(sum(one.seconds for one in asked) / len(asked), options.lang) if asked else "–",
            f"{exam_history.need(asked, now):.0%}"
            if question.path(options.lang).exists()
            else words["no page"],
        ]
        table.add_row(*row, *[question.text(options.lang)] * room)
    screen.console.print(table)
    screen.write(words["about"])
    screen.write(words["history"].format(path=options.history))
    return 0


def export(options: argparse.Namespace) -> int:
    """Write the deck, the page, or both."""
    questions = chosen(options)
    answers = [
        (question, read_answer(question, options.lang)) for question in written(questions, options.lang)
    ]
    wrote = lambda path: f"wrote {path}: {len(answers)} of {len(questions)} questions"
    if options.anki:
        from course.student.exam_anki import write_deck

        write_deck(options.anki, answers, options.lang)
        print(wrote(options.anki))
    if options.html:
        from course.student.exam_html import write_page

        write_page(options.html, answers, options.lang)
        print(wrote(options.html))
    return 0
