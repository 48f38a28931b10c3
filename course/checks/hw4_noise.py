"""Questions of homework 4 on noise, what the network predicts, and the loss."""

from __future__ import annotations

import numpy as np

from course.checks.questions import Maker, each, named, same

NAMES = "five-names-for-one-prediction"


def noise(made: Maker, draw: np.random.Generator) -> None:
    schedules(made)
    x0, eps = draw.uniform(-1, 1, (3, 1, 2, 4)), draw.normal(0, 1, (3, 1, 2, 4))
    alpha = np.array([0.9, 0.6, 0.3]).reshape(3, 1, 1, 1)
    sigma = np.sqrt(1 - alpha**2)
    x_t = alpha * x0 + sigma * eps
    made.ask(
        "an image with noise",
        "noised",
        [x0, eps, alpha, sigma],
        same(
            x_t,
            {
                "alpha and sigma are exchanged": sigma * x0 + alpha * eps,
                "roots are taken: alpha and sigma are factors already": np.sqrt(alpha) * x0
                + np.sqrt(sigma) * eps,
                "squares are taken: alpha and sigma are factors, not shares of the variance": alpha**2 * x0
                + sigma**2 * eps,
                "the noise is subtracted": alpha * x0 - sigma * eps,
                "the image keeps its strength: scale it by alpha": x0 + sigma * eps,
            },
        ),
        "adding-noise",
    )
    back(made, x_t, x0)
    targets(made, x0, eps, alpha, sigma)
    meanings(made, x0, eps, alpha, sigma)
    squares = (x0 - eps) ** 2
    made.ask(
        "the simple loss",
        "simple_loss",
        [x0, eps],
        same(
            squares.mean((1, 2, 3)),
            {
                "the mean over the batch is taken: give one value for each image": squares.mean(),
                "this is summed over the pixels: take the mean": squares.sum((1, 2, 3)),
                "the absolute difference is taken: square it": np.abs(x0 - eps).mean((1, 2, 3)),
                "the root is taken: the squared error is meant": np.sqrt(squares.mean((1, 2, 3))),
            },
        ),
        "the-simple-loss",
    )


def schedules(made: Maker) -> None:
    t = np.arange(1001) / 1000
    line = np.linspace(1e-4, 0.02, 1000)
    made.ask(
        "betas on a line, T = 1000",
        "betas",
        [0, 1000],
        same(
            line,
            {
                "they fall: the noise grows with t": line[::-1],
                "these are alphas, 1 - beta": 1 - line,
                "the roots are on a line: that is the schedule of Stable Diffusion": np.linspace(
                    1e-2, 0.02**0.5, 1000
                )
                ** 2,
                "alpha bar is given: betas are asked for": (1 - line).cumprod(),
            },
            tolerance=1e-6,
        ),
        "schedules",
    )
    short = np.linspace(0.01, 2.0, 10).clip(max=0.999)
    made.ask(
        "betas on a line, T = 10",
        "betas",
        [0, 10],
        same(
            short,
            {
                "with fewer steps each replaces more: scale by 1000 / T": np.linspace(1e-4, 0.02, 10),
                "no step may replace everything: cut off at 0.999": np.linspace(0.01, 2.0, 10),
            },
            tolerance=1e-6,
        ),
        "schedules",
    )
    bar = lambda offset: np.cos((t + offset) / (1 + offset) * np.pi / 2) ** 2
    of = lambda alpha_bar: (1 - alpha_bar[1:] / alpha_bar[:-1]).clip(max=0.999)
    made.ask(
        "betas of a cosine",
        "betas",
        [1, 1000],
        same(
            of(bar(0.008)),
            {
                "the offset of 0.008 is missing": of(bar(0.0)),
                "the cosine is to be squared": of(np.sqrt(bar(0.008))),
                "alpha bar is given: betas are asked for": bar(0.008)[1:],
                "the last beta is 1: cut off at 0.999": 1 - bar(0.008)[1:] / bar(0.008)[:-1],
            },
            tolerance=1e-6,
        ),
        "schedules",
    )


