"""StyleGAN2's discriminator (Karras et al. 2020).  Theory: theory/en/stylegan.md.

Sizes: B images, I and O channels in and out, H and W height and width, K options of all attributes.
"""

from __future__ import annotations

import math
from itertools import pairwise

from common.layers import MinibatchDeviation
from common.resampling import blur

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hw3_stylegan_sampling.networks import GAIN, SLOPE, Linear


class Convolution(nn.Module):
    """(B, I, H, W) -> (B, O, H, W), or half as high and wide with `down`; scaled weights, eq. (stylegan.2).

    `gain` goes with the weights and the bias, since the leaky ReLU is homogeneous."""

    def __init__(self, inputs: int, outputs: int, side: int, *, down=False, linear=False, gain=1.0):
        super().__init__()
        self.down, self.linear, self.gain = down, linear, gain if linear else GAIN * gain
        self.weight = nn.Parameter(torch.randn(outputs, inputs, side, side))
        self.bias = None if linear else nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * (self.gain / math.sqrt(self.weight[0].numel()))
        bias = None if self.bias is None else self.gain * self.bias
        side = weight.shape[-1]
        if not self.down:
            x = F.conv2d(x, weight, bias, padding=side // 2)
        elif side == 1:
            x = F.conv2d(blur(x, padding=1, stride=2), weight, bias)
        else:  # (B, I, H, W) -> (B, I, H + 1, W + 1) -> (B, O, H / 2, W / 2)
            x = F.conv2d(blur(x, padding=2), weight, bias, stride=2)
        return x if self.linear else F.leaky_relu_(x, SLOPE)


class ResidualBlock(nn.Module):
    """(B, I, H, W) -> (B, O, H / 2, W / 2): two convolutions beside a linear one, eq. (stylegan.9)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        half = math.sqrt(0.5)
        self.first = Convolution(inputs, inputs, 3)
        self.second = Convolution(inputs, outputs, 3, down=True, gain=half)
        self.skip = Convolution(inputs, outputs, 1, down=True, linear=True, gain=half)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.second(self.first(x))


class Discriminator(nn.Module):
    """Images (B, 3, S, S) -> logits (B,): residual blocks down to 4x4, the first at full size.

    `channels` are those of 4x4, 8x8, ..., S x S, as the generator's.  `options`: how many each attribute has
    that the discriminator is told; their part of the logit, eq. (gan.22), is left out without labels."""

    def __init__(self, channels: tuple[int, ...], *, options: tuple[int, ...] = (), image_channels: int = 3):
        super().__init__()
        self.options, last = options, channels[0]
        down = channels[::-1]
        self.from_image = Convolution(image_channels, down[0], 1)
        self.blocks = nn.Sequential(*(ResidualBlock(*pair) for pair in pairwise(down)))
        self.end = nn.Sequential(MinibatchDeviation(), Convolution(last + 1, last, 3), nn.Flatten())
        self.hidden, self.out = Linear(16 * last, last), Linear(last, 1 + sum(options))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:  # labels (B, K)
        x = self.end(self.blocks(self.from_image(images)))  # (B, 16 I)
        logits = self.out(GAIN * F.leaky_relu(self.hidden(x), SLOPE))  # (B, 1 + K)
        if labels is None or not self.options:
            return logits[:, 0]
        return logits[:, 0] + (logits[:, 1:] * labels).sum(1) / math.sqrt(len(self.options))
