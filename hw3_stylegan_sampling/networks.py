"""StyleGAN2's networks in plain PyTorch (Karras et al. 2020).  Theory: theory/en/stylegan.md.

python hw3_stylegan_sampling/networks.py                 # shapes and parameters of the generator trained here
python hw3_stylegan_sampling/networks.py --size 1024 --channels 512 512 512 512 512 256 128 64 32

Sizes: B images, D latents (z or w), L style layers, I and O channels in and out, S side of the image.
Latents are z (B, D) and w (B, D) or, one for each style layer, ws (B, L, D).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from common import choices, command_line, shapes
from common.errors import InputError
from common.flags import (
    Channels,
    Count,
    CountOrZero,
    Dimensions,
    Flags,
    Layers,
    NonNegative,
    Pixels,
    Positive,
)
from common.modulation import demodulation, modulated_convolution
from common.resampling import upsample

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NoiseMode = Literal["const", "random", "none"]
GAIN = math.sqrt(2)
"""Brings the mean square of a normal number that went through `leaky_relu` to 1.04, eq. (stylegan.7)."""
SLOPE = 0.2
"""Of the leaky ReLU."""


@dataclass(frozen=True)
class Architecture(Flags):
    """All that a generator's shape depends on; it is stored beside the weights."""

    size: Pixels = 64
    """Side of the images in pixels: a power of two from 8 on."""
    channels: tuple[Channels, ...] = (192, 192, 128, 64, 32)
    """Channels of the layers at 4x4, 8x8, 16x16 and so on up to --size."""
    z_dim: Dimensions = 64
    """Numbers in the latent z."""
    w_dim: Dimensions = 128
    """Numbers in the latent w."""
    classes: CountOrZero = 0
    """Classes that a label chooses from; 0: there are no labels."""
    options: tuple[Count, ...] = ()
    """How many options each attribute has that the last numbers of z choose, one number for each."""
    mapping_layers: Layers = 2
    """Layers of the mapping network."""
    mapping_rate: Positive = 0.1
    """Learning rate of the mapping network, as a share of that of the rest."""
    mapping_width: CountOrZero = 0
    """Numbers between its layers; 0: as many as in w."""
    embedding: CountOrZero = 0
    """Numbers that the label becomes before it meets z; 0: as many as in w."""
    image_channels: Channels = 3
    """3 for colours, 1 for grey."""
    noise: bool = True
    """Whether noise is added in every layer."""
    clamp: NonNegative = 0
    """Largest value of an activation, for generators trained in float16; 0: no limit."""

    @property
    def label_dim(self) -> int:
        """K: length of the vector of zeros and ones that the mapping network reads beside z."""
        return self.classes or sum(self.options)

    def check(self) -> None:
        """InputError where no generator has this shape."""
        if self.size < 8 or self.size & (self.size - 1):
            raise InputError(f"--size {self.size}: the sides of images are powers of two from 8 on")
        if len(self.channels) != (blocks := self.size.bit_length() - 2):
            raise InputError(
                f"--channels {' '.join(map(str, self.channels))}: {len(self.channels)} numbers; --size "
                f"{self.size} needs {blocks}, one for each of 4, 8, ..., {self.size} pixels"
            )


class Linear(nn.Module):
    """(B, I) -> (B, O): weights that begin as N(0, 1) and are scaled when used, eq. (stylegan.2).

    Always in float32: styles scale every number that comes after them."""

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, rate: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.scale, self.rate = rate / math.sqrt(inputs), rate

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.to(self.weight.dtype), self.weight * self.scale, self.bias * self.rate)