def back(made: Maker, x_t: np.ndarray, x0: np.ndarray) -> None:
    a_t, a_s = 0.5, 0.8
    s_t, s_s = np.sqrt(1 - a_t**2), np.sqrt(1 - a_s**2)
    step = s_t**2 - (a_t / a_s) ** 2 * s_s**2
    of_x, of_image = a_t / a_s * s_s**2 / s_t**2, a_s * step / s_t**2
    mean = of_x * x_t + of_image * x0
    made.ask(
        "one step back, the image known",
        "posterior",
        [x_t, x0, np.array([a_t, s_t, a_s, s_s])],
        each(
            named(
                "mean",
                same(
                    mean,
                    {
                        "the weights of x_t and x_0 are exchanged": of_x * x0 + of_image * x_t,
                        "only the image counts": of_image * x0,
                        "x_t is weighed without sigma_s^2 / sigma_t^2": a_t / a_s * x_t + of_image * x0,
                        "the image is weighed without alpha_s": of_x * x_t + step / s_t**2 * x0,
                    },
                ),
            ),
            named(
                "variance",
                same(
                    step * s_s**2 / s_t**2,
                    {
                        "this is the variance of a step forward, not back": step,
                        "this is the standard deviation": np.sqrt(step) * s_s / s_t,
                        "this is sigma_s^2": s_s**2,
                    },
                ),
            ),
        ),
        "one-step-back-if-the-image-is-known",
    )


def targets(made: Maker, x0: np.ndarray, eps: np.ndarray, alpha: np.ndarray, sigma: np.ndarray) -> None:
    given = [x0, eps, alpha, sigma]
    made.ask(
        "what to predict: the noise",
        "target",
        [0, *given],
        same(eps, {"this is the image": x0, "this is the noise times sigma": sigma * eps}),
        NAMES,
    )
    made.ask("what to predict: the image", "target", [1, *given], same(x0, {"this is the noise": eps}), NAMES)
    made.ask(
        "what to predict: v",
        "target",
        [2, *given],
        same(
            alpha * eps - sigma * x0,
            {
                "the sign is wrong: v is alpha eps - sigma x_0": sigma * x0 - alpha * eps,
                "this is x_t: v has a minus": alpha * eps + sigma * x0,
                "this is x_t itself": alpha * x0 + sigma * eps,
                "alpha and sigma are exchanged": sigma * eps - alpha * x0,
            },
        ),
        NAMES,
    )
    made.ask(
        "what to predict: the velocity of straight paths",
        "target",
        [3, *given],
        same(eps - x0, {"the sign: the path goes from the image to the noise": x0 - eps}),
        "straight-paths",
    )


def meanings(made: Maker, x0: np.ndarray, eps: np.ndarray, alpha: np.ndarray, sigma: np.ndarray) -> None:
    """From every output back to image and noise."""
    x_t = alpha * x0 + sigma * eps
    v = alpha * eps - sigma * x0
    made.ask(
        "image and noise from eps",
        "image_and_noise",
        [0, eps, x_t, alpha, sigma],
        each(
            named(
                "x_0",
                same(
                    x0,
                    {
                        "the division by alpha is missing": x_t - sigma * eps,
                        "the noise is taken off unscaled: times sigma": (x_t - eps) / alpha,
                        "the noise is added: take it off": (x_t + sigma * eps) / alpha,
                    },
                ),
            ),
            named("eps", same(eps)),
        ),
        NAMES,
    )
    made.ask(
        "image and noise from x_0",
        "image_and_noise",
        [1, x0, x_t, alpha, sigma],
        each(
            named("x_0", same(x0)),
            named(
                "eps",
                same(
                    eps,
                    {
                        "the division by sigma is missing": x_t - alpha * x0,
                        "the image is taken off unscaled: times alpha": (x_t - x0) / sigma,
                    },
                ),
            ),
        ),
        NAMES,
    )
    made.ask(
        "image and noise from v",
        "image_and_noise",
        [2, v, x_t, alpha, sigma],
        each(
            named(
                "x_0",
                same(
                    x0,
                    {
                        "the sign of v is wrong": alpha * x_t + sigma * v,
                        "alpha and sigma are exchanged": sigma * x_t - alpha * v,
                    },
                ),
            ),
            named(
                "eps",
                same(
                    eps,
                    {
                        "the sign of v is wrong": sigma * x_t - alpha * v,
                        "alpha and sigma are exchanged": alpha * x_t + sigma * v,
                    },
                ),
            ),
        ),
        NAMES,
    )
    share = sigma**2  # a straight path at other times than above
    made.ask(
        "image and noise from the velocity of a straight path",
        "image_and_noise",
        [3, eps - x0, (1 - share) * x0 + share * eps, 1 - share, share],
        each(named("x_0", same(x0)), named("eps", same(eps))),
        "straight-paths",
    )
