"""Train a GAN on about a thousand small pictures.

Theory: theory/en/gan.md, eqs. (gan.1), (gan.5), (gan.10), (gan.15)-(gan.17).

python lab8_generative/train_gan.py                # creatures: 5 min on 2 cores with bf16, 30 on 1 without
python lab8_generative/train_gan.py --data data/pokemon --mirror  # what fetch_pokemon.py collected
python lab8_generative/train_gan.py --augment --r1-gamma 0        # without what makes 1,000 images enough
python lab8_generative/train_gan.py --resume runs/lab8/0001-gan-creatures

Three things make a thousand images enough: everything the discriminator sees is changed at random, real and
generated alike (differentiable augmentation); its gradient at real images is penalised (R1); and images are
drawn with a moving average of the generator's weights.  Over-fitting shows in what the discriminator says of
real images it was not trained on: when it takes them for generated ones, it has learned the others by heart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from common import (
    adversarial,
    averaged_weights,
    checkpoints,
    command_line,
    devices,
    figures,
    flags,
    resumable,
    runs,
    shapes,
)
from common.augmentation import augment
from common.cuda_graphs import Graphed
from common.data import Batches, ImageSet
from common.metrics import samples

import torch
from torch import Tensor, nn

from lab8_generative import lab_images, networks
from lab8_generative.monitor import Monitor

MEASURED_DRAWN = 1000
"""Held-out images of a drawn set to compare with; a folder has what it has."""


@dataclass(frozen=True)
class Config(flags.TrainingFlags):
    """Flags of train_gan.py."""

    data: flags.Data = "creatures"
    """Images to learn from: creatures, avatars, or a folder of about 1,000 images or more."""
    size: networks.Side = 64
    """Side of the images: 48 or 64 pixels."""
    mirror: bool = False
    """Learn from mirror images too."""
    latent: flags.Dimensions = 64
    """Dimensions of z ~ N(0, I)."""
    width: networks.Width = 32
    """Channels of the largest feature map of both networks."""
    upsampling: networks.Upsampling = "transposed"
    """How the generator doubles the side: transposed convolutions, or nearest neighbours and convolutions."""
    augment: tuple[Literal["color", "translation", "cutout"], ...] = ("translation",)
    """Differentiable augmentation of all that the discriminator sees; give none to switch it off."""
    r1_gamma: flags.NonNegative = 0.3
    """Strength of the R1 penalty, whose weight is gamma / 2; 0 switches it off."""
    penalty_every: flags.Count = 8
    """Steps between penalties, each weighed as many times (Karras et al. 2020, lazy regularisation)."""
    ema: flags.Decay = 0.997
    """Decay per step of the average of the generator's weights."""
    lr_generator: flags.LearningRate = 4e-4
    """Adam's learning rate of the generator."""
    lr_discriminator: flags.LearningRate = 4e-4
    """Adam's learning rate of the discriminator."""
    beta1: flags.Decay = 0.0
    """Decay of Adam's average of gradients; that of squared gradients is 0.99."""
    batch_size: networks.BatchSize = 32
    """Images a step."""
    steps: flags.Count = 4000
    """Updates of each network."""
    measure_every: flags.Count = 250
    """Steps between measurements against held-out images."""
    precision: flags.Precision = "bf16"
    """Number format of the forward pass while training; losses, weights and evaluation stay float32."""


class Players(NamedTuple):
    """Both networks and their optimisers."""

    generator: nn.Module
    discriminator: nn.Module
    generator_adam: torch.optim.Optimizer
    discriminator_adam: torch.optim.Optimizer


def update(
    config: Config, device: devices.Device, players: Players, real: Tensor, z: Tensor, *, penalised: bool
) -> dict[str, Tensor]:
    """A step of both networks on images (B, 3, S, S) and latents (B, D): what is logged of it, (B,) each."""
    generator, discriminator, generator_adam, discriminator_adam = players
    real = real.contiguous(memory_format=torch.channels_last)
    with device.autocast():
        fake = generator(z).float()  # (B, 3, S, S)

    # task lab8.b: one step of the discriminator, one of the generator
    # ---- discriminator
    discriminator.requires_grad_(True)
    real_seen = augment(real, config.augment)  # eq. (gan.15)
    fake_seen = augment(fake.detach(), config.augment)
    with device.autocast():
        real_logits, fake_logits = discriminator(real_seen), discriminator(fake_seen)  # (B,) each
    d_losses = adversarial.cross_entropy_discriminator(real_logits, fake_logits)  # eq. (gan.1)
    d_loss = d_losses.mean()
    if penalised:
        penalty = adversarial.r1_penalty(discriminator, real_seen).mean()  # eq. (gan.10)
        d_loss = d_loss + config.penalty_every * config.r1_gamma / 2 * penalty
    discriminator_adam.zero_grad()
    d_loss.backward()
    discriminator_adam.step()

    # ---- generator
    discriminator.requires_grad_(False)  # no gradients of D's weights
    with device.autocast():
        logits = discriminator(augment(fake, config.augment))  # of the same fakes, by the new D
    g_losses = adversarial.non_saturating_generator(logits)  # eq. (gan.5)
    generator_adam.zero_grad()
    g_losses.mean().backward()
    generator_adam.step()
    # end task
    return {
        "discriminator_loss": d_losses,
        "generator_loss": g_losses,
        "d_real": real_logits.sigmoid(),
        "d_fake": fake_logits.sigmoid(),
    }


