"""The figures of bayes_pixels.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from common import figures

import torch
from torch import Tensor

SPLITS = {"train": "training images", "val": "held-out images"}


def from_afar(images: Tensor, patches: int = 12) -> Tensor:
    """Every patch replaced by its mean, about `patches` of them across: what an eye far away sees."""
    _, _, height, width = images.shape
    side = max(1, min(height, width) // patches)
    small = torch.nn.functional.avg_pool2d(images.float(), side, ceil_mode=True, count_include_pad=False)
    large = small.repeat_interleave(side, 2).repeat_interleave(side, 3)
    return large[:, :, :height, :width].round().to(torch.uint8)


def save_comparison(
    path: Path, train: Tensor, samples: dict[str, Tensor], rows: list[str], count: int
) -> None:
    """The training images and each model's samples, each followed by its first two seen from afar."""
    first = train[torch.arange(count) % len(train)]
    images = torch.cat([torch.cat([block, from_afar(block[:2])]) for block in (first, *samples.values())])
    columns = len(images) // len(rows)
    headings = ["" for _ in range(count)] + ["1, from afar", "2, from afar"][: columns - count]
    text = "Independent pixels: grain seen closely, the same blur from afar. Dependence brings back shapes."
    figures.save_grid(
        path,
        images,
        columns,
        title=text,
        row_titles=rows,
        column_titles=headings,
        zoom=max(1, round(96 / train.shape[-1])),
    )


def save_numbers(
    path: Path, titles: dict[str, str], metrics: dict[str, float], splits: Sequence[str], channels: int
) -> None:
    """Bits per pixel and differences of neighbours as bars."""
    figure, (left, right) = figures.new_figure(11, 0.5 * len(titles) + 1.4, ncols=2, sharey=True)
    places = torch.arange(len(titles))
    height = 0.8 / len(splits)
    for i, split in enumerate(splits):
        bits = [metrics.get(f"{split}/{name}_bits_per_pixel", math.inf) for name in titles]
        shown = [value if math.isfinite(value) else 0 for value in bits]
        at = places + (i - (len(splits) - 1) / 2) * height
        left.barh(at, shown, height, label=SPLITS[split])
        for y, name, value in zip(at.tolist(), titles, bits):
            share = metrics[f"{split}/{name}_impossible_pixels"]
            text = (
                f" {value:.2f}"
                if math.isfinite(value)
                else f" ∞ ({share:.0%} of the pixels have probability 0)"
            )
            left.annotate(text, (value if math.isfinite(value) else 0, y), va="center", fontsize=7)
    left.axvline(8 * channels, color="grey", linestyle=":", linewidth=1)
    best = min(titles, key=lambda name: metrics.get(f"{splits[-1]}/{name}_bits_per_pixel", math.inf))
    left.set(xlabel=f"bits per pixel ({8 * channels}: all colours alike)", xlim=(0, 9 * channels))
    left.set_title(f"Fewest bits on {SPLITS[splits[-1]]}:\n{titles[best]}", fontsize=10)
    left.set_yticks(places, titles.values(), fontsize=8)
    left.invert_yaxis()
    left.legend(frameon=False, fontsize=7)
    differences = [metrics[f"sampled/{name}_neighbour_difference_levels2"] for name in titles]
    right.barh(places, differences, 0.6, color=figures.COLORS[2])
    for y, value in zip(places.tolist(), differences):
        right.annotate(f" {value:,.0f}", (value, y), va="center", fontsize=7)
    data_value = metrics["train/neighbour_difference_levels2"]
    right.axvline(
        data_value, color="black", linewidth=1, linestyle="--", label=f"training images: {data_value:,.0f}"
    )
    right.set(
        xlabel="(difference of horizontal neighbours)², squared grey levels",
        xlim=(0, 1.12 * max(differences)),
    )
    right.set_title("Independence makes neighbours strangers:\nhow much they differ in samples", fontsize=10)
    right.legend(frameon=False, fontsize=7)
    figures.save_figure(figure, path)


def save_beta(path: Path, betas: Sequence[float], sweep: dict[str, list[float]], beta: float) -> None:
    """Bits per pixel of the chain over beta."""
    figure, axis = figures.new_figure(6.5, 3.6)
    for split, values in sweep.items():
        axis.semilogx(betas, values, marker=".", label=SPLITS[split])
    axis.axvline(beta, color=figures.COLORS[2], linewidth=1, label=f"--beta {beta:g}")
    axis.set(xlabel="β, weight of the shorter context", ylabel="bits per pixel (mean of up to 5 images)")
    axis.set_title("Little weight repeats what it saw, much weight expects the new", fontsize=10)
    axis.legend(frameon=False, fontsize=8)
    figures.save_figure(figure, path)
