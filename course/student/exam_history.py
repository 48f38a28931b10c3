"""What was asked of this user and how it went: a small JSON file, and which questions are due.

The file holds facts only: question, time, mark, seconds.  What is still remembered is computed from these by
FSRS, the scheduler of Anki (https://github.com/open-spaced-repetition/py-fsrs).
"""

import json
import random
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

from common.atomic import replacing
from common.errors import InputError, warn

import platformdirs
from annotated_types import Ge, Le
from filelock import FileLock
from fsrs import Card, Rating, Scheduler
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from theory.exam_pages import Question

RATINGS = {1: Rating.Again, 2: Rating.Again, 3: Rating.Hard, 4: Rating.Good, 5: Rating.Easy}
"""FSRS knows four answers; a mark below 3 is an exam not passed."""
LEAST_NEED = 0.02
"""Of a question that went perfectly a moment ago: rarely drawn, never impossible."""

_SCHEDULER = Scheduler(enable_fuzzing=False, learning_steps=(), relearning_steps=())


class Asked(BaseModel):
    """One question asked once."""

    model_config = ConfigDict(extra="forbid")

    question: str
    time: AwareDatetime
    mark: Annotated[int, Ge(1), Le(5)]
    seconds: Annotated[float, Ge(0)]
    language: Literal["en", "ru"]


class History(BaseModel):
    """The file: its format's number, and all that was asked, in order of time."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    asked: list[Asked] = []

    def of(self, question: Question) -> list[Asked]:
        """When this question was asked."""
        return [one for one in self.asked if one.question == question.id]


def default_path() -> Path:
    """Where the history of this user lies."""
    return platformdirs.user_state_path("generative-models-course", appauthor=False) / "exam.json"


def load(path: Path) -> History:
    """The history in a file, empty if there is none.  A damaged file is set aside, and a warning names it."""
    try:
        text = path.read_text(encoding="utf-8")
        return History.model_validate_json(text)
    except FileNotFoundError:
        return History()
    except (ValidationError, UnicodeDecodeError) as error:
        aside = _set_aside(path)
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "not text"
        warn(f"{path}: not a history of this drill ({what}); kept as {aside.name}, a new one begins")
        return History()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name another file with --history") from error


def _set_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.stem}.damaged-{number}{path.suffix}")).exists():
        number += 1
    path.replace(aside)
    return aside


def add(path: Path, asked: Asked) -> None:
    """Write one more into the file, which other drills may be writing to; InputError where it cannot."""
    advice = "the mark is not kept; name another file with --history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            history = load(path)
            history.asked.append(asked)
            with replacing(path, advice=advice) as beside:
                text = json.dumps(history.model_dump(mode="json"), indent=1) + "\n"
                beside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; {advice}") from error


def recall(asked: Sequence[Asked], now: datetime) -> float:
    """Chance that the answer is remembered, from 0 for a question that was never asked."""
    if not asked:
        return 0.0
    card = Card(card_id=0)
    for one in asked:
        card, _ = _SCHEDULER.review_card(card, RATINGS[one.mark], one.time.astimezone(timezone.utc))
    return float(_SCHEDULER.get_card_retrievability(card, now))


def need(asked: Sequence[Asked], now: datetime) -> float:
    """How much a question should be asked, from LEAST_NEED to 1: it went badly, or is forgotten by now."""
    if not asked:
        return 1.0
    return max(LEAST_NEED, 1 - recall(asked, now) * asked[-1].mark / 5)


def draw(
    questions: Sequence[Question], history: History, count: int, now: datetime, generator: random.Random
) -> list[Question]:
    """`count` different questions, or all there are; each next one in proportion to weight times need."""
    left, drawn = list(questions), []
    while left and len(drawn) < count:
        weights = [question.weight * need(history.of(question), now) for question in left]
        drawn.append(left.pop(generator.choices(range(len(left)), weights)[0]))
    return drawn