def main(config: Config) -> Path:
    device = devices.start(config.device, precision=config.precision, seed=config.seed, processes="one")
    generator, discriminator = (device.prepare(network, channels_last=True) for network in build(config))
    ema = averaged_weights.averaged(generator, config.ema, buffers=True)  # eq. (gan.16)
    generator_adam, discriminator_adam = (
        device.adam(network.parameters(), learning_rate, betas=(config.beta1, 0.99))
        for network, learning_rate in (
            (generator, config.lr_generator),
            (discriminator, config.lr_discriminator),
        )
    )
    train, val = load(config)
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    averages, monitor = runs.Averages(), Monitor(train.images, val.images, config.latent, device)
    name = f"gan-{Path(config.data).name}"
    players = Players(generator, discriminator, generator_adam, discriminator_adam)
    step_of = Graphed(partial(update, config, device, players), device)
    with resumable.start(
        "lab8", name, config, device, batches=batches, validation=val, averages=averages, ema=ema,
        **players._asdict(),
    ) as (run, saver, done):  # fmt: skip
        for step, batch in zip(run.progress(done + 1, config.steps), batches.forever()):
            z = torch.randn(config.batch_size, config.latent).to(device.torch)  # (B, D)
            penalised = config.r1_gamma > 0 and step % config.penalty_every == 0
            losses = step_of(batch.images, z, penalised=penalised)
            ema.update_parameters(generator)
            averages.add(losses)
            if step % config.measure_every == 0 or step == config.steps:
                means = averages.take(device)
                saver.require_finite(step, *means.values())
                numbers = monitor.measure(run, step, means, generator, ema.module, discriminator)
                monitor.warn(run, step, numbers, beginning=step < config.steps / 4)
                saver.save_if_best(step, numbers[monitor.distance])
            saver.save_if_due(step, losses["discriminator_loss"].mean() + losses["generator_loss"].mean())
        saver.save(config.steps)
        report(config, run, monitor, shapes.parameters(generator))
    return run.folder


def build(config: Config) -> tuple[nn.Sequential, networks.Discriminator]:
    """The untrained generator and discriminator of this run."""
    generator = networks.way_up(config.size, config.width, config.latent, upsampling=config.upsampling)
    return generator, networks.Discriminator(config.size, config.width)


def load(config: Config) -> tuple[ImageSet, ImageSet]:
    """The images to learn from, and those to compare with."""
    train, _ = lab_images.load_for_training(config.data, config.size, config.batch_size, config.data_dir)
    val = lab_images.load_split(config.data, "val", config.size, config.data_dir, MEASURED_DRAWN)
    return (lab_images.with_mirrored(train) if config.mirror else train), val.few(MEASURED_DRAWN)


def report(config: Config, run: runs.Run, monitor: Monitor, parameters: int) -> None:
    """Figures and summary.json of a finished run, from its best checkpoint."""
    lines = runs.read_metrics(run.folder, monitor.distance)
    best = min(lines, key=lambda line: line[monitor.distance])
    run.summary(
        {name: value for name, value in best.items() if name.startswith("val/")},
        steps=best["step"],
        n_val=monitor.real.count,
        seed=config.seed,
        generator_parameters=parameters,
        figures=save_figures(config, run.folder, lines, best, monitor),
    )
    run.say(
        f"best {monitor.distance} {best[monitor.distance]:.1f} at step {best['step']}; "
        f"next: python lab8_generative/generate.py {run.folder}"
    )


def save_figures(config: Config, folder: Path, lines: list[dict], best: dict, monitor: Monitor) -> list[str]:
    """Samples and curves; returns their names."""
    images = samples.decode(load_best(config, folder), samples.latents(80, config.latent, seed=1))
    figures.save_grid(folder / "samples.png", images, 10)
    figures.save_curves(
        folder / "loss.png",
        lines,
        ("train/discriminator_loss", "train/generator_loss"),
        title="At equilibrium D loses 2 ln 2 = 1.39 and G ln 2 = 0.69, not 0",
        ylabel="loss, nats per image",
    )
    figures.save_curves(
        folder / "distance.png",
        lines,
        (f"val/raw_{monitor.real.name}", monitor.distance),
        title=f"Averaged weights: {best[monitor.distance]:.0f} at best, step {best['step']}",
        ylabel=f"Fréchet distance to {monitor.real.count} held-out images",
        log_scale=True,
    )
    figures.save_curves(
        folder / "overfitting.png",
        lines,
        ("val/overfitting", "val/raw_diversity"),
        title="D knows its images by heart: 0 no, 1 all; diversity: 1 as the data",
        ylabel="share",
    )
    return ["samples.png", "loss.png", "distance.png", "overfitting.png"]


def load_best(config: Config, run_dir: Path) -> nn.Sequential:
    """The averaged generator at its lowest validation distance, on the CPU, in evaluation mode."""
    ema = averaged_weights.averaged(build(config)[0], config.ema, buffers=True)
    checkpoints.load_parts(run_dir / "checkpoints" / "best.pt", ema=ema)
    return ema.module.eval()


if __name__ == "__main__":
    command_line.run(main, Config)
