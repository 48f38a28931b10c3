"""Draw images from random latents and measure how far they are from real ones.

Theory: theory/en/vae.md eq. (vae.12), theory/en/metrics.md eq. (metrics.7).

python lab8_generative/generate.py runs/lab8/0001-ae-l1-creatures   # 2 cores: 15 s, mixture 213
python lab8_generative/generate.py runs/lab8/0002-gan-creatures --count 200 --seed 3 --trunc 0.8
python lab8_generative/generate.py runs/lab8/0001-ae-l1-creatures --source prior

Latents come from N(0, I) (`prior`) and, where there is an encoder, from a mixture of Gaussians fitted to the
latents of the training images (`mixture`).  An autoencoder is no generator by itself: nothing puts its
latents where N(0, I) is, and the sheet prior.png shows it.  The sheets neighbours-*.png set samples beside
the training images nearest to them: a model that repeats its training set is found out there, not by a
distance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from common import command_line, devices, figures, flags, latent_space, runs
from common.errors import InputError
from common.metrics import samples
from common.metrics.nearest import nearest, pixels
from common.metrics.spread import Estimate

import torch
import tyro
from annotated_types import Interval
from torch import Tensor

from lab8_generative import trained
from lab8_generative.monitor import reference

FEWEST = 20
"""Test images without which nothing is measured."""


@dataclass(frozen=True)
class Config(flags.Flags):
    """Flags of generate.py."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Run directory of train_autoencoder.py or train_gan.py."""
    count: Annotated[int, Interval(ge=1, le=10_000)] = 80
    """Images on the sheet of each source."""
    seed: flags.Seed = 0
    """Seed of the latents."""
    source: Literal["all", "prior", "mixture"] = "all"
    """Where latents come from: N(0, I), a mixture fitted to training latents, or all that the model has."""
    trunc: flags.Share = 1.0
    """Share of their distance from the mean that latents keep; below 1 is more typical and less diverse."""
    split: Literal["test", "val"] = "test"
    """Real images to compare with: `val` while choosing settings, `test` once, at the end."""
    real_images: Annotated[int, Interval(ge=FEWEST, le=50_000)] = 2000
    """Real images at most, compared with as many samples; a folder has what it has."""
    data: flags.Data | None = None
    """Where the training images are now; default: where they were."""
    data_dir: flags.Folder | None = None
    """Folder of the image sets; default: what the training used."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""


@dataclass
class Numbers:
    """What was measured, for summary.json."""

    metrics: dict[str, float] = field(default_factory=dict)
    standard_errors: dict[str, float] = field(default_factory=dict)

    def add(self, run: runs.Run, name: str, estimate: Estimate) -> None:
        """Keep a number and its standard error, and say both."""
        self.metrics[name], self.standard_errors[name] = estimate.value, estimate.standard_error
        run.say(f"{name} {estimate}")


def main(config: Config) -> Path:
    device = devices.start("cpu", seed=config.seed, processes="one")
    model = trained.load(config.run_dir, config.data, config.data_dir)
    chosen = sources(config, model)
    train = model.images("train").images
    held_out = model.images(config.split, config.real_images).images[: config.real_images]
    real = reference(held_out) if len(held_out) >= FEWEST else None  # a folder may have too few
    name = f"generate-{model.name}-{Path(model.config.data).name}"
    with runs.start("lab8", name, config, device) as run:
        numbers, figure_names, against = Numbers(), [], {}
        if real is None:
            run.say(f"only {len(held_out)} {config.split} images: nothing is measured, {FEWEST} are needed")
        for source in chosen:
            z, known = draw(config, model, source, max(config.count, len(held_out)))
            images = samples.decode(model.decoder, z)
            numbers.metrics |= known
            figure_names += save_figures(run.folder, source, images, train, config.count)
            if real is not None:
                compare(run, numbers, source, images[: len(held_out)], train, real)
        if real is not None:
            against = {"distance": f"eval/{real.name}", **floor(run, numbers, train, real)}
        run.summary(
            numbers.metrics,
            standard_errors=numbers.standard_errors,
            **against,
            n_real=len(held_out),
            n_train=len(train),
            split=config.split,
            model=model.name,
            data=Path(model.config.data).name,
            seed=config.seed,
            trained_with_seed=model.config.seed,
            figures=figure_names,
        )
        run.say(f"sheets: {', '.join(str(run.folder / each) for each in figure_names)}")
    return run.folder


def sources(config: Config, model: trained.Trained) -> tuple[str, ...]:
    """Where latents may come from."""
    possible = ("prior",) if model.model is None else ("prior", "mixture")
    if config.source == "all":
        return possible
    if config.source not in possible:
        raise InputError(
            f"--source {config.source}: {config.run_dir} is a GAN, which has no encoder to fit latents of; "
            "use --source prior"
        )
    return (config.source,)


def draw(config: Config, model: trained.Trained, source: str, count: int) -> tuple[Tensor, dict[str, float]]:
    """Latents (N, D) of one source, and what there is to say of it."""
    if source == "prior":
        return latent_space.truncated(
            samples.latents(count, model.config.latent, config.seed), config.trunc
        ), {}
    generator = torch.Generator().manual_seed(config.seed)
    mixture = trained.fit_latents(model, generator)
    z = latent_space.truncated(mixture.sample(count, generator), config.trunc)
    return z, {"eval/mixture_components": len(mixture.weights)}


def compare(
    run: runs.Run, numbers: Numbers, source: str, images: Tensor, train: Tensor, real: samples.Reference
) -> None:
    """Distance and diversity of as many samples as there are real images, and whether they are copies."""
    numbers.add(run, f"eval/{real.name}_{source}", real.estimate(real.features_of(images)))
    numbers.metrics |= copying(train, real.images, images, source)
    numbers.metrics[f"eval/diversity_{source}"] = samples.diversity(images) / real.diversity


def floor(run: runs.Run, numbers: Numbers, train: Tensor, real: samples.Reference) -> dict:
    """What training images score against as many real ones: no generator need do better."""
    count = min(len(train), real.count)
    fewer = reference(real.images[:count])
    name = f"eval/{fewer.name}_training_images"
    numbers.add(run, name, fewer.estimate(fewer.features_of(train[:count])))
    numbers.metrics["eval/diversity_training_images"] = samples.diversity(train[:count]) / fewer.diversity
    return {"floor": name, "n_floor": count}


def copying(train: Tensor, held_out: Tensor, generated: Tensor, source: str) -> dict[str, float]:
    """Median distance to the nearest training image, of samples and of held-out images (up to 500 of each).

    Samples much nearer to training images than held-out ones are copies; blurred ones are near to everything.
    """
    median = lambda images: nearest_training_images(images[:500], train).distance.median().item()
    return {
        f"eval/nearest_training_image_{source}": median(generated),
        "eval/nearest_training_image_of_held_out": median(held_out),
    }


def nearest_training_images(images: Tensor, train: Tensor):
    """The nearest of each uint8 image, by the root mean squared difference in [0, 1]."""
    return nearest(pixels(images), (pixels(part) for part in train.split(1000)))


def save_figures(folder: Path, source: str, images: Tensor, train: Tensor, count: int) -> list[str]:
    """The sheet, and ten samples above the training images nearest to them."""
    figures.save_grid(folder / f"{source}.png", images[:count], 10)
    few = images[:10]
    figures.save_grid(
        folder / f"neighbours-{source}.png",
        torch.cat([few, train[nearest_training_images(few, train).row[:, 0]]]),
        len(few),
        row_titles=("sample", "nearest\ntraining image"),
        zoom=1,
    )
    return [f"{source}.png", f"neighbours-{source}.png"]


if __name__ == "__main__":
    command_line.run(main, Config)
