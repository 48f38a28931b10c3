"""Train a small Stable Diffusion on captioned portraits.  Theory: theory/en/latent_diffusion.md.

python hw4_diffusion/train_text_to_image.py
python hw4_diffusion/train_text_to_image.py --stage autoencoder
python hw4_diffusion/train_text_to_image.py --stage denoiser --autoencoder runs/hw4/0001-autoencoder-avatars
python hw4_diffusion/train_text_to_image.py --resume runs/hw4/0002-text-to-image-avatars
torchrun --nproc-per-node 2 hw4_diffusion/train_text_to_image.py

First the autoencoder learns to make small latents of images.  The latents of all images and the tokens of
their captions are then computed once, and a text encoder and a U-Net learn together to remove noise from
latents, eq. (diffusion.7).  Each stage has a run directory of its own; `pipeline/` in the second is a folder
for StableDiffusionPipeline.from_pretrained, with the averaged weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from common import command_line, data, devices, resumable, runs
from common.averaged_weights import averaged
from common.cuda_graphs import Graphed
from common.data import Batches, ImageSet
from common.errors import InputError
from common.flags import (
    Channels,
    Count,
    Decay,
    Dimensions,
    Folder,
    Images,
    Layers,
    LearningRate,
    NonNegative,
    Pixels,
    SeveralImages,
    Share,
    TrainingFlags,
)
from common.noise import BatchNoise
from common.schedules import half_cosine, set_learning_rate

import torch
from torch import Tensor, nn

from hw4_diffusion import captioned_latents, drawing, small_pipeline
from hw4_diffusion.diffusion import noised, squared_error, target
from hw4_diffusion.small_pipeline import Autoencoder, Description
from hw4_diffusion.text_to_image_report import AutoencoderReport, DenoiserReport

LARGEST_GRADIENT = 1.0
"""A longer gradient is shortened to this length."""


@dataclass(frozen=True)
class Config(TrainingFlags):
    """Flags of train_text_to_image.py."""

    stage: Literal["both", "autoencoder", "denoiser"] = "both"
    """What is trained; `denoiser` means the text encoder and the U-Net."""
    autoencoder: Folder | None = None
    """Run directory of the first stage, for `--stage denoiser`."""
    train_images: Images = 50_000
    """Portraits to learn from."""
    size: Pixels = 64
    """Side of the images."""
    autoencoder_channels: tuple[Channels, ...] = (16, 48, 96)
    """Channels of the autoencoder at each size, from the images' own on, each half of the one before."""
    latent_channels: Channels = 4
    """Numbers at each place of the latent."""
    autoencoder_steps: Count = 2000
    """Updates of the autoencoder."""
    autoencoder_batch_size: Count = 32
    """Images per update of the autoencoder, over all processes."""
    edge_weight: NonNegative = 2.0
    """What the error of differences between neighbouring pixels counts beside that of the pixels."""
    kl_weight: NonNegative = 1e-4
    """What a nat of a number of the latent counts beside the mean error of a pixel."""
    unet_channels: tuple[Channels, ...] = (32, 64, 128)
    """Channels of the U-Net at each size, from the latent's own on."""
    text_width: Dimensions = 128
    """Length of a word's vector."""
    text_layers: Layers = 2
    """Layers of the text encoder."""
    wordings: Count = 2
    """Captions of each image, in different words."""
    drop_caption: Share = 0.1
    """Share of images whose caption is empty, so that samples can be guided."""
    steps: Count = 8000
    """Updates of text encoder and U-Net."""
    batch_size: Count = 64
    """Images per update of text encoder and U-Net, over all processes."""
    learning_rate: LearningRate = 1e-3
    """Adam's learning rate in both stages, constant until the cool-down."""
    warm_up: Count = 100
    """Steps over which the learning rate rises."""
    cooldown: Share = 0.7
    """Last share of the steps, over which the learning rate falls to 0."""
    ema_decay: Decay = 0.995
    """What the averaged weights keep of their past at every step."""
    measure_every: Count = 1000
    """Steps between measurements."""
    measure_images: SeveralImages = 200
    """Validation portraits that are reconstructed, and whose captions are drawn."""
    guidance: drawing.Guidance = 4.0
    """What the caption changes is multiplied with that in the samples of a measurement."""

    @property
    def description(self) -> Description:
        """Sizes of the networks."""
        return Description(
            self.size, self.autoencoder_channels, latent_channels=self.latent_channels,
            unet_channels=self.unet_channels, text_width=self.text_width, text_layers=self.text_layers,
        )  # fmt: skip


