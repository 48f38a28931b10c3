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

    def show(self, markdown: str, folder: Path) -> None:
        """A part of a page."""
        self.console.print(terminal(markdown, folder))

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
        try:
            for number, question in enumerate(self.questions, start=1):
                self.screen.write()
                self.screen.write(
                    f"Question {number} of {len(self.questions)} · {question.id} · {question.theme}"
                )
                self._ask(question, read_answer(question, self.language))
        except Left:
            self.screen.write("Left; the marks given so far are kept.")

    def _ask(self, question: Question, answer: Answer) -> None:
        screen, folder = self.screen, answer.path.parent
        screen.show(f"# {answer.title}", folder)
        started = self.clock()
        screen.ask("Answer aloud. A key when you have finished (q leaves)")
        seconds = self.clock() - started
        if not screen.ended:
            screen.write(f"{spoken(seconds)}; the aim is about {spoken(AIM_SECONDS)}")
        screen.show(answer.short, folder)
        for item in answer.follow_ups:
            screen.ask("A key for the next follow-up question")
            screen.show(f"---\n**{item.question}**", folder)
            screen.ask("Answer, then a key")
            screen.show(item.answer, folder)
        if screen.ask("A key to mark yourself, f for the full answer before") == "f":
            for part in (answer.full, *(f"**{item.question}**\n\n{item.answer}" for item in answer.wrong)):
                screen.show(part, folder)
        screen.show(answer.places, folder)
        self._mark(question, seconds)

    def _mark(self, question: Question, seconds: float) -> None:
        while not self.screen.ended:
            given = self.screen.ask("How was it, from 1 (nothing) to 5 (every follow-up)?")
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
        self.screen.write("No mark: the input has ended.")


def spoken(seconds: float) -> str:
    """A duration in words: 2 min 05 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
