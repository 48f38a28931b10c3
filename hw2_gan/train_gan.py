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
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from common import command_line, data, devices, resumable, runs
from common.data import Batches, ImageSet
from common.errors import InputError
from hw2_gan import game, networks
from hw2_gan.gan_flags import TOLD, Config, check, options
from hw2_gan.monitor import Monitor


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


def chosen(generator: nn.Module, z: Tensor) -> Tensor | None:  # (B, D) -> int64 (B, A)
    """The options that latents choose; None without --conditional."""
    return generator.choices(z) if isinstance(generator, networks.ConditionalGenerator) else None


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
        fused=device.torch.type != "mps",
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
        return z[self.device.rank :: self.device.world_size].to(self.device.torch)

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
    draw, judge = device.parallel(generator), device.parallel(game.Judgement(discriminator))
    ema = averaged(config, generator)
    for_generator, for_discriminator = optimizers(config, generator, discriminator, device)
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    latents, averages = Latents(config, generator.latent, device), runs.Averages()
    steps = config.epochs * (epoch_steps := len(batches) // config.discriminator_steps)
    name = f"gan-{config.hypothesis}-{Path(config.data).name}"
    with resumable.start(
        "hw2", name, config, device, batches=batches, latents=latents, averages=averages, ema=ema,
        generator=generator, discriminator=discriminator,
        for_generator=for_generator, for_discriminator=for_discriminator,
    ) as (run, saver, done):  # fmt: skip
        stream, monitor = batches.forever(), Monitor(run, device, validation)
        for step in run.progress(done + 1, steps):
            share_done = step / steps
            set_learning_rates(config, for_generator, for_discriminator, share_done)
            discriminator.requires_grad_(True)
            for left in range(config.discriminator_steps, 0, -1):
                batch = next(stream)
                real, told = (
                    game.seen(config, batch.images, share_done),
                    attributes(config, train, batch.index),
                )
                with device.autocast():
                    with torch.set_grad_enabled(left == 1):  # the last images serve G's update too
                        z, drawn = generate(draw if left == 1 else generator, latents)
                    fake = game.seen(config, drawn.detach(), share_done)
                    real_logits, fake_logits = judge(real, fake, told, chosen(generator, z))
                d_loss = game.discriminator_loss(config, real_logits, fake_logits)
                penalty = game.penalties(config, discriminator, real, fake, told, step)
                for_discriminator.zero_grad()
                (d_loss.mean() + penalty).backward()
                for_discriminator.step()
            d_gradient = gradient_norm(discriminator)

            discriminator.requires_grad_(False)  # no gradients of D's weights in G's update
            for number in range(config.generator_steps):
                with device.autocast():
                    z, drawn = generate(draw, latents) if number else (z, drawn)
                    logits = discriminator(game.seen(config, drawn, share_done), chosen(generator, z))
                g_loss = game.GENERATOR_LOSSES[config.loss](logits)
                for_generator.zero_grad()
                g_loss.mean().backward()
                for_generator.step()
            ema.update_parameters(generator)
            g_gradient = gradient_norm(generator)

            averages.add(
                {
                    "discriminator_loss": d_loss,
                    "generator_loss": g_loss,
                    "d_real": game.opinion(config, real_logits),
                    "d_fake": game.opinion(config, fake_logits),
                    "discriminator_gradient_norm": d_gradient.expand(len(d_loss)),
                    "generator_gradient_norm": g_gradient.expand(len(d_loss)),
                }
            )
            if step % epoch_steps == 0:
                means = averages.take(device)
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
