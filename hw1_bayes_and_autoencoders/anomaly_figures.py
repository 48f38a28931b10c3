"""Figures of the evaluation of an anomaly detector: each title states what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common import figures
from common.data import ImageSet, to_model_range, to_uint8
from common.metrics import detection

import torch
from torch import Tensor

from hw1_bayes_and_autoencoders.autoencoders import Autoencoder, MemoryAutoencoder, squared_error


def save_roc(
    path: Path, curves: dict[str, tuple[Tensor, Tensor]], point: tuple[float, float], rule: str
) -> None:
    """ROC curves on the test set, label -> (normal scores, anomalous scores), and the chosen threshold as a
    point."""
    figure, axes = figures.new_figure(6, 5)
    ordered = sorted(curves.items(), key=lambda item: -detection.roc_auc(*item[1]))
    for number, (label, (normal, anomalous)) in enumerate(ordered):
        auc = detection.roc_auc(normal, anomalous)
        style = "-" if number < len(figures.COLORS) else "--"
        axes.plot(
            *detection.roc_curve(normal, anomalous), style, linewidth=1.5, label=f"{label}, AUC {auc:.3f}"
        )
    axes.plot(*point, "k*", markersize=13, label=f"threshold by {rule}")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.set(
        title=f"{ordered[0][0]} separates the test set best",
        xlabel="false-positive rate (1 - TNR)",
        ylabel="true-positive rate (TPR)",
        aspect="equal",
    )
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    figures.save_figure(figure, path)


def save_scores(
    path: Path, name: str, normal: Tensor, anomalous: Tensor, threshold: float, rule: str
) -> None:
    """The score of every test image by sample number, and the threshold."""
    measured = detection.rates(normal, anomalous, threshold)
    figure, axes = figures.new_figure(8, 3.6)
    axes.scatter(range(len(normal)), normal, s=7, label="normal")
    axes.scatter(
        range(len(normal), len(normal) + len(anomalous)),
        anomalous,
        s=7,
        marker="x",
        linewidth=0.9,
        label="spill",
    )
    axes.axhline(threshold, color="black", linewidth=1, label=f"threshold by {rule}: {threshold:.4g}")
    axes.set(
        title=f"{name}: TPR {measured.tpr:.3f}, TNR {measured.tnr:.3f} on the test set",
        xlabel="test image",
        ylabel="score",
        yscale="log" if min(normal.min(), anomalous.min()) > 0 else "linear",
    )
    axes.legend(frameon=False, fontsize=8, loc="upper left", ncols=3)
    figures.save_figure(figure, path)


@torch.inference_mode()
def save_mistakes(
    path: Path, model: Autoencoder, test: ImageSet, scores: Tensor, threshold: float, count: int = 6
) -> None:
    """The highest scores of normal images and the lowest of spills: image, reconstruction, error."""
    normal, anomalous = (test.labels == 0).nonzero()[:, 0], (test.labels == 1).nonzero()[:, 0]
    worst = torch.cat(
        [
            normal[scores[normal].argsort(descending=True)[:count]],
            anomalous[scores[anomalous].argsort()[:count]],
        ]
    )
    shown = to_model_range(test.images[worst])
    reconstruction = model.reconstruct(shown)
    error = squared_error(shown, reconstruction)[:, None].sqrt().mul(4).clamp(max=1).mul(2).sub(1)
    rows = torch.cat([shown, reconstruction, error.expand_as(shown)])
    titles = [
        ("FLAGGED" if scores[i] > threshold else "passed") + f"\n{scores[i]:.3g}" for i in worst.tolist()
    ]
    figures.save_grid(
        path,
        to_uint8(rows),
        len(worst),
        row_titles=("image", "reconstruction", "error x 4"),
        column_titles=titles,
        title=f"Hardest test images: {count} normal with the highest scores, {count} spills with the lowest",
    )


@torch.inference_mode()
def save_memory(path: Path, model: MemoryAutoencoder, images: ImageSet, count: int = 500) -> None:
    """The latent space of a memory autoencoder: queries on their two main axes, coloured by their nearest
    item."""
    queries = model.queries(to_model_range(images.images[:count])).flatten(0, 1)[:20000]  # (Q, D)
    nearest = (queries @ model.memory.T).argmax(1)
    centre = queries.mean(0)
    axes_of_space = torch.linalg.svd(queries - centre, full_matrices=False).Vh[:2].T  # (D, 2) principal axes
    points, items = (queries - centre) @ axes_of_space, (model.memory - centre) @ axes_of_space
    share = torch.bincount(nearest, minlength=len(model.memory)) / len(nearest)
    figure, axes = figures.new_figure(6.5, 5)
    axes.scatter(
        *points.T, s=2, c=nearest, cmap="tab10" if len(items) <= 10 else "tab20", linewidths=0, alpha=0.6
    )
    axes.scatter(*items.T, s=90, marker="*", color="black")
    for number, position in enumerate(items.tolist()):
        text = f"{number}: {share[number]:.0%}"
        axes.annotate(text, position, xytext=(8, 4), textcoords="offset points", fontsize=9)
    axes.set(
        title=f"{int((share > 0.01).sum())} of {len(items)} memory items serve more than 1 % of the queries",
        xlabel="first principal axis of the queries",
        ylabel="second",
    )
    figures.save_figure(figure, path)


def save_rules(path: Path, rows: Sequence[dict]) -> None:
    """TPR against TNR of every architecture under every rule, with its best score by validation AUC."""
    best = {}
    for row in rows:
        best[row["arch"]] = max(best.get(row["arch"], row), row, key=lambda r: r["validation_auc"])
    figure, axes = figures.new_figure(6, 5)
    markers = dict(zip(dict.fromkeys(row["rule"] for row in rows), "osD^"))
    for number, (arch, chosen) in enumerate(best.items()):
        for row in rows:
            if (row["arch"], row["score"]) == (arch, chosen["score"]):
                axes.plot(
                    row["tnr"],
                    row["tpr"],
                    markers[row["rule"]],
                    color=figures.COLORS[number % len(figures.COLORS)],
                )
        axes.plot(
            [],
            [],
            "s",
            color=figures.COLORS[number % len(figures.COLORS)],
            label=f"{arch}, {chosen['score']}",
        )
    for rule, marker in markers.items():
        axes.plot([], [], marker, color="grey", label=rule)
    axes.set(
        title="The rule sets the balance of misses and false alarms",
        xlabel="TNR: share of normal images that pass",
        ylabel="TPR: share of anomalies found",
    )
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    figures.save_figure(figure, path)
