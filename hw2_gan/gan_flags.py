"""The flags of a GAN's training, and which of them cannot go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common import flags
from common.data import avatars, creatures
from common.errors import InputError
from hw2_gan import hypotheses, networks

TOLD = {"avatars": avatars.CHOICES, "creatures": creatures.OPTIONS}
"""Sets whose attributes are independent with equally likely options, as eq. (gan.22) has it."""


@dataclass(frozen=True)
class Config(flags.TrainingFlags):
    """Flags of train_gan.py.  Their defaults are the base run's; --hypothesis changes them."""

    hypothesis: str = "base"
    """base, 0 to 3 (the course's) or a higher number (ours): sets the defaults of the flags below."""
    data: str = "avatars"
    """avatars, celeba, creatures, or a folder of images."""
    size: int = 64
    """Side of the images: 32, 64 or 128 pixels."""
    generator: Literal["cspup", "dcgan"] = "cspup"
    """The homework's generator, or DCGAN's."""
    width: float = 0.25
    """Multiplies the channels of both networks; 1 is the homework's."""
    upsampling: networks.Upsampling = "transposed"
    """Of the CSPup blocks: transposed convolution, or nearest neighbours."""
    normalisation: networks.Normalisation = "none"
    """In the CSPup generator; modulated: batch normalisation with scales and shifts that depend on z."""
    activation: networks.Activation = "relu"
    """In the CSPup generator."""
    output: networks.Output = "relu"
    """The generator's last activation."""
    refined: bool = False
    """In the CSPup generator: a 3x3 convolution at full size after the last transposed convolution."""
    discriminator_width: float = 1.0
    """The discriminator's channels, as a multiple of --width."""
    minibatch_deviation: bool = False
    """The discriminator is told how much the images of a batch differ."""
    discriminator_normalisation: Literal["batch", "spectral", "none"] = "batch"
    """Batch as in DCGAN; spectral: every weight divided by its largest singular value."""
    conditional: bool = False
    """Both networks are told the attributes: for avatars and creatures."""
    loss: Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein"] = "non-saturating"
    """Of both networks."""
    real_label: tuple[float, float] = (1.0, 1.0)
    """Cross-entropy targets of real images, drawn between the two: 0.9 0.9 smooths, 0.8 1 at random."""
    fake_label: tuple[float, float] = (0.0, 0.0)
    """The same of generated images."""
    r1_gamma: float = 0.0
    """Weight gamma / 2 of the R1 penalty."""
    gradient_penalty: float = 0.0
    """Weight of the gradient penalty that --loss wasserstein needs; 10 in its paper."""
    penalty_every: int = 4
    """Steps between penalties, each weighed as many times (Karras et al. 2020, lazy regularisation)."""
    instance_noise: float = 0.0
    """Standard deviation of noise on all images D sees, falling linearly to 0 over the run."""
    augment: tuple[Literal["color", "translation", "cutout"], ...] = ()
    """Differentiable augmentation of all images D sees."""
    optimizer_discriminator: Literal["adam", "sgd"] = "adam"
    """Of the discriminator; the generator has Adam."""
    lr_generator: float = 2e-4
    """Learning rate of the generator."""
    lr_discriminator: float = 2e-4
    """Learning rate of the discriminator."""
    lr_decay: Literal["none", "cosine"] = "none"
    """Both learning rates over the run: constant, or half a cosine down to 0."""
    beta1: float = 0.5
    """Adam's average of gradients."""
    beta2: float = 0.999
    """Adam's average of squared gradients."""
    weight_decay: float = 0.0
    """L2 penalty of both networks' weights."""
    discriminator_steps: int = 1
    """Updates of D in a step."""
    generator_steps: int = 1
    """Updates of G in a step."""
    ema: float = 0.995
    """Decay per step of the average of the generator's weights, at most: it grows with the run."""
    epochs: int = 5
    """Passes over the training images."""
    batch_size: int = 64
    """Images per update, over all processes."""
    measure_images: int = 2000
    """Generated and validation images compared after every epoch."""

    def preset(self) -> Config:
        """The defaults that --hypothesis implies."""
        return Config(hypothesis=self.hypothesis, **hypotheses.hypothesis(self.hypothesis).flags())


def options(config: Config) -> tuple[int, ...]:
    """How many options each attribute has that the networks are told; empty without --conditional."""
    return tuple(map(len, TOLD[config.data].values())) if config.conditional else ()


def check(config: Config) -> None:
    """InputError for numbers no run can have."""
    networks.check_size(config.size)
    if config.data in ("digits", "mnist", "fashion-mnist"):
        raise InputError(f"--data {config.data}: grey images; use avatars, celeba, creatures or a folder")
    if config.conditional and config.data not in TOLD:
        raise InputError(
            f"--conditional --data {config.data}: the networks can be told the attributes of "
            f"{' and '.join(TOLD)}; take one of these or leave --conditional out"
        )
    for name in ("epochs", "batch_size", "lr_generator", "lr_discriminator", "penalty_every",
                 "discriminator_width", "discriminator_steps", "generator_steps"):  # fmt: skip
        if getattr(config, name) <= 0:
            raise InputError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be above 0")
    channels = 64 * config.width * config.discriminator_width
    if channels < 1 or channels % 1:
        raise InputError(
            f"--discriminator-width {config.discriminator_width:g}: with --width {config.width:g} the "
            f"discriminator would begin with {channels:g} channels; choose the two for a whole number"
        )
    for name in ("r1_gamma", "gradient_penalty", "instance_noise", "weight_decay"):
        if getattr(config, name) < 0:
            raise InputError(f"--{name.replace('_', '-')} {getattr(config, name)}: must not be negative")
    for name in ("real_label", "fake_label"):
        low, high = getattr(config, name)
        if not 0 <= low <= high <= 1:
            raise InputError(f"--{name.replace('_', '-')} {low} {high}: two numbers, 0 <= low <= high <= 1")
    for name in ("ema", "beta1", "beta2"):
        if not 0 <= getattr(config, name) < 1:
            raise InputError(f"--{name} {getattr(config, name)}: an average's decay per step, 0 <= decay < 1")
    if config.measure_images < 2:
        raise InputError(f"--measure-images {config.measure_images}: must be at least 2")
