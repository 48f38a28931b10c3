"""Questions of lab 8: an autoencoder, a GAN, interpolation."""

from __future__ import annotations

import numpy as np

from course.checks.lab8_step import steps
from course.checks.questions import Maker, Question, same

UNBENT = "have no activation before them, and are one linear layer with the one before"


def questions(seed: int) -> list[Question]:
    """All of them, with inputs drawn from `seed`."""
    draw = np.random.default_rng(seed)
    made = Maker()
    for task, page, ask in (
        ("lab8.a", "autoencoders.md", autoencoder),
        ("lab8.b", "layers.md", generator),
        ("lab8.b", "gan.md", steps),
        ("lab8.c", "vae.md", interpolation),
    ):
        made.task, made.page = task, page
        ask(made, draw)
    return made.made


def autoencoder(made: Maker, draw: np.random.Generator) -> None:
    images = draw.uniform(-1, 1, (3, 3, 48, 48))
    for normalised, name in ((1, "with"), (0, "without")):
        made.ask(
            f"the way down, {name} batch normalisation",
            "way_down",
            [images, normalised],
            lambda answer, n=normalised: down(answer, n),
            "the-objective",
        )
    made.ask("through the bottleneck and back", "autoencoder", [np.sign(images)], back, "the-objective")
    errors, kl = draw.random(4), draw.random(4) * 50
    made.ask(
        "what an autoencoder minimises",
        "losses",
        [0, 48, 2.0, errors, kl],
        same(
            errors,
            {
                "an autoencoder pays nothing for its latents: leave the KL out": errors + 2 * kl,
                "the mean over the batch is taken: give one value for each image": errors.mean(),
            },
        ),
        "the-objective",
    )
    values, mean = 3 * 48**2, errors.mean()
    nats = values * 0.5 * (np.log(mean) + errors / mean - 1)
    made.ask(
        "what a VAE minimises, with beta = 2",
        "losses",
        [1, 48, 2.0, errors, kl],
        same(
            nats + 2 * kl,
            {
                "beta is left out": nats + kl,
                "the KL is left out": nats,
                "the KL is subtracted: both terms are minimised": nats - 2 * kl,
                "the error is added to nats: turn it into nats first": errors + 2 * kl,
                "beta weighs the reconstruction: it belongs to the KL": 2 * nats + kl,
            },
        ),
        "vae.md#the-weight-of-the-kl",
    )


def down(answer: list[np.ndarray], normalised: int) -> str | None:
    output, strided, norms, count, unbent = answer
    if output.shape != (3, 5):
        return f"expected (3, 5) for three images and 5 outputs, found {output.shape}"
    if int(strided) != 4:
        return f"four convolutions with stride 2 are expected, found {int(strided)}"
    if bool(norms) != bool(normalised):
        return (
            "batch normalisation is there though it was not asked for"
            if norms
            else "batch normalisation is missing"
        )
    if unbent:
        return f"{int(unbent)} of 5 layers {UNBENT}: LeakyReLU is asked for after each convolution"
    right = sum(16 * a * b + b for a, b in ((3, 4), (4, 8), (8, 16), (16, 32))) + 32 * 9 * 5 + 5
    right += 2 * (8 + 16 + 32) if normalised else 0
    if int(count) == right + (2 * 4 if normalised else 0) and normalised:
        return None  # the first layer may be normalised too
    return None if int(count) == right else f"expected {right:,} parameters at width 4, found {int(count):,}"


def back(answer: list[np.ndarray]) -> str | None:
    reconstructed, kl, latents, without, (first, last) = answer
    if reconstructed.shape != (3, 3, 48, 48) or latents.shape != (3, 6):
        shapes = f"{reconstructed.shape} and {latents.shape}"
        return f"expected images (3, 3, 48, 48) and latents (3, 6), found {shapes}"
    if kl.shape != (3,) or kl.any():
        return "the KL of an autoencoder is 0 for every image, (B,)"
    if without:
        return f"{int(without)} parameters get no gradient: something is detached, or never used"
    return (
        None
        if last < 0.9 * first
        else f"30 steps on one batch took the error from {first:.3g} to {last:.3g} only"
    )


def generator(made: Maker, draw: np.random.Generator) -> None:
    z = draw.normal(0, 1, (4, 6))
    for size in (48, 64):
        made.ask(
            f"the way up to {size} pixels",
            "way_up",
            [z, size],
            lambda answer, s=size: up(answer, s),
            "transposed-convolution",
        )
    made.ask(
        "twice the side, nearest neighbours", "doubling", [draw.normal(0, 1, (2, 3, 4, 5))], doubled,
        "checkerboards",
    )  # fmt: skip