def main(config: Config) -> Path:
    check(config)
    device = devices.start(config.device, precision=config.precision, seed=config.seed)
    sets = load(config, "train", config.train_images), load(config, "val", config.measure_images)
    if config.stage == "denoiser":
        return train_denoiser(config, device, *sets)
    folder = train_autoencoder(config, device, *sets)
    if config.stage == "autoencoder":
        return folder
    second = replace(config, stage="denoiser", autoencoder=folder.absolute(), resume=None)
    return train_denoiser(second, device, *sets)


def train_autoencoder(config: Config, device: devices.Device, train: ImageSet, validation: ImageSet) -> Path:
    """Images (B, 3, S, S) -> latents (B, D, s, s) -> images."""
    torch.manual_seed(config.seed)
    autoencoder = Autoencoder(small_pipeline.build_autoencoder(config.description))
    network = device.prepare(autoencoder, channels_last=True)
    network_ddp, ema = device.parallel(network), averaged(network, config.ema_decay, growing=True)
    optimizer = device.adam(network.parameters(), config.learning_rate)
    batches = Batches(train, config.autoencoder_batch_size, device, drop_last=True, seed=config.seed)
    noise = BatchNoise(config.autoencoder_batch_size, device, seed=config.seed)
    steps, averages = config.autoencoder_steps, runs.Averages()

    def update(images, eps):
        """One step: what is logged of it (B,), and the length of the gradient."""
        with device.autocast():
            decoded, parameters = network_ddp(images, eps)
        error = reconstruction_error(images, decoded.float(), config.edge_weight)  # (B,)
        nats = nats_of_a_number(parameters.float())  # (B,)
        optimizer.zero_grad()
        (error + config.kl_weight * nats).mean().backward()
        gradient = nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        return {"error": error, "nats": nats, "gradient_norm": gradient.expand(len(error))}

    update = Graphed(update, device)
    with resumable.start(
        "hw4", "autoencoder-avatars", config, device, network=network, ema=ema, noise=noise,
        optimizer=optimizer, batches=batches, validation=validation, averages=averages,
    ) as (run, saver, done):  # fmt: skip
        report = AutoencoderReport(run, device, config.seed, ema.module.both, validation)
        for step, batch in zip(run.progress(done + 1, steps), batches.forever()):
            set_learning_rate(optimizer, learning_rate(config, step, steps))
            logged = update(batch.images, noise.normal(*config.description.latent_shape))
            ema.update_parameters(network)
            averages.add(logged)
            if step % config.measure_every == 0 or step == steps:
                means = averages.take(device)
                saver.require_finite(step, *means.values())
                report.measure(step, means)
            # with finite losses and gradients the weights are finite: no checkpoint is written otherwise
            saver.save_if_due(step, logged["error"].mean() + logged["gradient_norm"].mean())
        saver.save(steps)
        report.finish()
    return run.folder


def reconstruction_error(images: Tensor, decoded: Tensor, edge_weight: float) -> Tensor:
    """(B, C, H, W) twice -> (B,): mean (x - y)^2, and the same of the differences between neighbours, the
    first two parts of eq. (latent_diffusion.1).

    A mouth is a few dark pixels: left out it costs little beside a faint error everywhere, but all of its
    edge.  Absolute errors would count it for even less, as they count a small error like a large one."""
    wrong = decoded - images
    down, across = (wrong.diff(dim=axis).square().mean((1, 2, 3)) for axis in (2, 3))
    return wrong.square().mean((1, 2, 3)) + edge_weight * (down + across)


def nats_of_a_number(parameters: Tensor) -> Tensor:  # (B, 2 D, s, s) -> (B,)
    """KL(q(z | x) || N(0, I)) of means and log-variances, divided by how many numbers z has; the last part of
    eq. (latent_diffusion.1)."""
    mean, logvar = parameters.chunk(2, dim=1)
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean((1, 2, 3))


