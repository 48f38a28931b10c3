"""Questions of homework 3 on the generator's layers and on what is done with its styles."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from course.checks.questions import Maker, close, each, same


def generator(made: Maker, draw: np.random.Generator) -> None:
    x, weight, style = (
        draw.normal(0, 1, (2, 3, 5, 4)),
        draw.normal(0, 1, (4, 3, 3, 3)),
        draw.normal(1, 1, (2, 3)),
    )
    plain = convolved(x, weight, style)
    made.ask(
        "a modulated convolution",
        "modulated_convolution",
        [x, weight, style, 0],
        same(
            plain,
            {
                "the style is left out": convolved(x, weight, np.ones_like(style)),
                "the style is added: it scales the input's channels": convolved(
                    x + style[:, :, None, None], weight, np.ones_like(style)
                ),
                "the style of the first image is used for all": convolved(x, weight, style[:1].repeat(2, 0)),
                "1 + style is multiplied: the affine layer begins at 1 already": convolved(
                    x, weight, 1 + style
                ),
                "the output is demodulated already: that is a step of its own": plain
                * demodulated(weight, style)[:, :, None, None],
                "the sides shrink: the padding is half of the kernel": plain[:, :, 1:-1, 1:-1],
            },
            tolerance=1e-5,
        ),
        "one-convolution-for-all-images",
    )
    larger = enlarged(x, weight, style, 4)
    made.ask(
        "a modulated convolution that enlarges",
        "modulated_convolution",
        [x, weight, style, 1],
        same(
            larger,
            {
                "the gain of 4 is missing: three of four pixels are zeros before the filter": enlarged(
                    x, weight, style, 1
                ),
                "the gain is 2: zeros are inserted in both directions, 4 is needed": enlarged(
                    x, weight, style, 2
                ),
                "the kernel is turned around: a transposed convolution turns it already": enlarged(
                    x, weight[..., ::-1, ::-1].copy(), style, 4
                ),
                "the style is left out": enlarged(x, weight, np.ones_like(style), 4),
            },
            tolerance=1e-5,
        ),
        "resampling-filters",
    )
    right = demodulated(weight, style)
    sums = np.einsum("bi,oikl->bo", style**2, weight**2)
    made.ask(
        "demodulation",
        "demodulation",
        [weight, style],
        same(
            right,
            {
                "this is the standard deviation: divide by it": np.sqrt(sums),
                "the root is missing: divide by the standard deviation, not by the variance": 1 / sums,
                "the style is not squared": 1 / np.sqrt(np.abs(np.einsum("bi,oikl->bo", style, weight**2))),
                "the style is left out": np.broadcast_to(1 / np.sqrt((weight**2).sum((1, 2, 3))), (2, 4)),
                "the mean over the input's channels is taken: the squares are added": right * np.sqrt(3),
                "the mean over all weights of an output is taken: the squares are added": right * np.sqrt(27),
            },
            tolerance=1e-5,
        ),
        "demodulation",
    )


def convolved(x: np.ndarray, weight: np.ndarray, style: np.ndarray) -> np.ndarray:
    """Each image with weights of its own, as the paper has it."""
    images = zip(torch.tensor(x), torch.tensor(style))
    kernel = torch.tensor(weight)
    return torch.stack(
        [F.conv2d(image[None], kernel * s[None, :, None, None], padding=1)[0] for image, s in images]
    ).numpy()


def enlarged(x: np.ndarray, weight: np.ndarray, style: np.ndarray, gain: float) -> np.ndarray:
    scaled = torch.tensor(x * style[:, :, None, None])
    y = F.conv_transpose2d(scaled, torch.tensor(weight).transpose(0, 1), stride=2)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8
    kernel = (gain * torch.outer(taps, taps)).expand(y.shape[1], 1, 4, 4)
    return F.conv2d(y, kernel, padding=1, groups=y.shape[1]).numpy()


def demodulated(weight: np.ndarray, style: np.ndarray) -> np.ndarray:
    return 1 / np.sqrt(np.einsum("bi,oikl->bo", style**2, weight**2) + 1e-8)


# ---- sampling


def sampling(made: Maker, draw: np.random.Generator) -> None:
    ws, mean = draw.normal(0, 1, (2, 6, 3)), draw.normal(0, 1, 3)
    near = mean + 0.6 * (ws - mean)
    mistakes = {
        "w is scaled towards 0: truncation goes towards the mean w": 0.6 * ws,
        "psi and 1 - psi are exchanged: psi = 1 leaves w as it is": mean + 0.4 * (ws - mean),
        "the mean is added to psi w: the distance from the mean is scaled": mean + 0.6 * ws,
        "nothing is truncated": ws,
    }
    made.ask("truncation", "truncate", [ws, mean, 0.6, -1], same(near, mistakes), "truncation")
    cut = np.concatenate([near[:, :2], ws[:, 2:]], 1)
    made.ask(
        "truncation of the first 2 layers",
        "truncate",
        [ws, mean, 0.6, 2],
        same(
            cut,
            {
                **mistakes,
                "all layers are truncated: the cutoff is left out": near,
                "the last layers are truncated: the first ones are meant": np.concatenate(
                    [ws[:, :2], near[:, 2:]], 1
                ),
                "one layer too many is truncated": np.concatenate([near[:, :3], ws[:, 3:]], 1),
            },
        ),
        "truncation",
    )
    own, other, layers = draw.normal(0, 1, (6, 3)), draw.normal(0, 1, (6, 3)), [1, 2, 4]
    made.ask(
        "mixed styles",
        "mix",
        [own, other, layers],
        lambda answer: mixed(answer, own, other, layers),
        "two-latents-in-one-image",
    )
    w, centres = draw.normal(0, 2, (5, 3)), draw.normal(0, 2, (4, 3))
    apart = np.linalg.norm(w[:, None] - centres, axis=2)
    nearest, farthest = centres[apart.argmin(1)], centres[apart.argmax(1)]
    made.ask(
        "truncation towards the nearest centre",
        "towards_nearest",
        [w, centres, 0.7],
        same(
            nearest + 0.7 * (w - nearest),
            {
                "the farthest centre is taken": farthest + 0.7 * (w - farthest),
                "psi and 1 - psi are exchanged": nearest + 0.3 * (w - nearest),
                "the mean of the centres is taken: each w has a nearest one": centres.mean(0)
                + 0.7 * (w - centres.mean(0)),
                "w is replaced by its centre: psi is left out": nearest,
            },
        ),
        "centres-of-w",
    )


def mixed(answer: list[np.ndarray], own: np.ndarray, other: np.ndarray, layers: list[int]) -> str | None:
    found, afterwards = answer
    right, opposite = own.copy(), other.copy()
    right[layers], opposite[layers] = other[layers], own[layers]
    if not close(afterwards, own):
        return "the first image's styles are changed themselves: copy them before layers are replaced"
    half = own.copy()
    half[layers] = (own[layers] + other[layers]) / 2
    return same(
        right,
        {
            "the layers are exchanged: those named come from the second image": opposite,
            "the layers are averaged: they are replaced": half,
            "nothing is mixed": own,
        },
    )([found])


# ---- people


def edits(made: Maker, draw: np.random.Generator) -> None:
    ws, others, direction = draw.normal(0, 1, (2, 6, 3)), draw.normal(0, 1, (2, 6, 3)), draw.normal(0, 1, 3)
    layers, rest = [3, 4], [0, 1, 2, 5]

    def of(change: np.ndarray, places: list[int]) -> np.ndarray:
        result = ws.copy()
        result[:, places] += np.broadcast_to(change, ws.shape)[:, places]
        return result

    def untouched(answer: list[np.ndarray]) -> str | None:
        return None if close(answer[0], ws) else "the first styles are changed themselves: copy them before"

    step = 0.7 * direction
    made.ask(
        "an expression: a direction in some layers",
        "moved",
        [ws, direction, 0.7, layers],
        each(
            same(
                of(step, layers),
                {
                    "all layers are moved: only those named are": of(step, [*layers, *rest]),
                    "the other layers are moved": of(step, rest),
                    "the strength is left out": of(direction, layers),
                    "the direction replaces the styles: it is added": np.where(
                        np.isin(np.arange(6), layers)[:, None], step, ws
                    ),
                    "the direction is subtracted": of(-step, layers),
                },
            ),
            untouched,
        ),
        "directions-from-pairs",
    )
    way = others - ws
    made.ask(
        "a style: some layers on the way to another person's",
        "towards",
        [ws, others, 0.7, layers],
        each(
            same(
                of(0.7 * way, layers),
                {
                    "all layers are moved: only those named are": of(0.7 * way, [*layers, *rest]),
                    "the layers are replaced: the strength is left out": of(way, layers),
                    "the strength and one minus it are exchanged": of(0.3 * way, layers),
                    "the other person's styles are added: the difference is": of(0.7 * others, layers),
                    "the other layers are moved": of(0.7 * way, rest),
                },
            ),
            untouched,
        ),
        "two-latents-in-one-image",
    )
