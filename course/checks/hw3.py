"""Questions of homework 3: the generator, sampling, training, projection."""

from __future__ import annotations

import numpy as np

from course.checks.hw3_generator import edits, generator, sampling
from course.checks.hw3_optimised import projection, training
from course.checks.questions import Maker, Question


def questions(seed: int) -> list[Question]:
    """All of them, with inputs drawn from `seed`."""
    draw = np.random.default_rng(seed)
    made = Maker(page="stylegan.md")
    for task, ask in (
        ("hw3.a", generator),
        ("hw3.b", sampling),
        ("hw3.c", training),
        ("hw3.d", projection),
        ("hw3.e", edits),
    ):
        made.task = task
        ask(made, draw)
    return made.made
