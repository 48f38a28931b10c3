"""What generator and discriminator play, as the flags of train_gan.py say: losses, labels, penalties.

Theory: theory/en/gan.md.  The losses themselves are in common/adversarial.py; here one is chosen by name."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from common import adversarial, augmentation
from hw2_gan.gan_flags import Config

DISCRIMINATOR_LOSSES = {
    "minimax": adversarial.cross_entropy_discriminator,
    "non-saturating": adversarial.cross_entropy_discriminator,
    "least-squares": adversarial.least_squares_discriminator,
    "hinge": adversarial.hinge_discriminator,
    "wasserstein": adversarial.wasserstein_discriminator,
}
GENERATOR_LOSSES = {
    "minimax": adversarial.minimax_generator,
    "non-saturating": adversarial.non_saturating_generator,
    "least-squares": adversarial.least_squares_generator,
    "hinge": adversarial.linear_generator,
    "wasserstein": adversarial.linear_generator,
}


class Judgement(nn.Module):
    """Both sides of a discriminator's update as one forward pass, as DistributedDataParallel wants it.

    Real and generated images go through separately: batch normalisation would otherwise mix them (Radford et
    al. 2016).  Spectral normalisation is computed once for both: the same weights judge them."""

    def __init__(self, discriminator: nn.Module):
        super().__init__()
        self.discriminator = discriminator

    def forward(
        self, real: Tensor, fake: Tensor, told: Tensor | None = None, chosen: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        with parametrize.cached():
            return self.discriminator(real, told), self.discriminator(fake, chosen)


def seen(config: Config, images: Tensor, share_done: float) -> Tensor:
    """What D sees of images (B, 3, S, S): with noise, eq. (gan.14), and augmented, eq. (gan.15)."""
    if config.instance_noise:
        images = images + config.instance_noise * (1 - share_done) * torch.randn_like(images)
    return augmentation.augment(images, config.augment)


def targets(like: Tensor, label: tuple[float, float]) -> Tensor:
    """Cross-entropy targets for logits (B,), uniform between the two ends of `label`, eq. (gan.13)."""
    return label[0] + (label[1] - label[0]) * torch.rand_like(like) if label[0] < label[1] else label[0]


def discriminator_loss(config: Config, real: Tensor, fake: Tensor) -> Tensor:  # (B,), (B,) -> (B,)
    """The loss of --loss on logits, with the labels of this run where it is a cross-entropy."""
    loss = DISCRIMINATOR_LOSSES[config.loss]
    if loss is adversarial.cross_entropy_discriminator:
        return loss(real, fake, targets(real, config.real_label), targets(fake, config.fake_label))
    return loss(real, fake)


def penalties(
    config: Config, discriminator: nn.Module, real: Tensor, fake: Tensor, told: Tensor | None, step: int
) -> Tensor | float:
    """The mean penalty on D's gradients as this step's loss contains it, eqs. (gan.9), (gan.10)."""
    total = 0.0
    if step % config.penalty_every:
        return total
    judge = lambda images: discriminator(images, told)
    if config.r1_gamma:
        total = config.r1_gamma / 2 * adversarial.r1_penalty(judge, real).mean()
    if config.gradient_penalty:
        total = total + config.gradient_penalty * adversarial.gradient_penalty(judge, real, fake).mean()
    return config.penalty_every * total


def opinion(config: Config, logits: Tensor) -> Tensor:  # (B,) -> (B,)
    """D(x): a probability under a cross-entropy, the output as it is under the other losses."""
    return logits.sigmoid() if config.loss in ("minimax", "non-saturating") else logits
