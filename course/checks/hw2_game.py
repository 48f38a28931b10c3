"""Questions of homework 2 on losses, the two players' steps, and what the hypotheses change."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from course.checks.questions import Judge, Maker, Values, same

MEAN = "the mean over the batch is taken: give one value for each image"


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def of_batch(right: np.ndarray, mistakes: Mapping[str, Values]) -> Judge:
    """A loss (B,), which the mean must not be taken of."""
    return same(right, {**mistakes, MEAN: right.mean()})


def training(made: Maker, draw: np.random.Generator) -> None:
    real, fake = draw.normal(1, 2, 6), draw.normal(-0.5, 2, 6)
    p, q = sigmoid(real), sigmoid(fake)
    made.ask(
        "the discriminator's loss",
        "discriminator_loss",
        [0, real, fake],
        of_batch(
            softplus(-real) + softplus(fake),
            {
                "real and fake are exchanged": softplus(real) + softplus(-fake),
                "a sigmoid is applied before a loss that expects logits": softplus(-p) + softplus(q),
                "the two halves are averaged: add them up": (softplus(-real) + softplus(fake)) / 2,
                "the sign is wrong: the loss is minus the log-likelihood": -softplus(-real) - softplus(fake),
                "only real images count": softplus(-real),
                "only generated images count": softplus(fake),
            },
        ),
        "the-game",
    )
    made.ask(
        "its value where D cannot tell",
        "discriminator_loss",
        [0, np.zeros(3), np.zeros(3)],
        same(
            np.full(3, 2 * np.log(2)),
            {"2 ln 2 is expected, 1.386, yours is half of it": np.full(3, np.log(2))},
        ),
        "what-the-generator-minimises",
    )
    made.ask(
        "the generator's loss that does not saturate",
        "generator_loss",
        [1, fake],
        of_batch(
            softplus(-fake),
            {
                "this is the minimax loss, whose gradient vanishes where D is sure": -softplus(fake),
                "the sign: G wants D(G(z)) to be large, this makes it small": softplus(fake),
                "this is ln D(G(z)): minimise minus that": -softplus(-fake),
                "a sigmoid is applied before a loss that expects logits": softplus(-q),
            },
        ),
        "the-non-saturating-loss",
    )
    made.ask(
        "the generator's loss of the minimax game",
        "generator_loss",
        [0, fake],
        of_batch(
            -softplus(fake),
            {
                "this is the loss that does not saturate: minimax is ln(1 - D(G(z)))": softplus(-fake),
                "the sign: G minimises ln(1 - D(G(z))), this is minus that": softplus(fake),
            },
        ),
        "why-the-minimax-loss-stalls",
    )
    steps(made, draw.uniform(-1, 1, (8, 3, 32, 32)))


def steps(made: Maker, real: np.ndarray) -> None:
    read, rate = "training-one-and-reading-its-curves", 0.02
    made.ask(
        "a step of the discriminator alone", "one_step", [real, 0.0, rate, 0.0], discriminator_moves, read
    )
    made.ask("a step of the generator alone", "one_step", [real, rate, 0.0, 0.0], generator_moves, read)
    made.ask("gradients of an earlier step", "one_step", [real, 1e-6, 1e-6, 1e6], forgets, read)


def discriminator_moves(answer: list[np.ndarray]) -> str | None:
    """With a generator that stands still."""
    (of_generator, of_discriminator), before, after = answer
    if of_generator > 0:
        return "the generator moves with a learning rate of 0: its weights are changed by another optimiser"
    if of_discriminator == 0:
        return "the discriminator does not move: its backward pass or its step is missing"
    apart = (after[0] - after[1]) - (before[0] - before[1])
    return (
        None if apart > 0 else "after D's step real and generated images are closer for D: the sign is wrong"
    )


def generator_moves(answer: list[np.ndarray]) -> str | None:
    """With a discriminator that stands still."""
    (of_generator, of_discriminator), before, after = answer
    if of_discriminator > 0:
        return (
            "the discriminator moves with a learning rate of 0: its weights are changed by another optimiser"
        )
    if of_generator == 0:
        return "the generator does not move: its step is missing, or its images are detached in its own step"
    return None if after[1] > before[1] else "after G's step D finds its images less real: the sign is wrong"


def forgets(answer: list[np.ndarray]) -> str | None:
    """Learning rates of 1e-6, and gradients of 1e6 left over from before."""
    for moved, player in zip(answer[0], ("generator", "discriminator")):
        if moved > 0.5:
            return f"the {player}'s gradients are not cleared: zero_grad comes before backward"
    return None


# ---- what the hypotheses change


def changes_for_hypotheses(made: Maker, draw: np.random.Generator) -> None:
    real, fake = draw.normal(1, 2, 6), draw.normal(-0.5, 2, 6)
    p, q = sigmoid(real), sigmoid(fake)
    made.ask(
        "least squares, the discriminator",
        "discriminator_loss",
        [1, real, fake],
        of_batch(
            0.5 * (real - 1) ** 2 + 0.5 * fake**2,
            {
                "the factor 1/2 is missing": (real - 1) ** 2 + fake**2,
                "real and fake are exchanged": 0.5 * real**2 + 0.5 * (fake - 1) ** 2,
                "a sigmoid is applied: least squares work on raw outputs": 0.5 * (p - 1) ** 2 + 0.5 * q**2,
            },
        ),
        "least-squares",
    )
    made.ask(
        "least squares, the generator",
        "generator_loss",
        [2, fake],
        of_batch(
            0.5 * (fake - 1) ** 2,
            {
                "the factor 1/2 is missing": (fake - 1) ** 2,
                "this is what D wants: G's images are to be called 1": 0.5 * fake**2,
                "a sigmoid is applied: least squares work on raw outputs": 0.5 * (q - 1) ** 2,
            },
        ),
        "least-squares",
    )
    relu = lambda x: np.maximum(x, 0)
    made.ask(
        "hinge, the discriminator",
        "discriminator_loss",
        [2, real, fake],
        of_batch(
            relu(1 - real) + relu(1 + fake),
            {
                "the signs are exchanged": relu(1 + real) + relu(1 - fake),
                "the margin of 1 is missing": relu(-real) + relu(fake),
                "without max(0, .) nothing stops D: this is the Wasserstein loss": 2 - real + fake,
                "a sigmoid is applied before the hinge": relu(1 - p) + relu(1 + q),
            },
        ),
        "the-hinge-loss",
    )
    made.ask(
        "Wasserstein, the discriminator",
        "discriminator_loss",
        [3, real, fake],
        of_batch(
            fake - real,
            {
                "the sign: D makes real minus fake large, the loss is minus that": real - fake,
                "a sigmoid is applied: a critic has raw outputs": q - p,
            },
        ),
        "the-wasserstein-distance",
    )
    made.ask(
        "hinge and Wasserstein, the generator",
        "generator_loss",
        [3, fake],
        of_batch(
            -fake,
            {
                "the sign: G wants D(G(z)) to be large": fake,
                "the generator has no hinge": relu(1 - fake),
                "a sigmoid is applied: a critic has raw outputs": -q,
            },
        ),
        "the-wasserstein-distance",
    )
    label = 0.9
    made.ask(
        "smoothed labels in the loss",
        "smoothed_discriminator_loss",
        [real, fake, label, 0.1],
        of_batch(
            label * softplus(-real) + 0.1 * softplus(real) + 0.1 * softplus(-fake) + 0.9 * softplus(fake),
            {
                "the labels are left out": softplus(-real) + softplus(fake),
                "the loss is multiplied by the label: the other class gets the rest, 1 - label": label
                * softplus(-real)
                + (1 - 0.1) * softplus(fake),
                "the labels of real and generated images are exchanged": 0.1 * softplus(-real)
                + 0.9 * softplus(real)
                + 0.9 * softplus(-fake)
                + 0.1 * softplus(fake),
            },
        ),
        "label-smoothing",
    )
    made.ask("smoothed labels are drawn", "smoothed_labels", [400, 0.8, 1.0], drawn_labels, "label-smoothing")
    images = draw.uniform(-1, 1, (6, 3, 4, 4))
    for share in (0.0, 0.5, 1.0):
        made.ask(
            f"instance noise when {share:.0%} is done",
            "instance_noise",
            [images, 0.5, share],
            lambda answer, s=share: noise(answer[0] - images, 0.5 * (1 - s)),
            "instance-noise",
        )


def drawn_labels(answer: list[np.ndarray]) -> str | None:
    labels = answer[0]
    if labels.min() < 0.8 or labels.max() > 1.0:
        return f"labels between 0.8 and 1 are asked for, found {labels.min():.3f} to {labels.max():.3f}"
    if np.ptp(labels) < 0.1:
        return "all labels are the same: draw one for each image"
    return (
        None if abs(labels.mean() - 0.9) < 0.02 else f"their mean is {labels.mean():.3f}, expected about 0.9"
    )


def noise(found: np.ndarray, strength: float) -> str | None:
    spread = found.std()
    if spread < 1e-6 and strength > 0:
        return f"there is no noise, expected a standard deviation of {strength:g}"
    if abs(spread - strength) > 0.15 * strength + 1e-6:
        return f"the noise has a standard deviation of {spread:.3f}, expected {strength:g}"
    same_for_all = strength > 0 and np.ptp(found, 0).max() < 1e-6
    return "every image gets the same noise" if same_for_all else None