def up(answer: list[np.ndarray], size: int) -> str | None:
    images, shapes, count, unbent = answer
    if images.shape != (4, 3, size, size):
        return f"expected images (4, 3, {size}, {size}), found {images.shape}"
    if len(shapes) != 4:
        return f"four transposed convolutions are expected, found {len(shapes)}"
    uneven = [kernel for kernel, stride, _ in shapes if kernel % stride]
    if uneven:
        return f"a kernel of {uneven[0]} with stride 2 draws a checkerboard before training: take 4"
    if words := drawn_images(images):
        return words
    if unbent:
        return f"{int(unbent)} of 5 layers {UNBENT}: ReLU is asked for before each enlarging"
    return parameters_up(int(count), size // 16)


def doubled(answer: list[np.ndarray]) -> str | None:
    """One kernel for all pixels: what is even before is even after, but for the border."""
    found, even = answer
    if found.shape != (2, 6, 8, 10):
        return f"expected shape (2, 6, 8, 10) for an input (2, 3, 4, 5), found {found.shape}"
    if np.ptp(even[:, :, 1:-1, 1:-1], (2, 3)).max() > 1e-4:
        return "an even image becomes a checkerboard: enlarge by nearest neighbours, then convolve"
    return None


def drawn_images(images: np.ndarray) -> str | None:
    if np.abs(images).max() > 1.0001:
        return "images lie in [-1, 1]: end with tanh"
    if (images >= 0).all():
        return "no value is below 0: a ReLU or a sigmoid ends the network, tanh is asked for"
    return "no z changes the image" if np.ptp(images, 0).max() < 1e-6 else None


def parameters_up(count: int, side: int) -> str | None:
    """Of a dense layer to 32 maps of side x side, four enlargings to 3 channels, normalisations between."""
    right = 6 * 32 * side**2 + 32 * side**2 + 2 * (32 + 16 + 8 + 4)
    right += sum(16 * a * b + b for a, b in ((32, 16), (16, 8), (8, 4), (4, 3)))
    return None if count == right else f"expected {right:,} parameters at width 4, found {count:,}"


def interpolation(made: Maker, draw: np.random.Generator) -> None:
    a, b = draw.normal(0, 1, (2, 5)), draw.normal(0, 1, (2, 5))
    share = np.array([[0.25], [0.8]])
    angle = np.arccos((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))[:, None]
    arc = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
    line = (1 - share) * a + share * b
    read = "walking-between-two-latents"
    made.ask(
        "along the great arc",
        "slerp",
        [a, b, share],
        same(
            arc,
            {
                "this is the straight line": line,
                "the ends are exchanged": (np.sin(share * angle) * a + np.sin((1 - share) * angle) * b)
                / np.sin(angle),
                "the division by the sine of the angle is missing": arc * np.sin(angle),
            },
        ),
        read,
    )
    same_way = np.array([[1.0, 2, 3], [2, 0, 1]])
    made.ask(
        "between parallel vectors",
        "slerp",
        [same_way, 2 * same_way, share],
        same((1 + share) * same_way),
        read,
    )
    ends = a[0], b[0]
    shares = np.linspace(0, 1, 7)[:, None]
    straight = (1 - shares) * ends[0] + shares * ends[1]
    without_end = np.arange(7)[:, None] / 7
    made.ask(
        "a straight walk",
        "walk",
        [*ends, 7, 0],
        same(
            straight,
            {
                "the way goes from the end to the start": straight[::-1],
                "the end is never reached: shares go from 0 to 1, both included": (1 - without_end) * ends[0]
                + without_end * ends[1],
            },
        ),
        read,
    )
    theta = angle[0]
    great = (np.sin((1 - shares) * theta) * ends[0] + np.sin(shares * theta) * ends[1]) / np.sin(theta)
    made.ask(
        "a spherical walk", "walk", [*ends, 7, 1], same(great, {"this is the straight line": straight}), read
    )
    frames = draw.normal(0, 1, (5, 2))
    made.ask(
        "there and back",
        "there_and_back",
        [frames],
        same(
            np.concatenate([frames, frames[-2:0:-1]]),
            {
                "both ends are shown twice: the loop stops there": np.concatenate([frames, frames[::-1]]),
                "the last frame is shown twice": np.concatenate([frames, frames[:0:-1]]),
                "the first frame is shown twice": np.concatenate([frames, frames[-2::-1]]),
                "the way back jumps to the start: play it backwards": np.concatenate([frames, frames[1:-1]]),
            },
        ),
        read,
    )
