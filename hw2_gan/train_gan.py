"""Train a GAN: DCGAN or the CSPup generator, under any of the hypotheses.  Theory: theory/en/gan.md.

python hw2_gan/train_gan.py                                  # the base run: 5 epochs of drawn avatars
python hw2_gan/train_gan.py --hypothesis 6                   # flags given beside it win over the hypothesis
python hw2_gan/train_gan.py --hypothesis 3 --loss least-squares --size 128 --width 1 --data celeba
python hw2_gan/train_gan.py --resume runs/hw2/0001-gan-base-avatars
torchrun --nproc-per-node 2 hw2_gan/train_gan.py --hypothesis 6

Every epoch logs both losses, D(x), D(G(z)), gradient norms, and, of the weights as they are (`raw`) and of
their moving average (`ema`), Fréchet distance, styles covered and diversity against validation images.  A
generator whose images are less than half as diverse as the data is reported as collapsed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from common import adversarial, augmentation, command_line, devices, resumable, runs, shapes
from common.cuda_graphs import Graphed
from common.data import Batches
from common.devices import Device
from common.noise import BatchNoise

import torch
from torch import Tensor, nn

from hw2_gan import gan_data
from hw2_gan.gan_flags import CROSS_ENTROPIES, Config, check
from hw2_gan.monitor import Monitor
from hw2_gan.players import Players, RealAndFake, build_players, set_learning_rates


def updates(
    config: Config, players: Players, batches: Batches, noise: BatchNoise, device: Device, steps: Iterable
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Train both players in turn; yields every step's number and what it measured, (B,) each."""
    generator, discriminator, ema, for_generator, for_discriminator = players
    generator_ddp, discriminator_ddp = device.parallel(generator), device.parallel(RealAndFake(discriminator))
    stream, last_step = batches.forever(), last_step_of(config, batches)

    def update(real, z, share_done, *told, last: bool, turn: int):  # (B, 3, S, S), (B, D), (), (B, A)
        """A step of the discriminator and, after its `last` one, a step of the generator."""
        # task hw2.c: one step of the discriminator, one of the generator
        # ---- discriminator
        discriminator.requires_grad_(True)
        real = augmented(config, real, share_done)
        real_labels, fake_labels = (told[0], generator.labels(z)) if told else (None, None)  # (B, A)
        with device.autocast():
            with torch.set_grad_enabled(last):  # G learns from the last fakes alone
                fake = (generator_ddp if last else generator)(z)  # (B, 3, S, S)
            shown = augmented(config, fake.detach(), share_done)  # D's step does not reach G
            real_logits, fake_logits = discriminator_ddp(real, shown, real_labels, fake_labels)  # (B,)
        d_loss = discriminator_loss(config, real_logits, fake_logits)  # (B,), eqs. (gan.1), (gan.6) ...
        penalty = penalties(config, discriminator, real, shown, real_labels, turn)  # (gan.9), (gan.10)
        for_discriminator.zero_grad()
        (d_loss.mean() + penalty).backward()
        for_discriminator.step()
        if not last:
            return None

        # ---- generator
        discriminator.requires_grad_(False)  # no gradients of D's weights in G's update
        # DIFFERS: Goodfellow et al. (2014) draw new latents here; these fakes served D's update already
        with device.autocast():
            logits = discriminator(augmented(config, fake, share_done), fake_labels)  # (B,)
        g_loss = GENERATOR_LOSSES[config.loss](logits)  # (B,), eqs. (gan.4)-(gan.8)
        for_generator.zero_grad()
        g_loss.mean().backward()
        for_generator.step()
        # end task
        return measured(config, players, d_loss, g_loss, real_logits, fake_logits)

    update = Graphed(update, device)
    for step in steps:
        share_done = step / last_step
        set_learning_rates(config, players, share_done)
        share_done = torch.tensor(share_done).to(device.torch)
        for last in [False] * (config.discriminator_steps - 1) + [True]:  # several where WGAN-GP asks for it
            batch, z = next(stream), noise.normal(generator.latent)  # (B, D)
            labels = gan_data.labels(config, batches.image_set, batch.index)
            told = () if labels is None else (labels.to(device.torch),)
            turn = math.gcd(step, config.penalty_every)  # whether a penalty is due
            values = update(batch.images, z, share_done, *told, last=last, turn=turn)
        ema.update_parameters(generator)  # eq. (gan.16)
        yield step, values


