"""Train a GAN on about a thousand small pictures.

Theory: theory/en/gan.md, eqs. (gan.1), (gan.5), (gan.10), (gan.15)-(gan.17).

python lab8_generative/train_gan.py                               # drawn creatures: 10 min of one core
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
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from common import (
    adversarial,
    augmentation,
    checkpoints,
    command_line,
    devices,
    figures,
    flags,
    resumable,
    runs,
)
from common.data import Batches, ImageSet, to_model_range
from common.errors import InputError
from lab8_generative import lab_images, lab_measures, networks

OVER_FITTED = 0.5
"""Share of the way from training to generated images at which held-out images raise the alarm."""
MEASURED_DRAWN = 1000
"""Held-out images of a drawn set to compare with; a folder has what it has."""


@dataclass(frozen=True)
class Config(flags.TrainingFlags):
    """Flags of train_gan.py."""

    data: str = "creatures"
    """creatures, avatars, or a folder of about 1,000 images or more."""
    size: int = 64
    """Side of the images: 48 or 64 pixels."""
    mirror: bool = False
    """Learn from mirror images too."""
    latent: int = 64
    """Dimensions of z ~ N(0, I)."""
    width: int = 32
    """Channels of the largest feature map of both networks."""
    augment: tuple[Literal["color", "translation", "cutout"], ...] = ("translation",)
    """Differentiable augmentation of all that the discriminator sees; give none to switch it off."""
    r1_gamma: float = 0.3
    """Weight gamma / 2 of the R1 penalty; 0 switches it off."""
    penalty_every: int = 8
    """Steps between penalties, each weighed as many times (Karras et al. 2020, lazy regularisation)."""
    ema: float = 0.997
    """Decay per step of the average of the generator's weights."""
    lr_generator: float = 4e-4
    """Adam's learning rate of the generator."""
    lr_discriminator: float = 4e-4
    """Adam's learning rate of the discriminator."""
    beta1: float = 0.0
    """Adam's average of gradients; of squared gradients it is 0.99."""
    batch_size: int = 32
    """Images per step."""
    steps: int = 4000
    """Updates of both networks."""
    measure_every: int = 250
    """Steps between measurements against held-out images."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Number format of the forward pass while training; losses, weights and evaluation stay float32."""


def build(config: Config) -> tuple[nn.Sequential, networks.Discriminator]:
    """The untrained generator and discriminator of this run."""
    networks.check(config.size, config.width, config.latent)
    generator = networks.way_up(config.size, config.width, config.latent)
    return generator, networks.Discriminator(config.size, config.width)


def averaged(config: Config, generator: nn.Module) -> swa_utils.AveragedModel:
    """An exponential moving average of the generator's weights, eq. (gan.16)."""
    return swa_utils.AveragedModel(
        generator, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(config.ema), use_buffers=True
    )


