"""Pixel monsters: symmetric creatures on 32 x 32 cells with a palette of fifteen colours, on white.

Each creature is a choice of parts (`OPTIONS`), measures that vary continuously, and a palette built on a
hue.  Parts are painted from back to front as palette indices; only then come colours and the resolution.
The silhouette is mirrored exactly except where the creature has a tail; light, which falls from the top
left, spots and gaze are not.  1,200 of them take 1.3 s of one core.
"""

from __future__ import annotations

from common.data import creature_parts as parts
from common.data.chunks import draw_in_chunks
from common.data.creature_parts import GRID, OPTIONS, Frame, Sprite
from common.data.image_set import ImageSet
from common.data.signed_distance import Number, Shape, circle, column, ellipse, polygon, rounded_box, union
from common.errors import InputError

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

VERSION = 1
DEFAULT_SIZE = 64
DEFAULT_COUNTS = {"train": 1_200, "val": 200, "test": 400}
"""About as many as there are Pokémon: the laboratory asks for a set of more than 1,000 images."""
SIZES = range(16, 513)


def draw_set(split: str, size: int = DEFAULT_SIZE, count: int | None = None, seed: int = 0) -> ImageSet:
    """`count` creatures (count, 3, size, size); a cell is a square of whole pixels where 32 divides the size.

    Attributes: a choice for each name in `OPTIONS`, and the hue of the body, `hue`, in [0, 1).  Labels are
    the bodies.
    """
    if split not in DEFAULT_COUNTS:
        raise InputError(f"split {split!r} of creatures: there are {', '.join(DEFAULT_COUNTS)}")
    if size not in SIZES:
        sizes = f"{SIZES[0]} to {SIZES[-1]}"
        raise InputError(f"--size {size}: creatures are drawn at {sizes} pixels; choose one of these")
    count = DEFAULT_COUNTS[split] if count is None else count
    drawn = draw_in_chunks("creatures", split, count, seed, draw_chunk)
    cells, palette = drawn.pop("cells"), drawn.pop("palette")
    return ImageSet(
        images=torch.cat([resize(*some, size) for some in zip(cells.split(250), palette.split(250))]),
        name="creatures",
        split=split,
        source=f"drawn by common/data/creatures.py, version {VERSION}, seed {seed}",
        labels=drawn["body"],
        class_names=OPTIONS["body"],
        attributes=drawn,
        options=dict(OPTIONS),
    )


