"""Measure a StyleGAN2 generator against test images, at several strengths of truncation, and look at it.

Theory: theory/en/stylegan.md, theory/en/metrics.md.

python hw3_stylegan_sampling/eval_stylegan.py runs/hw3/0001-stylegan-avatars
python hw3_stylegan_sampling/eval_stylegan.py runs/hw3/0001-stylegan-avatars --samples 1000 --psis 0.5 1

Makes a run directory of its own: summary.json with every number, psi.png (distance, precision, recall, orders
obeyed and styles covered against psi), samples, sheets of truncation and of mixed styles, an interpolation.
"""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common import choices, command_line, data, devices, figures, runs
from common.data import ImageSet
from common.errors import InputError
from common.flags import Data, Flags, Folder, Seed
from common.metrics import attributes, precision_recall, samples

import torch
import tyro
from annotated_types import Interval
from torch import Tensor

from hw3_stylegan_sampling import interpolate, models, sample, style_mixing, ways
from hw3_stylegan_sampling.networks import Generator
from hw3_stylegan_sampling.train_stylegan import ATTRIBUTES

SHOWN = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
"""Psis of the sheet."""
WALKED = 10
"""Frames of each leg of the interpolation."""


@dataclass(frozen=True)
class Config(Flags):
    """Flags of eval_stylegan.py."""

    network: Annotated[models.Network, tyro.conf.Positional]
    """A run directory of train_stylegan.py, a shipped generator's name, a .safetensors or a .pkl file."""
    data: Data = "avatars"
    """Images to compare with: avatars or creatures, which have an extractor."""
    samples: Annotated[int, Interval(ge=20, le=10**6)] = 10_000
    """Images generated at each psi, against as many test images."""
    psis: tuple[sample.Psi, ...] = (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5)
    """Strengths of truncation; 1 is always measured."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Seeds of the latents: the spread is that over them."""
    device: str = "auto"
    """Device to compute on: auto, cpu, mps, cuda or cuda:N."""
    data_dir: Folder | None = None
    """Folder of the image sets; default: data/ in the repository."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""


def main(config: Config) -> Path:
    device = devices.start(config.device)
    generator = device.prepare(models.load(config.network, device.torch), channels_last=True)
    if not config.seeds:
        raise InputError("--seeds: none; give at least one")
    real = reference(generator, config.data, config.samples, config.data_dir, device.torch)
    with runs.start("hw3", f"eval-stylegan-{Path(config.data).name}", config, device) as run:
        rows = [
            measured(generator, real, config.data, psi, config.seeds) for psi in sorted({*config.psis, 1.0})
        ]
        plain = next(row for row in rows if row["psi"] == 1)
        run.summary(
            {f"eval/{name}": value for name, value in plain.items() if name != "psi"},
            rows=rows,
            n_test=real.count,
            seeds=list(config.seeds),
            step=step_of(generator),
            distance=real.name,
            figures=save_figures(run.folder, generator, rows, real.name),
        )
        run.say("\n".join(f"{name:32} {value:.4g}" for name, value in plain.items()))
        run.say(f"see {run.folder}")
    return run.folder


# ---- numbers


def measured(
    generator: Generator, real: samples.Reference, data_name: str, psi: float, seeds: tuple[int, ...]
) -> dict[str, float]:
    """Mean and, called NAME_sd, standard deviation over seeds of what is measured at one psi."""
    found = []
    for seed in seeds:
        z = ways.normal(generator, real.count, torch.Generator().manual_seed(seed))
        with torch.inference_mode():
            w = generator.truncate(generator.mapping(z), psi)
        found.append(measure(real, ways.images_of(generator, w), orders(generator, z, data_name)))
    return {"psi": psi, **mean_and_spread(found)}


def mean_and_spread(found: list[dict[str, float]]) -> dict[str, float]:
    """Of each number; the spread is left out where there is one seed."""
    means = {}
    for name in found[0]:
        values = [one[name] for one in found]
        means[name] = statistics.mean(values)
        if len(values) > 1:
            means[f"{name}_sd"] = statistics.stdev(values)
    return means


@torch.inference_mode()
def measure(real: samples.Reference, images: Tensor, ordered: dict[str, Tensor]) -> dict[str, float]:
    """Distance, precision, recall, diversity, styles and, where options were ordered, the share of images
    that show them, of uint8 images (N, 3, S, S).  How truncation moves them: eq. (stylegan.23)."""
    features = real.features_of(images)
    both = precision_recall.precision_recall(real.features, features)
    numbers = real.measure(images, features) | {"precision": both.precision, "recall": both.recall}
    if ordered:
        numbers |= attributes.obeyed(ordered, real.extractor.answers(features))
    return numbers


def orders(generator: Generator, z: Tensor, data_name: str) -> dict[str, Tensor]:
    """The options that the last numbers of z (N, D) choose, int64 (N,) for each attribute of the set."""
    options, names = generator.shape.options, ATTRIBUTES.get(data_name, {})
    if not options or tuple(map(len, names.values())) != options:
        return {}
    return dict(zip(names, choices.chosen(z[:, -len(options) :], options).unbind(1)))


# ---- loading


def reference(
    generator: Generator, data_name: str, count: int, data_dir: Path | None, device: torch.device
) -> samples.Reference:
    """Test images as large as the generator's; InputError where no extractor reads them."""
    size = generator.shape.size
    if data_name not in ATTRIBUTES:
        raise InputError(
            f"--data {data_name}: no extractor was trained on such images; give {' or '.join(ATTRIBUTES)}, "
            "or compare two folders with python -m common.metrics.fid"
        )
    images: ImageSet = data.load(data_name, "test", size=size, count=count, data_dir=data_dir)
    return samples.reference_of(images, device, any_side=True)


