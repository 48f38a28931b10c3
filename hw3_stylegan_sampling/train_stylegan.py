"""Train StyleGAN2 (Karras et al. 2020) on small images.  Theory: theory/en/stylegan.md.

python hw3_stylegan_sampling/train_stylegan.py                               # drawn avatars of 64x64
python hw3_stylegan_sampling/train_stylegan.py --data path/to/photos --augment color translation cutout
python hw3_stylegan_sampling/train_stylegan.py --resume runs/hw3/0001-stylegan-avatars
torchrun --nproc-per-node 2 hw3_stylegan_sampling/train_stylegan.py

The loss is the non-saturating one, eq. (gan.5), with the R1 penalty for the discriminator and path lengths
for the generator, each only every few steps.  Where the data have attributes both networks are told them: the
last numbers of z choose their options, eq. (gan.22), so that the generator still draws from z alone.  Logged
are, of the weights as they are (`raw`) and averaged (`ema`), what common/metrics/samples.py measures against
validation images; the averaged generator is written to generator.safetensors at the same time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common import adversarial, augmentation, choices, command_line, data, devices, resumable, runs, shapes
from common.averaged_weights import averaged
from common.cuda_graphs import Graphed
from common.data import Batches, ImageSet, avatars, creatures
from common.errors import InputError
from common.flags import (
    Channels,
    Count,
    Data,
    Dimensions,
    Images,
    Layers,
    LearningRate,
    NonNegative,
    Pixels,
    Positive,
    SeveralImages,
    Share,
    TrainingFlags,
)
from common.noise import BatchNoise
from common.schedules import half_cosine, set_learning_rate

import torch
from torch import Tensor, nn

from hw3_stylegan_sampling.discriminator import Discriminator
from hw3_stylegan_sampling.monitor import Monitor
from hw3_stylegan_sampling.networks import Architecture, Generator

ATTRIBUTES = {"avatars": avatars.CHOICES, "creatures": creatures.OPTIONS}
"""Sets whose attributes are independent with equally likely options, as eq. (gan.22) has it."""


@dataclass(frozen=True)
class Config(TrainingFlags):
    """Flags of train_stylegan.py."""

    data: Data = "avatars"
    """avatars, creatures, celeba, or a folder of images."""
    train_images: Images = 50_000
    """Images to learn from, of a drawn set."""
    size: Pixels = 64
    """Side of the images: a power of two from 8 on."""
    channels: tuple[Channels, ...] = (192, 192, 128, 64, 32)
    """Channels of both networks at 4x4, 8x8 and so on up to --size."""
    z_dim: Dimensions = 64
    """Numbers in z, those that choose options not counted."""
    w_dim: Dimensions = 128
    """Numbers in w."""
    mapping_layers: Layers = 2
    """Layers of the mapping network."""
    mapping_rate: LearningRate = 0.1
    """Learning rate of the mapping network, as a share of that of the rest; 0.01 in the papers."""
    noise: bool = False
    """Noise in every layer, for images with detail that nothing decides; drawn ones have none."""
    conditional: bool = True
    """Tell both networks the attributes, where the set has any."""
    steps: Count = 20_000
    """Updates of both networks."""
    batch_size: Count = 16
    """Images per update, over all processes."""
    learning_rate: LearningRate = 1e-2
    """Adam's learning rate for both networks, constant until the cool-down."""
    cooldown: Share = 0.5
    """Last share of the steps, over which the learning rate falls to 0."""
    r1_gamma: NonNegative = 1.0
    """Weight gamma / 2 of the R1 penalty."""
    r1_every: Count = 16
    """Steps between R1 penalties."""
    path_weight: NonNegative = 2.0
    """Weight of the path length penalty."""
    path_every: Count = 8
    """Steps between path length penalties."""
    mixing: Share = 0.5
    """Share of images that two latents make, one the first layers, the other the rest."""
    augment: tuple[Literal["color", "translation", "cutout", "adaptive"], ...] = ()
    """Differentiable augmentation of all images that the discriminator sees; with adaptive, each change has a
    probability that rises while the discriminator is too sure of real images."""
    ema_images: Positive = 10_000
    """Images after which the averaged weights have forgotten half of what they were."""
    measure_every: Count = 1250
    """Steps between measurements."""
    measure_images: SeveralImages = 1000
    """Generated and validation images that are compared."""


class MixingGenerator(nn.Module):
    """Images of two latents each: the layers before `cut` (B,) from the first, the others from the second."""

    def __init__(self, generator: Generator):
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, other: Tensor, cut: Tensor) -> Tensor:  # (B, D), (B, D), (B,) -> images
        # task hw3.c: an image of two latents
        layer = torch.arange(self.generator.layers, device=z.device)
        first = (layer < cut[:, None])[:, :, None]  # (B, L, 1)
        ws = torch.where(first, self.generator.styles(z), self.generator.styles(other))
        return self.generator.synthesis(ws, "random")
        # end task


