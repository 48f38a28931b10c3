"""Halving and doubling the sides of images with the filter [1, 3, 3, 1].

Theory: theory/en/stylegan.md, eq. (stylegan.10)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def taps(like: Tensor) -> Tensor:
    """[1, 3, 3, 1] / 8 in both directions, eq. (stylegan.10): (1, 1, 4, 4), its sum is 1."""
    place = torch.arange(4, dtype=like.dtype, device=like.device)  # nothing comes from the CPU
    line = (4 - 2 * (place - 1.5).abs()) / 8
    return torch.outer(line, line)[None, None]


def blur(x: Tensor, *, padding: int, stride: int = 1, gain: float = 1.0) -> Tensor:
    """(B, C, H, W) -> (B, C, (H + 2 padding - 4) / stride + 1, ...): every channel through the filter, eq.
    (stylegan.10)."""
    kernel = (gain * taps(x)).expand(x.shape[1], -1, -1, -1)
    return F.conv2d(x, kernel, padding=padding, stride=stride, groups=x.shape[1])


def upsample(image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, 2 H, 2 W)
    """Zeros between the pixels, then the filter, eq. (stylegan.10): one transposed convolution.

    Four times the filter, since only a quarter of the pixels is not zero."""
    planes = image.flatten(0, 1)[:, None]  # (B C, 1, H, W)
    planes = F.conv_transpose2d(planes, 4 * taps(image), stride=2, padding=1)  # (B C, 1, 2 H, 2 W)
    return planes[:, 0].unflatten(0, image.shape[:2])
