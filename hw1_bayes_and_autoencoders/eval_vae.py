"""Measure trained VAEs on test images: bounds in nats, errors, Fréchet distances; walk through their latents.

Theory: theory/en/vae.md (vae.1)-(vae.3), (vae.11)-(vae.14), theory/en/metrics.md (metrics.7).

python hw1_bayes_and_autoencoders/eval_vae.py runs/hw1/0001-vae-mlp-digits
python hw1_bayes_and_autoencoders/eval_vae.py runs/hw1/000?-*-mnist          # a table; seeds are averaged
python hw1_bayes_and_autoencoders/eval_vae.py runs/hw1/0004-cvae-conv-mnist --classes 3 7

Makes a run directory of its own: table.md, summary.json, and for each model samples, reconstructions,
interpolation (also as a GIF), traversal, the manifold of a latent of two dimensions, a sheet per class of a
CVAE.  Samples are drawn from the prior and from a mixture of Gaussians fitted to the latents of training
images.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor

from common import command_line, devices, latent_space, runs
from common.data import ImageSet, to_model_range
from common.errors import InputError
from common.metrics import extractors
from hw1_bayes_and_autoencoders import train_vae as training
from hw1_bayes_and_autoencoders import vae, vae_figures, vae_measures

NOT_OF_THE_MODEL = {
    "data",
    "size",
    "seed",
    "device",
    "checkpoint_seconds",
    "wandb",
    "data_dir",
    "outdir",
    "resume",
}


@dataclass(frozen=True)
class Config:
    """Flags of eval_vae.py."""

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories of train_vae.py, all on the same data."""
    split: Literal["test", "val"] = "test"
    """Images to measure on: `val` while choosing settings, `test` once, at the end."""
    samples: int = 10_000
    """Images generated for a Fréchet distance, against as many images of --split."""
    importance_samples: int = 100
    """K of the importance-weighted bound."""
    importance_images: int = 1000
    """Images of --split it is computed on."""
    components: tuple[int, ...] = (10, 50, 200)
    """Sizes of the mixture to choose from by the log-density of validation latents (of a CVAE: over all
    classes)."""
    classes: tuple[int, ...] = ()
    """Classes on the sheet of a CVAE; default all."""
    seed: int = 0
    """Of everything drawn here."""
    data_dir: Path | None = None
    """Where image sets lie; default: what the training used."""
    outdir: Path = Path("runs")
    """Parent of the run directories."""


def training_config(run_dir: Path, config: Config) -> training.Config:
    """The flags a run was trained with, its data where they are now."""
    trained = command_line.config_from_run(training.Config, run_dir)
    return replace(trained, data_dir=config.data_dir or trained.data_dir)


def description(trained: training.Config) -> str:
    """The model and every flag that is not the default: runs alike but for the seed share it."""
    flags = []
    for field in fields(trained):
        value = getattr(trained, field.name)
        if field.name not in NOT_OF_THE_MODEL | {"arch", "conditional", "beta"} and value != field.default:
            flags.append(field.name.replace("_", " ") + (f" {value}" if value is not True else ""))
    return trained.model_name + (f" ({', '.join(flags)})" if flags else "")


