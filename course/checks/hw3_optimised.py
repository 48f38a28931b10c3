"""Questions of homework 3 on what is added to the losses, and on projection."""

from __future__ import annotations

import numpy as np

from course.checks.questions import Maker, difference, same


def training(made: Maker, draw: np.random.Generator) -> None:
    z, other, cut = draw.normal(0, 1, (3, 2)), draw.normal(0, 1, (3, 2)), np.array([1, 3, 4])
    matrix = draw.normal(0, 1, (4, 2, 3, 4, 4))
    layer = np.arange(4)
    image = lambda first: np.einsum(
        "bld,ldcij->bcij", np.where(first[:, :, None], z[:, None], other[:, None]), matrix
    )
    made.ask(
        "an image of two latents",
        "two_latents",
        [z, other, cut, matrix],
        same(
            image(layer < cut[:, None]),
            {
                "the latents are exchanged: the first one gives the layers before the cut": image(
                    layer >= cut[:, None]
                ),
                "the layer at the cut belongs to the second latent": image(layer <= cut[:, None]),
                "only the first latent is used": image(layer[None] < np.full((3, 1), 4)),
                "the cut of the first image is used for all": image(np.repeat(layer[None] < cut[0], 3, 0)),
            },
        ),
        "two-latents-in-one-image",
    )
    real, a = draw.uniform(-1, 1, (3, 3, 4, 4)), draw.normal(0, 1, (3, 4, 4))
    squared = (a**2).sum()
    made.ask(
        "R1 in a step with it",
        "r1_of_step",
        [real, a, 32, 0.8, 16],
        same(
            16 * 0.4 * squared,
            {
                "a penalty every 16 steps counts 16 times as much: the factor is missing": 0.4 * squared,
                "gamma is multiplied without its 1/2": 16 * 0.8 * squared,
                "the 1/2 of gamma and the factor of rare penalties are missing": 0.8 * squared,
                "the penalty is divided by the number of steps": 0.4 * squared / 16,
            },
        ),
        "penalties-every-few-steps",
    )
    made.ask(
        "R1 in a step without it",
        "r1_of_step",
        [real, a, 33, 0.8, 16],
        same(0.0),
        "penalties-every-few-steps",
    )
    ws = draw.normal(0, 1, (3, 4, 2))
    made.ask(
        "path lengths", "path_lengths", [ws, matrix], lambda answer: lengths(answer, matrix), "path-lengths"
    )
    made.ask("their penalty", "path_penalty", [z, matrix], penalty_of_lengths, "path-lengths")


def lengths(answer: list[np.ndarray], matrix: np.ndarray) -> str | None:
    found, through, noise = answer
    gradient = np.einsum("bcij,ldcij->bld", noise / 4, matrix)
    squares = (gradient**2).sum(2)
    right = np.sqrt(squares.mean(1))
    words = difference(
        found,
        right,
        {
            "the noise is not divided by the side of the image: lengths grow with its size": 4 * right,
            "the noise is divided by the number of pixels: divide by the side": right / 4,
            "the root is missing: this is the squared length": squares.mean(1),
            "the squares are added over the layers: take their mean": np.sqrt(squares.sum(1)),
            "the mean over the numbers of w is taken: add up their squares": np.sqrt(
                (gradient**2).mean((1, 2))
            ),
            "the mean of the layers' lengths is taken: the root comes last": np.sqrt(squares).mean(1),
        },
    )
    return words or (None if through else "no gradient reaches the generator: create_graph=True is missing")


def penalty_of_lengths(answer: list[np.ndarray]) -> str | None:
    """Of the first call, when the mean was 0 before."""
    found, mean, length = answer
    remembered = 0.01 * length.mean()
    if words := difference(
        mean,
        remembered,
        {
            "the mean is that of the last batch: it moves by 1 % of the way": length.mean(),
            "the mean is never moved": 0.0,
            "the mean forgets 99 %: it keeps them": 0.99 * length.mean(),
        },
    ):
        return f"the mean length that is remembered: {words}"
    return difference(
        found,
        (length - remembered) ** 2,
        {
            "lengths are compared with the mean of their own batch: compare with the remembered one": (
                length - length.mean()
            )
            ** 2,
            "the square is missing": length - remembered,
            "the absolute difference is taken: square it": np.abs(length - remembered),
            "the mean over the batch is taken: give one value for each": ((length - remembered) ** 2).mean(),
            "the mean is subtracted before it is moved": length**2,
        },
    )


# ---- projection


def projection(made: Maker, draw: np.random.Generator) -> None:
    x, y = draw.uniform(-1, 1, (3, 3, 4, 4)), draw.uniform(-1, 1, (3, 3, 4, 4))
    right = np.abs(x - y).mean((1, 2, 3)) / 2
    read = "hw3_stylegan_sampling/README.md#projection"
    made.ask(
        "the error of the pixels",
        "pixel_distance",
        [x, y],
        same(
            right,
            {
                "in units of [0, 1] the error is half as large": 2 * right,
                "the square is taken: the absolute difference is meant": ((x - y) ** 2).mean((1, 2, 3)) / 4,
                "one number for the whole batch: images are projected each for itself": right.mean(),
                "the sum over the batch: give one for each image": right.sum(),
            },
        ),
        read,
    )
    noise = draw.normal(0, 1, (2, 1, 32, 32))
    made.ask(
        "what neighbours of the noise have in common",
        "correlation",
        [noise],
        same(
            shared(noise),
            {
                "only the full size is looked at: a picture may hide in the halved noise": shared(
                    noise, sizes=1
                ),
                "one size is missing: go down to 8x8": shared(noise, sizes=2),
                "one size too many: stop at 8x8": shared(noise, sizes=4),
                "the square is missing": shared(noise, power=1),
                "only one direction is looked at": shared(noise, axes=(2,)),
                "only the other direction is looked at": shared(noise, axes=(3,)),
                "the mean over the batch is taken: images are added": shared(noise) / 2,
            },
            tolerance=1e-6,
        ),
        read,
    )
    z = draw.normal(0, 1, (2, 4))
    for every_layer, with_noise, name in ((0, 0, "W"), (1, 0, "W+"), (1, 1, "W+, a generator with noise")):
        made.ask(
            f"60 steps in {name}",
            "projection",
            [z, every_layer, with_noise],
            lambda answer, plus=every_layer: projected(answer, plus),
            read,
        )


def shared(noise: np.ndarray, *, sizes: int = 3, power: int = 2, axes: tuple[int, ...] = (2, 3)) -> float:
    total = 0.0
    for _ in range(sizes):
        for axis in axes:
            total += float(((noise * np.roll(noise, 1, axis)).mean((1, 2, 3)) ** power).sum())
        n, c, h, w = noise.shape
        noise = noise.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))
    return total


def projected(answer: list[np.ndarray], every_layer: int) -> str | None:
    distances, ws, moved = answer
    if moved > 0:
        return "the generator's weights move: only styles and noise are optimised"
    spread = np.ptp(ws, 1).max()
    if not every_layer and spread > 1e-6:
        return "in W one w serves all layers; yours differ"
    if every_layer and spread < 1e-6:
        return "in W+ every layer has a w of its own; yours are all the same"
    first, last = distances[0], distances[-1]
    if np.abs(distances[-1] - distances[-2]).max() == 0 and (last == first).all():
        return "the styles do not move: is the step taken, and are they what the optimiser is given?"
    if (last > 0.5 * first).any():
        worse = int((last / first).argmax())
        went = f"from {first[worse]:.3g} to {last[worse]:.3g}"
        return f"the distance of image {worse} goes {went}: expected less than half"
    return None
