"""Figures of GAN training: curves with the alarm on them, samples of the same latents side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common import figures
from hw2_gan.gan_measures import COLLAPSED

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
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (heading, label, names) in zip(axes.flat, panels):
        for name in names:
            axis.plot(steps, [line[name] for line in lines], label=name.split("/")[1], linewidth=1.5)
        _shade(axis, steps, [line["val/raw_diversity"] < COLLAPSED for line in lines])
        axis.set(title=heading, xlabel="step", ylabel=label)
        if label in ("norm", "distance"):
            axis.set_yscale("log")
        axis.legend(frameon=False, fontsize=8)
    collapsed = sum(line["val/raw_diversity"] < COLLAPSED for line in lines)
    alarm = f"; collapsed in {collapsed} of {len(lines)} epochs (shaded)" if collapsed else "; no collapse"
    figure.suptitle(title + alarm)
    figures.save_figure(figure, folder / "training.png")
    return ["training.png"]


def _shade(axis, steps: np.ndarray, collapsed: Sequence[bool]) -> None:
    before = np.concatenate([[0], steps[:-1]])
    for start, end, alarm in zip(before, steps, collapsed):
        if alarm:
            axis.axvspan(start, end, color="#d55e00", alpha=0.15, linewidth=0)