@torch.inference_mode()
def measure(
    run_dir: Path,
    config: Config,
    sets: dict[str, ImageSet],
    count: int,
    extractor: extractors.Extractor | None,
    figures_dir: Path | None,
) -> dict:
    """One row of the table: every number of one trained model; with figures where a folder is given."""
    trained = training_config(run_dir, config)
    model = training.load_best(trained, run_dir, sets["test"])
    vae.check_labels(torch.tensor(config.classes), model.classes, "--classes")
    devices.seed_everything(config.seed)
    x = {split: training.seen(trained, to_model_range(images.images)) for split, images in sets.items()}
    latents = {split: vae_measures.encode(model, x[split], sets[split].labels) for split in sets}
    row = {"model": description(trained), "seed": trained.seed, "run": str(run_dir)}
    row["pixels"] = "binarised" if trained.binarise else "real-valued"
    row |= vae_measures.bounds(
        model,
        x["test"],
        sets["test"].labels,
        latents["test"],
        config.importance_samples,
        config.importance_images,
    )
    row["latent_dimensions"] = trained.latent
    row["parameters"] = sum(p.numel() for p in model.parameters())
    row["training_minutes"] = runs.read_json(run_dir / "summary.json")["minutes"]
    if trained.likelihood != "bernoulli":
        variance = model.pixel_log_variance.exp().item()
        row["eval/sigma"] = variance**0.5
        row["linear_vae_dimensions"] = vae.linear_vae_dimensions((x["train"] + 1) / 2, variance, trained.beta)

    labels = vae_measures.wanted_labels(sets["test"], count) if model.classes else None
    z, numbers = vae_measures.latents_to_decode(model, latents, sets, labels, count, config.components)
    row |= numbers
    if extractor is not None:
        row |= vae_measures.distances(model, z, labels, latents["test"], sets["test"], extractor)
    if figures_dir is not None:
        save_figures(
            figures_dir, model, sets["test"], x["test"], z, latents["test"], labels, row, config.classes
        )
    return row


def save_figures(
    folder: Path,
    model: vae.VAE,
    test: ImageSet,
    x: Tensor,
    z: dict[str, Tensor],
    latents: tuple[Tensor, Tensor],
    labels: Tensor | None,
    row: dict,
    classes: tuple[int, ...],
) -> None:
    """Everything to look at, of one model whose numbers are in `row`."""
    model_name = row["model"].split(" (")[0]
    for source in ("prior", "mixture"):
        measured = [f"{value:.1f}" for name, value in row.items() if "/fd_" in name and name.endswith(source)]
        title = f"{model_name}: z from the {source}" + "".join(f", Fréchet distance {fd}" for fd in measured)
        vae_figures.save_samples(folder / f"samples-{source}.png", model, z[source], labels, title)
    shown = None if test.labels is None else test.labels[:10]
    title = f"{model_name} on test images of {test.name}: MSE {row['eval/mse']:.4f}"
    vae_figures.save_reconstructions(folder / "reconstructions.png", model, x[:10], shown, title)
    vae_figures.save_interpolation(folder, model, test)
    kl = latent_space.kl_to_standard_normal(*latents).mean(0)
    first = test.labels[:1] if model.classes else None
    vae_figures.save_traversal(folder / "traversal.png", model, x[:1], first, kl)
    vae_figures.save_kl(folder / "kl.png", kl, training.DEAD_NATS)
    if model.latent == 2:
        vae_figures.save_manifold(
            folder / "manifold.png", model, "The latent plane, at quantiles of the prior"
        )
    if model.classes:
        shown = torch.tensor(classes or range(model.classes))
        vae_figures.save_classes(folder / "classes.png", model, shown, test.class_names)


