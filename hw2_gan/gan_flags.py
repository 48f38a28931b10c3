"""The flags of a GAN's training, and which of them cannot go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from common import command_line, flags
from common.data import avatars, creatures
from common.errors import InputError

from annotated_types import Interval

from hw2_gan import hypotheses, networks
from hw2_gan.stylegan_parts import Downsampling

CONDITIONS = {"avatars": avatars.CHOICES, "creatures": creatures.OPTIONS}
"""Sets whose attributes both networks can be told: they are independent with equally likely options, as eq.
(gan.22) has it."""

CROSS_ENTROPIES = ("minimax", "non-saturating")
"""Losses whose targets are labels, and under which D(x) is a probability."""


@dataclass(frozen=True)
class Config(flags.TrainingFlags):
    """Flags of train_gan.py.  Their defaults are the base run's; --hypothesis changes them."""

    hypothesis: str = "base"
    """An entry of hypotheses.toml or parts.toml, which sets the defaults of the flags below."""
    data: flags.Data = "avatars"
    """Images to learn from: avatars, celeba, creatures, or a folder of images."""
    size: networks.Size = 64
    """Side of the images in pixels."""
    generator: Literal["cspup", "dcgan"] = "cspup"
    """The homework's generator, or DCGAN's."""
    width: flags.WidthFactor = 0.25
    """Factor of both networks' channels; 1 is the homework's."""
    upsampling: networks.Upsampling = "transposed"
    """Upsampling in the CSPup blocks: by transposed convolution, nearest neighbours, bilinear interpolation,
    or a transposed convolution and then StyleGAN2's filter."""
    normalisation: networks.Normalisation = "none"
    """Normalisation in the CSPup generator; modulated: batch normalisation, scaled and shifted by z;
    demodulated: none, but convolutions whose weights depend on z, as in StyleGAN2."""
    activation: networks.Activation = "relu"
    """Non-linearity in the CSPup generator."""
    output: networks.Output = "relu"
    """Last activation of the generator."""
    refined: bool = False
    """Give the CSPup generator a 3x3 convolution at full size after its last upsampling."""
    last_upsampling: networks.Upsampling = "transposed"
    """The last upsampling of a refined generator."""
    noise: bool = False
    """Add noise in every layer of the CSPup generator, as strong as it learns."""
    discriminator: Literal["dcgan", "residual"] = "dcgan"
    """DCGAN's discriminator, or StyleGAN2's with residual blocks from full size on."""
    downsampling: Downsampling = "strided"
    """Halving in the discriminator: by a stride alone, or after StyleGAN2's filter."""
    discriminator_width: flags.WidthFactor = 1.0
    """Channels of the discriminator, as a multiple of --width."""
    minibatch_deviation: bool = False
    """Tell the discriminator how much the images of a batch differ."""
    discriminator_normalisation: Literal["batch", "spectral", "none"] = "batch"
    """Normalisation in the discriminator: batch as in DCGAN, or every weight divided by its largest singular
    value."""
    conditional: bool = False
    """Tell both networks the attributes of each image; for avatars and creatures."""
    loss: Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein"] = "non-saturating"
    """Loss of both networks."""
    real_label: tuple[flags.Share, flags.Share] = (1.0, 1.0)
    """Cross-entropy targets of real images, drawn between the two: 0.9 0.9 smooths, 0.8 1 at random."""
    fake_label: tuple[flags.Share, flags.Share] = (0.0, 0.0)
    """Cross-entropy targets of generated images, drawn between the two."""
    r1_gamma: flags.NonNegative = 0.0
    """Twice the weight of the R1 penalty; 0 switches it off."""
    gradient_penalty: flags.NonNegative = 0.0
    """Weight of the gradient penalty that --loss wasserstein needs; 10 in its paper."""
    penalty_every: flags.Count = 4
    """Steps between penalties, each weighed as many times (Karras et al. 2020, lazy regularisation)."""
    instance_noise: Annotated[float, Interval(ge=0, le=10)] = 0.0
    """Standard deviation of noise on all images D sees, falling linearly to 0 over the run."""
    augment: tuple[Literal["color", "translation", "cutout"], ...] = ()
    """Differentiable augmentation of all images D sees; any of the three."""
    lr_generator: flags.LearningRate = 2e-4
    """Learning rate of the generator."""
    lr_discriminator: flags.LearningRate = 2e-4
    """Learning rate of the discriminator."""
    lr_decay: Literal["none", "cosine"] = "none"
    """Both learning rates over the run: constant, or half a cosine down to 0."""
    beta1: flags.Decay = 0.5
    """Decay of Adam's average of gradients."""
    beta2: flags.Decay = 0.999
    """Decay of Adam's average of squared gradients."""
    weight_decay: flags.NonNegative = 0.0
    """L2 penalty on both networks' weights."""
    discriminator_steps: flags.Count = 1
    """Updates of the discriminator before each one of the generator; 5 in the paper of --loss wasserstein."""
    ema: flags.Decay = 0.995
    """Decay per step of the average of the generator's weights, at most: it grows with the run."""
    epochs: flags.Count = 5
    """Passes over the training images."""
    batch_size: flags.Count = 64
    """Images per update, over all processes."""
    measure_images: flags.SeveralImages = 2000
    """Generated and validation images compared after every epoch."""

    @property
    def option_counts(self) -> tuple[int, ...]:
        """How many options each attribute has that the networks are told; empty without --conditional."""
        return tuple(map(len, CONDITIONS[self.data].values())) if self.conditional else ()

    def preset(self) -> Config:
        """The defaults that --hypothesis implies."""
        return hypotheses.configuration(Config, self.hypothesis)


def check(config: Config) -> None:
    """InputError for flags that cannot go together."""
    if config.data in ("digits", "mnist", "fashion-mnist"):
        raise InputError(f"--data {config.data}: grey images; use avatars, celeba, creatures or a folder")
    if config.conditional and config.data not in CONDITIONS:
        raise InputError(
            f"--conditional --data {config.data}: the networks can be told the attributes of "
            f"{' and '.join(CONDITIONS)}; take one of these or leave --conditional out"
        )
    channels = 64 * config.width * config.discriminator_width
    if channels < 1 or channels % 1:
        raise InputError(
            f"--discriminator-width {config.discriminator_width:g}: with --width {config.width:g} the "
            f"discriminator would begin with {channels:g} channels; choose the two for a whole number"
        )
    for name in ("real_label", "fake_label"):
        low, high = getattr(config, name)
        if low > high:
            raise InputError(f"{command_line.flag(name)} {low:g} {high:g}: the lower end comes first")
    if config.discriminator == "residual" and config.discriminator_normalisation != "none":
        raise InputError(
            f"--discriminator-normalisation {config.discriminator_normalisation}: the residual discriminator "
            "has none; give --discriminator-normalisation none, and --r1-gamma instead"
        )
    command_line.warn_of_idle(config, "last_upsampling", needs="--refined", met=config.refined)
    of_cspup = ("upsampling", "normalisation", "activation", "refined", "last_upsampling", "noise")
    command_line.warn_of_idle(config, *of_cspup, needs="--generator cspup", met=config.generator == "cspup")
    needs, met = f"--loss {' or '.join(CROSS_ENTROPIES)}", config.loss in CROSS_ENTROPIES
    command_line.warn_of_idle(config, "real_label", "fake_label", needs=needs, met=met)
    needs, met = "--r1-gamma or --gradient-penalty", bool(config.r1_gamma or config.gradient_penalty)
    command_line.warn_of_idle(config, "penalty_every", needs=needs, met=met)
