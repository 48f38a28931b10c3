"""A generator of avatars from the pixels of 11 images, by counting.  Theory:
theory/en/bayes.md#pixels-as-features.

Every channel of every pixel by itself, eq. (bayes.7); every pixel's colour by itself, eq. (bayes.8); both by
maximum likelihood, eq. (bayes.3), and smoothed, eq. (bayes.5); and every pixel given its neighbours, eqs.
(bayes.11)-(bayes.12).  Each is judged by bits per pixel on training images and on other people, eq.
(bayes.13), and by how much horizontal neighbours differ, eq. (bayes.10).  All bits are about the same thing,
the exact 8-bit colours: 24 is no model at all.

In the chain, a small --beta repeats the training images (samples like patchwork faces), a large one expects
the new (fewer bits on other people, samples like noise): beta.png shows the trade.  On noisy images
(--data wells) the small one costs more bits on held-out images than independent pixels do.

python hw1_bayes_and_autoencoders/bayes_pixels.py                                         # 5 s on a CPU core
python hw1_bayes_and_autoencoders/bayes_pixels.py --data path/to/avatars                  # 264x280: 14 s
python hw1_bayes_and_autoencoders/bayes_pixels.py --size 64 --train-count 1000 --beta 16  # 10 s
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from common import command_line, data, devices, figures, flags, runs
from common.errors import InputError

import torch
from annotated_types import Interval
from torch import Tensor

from hw1_bayes_and_autoencoders import pixel_figures
from hw1_bayes_and_autoencoders.pixel_chain import PixelChain
from hw1_bayes_and_autoencoders.pixel_models import PixelTables, bits_per_pixel, neighbour_difference

Model = PixelTables | PixelChain
PIXELS_AT_MOST = 100_000_000
"""Pixels of all training images together: the counts of the chain take about 80 bytes for each."""
BETAS = tuple(4.0**k for k in range(-5, 6))
"""Weights of the shorter context that the figure compares."""


@dataclass(frozen=True)
class Config(flags.Flags):
    """Flags of bayes_pixels.py."""

    data: flags.Data = "avatars"
    """Named set, or folder of images: one with a subfolder train/ has splits; of any other the first images
    (in an order shuffled by the seed) are learnt from and the next ones held out."""
    train_count: Annotated[int, Interval(ge=1, le=100_000)] = 11
    """Images to learn from."""
    held_out_count: Annotated[int, Interval(ge=0, le=100_000)] = 20
    """Other images, to be judged by."""
    size: tuple[Annotated[int, Interval(ge=2, le=4096)], ...] = ()
    """Side, or height and width, in pixels; by default 128 for avatars, what most of a folder's images have,
    or what the named set has."""
    alpha: flags.NonNegative = 1.0
    """Pseudo-count of the smoothed tables; 1 / d is always shown beside it."""
    beta: flags.NonNegative = 1 / 16
    """Chain: weight of the shorter context against one observation of the longer one."""
    bits: Annotated[int, Interval(ge=1, le=8)] = 4
    """Chain: bits of each channel that a context sees of a neighbour's colour."""
    cell: flags.Count = 1
    """Chain: side in pixels of the squares told apart as places; larger ones need fewer training images."""
    count: Annotated[int, Interval(ge=1, le=100)] = 5
    """Images to generate with each model."""
    seed: flags.Seed = 0
    """Seed of the drawn sets, of a folder's order, and of the samples."""
    data_dir: flags.Folder | None = None
    """Folder of the image sets; default: data/ in the repository."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""


# ---- the method


def fit_models(train: Tensor, config: Config) -> dict[str, Model]:
    """Every model by its name in summary.json."""
    models: dict[str, Model] = {}
    kinds = {"channels": False, "colors": True} if train.shape[1] > 1 else {"channels": False}
    for name, joint in kinds.items():
        table = PixelTables(train, joint)
        models[f"{name}_mle"] = table
        models[f"{name}_smoothed"] = replace(table, alpha=config.alpha)
        models[f"{name}_one_pseudo_observation"] = replace(table, alpha=1 / table.options)
    models["chain"] = PixelChain.fit(train, bits=config.bits, cell=config.cell, beta=config.beta)
    return models


def measure(name: str, model: Model, sets: dict[str, Tensor], samples: Tensor) -> dict[str, float]:
    """Bits per pixel of each split (left out where infinite), its share of impossible pixels, and how much
    neighbours differ in samples, all called after the model's name."""
    numbers = {}
    for split, images in sets.items():
        log2_p = model.log2_probability(images)  # (N, H, W)
        impossible = float(log2_p.isinf().double().mean())
        numbers[f"{split}/{name}_impossible_pixels"] = impossible
        if impossible == 0:
            bits = bits_per_pixel(log2_p)  # (N,), eq. (bayes.13)
            numbers[f"{split}/{name}_bits_per_pixel"] = float(bits.mean())
            if len(bits) > 1:
                numbers[f"{split}/{name}_bits_per_pixel_sd"] = float(bits.std())
    numbers[f"sampled/{name}_neighbour_difference_levels2"] = neighbour_difference(samples)
    if isinstance(model, PixelTables):
        numbers[f"expected/{name}_neighbour_difference_levels2"] = model.neighbour_difference()
    return numbers


