"""Train a GAN: DCGAN or the CSPup generator, under any of the hypotheses.  Theory: theory/en/gan.md.

python hw2_gan/train_gan.py                                  # the base run: 5 epochs of drawn avatars
python hw2_gan/train_gan.py --hypothesis 6                   # flags given beside it win over the hypothesis
python hw2_gan/train_gan.py --hypothesis 3 --loss least-squares --size 128 --width 1 --data celeba
python hw2_gan/train_gan.py --resume runs/hw2/0001-gan-base-avatars
torchrun --nproc-per-node 2 hw2_gan/train_gan.py --hypothesis 6

Every epoch logs both losses, D(x), D(G(z)), gradient norms, and, of the weights as they are (`raw`) and of
their moving average (`ema`), Fréchet distance, styles covered and diversity against validation images.  A
generator that was diverse and falls below half of the data's diversity is reported as collapsed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import swa_utils

from common import adversarial, augmentation, checkpoints, command_line, data, devices, runs
from common.data import Batches, ImageSet, avatars, creatures
from common.errors import InputError
from hw2_gan import hypotheses, networks
from hw2_gan.monitor import Monitor

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
TOLD = {"avatars": avatars.CHOICES, "creatures": creatures.OPTIONS}
"""Sets whose attributes are independent with equally likely options, as eq. (gan.22) has it."""


@dataclass(frozen=True)
class Config(command_line.TrainingFlags):
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


def build_generator(config: Config) -> nn.Module:
    """The untrained generator of this run."""
    told = options(config)
    generator = build_unconditional(config, networks.LATENT + sum(told))
    return networks.ConditionalGenerator(generator, told) if told else generator


def build_unconditional(config: Config, latent: int) -> nn.Module:
    """A generator of this run's kind that maps `latent` numbers to images."""
    if config.generator == "dcgan":
        return networks.DCGANGenerator(config.size, config.width, latent, output=config.output)
    return networks.CSPupGenerator(
        config.size,
        config.width,
        latent,
        upsampling=config.upsampling,
        normalisation=config.normalisation,
        activation=config.activation,
        output=config.output,
        refined=config.refined,
    )


def build_discriminator(config: Config) -> nn.Module:
    """The untrained discriminator of this run."""
    return networks.DCGANDiscriminator(
        config.size,
        config.width * config.discriminator_width,
        normalisation=config.discriminator_normalisation,
        minibatch_deviation=config.minibatch_deviation,
        options=options(config),
    )


def averaged(config: Config, generator: nn.Module) -> swa_utils.AveragedModel:
    """An exponential moving average of the generator's weights, eq. (gan.16).

    Its memory grows with the run: after t steps the decay is (1 + t) / (10 + t), until that reaches --ema.
    Statistics of batch normalisation are those of the last weights; `gan_measures.settle` computes the
    average's own before images are drawn."""

    def average(means: list[Tensor], weights: list[Tensor], count: Tensor) -> None:
        decay = min(config.ema, (1 + count.item()) / (10 + count.item()))
        swa_utils.get_ema_multi_avg_fn(decay)(means, weights, count)

    return swa_utils.AveragedModel(generator, multi_avg_fn=average)


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


def chosen(generator: nn.Module, z: Tensor) -> Tensor | None:  # (B, D) -> int64 (B, A)
    """The options that latents choose; None without --conditional."""
    return generator.choices(z) if isinstance(generator, networks.ConditionalGenerator) else None


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


def gradient_norm(network: nn.Module) -> Tensor:
    """|gradient| over all parameters."""
    return nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])


def optimizers(config: Config, generator: nn.Module, discriminator: nn.Module, device: devices.Device):
    """Adam for G, Adam or SGD for D."""
    adam = lambda network, lr: torch.optim.Adam(
        network.parameters(),
        lr=lr,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=device.device.type != "mps",
    )
    if config.optimizer_discriminator == "sgd":
        for_discriminator = torch.optim.SGD(
            discriminator.parameters(), lr=config.lr_discriminator, weight_decay=config.weight_decay
        )
    else:
        for_discriminator = adam(discriminator, config.lr_discriminator)
    return adam(generator, config.lr_generator), for_discriminator


def set_learning_rates(
    config: Config,
    for_generator: torch.optim.Optimizer,
    for_discriminator: torch.optim.Optimizer,
    share_done: float,
) -> None:
    """Those of the step that ends when `share_done` of the run is done."""
    share = 0.5 * (1 + math.cos(math.pi * share_done)) if config.lr_decay == "cosine" else 1.0
    for_generator.param_groups[0]["lr"] = share * config.lr_generator
    for_discriminator.param_groups[0]["lr"] = share * config.lr_discriminator


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


def load_split(config: Config, split: str, count: int | None = None) -> ImageSet:
    """The images of one split as this run sees them."""
    return data.load(config.data, split, size=config.size, count=count, data_dir=config.data_dir)


def attributes(config: Config, images: ImageSet, rows: Tensor | slice = slice(None)) -> Tensor | None:
    """int64 (N, A): the options of images that the networks are told; None without --conditional."""
    if not config.conditional:
        return None
    return torch.stack([images.attributes[name][rows] for name in TOLD[config.data]], 1)


def validation_images(config: Config) -> ImageSet:
    """What every epoch is compared with: as many images as asked for, or all there are."""
    count = config.measure_images if config.data in data.DRAWN else None
    images = load_split(config, "val", count).take(slice(0, config.measure_images))
    if (images.images == images.images[:1]).all():
        raise InputError(
            f"--data {config.data}: {len(images)} validation images and no two that differ; nothing to "
            "compare samples with; add images"
        )
    return images


