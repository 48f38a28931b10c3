"""Encoders and decoders of a VAE.  Each takes the one-hot class (B, K) beside its input; K is 0 without
classes.

An encoder gives mean and log-variance side by side, (B, 2 D); a decoder gives (B, C, H, W), unbounded.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from common.errors import InputError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Arch = Literal["mlp", "conv", "residual"]
HIDDEN = 400
"""Width of `mlp`, as in Kingma and Welling's successors: 784-400-D-400-784."""
CHANNELS = (32, 64, 128)
"""Channels of `conv`, one stride of 2 each."""
WIDTH, PATCH = 64, 4
"""Channels of `residual`, and the side of the patch that becomes one cell."""


class MLPEncoder(nn.Module):
    """One hidden layer; the class is joined to the pixels."""

    def __init__(self, shape: tuple[int, int, int], latent: int, classes: int):
        super().__init__()
        channels, height, width = shape
        self.hidden = nn.Linear(channels * height * width + classes, HIDDEN)
        self.head = nn.Linear(HIDDEN, 2 * latent)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:  # (B, C, H, W), (B, K) -> (B, 2 D)
        x = torch.cat([x.flatten(1), condition], 1)  # (B, C H W + K)
        return self.head(F.relu(self.hidden(x)))


class MLPDecoder(nn.Module):
    """One hidden layer; the class is joined to z."""

    def __init__(self, shape: tuple[int, int, int], latent: int, classes: int):
        super().__init__()
        self.shape = shape
        channels, height, width = shape
        self.hidden = nn.Linear(latent + classes, HIDDEN)
        self.head = nn.Linear(HIDDEN, channels * height * width)

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:  # (B, D), (B, K) -> (B, C, H, W)
        pixels = self.head(F.relu(self.hidden(torch.cat([z, condition], 1))))  # (B, C H W)
        return pixels.unflatten(1, self.shape)


class ConvEncoder(nn.Module):
    """Three convolutions with 4x4 kernels and stride 2; the class enters as constant planes."""

    def __init__(self, shape: tuple[int, int, int], latent: int, classes: int):
        super().__init__()
        widths = (shape[0] + classes, *CHANNELS)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths)
        )
        height, width = halved(shape)[-1]
        self.head = nn.Linear(CHANNELS[-1] * height * width, 2 * latent)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:  # (B, C, H, W), (B, K) -> (B, 2 D)
        x = torch.cat([x, planes(condition, x)], 1) if condition.shape[1] else x  # (B, C + K, H, W)
        for convolution in self.convolutions:  # 28 -> 14 -> 7 -> 3
            x = F.relu(convolution(x))
        return self.head(x.flatten(1))  # of (B, 128, H / 8, W / 8)


class ConvDecoder(nn.Module):
    """The mirror image of `ConvEncoder`: transposed convolutions give back every size that was halved."""

    def __init__(self, shape: tuple[int, int, int], latent: int, classes: int):
        super().__init__()
        sides = halved(shape)[::-1]  # (3, 3), (7, 7), (14, 14), (28, 28)
        self.start = (CHANNELS[-1], *sides[0])
        self.expand = nn.Linear(latent + classes, CHANNELS[-1] * sides[0][0] * sides[0][1])
        widths = (*CHANNELS[::-1], shape[0])
        self.convolutions = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, stride=2, padding=1, output_padding=(h % 2, w % 2))
            for (a, b), (h, w) in zip(pairwise(widths), sides[1:])
        )

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:  # (B, D), (B, K) -> (B, C, H, W)
        x = self.expand(torch.cat([z, condition], 1)).unflatten(1, self.start)  # (B, 128, H / 8, W / 8)
        for convolution in self.convolutions:  # 3 -> 7 -> 14 -> 28
            x = convolution(F.relu(x))
        return x


class Residual(nn.Module):
    """x + two 3x3 convolutions; the second starts at 0, so that the block starts as the identity.

    No batch normalisation: nothing then depends on the other images of the batch, or on their number.
    """

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:  # of one shape
        return x + self.second(F.silu(self.first(F.silu(x))))


class ResidualEncoder(nn.Module):
    """Patches of 4x4 pixels become cells of a 7x7 map, where residual blocks are cheap."""

    def __init__(self, shape: tuple[int, int, int], latent: int, classes: int, blocks: int = 1):
        super().__init__()
        self.patches = nn.PixelUnshuffle(PATCH)
        self.stem = nn.Conv2d(shape[0] * PATCH**2 + classes, WIDTH, 3, padding=1)
        self.blocks = nn.Sequential(*(Residual(WIDTH) for _ in range(blocks)))
        self.head = nn.Linear(WIDTH * cells(shape)[0] * cells(shape)[1], 2 * latent)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:  # (B, C, H, W), (B, K) -> (B, 2 D)
        x = self.patches(x)  # (B, 16 C, H / 4, W / 4)
        x = torch.cat([x, planes(condition, x)], 1) if condition.shape[1] else x  # (B, 16 C + K, ...)
        x = self.blocks(self.stem(x))  # (B, 64, H / 4, W / 4)
        return self.head(F.silu(x).flatten(1))


class ResidualDecoder(nn.Module):
    """Residual blocks on the map of cells, each of which then opens into its patch."""

    def __init__(self, shape: tuple[int, int, int], latent: int, classes: int, blocks: int = 2):
        super().__init__()
        self.start = (WIDTH, *cells(shape))
        self.expand = nn.Linear(latent + classes, WIDTH * cells(shape)[0] * cells(shape)[1])
        self.blocks = nn.Sequential(*(Residual(WIDTH) for _ in range(blocks)))
        self.head = nn.Conv2d(WIDTH, shape[0] * PATCH**2, 3, padding=1)
        self.patches = nn.PixelShuffle(PATCH)

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:  # (B, D), (B, K) -> (B, C, H, W)
        x = self.expand(torch.cat([z, condition], 1)).unflatten(1, self.start)  # (B, 64, H / 4, W / 4)
        x = self.head(F.silu(self.blocks(x)))  # (B, 16 C, H / 4, W / 4)
        return self.patches(x)


def planes(condition: Tensor, x: Tensor) -> Tensor:  # (B, K), (B, C, H, W) -> (B, K, H, W)
    """Each one-hot number as a constant plane of x's size."""
    return condition[:, :, None, None].expand(-1, -1, *x.shape[2:]).to(x)


def halved(shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Sizes (H, W) before, between and after the strides of `conv`."""
    _, height, width = shape
    if min(height, width) < 8:
        raise InputError(f"--arch conv: images of {height}x{width} are halved three times; use 8x8 or more")
    return [(height >> level, width >> level) for level in range(len(CHANNELS) + 1)]


def cells(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Size of the map of `residual`."""
    _, height, width = shape
    if height % PATCH or width % PATCH:
        raise InputError(f"--arch residual: {height}x{width} has no whole 4x4 patches; use multiples of 4")
    return height // PATCH, width // PATCH


NETWORKS: dict[Arch, tuple[type[nn.Module], type[nn.Module]]] = {
    "mlp": (MLPEncoder, MLPDecoder),
    "conv": (ConvEncoder, ConvDecoder),
    "residual": (ResidualEncoder, ResidualDecoder),
}
"""Encoder and decoder of each architecture, made from (C, H, W), D and K."""
