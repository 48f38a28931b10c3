"""DCGAN and the homework's CSPup generator.

Theory: theory/en/layers.md, eqs. (gan.18)-(gan.22); theory/en/gan.md, eq. (gan.12).

python hw2_gan/networks.py                           # shapes and parameters of the homework's networks
python hw2_gan/networks.py --size 64 --width 0.25    # of those that train on two CPU cores
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from common import command_line
from common.errors import InputError

SIZES = (32, 64, 128)
"""Sides of images that the networks draw and judge."""
LATENT = 100

Upsampling = Literal["transposed", "nearest"]
Normalisation = Literal["none", "batch", "modulated"]
Activation = Literal["relu", "leaky_relu"]
Output = Literal["relu", "tanh"]


def upsample(channels: int, kind: Upsampling) -> nn.Module:
    """(B, C, H, W) -> (B, C, 2 H, 2 W).

    A 4x4 kernel with stride 2 covers every position equally often, eqs. (gan.18)-(gan.20)."""
    if kind == "transposed":
        return nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)
    return nn.Upsample(scale_factor=2, mode="nearest")


def activated(
    channels: int, normalisation: Normalisation, activation: Activation, latent: int = 0
) -> list[nn.Module]:
    """What follows a convolution: batch normalisation, if any, and the non-linearity.

    `latent`: how many numbers the generator draws an image from; `modulated` normalisation is told them.
    In place, since no layer before it needs its output for the gradient: on a CPU, writing a fresh tensor
    costs more than the arithmetic."""
    norms = {
        "none": lambda: [],
        "batch": lambda: [nn.BatchNorm2d(channels)],
        "modulated": lambda: [ModulatedBatchNorm(channels, latent)],
    }
    return [
        *norms[normalisation](),
        nn.ReLU(inplace=True) if activation == "relu" else nn.LeakyReLU(0.2, inplace=True),
    ]


class ModulatedBatchNorm(nn.Module):
    """(B, C, H, W), z (B, D) -> (B, C, H, W): scale and shift of every channel are linear functions of z.

    So an image can be decided on in every layer, not in the first alone (Chen et al. 2019, self-modulation;
    theory/en/layers.md#telling-both-networks-the-attributes).  Begins as plain batch normalisation."""

    def __init__(self, channels: int, latent: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.modulation = nn.Linear(latent, 2 * channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        scale, shift = self.modulation(z)[:, :, None, None].chunk(2, 1)
        return torch.addcmul(shift.to(x.dtype), self.norm(x), (1 + scale).to(x.dtype))


class Layers(nn.Sequential):
    """Layers one after another, with z for those that want it."""

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        for layer in self:
            x = layer(x, z) if isinstance(layer, (ModulatedBatchNorm, CSPupBlock)) else layer(x)
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
    ):
        super().__init__()
        if in_channels % 2:
            raise ValueError(f"in_channels {in_channels}: the block halves them; use an even number")
        half = in_channels // 2
        self.left = upsample(half, upsampling)
        self.right = Layers(
            nn.Conv2d(half, half, 1),
            *activated(half, normalisation, activation, latent),
            upsample(half, upsampling),
            nn.Conv2d(half, half, 3, padding=1),
            *activated(half, normalisation, activation, latent),
            nn.Conv2d(half, half, 3, padding=1),
        )

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """`z`: for modulated normalisation."""
        left, right = x.chunk(2, dim=1)
        return self.left(left) + self.right(right, z)


class CSPupGenerator(nn.Module):
    """z (B, D) -> images (B, 3, S, S), in [-1, 1] with tanh.  The defaults are the homework's.

    z -> 4x4x1024 -> CSPup -> 8x8x512 -> 16x16x256 -> 32x32x128 -> 64x64x64 -> transposed convolution, ReLU ->
    128x128x3.  Smaller images take fewer blocks.  `width` multiplies all channels but the last.

    `refined`: the last transposed convolution keeps its channels, and a 3x3 convolution makes the colours of
    them, so that neighbouring pixels are drawn in view of one another and not each by one of four
    kernels, theory/en/layers.md#checkerboards.
    """

    def __init__(
        self,
        size: int = 128,
        width: float = 1.0,
        latent: int = LATENT,
        *,
        upsampling: Upsampling = "transposed",
        normalisation: Normalisation = "none",
        activation: Activation = "relu",
        output: Output = "relu",
        refined: bool = False,
    ):
        super().__init__()
        check_size(size)
        blocks = size.bit_length() - 4  # 128 -> 4, 64 -> 3, 32 -> 2
        channels = check_width(1024, width, halvings=blocks + 1)
        self.latent, self.output = latent, output
        self.start = Layers(
            nn.ConvTranspose2d(latent, channels, 4), *activated(channels, normalisation, activation, latent)
        )
        options = {"normalisation": normalisation, "activation": activation, "latent": latent}
        self.blocks = Layers(
            *(CSPupBlock(channels >> level, upsampling=upsampling, **options) for level in range(blocks))
        )
        last = channels >> blocks
        if refined:
            self.end = Layers(
                nn.ConvTranspose2d(last, last, 4, stride=2, padding=1),
                *activated(last, normalisation, activation, latent),
                nn.Conv2d(last, 3, 3, padding=1),
            )
        else:
            self.end = Layers(nn.ConvTranspose2d(last, 3, 4, stride=2, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        x = z[:, :, None, None]
        for stage in (self.start, self.blocks, self.end):
            x = stage(x, z)
        return to_images(x, self.output)


class DCGANGenerator(nn.Module):
    """z (B, D) -> images (B, 3, S, S) in [-1, 1]: the reference (Radford et al. 2016).

    Transposed convolutions with 4x4 kernels, batch normalisation and ReLU; 1024 `width` channels at 4x4.
    """

    def __init__(self, size: int = 64, width: float = 1.0, latent: int = LATENT, *, output: Output = "tanh"):
        super().__init__()
        check_size(size)
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
        return to_images(self.layers(z[:, :, None, None]), self.output)


def one_hot(choices: Tensor, options: tuple[int, ...]) -> Tensor:
    """int64 (B, A), a choice for each of A attributes with so many options -> float32 (B, sum of options)."""
    columns = zip(choices.unbind(1), options, strict=True)
    return torch.cat([F.one_hot(choice, count) for choice, count in columns], 1).float()


class ConditionalGenerator(nn.Module):
    """z (B, D + A) -> images (B, 3, S, S): the last A numbers of z choose an option of each attribute.

    Phi(z_a) is uniform on (0, 1) and is cut into equal parts, eq. (gan.22).  So latents are normal numbers
    as without attributes, and all that draws from the generator can stay as it is.  `generator` maps D
    numbers and the choices as one-hot vectors to images.
    """

    def __init__(self, generator: nn.Module, options: tuple[int, ...]):
        super().__init__()
        self.generator, self.options = generator, options
        self.latent, self.output = generator.latent - sum(options) + len(options), generator.output

    def choices(self, z: Tensor) -> Tensor:  # (B, D + A) -> int64 (B, A)
        counts = torch.tensor(self.options, device=z.device)
        shares = torch.special.ndtr(z[:, -len(self.options) :].float())
        return (shares * counts).long().minimum(counts - 1)  # in float32 a large z has a share of 1

    def forward(self, z: Tensor) -> Tensor:
        told = one_hot(self.choices(z), self.options)
        return self.generator(torch.cat([z[:, : -len(self.options)], told.to(z.dtype)], 1))


class MinibatchDeviation(nn.Module):
    """(B, C, H, W) -> (B, C + 1, H, W): the new channel holds, for a group of images, how much they differ.

    The standard deviation over four images (over all, where four do not divide B), averaged over channels
    and places (Karras et al. 2018; theory/en/gan.md#mode-collapse)."""

    def forward(self, x: Tensor) -> Tensor:
        count, _, height, width = x.shape
        group = 4 if count % 4 == 0 else count
        apart = x.float().unflatten(0, (group, count // group))  # (4, B / 4, C, H, W)
        deviation = (apart.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))  # (B / 4,)
        channel = deviation.repeat(group)[:, None, None, None].expand(-1, 1, height, width)
        return torch.cat([x, channel.to(x.dtype)], 1)


class DCGANDiscriminator(nn.Module):
    """Images (B, 3, S, S) -> logits (B,): convolutions with 4x4 kernels and stride 2 down to 4x4, LeakyReLU.

    `normalisation`: batch (as in DCGAN, not after the first layer), spectral (every weight divided by its
    largest singular value, eq. (gan.12), Miyato et al. 2018) or none.  `minibatch_deviation`: before the last
    layer it is told how much images differ.  `options`: of attributes it is told, as many as each has; their
    part of the logit, eq. (gan.22), is left out where no choices are given.
    """

    def __init__(
        self,
        size: int = 64,
        width: float = 1.0,
        *,
        normalisation: Literal["batch", "spectral", "none"] = "batch",
        minibatch_deviation: bool = False,
        options: tuple[int, ...] = (),
    ):
        super().__init__()
        check_size(size)
        self.options = options
        halvings = size.bit_length() - 3  # down to 4x4
        channels = check_width(64, width, halvings=0)
        constrained = spectral_norm if normalisation == "spectral" else (lambda layer: layer)
        layers, before = [], 3
        for level in range(halvings):
            own = "batch" if normalisation == "batch" and level else "none"
            layers += [
                nn.Conv2d(before, channels << level, 4, stride=2, padding=1, bias=own == "none"),
                *activated(channels << level, own, "leaky_relu"),
            ]
            before = channels << level
        if minibatch_deviation:
            layers.append(MinibatchDeviation())
        layers.append(nn.Conv2d(before + minibatch_deviation, 1 + sum(options), 4))
        self.layers = nn.Sequential(*layers)
        if normalisation == "batch":  # without it weights this small leave no signal after a few layers
            self.apply(initialise_as_dcgan)
        for layer in self.layers:  # after the initial values: the parametrisation starts from them
            if isinstance(layer, nn.Conv2d):
                constrained(layer)

    def forward(self, images: Tensor, choices: Tensor | None = None) -> Tensor:  # (B, A) -> (B,)
        logits = self.layers(images).flatten(1).float()
        if choices is None:
            return logits[:, 0]
        fitting = (logits[:, 1:] * one_hot(choices.to(logits.device), self.options)).sum(1)
        return logits[:, 0] + fitting / len(self.options) ** 0.5


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


def check_size(size: int) -> None:
    if size not in SIZES:
        raise InputError(f"--size {size}: the networks are made for {', '.join(map(str, SIZES))} pixels")


def check_width(channels: int, width: float, halvings: int) -> int:
    """`width` times as many channels, which must stay whole when halved so often."""
    scaled = round(channels * width)
    if scaled < 2**halvings or scaled % 2**halvings or abs(scaled - channels * width) > 1e-9:
        raise InputError(
            f"--width {width}: {channels * width:g} channels cannot be halved {halvings} times; use 1, 1/2, "
            "1/4, 1/8 (0.125) ..."
        )
    return scaled


def shape_table(network: nn.Module, example: Tensor) -> str:
    """Layer, output shape without the batch, parameters: a line for each stage with any, and the total."""
    lines, hooks = [], []

    def note(name: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            lines.append(f"{name:10} {'x'.join(map(str, output.shape[1:])):12} {parameters(module):>12,}")

        return hook

    for name, child in network.named_children():
        open_up = isinstance(child, nn.Sequential) and name != "start"
        for inner, stage in child.named_children() if open_up else [("", child)]:
            if parameters(stage):
                hooks.append(stage.register_forward_hook(note(f"{name}.{inner}".rstrip("."))))
    with torch.inference_mode():
        network(example)
    for hook in hooks:
        hook.remove()
    return "\n".join([*lines, f"{'all':10} {'':12} {parameters(network):>12,}"])


def parameters(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in module.parameters())


@dataclass(frozen=True)
class Config:
    """Flags of networks.py."""

    size: int = 128
    """Side of the images: 32, 64 or 128 pixels."""
    width: float = 1.0
    """Multiplies the channels."""


def main(config: Config) -> None:
    images, z = torch.zeros(2, 3, config.size, config.size), torch.zeros(2, LATENT)
    for kind, example in ((CSPupGenerator, z), (DCGANGenerator, z), (DCGANDiscriminator, images)):
        print(f"{kind.__name__}, {config.size} pixels, width {config.width:g}")
        print(shape_table(kind(config.size, config.width), example), end="\n\n")


if __name__ == "__main__":
    command_line.run(main, Config)
