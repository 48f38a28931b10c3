"""Figures of GAN training: curves with the alarm on them, samples of the same latents side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import ticker
from torch import Tensor

from common import figures
from hw2_gan.gan_measures import collapsed

PANELS = (
    ("losses", "loss", ("train/discriminator_loss", "train/generator_loss")),
    ("what D says", "D(x), D(G(z))", ("train/d_real", "train/d_fake")),
    (
        "gradients",
        "norm",
        ("train/discriminator_gradient_norm", "train/generator_gradient_norm"),
    ),
    ("Fréchet distance to validation images", "distance", ("val/raw_fd_", "val/ema_fd_")),
    ("styles covered, of those of as many real images", "share", ("val/raw_coverage", "val/ema_coverage")),
    ("diversity, of that of real images", "share", ("val/raw_diversity", "val/ema_diversity")),
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
            axis.plot(steps, [line[name] for line in lines], label=name.split("/")[1], linewidth=1.5)
        _shade(axis, steps, alike)
        axis.set(title=heading, xlabel="step", ylabel=label)
        if label in ("norm", "distance"):
            axis.set_yscale("log")
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


def save_opinions(path: Path, logits: dict[str, Tensor], title: str) -> None:
    """Histograms of the discriminator's logits, one for each kind of image (name -> (N,))."""
    figure, axes = figures.new_figure()
    low, high = (torch.cat(list(logits.values())).quantile(q).item() for q in (0.001, 0.999))
    bins = np.linspace(low, high + 1e-6, 60)
    for name, values in logits.items():
        axes.hist(values.numpy(), bins, density=True, histtype="step", linewidth=1.5, label=name)
    axes.set(title=f"What D says of images: {title}", xlabel="logit", ylabel="density")
    axes.legend(frameon=False)
    figures.save_figure(figure, path)


def save_study(path: Path, curves: dict[str, list[list[dict]]]) -> None:
    """Distance, coverage, diversity and losses over steps: hypothesis -> the lines of each seed.

    All of the last weights.  A line is the mean over seeds, its band goes from the lowest to the highest."""
    known = next(iter(curves.values()))[0][0]
    panels = [
        ("Fréchet distance to validation images", "distance", "val/raw_fd_"),
        ("images with every attribute recognised", "share", "val/raw_valid"),
        ("styles covered", "share of real", "val/raw_coverage"),
        ("diversity", "share of real", "val/raw_diversity"),
        ("loss of D", "loss", "train/discriminator_loss"),
        ("loss of G", "loss", "train/generator_loss"),
    ]
    named = [
        (title, label, name)
        for title, label, start in panels
        for name in [next((key for key in known if key.startswith(start)), None)]
        if name is not None
    ]
    rows = -(-len(named) // 2)
    figure, axes = figures.new_figure(11, 3.2 * rows, nrows=rows, ncols=2, squeeze=False)
    for axis in axes.flat[len(named) :]:
        axis.set_visible(False)
    for axis, (title, label, name) in zip(axes.flat, named):
        axis.set_prop_cycle(color=figures.COLORS * 2, linestyle=["-"] * 7 + ["--"] * 7)
        for hypothesis, seeds in curves.items():
            steps = [line["step"] for line in seeds[0]]
            values = np.array([[line[name] for line in lines] for lines in seeds])
            (curve,) = axis.plot(steps, values.mean(0), label=hypothesis, linewidth=1.5)
            axis.fill_between(steps, values.min(0), values.max(0), color=curve.get_color(), alpha=0.12)
        axis.set(title=title, xlabel="step", ylabel=label)
        if label == "distance":
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(ticker.ScalarFormatter())
            axis.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.flat[0].legend(frameon=False, fontsize=8, ncols=2, title="hypothesis", title_fontsize=8)
    figures.save_figure(figure, path)


def save_side_by_side(path: Path, samples: Sequence[tuple[str, Tensor]]) -> None:
    """One row of samples (uint8 (N, 3, S, S)) for each hypothesis, of the same latents in every row."""
    figures.save_grid(
        path,
        torch.cat([images for _, images in samples]),
        len(samples[0][1]),
        row_titles=[name for name, _ in samples],
        title="The same latents under each hypothesis (averaged weights)",
    )
