"""Compare ways of sampling one GAN: what each costs, and how near its images are to real ones.

Theory: theory/en/stylegan.md, eqs. (stylegan.16)-(stylegan.22).

python hw3_stylegan_sampling/compare_sampling.py runs/hw3/0001-stylegan-avatars
python hw3_stylegan_sampling/compare_sampling.py runs/hw3/0001-stylegan-avatars --budget 20 --samples 500

A cost is counted in passes: G or D, forward or backward, of one image.  The ways that ask the discriminator
have the same budget; to the others more passes would give more images, not better ones.  Makes a run
directory with summary.json, samples.png (a row for each way) and centres.png.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common import command_line, devices, figures, runs
from common.data import to_model_range
from common.errors import InputError
from common.flags import Flags, Folder, Images, Seed, Share

import torch
import tyro
from annotated_types import Interval

from hw3_stylegan_sampling import eval_stylegan, train_stylegan, trained, ways

Draw = Callable[[torch.Generator], ways.Sampled]


@dataclass(frozen=True)
class Config(Flags):
    """Flags of compare_sampling.py."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Run directory of train_stylegan.py, which holds the discriminator too."""
    samples: Annotated[int, Interval(ge=20, le=10**6)] = 2000
    """Images of each way and seed, against as many test images."""
    psi: Share = 0.7
    """Truncation in W: towards the mean, the nearest centre, the mean of the same attributes."""
    limit: Annotated[float, Interval(gt=0, le=10)] = 1.0
    """Truncation in z: no number is further from 0."""
    clusters: Annotated[int, Interval(ge=2, le=1000)] = 64
    """Centres of w."""
    budget: Annotated[float, Interval(ge=5, le=10_000)] = 41
    """Passes for an image of the ways that ask the discriminator."""
    step_size: Annotated[float, Interval(gt=0, le=1)] = 0.1
    """Size of a Langevin step."""
    calibration_images: Images = 1000
    """Validation images, and as many generated ones, that the discriminator is calibrated with."""
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
    if not config.seeds:
        raise InputError("--seeds: none; give at least one")
    found = trained.load(config.run_dir, device.torch)
    generator, data_name = found.generator, found.config.data
    real = eval_stylegan.reference(generator, data_name, config.samples, config.data_dir, device.torch)
    judge = calibrated(config, found, device.torch)
    centre = ways.centres(generator, config.clusters)
    with runs.start("hw3", f"sampling-{Path(data_name).name}", config, device) as run:
        rows, shown = [], []
        for name, draw in ways_of(config, judge, centre).items():
            numbers, images = [], None
            for seed in config.seeds:
                started = time.monotonic()
                drawn = draw(torch.Generator().manual_seed(seed))
                seconds = time.monotonic() - started
                ordered = eval_stylegan.orders(generator, drawn.z, data_name)
                numbers.append(eval_stylegan.measure(real, drawn.images, ordered))
                numbers[-1] |= {"passes": drawn.passes, "seconds": seconds}
                images = drawn.images[:10] if images is None else images
            rows.append({"way": name, **eval_stylegan.mean_and_spread(numbers)})
            shown.append(images)
            run.say(f"{name:12} " + ", ".join(f"{key} {rows[-1][key]:.4g}" for key in
                                              ("passes", real.name, "precision", "recall")))  # fmt: skip
        figures.save_grid(
            run.folder / "samples.png", torch.cat(shown), 10, row_titles=[row["way"] for row in rows],
            title="Ways of sampling one generator (rows with equal z: plain, W mean, W centre, own mean)",
        )  # fmt: skip
        title = f"{config.clusters} centres of w"
        figures.save_grid(run.folder / "centres.png", ways.images_of(generator, centre), 16, title=title)
        run.summary(
            {f"eval/{row['way']}_{key}": row[key] for row in rows for key in ("passes", real.name)},
            rows=rows,
            n_test=real.count,
            seeds=list(config.seeds),
            step=found.step,
            distance=real.name,
            calibration=[judge.scale, judge.shift],
            figures=["samples.png", "centres.png"],
        )
        run.say(f"see {run.folder}")
    return run.folder


def ways_of(config: Config, judge: ways.Judge, centre: torch.Tensor) -> dict[str, Draw]:
    """Each way by name: a function of a torch.Generator."""
    generator, count = judge.generator, config.samples

    def by_w(truncated: Callable) -> Draw:
        """Images of normal z whose w is truncated."""

        def draw(draws: torch.Generator) -> ways.Sampled:
            z = ways.normal(generator, count, draws)
            with torch.inference_mode():
                w = truncated(z, generator.mapping(z), draws)
            return ways.Sampled(ways.images_of(generator, w), z, 1.0)

        return draw

    def in_z(draws: torch.Generator) -> ways.Sampled:
        z = ways.truncated_normal(generator, count, config.limit, draws)
        with torch.inference_mode():
            return ways.Sampled(ways.images_of(generator, generator.mapping(z)), z, 1.0)

    return {
        "plain": by_w(lambda z, w, draws: w),
        "W mean": by_w(lambda z, w, draws: generator.truncate(w, config.psi)),
        "W centre": by_w(lambda z, w, draws: ways.towards_nearest(w, centre, config.psi)),
        "own mean": by_w(lambda z, w, draws: ways.towards_own_mean(generator, z, config.psi, draws)),
        "z limit": in_z,
        "rejection": lambda draws: ways.rejection(judge, count, config.budget, draws),
        "Langevin": lambda draws: ways.langevin(judge, count, config.budget, config.step_size, draws),
    }


def calibrated(config: Config, found: trained.Trained, device: torch.device) -> ways.Judge:
    """The pair, its discriminator calibrated on validation images."""
    judge = ways.Judge(found.generator, found.discriminator)
    flags = found.config
    validation = train_stylegan.load(flags, "val", config.calibration_images, config.data_dir)
    labels = train_stylegan.labels_of(flags, validation)[0]
    z = ways.normal(found.generator, len(validation), torch.Generator().manual_seed(10**6))
    judge.calibrate(to_model_range(validation.images).to(device), labels.to(device), z)
    return judge


if __name__ == "__main__":
    command_line.run(main, Config)