def normalise(x: Tensor) -> Tensor:  # (B, D) -> (B, D)
    """Divide by the root of the mean square, eq. (stylegan.1)."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Mapping(nn.Module):
    """z (B, D), labels (B, K) -> w (B, D), eq. (stylegan.1).

    Where the last A numbers of z choose the options of A attributes, eq. (gan.22), these are the labels,
    unless others are given."""

    def __init__(self, shape: Architecture):
        super().__init__()
        self.options = shape.options
        embedding = (shape.embedding or shape.w_dim) if shape.label_dim else 0
        hidden = [shape.mapping_width or shape.w_dim] * (shape.mapping_layers - 1)
        widths = [shape.z_dim - len(shape.options) + embedding, *hidden, shape.w_dim]
        self.embed = Linear(shape.label_dim, embedding) if shape.label_dim else None
        self.layers = nn.ModuleList(Linear(*pair, rate=shape.mapping_rate) for pair in pairwise(widths))

    def labels(self, z: Tensor) -> Tensor:  # (B, D) -> (B, K)
        """What the last numbers of z choose; K = 0 where they choose nothing."""
        if not self.options:
            return z[:, :0]
        return choices.one_hot(choices.chosen(z[:, -len(self.options) :], self.options), self.options)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.options:
            z, labels = z[:, : -len(self.options)], self.labels(z) if labels is None else labels
        x = normalise(z.to(self.layers[0].weight.dtype))
        if self.embed is not None:
            x = torch.cat([x, normalise(self.embed(labels))], 1)
        for layer in self.layers:
            x = GAIN * F.leaky_relu(layer(x), SLOPE)
        return x


# ---- generator


class StyledLayer(nn.Module):
    """(B, I, H, W), w (B, D) -> (B, O, S, S): modulated convolution, noise, bias, leaky ReLU.

    Eq. (stylegan.7).  The gain of the leaky ReLU is applied to what goes into it: the function is
    homogeneous, and numbers are cheaper to scale than images."""

    def __init__(self, inputs: int, outputs: int, side: int, shape: Architecture, *, up: bool = False):
        super().__init__()
        self.up, self.clamp = up, shape.clamp
        self.affine = Linear(shape.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        if shape.noise:
            self.noise_strength = nn.Parameter(torch.zeros(()))
            self.register_buffer("noise", torch.randn(side, side))
        else:
            self.noise = None

    def forward(self, x: Tensor, w: Tensor, noise_mode: NoiseMode) -> Tensor:
        style = self.affine(w)  # (B, I)
        scale = GAIN * demodulation(self.weight, style)  # (B, O)
        x = modulated_convolution(x, self.weight, style, up=self.up)
        x = x * scale[:, :, None, None].to(x.dtype)
        x = x.add_((GAIN * self.bias)[:, None, None])
        if self.noise is not None and noise_mode != "none":
            random = noise_mode == "random"
            noise = torch.randn_like(x[:, :1]) if random else self.noise  # (B, 1, S, S) or (S, S)
            x = x.add_(GAIN * self.noise_strength * noise)
        x = F.leaky_relu_(x, SLOPE)
        return x.clamp(-self.clamp, self.clamp) if self.clamp else x


class ToImage(nn.Module):
    """(B, I, S, S), w (B, D) -> (B, 3, S, S): a modulated 1x1 convolution, not demodulated."""

    def __init__(self, inputs: int, shape: Architecture):
        super().__init__()
        self.clamp = shape.clamp
        self.affine = Linear(shape.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(shape.image_channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(shape.image_channels))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w) / math.sqrt(x.shape[1])
        image = modulated_convolution(x, self.weight, style) + self.bias[:, None, None]  # float32
        return image.clamp(-self.clamp, self.clamp) if self.clamp else image


class StyledBlock(nn.Module):
    """Two styled layers at one size, the first of which doubles it, and their part of the image, eq.
    (stylegan.8)."""

    def __init__(self, inputs: int, outputs: int, side: int, shape: Architecture):
        super().__init__()
        self.first = StyledLayer(inputs, outputs, side, shape, up=True) if side > 4 else None
        self.second = StyledLayer(outputs, outputs, side, shape)
        self.to_image = ToImage(outputs, shape)

    def forward(
        self, x: Tensor, image: Tensor | None, ws: Tensor, noise_mode: NoiseMode
    ) -> tuple[Tensor, Tensor]:
        """x (B, I, S/2, S/2), image (B, 3, S/2, S/2), ws (B, 3, D) -> x (B, O, S, S), image (B, 3, S, S)."""
        if self.first is not None:
            x = self.first(x, ws[:, 0], noise_mode)
        x = self.second(x, ws[:, 1], noise_mode)
        part = self.to_image(x, ws[:, 2])
        return x, part if image is None else upsample(image) + part


class Synthesis(nn.Module):
    """ws (B, L, D) -> images (B, 3, S, S), about in [-1, 1]: nothing cuts them off."""

    def __init__(self, shape: Architecture):
        super().__init__()
        self.const = nn.Parameter(torch.randn(1, shape.channels[0], 4, 4))
        pairs = zip((shape.channels[0], *shape.channels), shape.channels)
        self.blocks = nn.ModuleList(StyledBlock(*pair, 4 << k, shape) for k, pair in enumerate(pairs))
        self.layers = 2 * len(self.blocks)
        """L: the last block's image has a style of its own; the others share it with the next block."""

    def forward(self, ws: Tensor, noise_mode: NoiseMode = "random") -> Tensor:
        x, image = self.const.expand(len(ws), -1, -1, -1), None
        ws = torch.cat([ws[:, :1], ws], 1)  # (B, L + 1, D): the first block has no first layer
        for k, block in enumerate(self.blocks):
            x, image = block(x, image, ws[:, 2 * k : 2 * k + 3], noise_mode)
        return image


