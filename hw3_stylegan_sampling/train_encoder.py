"""Train an encoder: images -> the styles W+ of a trained generator.  Theory: theory/en/stylegan.md.

python hw3_stylegan_sampling/train_encoder.py --network avatars
python hw3_stylegan_sampling/train_encoder.py --network runs/hw3/0001-stylegan-avatars --batch-size 128
python hw3_stylegan_sampling/train_encoder.py --resume runs/hw3/0002-encoder-avatars
torchrun --nproc-per-node 2 hw3_stylegan_sampling/train_encoder.py --network avatars

Half of every batch the generator draws, so that their styles are known; the other half are images of the set,
which it has to draw again: alike to a perceptual network, and, for avatars, the same persons.  The generator
stays as it is.  Measured on validation images is how near they come, and whether their person is still
recognised.  The encoder is written to encoder.safetensors; project.py --encoder takes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common import command_line, data, devices, resumable, runs, shapes
from common.cuda_graphs import Graphed
from common.data import Batches, ImageSet, to_model_range, to_uint8
from common.errors import InputError
from common.flags import Count, Data, Folder, Images, LearningRate, NonNegative, SeveralImages, TrainingFlags
from common.metrics import identity
from common.metrics.identity import IdentityName
from common.noise import BatchNoise
from common.schedules import half_cosine, set_learning_rate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hw3_stylegan_sampling import encoder as encoders
from hw3_stylegan_sampling import models, project, projection
from hw3_stylegan_sampling.encoder import Encoder
from hw3_stylegan_sampling.networks import Generator


@dataclass(frozen=True)
class Config(TrainingFlags):
    """Flags of train_encoder.py."""

    network: models.Network = "avatars"
    """A shipped generator's name, a run directory of train_stylegan.py, a .safetensors or a .pkl file."""
    start: Folder | None = None
    """Encoder's file to begin with: a few steps fit it to a generator that was trained on."""
    data: Data = "avatars"
    """Images to project: avatars, celeba, or a folder."""
    train_images: Images = 50_000
    """Images to learn from, of a drawn set."""
    steps: Count = 8000
    """Updates."""
    batch_size: Count = 32
    """Images of the set in an update; the generator draws as many more."""
    learning_rate: LearningRate = 1e-3
    """Adam's learning rate at the beginning; it falls to 0."""
    styles: NonNegative = 0.5
    """Weight of the squared error of styles, where they are known, in variances of w."""
    pixels: NonNegative = 1.0
    """Weight of the mean difference of pixels beside the perceptual error."""
    likeness: NonNegative = 0.5
    """Weight of the identity loss of images of the set."""
    offsets: NonNegative = 0.02
    """Weight of the squared distance of the layers' styles from their mean, in variances of w."""
    perceptual: Literal["auto", "lpips", "small"] = "auto"
    """Network of the perceptual error: lpips, the shipped small one, or lpips where it is at hand."""
    identity: IdentityName | None = None
    """Net that recognises people; if left out, the shipped one for avatars and none for other images."""
    measure_every: Count = 500
    """Steps between measurements."""
    measure_images: SeveralImages = 200
    """Validation images, and generated ones, that are projected."""

    changeable_on_resume = frozenset({"network", "start"})
    """The generator may have moved; the encoder's mean w tells whether it is the same."""


class Losses(nn.Module):
    """What the encoder's answers cost; no part of it is trained."""

    def __init__(self, config: Config, generator: Generator, device: torch.device):
        super().__init__()
        self.config, self.generator = config, generator
        self.distance, self.judge = project.unchecked_perceptual(config.perceptual, device)
        named = config.identity or ("avatars" if config.data == "avatars" else None)
        self.identity = identity.load(named, device) if named and config.likeness else None

    def forward(self, images: Tensor, found: Tensor, spread: Tensor) -> dict[str, Tensor]:
        """Of images (B, 3, S, S) in [-1, 1] and the styles found for them (B, L, D): (B,) each."""
        drawn = self.generator.synthesis(found, "const")
        losses = {
            "perceptual": self.distance(images, drawn),
            "pixels": self.config.pixels * projection.pixel_distance(images, drawn),
            "offsets": self.config.offsets * offsets(found, spread),
        }
        if self.identity is not None:  # eq. (stylegan.32)
            with torch.no_grad():
                wanted = self.identity(images)
            similarity = identity.similarity(wanted, self.identity(drawn))
            losses["likeness"] = self.config.likeness * (1 - similarity)
        return losses


