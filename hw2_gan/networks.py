"""DCGAN and the homework's CSPup generator.

Theory: theory/en/layers.md, eqs. (gan.18)-(gan.22); theory/en/gan.md, eq. (gan.12).

python hw2_gan/networks.py                           # shapes and parameters of the homework's networks
python hw2_gan/networks.py --size 64 --width 0.25    # of those that train on two CPU cores
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common import choices, command_line, flags
from common.errors import InputError
from common.layers import MinibatchDeviation
from common.shapes import shape_table

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from hw2_gan.stylegan_parts import (
    Downsampling,
    FilteredUpsampling,
    Halving,
    ModulatedBatchNorm,
    ModulatedConvolution,
    Noise,
)

Size = Literal[32, 64, 128]
"""Sides of images that the networks draw and judge."""
LATENT = 100

Upsampling = Literal["transposed", "nearest", "bilinear", "filtered"]
Normalisation = Literal["none", "batch", "modulated", "demodulated"]
Activation = Literal["relu", "leaky_relu"]
Output = Literal["relu", "tanh"]


def upsample(channels: int, kind: Upsampling) -> nn.Module:
    """(B, C, H, W) -> (B, C, 2 H, 2 W).

    A 4x4 kernel with stride 2 covers every position equally often, eqs. (gan.18)-(gan.20)."""
    if kind == "filtered":
        return FilteredUpsampling(channels)
    if kind == "bilinear":
        return nn.Upsample(scale_factor=2, mode="bilinear")
    # task hw2.b: twice the sides
    if kind == "transposed":
        return nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)
    return nn.Upsample(scale_factor=2, mode="nearest")
    # end task


def convolution(
    inputs: int, outputs: int, side: int, normalisation: Normalisation, latent: int = 0
) -> nn.Module:
    """(B, I, H, W) -> (B, O, H, W); `demodulated`: its weights depend on `latent` numbers."""
    if normalisation == "demodulated":
        return ModulatedConvolution(inputs, outputs, side, latent)
    return nn.Conv2d(inputs, outputs, side, padding=side // 2)


def activated(
    channels: int,
    normalisation: Normalisation,
    activation: Activation,
    latent: int = 0,
    *,
    noise: bool = False,
) -> list[nn.Module]:
    """What follows a convolution: batch normalisation, if any (`modulated`: by `latent` numbers), noise, if
    any, and the non-linearity.

    In place, since no layer before it needs its output for the gradient: on a CPU, writing a fresh tensor
    costs more than the arithmetic."""
    layers = [nn.ReLU(inplace=True) if activation == "relu" else nn.LeakyReLU(0.2, inplace=True)]
    layers = [Noise(), *layers] if noise else layers
    if normalisation == "batch":
        return [nn.BatchNorm2d(channels), *layers]
    return [ModulatedBatchNorm(channels, latent), *layers] if normalisation == "modulated" else layers


class Layers(nn.Sequential):
    """Layers one after another, with z for those that want it."""

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        for layer in self:
            told = isinstance(layer, (ModulatedBatchNorm, ModulatedConvolution, CSPupBlock))
            x = layer(x, z) if told else layer(x)
        return x


class CSPupBlock(nn.Module):
    """(B, C, H, W) -> (B, C / 2, 2 H, 2 W): one half goes straight up, the other is worked on.

    Left: upsampling.  Right: 1x1 convolution, activation, upsampling, 3x3 convolution, activation, 3x3
    convolution.  The sum of both is the output, eq. (gan.21): gradients reach the input on the left through a
    single linear layer, and no convolution is wider than C / 2.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        upsampling: Upsampling = "transposed",
        normalisation: Normalisation = "none",
        activation: Activation = "relu",
        latent: int = 0,
        noise: bool = False,
    ):
        super().__init__()
        half, odd = divmod(in_channels, 2)
        if odd:
            raise ValueError(f"in_channels {in_channels}: the block halves them; use an even number")
        # task hw2.a: the two halves
        self.left = upsample(half, upsampling)
        self.right = Layers(
            convolution(half, half, 1, normalisation, latent),
            *activated(half, normalisation, activation, latent, noise=noise),
            upsample(half, upsampling),
            convolution(half, half, 3, normalisation, latent),
            *activated(half, normalisation, activation, latent, noise=noise),
            nn.Conv2d(half, half, 3, padding=1),
        )
        # end task

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """`z`: for modulated normalisation."""
        # task hw2.a: split, work on each half, add
        left, right = x.chunk(2, dim=1)  # (B, C / 2, H, W) each
        return self.left(left) + self.right(right, z)  # (B, C / 2, 2 H, 2 W)
        # end task


