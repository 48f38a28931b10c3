"""Differentiable augmentation: random changes that gradients pass through, for training GANs on few images.

Applied to real and to fake images alike, in both updates, eq. (gan.15) of theory/en/gan.md: the generator
still learns the distribution of the images, not that of their changed copies.  Zhao et al. 2020,
"Differentiable augmentation for data-efficient GAN training".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

POLICIES = ("color", "translation", "cutout")
"""Names of the changes, in the order in which they are applied."""
TRANSLATION, CUTOUT = 1 / 8, 1 / 2
"""Largest shift and side of the erased square, as shares of the image's side."""


def augment(images: Tensor, policies: tuple[str, ...] = POLICIES) -> Tensor:
    """Change each image (B, C, H, W) in [-1, 1] by the named policies, each at random and by itself, T of eq.
    (gan.15)."""
    for name in POLICIES:
        if name in policies:
            images = _CHANGES[name](images)
    return images


def _uniform(images: Tensor, low: float, high: float) -> Tensor:  # -> (B, 1, 1, 1)
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, device=images.device, dtype=images.dtype)


def color(images: Tensor) -> Tensor:
    """Brightness within 0.5, saturation up to twice, contrast from half to one and a half."""
    images = images + _uniform(images, -0.5, 0.5)
    grey = images.mean(1, keepdim=True)
    images = torch.lerp(grey, images, _uniform(images, 0, 2))
    mean = images.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, _uniform(images, 0.5, 1.5))


def translation(images: Tensor) -> Tensor:
    """A shift by whole pixels, up to 1/8 of the side each way; what comes in is 0, middle grey."""
    count, _, height, width = images.shape
    down, right = (round(side * TRANSLATION) for side in (height, width))
    padded = F.pad(images, (right, right, down, down))
    device = images.device
    rows = torch.randint(0, 2 * down + 1, (count, 1), device=device) + torch.arange(height, device=device)
    columns = torch.randint(0, 2 * right + 1, (count, 1), device=device) + torch.arange(width, device=device)
    index = torch.arange(count, device=device)[:, None, None]
    # advanced indices around a slice put it last: (B, H, W, C), which channels_last stores anyway
    return padded[index, :, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def cutout(images: Tensor) -> Tensor:
    """A square of half the side, anywhere, partly outside too, is set to 0, middle grey."""
    count, _, height, width = images.shape

    def outside(side: int) -> Tensor:  # (B, side)
        length = round(side * CUTOUT)
        start = torch.randint(0, side + 1 - length % 2, (count, 1), device=images.device) - length // 2
        place = torch.arange(side, device=images.device) - start
        return (place < 0) | (place >= length)

    keep = outside(height)[:, None, :, None] | outside(width)[:, None, None, :]
    return images * keep


_CHANGES = {"color": color, "translation": translation, "cutout": cutout}
