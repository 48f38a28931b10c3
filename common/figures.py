"""Image grids, curves, GIFs and films.  Figures are drawn without a display and pyplot's global state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import warn

import imageio.v3 as imageio
import numpy as np
import torch
from PIL import GifImagePlugin, Image, ImageChops
from torch import Tensor

if TYPE_CHECKING:  # matplotlib is imported where a figure is drawn: it costs every start 25 MB and 0.2 s
    from matplotlib.figure import Figure

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette: told apart by colour-blind readers too."""
READ_AT = 1200
"""Pixels across a page or a screen."""


def image_grid(images: Tensor, columns: int, padding: int = 2, background: int = 255) -> Tensor:
    """uint8 (N, C, H, W) -> one uint8 image (C, H', W'), row by row; missing cells are background."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    cells = images.new_full((rows * columns, channels, height + padding, width + padding), background)
    cells[:count, :, :height, :width] = images
    grid = cells.view(rows, columns, channels, height + padding, width + padding)
    grid = grid.permute(2, 0, 3, 1, 4).reshape(
        channels, rows * (height + padding), columns * (width + padding)
    )
    return grid[:, : grid.shape[1] - padding, : grid.shape[2] - padding]


def save_png(path: Path | str, image: Tensor) -> None:
    """Write one uint8 image (C, H, W)."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    imageio.imwrite(path, _to_numpy(image))


def save_gif(path: Path | str, frames: Tensor, frame_ms: int = 80) -> None:
    """Write uint8 frames (N, C, H, W) as a GIF that loops for ever, `gif_frame_ms(frame_ms)` a frame.

    The file has N frames, also where neighbours are equal.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    images = [Image.fromarray(_to_numpy(frame)) for frame in frames]
    frame_ms = gif_frame_ms(frame_ms)
    images[0].save(path, save_all=True, append_images=images[1:], duration=frame_ms, loop=0)
    with Image.open(path) as written:
        if written.n_frames == len(images):
            return
    _save_every_frame(path, images, frame_ms)


def _save_every_frame(path: Path | str, images: Sequence[Image.Image], frame_ms: int) -> None:
    """What Pillow's own writer does, but for frames that look the same, of which it makes one long one: each
    frame after the first is the rectangle that changed, or a pixel where nothing did."""
    with open(path, "wb") as file:
        for i, image in enumerate(images):
            changed = ImageChops.difference(image, images[i - 1]).getbbox() if i else None
            box = changed or ((0, 0, 1, 1) if i else (0, 0, *image.size))
            part = image.crop(box)
            part = part if part.mode == "L" else part.convert("P", palette=Image.Palette.ADAPTIVE)
            header, _ = GifImagePlugin.getheader(part, info={"loop": 0})
            file.writelines(header if i == 0 else [])
            own = {"duration": frame_ms, "include_color_table": i > 0}
            file.writelines(GifImagePlugin.getdata(part, box[:2], **own))
        file.write(b";")


def save_mp4(path: Path | str, frames: Tensor, frame_ms: int = 40) -> None:
    """Write uint8 frames (N, C, H, W) as an MP4 (H.264) that every browser plays.

    Its sides are even numbers: an odd one gets a line of its last pixels."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    height, width = frames.shape[-2:]
    rows, columns = (torch.arange(side + side % 2).clamp(max=side - 1) for side in (height, width))
    even = frames.expand(-1, 3, -1, -1)[:, :, rows][..., columns]
    film = even.permute(0, 2, 3, 1).cpu().numpy()
    options = {"codec": "libx264", "quality": 8, "macro_block_size": 2, "ffmpeg_log_level": "error"}
    imageio.imwrite(path, film, plugin="FFMPEG", extension=".mp4", fps=1000 / frame_ms, **options)


def gif_frame_ms(frame_ms: float) -> int:
    """The frame time that a GIF can hold: whole hundredths of a second, and two at least, as viewers show."""
    return 10 * max(2, round(frame_ms / 10))


def warn_of_gif_time(frame_ms: int) -> None:
    """A word where a GIF cannot show its frames for the time that was asked."""
    if (shown := gif_frame_ms(frame_ms)) != frame_ms:
        warn(f"--frame-ms {frame_ms}: a GIF counts time in 10 ms; its frames last {shown} ms")