class Generator(nn.Module):
    """z (B, D) -> images (B, 3, S, S): w = mapping(z), the same for all layers, then synthesis."""

    def __init__(self, shape: Architecture):
        super().__init__()
        shape.check()
        self.shape, self.z_dim, self.w_dim = shape, shape.z_dim, shape.w_dim
        self.mapping, self.synthesis = Mapping(shape), Synthesis(shape)
        self.layers = self.synthesis.layers
        self.source = ""
        """Where its weights come from, if they are those of a file."""
        self.register_buffer("w_mean", torch.zeros(shape.w_dim))

    def styles(
        self, z: Tensor, labels: Tensor | None = None, *, psi: float = 1.0, cutoff: int | None = None
    ) -> Tensor:
        """z (B, D) -> ws (B, L, D), the first `cutoff` layers (all of them, if None) truncated by psi."""
        return self.truncate(self.broadcast(self.mapping(z, labels)), psi, cutoff)

    def broadcast(self, w: Tensor) -> Tensor:  # (B, D) -> (B, L, D)
        return w[:, None].expand(-1, self.layers, -1)

    def truncate(self, ws: Tensor, psi: float, cutoff: int | None = None) -> Tensor:  # (B, L, D) -> (B, L, D)
        """Towards the mean w, eq. (stylegan.14)."""
        # task hw3.b: towards the mean w
        near = self.w_mean + psi * (ws - self.w_mean)
        return near if cutoff is None else torch.cat([near[:, :cutoff], ws[:, cutoff:]], 1)
        # end task

    @torch.no_grad()
    def estimate_w_mean(self, count: int = 10_000, seed: int = 0) -> None:
        """Set the mean w from so many latents.  # DIFFERS: the papers keep a moving average in training."""
        z = torch.randn(count, self.z_dim, generator=torch.Generator().manual_seed(seed))
        self.w_mean.copy_(self.mapping(z.to(self.w_mean.device)).mean(0))

    def forward(
        self, z: Tensor, labels: Tensor | None = None, *, psi: float = 1.0, noise_mode: NoiseMode = "random"
    ) -> Tensor:
        return self.synthesis(self.styles(z, labels, psi=psi), noise_mode)


def feature_map_numbers(shape: Architecture) -> int:
    """Numbers in the feature maps of one image, which a backward pass needs, eq. (stylegan.25)."""
    return sum((1 if k == 0 else 2) * width * (4 << k) ** 2 for k, width in enumerate(shape.channels))


@dataclass(frozen=True)
class Config(Architecture):
    """Flags of networks.py: the generator's shape."""


def main(config: Config) -> None:
    config.check()
    generator = Generator(config)
    print(
        f"{shapes.parameters(generator.mapping):>12,} parameters map z to w, {config.mapping_layers} layers"
    )
    for k, block in enumerate(generator.synthesis.blocks):
        print(f"{shapes.parameters(block):>12,} draw at {4 << k}x{4 << k}, {config.channels[k]} channels")
    print(f"{shapes.parameters(generator):>12,} in all; {generator.layers} style layers")
    numbers = feature_map_numbers(config)
    print(f"{numbers:>12,} numbers in the feature maps of one image, {4 * numbers / 1e6:.1f} MB in float32")


if __name__ == "__main__":
    command_line.run(main, Config)
