"""Questions of homework 2: the CSPup block, the generator, losses, the two players' steps, penalties."""

from __future__ import annotations

import numpy as np

from course.checks.hw2_game import changes_for_hypotheses, training
from course.checks.hw2_networks import block, generator
from course.checks.hw2_penalties import penalties
from course.checks.questions import Maker, Question


def questions(seed: int) -> list[Question]:
    """All of them, with inputs drawn from `seed`."""
    draw = np.random.default_rng(seed)
    made = Maker()
    for task, page, ask in (
        ("hw2.a", "layers.md", block),
        ("hw2.b", "layers.md", generator),
        ("hw2.c", "gan.md", training),
        ("hw2.d", "gan.md", changes_for_hypotheses),
        ("hw2.d", "gan.md", penalties),
    ):
        made.task, made.page = task, page
        ask(made, draw)
    return made.made
