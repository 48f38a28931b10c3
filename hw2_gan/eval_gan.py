"""Measure a trained GAN on test images, and look at it.  Theory: theory/en/gan.md, theory/en/metrics.md.

python hw2_gan/eval_gan.py runs/hw2/0001-gan-base-avatars
python hw2_gan/eval_gan.py runs/hw2/0001-gan-base-avatars --weights raw --samples 2000

Makes a run directory of its own: summary.json with every number, samples, the training images nearest to
samples, an interpolation (figure and looping GIF), the discriminator's logits of all images as histograms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from common import checkpoints, command_line, devices, figures, flags, latent_space, runs
from common.data import ImageSet, to_model_range, to_uint8
from common.metrics import attributes, kernel, nearest, precision_recall, samples

import torch
import tyro
from annotated_types import Interval
from torch import Tensor, nn

from hw2_gan import gan_data, gan_figures, players
from hw2_gan import train_gan as training
from hw2_gan.gan_flags import CONDITIONS


@dataclass(frozen=True)
class Config(flags.Flags):
    """Flags of eval_gan.py."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Run directory of train_gan.py."""
    weights: Literal["ema", "raw"] = "ema"
    """Which weights of the generator: their average, or the last ones."""
    checkpoint: Literal["last", "best"] = "last"
    """When: at the end of training, or after the epoch nearest to the validation images."""
    samples: Annotated[int, Interval(ge=20, le=10**6)] = 10_000
    """Images generated, against as many test images (or all there are)."""
    frames: Annotated[int, Interval(ge=4, le=1000)] = 60
    """Frames of the interpolation."""
    seed: flags.Seed = 0
    """Seed of the latents."""
    device: str = "auto"
    """Device to compute on: auto, cpu, mps, cuda or cuda:N."""
    data_dir: flags.Folder | None = None
    """Folder of the image sets; default: what the training used."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""


def main(config: Config) -> Path:
    device = devices.start(config.device, seed=config.seed)
    trained = training_config(config.run_dir, config.data_dir)
    generator, discriminator = load_networks(trained, config.run_dir, config.weights, config.checkpoint)
    train = gan_data.load_split(trained, "train")
    test = gan_data.test_images(trained, config.samples)
    name = f"eval-gan-{trained.hypothesis}-{Path(trained.data).name}"
    with runs.start("hw2", name, config, device) as run:
        z = samples.latents(len(test), generator.latent, config.seed)  # (N, D)
        fake = samples.decode(device.prepare(generator), z, device.torch)  # uint8 (N, 3, S, S)
        generator = generator.cpu()
        fake_labels = generator.labels(z) if trained.conditional else None
        real = samples.reference_of(test, device.torch)
        numbers = measure(trained, fake, fake_labels, real, train)
        logits = {
            "training": logits_of(discriminator, train.images, gan_data.labels(trained, train)),
            "test": logits_of(discriminator, test.images, gan_data.labels(trained, test)),
            "generated": logits_of(discriminator, fake, fake_labels),
        }
        numbers |= {f"d_{images}_mean_logit": values.mean().item() for images, values in logits.items()}
        title = f"hypothesis {trained.hypothesis}, {config.weights} weights"
        figures.save_grid(run.folder / "samples.png", fake[:80], 10, title=f"Samples: {title}")
        save_neighbours(run.folder / "neighbours.png", fake[:8], train, real)
        save_interpolation(run.folder, generator, config.frames, config.seed)
        gan_figures.save_logits(run.folder / "discriminator.png", logits, title)
        pictures = ("samples.png", "neighbours.png", "interpolation.png", "interpolation.gif")
        run.summary(
            {f"eval/{name}": value for name, value in numbers.items()},
            n_test=len(test),
            n_generated=len(fake),
            weights=config.weights,
            trained_on=trained.data,
            hypothesis=trained.hypothesis,
            figures=[*pictures, "discriminator.png"],
        )
        run.say("\n".join(f"{name:40} {value:.4g}" for name, value in numbers.items()))
        run.say(f"see {run.folder}")
    return run.folder


# ---- numbers


def measure(
    trained: training.Config,
    fake: Tensor,
    fake_labels: Tensor | None,
    real: samples.Reference,
    train: ImageSet,
) -> dict[str, float]:
    """Everything measured of generated images, uint8 (N, 3, S, S), that were ordered with `fake_labels`."""
    if real.extractor is None:
        return real.measure(fake)
    features = real.features_of(fake)
    numbers = real.measure(fake, features) | distances(features, real, train)
    return numbers | obeyed(trained, fake_labels, features, real)


def obeyed(
    trained: training.Config, fake_labels: Tensor | None, features: Tensor, real: samples.Reference
) -> dict[str, float]:
    """Share of images, by their features (N, D), that show the options (N, A) they were ordered with."""
    if fake_labels is None:
        return {}
    ordered = dict(zip(CONDITIONS[trained.data], fake_labels.unbind(1)))
    return attributes.obeyed(ordered, real.extractor.answers(features))


@torch.inference_mode()
def distances(fake: Tensor, real: samples.Reference, train: ImageSet) -> dict[str, float]:
    """Fréchet distance with its standard error, KID, precision and recall, and how near samples are to
    training images, all of features; `fake` (N, D): those of the samples.

    nearest_training_ratio   median distance of a sample to its nearest training image, as a share of the same
                             for test images: far below 1, the generator copies
    """
    known, name = real.features_of(train.images), real.name
    kid = kernel.kernel_distance(fake, real.features)
    both = precision_recall.precision_recall(real.features, fake)
    return {
        f"{name}_standard_error": real.estimate(fake).standard_error,
        f"kid_{name.removeprefix('fd_')}": kid.value,
        f"kid_{name.removeprefix('fd_')}_standard_error": kid.standard_error,
        "precision": both.precision,
        "recall": both.recall,
        "nearest_training_ratio": nearest.training_ratio(fake, real.features, known),
    }


@torch.inference_mode()
def logits_of(discriminator: nn.Module, images: Tensor, labels: Tensor | None) -> Tensor:
    """The discriminator's logits (N,) of the first 2,000 uint8 images (N, 3, S, S), told their options (N, A)
    if it is conditional."""
    rows = torch.arange(min(len(images), 2000)).split(samples.CHUNK)
    told = lambda index: None if labels is None else labels[index]
    return torch.cat([discriminator(to_model_range(images[index]), told(index)) for index in rows])


# ---- looks


def save_neighbours(path: Path, shown: Tensor, train: ImageSet, real: samples.Reference) -> None:
    """Each sample (uint8) beside the four training images nearest in feature space, or in pixels."""
    embed, space = (
        (real.features_of, "features") if real.extractor is not None else (nearest.pixels, "pixels")
    )
    parts = (embed(part) for part in train.images.split(2000))  # never all as floats
    near = nearest.nearest(embed(shown), parts, count=4).row  # (N, 4)
    cells = torch.cat([shown[:, None], train.images[near]], 1).flatten(0, 1)
    titles = ("sample", *(f"nearest {i + 1}" for i in range(4)))
    figures.save_grid(path, cells, 5, title=f"Nearest training images by {space}", column_titles=titles)


@torch.inference_mode()
def save_interpolation(folder: Path, generator: nn.Module, frames: int, seed: int) -> None:
    """Six closed walks on the sphere of latents through four points each: a strip and a looping GIF."""
    z = torch.randn(4, 6, generator.latent, generator=torch.Generator().manual_seed(seed))
    per_leg = -(-frames // 4)
    shares = torch.arange(per_leg) / per_leg
    path = [latent_space.slerp(z[i], z[(i + 1) % 4], share) for i in range(4) for share in shares]
    images = torch.stack([to_uint8(generator(point)) for point in path])  # (F, 6, C, H, W)
    grids = torch.stack([figures.image_grid(frame, 3) for frame in images])
    figures.save_gif(folder / "interpolation.gif", grids, 80)
    strip = images[: per_leg + 1 : max(1, per_leg // 8), :3].transpose(0, 1)  # (3, columns, C, H, W)
    title = "Between two latents, along the sphere"
    figures.save_grid(folder / "interpolation.png", strip.flatten(0, 1), strip.shape[1], title=title)


# ---- loading


def training_config(run_dir: Path, data_dir: Path | None) -> training.Config:
    """The flags a run was trained with, its data where they are now."""
    trained = command_line.config_from_run(training.Config, run_dir)
    return replace(trained, data_dir=data_dir or trained.data_dir)


def load_networks(
    trained: training.Config, run_dir: Path, weights: str = "ema", checkpoint: str = "last"
) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator of a run, on the CPU, in evaluation mode."""
    generator = players.build_generator(trained).to(memory_format=torch.channels_last)
    discriminator = players.build_discriminator(trained).to(memory_format=torch.channels_last)
    path = run_dir / "checkpoints" / f"{checkpoint}.pt"
    if weights == "ema":
        ema = players.averaged(trained, generator)
        checkpoints.load_parts(path, discriminator=discriminator, ema=ema)
        generator = ema.module  # a copy, which has the memory format too
        players.recompute_batch_statistics(generator)
    else:
        checkpoints.load_parts(path, discriminator=discriminator, generator=generator)
    return generator.eval(), discriminator.eval()


if __name__ == "__main__":
    command_line.run(main, Config)
