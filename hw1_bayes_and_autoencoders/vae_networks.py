"""Encoders and decoders of a VAE.  Each takes the one-hot class (B, K) beside its input; K is 0 without
classes.

An encoder gives mean and log-variance side by side, (B, 2 D); a decoder gives (B, C, H, W), unbounded.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import InputError

HIDDEN = 400
"""Width of `mlp`, as in Kingma and Welling's successors: 784-400-D-400-784."""
CHANNELS = (32, 64, 128)
"""Of `conv`, one stride of 2 each."""
WIDTH, PATCH = 64, 4
"""Of `residual`: channels, and the side of the patch that becomes one cell."""


class MLPEncoder(nn.Module):
    def __init__(self, pixels: int, latent: int, classes: int):
        super().__init__()
        self.hidden = nn.Linear(pixels + classes, HIDDEN)
        self.head = nn.Linear(HIDDEN, 2 * latent)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.head(F.relu(self.hidden(torch.cat([x.flatten(1), condition], 1))))


class MLPDecoder(nn.Module):
    def __init__(self, shape: tuple[int, int, int], latent: int, classes: int):
        super().__init__()
        self.shape = shape
        channels, height, width = shape
        self.hidden = nn.Linear(latent + classes, HIDDEN)
        self.head = nn.Linear(HIDDEN, channels * height * width)

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        return self.head(F.relu(self.hidden(torch.cat([z, condition], 1)))).unflatten(1, self.shape)


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

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        x = torch.cat([x, planes(condition, x)], 1) if condition.shape[1] else x
        for convolution in self.convolutions:  # 28 -> 14 -> 7 -> 3
            x = F.relu(convolution(x))
        return self.head(x.flatten(1))


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

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        x = self.expand(torch.cat([z, condition], 1)).unflatten(1, self.start)
        for convolution in self.convolutions:
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

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class ResidualEncoder(nn.Module):
    """Patches of 4x4 pixels become cells of a 7x7 map, where residual blocks are cheap."""

    def __init__(self, shape: tuple[int, int, int], latent: int, classes: int, blocks: int = 1):
        super().__init__()
        self.patches = nn.PixelUnshuffle(PATCH)
        self.stem = nn.Conv2d(shape[0] * PATCH**2 + classes, WIDTH, 3, padding=1)
        self.blocks = nn.Sequential(*(Residual(WIDTH) for _ in range(blocks)))
        self.head = nn.Linear(WIDTH * cells(shape)[0] * cells(shape)[1], 2 * latent)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        x = self.patches(x)
        x = torch.cat([x, planes(condition, x)], 1) if condition.shape[1] else x
        return self.head(F.silu(self.blocks(self.stem(x))).flatten(1))


class ResidualDecoder(nn.Module):
    """Residual blocks on the map of cells, each of which then opens into its patch."""

    def __init__(self, shape: tuple[int, int, int], latent: int, classes: int, blocks: int = 2):
        super().__init__()
        self.start = (WIDTH, *cells(shape))
        self.expand = nn.Linear(latent + classes, WIDTH * cells(shape)[0] * cells(shape)[1])
        self.blocks = nn.Sequential(*(Residual(WIDTH) for _ in range(blocks)))
        self.head = nn.Conv2d(WIDTH, shape[0] * PATCH**2, 3, padding=1)
        self.patches = nn.PixelShuffle(PATCH)

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        x = self.expand(torch.cat([z, condition], 1)).unflatten(1, self.start)
        return self.patches(self.head(F.silu(self.blocks(x))))


def planes(condition: Tensor, x: Tensor) -> Tensor:  # (B, K), (B, C, H, W) -> (B, K, H, W)
    """Each one-hot number as a constant plane of x's size."""
    return condition[:, :, None, None].expand(-1, -1, *x.shape[2:]).to(x)


def halved(shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Sizes (H, W) before, between and after the strides of `conv`."""
    return [(shape[1] >> level, shape[2] >> level) for level in range(len(CHANNELS) + 1)]


def cells(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Size of the map of `residual`."""
    return shape[1] // PATCH, shape[2] // PATCH


def build(arch: str, shape: tuple[int, int, int], latent: int, classes: int) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder for images (C, H, W).  InputError for sizes the architecture cannot halve."""
    channels, height, width = shape
    if arch == "mlp":
        return MLPEncoder(channels * height * width, latent, classes), MLPDecoder(shape, latent, classes)
    if arch == "conv":
        if min(height, width) < 8:
            raise InputError(
                f"--arch conv: images of {height}x{width} are halved three times; use 8x8 or more"
            )
        return ConvEncoder(shape, latent, classes), ConvDecoder(shape, latent, classes)
    if height % PATCH or width % PATCH:
        raise InputError(f"--arch residual: {height}x{width} has no whole 4x4 patches; use multiples of 4")
    return ResidualEncoder(shape, latent, classes), ResidualDecoder(shape, latent, classes)
