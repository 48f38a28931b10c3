"""Questions of homework 2 on the CSPup block and the generator made of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course.checks.questions import Maker, close, difference

CSPUP, START = "the-cspup-block", "from-a-simple-gan-to-dcgan"
KERNELS = {(4, 4, 4, 4): 2, (4, 4, 1, 1): 1, (4, 4, 3, 3): 2}
"""Weights of a block of 8 channels: two transposed convolutions, one 1x1 and two 3x3 convolutions."""


def block(made: Maker, draw: np.random.Generator) -> None:
    x = draw.normal(0, 1, (2, 8, 5, 7))
    made.ask("its output", "cspup_block", [x], lambda answer: block_output(x, answer), CSPUP)
    made.ask("gradients", "cspup_gradients", [x], block_gradients, CSPUP)


def block_gradients(answer: list[np.ndarray]) -> str | None:
    found, count, halves = answer
    if not halves.all():
        half = "first" if not halves[0] else "second"
        return f"no gradient reaches the {half} half of the input's channels: it is never used"
    if found < count:
        return f"{int(count - found)} of {int(count)} parameters get no gradient: layers that are never used"
    return None


def block_output(x: np.ndarray, answer: list[np.ndarray]) -> str | None:
    """What a block with these weights gives if it is built as asked; else in which way it is not."""
    found, *parameters = answer
    if found.shape != (2, 4, 10, 14):
        return block_shape(x, found, parameters)
    kernels = [(4, *p.shape[1:]) for p in parameters if p.ndim == 4]
    counted = {shape: kernels.count(shape) for shape in KERNELS}
    if counted != KERNELS or len(kernels) != 5:
        parts = ", ".join(f"{n} of {s[2]}x{s[3]}" for s, n in counted.items())
        more = len(kernels) - sum(counted.values())
        also = f", and {more} of other shapes" if more else ""
        return (
            "expected kernels of C / 2 channels: 2 of 4x4 (one in each half), 1 of 1x1, 2 of 3x3; "
            f"found {parts}{also}"
        )
    for weights in both_orders(parameters):
        if close(found, variant(x, weights), 1e-3):
            return None
    for words, how in MISTAKES.items():
        if any(close(found, variant(x, weights, **how), 1e-3) for weights in both_orders(parameters)):
            return words
    return (
        "the output is not that of: left half enlarged; right half 1x1, ReLU, enlarged, 3x3, ReLU, 3x3; both "
        "added"
    )


def block_shape(x: np.ndarray, found: np.ndarray, parameters: list[np.ndarray]) -> str:
    hints = {
        (2, 8, 10, 14): "the halves are to be added; yours are joined along the channels",
        (2, 4, 5, 7): "the sides are to be doubled; yours stay",
        (2, 4, 20, 28): "the sides are doubled twice: enlarge each half once",
        (2, 4, 8, 12): "the sides do not fit: the 3x3 convolutions need a padding of 1",
    }
    hint = hints.get(found.shape)
    return f"expected shape (2, 4, 10, 14) for an input (2, 8, 5, 7), found {found.shape}" + (
        f": {hint}" if hint else ""
    )


def both_orders(parameters: list[np.ndarray]) -> list[dict[str, tuple[Tensor, Tensor]]]:
    """The layers' weights and biases, whichever half was written down first."""
    found: dict[tuple, list[tuple[Tensor, Tensor]]] = {}
    weight = None
    for array in map(torch.tensor, parameters):
        if array.ndim == 4:
            weight = array
            found.setdefault(tuple(array.shape[2:]), []).append((weight, torch.zeros(array.shape[0])))
        elif weight is not None:
            found[tuple(weight.shape[2:])][-1] = (weight, array)
    one, two = found[4, 4]
    rest = {"narrow": found[1, 1][0], "first": found[3, 3][0], "second": found[3, 3][1]}
    swapped = {**rest, "first": rest["second"], "second": rest["first"]}
    return [{"left": a, "up": b, **r} for a, b in ((one, two), (two, one)) for r in (rest, swapped)]


def variant(
    x: np.ndarray,
    weights: dict[str, tuple[Tensor, Tensor]],
    *,
    halves: tuple[int, int] = (0, 1),
    bend: Callable[[Tensor], Tensor] = F.relu,
    bends: str = "narrow first",
    of_left: Callable[[Tensor], Tensor] = lambda y: y,
    of_sum: Callable[[Tensor], Tensor] = lambda y: y,
    subtract: bool = False,
) -> np.ndarray:
    """A block's output; `bends`: after which layers of the right half there is a non-linearity."""
    parts = torch.tensor(x, dtype=torch.float32).chunk(2, 1)
    up = lambda y, name: F.conv_transpose2d(y, *weights[name], stride=2, padding=1)
    layers = {
        "narrow": lambda y: F.conv2d(y, *weights["narrow"]),
        "up": lambda y: up(y, "up"),
        "first": lambda y: F.conv2d(y, *weights["first"], padding=1),
        "second": lambda y: F.conv2d(y, *weights["second"], padding=1),
    }
    right = parts[halves[1]]
    for name, layer in layers.items():
        right = bend(layer(right)) if name in bends.split() else layer(right)
    left = of_left(up(parts[halves[0]], "left"))
    return of_sum(left - right if subtract else left + right).numpy()


