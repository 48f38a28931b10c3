"""Questions of homework 1 on spills: errors, scores, rates."""

from __future__ import annotations

import numpy as np

from course.checks.questions import Maker, same


def spills(made: Maker, draw: np.random.Generator) -> None:
    x, r = draw.uniform(-1, 1, (2, 3, 4, 5)), draw.uniform(-1, 1, (2, 3, 4, 5))
    squares = ((x - r) / 2) ** 2
    made.ask(
        "the error of every pixel",
        "squared_error",
        [x, r],
        same(
            squares.mean(1),
            {
                "pixels lie in [-1, 1] and errors are meant in [0, 1]: yours are 4 times too large": 4
                * squares.mean(1),
                "this is summed over the channels: take the mean": squares.sum(1),
                "this is the absolute difference: square it": (np.abs(x - r) / 2).mean(1),
                "this is one number an image: one for each pixel is asked for": squares.mean((1, 2, 3)),
            },
        ),
        "autoencoders.md#the-objective",
    )
    clean, painted = draw.uniform(-1, 1, (3, 1, 4, 4)), draw.uniform(-1, 1, (3, 1, 4, 4))
    loss = lambda wanted, read: ((wanted - np.clip(read, -0.5, 0.5)) ** 2 / 4).mean((1, 2, 3))
    made.ask(
        "what the network reads, and what it is to give",
        "autoencoder_loss",
        [clean, painted],
        same(
            loss(clean, painted),
            {
                "the network reads the clean image: it is to read the corrupted one": loss(clean, clean),
                "the output is compared with the corrupted image: compare it with the clean one": loss(
                    painted, painted
                ),
                "the two images are exchanged": loss(painted, clean),
                "the mean over the batch is taken: give one value for each image": loss(
                    clean, painted
                ).mean(),
                "this is summed over the pixels: take the mean": 16 * loss(clean, painted),
            },
        ),
        "autoencoders.md#the-objective",
    )
    made.ask(
        "encoder and decoder of linear layers",
        "dense_halves",
        [draw.uniform(-1, 1, (16, 1, 4, 5)), [20, 12, 7, 3]],
        dense,
        "autoencoders.md#the-objective",
    )
    residual, usual = draw.normal(0, 1, (3, 2, 6, 7)), draw.uniform(0.5, 2, (6, 7))
    scores(made, residual, usual)
    detection(made, draw)


def dense(answer: list[np.ndarray]) -> str | None:
    z, images, down, up, bends = answer
    if z.shape != (16, 3) or images.shape != (16, 1, 4, 5):
        return f"expected latents (16, 3) and images (16, 1, 4, 5), found {z.shape} and {images.shape}"
    if down.tolist() != [[12, 20], [7, 12], [3, 7]] or up.tolist() != [[7, 3], [12, 7], [20, 12]]:
        return (
            f"widths 20, 12, 7, 3 and back were asked for; the matrices are {down.tolist()} and {up.tolist()}"
        )
    for half, bend in zip(("encoder", "decoder"), bends):
        if bend < 1e-6:
            return f"the {half} has no ReLU between its linear layers: together they are one linear layer"
    if (z >= 0).all() and (z == 0).any():
        return "a ReLU follows the latent: half of its space is lost; leave it out"
    if np.abs(images).max() > 1.0001:
        return "pixels lie in [-1, 1]: end the decoder with tanh"
    return "a ReLU ends the decoder: no pixel darker than 0 can be drawn" if (images >= 0).all() else None


def scores(made: Maker, residual: np.ndarray, usual: np.ndarray) -> None:
    read = "autoencoders.md#scores-that-know-where-errors-are-usual"
    made.ask(
        "the score: mean squared error",
        "anomaly_score",
        [residual, usual, 0, 3],
        same(
            (residual**2).mean((1, 2, 3)),
            {
                "this is the mean absolute error": np.abs(residual).mean((1, 2, 3)),
                "this is a sum: take the mean over channels and pixels": (residual**2).sum((1, 2, 3)),
                "residuals with different signs cancel: square them before the mean": residual.mean((1, 2, 3))
                ** 2,
            },
        ),
        read,
    )
    made.ask(
        "the score in units of what is usual",
        "anomaly_score",
        [residual, usual, 1, 3],
        same(
            (residual**2 / usual).mean((1, 2, 3)),
            {
                "divide by the standard deviation: what is usual is a squared error already": (
                    residual**2 / usual**2
                ).mean((1, 2, 3)),
                "the usual error is multiplied: divide by it": (residual**2 * usual).mean((1, 2, 3)),
                "nothing is weighted": (residual**2).mean((1, 2, 3)),
            },
        ),
        read,
    )
    squares = (residual**2).mean(1)
    windows = np.lib.stride_tricks.sliding_window_view(squares, (3, 3), axis=(1, 2)).mean((3, 4))
    made.ask(
        "the score of the worst patch",
        "anomaly_score",
        [residual, usual, 2, 3],
        same(
            windows.max((1, 2)),
            {
                "the mean over all patches is taken: take the largest": windows.mean((1, 2)),
                "this is the largest pixel: take the mean over a patch first": squares.max((1, 2)),
                "this is the mean over the whole image": squares.mean((1, 2)),
            },
        ),
        "autoencoders.md#scores-that-look-for-something-small",
    )
    signed = np.lib.stride_tricks.sliding_window_view(residual.mean(1), (3, 3), axis=(1, 2)).mean((3, 4))
    made.ask(
        "the score of the brightest patch",
        "anomaly_score",
        [residual, usual, 3, 3],
        same(
            signed.max((1, 2)),
            {
                "squared: the sign of the residual says whether a patch is too bright": windows.max((1, 2)),
                "the darkest patch is found: the residual is image minus reconstruction": (-signed).max(
                    (1, 2)
                ),
            },
        ),
        "autoencoders.md#scores-that-look-for-something-small",
    )


def detection(made: Maker, draw: np.random.Generator) -> None:
    normal, spilled = draw.normal(0, 1, 40), draw.normal(1.2, 1, 25)
    threshold = 0.6
    tpr, fpr = (spilled > threshold).mean(), (normal > threshold).mean()
    hits, alarms = (spilled > threshold).sum(), (normal > threshold).sum()
    precision = hits / (hits + alarms)
    made.ask(
        "true-positive rate, true-negative rate, precision",
        "rates",
        [normal, spilled, threshold],
        same(
            [tpr, 1 - fpr, precision],
            {
                "TPR and TNR are exchanged: a spill is the positive class": [1 - fpr, tpr, precision],
                "the second number is the share of false alarms: TNR is 1 minus that": [tpr, fpr, precision],
                "precision is the share of spills among the *flagged* images, yours is of all images": [
                    tpr,
                    1 - fpr,
                    hits / 65,
                ],
                "images below the threshold are flagged: a score is larger for more anomalous": [
                    1 - tpr,
                    fpr,
                    (25 - hits) / (65 - hits - alarms),
                ],
            },
        ),
        "rates",
    )
    made.ask(
        "the threshold of the class-room rule",
        "threshold_fraction_of_max",
        [spilled, 0.56],
        same(
            0.56 * spilled.max(),
            {
                "the mean of the scores is taken: the rule takes the largest": 0.56 * spilled.mean(),
                "the smallest score is taken: the rule takes the largest": 0.56 * spilled.min(),
                "the fraction is left out": spilled.max(),
                "this is a quantile: the rule takes a fraction of the largest score": np.quantile(
                    spilled, 0.56
                ),
            },
        ),
        "a-fraction-of-the-largest-spill",
    )