def update_discriminator(
    config: Config,
    discriminator: nn.Module,
    real: Tensor,
    fake: Tensor,
    step: int,
    device: devices.Device,
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses (B,) with their gradients in the parameters, and the logits of real and generated images.

    Both are augmented, eq. (gan.15); the penalty, eq. (gan.10), is taken at the images that D saw.
    """
    real, fake = augmentation.augment(real, config.augment), augmentation.augment(fake, config.augment)
    with device.autocast():
        real_logits, fake_logits = discriminator(real), discriminator(fake)
    losses = adversarial.cross_entropy_discriminator(real_logits, fake_logits)
    total = losses.mean()
    if config.r1_gamma and step % config.penalty_every == 0:
        penalty = adversarial.r1_penalty(discriminator, real).mean()
        total = total + config.penalty_every * config.r1_gamma / 2 * penalty
    total.backward()
    return losses, real_logits, fake_logits


def update_generator(
    config: Config, discriminator: nn.Module, fake: Tensor, device: devices.Device
) -> Tensor:  # -> (B,)
    """Non-saturating losses, eq. (gan.5), with their gradients in the generator's parameters."""
    with device.autocast():
        logits = discriminator(augmentation.augment(fake, config.augment))
    losses = adversarial.non_saturating_generator(logits)
    losses.mean().backward()
    return losses


@torch.inference_mode()
def overfitting(discriminator: nn.Module, train: Tensor, val: Tensor, fake: Tensor) -> float:
    """How far D puts held-out images from training ones towards generated ones: 0 not at all, 1 all the way.

    (E D(train) - E D(val)) / (E D(train) - E D(generated)), the r_v of Karras et al. 2020, on logits.
    """
    on_train, on_val, on_fake = (
        torch.cat([discriminator(part) for part in images.split(250)]).mean().item()
        for images in (train, val, fake)
    )
    return (on_train - on_val) / max(on_train - on_fake, 1e-6)


class Watch:
    """Measures the generator while it trains and says when something turns."""

    def __init__(self, run: runs.Run, config: Config, train: ImageSet, device: devices.Device):
        self.run, self.config, self.device, self.alarmed = run, config, device, False
        held_out = lab_images.load_split(config.data, "val", config.size, config.data_dir, MEASURED_DRAWN)
        self.val = held_out.images[:MEASURED_DRAWN]
        self.train = train.images[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))]
        self.train = self.train[: len(self.val)]
        self.reference = lab_measures.Reference(self.val)
        seeded = torch.Generator().manual_seed(1)
        self.z = torch.randn(len(self.val), config.latent, generator=seeded)

    def measure(
        self,
        step: int,
        means: dict[str, float],
        generator: nn.Module,
        ema: nn.Module,
        discriminator: nn.Module,
    ) -> float:
        """Log everything; returns the Fréchet distance of the averaged generator to held-out images."""
        numbers, images = {}, {}
        for version, network in (("raw", generator), ("ema", ema)):
            network.eval()
            images[version] = lab_measures.decode(network, self.z, self.device.torch)
            network.train(version == "raw")
            measured = self.reference.measure(images[version])
            numbers |= {f"val/{version}_{name}": value for name, value in measured.items()}
        to_device = lambda part: to_model_range(part).to(self.device.torch)
        numbers["val/overfitting"] = overfitting(
            discriminator, to_device(self.train), to_device(self.val), to_device(images["raw"])
        )
        self.run.save_samples("ema", step, images["ema"][:64], 8)
        self.run.log(step, means | numbers)
        self.warn(step, numbers)
        return numbers[f"val/ema_{self.reference.name}"]

    def warn(self, step: int, numbers: dict[str, float]) -> None:
        """One line when the discriminator begins to know its images by heart, or samples become alike."""
        share, diversity = numbers["val/overfitting"], numbers["val/raw_diversity"]
        started = step >= self.config.steps / 4  # every generator begins with pictures that are all alike
        alarmed = share > OVER_FITTED or (started and diversity < lab_measures.COLLAPSED)
        if alarmed and not self.alarmed:
            self.run.say(
                f"warning: step {step}: held-out images are judged {100 * share:.0f} % of the way from "
                f"training to generated ones, samples are {100 * diversity:.0f} % as diverse as the data: "
                + ("over-fitting; " if share > OVER_FITTED else "collapse; ")
                + "more images, --mirror, --augment or a larger --r1-gamma help"
            )
        self.alarmed = alarmed


def check(config: Config) -> None:
    """InputError for numbers no run can have."""
    for name in ("batch_size", "steps", "measure_every", "lr_generator", "lr_discriminator", "penalty_every"):
        if getattr(config, name) <= 0:
            raise InputError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be above 0")
    if config.batch_size < 2:
        raise InputError("--batch-size 1: batch normalisation needs at least 2")
    if config.r1_gamma < 0:
        raise InputError(f"--r1-gamma {config.r1_gamma}: must not be negative")
    if not 0 < config.ema < 1:
        raise InputError(f"--ema {config.ema}: a decay per step lies between 0 and 1, 0.997 for example")