def styles_error(found: Tensor, ws: Tensor, spread: Tensor) -> Tensor:  # (B, L, D) twice -> (B,)
    """Mean squared error in variances of w; what the best encoder leaves of it says eq. (stylegan.34)."""
    return ((found - ws) / spread).square().mean((1, 2))


def offsets(ws: Tensor, spread: Tensor) -> Tensor:  # (B, L, D) -> (B,)
    """Mean squared distance from W in variances of w, eq. (stylegan.29)."""
    return ((ws - ws.mean(1, keepdim=True)) / spread).square().mean((1, 2))


def main(config: Config) -> Path:
    device = devices.start(config.device, precision=config.precision, seed=config.seed)
    generator = models.load(config.network, device.torch)
    train, val = load(config, generator, "train"), load(config, generator, "val")
    encoder = device.prepare(build(generator, None if config.resume else config.start), channels_last=True)
    encoder_ddp = device.parallel(encoder)
    losses_of = Losses(config, generator, device.torch)
    optimizer = device.adam(encoder.parameters(), config.learning_rate)
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    noise, averages = BatchNoise(config.batch_size, device, seed=config.seed), runs.Averages()

    def step_of(images: Tensor, *latents: Tensor) -> dict[str, Tensor]:
        """One update; its losses, (B,) each: generated images' styles, and images of the set drawn again."""
        with device.autocast():
            ws = known_styles(generator, *latents)  # (B, L, D)
            with torch.no_grad():
                generated = generator.synthesis(ws, "const").float().clamp(-1, 1)
            found, found_of_set = encoder_ddp(torch.cat([generated, images])).chunk(2)  # (B, L, D) each
            losses = losses_of(images, found_of_set, encoder.spread)
        losses["styles"] = config.styles * styles_error(found, ws, encoder.spread)
        optimizer.zero_grad()
        sum(losses.values()).mean().backward()
        optimizer.step()
        return losses

    update = Graphed(step_of, device)
    with resumable.start(
        "hw3", f"encoder-{Path(config.data).name}", config, device, validation=val,
        encoder=encoder, optimizer=optimizer, batches=batches, noise=noise, averages=averages,
    ) as (run, saver, done):  # fmt: skip
        encoders.check_generator(encoder, generator, f"--network {config.network}")
        run.say(f"images are compared by {losses_of.judge}")
        for step, batch in zip(run.progress(done + 1, config.steps), batches.forever()):
            set_learning_rate(optimizer, config.learning_rate * half_cosine((step - 1) / config.steps))
            losses = update(batch.images, *latents(generator, noise))
            averages.add(losses)
            if step % config.measure_every == 0 or step == config.steps:
                means = averages.take(device)
                saver.require_finite(step, *means.values())
                report(run, step, means, encoder, losses_of, val)
            saver.save_if_due(step, sum(loss.mean() for loss in losses.values()))
        saver.save(config.steps)
        finish(config, run, encoder, len(val), generator.source)
    return run.folder


def latents(generator: Generator, noise: BatchNoise) -> tuple[Tensor, ...]:
    """Two z (B, D) for each image, the layer (B,) from which on the second is used, and labels (B, K) of
    generators with classes.  Half of the images use the first z alone."""
    z, other = noise.normal(2, generator.z_dim).unbind(1)
    mixed, place = noise.uniform(2).unbind(1)
    cut = 1 + (place * (generator.layers - 1)).long()
    cut = torch.where(mixed < 0.5, cut, generator.layers)
    return z, other, cut, *random_labels(generator, noise)


def known_styles(generator: Generator, z: Tensor, other: Tensor, cut: Tensor, *labels: Tensor) -> Tensor:
    """The styles (B, L, D) of what `latents` drew."""
    first = (torch.arange(generator.layers, device=z.device) < cut[:, None])[:, :, None]  # (B, L, 1)
    with torch.no_grad():
        return torch.where(first, generator.styles(z, *labels), generator.styles(other, *labels))


