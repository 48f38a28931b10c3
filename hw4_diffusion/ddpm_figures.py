"""Figures of evaluated diffusion models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common import figures
from common.data import ImageSet
from common.metrics import nearest, samples

import torch
from torch import Tensor

from hw4_diffusion import schedule
from hw4_diffusion.schedule import Schedule


def save_curves(path: Path, rows: Sequence[dict], distance: str, real: float | None, title: str) -> None:
    """Fréchet distance against evaluations of the network, and against the time an image takes."""
    figure, axes = figures.new_figure(11, 4, ncols=2)
    ways = ("evaluations", "evaluations of the network"), ("seconds_an_image", "seconds an image")
    for axis, (key, label) in zip(axes, ways):
        for sampler in dict.fromkeys(row["sampler"] for row in rows):
            line = sorted((row[key], row[distance], row.get(f"{distance}_sd", 0.0))
                          for row in rows if row["sampler"] == sampler)  # fmt: skip
            x, y, spread = zip(*line)
            axis.errorbar(x, y, spread, label=sampler, marker=".", linewidth=1.5, capsize=2)
        if real is not None:
            axis.axhline(real, color="gray", linestyle=":", label="training images")
        axis.set(xlabel=label, ylabel=distance, xscale="log", yscale="log")
        plain_numbers(axis.yaxis)
        plain_numbers(axis.xaxis)
    axes[0].set_xticks(sorted({row["evaluations"] for row in rows if row["sampler"] != "heun"}), minor=False)
    axes[0].set_xticks([], minor=True)
    axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(title)
    figures.save_figure(figure, path)


def plain_numbers(axis) -> None:
    """16 where a logarithmic axis would say 1.6 x 10^1; few of them."""
    from matplotlib import ticker

    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(ticker.LogFormatter(minor_thresholds=(1, 0.4)))


def save_schedules(path: Path, own: Schedule, name: str) -> None:
    """log-SNR and the shares of image and noise over time, of one schedule among the others."""
    figure, axes = figures.new_figure(11, 4, ncols=2)
    ways = [
        (kind, zero) for kind in schedule.NAMES for zero in (False, True) if not (zero and kind == "flow")
    ]
    for kind, zero in ways:
        other = schedule.build(kind, own.steps, zero_terminal_snr=zero)
        label = f"{kind}, zero at the end" if zero else kind
        line = {"linestyle": "--" if zero else "-", "linewidth": 2.5 if label == name else 1}
        time = torch.arange(own.steps + 1) / own.steps
        shown = other.log_snr.isfinite()
        axes[0].plot(time[shown], other.log_snr[shown], label=label, **line)
        axes[1].plot(time, other.alpha.square() / (other.alpha.square() + other.sigma.square()), **line)
    axes[0].set(xlabel="t / T", ylabel="ln SNR", ylim=(-15, 15))
    axes[1].set(xlabel="t / T", ylabel="share of the image in the energy")
    axes[0].legend(frameon=False, fontsize=8)
    left = own.log_snr[-1].exp().item()
    figure.suptitle(f"{name}, T = {own.steps}: the SNR at the end is {left:.2g}")
    figures.save_figure(figure, path)


def save_training(path: Path, trainings: Sequence[Sequence[dict]], distance: str) -> None:
    """Distance to validation images, and their loss, over the time of training of each seed."""
    figure, axes = figures.new_figure(11, 4, ncols=2)
    longest = max(line["seconds"] for lines in trainings for line in lines)
    unit, seconds = ("hours", 3600) if longest > 3600 else ("minutes", 60)
    for number, lines in enumerate(trainings):
        time = [line["seconds"] / seconds for line in lines]
        for axis, name in zip(axes, (distance, "val/loss")):
            axis.plot(time, [line[name] for line in lines], marker=".", label=f"run {number + 1}")
    for axis, name in zip(axes, (distance, "val/loss")):
        axis.set(xlabel=f"{unit} of training", ylabel=name.removeprefix("val/"), yscale="log")
        axis.yaxis.set_major_formatter("{x:.3g}")
        axis.yaxis.set_minor_formatter("{x:.3g}")
    axes[0].legend(frameon=False)
    first, last = trainings[0][0], trainings[0][-1]
    figure.suptitle(
        f"{distance.removeprefix('val/')} of the averaged weights: {first[distance]:.3g} after "
        f"{first['step']} steps, {last[distance]:.3g} after {last['step']}"
    )
    figures.save_figure(figure, path)


def save_guidance(path: Path, rows: Sequence[dict], distance: str, title: str) -> None:
    """Class accuracy, precision and recall against guidance, and the Fréchet distance."""
    figure, axes = figures.new_figure(11, 4, ncols=2)
    scales = [row["guidance"] for row in rows]
    for key, name in (
        ("class_accuracy", "class drawn as asked"),
        ("precision", "precision"),
        ("recall", "recall"),
    ):
        if key in rows[0]:
            spread = [row.get(f"{key}_sd", 0.0) for row in rows]
            axes[0].errorbar(scales, [row[key] for row in rows], spread, label=name, marker=".", capsize=2)
    axes[0].set(xlabel="guidance", ylabel="share", ylim=(0, 1.02))
    axes[0].legend(frameon=False)
    spread = [row.get(f"{distance}_sd", 0.0) for row in rows]
    axes[1].errorbar(scales, [row[distance] for row in rows], spread, marker=".", capsize=2)
    axes[1].set(xlabel="guidance", ylabel=distance)
    figure.suptitle(title)
    figures.save_figure(figure, path)


def save_neighbours(path: Path, shown: Tensor, train: ImageSet, real: samples.Reference) -> None:
    """Each sample (uint8) beside the four training images nearest in feature space, or in pixels."""
    embed, space = (
        (real.features_of, "features") if real.extractor is not None else (nearest.pixels, "pixels")
    )
    near = nearest.nearest(embed(shown), (embed(part) for part in train.images.split(2000)), count=4).row
    cells = torch.cat([shown[:, None], train.images[near]], 1).flatten(0, 1)
    titles = ("sample", *(f"nearest {i + 1}" for i in range(4)))
    figures.save_grid(path, cells, 5, title=f"Nearest training images by {space}", column_titles=titles)
