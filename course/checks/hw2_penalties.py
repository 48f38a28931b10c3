"""Questions of homework 2 on penalties, and on steps with what the hypotheses add."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from course.checks.hw2_game import MEAN, of_batch
from course.checks.questions import Judge, Maker, difference


def penalties(made: Maker, draw: np.random.Generator) -> None:
    real, fake, a = (
        draw.uniform(-1, 1, (4, 1, 3, 3)),
        draw.uniform(-1, 1, (4, 1, 3, 3)),
        draw.normal(0, 1, (1, 3, 3)),
    )
    gradient = a + 0.7 * real
    squared = (gradient**2).sum((1, 2, 3))

    def r1(answer: list[np.ndarray]) -> str | None:
        mistakes = {
            "the mean over pixels is taken: add up the squares of one image": squared / 9,
            "the root is taken: R1 is the squared length": np.sqrt(squared),
            "1 is subtracted from the length: that is WGAN-GP's penalty": (np.sqrt(squared) - 1) ** 2,
            "the penalty is summed over the batch": squared.sum(),
            MEAN: squared.mean(),
            "this is half of it: the 1/2 belongs to gamma, outside": squared / 2,
        }
        if words := difference(answer[0], squared, mistakes):
            return words
        return (
            None
            if answer[1]
            else "no gradient reaches the discriminator's weights: create_graph=True is missing"
        )

    made.ask("R1: the squared gradient", "r1_penalty", [real, a, 0.7], r1, "the-r1-penalty")
    length = np.sqrt(squared)
    made.ask(
        "WGAN-GP: its length",
        "gradient_penalty",
        [real, real, a, 0.7],
        of_batch(
            (length - 1) ** 2,
            {
                "this is the squared length: its distance from 1 is asked for": squared,
                "the root is missing: (|gradient| - 1)^2, not (|gradient|^2 - 1)^2": (squared - 1) ** 2,
                "the mean over pixels is taken inside the length": (length / 3 - 1) ** 2,
                "only lengths above 1 count: both sides do": np.maximum(length - 1, 0) ** 2,
            },
        ),
        "the-gradient-penalty",
    )
    made.ask(
        "WGAN-GP: where it is taken",
        "gradient_penalty",
        [real[:1].repeat(64, 0), fake[:1].repeat(64, 0), a, 0.7],
        lambda answer: between(answer[0], real[0], fake[0], a),
        "the-gradient-penalty",
    )
    mean = (a**2).sum()
    rare = "a penalty every 4 steps counts 4 times as much: the factor is missing"
    made.ask(
        "R1 in the loss, in a step with it and in one without",
        "penalty_of_step",
        [real, a, [8, 9], 3.0, 4, 0.0],
        in_every_fourth(
            4 * 1.5 * mean,
            {
                "gamma is multiplied without its 1/2": 4 * 3 * mean,
                rare: 1.5 * mean,
                "the factor for rare penalties and the 1/2 are missing": 3 * mean,
                "gamma is left out": 4 * mean,
                "it is left out": 0.0,
            },
        ),
        "the-r1-penalty",
    )
    right = 4 * 10 * (np.sqrt(mean) - 1) ** 2
    made.ask(
        "WGAN-GP in the loss, in a step with it and in one without",
        "penalty_of_step",
        [real, a, [8, 9], 0.0, 4, 10.0],
        in_every_fourth(
            right,
            {
                rare: right / 4,
                "its weight is left out": right / 10,
                "its weight is halved: that is R1's": right / 2,
                "it is left out": 0.0,
                "the sign is wrong: D is to pay for it": -right,
            },
        ),
        "the-gradient-penalty",
    )
    steps_with(made, draw.uniform(-1, 1, (8, 3, 32, 32)))


def in_every_fourth(right: float, mistakes: Mapping[str, float]) -> Judge:
    """A penalty of step 8, and 0 in step 9."""

    def judge(answer: list[np.ndarray]) -> str | None:
        with_it, without = answer
        if words := difference(with_it, right, mistakes):
            return words
        return f"in a step without it expected 0, found {without:.5g}" if without else None

    return judge


def steps_with(made: Maker, real: np.ndarray) -> None:
    """Steps with what the hypotheses add: learning rates are so small and weights so large that only the
    penalty moves D."""
    rate = 1e-6
    made.ask(
        "a step with the R1 penalty",
        "step_with_penalty",
        [real, rate, 0.5 / rate, 0.0],
        lambda answer: penalised(*answer, expected=-0.5),
        "the-r1-penalty",
    )
    made.ask(
        "a step with WGAN-GP's penalty",
        "step_with_penalty",
        [real, rate, 0.0, 0.1 / rate],
        lambda answer: penalised(*answer, expected=0.2 * (1 / np.linalg.norm(answer[0]) - 1)),
        "the-gradient-penalty",
    )
    for what, strength, augmented, met, section in (
        ("instance noise", 0.5, 0, noisy, "instance-noise"),
        ("augmentation", 0.0, 1, changed, "differentiable-augmentation"),
    ):
        made.ask(
            f"a step with {what}",
            "seen_in_step",
            [0.3, strength, augmented],
            lambda answer, met=met, what=what: seen(*answer, met, what),
            section,
        )


def penalised(before: np.ndarray, after: np.ndarray, expected: float) -> str | None:
    """The weights w move by expected * w; sums over the batch in the place of means move them further."""
    share = float(((after - before) * before).sum() / (before**2).sum()) / expected
    if abs(share) < 0.01:
        return "the penalty does not change D's step: add it to D's loss, before its backward pass"
    if share < 0:
        return "the penalty moves D's weights the wrong way: add it to the loss, do not subtract it"
    if not 0.4 < share < 10:
        return f"the penalty moves D's weights {share:.2g} times as far as it should"
    return None


def noisy(images: np.ndarray) -> bool:
    return images.reshape(len(images), -1).std(1).min() > 0.2


def changed(images: np.ndarray) -> bool:
    return (np.ptp(images.reshape(len(images), -1), 1) > 0.1).mean() > 0.5


def seen(images: np.ndarray, own: np.ndarray, met: Callable[[np.ndarray], bool], what: str) -> str | None:
    """All that D sees is changed: images of value 0.3 are real, of -0.3 generated."""
    first, later = images[: int(own)], images[int(own) :]
    real = lambda batch: batch[batch.mean((1, 2, 3)) > 0]
    fake = lambda batch: batch[batch.mean((1, 2, 3)) < 0]
    for name, batch in (
        ("real images in its own step", real(first)),
        ("generated images in its own step", fake(first)),
        ("generated images in the generator's step", fake(later)),
    ):
        if not len(batch):
            return f"D does not see {name}"
        if not met(batch):
            return f"{what} is missing on what D sees: {name}"
    return None


def between(found: np.ndarray, real: np.ndarray, fake: np.ndarray, a: np.ndarray) -> str | None:
    """The points lie on the line between the two images: one share of the way for all pixels of an image."""
    shares = np.linspace(0, 1, 2001)[:, None, None, None]
    along = (np.sqrt(((a + 0.7 * (real + shares * (fake - real))) ** 2).sum((1, 2, 3))) - 1) ** 2
    apart = np.abs(found[:, None] - along[None]).min(1)
    if apart.max() > 1e-2 * max(1, along.max()):
        return "it is not taken between a real and a generated image, one share of the way for all pixels"
    if np.ptp(found) < 1e-6:
        return "the share of the way is always the same: draw one for each image, uniform on [0, 1]"
    return None