def r1_penalty(config: Config, judge: Callable[[Tensor], Tensor], real: Tensor, step: int) -> Tensor | float:
    """The mean penalty, eq. (gan.10), as this step's loss contains it: rarely, and so many times heavier, eq.
    (stylegan.11)."""
    # task hw3.c: R1, rarely and so many times heavier
    if step % config.r1_every or not config.r1_gamma:
        return 0.0
    return config.r1_every * config.r1_gamma / 2 * adversarial.r1_penalty(judge, real).mean()
    # end task


def path_penalty(
    config: Config, paths: PathLengths, generator: Generator, z: Tensor, step: int
) -> Tensor | float:
    """The same for path lengths, eq. (stylegan.12), of half the batch."""
    if step % config.path_every or not config.path_weight:
        return 0.0
    return config.path_every * config.path_weight * paths(generator, z[: (len(z) + 1) // 2]).mean()


class PathLengths(nn.Module):
    """How far path lengths are from their mean, squared, eq. (stylegan.12); remembers the mean."""

    def __init__(self, device: devices.Device):
        super().__init__()
        self.device = device
        self.register_buffer("mean", torch.zeros((), device=device.torch))

    def forward(self, generator: Generator, z: Tensor) -> Tensor:  # (B, D) -> (B,)
        # task hw3.c: how far path lengths are from their mean
        lengths = path_lengths(generator, generator.styles(z))
        self.mean.lerp_(self.device.mean(lengths.detach().mean()), 0.01)
        return (lengths - self.mean).square()
        # end task


def path_lengths(generator: Generator, ws: Tensor) -> Tensor:  # (B, L, D) -> (B,)
    """|J^T y| for images y of noise, from one gradient, eq. (stylegan.13): root mean square over layers."""
    # task hw3.c: the length of a step in w, as the image sees it
    images = generator.synthesis(ws, "random")
    noise = torch.randn_like(images) / images.shape[-1]
    (gradient,) = torch.autograd.grad((images * noise).sum(), ws, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()
    # end task


class Pair(nn.Module):
    """Logits of real and of generated images as one forward pass, as DistributedDataParallel wants it."""

    def __init__(self, discriminator: Discriminator):
        super().__init__()
        self.discriminator = discriminator

    def forward(self, real: Tensor, real_labels: Tensor, fake: Tensor, fake_labels: Tensor):
        return self.discriminator(real, real_labels), self.discriminator(fake, fake_labels)


def main(config: Config) -> Path:
    check(config)
    device = devices.start(config.device, precision=config.precision, seed=config.seed)
    train, validation = load(config, "train", config.train_images), load(config, "val", config.measure_images)
    labels, options = labels_of(config, train)
    generator, discriminator = (device.prepare(part, channels_last=True) for part in build(config, options))
    generator_ddp = device.parallel(MixingGenerator(generator))
    discriminator_ddp = device.parallel(Pair(discriminator))
    adam = lambda network: device.adam(network.parameters(), config.learning_rate, betas=(0.0, 0.99))
    for_generator, for_discriminator = adam(generator), adam(discriminator)
    # the decay of eq. (stylegan.15)
    ema = averaged(generator, 0.5 ** (config.batch_size / config.ema_images), growing=True)
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    noise, averages = BatchNoise(config.batch_size, device, seed=config.seed), runs.Averages()
    paths, seen = PathLengths(device), augmentation.Augmentation(config.augment, device)

    def update(real, real_labels, z, other, cut, *, turn: int):
        """Both players' step: what is logged of it (B,), and the lengths of their gradients."""
        fake_labels = generator.mapping.labels(z)
        discriminator.requires_grad_(True)
        with device.autocast():
            fake = generator_ddp(z, other, cut)
            real_logits, fake_logits = discriminator_ddp(
                seen(real), real_labels, seen(fake.detach()), fake_labels
            )
        d_loss = adversarial.cross_entropy_discriminator(real_logits, fake_logits)
        judge = lambda images: discriminator(seen(images), real_labels)
        for_discriminator.zero_grad()
        (d_loss.mean() + r1_penalty(config, judge, real, turn)).backward()
        for_discriminator.step()
        seen.update(real_logits)

        discriminator.requires_grad_(False)  # no gradients of its weights in the generator's update
        with device.autocast():
            g_loss = adversarial.non_saturating_generator(discriminator(seen(fake), fake_labels))
        for_generator.zero_grad()
        (g_loss.mean() + path_penalty(config, paths, generator, z, turn)).backward()
        for_generator.step()
        logged = {"discriminator_loss": d_loss, "generator_loss": g_loss,
                  "d_real": real_logits.sigmoid(), "d_fake": fake_logits.sigmoid()}  # fmt: skip
        return logged, gradient_norm(discriminator) + gradient_norm(generator)

    update = Graphed(update, device)
    with resumable.start(
        "hw3", f"stylegan-{Path(config.data).name}", config, device,
        batches=batches, validation=validation, noise=noise, averages=averages,
        generator=generator, discriminator=discriminator, ema=ema, paths=paths,
        for_generator=for_generator, for_discriminator=for_discriminator,
        augmentation=seen if seen.adaptive else None,
    ) as (run, saver, done):  # fmt: skip
        monitor = Monitor(run, device, validation, generator.z_dim)
        for step, batch in zip(run.progress(done + 1, config.steps), batches.forever()):
            set_learning_rates(config, step, for_generator, for_discriminator)
            told = labels[batch.index].to(device.torch)
            turn = math.gcd(step, math.lcm(config.r1_every, config.path_every))  # which penalties are due
            logged, gradients = update(batch.images, told, *latents(config, noise, generator), turn=turn)
            ema.update_parameters(generator)
            averages.add(logged)
            if step % config.measure_every == 0 or step == config.steps:
                means = averages.take(device) | seen.numbers() | {"train/path_length": paths.mean.item()}
                saver.require_finite(step, *means.values())
                monitor.measure(step, means, generator, ema.module)
            # with finite losses and gradients the weights are finite: no checkpoint is written otherwise
            losses = logged["generator_loss"] + logged["discriminator_loss"]
            saver.save_if_due(step, losses.mean() + gradients)
        saver.save(config.steps)
        monitor.finish(config.seed, shapes.parameters(generator), shapes.parameters(discriminator))
    return run.folder


# ---- checks, data, building


def check(config: Config) -> None:
    """A word where a flag does nothing; InputError where it can do nothing."""
    architecture(config, options_of(config)).check()  # before images of a size that cannot be are drawn
    if set(config.augment) == {"adaptive"}:
        raise InputError("--augment adaptive: name the changes too: translation, color, cutout")
    command_line.warn_of_idle(config, "r1_every", needs="--r1-gamma", met=config.r1_gamma > 0)
    command_line.warn_of_idle(config, "path_every", needs="--path-weight", met=config.path_weight > 0)


def load(config: Config, split: str, count: int, data_dir: Path | None = None) -> ImageSet:
    """The images of one split, at most `count` but for training images of a real set, from `data_dir` where
    it is given."""
    drawn = count if config.data in data.DRAWN else None
    data_dir = data_dir or config.data_dir
    images = data.load(config.data, split, size=config.size, count=drawn, data_dir=data_dir)
    if images.shape[0] != 3:
        raise InputError(f"--data {config.data}: grey images; use avatars, celeba, creatures or a folder")
    images = images if split == "train" else images.few(count)
    if split == "val" and (images.images == images.images[:1]).all():
        raise InputError(
            f"--data {config.data}: {len(images)} validation images and no two that differ; nothing to "
            "compare samples with; add images"
        )
    return images


def labels_of(config: Config, images: ImageSet) -> tuple[Tensor, tuple[int, ...]]:
    """What the networks are told of each image, float32 (N, K), and how many options each attribute has."""
    if not (options := options_of(config)):
        return torch.zeros(len(images), 0), ()
    chosen = torch.stack([images.attributes[name] for name in ATTRIBUTES[config.data]], 1)
    return choices.one_hot(chosen, options), options


def options_of(config: Config) -> tuple[int, ...]:
    """How many options each attribute has that the networks are told; none without attributes."""
    if not config.conditional:
        return ()
    return tuple(map(len, ATTRIBUTES.get(config.data, {}).values()))


def build(config: Config, options: tuple[int, ...]) -> tuple[Generator, Discriminator]:
    """Both networks, untrained."""
    return Generator(architecture(config, options)), Discriminator(config.channels, options=options)


def architecture(config: Config, options: tuple[int, ...]) -> Architecture:
    """The generator's shape."""
    return Architecture(
        size=config.size,
        channels=config.channels,
        z_dim=config.z_dim + len(options),
        w_dim=config.w_dim,
        options=options,
        mapping_layers=config.mapping_layers,
        mapping_rate=config.mapping_rate,
        noise=config.noise,
    )


def latents(config: Config, noise: BatchNoise, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """z (B, D), another z with the same choices, and the layer (B,) from which on the second is used."""
    z, other = noise.normal(2, generator.z_dim).unbind(1)
    other = torch.cat([other[:, : config.z_dim], z[:, config.z_dim :]], 1)
    mixed, place = noise.uniform(2).unbind(1)
    cut = 1 + (place * (generator.layers - 1)).long()
    return z, other, torch.where(mixed < config.mixing, cut, generator.layers)


def gradient_norm(network: nn.Module) -> Tensor:
    """|gradient| over all parameters."""
    return nn.utils.get_total_norm([p.grad for p in network.parameters()])


def set_learning_rates(config: Config, step: int, *optimizers: torch.optim.Optimizer) -> None:
    """Constant, then half a cosine down to 0 over the last `cooldown` of the steps."""
    start = (1 - config.cooldown) * config.steps
    share = half_cosine(max(0.0, (step - start) / max(config.steps - start, 1)))
    for optimizer in optimizers:
        set_learning_rate(optimizer, share * config.learning_rate)


if __name__ == "__main__":
    command_line.run(main, Config)