def averaged(rows: list[dict]) -> list[dict]:
    """Rows of one model as one: mean and standard deviation (name + `_sd`) over seeds."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["model"], []).append(row)
    result = []
    for model, group in groups.items():
        merged = {"model": model, "seeds": len(group)}
        for name, first in group[0].items():
            if isinstance(first, (int, float)) and name != "seed":
                values = torch.tensor([row[name] for row in group], dtype=torch.float64)
                merged[name] = values.mean().item()
                merged[f"{name}_sd"] = values.std().item() if len(group) > 1 else 0.0
        result.append(merged)
    return result


def markdown_table(rows: list[dict], distance: str, config: Config, count: int) -> str:
    """Models against numbers, mean ± sd over seeds."""
    columns = [
        ("-ELBO, nats", "eval/negative_elbo_nats", ".2f"),
        (f"-bound of K = {config.importance_samples}, nats", "eval/negative_importance_bound_nats", ".2f"),
        ("KL, nats", "eval/kl_nats", ".1f"),
        ("dimensions in use", "eval/active_dimensions", ".0f"),
        ("MSE of [0, 1]", "eval/mse", ".4f"),
        *(
            (f"{distance.removeprefix('eval/')}, z from the {source}", f"{distance}_{source}", ".1f")
            for source in ("prior", "mixture", "reconstruction")
        ),
        ("recognised as asked, %: prior", "eval/recognised_percent_prior", ".2f"),
        ("mixture", "eval/recognised_percent_mixture", ".2f"),
        ("training, minutes", "training_minutes", ".1f"),
    ]
    columns = [column for column in columns if any(column[1] in row for row in rows)]

    def cell(row: dict, name: str, form: str) -> str:
        if name not in row:
            return "–"
        return f"{row[name]:{form}}" + (f" ± {row[name + '_sd']:{form}}" if row["seeds"] > 1 else "")

    lines = [
        f"On {count} {config.split} images; the K-sample bound on the first {config.importance_images}; "
        f"mean ± sd over {rows[0]['seeds']} seed(s).  Nats of Gaussian and of Bernoulli pixels cannot be "
        "compared.",
        "",
        "| model | " + " | ".join(title for title, _, _ in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
        *(
            f"| {row['model']} | " + " | ".join(cell(row, *column[1:]) for column in columns) + " |"
            for row in rows
        ),
    ]
    return "\n".join(lines) + "\n"


def check(config: Config) -> None:
    """InputError for numbers no evaluation can have and for runs on different data."""
    for name in ("samples", "importance_samples", "importance_images"):
        if getattr(config, name) < 2:
            raise InputError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be at least 2")
    if not config.components or min(config.components) < 1:
        raise InputError(f"--components {config.components}: name at least one size, each at least 1")
    seen = {(one.data, one.size) for one in (training_config(run_dir, config) for run_dir in config.run_dirs)}
    if len(seen) != 1:
        names = ", ".join(sorted(str(name) for name, _ in seen))
        raise InputError(f"run directories on different data ({names}); evaluate each set by itself")


def main(config: Config) -> Path:
    if not config.run_dirs:
        raise InputError("no run directory given; name one or more that train_vae.py made")
    check(config)
    device = devices.start("cpu", seed=config.seed)
    first = training_config(config.run_dirs[0], config)
    sets = {split: training.load_split(first, split) for split in ("train", "val")}
    sets["test"] = training.load_split(first, config.split)  # "test" from here on: what is measured on
    extractor = vae_measures.extractor_for(sets["test"])
    count = min(config.samples, len(sets["test"]))  # as many generated images as real ones
    distance = extractors.metric_name(first.data, count)
    with runs.start("hw1", f"eval-vae-{Path(first.data).name}", config, device) as run:
        rows, drawn = [], []
        for run_dir in config.run_dirs:
            trained = training_config(run_dir, config)
            folder = None
            if description(trained) not in drawn:  # the first seed of each model is drawn
                drawn.append(description(trained))
                folder = run.folder / "figures" / f"{len(drawn)}-{trained.model_name}"
            rows.append(measure(run_dir, config, sets, count, extractor, folder))
        models = averaged(rows)
        found = [f"- {line}\n" for line in vae_measures.conclusions(models, distance)]
        text = markdown_table(models, distance, config, count) + "\n" + "".join(found)
        runs.write_text_atomic(run.folder / "table.md", text)
        run.say(text)
        real = None
        if extractor is not None:  # how far as many training images are: what sampling alone costs
            real = extractors.frechet(extractor, sets["train"].images[:count], sets["test"].images[:count])
            vae_figures.save_distances(run.folder / "distances.png", models, distance, real)
        prefix = (lambda row: "") if len(models) == 1 else (lambda row: f"{row['model']}: ")
        run.summary(
            {
                prefix(row) + name: value
                for row in models
                for name, value in row.items()
                if isinstance(value, float)
            },
            rows=rows,
            models=models,
            split=config.split,
            real_distance=real,
            n_test=len(sets["test"]),
            n_generated=count,
            n_importance=min(config.importance_images, len(sets["test"])),
            figures=sorted(
                path.relative_to(run.folder).as_posix()
                for path in run.folder.rglob("*.*")
                if path.suffix in (".png", ".gif")
            ),
        )
    return run.folder


if __name__ == "__main__":
    command_line.run(main, Config)
