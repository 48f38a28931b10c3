"""Questions of homework 4 on samplers and guidance."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from course.checks.questions import Maker, difference, same

TIMES = [20, 14, 9, 3, 0]


@dataclass(frozen=True)
class World:
    """What a sampler is asked with: x_T, a schedule, the guess 0.3 x_t + picture, and noise to draw."""

    x: np.ndarray
    alpha: np.ndarray
    sigma: np.ndarray
    picture: np.ndarray
    noise: np.ndarray

    def guess(self, x: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
        image = 0.3 * x + self.picture
        return image, (x - self.alpha[t] * image) / self.sigma[t]

    def posterior(self, x: np.ndarray, image: np.ndarray, t: int, s: int) -> tuple[np.ndarray, float]:
        ratio = self.alpha[t] / self.alpha[s]
        step = self.sigma[t] ** 2 - ratio**2 * self.sigma[s] ** 2
        mean = (
            ratio * self.sigma[s] ** 2 / self.sigma[t] ** 2 * x
            + self.alpha[s] * step / self.sigma[t] ** 2 * image
        )
        return mean, step * self.sigma[s] ** 2 / self.sigma[t] ** 2


def samplers(made: Maker, draw: np.random.Generator) -> None:
    share = np.arange(21) / 20
    alpha = np.cos(share * 1.4)
    world = World(
        draw.normal(0, 1, (2, 1, 3, 2)),
        alpha,
        np.sqrt(1 - alpha**2),
        draw.uniform(-0.5, 0.5, (2, 1, 3, 2)),
        draw.normal(0, 1, (9, 2, 1, 3, 2)),
    )
    given = lambda which, eta: [
        which,
        world.x,
        world.alpha,
        world.sigma,
        TIMES,
        world.picture,
        eta,
        world.noise,
    ]
    made.ask(
        "the ancestral sampler",
        "sample",
        given(0, 0.0),
        lambda answer: of_steps(answer, ancestral(world), ancestral_mistakes(world), 3),
        "drawing-the-ancestral-sampler",
    )
    made.ask(
        "DDIM without noise",
        "sample",
        given(1, 0.0),
        lambda answer: of_steps(answer, ddim(world), ddim_mistakes(world, 0.0), 0),
        "ddim",
    )
    made.ask(
        "DDIM with half of the noise new",
        "sample",
        given(1, 0.5),
        lambda answer: of_steps(answer, ddim(world, 0.5), ddim_mistakes(world, 0.5), 3),
        "ddim",
    )
    made.ask(
        "DPM-Solver++ of order 2",
        "sample",
        given(2, 0.0),
        lambda answer: of_steps(answer, dpm(world), dpm_mistakes(world), 0),
        "dpm-solver",
    )
    guidance(made, draw)


def of_steps(
    answer: list[np.ndarray], right: np.ndarray, mistakes: dict[str, np.ndarray], draws: int
) -> str | None:
    """Images after every step (steps, B, C, H, W), and how often noise was drawn."""
    found, drawn = answer
    if found.shape != right.shape:
        return f"expected images after {len(right)} steps, {right.shape}; found {found.shape}"
    words = difference(found, right, mistakes, 1e-6)
    if words in mistakes:
        return words
    if int(drawn) != draws:
        return f"noise is drawn {int(drawn)} times in {len(right)} steps, expected {draws}: not in the last"
    if words:
        step = int(np.argmax(np.abs(found - right).reshape(len(right), -1).max(1) > 1e-6))
        return f"the first step that differs is from t = {TIMES[step]} to {TIMES[step + 1]}: {words}"
    return None


def ancestral(
    world: World, *, last_noise: bool = False, variance_as_std: bool = False, forward: bool = False
) -> np.ndarray:
    x, found, drawn = world.x, [], 0
    for t, s in pairwise(TIMES):
        image, _ = world.guess(x, t)
        x, variance = world.posterior(x, image, t, s)
        if forward:
            variance = world.sigma[t] ** 2 - (world.alpha[t] / world.alpha[s]) ** 2 * world.sigma[s] ** 2
        if s > 0 or last_noise:
            spread = max(variance, 1e-4 if s == 0 else 0)
            x = x + (spread if variance_as_std else np.sqrt(spread)) * world.noise[drawn]
            drawn += 1
        found.append(x)
    return np.stack(found)


def ancestral_mistakes(world: World) -> dict[str, np.ndarray]:
    return {
        "no noise is added between the steps": _without_noise(world),
        "noise is multiplied with the variance: its root is the standard deviation": ancestral(
            world, variance_as_std=True
        ),
        "the noise has the variance of a step forward: q(x_s | x_t, x_0) has a smaller one": ancestral(
            world, forward=True
        ),
    }


def _without_noise(world: World) -> np.ndarray:
    silent = World(world.x, world.alpha, world.sigma, world.picture, 0 * world.noise)
    return ancestral(silent)


def ddim(
    world: World,
    eta: float = 0.0,
    *,
    keep: bool = False,
    no_eta: bool = False,
    no_alpha: bool = False,
    wrong_time: bool = False,
    silent: bool = False,
) -> np.ndarray:
    x, found, drawn = world.x, [], 0
    for t, s in pairwise(TIMES):
        image, eps = world.guess(x, t)
        std = eta * np.sqrt(world.posterior(x, image, t, s)[1])
        rest = world.sigma[s] if keep else np.sqrt(max(world.sigma[s] ** 2 - std**2, 0))
        rest = world.sigma[t] if wrong_time else rest
        x = (1.0 if no_alpha else world.alpha[s]) * image + rest * eps
        if std > 0 and not silent:
            x = x + (std / eta if no_eta else std) * world.noise[drawn]
            drawn += 1
        found.append(x)
    return np.stack(found)


def ddim_mistakes(world: World, eta: float) -> dict[str, np.ndarray]:
    found = {
        "the guessed image is not scaled by alpha_s": ddim(world, eta, no_alpha=True),
        "the noise has the strength of t: x_s has sigma_s": ddim(world, eta, wrong_time=True),
    }
    if eta:
        found |= {
            "all of the old noise is kept: with new noise it is sqrt(sigma_s^2 - std^2)": ddim(
                world, eta, keep=True
            ),
            "eta is left out of the new noise": ddim(world, eta, no_eta=True),
            "no new noise is added": ddim(world, eta, silent=True),
            "eta is left out altogether": ddim(world, 0.0),
        }
    return found


def dpm(
    world: World, *, order: int = 2, factor: float = 0.5, inverse: bool = False, sign: float = 1.0
) -> np.ndarray:
    """Lambda is ln(alpha / sigma)."""
    x, found, before, h_before = world.x, [], None, np.inf
    with np.errstate(divide="ignore"):
        lam = np.log(world.alpha) - np.log(world.sigma)
    for t, s in pairwise(TIMES):
        image, _ = world.guess(x, t)
        h = lam[s] - lam[t]
        guess = image
        if before is not None and s > 0 and order == 2:
            ratio = h_before / h if inverse else h / h_before
            guess = image + sign * factor * ratio * (image - before)
        x = world.sigma[s] / world.sigma[t] * x - world.alpha[s] * np.expm1(-h) * guess
        before, h_before = image, h
        found.append(x)
    return np.stack(found)


def dpm_mistakes(world: World) -> dict[str, np.ndarray]:
    return {
        "only the last guess is used: this is order 1, DDIM": dpm(world, order=1),
        "the line is followed a whole step: the image halfway is meant, h / (2 h_before)": dpm(
            world, factor=1.0
        ),
        "the ratio of the steps is upside down: h / (2 h_before)": dpm(world, inverse=True),
        "the line is followed backwards: x_0 + ... (x_0 - before)": dpm(world, sign=-1.0),
    }


# ---- guidance


def guidance(made: Maker, draw: np.random.Generator) -> None:
    told, untold = draw.normal(0, 1, (2, 1, 3, 2)), draw.normal(0, 1, (2, 1, 3, 2))
    made.ask(
        "guidance",
        "guided",
        [told, untold, 3.0],
        same(
            untold + 3 * (told - untold),
            {
                "the two outputs are exchanged: away from no class, towards the class": told
                + 3 * (untold - told),
                "the scale is that of Ho and Salimans, one less: here 1 leaves the output": told
                + 3 * (told - untold),
                "the output without class is missing": 3 * (told - untold),
                "the output of the class is the start, the difference is of the other sign": told
                - 3 * (told - untold),
            },
        ),
        "guidance",
    )
    labels, chance = np.array([0, 3, 2, 1, 4, 2]), np.array([0.05, 0.5, 0.19, 0.2, 0.9, 0.7])
    forgotten = chance < 0.2
    made.ask(
        "classes that are not told",
        "forget_classes",
        [labels, chance, 0.2, 5],
        same(
            np.where(forgotten, 5, labels),
            {
                "the wrong ones are forgotten: the share is that of the forgotten": np.where(
                    forgotten, labels, 5
                ),
                "no class is the number K, not 0": np.where(forgotten, 0, labels),
                "no class is the number K, not -1": np.where(forgotten, -1, labels),
                "no class is the number K, not K - 1, which is a class": np.where(forgotten, 4, labels),
                "nothing is forgotten": labels,
            },
        ),
        "guidance",
    )
