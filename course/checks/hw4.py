"""Questions of homework 4: linear diffusion, noise and losses, samplers and guidance, fine-tuning."""

from __future__ import annotations

import numpy as np

from course.checks.hw4_control import control
from course.checks.hw4_linear import linear
from course.checks.hw4_lora import lora
from course.checks.hw4_noise import noise
from course.checks.hw4_samplers import samplers
from course.checks.hw4_step import step
from course.checks.hw4_subject import subject
from course.checks.questions import Maker, Question


def questions(seed: int) -> list[Question]:
    """All of them, with inputs drawn from `seed`."""
    draw = np.random.default_rng(seed)
    made = Maker(page="diffusion.md")
    for task, ask in (
        ("hw4.a", linear),
        ("hw4.b", noise),
        ("hw4.b", step),
        ("hw4.c", samplers),
        ("hw4.d", lora),
        ("hw4.e", subject),
        ("hw4.f", control),
    ):
        made.task = task
        ask(made, draw)
    return made.made
