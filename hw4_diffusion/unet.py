"""The U-Net that predicts, from a noisy image, its time and its class, what was added to the image.

Down and up through a few sizes, with a shortcut at each (Ronneberger et al. 2015; Ho et al. 2020): residual
blocks of two 3 x 3 convolutions, told the time and the class by a scale and a shift of each channel, and
self-attention at the smallest size.  Theory: theory/en/diffusion.md, eqs. (diffusion.32), (diffusion.33).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from common.errors import InputError
from common.flags import Channels, CountOrZero, Layers, Pixels

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUP = 8
"""Channels that are normalised together."""
TIMES = 1000
"""The last time, T, is told to the network as this number, whatever T is."""


@dataclass(frozen=True)
class Architecture:
    """What a weight file says about its network."""

    image_channels: Channels
    size: Pixels
    """Side of the images; halved between levels."""
    channels: tuple[Channels, ...]
    """Of each level, from the images' own size to the smallest."""
    blocks: Layers
    """Residual blocks of each level on the way down, and on the way up."""
    classes: CountOrZero
    """K; 0 for a network that is told none."""

    def __post_init__(self):
        smallest, rest = divmod(self.size, 2 ** (len(self.channels) - 1))
        if rest or smallest < 2:
            raise InputError(
                f"--size {self.size}: images cannot be halved {len(self.channels) - 1} times; give a "
                f"multiple of {2 ** (len(self.channels) - 1)}, or fewer --channels"
            )
        if odd := [channels for channels in self.channels if channels % GROUP]:
            raise InputError(f"--channels {odd[0]}: not a multiple of {GROUP}; choose one")


class UNet(nn.Module):
    """(B, C, S, S), times as shares of T in (0, 1], classes int64 (B,) with K for none -> (B, C, S, S)."""

    def __init__(self, shape: Architecture):
        super().__init__()
        self.shape = shape
        width = shape.channels
        first, last = width[0], width[-1]
        told = 4 * first
        self.time = nn.Sequential(nn.Linear(first, told), nn.SiLU(), nn.Linear(told, told))
        self.label = nn.Embedding(shape.classes + 1, told) if shape.classes else None
        self.start = nn.Conv2d(shape.image_channels, first, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for above, channels in pairwise((first, *width)):
            if self.down:
                self.down.append(Halve(above))
            for before in (above, *[channels] * (shape.blocks - 1)):
                self.down.append(Block(before, channels, told))
        self.middle = nn.ModuleList([Block(last, last, told), Attention(last), Block(last, last, told)])
        for channels, above in pairwise((*width[::-1], first)):
            self.up.extend(Block(2 * channels, channels, told) for _ in range(shape.blocks))
            if len(self.up) < len(self.down):
                self.up.append(Double(channels, above))
        self.end = nn.Sequential(
            Norm(first), nn.SiLU(), zeroed(nn.Conv2d(first, shape.image_channels, 3, padding=1))
        )

    def forward(self, x: Tensor, share: Tensor, labels: Tensor | None = None) -> Tensor:
        told = self.time(wave(share * TIMES, self.shape.channels[0]))  # (B, E)
        if self.label is not None:
            told = told + self.label(labels)
        told = F.silu(told)
        x, kept = self.start(x), []
        for layer in self.down:
            x = layer(x, told)
            if isinstance(layer, Block):
                kept.append(x)
        for layer in self.middle:
            x = layer(x, told)
        for layer in self.up:
            if isinstance(layer, Block):
                x = torch.cat([x, kept.pop()], 1)
            x = layer(x, told)
        return self.end(x)


class Block(nn.Module):
    """Residual block; its second half is scaled and shifted by what the network is told."""

    def __init__(self, before: int, after: int, told: int):
        super().__init__()
        self.first = nn.Sequential(Norm(before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.told = nn.Linear(told, 2 * after)
        self.norm = Norm(after)
        self.second = nn.Sequential(nn.SiLU(), zeroed(nn.Conv2d(after, after, 3, padding=1)))
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.told(told)[:, :, None, None].chunk(2, 1)
        return self.shortcut(x) + self.second(torch.addcmul(shift, self.norm(self.first(x)), 1 + scale))


class Attention(nn.Module):
    """Every place looks at every other, one head, eq. (diffusion.33), added to what was there."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = Norm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.out = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        places = self.norm(x).flatten(2).transpose(1, 2)  # (B, H W, C)
        query, key, value = self.query_key_value(places).chunk(3, 2)
        seen = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(seen).transpose(1, 2).unflatten(2, x.shape[2:])


class Halve(nn.Module):
    """Half the side."""

    def __init__(self, channels: int):
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        return self.convolution(x)


class Double(nn.Module):
    """Twice the side and the channels of the level above; the block that follows smooths it."""

    def __init__(self, channels: int, above: int):
        super().__init__()
        self.convolution = nn.Conv2d(channels, above, 1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        return F.interpolate(self.convolution(x), scale_factor=2, mode="nearest")


class Norm(nn.GroupNorm):
    """Group normalisation, in float32 whatever the number format: in bfloat16 it is slower and rougher."""

    def __init__(self, channels: int):
        super().__init__(channels // GROUP, channels)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


def wave(time: Tensor, width: int) -> Tensor:  # (B,) -> (B, width)
    """Sines and cosines of a time, of frequencies from 1 down to 1/10000, eq. (diffusion.32)."""
    half = width // 2
    frequency = 10000 ** -(torch.arange(half, device=time.device) / (half - 1))
    phase = time[:, None].float() * frequency
    return torch.cat([phase.sin(), phase.cos()], 1)


def zeroed(layer: nn.Module) -> nn.Module:
    """Starts at 0: a block begins as the identity, the network as the answer 0."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
