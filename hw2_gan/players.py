"""The two players of a run: their networks, their optimisers, and the average of the generator's weights."""

from __future__ import annotations

from typing import NamedTuple

from common import averaged_weights, devices, schedules

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import swa_utils

from hw2_gan import networks
from hw2_gan.gan_flags import Config
from hw2_gan.residual_discriminator import ResidualDiscriminator


class Players(NamedTuple):
    """Everything that the updates change; all of it is part of a checkpoint, under these names."""

    generator: nn.Module
    discriminator: nn.Module
    ema: swa_utils.AveragedModel
    """The average of the generator's weights, eq. (gan.16)."""
    for_generator: torch.optim.Optimizer
    for_discriminator: torch.optim.Optimizer


def build_players(config: Config, device: devices.Device) -> Players:
    """The untrained players of this run, on its device."""
    generator = device.prepare(build_generator(config), channels_last=True)
    discriminator = device.prepare(build_discriminator(config), channels_last=True)
    adam = lambda network, lr: device.adam(
        network.parameters(), lr, (config.beta1, config.beta2), weight_decay=config.weight_decay
    )
    return Players(
        generator,
        discriminator,
        averaged(config, generator),
        adam(generator, config.lr_generator),
        adam(discriminator, config.lr_discriminator),
    )


def build_generator(config: Config) -> nn.Module:
    """The untrained generator of this run."""
    counts = config.option_counts
    latent = networks.LATENT + sum(counts)  # a conditional one is given the options too, as one-hot vectors
    if config.generator == "dcgan":
        generator = networks.DCGANGenerator(config.size, config.width, latent, output=config.output)
    else:
        generator = networks.CSPupGenerator(
            config.size,
            config.width,
            latent,
            upsampling=config.upsampling,
            normalisation=config.normalisation,
            activation=config.activation,
            output=config.output,
            refined=config.refined,
            last_upsampling=config.last_upsampling,
            noise=config.noise,
        )
    return networks.ConditionalGenerator(generator, counts) if counts else generator


def build_discriminator(config: Config) -> nn.Module:
    """The untrained discriminator of this run."""
    width = config.width * config.discriminator_width
    options = {
        "downsampling": config.downsampling,
        "minibatch_deviation": config.minibatch_deviation,
        "option_counts": config.option_counts,
    }
    if config.discriminator == "residual":
        return ResidualDiscriminator(config.size, width, **options)
    normalisation = config.discriminator_normalisation
    return networks.DCGANDiscriminator(config.size, width, normalisation=normalisation, **options)


class RealAndFake(nn.Module):
    """A discriminator's logits of real and of generated images as one forward pass, as
    DistributedDataParallel wants it.

    Both go through separately: batch normalisation would otherwise mix them (Radford et al. 2016).  Spectral
    normalisation is computed once for both: the same weights judge them."""

    def __init__(self, discriminator: nn.Module):
        super().__init__()
        self.discriminator = discriminator

    def forward(
        self,
        real: Tensor,
        fake: Tensor,
        real_labels: Tensor | None = None,
        fake_labels: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Images (B, 3, S, S), options (B, A) -> logits (B,), (B,)."""
        with parametrize.cached():
            return self.discriminator(real, real_labels), self.discriminator(fake, fake_labels)


def averaged(config: Config, generator: nn.Module) -> swa_utils.AveragedModel:
    """The average of the generator's weights, eq. (gan.16), whose memory grows up to --ema."""
    return averaged_weights.averaged(generator, config.ema, growing=True)


def recompute_batch_statistics(generator: nn.Module) -> None:
    """Give averaged weights statistics of batch normalisation of their own, from 1,024 latents, always the
    same ones."""
    z = torch.randn(16, 64, generator.latent, generator=torch.Generator().manual_seed(0))
    averaged_weights.recompute_batch_statistics(generator, z.to(next(generator.parameters()).device))


def set_learning_rates(config: Config, players: Players, share_done: float) -> None:
    """Learning rates of the step that ends when `share_done` of the run is done."""
    factor = schedules.half_cosine(share_done) if config.lr_decay == "cosine" else 1.0
    schedules.set_learning_rate(players.for_generator, factor * config.lr_generator)
    schedules.set_learning_rate(players.for_discriminator, factor * config.lr_discriminator)
