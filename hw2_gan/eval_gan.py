"""Measure a trained GAN on test images, and look at it.  Theory: theory/en/gan.md, theory/en/metrics.md.

python hw2_gan/eval_gan.py runs/hw2/0001-gan-base-avatars
python hw2_gan/eval_gan.py runs/hw2/0001-gan-base-avatars --weights raw --samples 2000

Makes a run directory of its own: summary.json with every number, samples, the training images nearest to
samples, an interpolation (figure and looping GIF), the discriminator's opinions of all images as histograms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor, nn

from common import checkpoints, command_line, data, devices, figures, latent_space, runs
from common.data import ImageSet, to_model_range, to_uint8
from common.errors import InputError
from common.metrics import extractors, frechet, kernel, precision_recall, spread
from hw2_gan import gan_figures, gan_measures
from hw2_gan import train_gan as training
from hw2_gan.gan_flags import TOLD


@dataclass(frozen=True)
class Config:
    """Flags of eval_gan.py."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Run directory of train_gan.py."""
    weights: Literal["ema", "raw"] = "ema"
    """The generator's averaged weights, or the last ones."""
    checkpoint: Literal["last", "best"] = "last"
    """The end of training, or the epoch nearest to the validation images."""
    samples: int = 10_000
    """Images generated, against as many test images (or all there are)."""
    frames: int = 60
    """Of the interpolation."""
    seed: int = 0
    """Of the latents."""
    device: str = "auto"
    """auto, cpu, mps, cuda or cuda:N."""
    data_dir: Path | None = None
    """Where image sets lie; default: what the training used."""
    outdir: Path = Path("runs")
    """Parent of the run directories."""


def training_config(run_dir: Path, data_dir: Path | None) -> training.Config:
    """The flags a run was trained with, its data where they are now."""
    trained = command_line.config_from_run(training.Config, run_dir)
    return replace(trained, data_dir=data_dir or trained.data_dir)