def draw_chunk(count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """`cells` (count, GRID, GRID): palette indices; `palette` (count, COLORS, 3) in [0, 1]; attributes."""
    choices = {
        name: torch.randint(len(options), (count,), generator=generator) for name, options in OPTIONS.items()
    }
    hue = torch.rand(count, generator=generator)
    palette = make_palette(hue, generator)
    return {"cells": draw_cells(choices, generator), "palette": palette, "hue": hue, **choices}


def draw_cells(choices: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """Palette indices (B, GRID, GRID) of creatures with these options, int64 (B,) each."""
    count = len(choices["body"])
    uniform = uniform_numbers(count, generator)
    sprite, frame = Sprite(choices), Frame(choices, uniform)
    for part in (parts.arms, parts.tails, parts.legs, parts.head_dress):
        part(sprite, frame, uniform)
    body = frame.body(sprite)
    sprite.paint(body, parts.BODY)
    noise = torch.randn(count, 1, GRID, GRID // 2, generator=generator)
    paint_coat(sprite, frame, body, noise, uniform)
    paint_face(sprite, frame, uniform)
    return sprite.cells


def uniform_numbers(count: int, generator: torch.Generator) -> parts.Uniform:
    return lambda low, high: low + (high - low) * torch.rand(count, generator=generator)


def paint_coat(sprite: Sprite, frame: Frame, body: Tensor, noise: Tensor, uniform: parts.Uniform) -> None:
    """The pattern in the second colour and the pale belly, both with the tones of the body under them.

    noise (B, 1, GRID, GRID / 2) is what patches are made of: its highest third, mirrored and smoothed.
    """
    inside = parts.eroded(body)
    noise = torch.cat([noise.flip(-1), noise], -1)
    for width in (5, 3):
        noise = avg_pool2d(noise, width, stride=1, padding=width // 2)
    patches = noise[:, 0] > noise.flatten(1).quantile(0.65, dim=1)[:, None, None]
    spots = sprite.region(union(*(spot(frame, at, uniform) for at in (0.0, 0.2, 0.4, 0.6, 0.8))))
    flanks = sprite.x.abs() > 0.5 * column(torch.maximum(frame.head_rx, frame.torso_rx))
    stripes = ((1.25 * sprite.y - 0.35 * sprite.x.abs()).sin() > 0.35) & flanks
    pattern = sprite.choose("pattern", {"spots": spots, "stripes": stripes, "patches": patches})
    sprite.fill(inside & pattern, sprite.cells + (parts.ACCENT - parts.BODY))
    oval = ellipse((0.0, frame.torso_y + 1), (0.62 * frame.torso_rx, 0.72 * frame.torso_ry))
    sprite.fill(inside & sprite.choose("belly", {"oval": oval}), parts.PALE + 1 + parts.shade(body))


def spot(frame: Frame, depth: float, uniform: parts.Uniform) -> Shape:
    """A dot on the body at about `depth` of the way from its top to its bottom."""
    y = frame.top + uniform(depth, depth + 0.2) * (frame.bottom - frame.top)
    return circle((uniform(0.3, 1.0) * frame.torso_rx, y), uniform(1.1, 2.2))


def paint_face(sprite: Sprite, frame: Frame, uniform: parts.Uniform) -> None:
    """Eyes and mouth.  The middles of eyes lie on corners of cells, so that they come out even."""
    cyclops = sprite.has("eyes", "one").flatten()
    radius = torch.where(cyclops, uniform(3.7, 4.7), uniform(2.6, 3.6).minimum(0.42 * frame.head_rx))
    apart = torch.maximum(frame.head_rx * uniform(0.38, 0.5), radius + 0.5).round() * ~cyclops
    y = (frame.head_y - 0.1 * frame.head_ry).round()
    third_y = torch.maximum(y - radius - 1.2, frame.top + 0.75 * radius + 1.2).round()
    gaze, pupil = uniform(-0.9, 0.9).round(), uniform(0.45, 0.62)

    def each_eye(dx: Number, dy: Number, scale: Number) -> Tensor:
        """A disc in every eye, `scale` times as large as the eye and moved from its middle."""
        pair = [circle((side * apart + dx, y + dy), radius * scale) for side in (-1, 1)]
        third = sprite.region(circle((dx, third_y + dy), 0.75 * radius * scale), mirrored=False)
        return sprite.region(union(*pair), mirrored=False) | (third & sprite.has("eyes", "three"))

    buttons = sprite.has("look", "buttons")
    eyes = each_eye(0.0, 0.0, torch.where(buttons.flatten(), 0.75, 1.0))
    inner = parts.eroded(eyes)
    sprite.fill(eyes, parts.RIM)
    sprite.fill(inner, parts.WHITE)
    sprite.fill(inner & (buttons | each_eye(gaze, 0.4, pupil)), parts.BLACK)
    sprite.fill(inner & each_eye(gaze - 0.8, -0.6, 0.25), parts.WHITE)
    sleepy = sprite.y < column(y)
    angry = sprite.y < column(y - 0.1 * radius + 0.5 * apart) - 0.5 * sprite.x.abs()
    lids = inner & sprite.choose("look", {"sleepy": sleepy, "angry": angry})
    sprite.fill(lids, parts.BODY)
    sprite.fill(lids & ~lids.roll(-1, 1), parts.RIM)
    paint_mouth(sprite, (y + torch.maximum(radius + 1.2, 0.4 * frame.head_ry)).round(), uniform)


def paint_mouth(sprite: Sprite, y: Tensor, uniform: parts.Uniform) -> None:
    """A mouth y (B,) cells from the top."""
    wide = uniform(2.6, 4.6).round()
    middle = column(y) + 1.5 * (1 - (sprite.x / column(wide)) ** 2)
    line = ((sprite.y - middle).abs() < 0.6) & (sprite.x.abs() < column(wide))
    jaw = sprite.region(ellipse((0.0, y - 0.5), (wide, 3.6))) & (sprite.y > column(y) - 0.5)
    tongue = sprite.region(ellipse((0.0, y + 2.8), (0.6 * wide, 1.6)))
    teeth = sprite.region(rounded_box((0.0, y + 1), (wide + 0.5, 2.0), 1.0))
    gaps = (sprite.x.abs() == 1.5) | (sprite.x.abs() == 3.5)
    fang = polygon([(wide - 3.1, y), (wide - 0.1, y), (wide - 1.4, y + 4.6)])
    beak = polygon([(-3.4, y - 1.5), (3.4, y - 1.5), (0.0, y + 3.6)])
    hole = circle((0.0, y + 0.5), 1.6)
    sprite.paint(sprite.choose("mouth", {"beak": beak}), parts.ACCENT)
    sprite.fill(sprite.choose("mouth", {"fangs": fang}), parts.WHITE)
    dark = {"smile": line, "open": jaw, "fangs": line, "grin": teeth, "small": hole}
    sprite.fill(sprite.choose("mouth", dark), parts.RIM)
    sprite.fill(sprite.choose("mouth", {"open": parts.eroded(jaw)}), parts.MOUTH)
    sprite.fill(sprite.choose("mouth", {"open": parts.eroded(jaw) & tongue}), parts.TONGUE)
    sprite.fill(sprite.choose("mouth", {"grin": parts.eroded(teeth) & ~gaps}), parts.WHITE)


def make_palette(hue: Tensor, generator: torch.Generator) -> Tensor:
    """(B, COLORS, 3) in [0, 1].  Shadows lean to blue and lights to yellow, as painters do it."""
    uniform = uniform_numbers(len(hue), generator)
    palette = torch.ones(len(hue), parts.COLORS, 3)
    second = hue + uniform(0.12, 0.88)
    ramps = {
        parts.BODY: (hue, uniform(0.4, 0.8), uniform(0.8, 0.97)),
        parts.ACCENT: (second, uniform(0.45, 0.8), uniform(0.75, 1.0)),
        parts.PALE: (hue + 0.5 * toward(hue, 0.12), uniform(0.12, 0.25), uniform(0.92, 0.98)),
    }
    for first, (h, strength, v) in ramps.items():
        s = strength * (1 - 0.35 * (-((toward(h, 0.67) / 0.09) ** 2)).exp())  # pure blue is dark
        palette[:, first] = rgb(h + 0.2 * toward(h, 0.7), s * 1.1 + 0.04, v * 0.74)
        palette[:, first + 1] = rgb(h, s, v)
        palette[:, first + 2] = rgb(h + 0.2 * toward(h, 0.15), s * 0.7, (v * 1.12).clamp(max=1))
    palette[:, parts.RIM] = rgb(hue + 0.3 * toward(hue, 0.7), uniform(0.45, 0.7), uniform(0.16, 0.26))
    palette[:, parts.WHITE] = torch.tensor([0.97, 0.97, 0.98])  # only paper is 255 in all channels
    palette[:, parts.BLACK] = torch.tensor([0.07, 0.06, 0.10])
    palette[:, parts.MOUTH] = torch.tensor([0.55, 0.12, 0.18])
    palette[:, parts.TONGUE] = torch.tensor([0.95, 0.50, 0.52])
    return palette


def toward(hue: Tensor, target: float) -> Tensor:
    """The shorter way around the circle of hues from one to the other, in [-0.5, 0.5)."""
    return (target - hue + 0.5) % 1 - 0.5


def rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """HSV (B,) each -> RGB (B, 3) in [0, 1]."""
    k = (torch.tensor([5.0, 3.0, 1.0]) + 6 * hue[:, None]) % 6
    return value[:, None] * (1 - saturation[:, None] * torch.minimum(k, 4 - k).clamp(0, 1))


def resize(cells: Tensor, palette: Tensor, size: int) -> Tensor:
    """uint8 (B, 3, size, size): each pixel is the mean of the cells it covers, weighted by area."""
    levels = (255 * palette).round()
    colors = levels[torch.arange(len(cells))[:, None, None], cells]  # (B, GRID, GRID, 3)
    edges = torch.arange(size + 1, dtype=torch.float64) * GRID / size
    cell = torch.arange(GRID)
    overlap = torch.minimum(edges[1:, None], cell + 1.0) - torch.maximum(edges[:-1, None], cell)
    share = (overlap.clamp(min=0) * size / GRID).float()  # (size, GRID), rows sum to 1
    return torch.einsum("iy,byxc,jx->bcij", share, colors, share).round().to(torch.uint8)