class CSPupGenerator(nn.Module):
    """z (B, D) -> images (B, 3, S, S), in [-1, 1] with tanh.  The defaults are the homework's.

    z -> 4x4x1024 -> CSPup -> 8x8x512 -> 16x16x256 -> 32x32x128 -> 64x64x64 -> transposed convolution, ReLU ->
    128x128x3.  Smaller images take fewer blocks.  `width` multiplies all channels but the last.

    `refined`: the last enlargement, `last_upsampling`, keeps its channels, and a 3x3 convolution makes the
    colours of them, so that neighbouring pixels are drawn in view of one another and not each by one of four
    kernels, theory/en/layers.md#checkerboards.
    """

    def __init__(
        self,
        size: Size = 128,
        width: float = 1.0,
        latent: int = LATENT,
        *,
        upsampling: Upsampling = "transposed",
        normalisation: Normalisation = "none",
        activation: Activation = "relu",
        output: Output = "relu",
        refined: bool = False,
        last_upsampling: Upsampling = "transposed",
        noise: bool = False,
    ):
        super().__init__()
        blocks = size.bit_length() - 4  # 128 -> 4, 64 -> 3, 32 -> 2
        channels = check_width(1024, width, halvings=blocks + 1)
        self.latent, self.output = latent, output
        # task hw2.b: from z to 4x4, the blocks, the last layer
        self.start = Layers(
            nn.ConvTranspose2d(latent, channels, 4), *activated(channels, normalisation, activation, latent)
        )
        options = {"normalisation": normalisation, "activation": activation, "latent": latent, "noise": noise}
        self.blocks = Layers(
            *(CSPupBlock(channels >> level, upsampling=upsampling, **options) for level in range(blocks))
        )
        last = channels >> blocks
        if refined:
            self.end = Layers(
                upsample(last, last_upsampling),
                *activated(last, normalisation, activation, latent, noise=noise),
                nn.Conv2d(last, 3, 3, padding=1),
            )
        else:
            self.end = Layers(nn.ConvTranspose2d(last, 3, 4, stride=2, padding=1))
        # end task

    def forward(self, z: Tensor) -> Tensor:
        # task hw2.b: z through all of it
        x = z[:, :, None, None]  # (B, D, 1, 1)
        x = self.start(x, z)  # (B, 1024 width, 4, 4)
        x = self.blocks(x, z)  # half the channels and twice the sides by each block, up to S / 2
        x = self.end(x, z)  # (B, 3, S, S)
        return to_images(x, self.output)
        # end task


class DCGANGenerator(nn.Module):
    """z (B, D) -> images (B, 3, S, S) in [-1, 1]: the reference (Radford et al. 2016).

    Transposed convolutions with 4x4 kernels, batch normalisation and ReLU; 1024 `width` channels at 4x4.
    """

    def __init__(self, size: Size = 64, width: float = 1.0, latent: int = LATENT, *, output: Output = "tanh"):
        super().__init__()
        doublings = size.bit_length() - 4
        channels = check_width(1024, width, halvings=doublings)
        self.latent, self.output = latent, output
        layers = [nn.ConvTranspose2d(latent, channels, 4, bias=False), *activated(channels, "batch", "relu")]
        for _ in range(doublings):
            layers += [
                nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1, bias=False),
                *activated(channels // 2, "batch", "relu"),
            ]
            channels //= 2
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(channels, 3, 4, stride=2, padding=1))
        self.apply(initialise_as_dcgan)

    def forward(self, z: Tensor) -> Tensor:
        x = self.layers(z[:, :, None, None])  # (B, D, 1, 1) -> (B, 3, S, S)
        return to_images(x, self.output)


class ConditionalGenerator(nn.Module):
    """z (B, D + A) -> images (B, 3, S, S): the last A numbers of z choose an option of each attribute.

    Phi(z_a) is uniform on (0, 1) and is cut into equal parts, eq. (gan.22).  So latents are normal numbers
    as without attributes, and all that draws from the generator can stay as it is.  `generator` maps D
    numbers and the options as one-hot vectors to images.
    """

    def __init__(self, generator: nn.Module, option_counts: tuple[int, ...]):
        super().__init__()
        self.generator, self.option_counts = generator, option_counts
        self.latent = generator.latent - sum(option_counts) + len(option_counts)

    def labels(self, z: Tensor) -> Tensor:  # (B, D + A) -> int64 (B, A)
        """The options that latents choose."""
        return choices.chosen(z[:, -len(self.option_counts) :], self.option_counts)

    def forward(self, z: Tensor) -> Tensor:
        ordered = choices.one_hot(self.labels(z), self.option_counts).to(z.dtype)  # (B, sum of option_counts)
        return self.generator(torch.cat([z[:, : -len(self.option_counts)], ordered], 1))


