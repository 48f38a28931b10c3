"""Questions of homework 1 on styles and pixels."""

from __future__ import annotations

import numpy as np

from course.checks.questions import Judge, Maker, difference, each, named, same

COUNTS = [7, 0, 1, 23, 1, 11, 7]
"""Of a style's first attribute: one option was never seen."""
TABLE = np.array([[5, 3, 2, 0], [1, 4, -1, -1], [2, 2, 2, -1]])
"""Shares of the options of three attributes; -1: no such option."""


def styles(made: Maker, draw: np.random.Generator) -> None:
    n = np.array(COUNTS)
    total, d, alpha = n.sum(), len(n), float(draw.choice([0.5, 1.5, 2.0]))
    ignore: Judge = lambda answer: None
    made.ask(
        "shares of what was counted",
        "maximum_likelihood",
        [n],
        each(
            same(
                n / total,
                {
                    "the shares are smoothed already: maximum likelihood is n / N": (n + 1) / (total + d),
                    "divide by N, the sum of the counts, not by the number of options": n / d,
                },
            ),
            ignore,
        ),
        "maximum-likelihood",
    )
    made.ask(
        f"smoothing with a pseudo-count of {alpha:g}",
        "additive_smoothing",
        [n, alpha],
        each(
            same(
                (n + alpha) / (total + alpha * d),
                {
                    "the denominator grows by alpha d, not by alpha: your shares add up to more than 1": (
                        n + alpha
                    )
                    / (total + alpha),
                    "the denominator grows by alpha d: yours is still N": (n + alpha) / total,
                    "alpha is taken for 1: add the pseudo-count that is given": (n + 1) / (total + d),
                    "nothing is smoothed: these are the shares n / N": n / total,
                },
            ),
            ignore,
        ),
        "additive-smoothing",
    )
    options = np.array([[0, 1, 2], [2, 0, 0], [1, 1, 1]])
    theta = shares(TABLE)
    p = np.array([np.prod([theta[a][j] for a, j in enumerate(row)]) for row in options])
    added = np.array([np.sum([theta[a][j] for a, j in enumerate(row)]) for row in options])
    made.ask(
        "the probability of a style",
        "style_probability",
        [TABLE, options],
        same(
            p,
            {
                "probabilities of independent attributes are multiplied, yours are added": added,
                "this is the logarithm of the probability": np.log(p),
            },
        ),
        "the-probability-of-a-style",
    )
    made.ask(
        "its logarithm",
        "style_log_probability",
        [TABLE, options],
        same(
            np.log(p),
            {
                "this is a logarithm to base 2; natural ones are asked for": np.log2(p),
                "this is the probability, not its logarithm": p,
                "the logarithm of the sum: add the logarithms": np.log(added),
            },
        ),
        "the-probability-of-a-style",
    )
    made.ask(
        "draws",
        "sample_styles",
        [TABLE, 6000, draw.integers(1 << 30)],
        drawn_styles,
        "independent-attributes",
    )


def shares(table: np.ndarray) -> list[np.ndarray]:
    return [row[row >= 0] / row[row >= 0].sum() for row in table]


def drawn_styles(answer: list[np.ndarray]) -> str | None:
    """Options occur as often as they should, alone and in pairs, and every style has its own probability."""
    options, probability, log_probability = answer
    if options.shape != (6000, 3):
        return f"expected 6000 styles of 3 options, found {options.shape}"
    theta = shares(TABLE)
    for place, row in enumerate(theta):
        found = np.bincount(options[:, place], minlength=len(row)) / len(options)
        if len(found) > len(row) or np.abs(found - row).max() > 0.04:
            even = np.abs(found - 1 / len(row)).max() < 0.04
            why = "; all options seem equally likely" if even else ""
            shares_found = f"{found.round(2).tolist()}, expected {row.round(2).tolist()}"
            return f"attribute {place} has its options in shares {shares_found}{why}"
    both = np.mean((options[:, 0] == 0) & (options[:, 1] == 1))
    if abs(both - theta[0][0] * theta[1][1]) > 0.04:
        return "the attributes depend on each other: draw each of them by itself"
    right = np.array([np.prod([theta[a][j] for a, j in enumerate(row)]) for row in options])
    return named("the probabilities of the drawn styles", lambda found: difference(found[0], right))(
        [probability]
    ) or named("their logarithms", lambda found: difference(found[0], np.log(right)))([log_probability])


# ---- pixels


