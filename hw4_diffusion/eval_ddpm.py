"""Measure diffusion models on test images.  Theory: theory/en/diffusion.md, theory/en/metrics.md.

python hw4_diffusion/eval_ddpm.py runs/hw4/0001-ddpm-mnist
python hw4_diffusion/eval_ddpm.py runs/hw4/*-ddpm-mnist --evaluations 5 10 20 50 100 250   # mean of seeds
python hw4_diffusion/eval_ddpm.py mnist --samples 2000 --curve-samples 500 --bound-images 20

Makes a run directory of its own.  On validation images: the Fréchet distance against evaluations of the
network and against time, for every sampler; what guidance does.  The guidance of the smallest distance then
draws the samples that are compared with test images: Fréchet distance, KID, precision, recall, classes drawn
as asked, nearest training images.  Further the variational bound in bits per dimension, and of runs, what
each hour of training gave.  Everything is in summary.json, table.md and figures.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

from common import command_line, data, devices, figures, runs, seeds, text_table
from common.data import ImageSet
from common.errors import InputError, warn
from common.flags import Count, CountOrZero, Flags, Folder, NonNegative, Precision, Seed
from common.metrics import samples
from common.shapes import parameters
from common.text_table import Column

import torch
import tyro
from annotated_types import Interval
from torch import Tensor

from hw4_diffusion import ddpm_figures, ddpm_measures, models, samplers
from hw4_diffusion.ddpm_measures import Way
from hw4_diffusion.models import Model
from hw4_diffusion.sample_ddpm import Sampler
from hw4_diffusion.schedule import Spacing, sampling_times

FEWEST = 4
"""Images whose precision and recall can be measured: three neighbours and the image itself."""


@dataclass(frozen=True)
class Config(Flags):
    """Flags of eval_ddpm.py."""

    models: Annotated[tuple[models.Network, ...], tyro.conf.Positional]
    """Run directories of train_ddpm.py, .safetensors files or shipped models, alike but for the seed."""
    sampler: Sampler = "dpm-solver++"
    """How the samples are drawn of which most is measured."""
    steps: Count = 20
    """Its steps."""
    guidance: NonNegative | None = None
    """Its guidance; if left out, the one of `guidances` with the smallest distance to validation images."""
    spacing: Spacing = "time"
    """Where steps lie: at equal distances of time, or of log-SNR."""
    samples: Annotated[int, Interval(ge=20, le=10**6)] = 10_000
    """Images generated, against as many test images (or all there are)."""
    evaluations: tuple[Count, ...] = (5, 10, 20, 50, 100, 250)
    """Evaluations of the network at which every sampler is measured, without guidance."""
    guidances: tuple[NonNegative, ...] = (1.0, 1.1, 1.2, 1.5, 2.0, 3.0)
    """Guidances at which a model with classes is measured."""
    curve_samples: CountOrZero = 2000
    """Images generated for each of these points, against as many validation images; 0 leaves them out."""
    curve_models: Count = 1
    """So many of the models, the first ones, have these points measured."""
    bound_images: CountOrZero = 100
    """Test images whose bound is computed over all times; 0 leaves it out."""
    seed: Seed = 0
    """Seed of all noise."""
    device: str = "auto"
    """Device to compute on: auto, cpu, mps, cuda or cuda:N."""
    precision: Precision = "fp32"
    """Number format of the network; bf16 is faster where the hardware has it, and a little rougher."""
    data_dir: Folder | None = None
    """Folder of the image sets; default: data/ in the repository."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""


def main(config: Config) -> Path:
    check(config)
    device = devices.start(config.device, precision=config.precision, seed=config.seed)
    trained = load_models(config)
    known = trained[0].known
    train, validation, test = (load_split(config, trained[0], split) for split in ("train", "val", "test"))
    validation, test = validation.few(config.curve_samples), test.few(config.samples)
    with runs.start("hw4", f"eval-ddpm-{Path(known.data).name}", config, device) as run:
        for model in trained:
            model.on(device)
        rows, points = {"model": [], "curve": [], "guidance": []}, Points()
        if config.curve_samples:
            near = samples.reference_of(validation, device.torch, any_side=True)
            points = points_of(near, labels_of(trained[0], validation), train, labels_of(trained[0], train))
            for number, model in enumerate(trained[: config.curve_models]):
                for kind, way in small_ways(config, model):
                    measured = point(config, model, way, labels_of(model, validation), near, device)
                    rows[kind].append({"seed": number, **measured})
        way = Way(config.sampler, config.steps, config.spacing, chosen(config, rows["guidance"]))
        real = samples.reference_of(test, device.torch, any_side=True)
        features = None if real.extractor is None else real.features_of(train.images)
        for number, model in enumerate(trained):
            row, drawn = measure(config, model, way, test, real, features, device)
            rows["model"].append({"seed": number, **row})
            if number == 0:
                save_pictures(run, way, drawn, train, real)
        save_training(run, config)
        report(run, rows, points, way, real, config, known, parameters(trained[0].network))
    return run.folder


