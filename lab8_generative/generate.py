"""Draw images from random latents and measure how far they are from real ones.

Theory: theory/en/vae.md eq. (vae.12), theory/en/metrics.md eq. (metrics.7).

python lab8_generative/generate.py runs/lab8/0001-ae-l1-creatures
python lab8_generative/generate.py runs/lab8/0002-gan-creatures --count 200 --seed 3 --trunc 0.8
python lab8_generative/generate.py runs/lab8/0001-ae-l1-creatures --source prior

Latents come from N(0, I) (`prior`) and, where there is an encoder, from a mixture of Gaussians fitted to the
latents of the training images (`mixture`).  An autoencoder is no generator by itself: nothing puts its
latents where N(0, I) is, and the sheet prior.png shows it.  The sheets neighbours-*.png set samples beside
the training images nearest to them: a model that repeats its training set is found out there, not by a
distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor

from common import command_line, devices, figures, runs
from common.errors import InputError
from common.metrics.spread import Estimate
from lab8_generative import lab_measures, trained

FEWEST = 20
"""Test images without which nothing is measured."""


@dataclass(frozen=True)
class Config:
    """Flags of generate.py."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Run directory of train_autoencoder.py or train_gan.py."""
    count: int = 80
    """Images on the sheet of each source."""
    seed: int = 0
    """Of the latents."""
    source: Literal["all", "prior", "mixture"] = "all"
    """Where latents come from: N(0, I), a mixture fitted to training latents, or all that the model has."""
    trunc: float = 1.0
    """Share of their distance from the mean that latents keep; below 1 is more typical and less diverse."""
    split: Literal["test", "val"] = "test"
    """Real images to compare with: `val` while choosing settings, `test` once, at the end."""
    real_images: int = 2000
    """How many of them at most, against as many samples; a folder has what it has."""
    data: str | None = None
    """Where the training images are now; default: where they were."""
    data_dir: Path | None = None
    """Where image sets lie; default: what the training used."""
    outdir: Path = Path("runs")
    """Parent of the run directories."""


def sources(config: Config, model: trained.Trained) -> tuple[str, ...]:
    """Where latents may come from."""
    known = ("prior",) if model.model is None else ("prior", "mixture")
    if config.source == "all":
        return known
    if config.source not in known:
        raise InputError(
            f"--source {config.source}: {config.run_dir} is a GAN, which has no encoder to fit latents of; "
            "use --source prior"
        )
    return (config.source,)


def draw(config: Config, model: trained.Trained, source: str, count: int) -> tuple[Tensor, dict[str, float]]:
    """Latents (N, D) of one source, and what there is to say of it."""
    generator = torch.Generator().manual_seed(config.seed)
    known: dict[str, float] = {}
    if source == "prior":
        z = trained.draw_prior(count, model.config.latent, generator)
    else:
        mixture = trained.fit_latents(model, generator)
        z, known = mixture.sample(count, generator), {"eval/mixture_components": len(mixture.weights)}
    return trained.truncated(z, config.trunc), known


def nearest(images: Tensor, others: Tensor, chunk: int = 200) -> tuple[Tensor, Tensor]:
    """Root mean squared distance in [0, 1] from each uint8 image to the nearest of `others`, and its row."""
    flat = others.flatten(1).float() / 255
    found = [torch.cdist(part.flatten(1).float() / 255, flat).min(1) for part in images.split(chunk)]
    distance = torch.cat([part.values for part in found]) / flat.shape[1] ** 0.5
    return distance, torch.cat([part.indices for part in found])


def copying(train: Tensor, held_out: Tensor, generated: Tensor, source: str) -> dict[str, float]:
    """Median distance to the nearest training image, of samples and of held-out images (up to 500 of each).

    Samples much nearer to training images than held-out ones are copies; blurred ones are near to everything.
    """
    median = lambda images: nearest(images[:500], train)[0].median().item()
    return {
        f"eval/nearest_training_image_{source}": median(generated),
        "eval/nearest_training_image_of_held_out": median(held_out),
    }