def main(config: Config) -> Path:
    check(config)
    device = devices.start(config.device, precision=config.precision, seed=config.seed)
    train, validation = gan_data.training_images(config), gan_data.validation_images(config)
    players = build_players(config, device)
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    noise, averages = BatchNoise(config.batch_size, device, seed=config.seed), runs.Averages()
    name = f"gan-{config.hypothesis}-{Path(config.data).name}"
    parts = dict(players._asdict(), batches=batches, noise=noise, averages=averages, validation=validation)
    with resumable.start("hw2", name, config, device, **parts) as (run, saver, done):
        monitor = Monitor(run, device, validation, players.generator.latent)
        steps = run.progress(done + 1, last_step_of(config, batches))
        for step, values in updates(config, players, batches, noise, device, steps):
            averages.add(values)
            if step % steps_an_epoch(config, batches) == 0:
                means = averages.take(device)
                saver.require_finite(step, *means.values())
                distance = device.broadcast(monitor.epoch(step, means, players))
                if distance is not None:
                    saver.save_if_best(step, distance)
            # with finite losses and gradients the weights are finite: no checkpoint is written otherwise
            saver.save_if_due(step, sum(value.mean() for value in values.values()))
        saver.save(last_step_of(config, batches))
        monitor.finish(config.seed, shapes.parameters(players.generator),
                       shapes.parameters(players.discriminator))  # fmt: skip
    return run.folder


# ---- losses, labels and penalties, as the flags choose them

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


def discriminator_loss(config: Config, real: Tensor, fake: Tensor) -> Tensor:  # (B,), (B,) -> (B,)
    """The loss of --loss on logits, with the labels of this run where it is a cross-entropy."""
    loss = DISCRIMINATOR_LOSSES[config.loss]
    if loss is adversarial.cross_entropy_discriminator:
        return loss(real, fake, targets(real, config.real_label), targets(fake, config.fake_label))
    return loss(real, fake)


def targets(like: Tensor, label: tuple[float, float]) -> Tensor | float:
    """Cross-entropy targets for logits (B,), uniform between the two ends of `label`, eq. (gan.13)."""
    # task hw2.d: smoothed labels
    return label[0] + (label[1] - label[0]) * torch.rand_like(like) if label[0] < label[1] else label[0]
    # end task


def augmented(config: Config, images: Tensor, share_done: Tensor | float) -> Tensor:
    """What D sees of images (B, 3, S, S): with noise, eq. (gan.14), and augmented, eq. (gan.15)."""
    # task hw2.d: what D sees: noise that fades, and augmentation
    if config.instance_noise:
        images = images + config.instance_noise * (1 - share_done) * torch.randn_like(images)
    return augmentation.augment(images, config.augment)
    # end task


def penalties(
    config: Config, discriminator: nn.Module, real: Tensor, fake: Tensor, labels: Tensor | None, turn: int
) -> Tensor | float:
    """The mean penalty on D's gradients as the loss of a step contains it, eqs. (gan.9), (gan.10)."""
    total = 0.0
    if turn % config.penalty_every:
        return total
    # task hw2.d: penalties with their weights, every so many steps
    logits = lambda images: discriminator(images, labels)
    if config.r1_gamma:
        total = config.r1_gamma / 2 * adversarial.r1_penalty(logits, real).mean()
    if config.gradient_penalty:
        total = total + config.gradient_penalty * adversarial.gradient_penalty(logits, real, fake).mean()
    return config.penalty_every * total
    # end task


# ---- what is logged, and how long a run is


def measured(
    config: Config, players: Players, d_loss: Tensor, g_loss: Tensor, real_logits: Tensor, fake_logits: Tensor
) -> dict[str, Tensor]:
    """What a step measured, (B,) each.  D(x) is a probability under a cross-entropy, else the raw output."""
    opinion = torch.sigmoid if config.loss in CROSS_ENTROPIES else (lambda logits: logits)
    return {
        "discriminator_loss": d_loss,
        "generator_loss": g_loss,
        "d_real": opinion(real_logits),
        "d_fake": opinion(fake_logits),
        "discriminator_gradient_norm": gradient_norm(players.discriminator).expand(len(d_loss)),
        "generator_gradient_norm": gradient_norm(players.generator).expand(len(d_loss)),
    }


def gradient_norm(network: nn.Module) -> Tensor:
    """|gradient| over all parameters."""
    return nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])


def steps_an_epoch(config: Config, batches: Batches) -> int:
    """Updates of the generator in a pass over the images."""
    return len(batches) // config.discriminator_steps


def last_step_of(config: Config, batches: Batches) -> int:
    """Updates of the generator in the whole run."""
    return config.epochs * steps_an_epoch(config, batches)


if __name__ == "__main__":
    command_line.run(main, Config)
