"""Convolutions whose weights depend on the image to be drawn (Karras et al. 2020).

Theory: theory/en/stylegan.md, eqs. (stylegan.3)-(stylegan.6).  Sizes: B images, I and O channels in and out.
"""

from __future__ import annotations

from common.resampling import blur

import torch
import torch.nn.functional as F
from torch import Tensor


def modulated_convolution(x: Tensor, weight: Tensor, style: Tensor, *, up: bool = False) -> Tensor:
    """x (B, I, H, W), weight (O, I, k, k), style (B, I) -> (B, O, H, W), or (B, O, 2 H, 2 W) with `up`.

    The papers scale the weights, so that every image has weights of its own, eq. (stylegan.3).  To scale the
    input of one convolution for all images is the same, eq. (stylegan.5), and faster."""
    # task hw3.a: the style scales what the convolution reads
    x = x * style[:, :, None, None].to(x.dtype)
    if not up:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # (B, O, 2 H + 1, 2 W + 1)
    return blur(x, padding=1, gain=4)
    # end task


def demodulation(weight: Tensor, style: Tensor) -> Tensor:  # (O, I, k, k), (B, I) -> (B, O)
    """1 / the standard deviation of each output channel for inputs of variance 1, eq. (stylegan.4).

    Uncorrelated ones, that is; what it is for others says eq. (stylegan.6)."""
    # task hw3.a: one over the standard deviation of every output
    with torch.autocast(style.device.type, enabled=False):
        return (style.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()
    # end task
