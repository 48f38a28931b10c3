"""Questions of homework 4 on one update of a diffusion model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from course.checks.questions import Judge, Maker, close, difference

READ = "the-simple-loss"
START, RATE, STEPS = np.array([0.3, -0.2]), 0.5, 20
LONGEST = 1.0
"""Of a gradient that our training shortens."""


@dataclass(frozen=True)
class Batch:
    """What a step is given."""

    x0: np.ndarray
    eps: np.ndarray
    t: np.ndarray
    alpha: np.ndarray
    sigma: np.ndarray

    def gradient(self, wanted: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
        """Of the mean squared error of a x_t + b t / T, by a and b."""
        seen = self.alpha * self.x0 + self.sigma * self.eps if seen is None else seen
        share = np.broadcast_to(self.t.reshape(-1, 1, 1, 1) / STEPS, seen.shape)
        apart = START[0] * seen + START[1] * share - wanted
        return np.array([(2 * apart * seen).mean(), (2 * apart * share).mean()])

    @property
    def v(self) -> np.ndarray:
        return self.alpha * self.eps - self.sigma * self.x0


def step(made: Maker, draw: np.random.Generator) -> None:
    shape = (4, 1, 4, 4)
    sigma, t = draw.uniform(0.3, 0.9, (4, 1, 1, 1)), np.arange(3, 19, 4)
    x0, eps = draw.uniform(-0.5, 0.5, shape), draw.normal(0, 0.5, shape)
    batch = Batch(x0, eps, t, np.sqrt(1 - sigma**2), sigma)
    for which, name, wanted in ((1, "the image", batch.x0), (0, "the noise", batch.eps)):
        made.ask(
            f"one update where {name} is predicted",
            "ddpm_step",
            [which, batch.x0, batch.eps, batch.t, batch.alpha, batch.sigma, STEPS, START, RATE],
            updated(batch, name, wanted),
            READ,
        )


def updated(batch: Batch, name: str, wanted: np.ndarray) -> Judge:
    """The two weights after one step, and after one that finds gradients of an earlier one."""
    right = batch.gradient(wanted)
    others = {"v": batch.v, "the noise": batch.eps, "the image": batch.x0}
    exchanged = replace(batch, alpha=batch.sigma, sigma=batch.alpha)
    mistakes = {
        "the network is shown the images without noise": batch.gradient(wanted, batch.x0),
        "the network is told t: it expects t / T": replace(batch, t=STEPS * batch.t).gradient(wanted),
        "alpha and sigma are exchanged": exchanged.gradient(wanted),
        "the errors are added up: take the mean over the batch": len(batch.t) * right,
        "the errors are added up over the pixels: take the mean": batch.x0[0].size * right,
        "the step goes up the gradient: the sign is wrong": -right,
        **{
            f"this learns to predict {other}, and {name} was asked for": batch.gradient(values)
            for other, values in others.items()
            if other != name
        },
    }

    def judge(answer: list[np.ndarray]) -> str | None:
        fresh, stale = answer
        if close(fresh, START):
            return "nothing moves: the backward pass or the optimiser's step is missing"
        if not any(close(fresh, START - RATE * gradient) for gradient in as_taken(right)):
            named = ((words, START - RATE * one) for words, g in mistakes.items() for one in as_taken(g))
            known = next((words for words, values in named if close(fresh, values)), None)
            return known or f"the weights after it: {difference(fresh, START - RATE * right)}"
        if not close(stale, fresh):
            return "gradients of an earlier step are not cleared: zero_grad comes before backward"
        return None

    return judge


def as_taken(gradient: np.ndarray) -> list[np.ndarray]:
    """As it is, and shortened to a length of 1, as ours and many others' training does."""
    return [gradient, gradient * min(1, LONGEST / np.linalg.norm(gradient))]