class DCGANDiscriminator(nn.Module):
    """Images (B, 3, S, S) -> logits (B,): convolutions with 4x4 kernels and stride 2 down to 4x4, LeakyReLU.

    `downsampling`: with filtered the filter comes before each, and the kernels are 3x3.  `normalisation`:
    batch (as in DCGAN, not after the first layer), spectral (every weight divided by its largest singular
    value, eq. (gan.12), Miyato et al. 2018) or none.  `minibatch_deviation`: tell the last layer how much
    images differ.  `option_counts`: of each attribute it is told; their part of the logit, eq. (gan.22), is
    left out where no labels are given.
    """

    def __init__(
        self,
        size: Size = 64,
        width: float = 1.0,
        *,
        normalisation: Literal["batch", "spectral", "none"] = "batch",
        downsampling: Downsampling = "strided",
        minibatch_deviation: bool = False,
        option_counts: tuple[int, ...] = (),
    ):
        super().__init__()
        self.option_counts = option_counts
        halvings = size.bit_length() - 3  # down to 4x4
        channels = check_width(64, width, halvings=0)
        constrained = spectral_norm if normalisation == "spectral" else (lambda layer: layer)
        layers, before = [], 3
        for level in range(halvings):  # (B, 3, S, S) -> (B, 64 width, S / 2, S / 2) -> ... -> (B, C, 4, 4)
            own = "batch" if normalisation == "batch" and level else "none"
            layers += [
                Halving(before, channels << level, downsampling, bias=own == "none"),
                *activated(channels << level, own, "leaky_relu"),
            ]
            before = channels << level
        if minibatch_deviation:
            layers.append(MinibatchDeviation())
        layers.append(nn.Conv2d(before + minibatch_deviation, 1 + sum(option_counts), 4))
        self.layers = nn.Sequential(*layers)
        if normalisation == "batch":  # without it weights this small leave no signal after a few layers
            self.apply(initialise_as_dcgan)
        for layer in self.layers:  # after the initial values: the parametrisation starts from them
            if isinstance(layer, nn.Conv2d):
                constrained(layer)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (B, 3, S, S), their options (B, A) -> logits (B,)."""
        logits = self.layers(images).flatten(1).float()  # (B, 1 + sum of option_counts)
        return logit_of_labels(logits, labels, self.option_counts)


def logit_of_labels(logits: Tensor, labels: Tensor | None, option_counts: tuple[int, ...]) -> Tensor:
    """(B, 1 + sum of option_counts), options (B, A) -> (B,): real, and fitting the options, eq. (gan.22)."""
    if labels is None:
        return logits[:, 0]
    fitting = (logits[:, 1:] * choices.one_hot(labels.to(logits.device), option_counts)).sum(1)  # (B,)
    return logits[:, 0] + fitting / len(option_counts) ** 0.5


def to_images(x: Tensor, output: Output) -> Tensor:
    """The last activation: tanh, or ReLU, whose grey levels from black at 0 on become -1 and more; what is
    brighter than white is cut off only when an image is saved."""
    return x.float().tanh() if output == "tanh" else 2 * x.float().relu() - 1


def initialise_as_dcgan(module: nn.Module) -> None:
    """Weights from N(0, 0.02^2); scales of batch normalisation from N(1, 0.02^2) (Radford et al. 2016)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)


def check_width(channels: int, width: float, halvings: int) -> int:
    """`width` times as many channels, which must stay whole when halved so often."""
    scaled = round(channels * width)
    if scaled < 2**halvings or scaled % 2**halvings or abs(scaled - channels * width) > 1e-9:
        cannot = f"{channels * width:g} channels cannot be halved {halvings} times"
        raise InputError(f"--width {width}: {cannot}; use 1, 1/2, 1/4, 1/8 (0.125) ...")
    return scaled


@dataclass(frozen=True)
class Config(flags.Flags):
    """Flags of networks.py."""

    size: Size = 128
    """Side of the images in pixels."""
    width: flags.WidthFactor = 1.0
    """Factor of all channels; 1 is the homework's."""


def main(config: Config) -> None:
    images, z = torch.zeros(2, 3, config.size, config.size), torch.zeros(2, LATENT)
    for kind, example in ((CSPupGenerator, z), (DCGANGenerator, z), (DCGANDiscriminator, images)):
        print(f"{kind.__name__}, {config.size} pixels, width {config.width:g}")
        print(shape_table(kind(config.size, config.width), example), end="\n\n")


if __name__ == "__main__":
    command_line.run(main, Config)