def training_images(config: Config, device: devices.Device) -> ImageSet:
    """The images to learn from; InputError where they, or the processes, do not fit the batch."""
    images = load_split(config, "train")
    if len(images) < config.batch_size * config.discriminator_steps:
        raise InputError(
            f"--batch-size {config.batch_size} --discriminator-steps {config.discriminator_steps}: only "
            f"{len(images)} training images; use smaller ones or add images"
        )
    if config.batch_size % device.world_size:
        raise InputError(
            f"--batch-size {config.batch_size}: cannot be shared by {device.world_size} processes; use a "
            "multiple"
        )
    return images


class Latents:
    """z of each batch.  Every process draws those of the whole batch and takes its rows, so that the number
    of processes changes nothing; part of the checkpoint."""

    def __init__(self, config: Config, dimension: int, device: devices.Device):
        self.shape, self.device = (config.batch_size, dimension), device
        self.generator = torch.Generator().manual_seed(config.seed)

    def draw(self) -> Tensor:  # -> (B, D)
        z = torch.randn(self.shape, generator=self.generator)
        return z[self.device.rank :: self.device.world_size].to(self.device.device)

    def state_dict(self) -> dict:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self.generator.set_state(state["generator"])


def generate(generator: nn.Module, latents: Latents) -> tuple[Tensor, Tensor]:
    """New latents z (B, D) and their images (B, 3, S, S)."""
    z = latents.draw()
    return z, generator(z)


def main(config: Config) -> Path:
    check(config)
    device = devices.start(config.device, precision=config.precision, seed=config.seed)
    train, validation = training_images(config, device), validation_images(config)
    generator, discriminator = (
        device.prepare(build(config), channels_last=True) for build in (build_generator, build_discriminator)
    )
    draw, judge = device.parallel(generator), device.parallel(Judgement(discriminator))
    ema = averaged(config, generator)
    for_generator, for_discriminator = optimizers(config, generator, discriminator, device)
    batches = Batches(
        train,
        config.batch_size,
        drop_last=True,
        seed=config.seed,
        device=device.device,
        rank=device.rank,
        world_size=device.world_size,
    )
    latents, averages = Latents(config, generator.latent, device), runs.Averages()
    steps = config.epochs * (epoch_steps := len(batches) // config.discriminator_steps)
    with (
        runs.start(
            "hw2",
            f"gan-{config.hypothesis}-{Path(config.data).name}",
            config,
            device,
            outdir=config.outdir,
            resume=config.resume,
            wandb=config.wandb,
        ) as run,
        checkpoints.Checkpoints(
            run.checkpoints_dir,
            device,
            every_seconds=config.checkpoint_seconds,
            generator=generator,
            discriminator=discriminator,
            ema=ema,
            for_generator=for_generator,
            for_discriminator=for_discriminator,
            batches=batches,
            latents=latents,
            averages=averages,
        ) as saver,
    ):
        done = saver.resume() if config.resume else 0
        run.rewind(done)
        stream, monitor = batches.forever(), Monitor(run, device, validation)
        for step in run.progress(done + 1, steps):
            share_done = step / steps
            set_learning_rates(config, for_generator, for_discriminator, share_done)
            discriminator.requires_grad_(True)
            for left in range(config.discriminator_steps, 0, -1):
                batch = next(stream)
                real, told = seen(config, batch.images, share_done), attributes(config, train, batch.index)
                with device.autocast():
                    with torch.set_grad_enabled(left == 1):  # the last images serve G's update too
                        z, drawn = generate(draw if left == 1 else generator, latents)
                    fake = seen(config, drawn.detach(), share_done)
                    real_logits, fake_logits = judge(real, fake, told, chosen(generator, z))
                d_loss = discriminator_loss(config, real_logits, fake_logits)
                penalty = penalties(config, discriminator, real, fake, told, step)
                for_discriminator.zero_grad()
                (d_loss.mean() + penalty).backward()
                for_discriminator.step()
            d_gradient = gradient_norm(discriminator)

            discriminator.requires_grad_(False)  # no gradients of D's weights in G's update
            for number in range(config.generator_steps):
                with device.autocast():
                    z, drawn = generate(draw, latents) if number else (z, drawn)
                    logits = discriminator(seen(config, drawn, share_done), chosen(generator, z))
                g_loss = GENERATOR_LOSSES[config.loss](logits)
                for_generator.zero_grad()
                g_loss.mean().backward()
                for_generator.step()
            ema.update_parameters(generator)
            g_gradient = gradient_norm(generator)

            averages.add(
                {
                    "discriminator_loss": d_loss,
                    "generator_loss": g_loss,
                    "d_real": opinion(config, real_logits),
                    "d_fake": opinion(config, fake_logits),
                    "discriminator_gradient_norm": d_gradient.expand(len(d_loss)),
                    "generator_gradient_norm": g_gradient.expand(len(d_loss)),
                }
            )
            if step % epoch_steps == 0:
                means = {f"train/{key}": mean for key, mean in averages.take(device).items()}
                saver.require_finite(step, *means.values())
                distance = device.broadcast(monitor.epoch(step, means, generator, ema.module))
                if distance is not None:
                    saver.save_if_best(step, distance)
            # with finite losses and gradients the weights are finite: no checkpoint is written otherwise
            saver.save_if_due(step, g_loss.mean() + d_loss.mean() + g_gradient + d_gradient)
        saver.save(steps)
        monitor.finish(config.seed, networks.parameters(generator), networks.parameters(discriminator))
    return run.folder


if __name__ == "__main__":
    command_line.run(main, Config)