def step_of(generator: Generator) -> int | None:
    """The training step that a generator of train_stylegan.py is of, as its file says."""
    found = re.search(r"step (\d+)", generator.source)
    return int(found[1]) if found else None


# ---- looks


def save_figures(folder: Path, generator: Generator, rows: list[dict], distance: str) -> list[str]:
    """The curves, and what sample.py, style_mixing.py and interpolate.py draw; returns their names."""
    save_curves(folder / "psi.png", rows, distance)
    psi1 = lambda seed: sample.draw(generator, seed, None, 1.0, None, "const")
    figures.save_grid(folder / "samples.png", torch.stack([psi1(seed) for seed in range(60)]), 10)
    sweep = [torch.stack([sample.draw(generator, seed, None, psi, None, "const") for psi in SHOWN])
             for seed in range(4)]  # fmt: skip
    sample.save_sweep(folder / "truncation.png", torch.stack(sweep), range(4), SHOWN)
    styles = "0-3"
    own = torch.cat([generator.styles(sample.latent(seed, generator)) for seed in range(4)])
    other = torch.cat([generator.styles(sample.latent(seed, generator)) for seed in range(10, 15)])
    layers = style_mixing.layers_of(styles, generator)
    with torch.inference_mode():
        sheet = style_mixing.mixed(generator, own, other, layers, "const")
    style_mixing.save_sheet(folder / "mixing.png", sheet, [*"0123"], [*range(10, 15)], styles)
    z = torch.cat([sample.latent(seed, generator) for seed in (0, 1, 2)])
    panels = {
        way: interpolate.draw(generator, interpolate.walk(generator, z, WALKED, way), 1.0, "const")
        for way in ("z-linear", "z-spherical", "w-linear", "w-spherical")
    }
    films = interpolate.save(folder, panels, WALKED, 120)
    return ["psi.png", "samples.png", "truncation.png", "mixing.png", *films]


def save_curves(path: Path, rows: list[dict], distance: str) -> None:
    """Everything against psi, with the spread over seeds."""
    figure, axes = figures.new_figure(11, 3.6, ncols=3)
    best = min(rows, key=lambda row: row[distance])
    panels = (
        (f"Least Fréchet distance at psi = {best['psi']:g}", "Fréchet distance", (distance,)),
        (finding(rows), "share", ("precision", "recall")),
        ("Orders obeyed, styles covered", "share", ("obeyed_all", "coverage", "valid")),
    )
    for axis, (title, label, names) in zip(axes, panels):
        for name in (name for name in names if name in rows[0]):
            spread = [row.get(f"{name}_sd", 0.0) for row in rows]
            axis.errorbar([row["psi"] for row in rows], [row[name] for row in rows], spread,
                          label=name, linewidth=1.5, marker=".", capsize=2)  # fmt: skip
        axis.set_title(title, fontsize=10)
        axis.set(xlabel="psi", ylabel=label)
        axis.legend(frameon=False)
    axes[0].set_yscale("log")
    figures.save_figure(figure, path)


def finding(rows: list[dict]) -> str:
    """What truncation does to precision and recall, from the smallest psi to 1."""
    low, plain = rows[0], next(row for row in rows if row["psi"] == 1)
    change = lambda name: f"{name} {plain[name]:.2f} to {low[name]:.2f}"
    return f"psi 1 to {low['psi']:g}: {change('precision')}, {change('recall')}"


if __name__ == "__main__":
    command_line.run(main, Config)