def save_figures(folder: Path, source: str, images: Tensor, train: Tensor, count: int) -> list[str]:
    """The sheet, and ten samples above the training images nearest to them."""
    figures.save_grid(folder / f"{source}.png", images[:count], 10)
    few = images[:10]
    rows = torch.cat([few, train[nearest(few, train)[1]]])
    figures.save_grid(
        folder / f"neighbours-{source}.png",
        rows,
        len(few),
        row_titles=("sample", "nearest\ntraining image"),
        zoom=1,
    )
    return [f"{source}.png", f"neighbours-{source}.png"]


def check(config: Config) -> None:
    """InputError for numbers that make no sheet."""
    if config.count < 1:
        raise InputError(f"--count {config.count}: must be at least 1")
    if config.real_images < FEWEST:
        raise InputError(f"--real-images {config.real_images}: {FEWEST} are needed to measure anything")
    if not 0 <= config.trunc <= 1:
        raise InputError(f"--trunc {config.trunc}: a share from 0 to 1")


def main(config: Config) -> Path:
    check(config)
    device = devices.start("cpu", seed=config.seed)
    model = trained.load(config.run_dir, config.data, config.data_dir)
    chosen = sources(config, model)
    train = model.images("train").images
    real = model.images(config.split, config.real_images).images[: config.real_images]
    measurable = len(real) >= FEWEST  # a folder may have too few
    name = f"generate-{model.name}-{Path(model.config.data).name}"
    with runs.start("lab8", name, config, device) as run:
        numbers, spreads, names = {}, {}, []
        reference = lab_measures.Reference(real) if measurable else None
        if reference is None:
            run.say(f"only {len(real)} {config.split} images: nothing is measured, {FEWEST} are needed")
        for source in chosen:
            z, known = draw(config, model, source, max(config.count, len(real)))
            images = lab_measures.decode(model.decoder, z)
            names += save_figures(run.folder, source, images, train, config.count)
            numbers |= known
            if reference is not None:
                estimate = reference.estimate(images[: len(real)])
                note(run, numbers, spreads, f"eval/{reference.name}_{source}", estimate)
                numbers |= copying(train, real, images[: len(real)], source)
                numbers[f"eval/diversity_{source}"] = (
                    lab_measures.diversity(images[: len(real)]) / reference.diversity
                )
        known = {}
        if reference is not None:
            known = {"distance": f"eval/{reference.name}", **floor(run, numbers, spreads, train, real)}
        run.summary(
            numbers,
            standard_errors=spreads,
            **known,
            n_real=len(real),
            n_train=len(train),
            split=config.split,
            model=model.name,
            data=Path(model.config.data).name,
            seed=config.seed,
            trained_with_seed=model.config.seed,
            figures=names,
        )
        run.say(f"sheets: {', '.join(str(run.folder / each) for each in names)}")
    return run.folder


def floor(run: runs.Run, numbers: dict, spreads: dict, train: Tensor, real: Tensor) -> dict:
    """What training images score against as many real ones: no generator need do better."""
    count = min(len(train), len(real))
    reference = lab_measures.Reference(real[:count])
    name = f"eval/{reference.name}_training_images"
    note(run, numbers, spreads, name, reference.estimate(train[:count]))
    share = lab_measures.diversity(train[:count]) / reference.diversity
    numbers["eval/diversity_training_images"] = share
    return {"floor": name, "n_floor": count}


def note(run: runs.Run, numbers: dict, spreads: dict, name: str, estimate: Estimate) -> None:
    """Keep a number and its standard error, and say both."""
    numbers[name], spreads[name] = estimate.value, estimate.standard_error
    run.say(f"{name} {estimate}")


if __name__ == "__main__":
    command_line.run(main, Config)
