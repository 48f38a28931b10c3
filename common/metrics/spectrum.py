"""The power spectrum of images, and the grid that layers which double the sides leave in generated ones.

Theory: theory/en/metrics.md, eqs. (metrics.16), (metrics.17)."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 250
"""Images that are transformed at once."""
PERIOD = 4
"""Pixels of the largest grid that is looked for: what the last two doublings of the sides leave."""
ROUNDING = (2 / 255) ** 2 / 12
"""Power that rounding to 256 grey levels adds at every frequency, in [-1, 1]: none is below it."""


def power_spectrum(images: Tensor) -> Tensor:  # uint8 (N, C, H, W) -> float64 (H, W / 2 + 1)
    """Mean power at every frequency over images and channels, in squared units of [-1, 1], eq. (metrics.16).

    Half of the frequencies: opposite ones have the same power."""
    total = torch.zeros(images.shape[2], images.shape[3] // 2 + 1, dtype=torch.float64)
    for part in images.split(CHUNK):
        x = part.float() * (2 / 255)
        x = x - x.mean((2, 3), keepdim=True)
        total += torch.fft.rfft2(x, norm="ortho").abs().square().mean(1).sum(0).double().cpu()
    return total / len(images)


def grid_strength(fake: Tensor, real: Tensor) -> float:
    """How many times the power of real images that of generated ones is at the frequencies of a grid of 2 or
    4 pixels, where it is most, eq. (metrics.17); from their spectra (H, W / 2 + 1).  1 is no grid."""
    fake, real = fake + ROUNDING, real + ROUNDING
    steps = [step / PERIOD for step in range(PERIOD)]
    patches = [around(real, (down, right)) for down in steps for right in steps if down or right]
    return max((fake[patch].sum() / real[patch].sum()).item() for patch in patches)


def around(spectrum: Tensor, frequency: tuple[float, float]) -> Tensor:  # -> bool (H, W / 2 + 1)
    """The frequency, in cycles a pixel, and its neighbours: there is the power of a grid that is not equally
    strong everywhere in an image.  The mean of an image is no neighbour."""
    height, width = spectrum.shape[0], 2 * (spectrum.shape[1] - 1)
    down, right = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    near = [
        ((axis - at + 0.5) % 1 - 0.5).abs() < 1.5 / side  # on the circle of frequencies
        for axis, at, side in ((down, frequency[0], height), (right, frequency[1], width))
    ]
    patch = near[0][:, None] & near[1]
    patch[0, 0] = False
    return patch
