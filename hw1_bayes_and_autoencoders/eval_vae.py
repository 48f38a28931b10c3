"""Measure trained VAEs on test images: bounds in nats, errors, Fréchet distances; walk through their latents.

Theory: theory/en/vae.md (vae.1)-(vae.3), (vae.11)-(vae.14), theory/en/metrics.md (metrics.7).

python hw1_bayes_and_autoencoders/eval_vae.py runs/hw1/0001-vae-mlp-digits   # 20 s of a core a model
python hw1_bayes_and_autoencoders/eval_vae.py runs/hw1/*vae-*-mnist          # a table; seeds are averaged
python hw1_bayes_and_autoencoders/eval_vae.py runs/hw1/*-cvae-conv-mnist --classes 3 7

Makes a run directory of its own: table.md, summary.json, and for each model samples, reconstructions,
interpolation (also as a GIF), traversal, the manifold of a latent of two dimensions, a sheet per class of a
CVAE.  Samples are drawn from the prior and from a mixture of Gaussians fitted to the latents of training
images: for drawn digits fd_digits_5k is about 190 and 33.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from common import command_line, devices, flags, runs, seeds, text_table
from common.data import ImageSet, to_model_range
from common.errors import InputError
from common.metrics import extractors
from common.shapes import parameters
from common.text_table import Column

import torch
import tyro
from annotated_types import Interval

from hw1_bayes_and_autoencoders import train_vae as training
from hw1_bayes_and_autoencoders import vae, vae_bounds, vae_figures, vae_measures

NOT_OF_THE_MODEL = {"size", "seed", *(set(command_line.CHANGEABLE_ON_RESUME) - {"epochs"})}
"""Flags that do not make two models different."""


@dataclass(frozen=True)
class Config(flags.Flags):
    """Flags of eval_vae.py."""

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories of train_vae.py, all on the same data."""
    split: Literal["test", "val"] = "test"
    """Images to measure on: `val` while choosing settings, `test` once, at the end."""
    samples: flags.SeveralImages = 10_000
    """Images generated for a Fréchet distance, against as many images of --split."""
    importance_samples: Annotated[int, Interval(ge=1, le=100_000)] = 100
    """Draws K of the importance-weighted bound."""
    importance_images: flags.Images = 1000
    """Images of --split that the importance-weighted bound is computed on."""
    components: tuple[flags.Count, ...] = (10, 50, 200)
    """Sizes of the mixture to choose from by the log-density of validation latents (of a CVAE: over all
    classes)."""
    classes: tuple[flags.CountOrZero, ...] = ()
    """Classes on the sheet of a CVAE; default all."""
    seed: flags.Seed = 0
    """Seed of everything drawn here."""
    data_dir: flags.Folder | None = None
    """Folder of the image sets; default: the one the training used."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""


def main(config: Config) -> Path:
    trained = check(config)
    first = trained[0]
    device = devices.start("cpu", seed=config.seed)
    sets = {split: training.load_split(first, split) for split in ("train", "val")}
    measured_on = training.load_split(first, config.split).few(config.samples)
    sets["test"] = measured_on  # "test" from here on
    extractor = vae_measures.extractor_for(first.data, sets["test"].shape)
    count = len(sets["test"])  # as many generated images as real ones
    config = replace(config, importance_images=min(config.importance_images, len(sets["test"])))
    distance = extractors.metric_name(first.data, count)
    with runs.start("hw1", f"eval-vae-{Path(first.data).name}", config, device) as run:
        rows, drawn = [], []
        for run_dir, own in zip(config.run_dirs, trained):
            folder = None
            if description(own) not in drawn:  # the first seed of each model is drawn
                drawn.append(description(own))
                folder = run.folder / "figures" / f"{len(drawn)}-{own.model_name}"
            rows.append(measure(run_dir, own, config, sets, count, extractor, folder))
        models = seeds.over_seeds(rows, by=("model",))
        found = [f"- {line}\n" for line in vae_measures.conclusions(models, distance)]
        text = markdown_table(models, distance, config, count) + "\n" + "".join(found)
        runs.write_text_atomic(run.folder / "table.md", text)
        run.say(text)
        real = None
        if extractor is not None:  # how far as many training images are: what sampling alone costs
            real = extractors.frechet(extractor, sets["train"].few(count).images, sets["test"].images)
            vae_figures.save_distances(run.folder / "distances.png", models, distance, real)
        summarise(run, config, rows, models, real, count)
    return run.folder


@torch.inference_mode()
def measure(
    run_dir: Path,
    trained: training.Config,
    config: Config,
    sets: dict[str, ImageSet],
    count: int,
    extractor: extractors.Extractor | None,
    figures_dir: Path | None,
) -> dict:
    """One row of the table: every number of one trained model; with figures where a folder is given."""
    model = training.load_best(trained, run_dir, sets["test"])
    devices.seed_everything(config.seed)
    x = {split: to_model_range(images.images) for split, images in sets.items()}  # (N, C, H, W) each
    if trained.binarise:
        x = {split: training.binarised(images) for split, images in x.items()}
    latents = {split: vae_measures.encode(model, x[split], sets[split].labels) for split in sets}
    row = {"model": description(trained), "seed": trained.seed, "run": str(run_dir)}
    row["pixels"] = "binarised" if trained.binarise else "real-valued"
    draws = {"samples": config.importance_samples, "images": config.importance_images}
    row |= vae_measures.bounds(model, x["test"], sets["test"].labels, latents["test"], **draws)
    row["latent_dimensions"], row["parameters"] = trained.latent, parameters(model)
    row["training_minutes"] = runs.read_json(run_dir / "summary.json")["minutes"]
    if trained.likelihood != "bernoulli":
        variance = model.pixel_log_variance.exp().item()
        row["eval/sigma"] = variance**0.5
        pixels = (x["train"] + 1) / 2
        row["linear_vae_dimensions"] = vae_bounds.linear_vae_dimensions(pixels, variance, trained.beta)

    labels = sets["test"].few(count).labels if model.classes else None  # the classes to generate
    z, numbers = vae_measures.latents_to_decode(model, latents, sets, labels, count, config.components)
    row |= numbers
    if extractor is not None:
        row |= vae_measures.distances(model, z, labels, latents["test"], sets["test"], extractor)
    if figures_dir is not None:
        vae_figures.save_samples(
            figures_dir, model, z, labels, {source: title_of(row, source) for source in z}
        )
        title = f"{trained.model_name} on test images of {sets['test'].name}: MSE {row['eval/mse']:.4f}"
        vae_figures.save_walks(figures_dir, model, sets["test"], x["test"], latents["test"], title)
        if model.classes:
            vae_figures.save_classes(
                figures_dir / "classes.png", model, config.classes, sets["test"].class_names
            )
    return row


# ---- which runs


def check(config: Config) -> list[training.Config]:
    """The flags that each run was trained with; InputError for runs on different data, and for classes or
    components that no model can have."""
    if not config.run_dirs:
        raise InputError("no run directory given; name one or more that train_vae.py made")
    if not config.components:
        raise InputError("--components: name at least one size of the mixture")
    trained = [training_config(run_dir, config) for run_dir in config.run_dirs]
    if len({(one.data, one.size) for one in trained}) != 1:
        names = ", ".join(sorted({one.data if one.size is None else f"{one.data} at {one.size} pixels"
                                  for one in trained}))  # fmt: skip
        raise InputError(f"run directories on different data ({names}); evaluate each set by itself")
    if config.classes:
        conditional = next((one for one in trained if one.conditional), None)
        if conditional is None:
            raise InputError("--classes: none of the runs is conditional; leave the flag out")
        classes = len(training.load_split(conditional, "val").class_names)
        vae.check_labels(torch.tensor(config.classes), classes, "--classes")
    return trained


def training_config(run_dir: Path, config: Config) -> training.Config:
    """The flags a run was trained with, its data where they are now."""
    trained = command_line.config_from_run(training.Config, run_dir)
    return replace(trained, data_dir=config.data_dir or trained.data_dir)


def description(trained: training.Config) -> str:
    """The model and every flag that is not the default: runs alike but for the seed share it."""
    named = NOT_OF_THE_MODEL | {"arch", "conditional", "beta"}
    words = []
    for field in fields(trained):
        value = getattr(trained, field.name)
        if field.name not in named and value != field.default:
            words.append(field.name.replace("_", " ") + (f" {value}" if value is not True else ""))
    return trained.model_name + (f" ({', '.join(words)})" if words else "")


# ---- tables and titles


def title_of(row: dict, source: str) -> str:
    """What a sheet of samples is called: the model, where z comes from, and how far they are from images."""
    measured = [value for name, value in row.items() if "/fd_" in name and name.endswith(source)]
    overall = f", Fréchet distance {measured[0]:.1f}" if measured else ""
    return f"{row['model'].split(' (')[0]}: z from the {source}{overall}"


def markdown_table(models: list[dict], distance: str, config: Config, count: int) -> str:
    """Models against numbers, mean ± sd over seeds."""
    short = distance.removeprefix("eval/")
    columns = [
        Column("model", "model"),
        Column("-ELBO, nats", "eval/negative_elbo_nats", ".2f"),
        Column(
            f"-bound of K = {config.importance_samples}, nats", "eval/negative_importance_bound_nats", ".2f"
        ),
        Column("KL, nats", "eval/kl_nats", ".1f"),
        Column("dimensions in use", "eval/active_dimensions", ".0f"),
        Column("MSE of [0, 1]", "eval/mse", ".4f"),
        *(
            Column(f"{short}, z from the {source}", f"{distance}_{source}", ".1f")
            for source in vae_measures.SOURCES
        ),
        Column("recognised as asked, %: prior", "eval/recognised_percent_prior", ".2f"),
        Column("mixture", "eval/recognised_percent_mixture", ".2f"),
        Column("training, minutes", "training_minutes", ".1f"),
    ]
    return (
        f"On {count} {config.split} images; the K-sample bound on {config.importance_images} of them; "
        f"mean ± sd over {models[0]['seeds']} seed(s).  Nats of Gaussian and of Bernoulli pixels cannot be "
        f"compared.\n\n{text_table.markdown(columns, models)}"
    )


def summarise(
    run: runs.Run,
    config: Config,
    rows: list[dict],
    models: list[dict],
    real_distance: float | None,
    count: int,
) -> None:
    """Write summary.json; with several models each number has the model's name before its own."""
    prefix = (lambda row: "") if len(models) == 1 else (lambda row: f"{row['model']}: ")
    numbers = {
        prefix(row) + name: value for row in models for name, value in row.items() if isinstance(value, float)
    }
    run.summary(
        numbers,
        rows=rows,
        models=models,
        split=config.split,
        real_distance=real_distance,
        n_test=count,
        n_generated=count,
        n_importance=config.importance_images,
        figures=sorted(
            path.relative_to(run.folder).as_posix()
            for path in run.folder.rglob("*.*")
            if path.suffix in (".png", ".gif")
        ),
    )


if __name__ == "__main__":
    command_line.run(main, Config)