def random_labels(generator: Generator, noise: BatchNoise) -> tuple[Tensor, ...]:
    """A class for each image, (B, K), of generators with classes; nothing else."""
    if not (classes := generator.shape.classes):
        return ()
    return (F.one_hot((noise.uniform() * classes).long(), classes).float(),)


# ---- data, building


def load(config: Config, generator: Generator, split: str) -> ImageSet:
    """The images of one split, as large as the generator's."""
    count = config.train_images if split == "train" else config.measure_images
    drawn = count if config.data in data.DRAWN else None
    images = data.load(config.data, split, size=generator.shape.size, count=drawn, data_dir=config.data_dir)
    if images.shape[0] != 3 or generator.shape.image_channels != 3:
        raise InputError(f"--data {config.data}: grey images or a grey generator; projection needs colours")
    return images if split == "train" else images.few(count)


def build(generator: Generator, start: Path | None = None) -> Encoder:
    """An encoder for this generator: untrained, about the mean w, or with the weights of `start`."""
    size = min(64, generator.shape.size)
    encoder = Encoder(encoders.Architecture(generator.layers, generator.w_dim, size))
    if start is not None:
        encoder = encoders.read(start)
        encoders.check_shape(encoder, generator, f"--start {start}")
    _, spread = projection.statistics_of_w(generator)
    encoder.w_mean.copy_(generator.w_mean)
    encoder.spread.fill_(spread / generator.w_dim**0.5)
    return encoder


# ---- reports


@torch.no_grad()
def measure(encoder: Encoder, losses: Losses, val: ImageSet) -> tuple[dict[str, float], Tensor]:
    """How near projections come to images of the set and of the generator; those of the set above their
    projections, uint8 (2 N, 3, S, S)."""
    generator, device = losses.generator, encoder.w_mean.device
    images = to_model_range(val.images).to(device)
    z = torch.randn(len(val), generator.z_dim, generator=torch.Generator().manual_seed(2)).to(device)
    labels = None
    if classes := generator.shape.classes:
        labels = F.one_hot(torch.arange(len(z), device=device) % classes, classes).float()
    drawn = lambda ws: torch.cat([generator.synthesis(part, "const") for part in ws.split(64)])
    generated = drawn(generator.styles(z, labels)).clamp(-1, 1)
    again, generated_again = drawn(encoder(images)), drawn(encoder(generated))
    numbers = {
        "set_psnr_db": projection.psnr(images, again).mean().item(),
        "generated_psnr_db": projection.psnr(generated, generated_again).mean().item(),
    }
    if losses.identity is not None:
        found, wanted = identity.embed(losses.identity, again), identity.embed(losses.identity, images)
        numbers["set_identity"] = identity.similarity(found, wanted).mean().item()
        if "person" in val.attributes:
            persons = val.attributes["person"]
            others = persons.unique()[:100]
            right = identity.nearest(found, identity.gallery(losses.identity, others, size=val.shape[-1]))
            shown = torch.isin(persons, others)
            numbers["set_first_among_100"] = (others[right] == persons)[shown].double().mean().item()
    return numbers, to_uint8(torch.cat([images, again])).cpu()


def report(run: runs.Run, step: int, means: dict, encoder: Encoder, losses: Losses, val: ImageSet) -> None:
    """One line of metrics.jsonl, originals above projections, and the encoder's file."""
    if not run.device.is_main:
        return
    numbers, images = measure(encoder.eval(), losses, val)
    encoder.train()
    run.log(step, means | {f"val/{name}": value for name, value in numbers.items()})
    run.say(f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in numbers.items()))
    shown = min(16, len(val))
    run.save_samples("projected", step, torch.cat([images[:shown], images[len(val) :][:shown]]), shown)
    encoders.save(run.folder / "encoder.safetensors", encoder)


def finish(config: Config, run: runs.Run, encoder: Encoder, count: int, generator: str) -> None:
    """summary.json: the last measurement."""
    if not run.device.is_main:
        return
    last = runs.read_metrics(run.folder)[-1]
    run.summary(
        {name: value for name, value in last.items() if name.startswith("val/")},
        n_val=count,
        generator=generator,
        steps=last["step"],
        seed=config.seed,
        parameters=shapes.parameters(encoder),
    )
    run.say(f"finished; next: project.py --network {config.network} --encoder {run.folder} --how encoder")


if __name__ == "__main__":
    command_line.run(main, Config)
