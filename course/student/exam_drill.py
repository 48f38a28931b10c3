"""One sitting of the drill: questions, time, answers uncovered key by key, marks.

`Screen` is what the drill shows itself on.  On a terminal a single key goes on; in plain mode, and in a pipe,
whole lines do, and where the input ends everything is shown and nothing is marked.
"""

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

import click
from rich.console import Console

from course.student import exam_history
from course.student.exam_text import terminal
from course.student.exam_words import WORDS, spoken
from theory.exam_pages import Answer, Question, read_answer

AIM_SECONDS = 120
LEAVE = ("q", "\x1b")
NARROWEST, WIDEST = 20, 100
"""Columns: below the first a formula has no room, above the second lines are hard to read."""


class Left(Exception):
    """The user has had enough."""


class Screen:
    """Text out, keys in."""

    def __init__(self, plain: bool, output: TextIO | None = None, source: TextIO | None = None):
        self.source = source or sys.stdin
        self.keys = not plain and self.source.isatty() and (output or sys.stdout).isatty()
        width = min(WIDEST, max(NARROWEST, shutil.get_terminal_size((80, 24)).columns))
        self.console = Console(
            file=output, width=width, no_color=not self.keys, highlight=False, emoji=False, markup=False
        )
        self.ended = False

    def write(self, text: str = "", style: str | None = None) -> None:
        """A line of the drill itself."""
        self.console.print(text, style=style if self.keys else None)

    def show(self, markdown: str, folder: Path, language: str) -> None:
        """A part of a page."""
        self.console.print(terminal(markdown, folder, language))

    def ask(self, prompt: str) -> str:
        """The key, in lower case, or the line; empty where the input has ended.  Left for q or Esc."""
        if self.ended:
            return ""
        self.write(prompt, "bold")
        if self.keys:
            answer = click.getchar()
        else:
            line = self.source.readline()
            self.ended = not line
            answer = line.strip()
        if answer.lower() in LEAVE:
            raise Left
        return answer.lower()


@dataclass(frozen=True)
class Sitting:
    """The questions of one sitting and where its marks go."""

    questions: list[Question]
    language: str
    screen: Screen
    history: Path
    clock: Callable[[], float] = time.monotonic

    def run(self) -> None:
        """Ask all of them, or until the user leaves; what was marked until then is kept."""
        words = WORDS[self.language]
        try:
            for number, question in enumerate(self.questions, start=1):
                said = words["question"].format(number=number, count=len(self.questions))
                self.screen.write()
                self.screen.write(f"{said} · {question.id} · {question.theme_in(self.language)}")
                self._ask(question, read_answer(question, self.language))
        except Left:
            self.screen.write(words["left"])

    def _ask(self, question: Question, answer: Answer) -> None:
        screen, words = self.screen, WORDS[self.language]
        show = lambda markdown: screen.show(markdown, answer.path.parent, self.language)
        show(f"# {answer.title}")
        started = self.clock()
        screen.ask(words["aloud"])
        seconds = self.clock() - started
        if not screen.ended:
            aim = spoken(AIM_SECONDS, self.language)
            screen.write(words["took"].format(time=spoken(seconds, self.language), aim=aim))
        show(answer.short)
        for item in answer.follow_ups:
            screen.ask(words["next"])
            show(f"---\n**{item.question}**")
            screen.ask(words["answer"])
            show(item.answer)
        if screen.ask(words["full"]) == "f":
            for part in (answer.full, *(f"**{item.question}**\n\n{item.answer}" for item in answer.wrong)):
                show(part)
        show(answer.places)
        self._mark(question, seconds)

    def _mark(self, question: Question, seconds: float) -> None:
        words = WORDS[self.language]
        while not self.screen.ended:
            given = self.screen.ask(words["mark"])
            if given in ("1", "2", "3", "4", "5"):
                asked = exam_history.Asked(
                    question=question.id,
                    time=datetime.now(timezone.utc),
                    mark=int(given),
                    seconds=round(seconds, 1),
                    language=self.language,
                )
                exam_history.add(self.history, asked)
                return
        self.screen.write(words["no mark"])
