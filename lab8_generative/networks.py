"""The networks of the lab: one goes down from images to numbers, one goes up from numbers to images.

An autoencoder is one of each; in a GAN the way up is the generator, the way down the discriminator.
Theory: theory/en/autoencoders.md eq. (ae.1), theory/en/vae.md eqs. (vae.4), (vae.6), theory/en/gan.md
eqs. (gan.18)-(gan.20).

python lab8_generative/networks.py                 # shapes and parameters
python lab8_generative/networks.py --size 48
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from common import command_line, flags, latent_space, shapes

import torch
from annotated_types import Interval
from pydantic import AfterValidator
from torch import Tensor, nn

SIZES = (48, 64)
"""Sides of images in pixels: 16 times the 3 or 4 of the smallest feature map."""


def _drawable(side: int) -> int:
    if side not in SIZES:
        raise ValueError(f"the networks draw {' or '.join(map(str, SIZES))} pixels; use one of these")
    return side


Side = Annotated[int, AfterValidator(_drawable)]
BatchSize = Annotated[int, Interval(ge=2, le=10**6)]
"""Images a step: batch normalisation needs two."""
Width = Annotated[int, Interval(ge=1, le=256)]
"""Channels of the largest feature map: the smallest has eight times as many."""
Upsampling = Literal["transposed", "nearest"]


def way_down(size: int, width: int, outputs: int, *, normalised: bool) -> nn.Sequential:
    """Images (B, 3, S, S) -> (B, outputs): four convolutions that halve the side, and a dense layer."""
    # task lab8.a: convolutions that halve the side
    norm = nn.BatchNorm2d if normalised else (lambda channels: nn.Identity())
    side = size // 16
    return nn.Sequential(
        nn.Conv2d(3, width, 4, stride=2, padding=1),  # (B, width, S/2, S/2)
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),  # (B, 2 width, S/4, S/4)
        norm(2 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),  # (B, 4 width, S/8, S/8)
        norm(4 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(4 * width, 8 * width, 4, stride=2, padding=1),  # (B, 8 width, S/16, S/16)
        norm(8 * width),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(8 * width * side * side, outputs),
    )
    # end task


def doubling(inputs: int, outputs: int, upsampling: Upsampling) -> nn.Module:
    """(B, I, H, W) -> (B, O, 2 H, 2 W), eqs. (gan.18), (gan.19).

    4 is a multiple of the stride 2, so that no checkerboard is built in, eq. (gan.20), though one can be
    learnt.  `nearest` has one kernel for all pixels, theory/en/layers.md#checkerboards."""
    # task lab8.b: twice the side
    if upsampling == "nearest":
        return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1))
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
    # end task


def way_up(size: int, width: int, latent: int, *, upsampling: Upsampling = "transposed") -> nn.Sequential:
    """Latent vectors (B, D) -> images (B, 3, S, S) in [-1, 1]: a dense layer, four that double the side."""
    # task lab8.b: layers that double the side
    side = size // 16
    return nn.Sequential(
        nn.Linear(latent, 8 * width * side * side),
        nn.Unflatten(1, (8 * width, side, side)),  # (B, 8 width, S/16, S/16)
        nn.BatchNorm2d(8 * width),
        nn.ReLU(),
        doubling(8 * width, 4 * width, upsampling),  # (B, 4 width, S/8, S/8)
        nn.BatchNorm2d(4 * width),
        nn.ReLU(),
        doubling(4 * width, 2 * width, upsampling),  # (B, 2 width, S/4, S/4)
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        doubling(2 * width, width, upsampling),  # (B, width, S/2, S/2)
        nn.BatchNorm2d(width),
        nn.ReLU(),
        doubling(width, 3, upsampling),  # (B, 3, S, S)
        nn.Tanh(),
    )
    # end task


class Autoencoder(nn.Module):
    """Image -> D numbers -> image, eq. (ae.1)."""

    def __init__(self, size: int, width: int, latent: int):
        super().__init__()
        self.encoder = way_down(size, width, latent, normalised=True)
        self.decoder = way_up(size, width, latent)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstructions (B, 3, S, S), and a KL (B,) of 0: nothing holds the latents near a prior."""
        # task lab8.a: through the bottleneck and back
        return self.decoder(self.encoder(images)).float(), images.new_zeros(len(images))
        # end task

    def encode(self, images: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, D)
        """The latent vector of each image."""
        return self.encoder(images).float()

    def draw_latents(self, images: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, D)
        """What a density of the latents is fitted to: the same, since the encoder draws nothing."""
        return self.encode(images)


class VAE(nn.Module):
    """An autoencoder whose encoder names a Gaussian for each image and whose decoder sees a draw from it."""

    def __init__(self, size: int, width: int, latent: int):
        super().__init__()
        self.encoder = way_down(size, width, 2 * latent, normalised=True)
        self.decoder = way_up(size, width, latent)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x), each (B, D)."""
        mu, log_variance = self.encoder(images).float().chunk(2, dim=1)
        return mu, log_variance.clamp(-10, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstructions from drawn latents, eq. (vae.4), and KL(q(z | x) || N(0, I)) (B,), eq. (vae.6)."""
        mu, log_variance = self.posterior(images)
        z = latent_space.reparameterise(mu, log_variance)
        return self.decoder(z).float(), latent_space.kl_to_standard_normal(mu, log_variance).sum(1)

    def encode(self, images: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, D)
        """The mean of q(z | x)."""
        return self.posterior(images)[0]

    def draw_latents(self, images: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, D)
        """z ~ q(z | x): over all images the aggregate posterior."""
        return latent_space.reparameterise(*self.posterior(images))


class Discriminator(nn.Module):
    """Images (B, 3, S, S) -> logits (B,), without batch normalisation: R1 is then of each image alone.

    Weights begin as He et al. (2015) say, so that every layer passes on as much as it gets.  torch's own are
    made for other layers: five of them leave a sixtieth of the signal, and a discriminator that flat lets the
    generator draw one picture for every z.
    """

    def __init__(self, size: int, width: int):
        super().__init__()
        self.layers = way_down(size, width, 1, normalised=False)
        for layer in self.layers:
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, a=0.2)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).flatten().float()


@dataclass(frozen=True)
class Config(flags.Flags):
    """Flags of networks.py."""

    size: Side = 64
    """Side of the images: 48 or 64 pixels."""
    width: Width = 32
    """Channels of the largest feature map; the smallest has eight times as many."""
    latent: flags.Dimensions = 64
    """Dimensions of z."""


def main(config: Config) -> None:
    down = way_down(config.size, config.width, config.latent, normalised=True)
    up = way_up(config.size, config.width, config.latent)
    x = torch.zeros(2, 3, config.size, config.size)
    for name, network in (("way down", down), ("way up", up)):
        print(f"{name}: {shapes.parameters(network):,} parameters")
        for layer in network:
            x = layer(x)
            if count := shapes.parameters(layer):
                print(f"  {type(layer).__name__:16} {'x'.join(map(str, x.shape[1:])):>12} {count:>10,}")


if __name__ == "__main__":
    command_line.run(main, Config)