def main(config: Config) -> Path:
    check(config)
    device = devices.start(config.device, precision=config.precision, seed=config.seed)
    generator, discriminator = (device.prepare(network, channels_last=True) for network in build(config))
    train, _ = lab_images.load_for_training(config.data, config.size, config.batch_size, config.data_dir)
    train = lab_images.with_mirrored(train) if config.mirror else train
    ema = averaged(config, generator)
    adam = lambda network, lr: torch.optim.Adam(network.parameters(), lr=lr, betas=(config.beta1, 0.99))
    for_generator = adam(generator, config.lr_generator)
    for_discriminator = adam(discriminator, config.lr_discriminator)
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    averages = runs.Averages()
    with resumable.start(
        "lab8", f"gan-{Path(config.data).name}", config, device, batches=batches, averages=averages, ema=ema,
        generator=generator, discriminator=discriminator,
        for_generator=for_generator, for_discriminator=for_discriminator,
    ) as (run, saver, done):  # fmt: skip
        stream, watch = batches.forever(), Watch(run, config, train, device)
        for step in run.progress(done + 1, config.steps):
            real = next(stream).images.contiguous(memory_format=torch.channels_last)
            z = torch.randn(config.batch_size, config.latent).to(device.torch)
            with device.autocast():
                fake = generator(z)
            fake = fake.float()

            discriminator.requires_grad_(True)
            for_discriminator.zero_grad()
            d_losses, d_real, d_fake = update_discriminator(
                config, discriminator, real, fake.detach(), step, device
            )
            for_discriminator.step()

            discriminator.requires_grad_(False)
            for_generator.zero_grad()
            g_losses = update_generator(config, discriminator, fake, device)
            for_generator.step()
            ema.update_parameters(generator)

            averages.add(
                {
                    "discriminator_loss": d_losses,
                    "generator_loss": g_losses,
                    "d_real": d_real.sigmoid(),
                    "d_fake": d_fake.sigmoid(),
                }
            )
            if step % config.measure_every == 0 or step == config.steps:
                means = averages.take(device)
                saver.require_finite(step, *means.values())
                distance = watch.measure(step, means, generator, ema.module, discriminator)
                saver.save_if_best(step, distance)
            saver.save_if_due(step, d_losses.mean() + g_losses.mean())
        saver.save(config.steps)
        report(config, run, watch.reference, networks.parameters(generator))
    return run.folder


def report(config: Config, run: runs.Run, reference: lab_measures.Reference, parameters: int) -> None:
    """Figures and summary.json of a finished run, from its best checkpoint."""
    lines = runs.read_metrics(run.folder)
    distance = f"val/ema_{reference.name}"
    best = min(lines, key=lambda line: line[distance])
    z = torch.randn(80, config.latent, generator=torch.Generator().manual_seed(1))
    images = lab_measures.decode(load_best(config, run.folder), z)
    figures.save_grid(run.folder / "samples.png", images, 10)
    figures.save_curves(
        run.folder / "loss.png",
        lines,
        ("train/discriminator_loss", "train/generator_loss"),
        title="At equilibrium D loses 2 ln 2 = 1.39 and G ln 2 = 0.69, not 0",
        ylabel="loss, nats per image",
    )
    figures.save_curves(
        run.folder / "distance.png",
        lines,
        (f"val/raw_{reference.name}", distance),
        title=f"Averaged weights: {best[distance]:.0f} at best, step {best['step']}",
        ylabel=f"Fréchet distance to {reference.count} held-out images",
        log_scale=True,
    )
    figures.save_curves(
        run.folder / "overfitting.png",
        lines,
        ("val/overfitting", "val/raw_diversity"),
        title="D knows its images by heart: 0 no, 1 all; diversity: 1 as the data",
        ylabel="share",
    )
    run.summary(
        {name: value for name, value in best.items() if name.startswith("val/")},
        steps=best["step"],
        n_val=reference.count,
        seed=config.seed,
        generator_parameters=parameters,
        figures=["samples.png", "loss.png", "distance.png", "overfitting.png"],
    )
    run.say(f"best {distance} {best[distance]:.1f} at step {best['step']}; next: generate.py {run.folder}")


def load_best(config: Config, run_dir: Path) -> nn.Sequential:
    """The averaged generator at its lowest validation distance, on the CPU, in evaluation mode."""
    ema = averaged(config, build(config)[0])
    ema.load_state_dict(checkpoints.read(run_dir / "checkpoints" / "best.pt")["parts"]["ema"])
    return ema.module.eval()


if __name__ == "__main__":
    command_line.run(main, Config)
