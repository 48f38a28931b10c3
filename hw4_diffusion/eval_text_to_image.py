"""Measure a text-to-image model of portraits on test captions.  Theory: theory/en/metrics.md.

python hw4_diffusion/eval_text_to_image.py                      # the shipped model
python hw4_diffusion/eval_text_to_image.py runs/hw4/0002-text-to-image-avatars
python hw4_diffusion/eval_text_to_image.py --samples 500 --sweep-samples 200

On validation captions: what guidance and the number of steps do; the guidance with the smallest Fréchet
distance is chosen among those whose orders are obeyed nearly best.  With it, on test captions of wordings
that training did not have: orders obeyed, as a classifier reads them, and the Fréchet distance; of test
portraits after encoder and decoder the same, which bounds it.  Makes a run directory of its own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common import (
    command_line,
    data,
    devices,
    runs,
    text_table,
    torchvision_operators,  # noqa: F401  diffusers imports torchvision
)
from common.data import ImageSet
from common.flags import Flags, Folder, Seed
from common.metrics import samples
from common.shapes import parameters
from common.text_table import Column

import torch
import tyro
from annotated_types import Interval, Len
from diffusers import StableDiffusionPipeline

from hw4_diffusion import drawing, pipelines, text_to_image_figures
from hw4_diffusion.text_to_image_measures import (
    Orders,
    draw,
    obeyed_percent,
    orders_of,
    psnr,
    reconstructed,
    reference_of,
)

Guidances = Annotated[tuple[drawing.Guidance, ...], Len(min_length=1)]
OBEYED_ENOUGH = 1.0
"""Percentage points by which the orders may be obeyed less than at the best guidance."""
WORDING = 2_000_000
"""Seed of the captions: training and its measurements have others."""


@dataclass(frozen=True)
class Config(Flags):
    """Flags of eval_text_to_image.py."""

    model: Annotated[pipelines.Model, tyro.conf.Positional] = "avatars"
    """The shipped model, a run directory of train_text_to_image.py, or a pipeline's folder."""
    samples: Annotated[int, Interval(ge=20, le=10**6)] = 10_000
    """Test captions drawn, against as many test portraits."""
    steps: drawing.Steps = 20
    """Steps of DPM-Solver++."""
    guidances: Guidances = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
    """Guidances to choose from."""
    step_sweep: tuple[drawing.Steps, ...] = (4, 6, 8, 12, 20, 50)
    """Numbers of steps that are compared."""
    sweep_samples: Annotated[int, Interval(ge=20, le=10**6)] = 1000
    """Validation captions drawn at each guidance and each number of steps."""
    seed: Seed = 0
    """Seed of all noise."""
    device: str = "auto"
    """Device to compute on: auto, cpu, mps, cuda or cuda:N."""
    data_dir: Folder | None = None
    """Folder of the image sets; default: data/ in the repository."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""


def main(config: Config) -> Path:
    device = devices.start(config.device, seed=config.seed)
    pipeline = pipelines.load(config.model, flag="model").to(device.torch)
    size = pipeline.vae.config.sample_size
    validation = data.load("avatars", "val", size=size, count=config.sweep_samples, data_dir=config.data_dir)
    test = data.load("avatars", "test", size=size, count=config.samples, data_dir=config.data_dir)
    with runs.start("hw4", "eval-text-to-image-avatars", config, device) as run:
        orders, real = orders_of(validation, WORDING), reference_of(validation, device.torch)
        ways = [(guidance, config.steps) for guidance in config.guidances]
        by_guidance = [measured(config, pipeline, orders, real, *way)[0] for way in ways]
        guidance = chosen(by_guidance, real.name)
        ways = [(guidance, steps) for steps in config.step_sweep]
        by_steps = [measured(config, pipeline, orders, real, *way)[0] for way in ways]
        orders, real = orders_of(test, WORDING), reference_of(test, device.torch)
        numbers, drawn = measured(config, pipeline, orders, real, guidance, config.steps)
        numbers["seconds_one_image"] = seconds_one_image(pipeline, orders, guidance, config.steps)
        bound, through = measured_autoencoder(pipeline, test, real)
        text_to_image_figures.save_samples(run.folder / "samples.png", orders, drawn)
        text_to_image_figures.save_reconstructions(run.folder / "reconstructions.png", test.images, through)
        text_to_image_figures.save_edits(run.folder / "edits.png", pipeline, guidance, config.steps)
        rows = {"guidance": by_guidance, "steps": by_steps, "test": [numbers], "autoencoder": [bound]}
        report(run, config, pipeline, rows, real.name)
    return run.folder


def measured(
    config: Config, pipeline: StableDiffusionPipeline, orders: Orders, real: samples.Reference,
    guidance: float, steps: int,
) -> tuple[dict, torch.Tensor]:  # fmt: skip
    """A row of numbers about one way of drawing, and the images."""
    start = time.monotonic()
    drawn = draw(pipeline, orders.texts, guidance=guidance, steps=steps, seed=config.seed)
    seconds = (time.monotonic() - start) / len(drawn)
    features = real.features_of(drawn)
    obeyed = obeyed_percent(orders.options, real.extractor.answers(features))
    row = {"guidance": guidance, "steps": steps, "seconds_an_image": seconds}
    row |= {f"obeyed_{name}_percent": percent for name, percent in obeyed.items()}
    row |= real.measure(drawn, features)
    if real.count >= 100:
        row[f"{real.name}_standard_error"] = real.estimate(features).standard_error
    return row, drawn


def chosen(rows: list[dict], distance: str) -> float:
    """The guidance of the smallest distance, among those at which orders are obeyed nearly best."""
    best = max(row["obeyed_attributes_percent"] for row in rows)
    enough = [row for row in rows if row["obeyed_attributes_percent"] >= best - OBEYED_ENOUGH]
    return min(enough, key=lambda row: row[distance])["guidance"]


def measured_autoencoder(
    pipeline: StableDiffusionPipeline, images: ImageSet, real: samples.Reference
) -> tuple[dict, torch.Tensor]:
    """What is left of real portraits after encoder and decoder, and the images."""
    through = reconstructed(pipeline.vae, images.images)
    features = real.features_of(through)
    found = real.extractor.answers(features)
    read = obeyed_percent({name: images.attributes[name] for name in found}, found)
    row = {f"read_{name}_percent": percent for name, percent in read.items()}
    return row | {real.name: real.distance(features), "psnr_db": psnr(images.images, through)}, through


def seconds_one_image(
    pipeline: StableDiffusionPipeline, orders: Orders, guidance: float, steps: int
) -> float:
    """An image drawn alone, after one that warms up."""
    for _ in range(2):
        start = time.monotonic()
        draw(pipeline, orders.texts[:1], guidance=guidance, steps=steps, seed=0)
    return time.monotonic() - start


# ---- what is kept


def report(
    run: runs.Run, config: Config, pipeline: StableDiffusionPipeline, rows: dict[str, list[dict]],
    distance: str,
) -> None:  # fmt: skip
    """Tables, figures of the sweeps, summary.json."""
    numbers, bound = rows["test"][0], rows["autoencoder"][0]
    on_validation = next(name for name in rows["guidance"][0] if name.startswith("fd_"))
    text_to_image_figures.save_sweeps(
        run.folder / "sweeps.png", rows["guidance"], rows["steps"], on_validation, numbers["guidance"]
    )
    text = f"## Test captions, guidance {numbers['guidance']:g}\n\n" + "".join(
        f"{name:40} {value:.4g}\n" for name, value in numbers.items() if isinstance(value, float)
    )
    text += "\n## Test portraits after encoder and decoder\n\n" + "".join(
        f"{name:40} {value:.4g}\n" for name, value in bound.items()
    )
    for sweep in ("guidance", "steps"):
        text += f"\n## Validation, {sweep}\n\n" + text_table.markdown(
            [Column(sweep, sweep, "g"), *columns(on_validation)], rows[sweep]
        )
    runs.write_text_atomic(run.folder / "table.md", text)
    parts = {name: parameters(getattr(pipeline, name)) for name in ("vae", "text_encoder", "unet")}
    run.summary(
        {f"eval/{name}": value for name, value in numbers.items() if isinstance(value, float)}
        | {f"autoencoder/{name}": value for name, value in bound.items()},
        model=Path(config.model).name,
        rows=rows,
        distance=distance,
        validation_distance=on_validation,
        n_test=config.samples,
        n_validation=config.sweep_samples,
        seed=config.seed,
        parameters=parts,
        megabytes=pipelines.bytes_of(config.model) / 1e6,
        figures=sorted(path.name for path in run.folder.glob("*.png")),
    )
    run.say(f"{text}\nsee {run.folder}")


def columns(distance: str) -> list[Column]:
    return [
        Column("orders obeyed, %", "obeyed_attributes_percent", ".1f"),
        Column("all of an image, %", "obeyed_all_percent", ".1f"),
        Column("expression, %", "obeyed_expression_percent", ".1f"),
        Column(distance, distance, ".1f"),
        Column("seconds an image", "seconds_an_image", ".3f"),
    ]


if __name__ == "__main__":
    command_line.run(main, Config)