def beta_sweep(chain: PixelChain, sets: dict[str, Tensor]) -> dict[str, list[float]]:
    """Mean bits per pixel of each split for each of BETAS; the counts stay as they are."""
    means = {}
    for split, images in sets.items():
        log2_p = chain.log2_probability_by_beta(images[:5], BETAS)  # (K, M, H, W)
        means[split] = (-log2_p.mean((1, 2, 3))).tolist()
    return means


def main(config: Config) -> None:
    """Count, generate, measure, show."""
    check(config)
    device = devices.start("cpu", seed=config.seed)
    train, held_out = read_sets(config)
    judged = {"train": train[: max(config.held_out_count, 1)], "val": held_out}
    judged = {split: images for split, images in judged.items() if len(images)}
    with runs.start("hw1", "bayes-pixels", config, device) as run:
        shape = "x".join(map(str, train.shape[1:]))
        run.say(f"{len(train)} training and {len(held_out)} held-out images of {shape}")
        generator = torch.Generator().manual_seed(config.seed)
        models, samples, captions, metrics = fit_models(train, config), {}, {}, {}
        for split, images in judged.items():
            metrics[f"{split}/neighbour_difference_levels2"] = neighbour_difference(images)
        for name, model in models.items():
            samples[name] = model.sample(config.count, generator)  # (count, C, H, W)
            metrics |= measure(name, model, judged, samples[name])
            captions[name] = caption(name, model, metrics, judged)
            run.say(captions[name].replace("\n", ": "))
            figures.save_grid(run.samples_dir / f"{name}.png", samples[name], config.count, zoom=1)
        sweep = beta_sweep(models["chain"], judged)

        rows = [f"{len(train)} training images", *captions.values()]
        pixel_figures.save_comparison(run.folder / "comparison.png", train, samples, rows, config.count)
        titles = {name: title(model) for name, model in models.items()}
        pixel_figures.save_numbers(run.folder / "numbers.png", titles, metrics, list(judged), train.shape[1])
        pixel_figures.save_beta(run.folder / "beta.png", BETAS, sweep, config.beta)
        run.log(0, metrics)
        pictures = ["comparison.png", "numbers.png", "beta.png"]
        sweep = {"beta": BETAS, **{f"{split}/bits_per_pixel": values for split, values in sweep.items()}}
        run.summary(metrics, n_train=len(train), n_val=len(held_out), figures=pictures, chain_by_beta=sweep)


# ---- images and flags


def read_sets(config: Config) -> tuple[Tensor, Tensor]:
    """Training and held-out images, uint8 (N, C, H, W); there may be no held-out ones."""
    counts = {"train": config.train_count, "val": config.held_out_count}
    if config.data in data.NAMES:
        size = config.size[0] if config.size else 128 if config.data == "avatars" else None
        options = {"size": size, "seed": config.seed, "data_dir": config.data_dir}
        images = {
            split: data.load(config.data, split, count=count, **options).images
            for split, count in counts.items()
            if count
        }
    else:
        size = config.size * 2 if len(config.size) == 1 else config.size or None
        images = data.read_few(Path(config.data), counts, size, config.seed)
    train = images["train"]
    check_pixels(len(train), *train.shape[2:])
    if min(train.shape[2:]) < 2:
        raise InputError(
            f"--data {config.data}: images of {'x'.join(map(str, train.shape[2:]))}, where a pixel has no "
            "neighbours; give --size"
        )
    return train, images.get("val", train[:0])


def check_pixels(count: int, height: int, width: int) -> None:
    """InputError for more training images than the chain can count."""
    if count * height * width > PIXELS_AT_MOST:
        raise InputError(
            f"--train-count {count}: over {PIXELS_AT_MOST:,} pixels of {height}x{width}; "
            "take fewer or smaller ones"
        )


def check(config: Config) -> None:
    """InputError for sizes that the images cannot have, before any is drawn or read."""
    if len(config.size) > 2:
        raise InputError(f"--size {config.size}: give one side, or height and width")
    if config.data in data.NAMES and len(set(config.size)) == 2:
        raise InputError(f"--size {config.size}: {config.data} has square images; give one side")
    if config.size:
        check_pixels(config.train_count, config.size[0], config.size[-1])


# ---- words


def title(model: Model) -> str:
    """What a figure calls the model."""
    if isinstance(model, PixelChain):
        return f"pixel given neighbours, β = {model.beta:g}"
    what = "colours" if model.joint else "channels"
    if model.alpha == 0:
        return f"independent {what}, MLE"
    d = f"256{('', '', '²', '³')[model.images.shape[1]]}" if model.joint else "256"
    alpha = f"1/{d}" if model.alpha == 1 / model.options else f"{model.alpha:g}"
    return f"independent {what}, α = {alpha}"


def caption(name: str, model: Model, metrics: dict[str, float], splits: Iterable[str]) -> str:
    """The model and its bits per pixel, in two lines."""
    bits = {split: metrics.get(f"{split}/{name}_bits_per_pixel", math.inf) for split in splits}
    words = ", ".join(f"{split} {value:.2f}" for split, value in bits.items()).replace("inf", "∞")
    return f"{title(model)}\nbits per pixel: {words}"


if __name__ == "__main__":
    command_line.run(main, Config)
