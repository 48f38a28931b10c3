"""Figures of a text-to-image model of portraits."""

from __future__ import annotations

import textwrap
from pathlib import Path

from common import figures, torchvision_operators  # noqa: F401  diffusers imports torchvision

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from hw4_diffusion import drawing
from hw4_diffusion.text_to_image_measures import Orders

START = "a portrait of a {} person with {}, {}, wearing a {}, {}, {} background"
EDITS = (
    ("calm", "long straight black hair", "no glasses", "blue hoodie", "facing forward", "mint"),
    ("smiling", "long straight black hair", "no glasses", "blue hoodie", "facing forward", "mint"),
    ("smiling", "short curly red hair", "no glasses", "blue hoodie", "facing forward", "mint"),
    ("smiling", "short curly red hair", "sunglasses", "blue hoodie", "facing forward", "mint"),
    ("smiling", "short curly red hair", "sunglasses", "white v-neck tee", "facing forward", "mint"),
    ("smiling", "short curly red hair", "sunglasses", "white v-neck tee", "head turned left", "mint"),
    ("smiling", "short curly red hair", "sunglasses", "white v-neck tee", "head turned left", "violet"),
)
"""Words of a prompt, of which one changes from row to row."""
NOISES = 6
"""Columns, each of its own noise."""


def titled(prompt: str, width: int = 30) -> str:
    """A prompt in lines that fit beside a row."""
    return textwrap.fill(prompt, width)


def save_samples(path: Path, orders: Orders, drawn: Tensor, rows: int = 8) -> None:
    """A prompt beside each row: a test caption, and the image."""
    titles = [titled(text, 34) for text in orders.texts[: 2 * rows]]
    figure, axes = figures.new_figure(9, 1.1 * rows, nrows=rows, ncols=2)
    for axis, image, title in zip(axes.flatten(), drawn, titles):
        axis.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.text(1.1, 0.5, title, fontsize=8, va="center", transform=axis.transAxes)
    figure.suptitle("Test captions, and the first image drawn of each", fontsize=10)
    figures.save_figure(figure, path)


def save_edits(path: Path, pipeline: StableDiffusionPipeline, guidance: float, steps: int) -> None:
    """The same noises under prompts of which one part changes from row to row."""
    texts = [START.format(*words) for words in EDITS for _ in range(NOISES)]
    seeds = [*range(NOISES)] * len(EDITS)
    images = drawing.draw(pipeline, texts, seeds, guidance=guidance, steps=steps)
    changed = [next((new for new, old in zip(words, before) if new != old), None)
               for words, before in zip(EDITS[1:], EDITS)]  # fmt: skip
    first = titled(START.format(*EDITS[0]))
    figures.save_grid(
        path, images, NOISES, row_titles=[first, *(f"… {words}" for words in changed)],
        title=f"One part of the prompt changes from row to row, the noise stays (guidance {guidance:g})",
    )  # fmt: skip


def save_reconstructions(path: Path, images: Tensor, through: Tensor, count: int = 12) -> None:
    """Test portraits above what encoder and decoder leave of them."""
    figures.save_grid(
        path, torch.cat([images[:count], through[:count]]), count,
        title="Test portraits, encoded and decoded", row_titles=("portrait", "decoded"),
    )  # fmt: skip


def save_sweeps(
    path: Path, by_guidance: list[dict], by_steps: list[dict], distance: str, best: float
) -> None:
    """Orders obeyed and Fréchet distance over guidance, and over the number of steps."""
    figure, axes = figures.new_figure(11, 4, ncols=2)
    for axis, rows, key in zip(axes, (by_guidance, by_steps), ("guidance", "steps")):
        x = [row[key] for row in rows]
        lines = axis.plot(x, [row["obeyed_attributes_percent"] for row in rows], marker=".", label="orders")
        lines += axis.plot(x, [row["obeyed_expression_percent"] for row in rows], marker=".", linestyle="--",
                           label="orders of expressions")  # fmt: skip
        axis.set(xlabel=key, ylabel="obeyed, %")
        other = axis.twinx()
        lines += other.plot(x, [row[distance] for row in rows], color="gray", marker=".", label=distance)
        other.set(ylabel=distance, ylim=(0, None))
        axis.legend(lines, [line.get_label() for line in lines], frameon=False, fontsize=8)
    axes[1].set_xscale("log")
    axes[1].set_xticks([row["steps"] for row in by_steps], [row["steps"] for row in by_steps])
    axes[1].set_xticks([], minor=True)
    figure.suptitle(
        f"Validation captions: guidance {best:g} is nearest to real portraits among those obeyed best"
    )
    figures.save_figure(figure, path)