def save_grid(
    path: Path | str,
    images: Tensor,
    columns: int,
    *,
    title: str | None = None,
    row_titles: Sequence[str] = (),
    column_titles: Sequence[str] = (),
    zoom: float | None = None,
) -> None:
    """Write a grid of uint8 images (N, C, H, W) as PNG; with any title, as a figure around the grid.

    `zoom` is screen pixels per image pixel; by default small images are enlarged until a cell is about 64
    pixels.  Titles grow with a grid of more than READ_AT pixels, so that they can still be read where a page
    shows the figure smaller.
    """
    zoom = zoom or max(1, round(64 / images.shape[-1]))
    grid = image_grid(images, columns, padding=max(1, 2 // zoom) if zoom >= 1 else 2)
    grid = grid.repeat_interleave(int(zoom), 1).repeat_interleave(int(zoom), 2) if zoom >= 1 else grid
    if not (title or len(row_titles) or len(column_titles)):
        save_png(path, grid)
        return
    height, width = grid.shape[1:]
    scale = max(1, width / READ_AT)
    dpi = 100 * scale
    left = 12 + _text_width(row_titles, 8)
    lines = max((1 + text.count("\n") for text in column_titles), default=0)
    top = (22 * (1 + title.count("\n")) if title else 4) + 13 * lines + 6 * (lines > 0)
    longest = 16 + _text_width([title or ""], 10)
    left, top, edge = left * scale, top * scale, 8 * scale
    total = (max(width + left + edge, longest * scale), height + top + edge)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(total[0] / dpi, total[1] / dpi), dpi=dpi)
    axes = figure.add_axes((left / total[0], edge / total[1], width / total[0], height / total[1]))
    axes.imshow(_to_numpy(grid), cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    rows = -(-len(images) // columns)
    _tick_titles(axes, row_titles, rows, height, column_titles, columns, width)
    if title:
        figure.text(0.5, 1 - 4 * scale / total[1], title, ha="center", va="top", fontsize=10)
    save_figure(figure, path)


def _text_width(texts: Sequence[str], points: float) -> float:
    """Pixels of the longest line at 100 dots per inch."""
    from matplotlib.textpath import TextPath

    lines = [line for text in texts for line in text.split("\n") if line.strip()]
    widths = [TextPath((0, 0), line, size=points).get_extents().width for line in lines]
    return max(widths, default=0) * 100 / 72


def _tick_titles(axes, row_titles, rows, height, column_titles, columns, width) -> None:
    axes.set_yticks([(i + 0.5) * height / rows for i in range(len(row_titles))], row_titles, fontsize=8)
    axes.set_xticks(
        [(i + 0.5) * width / columns for i in range(len(column_titles))], column_titles, fontsize=8
    )
    axes.xaxis.tick_top()
    axes.tick_params(length=0, pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)


def new_figure(width: float = 7, height: float = 4, **subplots) -> tuple[Figure, object]:
    """A figure of `width` x `height` inches and its axes (`subplots` as matplotlib's Figure.subplots takes
    them)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = figure.subplots(**subplots)
    for one in np.ravel(axes):
        one.spines[["top", "right"]].set_visible(False)
        one.set_prop_cycle(color=COLORS)
        one.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def save_figure(figure: Figure, path: Path | str) -> None:
    """Write a matplotlib figure as PNG, without a date or version in it, so that equal figures are equal
    files."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


def save_curves(
    path: Path | str,
    lines: Sequence[dict],
    names: Sequence[str],
    *,
    title: str,
    ylabel: str,
    xlabel: str = "step",
    log_scale: bool = False,
) -> None:
    """Draw the named metrics of metrics.jsonl (`runs.read_metrics`) over steps."""
    figure, axes = new_figure()
    for name in names:
        points = [(line["step"], line[name]) for line in lines if name in line]
        axes.plot(*zip(*points), label=name, linewidth=1.5, marker="." if len(points) < 40 else "")
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, yscale="log" if log_scale else "linear")
    axes.legend(frameon=False)
    save_figure(figure, path)


def _to_numpy(image: Tensor) -> np.ndarray:
    """uint8 (C, H, W) -> (H, W) or (H, W, 3)."""
    if image.dtype != torch.uint8:
        raise TypeError(f"expected uint8, got {image.dtype}; convert with common.data.to_uint8")
    array = image.cpu().numpy()
    return array[0] if array.shape[0] == 1 else array.transpose(1, 2, 0)
