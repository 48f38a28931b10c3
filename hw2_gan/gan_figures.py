"""Figures of GAN training: curves with the alarm on them, samples of the same latents side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common import figures
from common.metrics.samples import COLLAPSED, collapsed

import numpy as np
import torch
from matplotlib import ticker
from torch import Tensor

PANELS = (
    ("losses", "loss", ("train/discriminator_loss", "train/generator_loss")),
    ("what D says", "D(x), D(G(z))", ("train/d_real", "train/d_fake")),
    (
        "gradients",
        "norm",
        ("train/discriminator_gradient_norm", "train/generator_gradient_norm"),
    ),
    ("Fréchet distance to validation images", "distance", ("val/raw_fd_", "val/ema_fd_")),
    ("styles covered (1: as many real images)", "share", ("val/raw_coverage", "val/ema_coverage")),
    ("diversity (1: real images)", "share", ("val/raw_diversity", "val/ema_diversity")),
)
"""Title, axis and names (or beginnings of names) of the curves in each panel."""


def save_training(folder: Path, lines: Sequence[dict], title: str) -> list[str]:
    """training.png from the lines of metrics.jsonl, collapsed epochs shaded.  Returns the files' names."""
    known = [name for name in lines[0] if "/" in name]
    panels = [
        (heading, label, names)
        for heading, label, starts in PANELS
        if (names := [name for start in starts for name in known if name.startswith(start)])
    ]
    rows = -(-len(panels) // 3)
    figure, axes = figures.new_figure(13, 3.4 * rows, nrows=rows, ncols=3)
    steps = np.array([line["step"] for line in lines])
    alike = collapsed([line["val/raw_diversity"] for line in lines])
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (heading, label, names) in zip(axes.flat, panels):
        for name in names:
            dashes = "--" if name.startswith("val/ema") else "-"  # the other is seen where both are equal
            values = [line[name] for line in lines]
            axis.plot(steps, values, dashes, label=name.split("/")[1], linewidth=1.5, marker=".")
        _shade(axis, steps, alike)
        axis.set(title=heading, xlabel="step", ylabel=label)
        if label in ("norm", "distance"):
            axis.set_yscale("log")
        if label == "share":
            axis.set_ylim(0, max(1.05, axis.get_ylim()[1]))
        axis.legend(frameon=False, fontsize=8)
    alarm = f"; collapsed in {sum(alike)} of {len(lines)} epochs (shaded)" if any(alike) else "; no collapse"
    figure.suptitle(title + alarm)
    figures.save_figure(figure, folder / "training.png")
    return ["training.png"]


def _shade(axis, steps: np.ndarray, alike: Sequence[bool]) -> None:
    before = np.concatenate([[0], steps[:-1]])
    for start, end, alarm in zip(before, steps, alike):
        if alarm:
            axis.axvspan(start, end, color="#d55e00", alpha=0.15, linewidth=0)


def save_logits(path: Path, logits: dict[str, Tensor], title: str) -> None:
    """Histograms of the discriminator's logits, one for each kind of image (name -> (N,))."""
    figure, axes = figures.new_figure()
    low, high = (torch.cat(list(logits.values())).quantile(q).item() for q in (0.001, 0.999))
    bins = np.linspace(low, high + 1e-6, 60)
    for name, values in logits.items():
        label = f"{name}: mean {values.mean().item():+.1f}"
        axes.hist(values.numpy(), bins, density=True, histtype="step", linewidth=1.5, label=label)
    axes.set(title=f"The discriminator's answers: {title}", xlabel="logit (above 0: real)", ylabel="density")
    axes.legend(frameon=False)
    figures.save_figure(figure, path)


# ---- the study

Curves = dict[str, dict[str, list[list[float]]]]
"""Hypothesis -> metric -> for each seed its values after every epoch; `step` is one of the metrics."""
STUDIED = ("val/raw_fd_", "val/raw_valid", "val/raw_coverage", "val/raw_diversity",
           "train/discriminator_loss", "train/generator_loss")  # fmt: skip
"""Beginnings of the names of a study's curves: all of the last weights."""


def curves_of(lines: dict[str, list[list[dict]]]) -> Curves:
    """What of metrics.jsonl is drawn and kept: hypothesis -> for each seed its lines."""
    known = next(iter(lines.values()))[0][0]
    names = ["step", *(name for start in STUDIED for name in known if name.startswith(start))]
    return {
        hypothesis: {name: [[line[name] for line in one] for one in seeds] for name in names}
        for hypothesis, seeds in lines.items()
    }


def save_study(path: Path, curves: Curves) -> None:
    """Distance, coverage, diversity and losses over steps: the mean over seeds, in a band from the lowest to
    the highest."""
    names = [name for name in next(iter(curves.values())) if name != "step"]
    rows = -(-len(names) // 2)
    figure, axes = figures.new_figure(11, 3.2 * rows + 0.4, nrows=rows, ncols=2, squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names):
        for place, (hypothesis, metrics) in enumerate(curves.items()):
            steps, values = metrics["step"][0], np.array(metrics[name])
            style = line_style(place, hypothesis)
            axis.plot(steps, values.mean(0), label=hypothesis, linewidth=1.5, **style)
            axis.fill_between(steps, values.min(0), values.max(0), color=style["color"], alpha=0.12)
        last = {key: float(np.array(metrics[name])[:, -1].mean()) for key, metrics in curves.items()}
        title, label = finding(name, last)
        axis.set_title(title, fontsize=10)
        axis.set(xlabel="step", ylabel=label)
        if "_fd_" in name:
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(ticker.ScalarFormatter())
            axis.yaxis.set_minor_formatter(ticker.NullFormatter())
        if name.endswith("diversity"):
            axis.axhline(COLLAPSED, color="0.3", linewidth=0.8, linestyle=":")
    handles = axes.flat[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", frameon=False, ncols=9, title="hypothesis")
    figures.save_figure(figure, path)


def finding(name: str, last: dict[str, float]) -> tuple[str, str]:
    """A title that says what the curves of a metric show, from its last value under each hypothesis, and the
    label of its axis."""
    lowest, highest = min(last, key=last.get), max(last, key=last.get)
    those = lambda few: ", ".join(few) or "none"
    if "_fd_" in name:
        return f"Lowest Fréchet distance to validation images under {lowest}: {last[lowest]:.0f}", "distance"
    if name.endswith(("valid", "coverage")):
        what = "All attributes recognised" if name.endswith("valid") else "Styles covered"
        return f"{what}: most under {highest}, {100 * last[highest]:.0f} %", "share"
    if name.endswith("diversity"):
        alike = those([key for key, value in last.items() if value < COLLAPSED])
        return f"Diversity (1: as the data); collapsed at the end: {alike}", "share"
    if "discriminator" in name:
        won = those([key for key, value in last.items() if value < 0.1])
        return f"Loss of D: near 0, D has won, under {won}", "loss of D"
    return f"Loss of G: highest under {highest}, {last[highest]:.1f}", "loss of G"


def line_style(place: int, hypothesis: str) -> dict:
    """Colour, dashes and marker of no other line; base lies on top, since others follow it for a while."""
    if hypothesis == "base":
        return {"color": "0.35", "linestyle": "--", "marker": "o", "markersize": 5, "zorder": 4}
    cycle, colour = divmod(place, len(figures.COLORS))
    marker, dashes = (".", "s", "^", "v")[cycle % 4], ("-", "--", "-.", ":")[cycle % 4]
    return {"color": figures.COLORS[colour], "linestyle": dashes, "marker": marker, "markersize": 4}


def save_outcomes(path: Path, rows: Sequence[dict], distance: str) -> None:
    """What every training reached on test images with averaged weights: a point for each seed, the mean above
    them."""
    panels = {f"ema_{distance}": ("Fréchet distance", 1), "ema_coverage": ("styles covered, %", 100)}
    panels = {key: panel for key, panel in panels.items() if key in rows[0]}
    panels = panels or {"ema_diversity": ("diversity, % of the data's", 100)}
    names = list(dict.fromkeys(row["hypothesis"] for row in rows))
    figure, axes = figures.new_figure(5.2 * len(panels), 3.6, ncols=len(panels), squeeze=False)
    for axis, (key, (label, unit)) in zip(axes.flat, panels.items()):
        means = []
        for place, name in enumerate(names):
            values = [unit * row[key] for row in rows if row["hypothesis"] == name]
            means.append(sum(values) / len(values))
            axis.plot([place] * len(values), values, "o", color=figures.COLORS[0], markersize=5, alpha=0.7)
            above = {"textcoords": "offset points", "ha": "center", "fontsize": 8}
            axis.annotate(f"{means[-1]:.0f}", (place, max(values)), (0, 6), **above)
        upright = {"rotation": 60, "ha": "right"} if max(map(len, names)) > 4 else {}
        axis.set_xticks(range(len(names)), names, **upright)
        axis.margins(y=0.18)
        axis.set(xlabel="hypothesis", ylabel=label, yscale="log" if "_fd_" in key else "linear")
        first, last = (f"{means[i]:.0f} under {names[i]}" for i in (0, -1))
        title = f"{label.split(',')[0].capitalize()}: {first}, {last}"
        axis.set_title(title, fontsize=10)
    figures.save_figure(figure, path)


def save_side_by_side(path: Path, rows: Sequence[tuple[str, Tensor]]) -> None:
    """One row of samples (uint8 (N, 3, S, S)) for each hypothesis, of the same latents in every row."""
    figures.save_grid(
        path,
        torch.cat([images for _, images in rows]),
        len(rows[0][1]),
        row_titles=[name for name, _ in rows],
        title="The same latents under each hypothesis (averaged weights)",
    )
