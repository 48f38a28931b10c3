"""Questions of homework 2 on losses, the two players' steps, and what the hypotheses change."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from course.checks.questions import Judge, Maker, Values, difference, same

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
    penalties(made, draw)


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
    made.ask(
        "a step with instance noise",
        "seen_in_step",
        [0.3, 0.5, 0],
        lambda answer: seen(*answer, noisy, "instance noise"),
        "instance-noise",
    )
    made.ask(
        "a step with augmentation",
        "seen_in_step",
        [0.3, 0.0, 1],
        lambda answer: seen(*answer, changed, "augmentation"),
        "differentiable-augmentation",
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