def load_networks(
    trained: training.Config, run_dir: Path, weights: str = "ema", checkpoint: str = "last"
) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator of a run, on the CPU, in evaluation mode."""
    generator = training.build_generator(trained).to(memory_format=torch.channels_last)
    discriminator = training.build_discriminator(trained).to(memory_format=torch.channels_last)
    parts = checkpoints.read(run_dir / "checkpoints" / f"{checkpoint}.pt")["parts"]
    discriminator.load_state_dict(parts["discriminator"])
    if weights == "ema":
        averaged = training.averaged(trained, generator)
        averaged.load_state_dict(parts["ema"])
        generator = averaged.module  # a copy, which has the memory format too
        gan_measures.settle(generator)
    else:
        generator.load_state_dict(parts["generator"])
    return generator.eval(), discriminator.eval()


def test_images(trained: training.Config, count: int) -> ImageSet:
    """`count` test images of a drawn set, at most that many of any other."""
    drawn = count if trained.data in data.DRAWN else None
    return training.load_split(trained, "test", drawn).take(slice(0, count))


@torch.inference_mode()
def distances(fake: Tensor, real: gan_measures.Reference, test: ImageSet, train: ImageSet) -> dict:
    """Fréchet distance with its standard error, KID, precision and recall, and how near samples are to
    training images, on the features (N, D) of the shipped extractor; `fake`: those of the samples.

    nearest_training_ratio   median distance of a sample to its nearest training image, as a share of the same
                             for test images: far below 1, the generator copies
    """
    held_out, known = (extractors.features_of(of, real.extractor) for of in (test, train))
    distance = spread.jackknife(frechet.frechet_distance_from_features, fake, held_out)
    kid = kernel.kernel_distance(fake, held_out)
    both = precision_recall.precision_recall(held_out, fake)
    nearest = lambda points: nearest_distances(points, known).median().item()
    name = extractors.metric_name(real.extractor.name, real.count).removeprefix("eval/")
    return {
        f"{name}_standard_error": distance.standard_error,
        f"kid_{name.removeprefix('fd_')}": kid.value,
        f"kid_{name.removeprefix('fd_')}_standard_error": kid.standard_error,
        "precision": both.precision,
        "recall": both.recall,
        "nearest_training_ratio": nearest(fake) / nearest(held_out),
    }


def nearest_distances(points: Tensor, known: Tensor) -> Tensor:  # (N, D), (M, D) -> (N,)
    """Distance of each point to the nearest known one."""
    return torch.cat([torch.cdist(part, known).min(1).values for part in points.split(1000)])


def save_neighbours(path: Path, samples: Tensor, train: ImageSet, extractor) -> None:
    """Each sample (uint8) beside the four training images nearest in feature space, or in pixels."""
    embed = (
        (lambda images: extractors.features_of(images, extractor))
        if extractor is not None
        else (lambda images: to_model_range(images).flatten(1))
    )
    wanted = embed(samples)
    apart = [torch.cdist(wanted, embed(part)) for part in train.images.split(2000)]  # never all as floats
    near = torch.cat(apart, 1).topk(4, largest=False).indices  # (N, 4)
    cells = torch.cat([samples[:, None], train.images[near]], 1).flatten(0, 1)
    space = "features" if extractor is not None else "pixels"
    titles = ("sample", *(f"nearest {i + 1}" for i in range(4)))
    figures.save_grid(path, cells, 5, title=f"Nearest training images by {space}", column_titles=titles)


@torch.inference_mode()
def save_interpolation(folder: Path, generator: nn.Module, frames: int, seed: int) -> None:
    """Six closed walks on the sphere of latents through four points each: a strip and a looping GIF."""
    z = torch.randn(4, 6, generator.latent, generator=torch.Generator().manual_seed(seed))
    per_leg = -(-frames // 4)
    shares = torch.arange(per_leg) / per_leg
    way = [latent_space.slerp(z[i], z[(i + 1) % 4], share) for i in range(4) for share in shares]
    images = torch.stack([to_uint8(generator(point)) for point in way])  # (F, 6, C, H, W)
    figures.save_gif(
        folder / "interpolation.gif", torch.stack([figures.image_grid(frame, 3) for frame in images]), 80
    )
    strip = images[: per_leg + 1 : max(1, per_leg // 8), :3].transpose(0, 1)
    figures.save_grid(
        folder / "interpolation.png",
        strip.flatten(0, 1),
        strip.shape[1],
        title="Between two latents, along the sphere",
    )


@torch.inference_mode()
def opinions(discriminator: nn.Module, images: Tensor, choices: Tensor | None) -> Tensor:
    """The discriminator's logits (N,) of the first 2,000 uint8 images (N, 3, S, S), told their options (N, A)
    if it is conditional."""
    rows = torch.arange(min(len(images), 2000)).split(gan_measures.CHUNK)
    told = lambda index: None if choices is None else choices[index]
    return torch.cat([discriminator(to_model_range(images[index]), told(index)) for index in rows])


def obeyed(
    names: Sequence[str], choices: Tensor, features: Tensor, extractor: extractors.Extractor
) -> dict[str, float]:
    """Share of images, with `features` (N, D), that show what was ordered: for each attribute of `choices`
    (N, A), called `names`, that the extractor knows, and for all of these at once."""
    found = extractor.answers(features)
    right = {name: found[name].cpu() == choices[:, i] for i, name in enumerate(names) if name in found}
    right["all"] = torch.stack(list(right.values())).all(0)
    return {f"obeyed_{name}": hits.double().mean().item() for name, hits in right.items()}


def main(config: Config) -> Path:
    if config.samples < 20 or config.frames < 4:
        raise InputError(
            f"--samples {config.samples} --frames {config.frames}: at least 20 samples and 4 frames"
        )
    device = devices.start(config.device, seed=config.seed)
    trained = training_config(config.run_dir, config.data_dir)
    generator, discriminator = load_networks(trained, config.run_dir, config.weights, config.checkpoint)
    generator, discriminator = device.prepare(generator), device.prepare(discriminator)
    train, test = training.load_split(trained, "train"), test_images(trained, config.samples)
    name = f"eval-gan-{trained.hypothesis}-{Path(trained.data).name}"
    with runs.start("hw2", name, config, device) as run:
        real = gan_measures.reference(test, device.torch)
        images = gan_measures.sample(generator, len(test), config.seed, device.torch)
        numbers = gan_measures.measure(images, real)
        choices = training.chosen(generator, gan_measures.latents(generator, len(test), config.seed))
        if real.extractor is not None:
            features = extractors.features_of(images, real.extractor)
            numbers |= distances(features, real, test, train)
            if choices is not None:
                numbers |= obeyed(list(TOLD[trained.data]), choices, features, real.extractor)
        title = f"hypothesis {trained.hypothesis}, {config.weights} weights"
        figures.save_grid(run.folder / "samples.png", images[:80], 10, title=f"Samples: {title}")
        save_neighbours(run.folder / "neighbours.png", images[:8], train, real.extractor)
        generator, discriminator = generator.cpu(), discriminator.cpu()
        save_interpolation(run.folder, generator, config.frames, config.seed)
        shown = {
            "training": (train.images, training.attributes(trained, train)),
            "test": (test.images, training.attributes(trained, test)),
            "generated": (images, choices),
        }
        logits = {name: opinions(discriminator, of, told) for name, (of, told) in shown.items()}
        gan_figures.save_opinions(run.folder / "discriminator.png", logits, title)
        run.summary(
            {f"eval/{name}": value for name, value in numbers.items()}
            | {f"eval/d_{name}_mean_logit": values.mean().item() for name, values in logits.items()},
            n_test=len(test),
            n_generated=len(images),
            weights=config.weights,
            trained_on=trained.data,
            hypothesis=trained.hypothesis,
            figures=[
                *("samples.png", "neighbours.png", "interpolation.png"),
                *("interpolation.gif", "discriminator.png"),
            ],
        )
        run.say("\n".join(f"{name:40} {value:.4g}" for name, value in numbers.items()))
    return run.folder


if __name__ == "__main__":
    command_line.run(main, Config)