def train_denoiser(config: Config, device: devices.Device, train: ImageSet, validation: ImageSet) -> Path:
    """Text encoder and U-Net, on latents (B, D, s, s) and tokens (B, L)."""
    torch.manual_seed(config.seed)
    autoencoder = device.prepare(small_pipeline.read_autoencoder(config.autoencoder))
    tokenizer = small_pipeline.build_tokenizer(config.description)
    denoiser = small_pipeline.build_denoiser(config.description, autoencoder, tokenizer)
    network = device.prepare(denoiser, channels_last=True)
    network_ddp, ema = device.parallel(network), averaged(network, config.ema_decay, growing=True)
    optimizer = device.adam(network.parameters(), config.learning_rate)
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    noise, averages = BatchNoise(config.batch_size, device, seed=config.seed), runs.Averages()
    alphas, sigmas = (levels.to(device.torch) for levels in small_pipeline.noise_levels())  # (T,)

    def update(x0, tokens, t, eps):
        """One step: what is logged of it (B,), and the length of the gradient."""
        alpha, sigma = alphas[t, None, None, None], sigmas[t, None, None, None]
        with device.autocast():
            output = network_ddp(noised(x0, eps, alpha, sigma), t, tokens)
        loss = squared_error(output.float(), target("v", x0, eps, alpha, sigma))  # (B,)
        optimizer.zero_grad()
        loss.mean().backward()
        gradient = nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        return {"loss": loss, "gradient_norm": gradient.expand(len(loss))}

    update = Graphed(update, device)
    with resumable.start(
        "hw4", "text-to-image-avatars", config, device, network=network, ema=ema, noise=noise,
        optimizer=optimizer, batches=batches, validation=validation, averages=averages,
    ) as (run, saver, done):  # fmt: skip
        known = captioned_latents.prepare(
            run.folder / "latents.safetensors", autoencoder, tokenizer, train, config.wordings, device
        )
        autoencoder.register_to_config(scaling_factor=known.scaling_factor)
        report = DenoiserReport(run, device, config, autoencoder, tokenizer, ema.module, validation)
        for step, batch in zip(run.progress(done + 1, config.steps), batches.forever()):
            set_learning_rate(optimizer, learning_rate(config, step, config.steps))
            time, wording, chance = noise.uniform(3).unbind(1)
            x0 = known.scaled(batch.index)  # (B, D, s, s), of variance 1
            tokens = known.told(batch.index, wording, nothing=chance < config.drop_caption)  # (B, L)
            t = (time * len(alphas)).long()  # (B,), uniform on 0, ..., T - 1
            logged = update(x0, tokens, t, noise.normal(*x0.shape[1:]))
            ema.update_parameters(network)
            averages.add(logged)
            if step % config.measure_every == 0 or step == config.steps:
                means = averages.take(device)
                saver.require_finite(step, *means.values())
                report.measure(step, means)
            saver.save_if_due(step, logged["loss"].mean() + logged["gradient_norm"].mean())
        saver.save(config.steps)
        report.finish()
    return run.folder


def learning_rate(config: Config, step: int, steps: int) -> float:
    """Rises, stays, and falls over the last `cooldown` of the steps, as half a cosine."""
    start = (1 - config.cooldown) * steps
    share = half_cosine(max(0.0, (step - start) / max(steps - start, 1)))
    return config.learning_rate * min(share, step / config.warm_up)


# ---- checks, data


def check(config: Config) -> None:
    """InputError for flags that do not go together."""
    config.description.check()
    for name in ("autoencoder_batch_size", "batch_size"):
        if (wanted := getattr(config, name)) > config.train_images:
            raise InputError(
                f"{command_line.flag(name)} {wanted}: there are only {config.train_images} images to learn "
                "from; use a smaller batch, or more --train-images"
            )
    if config.stage == "denoiser" and config.autoencoder is None:
        raise InputError(
            "--stage denoiser: needs an autoencoder; name the run directory of --stage autoencoder with "
            "--autoencoder"
        )
    if config.stage != "denoiser" and config.autoencoder is not None:
        raise InputError(
            f"--autoencoder {config.autoencoder}: --stage {config.stage} trains one itself; add --stage "
            "denoiser to use that one"
        )


def load(config: Config, split: str, count: int) -> ImageSet:
    """Drawn portraits with their attributes, of which captions are made."""
    return data.load("avatars", split, size=config.size, count=count, data_dir=config.data_dir)


if __name__ == "__main__":
    command_line.run(main, Config)
