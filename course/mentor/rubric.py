"""What is asked, as data: the course's points and dates (course.toml), and what is looked for
(rubric.toml)."""

from __future__ import annotations

import datetime
import hashlib
import sys
from pathlib import Path
from typing import Literal

from common.errors import InputError

import pydantic

from course.mentor.layout import Names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COURSE = Path(__file__).resolve().parents[1] / "course.toml"
RUBRIC = Path(__file__).resolve().parent / "rubric.toml"


class Strict(pydantic.BaseModel):
    """A table of a file in which a word that means nothing is a mistake."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Text(Strict):
    """The same in two languages."""

    en: str
    ru: str


class Work(Strict):
    """A work that points are given for."""

    id: str
    title: Text
    points: float = pydantic.Field(gt=0)
    deadline: datetime.datetime | datetime.date | None = None


class Step(Strict):
    """A line of the scale: from where, strictly above or reached, which mark."""

    letter: str
    mark: int
    above: float | None = None
    reach: float | None = None

    def holds(self, points: float) -> bool:
        return points > self.above if self.above is not None else points >= (self.reach or 0)


class Grade(Strict):
    """How points become a mark."""

    scale: list[Step]
    nothing_in_term_at_most: float
    term_until: datetime.datetime | datetime.date
    last_push: datetime.datetime | datetime.date
    last_day: datetime.date
    exam_points: tuple[float, float]
    resit_homework_points: float


class Course(Strict):
    title: Text
    utc_offset_hours: float
    works: list[Work]
    grade: Grade


class Item(Strict):
    """One thing that is looked for."""

    check: Literal[
        "text", "number", "picture", "outputs", "code", "link", "readme", "files", "requirements", "name"
    ]
    title: Text
    terms: list[str] = []
    headings: list[str] = []
    unless: list[str] = []
    least: int = pydantic.Field(1, ge=1)
    above: float | None = None
    table: bool = False
    animated: bool = False
    drawn: bool = False
    optional: bool = False


class Part(Strict):
    """Points of a work, and the items that speak for them."""

    id: str
    title: Text
    points: float = pydantic.Field(gt=0)
    items: list[str]


class Demands(Strict):
    """What one work must show."""

    form: list[str]
    parts: list[Part]

    @property
    def items(self) -> list[str]:
        """Every item once, those of the form first."""
        return list(dict.fromkeys([*self.form, *(item for part in self.parts for item in part.items)]))


class MainPage(Strict):
    items: list[str]


class Terms(Strict):
    terms: list[str]


class Layout(Strict):
    words: list[str]
    numbers: dict[str, int]
    aliases: dict[str, list[str]]


class Rubric(Strict):
    layout: Layout
    schemes: Terms
    items: dict[str, Item]
    main: MainPage
    works: dict[str, Demands]

    @property
    def names(self) -> Names:
        aliases = {work: tuple(names) for work, names in self.layout.aliases.items()}
        return Names(tuple(self.layout.words), self.layout.numbers, aliases)


def read(course: Path = COURSE, rubric: Path = RUBRIC) -> tuple[Course, Rubric, str]:
    """The two files, checked against each other, and a digest that changes with either."""
    asked, looked = _read(course, Course), _read(rubric, Rubric)
    works = {work.id: work for work in asked.works}
    for name, demands in looked.works.items():
        if unknown := [item for item in demands.items if item not in looked.items]:
            raise InputError(f"{rubric}: works.{name} names the item {unknown[0]!r}, which is not in [items]")
        if name not in works:
            raise InputError(
                f"{rubric}: works.{name} is no work of {course}; add it there, or remove it here"
            )
        total = sum(part.points for part in demands.parts)
        if total != works[name].points:
            raise InputError(
                f"{rubric}: the parts of {name} make {total:g} points, "
                f"and {course} gives {works[name].points:g}"
            )
    digest = hashlib.sha256(course.read_bytes() + rubric.read_bytes()).hexdigest()
    return asked, looked, digest


def _read(path: Path, kind: type) -> Course | Rubric:
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; name an existing file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML: {error}") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
