"""The figures of linear_diffusion.py and linear_costs.py."""

from __future__ import annotations

from pathlib import Path

from common import figures

import torch
from torch import Tensor

from hw4_diffusion.linear_captions import Captions

SHOWN = 8
"""Moments of the way from noise that the strip shows."""
ROWS = 5
"""Rows of the strip, of each the noisy image and the denoiser's guess."""
HELD = 15
"""Frames for which the film stays at its end."""


def sheet(captions: Captions, per_option: int) -> tuple[Captions, list[str]]:
    """Captions for rows of samples: the first ones, with one option of the first attribute in each row.

    Also what each row is called: the option, or nothing where there are no captions."""
    first = captions.take(torch.arange(per_option) % captions.count)
    if not captions.chosen:
        return first, [""]
    name, options = next(iter(captions.options.items()))
    rows = [first.with_option(name, option) for option in range(len(options))]
    chosen = {key: torch.cat([row.chosen[key] for row in rows]) for key in first.chosen}
    return Captions(per_option * len(rows), chosen, captions.options), list(options)


def save_samples(path: Path, images: Tensor, rows: list[str], title: str) -> None:
    """A row of uint8 samples for each option."""
    figures.save_grid(path, images, len(images) // len(rows), title=title, row_titles=rows, zoom=2)


def save_way(
    path: Path, images: list[Tensor], guesses: list[Tensor], times: list[int], rows: list[str]
) -> None:
    """The first sample of some rows at equal parts of the way, above the denoiser's guess of its end."""
    last = len(guesses) - 1
    moments = [round(i * last / (SHOWN - 1)) for i in range(SHOWN)] if last else [0]
    step, per_row = max(1, len(rows) // ROWS), len(images[0]) // len(rows)
    strip, titles = [], []
    for row in range(0, len(rows), step)[:ROWS]:
        first = row * per_row
        strip += [images[i][first] for i in moments] + [images[-1][first]]
        strip += [guesses[i][first] for i in moments] + [images[-1][first]]
        titles += [f"{rows[row]} noisy".strip(), "guess"]
    columns = [f"t = {times[i]}" for i in moments] + ["sample"]
    figures.save_grid(
        path,
        torch.stack(strip),
        len(columns),
        title="From noise to an image: the coarse first, the fine last",
        row_titles=titles,
        column_titles=columns,
        zoom=2,
    )


def save_film(path: Path, images: list[Tensor], options: int) -> None:
    """The way of one sample of each option, side by side, as a GIF that stays at its end for a while."""
    columns = options if options < 8 else -(-options // 2)
    moments = [*range(0, len(images) - 1, 2), len(images) - 1]
    first = slice(None, None, len(images[0]) // options)
    grids = [figures.image_grid(images[i][first], columns) for i in moments]
    frames = torch.stack(grids + grids[-1:] * HELD)
    figures.save_gif(path, frames.repeat_interleave(2, 2).repeat_interleave(2, 3), frame_ms=100)
