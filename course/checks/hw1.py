"""Questions of homework 1: styles, pixels, spills, variational autoencoders."""

from __future__ import annotations

import numpy as np

from course.checks.hw1_bayes import pixels, styles
from course.checks.hw1_spills import spills
from course.checks.hw1_variational import variational
from course.checks.questions import Maker, Question


def questions(seed: int) -> list[Question]:
    """All of them, with inputs drawn from `seed`."""
    draw = np.random.default_rng(seed)
    made = Maker()
    for task, page, ask in (
        ("hw1.a", "bayes.md", styles),
        ("hw1.b", "bayes.md", pixels),
        ("hw1.c", "metrics.md", spills),
        ("hw1.d", "vae.md", variational),
    ):
        made.task, made.page = task, page
        ask(made, draw)
    return made.made