MISTAKES: dict[str, dict] = {
    "the right half goes through ReLU before it is enlarged; yours after": {"bends": "up first"},
    "a ReLU is missing after the 1x1 convolution of the right half": {"bends": "first"},
    "a ReLU is missing between the two 3x3 convolutions of the right half": {"bends": "narrow"},
    "there is no ReLU in the right half": {"bends": ""},
    "there is a ReLU too many: none follows the enlarging of the right half": {"bends": "narrow up first"},
    "there is a ReLU too many: none follows the last 3x3 convolution": {"bends": "narrow first second"},
    "there is a ReLU too many: none follows the sum of both halves": {"of_sum": F.relu},
    "there is a ReLU too many: the left half is only enlarged": {"of_left": F.relu},
    "the halves are exchanged: the first half of the channels goes to the left": {"halves": (1, 0)},
    "both halves read the first half of the channels": {"halves": (0, 0)},
    "both halves read the second half of the channels": {"halves": (1, 1)},
    "the halves are to be added, yours are subtracted": {"subtract": True},
    "the activation is a leaky ReLU: ReLU is asked for": {"bend": lambda y: F.leaky_relu(y, 0.2)},
    "the activation is a leaky ReLU: ReLU is what is asked for": {"bend": F.leaky_relu},
    "the activation is tanh: ReLU is asked for": {"bend": torch.tanh},
    "the activation is a sigmoid: ReLU is asked for": {"bend": torch.sigmoid},
}


# ---- the generator


def generator(made: Maker, draw: np.random.Generator) -> None:
    x, z = draw.normal(0, 1, (2, 3, 4, 5)), draw.normal(0, 1, (3, 6))
    for which, name in enumerate(("transposed convolution", "nearest neighbours")):
        made.ask(
            f"twice the sides, {name}",
            "upsample",
            [x, which],
            lambda answer, k=which: enlarged(x, k, answer),
            "transposed-convolution",
        )
    for size, denominator, tanh in ((32, 64, 1), (64, 64, 0)):
        made.ask(
            f"images of {size} pixels, {'tanh' if tanh else 'ReLU'} at the end",
            "cspup_generator",
            [z, size, denominator, tanh],
            lambda answer, s=size, c=1024 // denominator, t=tanh: images(answer, s, c, t),
            CSPUP,
        )
    made.ask("gradients of the generator", "generator_gradients", [z], all_gradients, CSPUP)


def enlarged(x: np.ndarray, which: int, answer: list[np.ndarray]) -> str | None:
    if answer[0].shape != (2, 3, 8, 10):
        hint = "; a 4x4 kernel with stride 2 needs padding 1" if answer[0].shape == (2, 3, 10, 12) else ""
        return f"expected shape (2, 3, 8, 10) for an input (2, 3, 4, 5), found {answer[0].shape}{hint}"
    if which == 0:
        return None
    return difference(answer[0], x.repeat(2, 2).repeat(2, 3), tolerance=1e-3)


def parameters(channels: int, blocks: int, latent: int) -> int:
    """Of the homework's generator."""
    total = latent * channels * 16 + channels
    for level in range(blocks):
        half = (channels >> level) // 2
        total += 2 * (16 * half**2 + half) + (half**2 + half) + 2 * (9 * half**2 + half)
    return total + 3 * 16 * (channels >> blocks) + 3


def images(answer: list[np.ndarray], size: int, channels: int, tanh: int) -> str | None:
    found, again, count, slopes = answer
    blocks = size.bit_length() - 4
    if found.shape != (3, 3, size, size):
        sides = {size // 2: "an enlarging is missing", 2 * size: "there is an enlarging too many"}
        hint = sides.get(found.shape[-1], "images are (B, 3, S, S)")
        return f"expected shape (3, 3, {size}, {size}), found {found.shape}: {hint}"
    if int(count) != (right := parameters(channels, blocks, 6)):
        return (
            f"expected {right:,} parameters, found {int(count):,}: z to {channels} channels at 4x4, {blocks} "
            "CSPup blocks, each halving the channels, a transposed convolution to 3"
        )
    if not close(found, again):
        return "the same z gives another image the second time"
    if np.ptp(found, 0).max() < 1e-6:
        return "no z changes the image"
    if (used := int((slopes > 1e-4 * slopes.max()).sum())) < 6:
        return f"of the 6 directions of z only {used} change the image: a part of z is lost"
    return of_tanh(found) if tanh else of_relu(found)


def of_tanh(found: np.ndarray) -> str | None:
    if np.abs(found).max() > 1.0001:
        return f"tanh ends in [-1, 1]; yours reaches {np.abs(found).max():.2f}"
    if (found >= 0).all():
        return "no value is below 0: there is a ReLU before tanh, and the dark half cannot be drawn"
    return None


def of_relu(found: np.ndarray) -> str | None:
    """Black is 0, or -1 where images are brought to [-1, 1]; either way many values are exactly black."""
    black = found.min()
    if min(abs(black), abs(black + 1)) > 1e-5 or (found < black + 1e-6).mean() < 0.01:
        return f"ReLU at the end cuts off at black; yours goes down to {black:.2f}"
    return None


def all_gradients(answer: list[np.ndarray]) -> str | None:
    found, count = (int(each) for each in answer)
    return f"{count - found} of {count} parameters get no gradient" if found < count else None
