"""Questions of lab 8 on one step of the GAN's training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from course.checks.questions import Maker, close, difference

READ = "gan.md#the-non-saturating-loss"
R1 = "gan.md#the-r1-penalty"
RATES = np.array([0.4, 0.6])
"""Of the generator's optimiser and of the discriminator's."""


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@dataclass(frozen=True)
class Game:
    """A generator z W, a discriminator a . x, and what a step of theirs is given."""

    real: np.ndarray  # (B, P)
    z: np.ndarray  # (B, D)
    of_generator: np.ndarray  # (D, P)
    of_discriminator: np.ndarray  # (P,)

    @property
    def fake(self) -> np.ndarray:
        return self.z @ self.of_generator

    def discriminator(self, real: float = 1, fake: float = 1, penalty: float = 0) -> np.ndarray:
        """Its weights after a step; the two parts of its loss and |a|^2 with these weights."""
        a = self.of_discriminator
        of_real = -(sigmoid(-self.real @ a)[:, None] * self.real).mean(0)
        of_fake = (sigmoid(self.fake @ a)[:, None] * self.fake).mean(0)
        return a - RATES[1] * (real * of_real + fake * of_fake + 2 * penalty * a)

    def generator(self, judge: np.ndarray, *, saturating: bool = False) -> np.ndarray:
        """Its weights after a step that a discriminator with the weights `judge` judges."""
        logits = self.fake @ judge
        share = sigmoid(logits) if saturating else sigmoid(-logits)
        return self.of_generator + RATES[0] * (share[:, None] * self.z).T @ np.outer(
            np.ones(len(self.z)) / len(self.z), judge
        )


def steps(made: Maker, draw: np.random.Generator) -> None:
    """With side 2: P = 12."""
    game = Game(
        draw.uniform(-1, 1, (6, 12)) + 0.3, draw.normal(0, 1, (6, 4)), draw.normal(0, 0.3, (4, 12)),
        draw.normal(0, 0.4, 12),
    )  # fmt: skip
    given = [game.real.reshape(6, 3, 2, 2), game.z, game.of_generator, game.of_discriminator, RATES]
    made.ask("a step of both players", "one_step", [*given, 0.0, 1, 0.0], lambda a: played(a, game), READ)
    made.ask(
        "a step after another one", "one_step", [*given, 0.0, 1, 1e4], lambda a: forgotten(a, game), READ
    )
    gamma, every = 0.3, 4
    made.ask(
        "a step with the R1 penalty",
        "one_step",
        [*given, gamma, every, 0.0],
        lambda a: penalised(a, game, gamma, every),
        R1,
    )


def played(answer: list[np.ndarray], game: Game) -> str | None:
    of_generator, of_discriminator = answer
    right = game.discriminator()
    exchanged = replace(game, of_discriminator=-game.of_discriminator)
    mistakes = {
        "it does not move: its backward pass or its step is missing": game.of_discriminator,
        "only real images count": game.discriminator(fake=0),
        "only generated images count": game.discriminator(real=0),
        "the two halves of its loss are averaged: add them up": game.discriminator(0.5, 0.5),
        "real and generated images are exchanged": -exchanged.discriminator(),
        "its step goes up the gradient: the sign is wrong": game.discriminator(-1, -1),
        "its losses are added up: take the mean over the batch": game.discriminator(
            len(game.real), len(game.real)
        ),
    }
    if said := difference(of_discriminator, right, mistakes):
        return f"the discriminator: {said}"
    mistakes = {
        "it does not move: its step is missing, or its images are detached in its own step": (
            game.of_generator
        ),
        "it learns from the discriminator as it was: D's step comes first": game.generator(
            game.of_discriminator
        ),
        "this is the minimax loss, whose gradient vanishes where D is sure": game.generator(
            right, saturating=True
        ),
        "its step makes D find its images less real: the sign is wrong": (
            2 * game.of_generator - game.generator(right)
        ),
        "its losses are added up: take the mean over the batch": game.of_generator
        + len(game.z) * (game.generator(right) - game.of_generator),
    }
    said = difference(of_generator, game.generator(right), mistakes)
    return f"the generator: {said}" if said else None


def forgotten(answer: list[np.ndarray], game: Game) -> str | None:
    """Gradients of 1e4 lay there when the step began."""
    right = game.discriminator()
    for name, found, wanted in (
        ("discriminator", answer[1], right), ("generator", answer[0], game.generator(right))
    ):  # fmt: skip
        if np.abs(found - wanted).max() > 100:
            return f"the {name}'s gradients are not cleared: zero_grad comes before backward"
        if not close(found, wanted):
            return f"the {name}: its weights after the step are others than without an earlier one"
    return None


def penalised(answer: list[np.ndarray], game: Game, gamma: float, every: int) -> str | None:
    """R1 of a . x is |a|^2."""
    mistakes = {
        "gamma is multiplied without its 1/2": game.discriminator(penalty=every * gamma),
        f"a penalty every {every} steps counts {every} times as much: the factor is missing": (
            game.discriminator(penalty=gamma / 2)
        ),
        "the factor for rare penalties and the 1/2 are missing": game.discriminator(penalty=gamma),
        "gamma is left out": game.discriminator(penalty=every / 2),
        "the penalty is left out, or no gradient of it reaches the weights": game.discriminator(),
        "the penalty is subtracted": game.discriminator(penalty=-every * gamma / 2),
    }
    said = difference(answer[1], game.discriminator(penalty=every * gamma / 2), mistakes)
    return f"the discriminator: {said}" if said else None