# ---- numbers


class Points(NamedTuple):
    """What the points of the curves are measured against."""

    count: int = 0
    """Validation images, and samples of a point."""
    floor: float | None = None
    """Distance of as many training images, of the same classes; None where there are too few."""


def points_of(
    near: samples.Reference, classes: Tensor | None, train: ImageSet, of_train: Tensor | None
) -> Points:
    """`classes` int64 (N,) of the validation images, `of_train` of the training images.  Samples have the
    classes of the validation images; other shares of them would make the distance larger."""
    if near.extractor is None:
        return Points(near.count)
    classes = torch.zeros(near.count) if classes is None else classes
    of_train = torch.zeros(len(train)) if of_train is None else of_train
    rows = []
    for k, wanted in zip(*classes.unique(return_counts=True)):
        known = (of_train == k).nonzero()[:, 0]
        if len(known) < wanted:
            return Points(near.count)
        rows.append(known[torch.arange(wanted) * len(known) // wanted])  # from all parts of the set
    return Points(near.count, near.distance(near.features_of(train.images[torch.cat(rows)])))


def labels_of(model: Model, images: ImageSet) -> Tensor | None:
    """The classes to ask for, those of the images."""
    return models.classes_of(images, model.known.told if model.classes else "nothing")[0]


def chosen(config: Config, by_guidance: list[dict]) -> float:
    """The guidance of the smallest distance to validation images, in the mean of the models."""
    if config.guidance is not None:
        return config.guidance
    if not by_guidance:
        return 1.0
    means = seeds.over_seeds(by_guidance, by=("guidance",))
    distance = next((name for name in means[0] if name.startswith("fd_")), None)
    return min(means, key=lambda row: row[distance])["guidance"] if distance else 1.0


def measure(
    config: Config, model: Model, way: Way, test: ImageSet, real: samples.Reference, known: Tensor | None,
    device: devices.Device,
) -> tuple[dict, Tensor]:  # fmt: skip
    """Everything about one model, and the images that were drawn, uint8 (N, C, S, S).

    `known` are the features (M, D) of the training images, where there is an extractor."""
    labels = labels_of(model, test)
    drawn = ddpm_measures.draw(model, way, len(test), labels, config.seed, device.torch)
    row = ddpm_measures.quality(model, drawn.images, labels, real)
    if real.extractor is not None:
        row |= ddpm_measures.thorough(real.features_of(drawn.images), real, known)
    row["seconds_an_image"] = drawn.seconds
    if config.bound_images:
        some = test.few(config.bound_images)
        row |= ddpm_measures.bits(model, some, labels_of(model, some), device.torch)
    return row, drawn.images


def small_ways(config: Config, model: Model) -> list[tuple[str, Way]]:
    """The points of the curve and of guidance."""
    if not config.curve_samples:
        return []
    curve = [("curve", way) for way in ddpm_measures.ways(model, config.evaluations, config.spacing)]
    scales = config.guidances if model.classes and model.known.guidable else ()
    guided = [("guidance", Way(config.sampler, config.steps, config.spacing, scale)) for scale in scales]
    return curve + guided


def point(
    config: Config,
    model: Model,
    way: Way,
    labels: Tensor | None,
    real: samples.Reference,
    device: devices.Device,
) -> dict:
    """One row of a curve."""
    drawn = ddpm_measures.draw(model, way, real.count, labels, config.seed, device.torch)
    numbers = ddpm_measures.quality(model, drawn.images, labels, real)
    asked = {
        "sampler": way.sampler,
        "steps": way.steps,
        "evaluations": way.evaluations,
        "guidance": way.guidance,
    }
    return {**asked, **numbers, "seconds_an_image": drawn.seconds}


# ---- what is kept


def report(
    run: runs.Run, rows: dict[str, list[dict]], points: Points, way: Way, real: samples.Reference,
    config: Config, known, count: int,
) -> None:  # fmt: skip
    """Table, figures of curves, summary.json."""
    model = seeds.over_seeds([{"model": known.data, **row} for row in rows["model"]], by=("model",))[0]
    curve = seeds.over_seeds(rows["curve"], by=("sampler", "evaluations"))
    guidance = seeds.over_seeds(rows["guidance"], by=("guidance",))
    text = "".join(f"{name:40} {value:.4g}\n" for name, value in model.items() if isinstance(value, float))
    distance = next((name for row in (*curve, *guidance) for name in row if name.startswith("fd_")), None)
    if curve and distance:
        best = min(curve, key=lambda row: row[distance])
        ddpm_figures.save_curves(
            run.folder / "evaluations.png", curve, distance, points.floor,
            f"{known.data}: {distance} is lowest at {best['evaluations']} evaluations of {best['sampler']}, "
            f"{best[distance]:.3g}",
        )  # fmt: skip
        text += "\n" + text_table.markdown(columns(distance), curve)
    if guidance and distance:
        title = f"{known.data}: what guidance does ({way.sampler}, {way.steps} steps)"
        ddpm_figures.save_guidance(run.folder / "guidance.png", guidance, distance, title)
        scale = Column("guidance", "guidance", "g")
        text += "\n" + text_table.markdown([scale, *columns(distance)[2:]], guidance)
    runs.write_text_atomic(run.folder / "table.md", text)
    run.summary(
        {f"eval/{name}": value for name, value in model.items() if isinstance(value, float)},
        models=[str(one) for one in config.models],
        rows=rows,
        curve=curve,
        guidance=guidance,
        chosen_guidance=way.guidance,
        curve_of_training_images=points.floor,
        n_test=real.count,
        n_curve=points.count,
        parameters=count,
        trained_on=known.data,
        figures=sorted(path.name for path in run.folder.glob("*.png")),
    )
    run.say(f"{text}\nsee {run.folder}")


def columns(distance: str) -> list[Column]:
    return [
        Column("sampler", "sampler"),
        Column("evaluations", "evaluations", "g"),
        Column(distance, distance, ".2f"),
        Column("precision", "precision", ".3f"),
        Column("recall", "recall", ".3f"),
        Column("class as asked", "class_accuracy", ".3f"),
        Column("seconds an image", "seconds_an_image", ".4f"),
    ]


def save_pictures(run: runs.Run, way: Way, drawn: Tensor, train: ImageSet, real: samples.Reference) -> None:
    """samples.png and neighbours.png."""
    title = f"{way.sampler}, {way.steps} steps, guidance {way.guidance:g}"
    figures.save_grid(run.folder / "samples.png", drawn[:80], 10, title=title)
    ddpm_figures.save_neighbours(run.folder / "neighbours.png", drawn[:8], train, real)


def save_training(run: runs.Run, config: Config) -> None:
    """training.png of those models that are run directories and were measured while they trained."""
    trainings = []
    for one in config.models:
        with suppress(InputError):  # no metrics.jsonl, or nothing in it yet
            trainings.append(runs.read_metrics(Path(one), "val/loss"))
    lines = [line for training in trainings for line in training]
    distances = sorted({name for line in lines for name in line if name.startswith("val/fd_")})
    of_all = [name for name in distances if all(name in line for line in lines)]
    if of_all:
        ddpm_figures.save_training(run.folder / "training.png", trainings, of_all[0])
    elif distances:
        warn(f"the trainings have no distance in common ({', '.join(distances)}): no training.png")


# ---- loading


def check(config: Config) -> None:
    """A word where a flag does nothing; InputError for too few images."""
    met = config.curve_samples > 0
    if met and config.curve_samples < FEWEST:
        raise InputError(
            f"--curve-samples {config.curve_samples}: precision and recall need at least {FEWEST} images; "
            "give as many, or 0 for no curve"
        )
    flags = ("evaluations", "guidances", "curve_models")
    command_line.warn_of_idle(config, *flags, needs="--curve-samples", met=met)


def load_models(config: Config) -> list[Model]:
    """All models, checked to be alike; InputError for what cannot be measured."""
    if not config.models:
        raise InputError("no model given; name run directories of train_ddpm.py, or a shipped model")
    trained = [models.load(one) for one in config.models]
    for name, model in zip(config.models, trained):
        if replace(model.known, data="") != replace(trained[0].known, data=""):
            raise InputError(f"{name}: not alike {config.models[0]} but for the seed; evaluate it by itself")
    trained[0].check((), 1.0 if config.guidance is None else config.guidance)
    samplers.check(config.sampler, trained[0].schedule)
    sampling_times(trained[0].schedule, config.steps, config.spacing)  # refuses too many
    times = trained[0].schedule.steps
    for count in config.evaluations if config.curve_samples else ():
        if count > times:
            warn(f"--evaluations {count}: the schedule has {times} times; this number is left out")
    return trained


def load_split(config: Config, model: Model, split: str) -> ImageSet:
    """The images of a split, of the size that the model draws; of a drawn set those it learned from."""
    known = model.known
    count = known.train_images if split == "train" and known.data in data.DRAWN else None
    return data.load(known.data, split, size=known.architecture.size, count=count, data_dir=config.data_dir)


if __name__ == "__main__":
    command_line.run(main, Config)
