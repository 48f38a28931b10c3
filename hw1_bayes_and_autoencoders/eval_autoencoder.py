"""Find anomalies with trained autoencoders: scores, thresholds, rates on the test set.

Theory: theory/en/autoencoders.md (ae.1)-(ae.5), theory/en/metrics.md (metrics.1)-(metrics.6).

python hw1_bayes_and_autoencoders/eval_autoencoder.py runs/hw1/0001-linear2-wells          # 4 s a run
python hw1_bayes_and_autoencoders/eval_autoencoder.py runs/hw1/*-linear2*-wells    # a table; seeds averaged

Makes a run directory of its own: table.md, summary.json, roc.png, mse.png, scores.png, mistakes.png (memory:
memory.png).  The pair of architecture and score named as the best is the one that separates the validation
images best.  Area under the ROC curve on drawn wells: 0.91 with the plain error of linear2, 0.99 with its
brightest patch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, NamedTuple

from common import command_line, devices, flags, runs, seeds, text_table
from common.errors import InputError
from common.metrics import detection
from common.text_table import Column

import torch
import tyro
from annotated_types import Interval
from torch import Tensor

from hw1_bayes_and_autoencoders import anomaly_figures, anomaly_scores
from hw1_bayes_and_autoencoders import train_autoencoder as training

RATES = ("tpr", "tnr", "precision", "auc")
NOT_OF_THE_MODEL = {"arch", "seed", *(set(command_line.CHANGEABLE_ON_RESUME) - {"epochs"})}
"""Flags that do not make two detectors different."""


@dataclass(frozen=True)
class Config(flags.Flags):
    """Flags of eval_autoencoder.py."""

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories of train_autoencoder.py, all on the same data."""
    fraction: Annotated[float, Interval(gt=0, le=1)] = 0.56
    """Threshold of the rule fraction-of-max, as a share of the largest score among known spills."""
    false_alarm_rate: Annotated[float, Interval(ge=1e-4, lt=1)] = 0.05
    """Share of normal images that the rule quantile may flag."""
    threshold: flags.NonNegative | None = None
    """A threshold of your own on the MSE, reported as the rule `manual`."""
    patch: Annotated[int, Interval(ge=1, le=64)] = 7
    """Side of the patch whose largest error is a score, in pixels at 64; scaled with the image."""
    bootstrap: Annotated[int, Interval(ge=1, le=100_000)] = 2000
    """Resamples of the test set for the 95 % intervals."""
    data_dir: flags.Folder | None = None
    """Folder of the image sets; default: the one the training used."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""


def main(config: Config) -> Path:
    data = check(config)
    device = devices.start("cpu")
    names = detector_names({run_dir: training_config(run_dir, config) for run_dir in config.run_dirs})
    scored = [one for run_dir, name in names.items() for one in score_run(run_dir, name, config)]
    rows = [row for one in scored for row in rows_of(one, config)]
    rows = seeds.over_seeds(rows, by=("arch", "score", "rule"))
    best = best_row(rows)
    with runs.start("hw1", f"eval-autoencoder-{Path(data).name}", config, device) as run:
        table = markdown_table(rows, best)
        runs.write_text_atomic(run.folder / "table.md", table)
        run.say(table)
        measured = {name: best.get(name) for rate in RATES for name in (rate, f"{rate}_sd")}
        run.summary(
            {f"test/{name}": value for name, value in measured.items() if value is not None},
            best={key: best[key] for key in ("arch", "score", "rule", "seeds")},
            rows=rows,
            n_test=len(scored[0].test),
            figures=save_figures(run.folder, scored, rows, best, config),
        )
    return run.folder


# ---- scores


class Scored(NamedTuple):
    """One score of one trained model on every part."""

    run_dir: Path
    arch: str
    score: str
    seed: int
    val: Tensor
    """(N,) normal validation images."""
    anomalies: Tensor
    """(N,) known anomalies, for thresholds."""
    test: Tensor
    """(N,) test images."""
    labels: Tensor
    """(N,) of the test images: 1 is anomalous."""

    @property
    def validation_auc(self) -> float:
        """ROC AUC on validation images: what architectures and scores are chosen by."""
        return detection.roc_auc(self.val, self.anomalies)

    @property
    def test_parts(self) -> tuple[Tensor, Tensor]:
        """Scores of the normal and of the anomalous test images."""
        return self.test[self.labels == 0], self.test[self.labels == 1]


@torch.inference_mode()
def score_run(run_dir: Path, name: str, config: Config) -> list[Scored]:
    """Every score of one run, called `name` in the table.  The test images are scored here and looked at
    nowhere before."""
    trained = training_config(run_dir, config)
    model = training.load_best(trained, run_dir)
    parts = {part: training.load_part(trained, part) for part in ("train", "val", "anomalies", "test")}
    for part, image_set in parts.items():
        if len(image_set) == 0:
            raise InputError(f"{trained.data}: no images in the part {part}")
    residuals = {part: anomaly_scores.residuals(model, image_set) for part, image_set in parts.items()}
    usual = anomaly_scores.usual_error(residuals["train"])  # sigma^2 of eq. (ae.4): no threshold sees these
    patch = max(1, round(config.patch * trained.image_size / 64))
    scores = lambda kind: {
        part: anomaly_scores.score(kind, residuals[part], usual, patch)
        for part in ("val", "anomalies", "test")
    }
    return [
        Scored(run_dir, name, kind, trained.seed, **scores(kind), labels=parts["test"].labels)
        for kind in anomaly_scores.SCORES
    ]


def training_config(run_dir: Path, config: Config) -> training.Config:
    """The flags a run was trained with, its data where they are now."""
    trained = command_line.config_from_run(training.Config, run_dir)
    return replace(trained, data_dir=config.data_dir or trained.data_dir)


def detector_names(trained: dict[Path, training.Config]) -> dict[Path, str]:
    """What the table calls each run: runs that differ in more than the seed have different names."""
    names = {}
    for run_dir, own in trained.items():
        namesakes = [other for other in trained.values() if other.detector == own.detector]
        apart = [
            f"{field.name.replace('_', ' ')} {getattr(own, field.name)}"
            for field in fields(own)
            if field.name not in NOT_OF_THE_MODEL
            and len({getattr(other, field.name) for other in namesakes}) > 1
        ]
        names[run_dir] = own.detector + (f" ({', '.join(apart)})" if apart else "")
    return names


def check(config: Config) -> str:
    """The set that all the runs were trained on; InputError where there is none or more than one."""
    if not config.run_dirs:
        raise InputError("no run directory given; name one or more that train_autoencoder.py made")
    data = {training_config(run_dir, config).data for run_dir in config.run_dirs}
    if len(data) != 1:
        raise InputError(
            f"run directories on different data ({', '.join(sorted(data))}); evaluate each set by itself"
        )
    return data.pop()


# ---- thresholds and rates


def thresholds(scored: Scored, config: Config) -> dict[str, float]:
    """Rule -> threshold, from validation scores alone."""
    chosen = {
        "fraction-of-max": detection.threshold_fraction_of_max(scored.anomalies, config.fraction),
        "quantile": detection.threshold_quantile(scored.val, config.false_alarm_rate),
        "youden": detection.threshold_youden(scored.val, scored.anomalies),
    }
    if config.threshold is not None and scored.score == "mse":
        chosen["manual"] = config.threshold
    return chosen


def rows_of(scored: Scored, config: Config) -> list[dict]:
    """One row of the table per rule: rates on the test set with bootstrap intervals."""
    normal, anomalous = scored.test_parts
    rows = []
    for rule, threshold in thresholds(scored, config).items():
        measured = detection.rates(normal, anomalous, threshold)
        validation = detection.rates(scored.val, scored.anomalies, threshold)
        rows.append(
            {
                "arch": scored.arch,
                "score": scored.score,
                "rule": rule,
                "seed": scored.seed,
                "threshold": threshold,
                **{name: value.item() for name, value in measured._asdict().items()},
                "auc": detection.roc_auc(normal, anomalous),
                "validation_auc": scored.validation_auc,
                "validation_balanced": (validation.tpr + validation.tnr).item() / 2,
                "intervals": detection.bootstrap_interval(
                    normal, anomalous, threshold, repeats=config.bootstrap
                ),
            }
        )
    return rows


def best_row(rows: list[dict]) -> dict:
    """The row to report, chosen on validation images: by AUC, then by the mean of TPR and TNR."""
    return max(rows, key=lambda row: (row["validation_auc"], row["validation_balanced"]))


def markdown_table(rows: list[dict], best: dict) -> str:
    """The table over architectures, scores and rules; the best row is bold."""

    def cell(row: dict, name: str) -> str:
        if row["seeds"] > 1:
            return f"{row[name]:.3f} ± {row[f'{name}_sd']:.3f}"
        low, high = row["intervals"][name]
        return f"{row[name]:.3f} [{low:.3f}, {high:.3f}]"

    titles = {"arch": "architecture", "score": "score", "rule": "threshold rule"}
    titles |= {"tpr": "TPR", "tnr": "TNR", "precision": "precision", "auc": "ROC AUC"}
    cells = [
        {name: cell(row, name) if name in RATES else row[name] for name in titles} | {"best": row is best}
        for row in rows
    ]
    spread = "mean ± sd over seeds; of a single seed the value [95 % bootstrap interval]"
    columns = [Column(title, name) for name, title in titles.items()]
    table = text_table.markdown(columns, cells, bold=lambda row: row["best"])
    return f"Test set, {spread}:\n\n{table}"


# ---- figures


def save_figures(
    folder: Path, scored: list[Scored], rows: list[dict], best: dict, config: Config
) -> list[str]:
    """All figures; those of a single model show the first seed of the best pair."""
    shown = next(one for one in scored if (one.arch, one.score) == (best["arch"], best["score"]))
    threshold = thresholds(shown, config)[best["rule"]]
    normal, anomalous = shown.test_parts
    measured = detection.rates(normal, anomalous, threshold)
    first = {
        f"{one.arch}, {one.score}": one.test_parts
        for one in reversed(scored)
        if one.score == "mse" or (one.arch, one.score) == (shown.arch, shown.score)
    }
    anomaly_figures.save_roc(
        folder / "roc.png", first, (1 - measured.tnr.item(), measured.tpr.item()), best["rule"]
    )
    anomaly_figures.save_scores(
        folder / "scores.png", f"{shown.arch}, {shown.score}", normal, anomalous, threshold, best["rule"]
    )
    plain = next(one for one in scored if one.score == "mse")
    anomaly_figures.save_scores(
        folder / "mse.png",
        f"{plain.arch}, mse",
        *plain.test_parts,
        thresholds(plain, config)["fraction-of-max"],
        "fraction-of-max",
    )
    anomaly_figures.save_rules(folder / "rules.png", rows)
    names = ["roc.png", "mse.png", "scores.png", "rules.png", "mistakes.png"]

    trained = training_config(shown.run_dir, config)
    model, test = training.load_best(trained, shown.run_dir), training.load_part(trained, "test")
    anomaly_figures.save_mistakes(folder / "mistakes.png", model, test, shown.test, threshold)
    for one in scored:
        if one.arch.startswith("memory"):
            trained = training_config(one.run_dir, config)
            model, val = training.load_best(trained, one.run_dir), training.load_part(trained, "val")
            anomaly_figures.save_memory(folder / "memory.png", model, val)
            return [*names, "memory.png"]
    return names


if __name__ == "__main__":
    command_line.run(main, Config)