def pixels(made: Maker, draw: np.random.Generator) -> None:
    log2 = -draw.random((2, 3, 4)) * 8
    made.ask(
        "bits per pixel",
        "bits_per_pixel",
        [log2],
        same(
            -log2.mean((1, 2)),
            {
                "the sign: a logarithm of a probability is negative, bits are not": log2.mean((1, 2)),
                "this is the sum over pixels: divide by H W": -log2.sum((1, 2)),
                "this is one number for all images: give one for each": -log2.mean(),
                "this is in nats: the logarithms are to base 2 already": -log2.mean((1, 2)) * np.log(2),
            },
        ),
        "bits-per-pixel",
    )
    images = draw.integers(0, 4, (11, 2, 2, 3), dtype=np.uint8)
    asked, alpha = images[:4] // 2, 0.25
    n = (asked[:, None] == images[None]).sum(1)  # (M, C, H, W)
    right = ((n + alpha) / (11 + 256 * alpha)).prod(1)
    made.ask(
        "probabilities of pixels, smoothed",
        "pixel_probability",
        [images, asked, 0, alpha],
        same(
            right,
            {
                "there are 256 levels: the denominator is N + 256 alpha": ((n + alpha) / (11 + alpha)).prod(
                    1
                ),
                "nothing is smoothed": (n / 11).prod(1),
                "the channels of a pixel are multiplied: add their logarithms, do not average them": np.exp(
                    np.log((n + alpha) / (11 + 256 * alpha)).mean(1)
                ),
            },
            tolerance=1e-9,
        ),
        "pixels-as-features",
    )
    colours = (asked[:, None] == images[None]).all(2).sum(1)
    made.ask(
        "a colour as one feature",
        "pixel_probability",
        [images, asked, 1, 1e-4],
        same(
            (colours + 1e-4) / (11 + 256**2 * 1e-4),
            {
                "with colours as features there are 256^C options, not 256": (colours + 1e-4)
                / (11 + 256 * 1e-4),
                "each channel is counted by itself: a colour is one feature": (
                    (n + 1e-4) / (11 + 256 * 1e-4)
                ).prod(1),
            },
            tolerance=1e-9,
        ),
        "pixels-as-features",
    )
    made.ask(
        "draws, unsmoothed",
        "pixel_sample",
        [images, 3000, 0, 0.0, draw.integers(1 << 30)],
        lambda answer: drawn_pixels(answer[0], images, 0.0),
        "what-smoothing-leaves-to-the-data",
    )
    made.ask(
        "draws, smoothed",
        "pixel_sample",
        [images, 3000, 0, 0.05, draw.integers(1 << 30)],
        lambda answer: drawn_pixels(answer[0], images, 0.05),
        "what-smoothing-leaves-to-the-data",
    )
    made.ask(
        "draws of whole colours",
        "pixel_sample",
        [images, 3000, 1, 0.0, draw.integers(1 << 30)],
        lambda answer: drawn_colours(answer[0], images),
        "pixels-as-features",
    )


def drawn_pixels(found: np.ndarray, images: np.ndarray, alpha: float) -> str | None:
    """Every feature is drawn by itself, from the data or, with smoothing, at times from all levels."""
    if found.shape != (3000, *images.shape[1:]):
        return f"expected shape {(3000, *images.shape[1:])}, found {found.shape}"
    seen = found < 4
    share = seen.mean()
    expected = 1 - 256 * alpha / (11 + 256 * alpha) * (252 / 256)
    if abs(share - expected) > 0.02:
        return (
            f"{share:.0%} of the values occur in the training images, expected {expected:.0%}: "
            "with smoothing 256 alpha / (N + 256 alpha) of them come from all levels, without it none"
        )
    whole = (found[:300, None] == images[None]).all((2, 3, 4)).any(1).mean()
    if whole > 0.5:
        return "whole training images are drawn: each feature is to be drawn by itself"
    frequency = np.stack([(found == level).mean(0) for level in range(4)])
    right = np.stack([(images == level).mean(0) for level in range(4)])
    right = right * 11 / (11 + 256 * alpha) + alpha / (11 + 256 * alpha)
    worst = np.abs(frequency - right).max()
    if worst > 0.06:
        return f"shares of values differ by {worst:.2f} from the counts' of their pixel"
    if together(found[:, 0], found[:, 1], right[:, 0], right[:, 1]):
        return "the channels of a pixel are drawn together: without joint each is drawn by itself"
    return depends_on_its_neighbour(found, right)


def together(one: np.ndarray, other: np.ndarray, shares: np.ndarray, others: np.ndarray) -> bool:
    """Whether levels of two features (N, ...) with shares (4, ...) occur in other pairs than by chance."""
    pairs = np.stack([((one == a) & (other == b)).mean(0) for a in range(4) for b in range(4)])
    right = np.stack([shares[a] * others[b] for a in range(4) for b in range(4)])
    return bool(np.abs(pairs - right).sum(0).max() > 0.2)


def depends_on_its_neighbour(found: np.ndarray, right: np.ndarray) -> str | None:
    beside = together(found[..., 1:], found[..., :-1], right[..., 1:], right[..., :-1])
    below = together(found[..., 1:, :], found[..., :-1, :], right[..., 1:, :], right[..., :-1, :])
    return "neighbouring pixels are drawn together: each is drawn by itself" if beside or below else None


def drawn_colours(found: np.ndarray, images: np.ndarray) -> str | None:
    """Every pixel's colour is one of its colours in the training images, as often as there."""
    if found.shape != (3000, *images.shape[1:]):
        hint = ": unpack the numbers into channels" if found.shape[1:2] != images.shape[1:2] else ""
        return f"expected shape {(3000, *images.shape[1:])}, found {found.shape}{hint}"
    if found.max() > 255:
        return "a value is larger than 255: unpack the numbers into channels"
    colour, seen = (each[:, 0] * 256 + each[:, 1] for each in (found.astype(int), images.astype(int)))
    if not (colour[:, None] == seen).any(1).all():
        return "colours are drawn that the pixel never had: with joint its channels are drawn together"
    apart = max(
        np.abs((colour == value).mean(0) - (seen == value).mean(0)).max() for value in np.unique(seen)
    )
    if apart > 0.06:
        return f"shares of colours differ by {apart:.2f} from the counts' of their pixel"
    right = np.stack([(images == level).mean(0) for level in range(4)])
    return depends_on_its_neighbour(found, right)
