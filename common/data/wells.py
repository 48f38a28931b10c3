"""Drawn casting moulds, some with metal spilled over a rim: the set on which anomalies are detected.

A camera looks down at a mould of wells in perspective.  The wells hold metal at different levels, under
uneven light; the iron is rusty, limed, dusty and scratched, and it glints.  A spill is metal that ran over
one or more walls: what is bright is not yet a spill, where it lies and its form decide.  The course's splits:

    train   no spills: what the autoencoder learns            proliv   spills only: for choosing a threshold
    val     no spills: for thresholds and early stopping      test     both, in equal parts

`attributes["spill_area"]` is the fraction of the image that a spill covers, 0 where there is none.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

from common.data.chunks import chunk_generator
from common.data.image_set import ImageSet
from common.data.wells_picture import COLUMNS, OCTAVES, PITCH, ROWS, Scenes, draw, project

import torch
import torch.nn.functional as F
from torch import Tensor

DEFAULT_SIZE = 64
DEFAULT_COUNTS = {"train": 3000, "val": 500, "proliv": 150, "test": 1000}
VERSION = 2
CLASS_NAMES = ("normal", "spill")

CHUNK = 100  # scenes sampled from one generator and drawn at once
DEPTH = 0.5  # of an empty well
GLINTS, SCRATCHES, DROPS, TONGUES = 14, 5, 4, 8


def draw_set(split: str, size: int, count: int, seed: int) -> ImageSet:
    """The first `count` moulds of a split, `size`×`size` pixels; the same arguments draw the same images."""
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")

    def draw_chunk(chunk: int) -> tuple[Tensor, Tensor, Tensor]:
        scenes = sample_scenes(split, chunk, seed)
        scenes = {name: value[: count - chunk * CHUNK] for name, value in scenes.items()}
        images, cover = draw(scenes, size, size)
        return images, scenes["label"], cover.mean((1, 2))

    threads = (
        torch.get_num_threads()
    )  # a chunk is small: a thread each is faster than all threads on every one
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        drawn = list(pool.map(draw_chunk, range(math.ceil(count / CHUNK))))
    torch.set_num_threads(threads)
    images, labels, areas = (torch.cat(parts) for parts in zip(*drawn))
    return ImageSet(
        images=images,
        name="wells",
        split=split,
        source=f"drawn by common/data/wells.py, version {VERSION}, seed {seed}",
        labels=labels,
        class_names=CLASS_NAMES,
        attributes={"spill_area": areas},
    )


def sample_scenes(split: str, chunk: int, seed: int) -> Scenes:
    """CHUNK scenes; every split, chunk and seed has random numbers of its own."""
    if split not in DEFAULT_COUNTS:
        raise ValueError(f"wells have the splits {', '.join(DEFAULT_COUNTS)}, not {split!r}")
    generator = chunk_generator("wells", split, chunk, seed)
    scenes = _sample_mould(generator)
    scenes |= _sample_light_and_dirt(generator)
    label = torch.zeros(CHUNK, dtype=torch.int64)
    if split == "proliv":
        label += 1
    elif split == "test":  # one of each in every pair, in random order
        first = torch.randint(2, (CHUNK // 2,), generator=generator)
        label = torch.stack([first, 1 - first], 1).flatten()
    return scenes | _sample_spill(scenes, generator) | {"label": label}


def _uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return torch.rand((CHUNK, *shape), generator=generator) * (high - low) + low


def _sample_mould(generator: torch.Generator) -> Scenes:
    u = lambda low, high, *shape: _uniform(generator, low, high, *shape)
    cells = COLUMNS * ROWS
    filled = (u(0, 1, cells).argsort(1) >= u(0, 3, 1).floor()).float()  # none, one or two are empty
    level = u(0.12, 0.3)[:, None] + u(-0.09, 0.09, cells)
    return {
        "aspect": torch.exp(u(-0.04, 0.1)),  # width / height of the photograph
        "pixels": torch.exp(u(math.log(112), math.log(288))).round(),  # its height
        "tilt": u(0.43, 0.53),
        "yaw": u(-0.045, 0.045),
        "roll": u(-0.02, 0.02),
        "distance": u(4.2, 4.5),
        "look": torch.stack([u(-0.07, 0.07), u(-0.1, 0.05)], 1),
        "wall": u(0.15, 0.19),
        "taper": u(0.2, 0.4),
        "level": filled * level + (1 - filled) * DEPTH,  # depth of the metal's surface, or of the bare floor
        "filled": filled,
        "metal": u(0.6, 0.74)[:, None] * u(0.9, 1.1, cells),
        "lamp_x": u(-0.22, 0.22, cells),
        "lamp_y": u(-0.2, 0.2, cells),
        "lamp_strength": u(0.05, 0.3, cells),
    }


def _sample_light_and_dirt(generator: torch.Generator) -> Scenes:
    u = lambda low, high, *shape: _uniform(generator, low, high, *shape)
    scenes = {
        "exposure": torch.exp(u(-0.09, 0.12)),
        "tint": torch.exp(u(-0.09, 0.09, 3)),
        "gradient": torch.stack([u(-0.28, 0.28), u(-0.25, 0.25)], 1),
        "vignette": u(0.1, 0.32),
        "sun": u(-0.9, 0.9) + math.pi / 2,  # where the light comes from, an angle in the plane
        "rim": u(0.12, 0.24),
        "rust": u(0.2, 0.4),
        "lime": u(0.22, 0.34),
        "dust": u(0.1, 0.5),
        "glint_at": torch.stack([u(-1.6, 1.6, GLINTS), u(-1.7, 1.7, GLINTS)], 2),
        "glint_size": torch.stack([u(0.03, 0.14, GLINTS), u(0.015, 0.045, GLINTS)], 2),
        "glint_angle": u(0, math.pi, GLINTS),
        "glint": u(0.2, 0.9, GLINTS),
        "scratch_at": torch.stack([u(-1.6, 1.6, SCRATCHES), u(-1.7, 1.7, SCRATCHES)], 2),
        "scratch_length": u(0.15, 0.7, SCRATCHES),
        "scratch_angle": u(0, math.pi, SCRATCHES),
        "scratch": u(-0.35, 0.45, SCRATCHES),
        "blur": u(0.3, 1.6),  # in pixels of a 64-pixel picture
        "grain": u(0.008, 0.03),
        "grain_seed": torch.randint(2**62, (CHUNK,), generator=generator),
    }
    for side, textures in OCTAVES:
        scenes[f"noise_{side}"] = u(-1.1, 1.1, textures, side, side)
    return scenes


def _sample_spill(scenes: Scenes, generator: torch.Generator) -> Scenes:
    """A path of discs that begins on a wall in view and runs across it, and drops around it."""
    u = lambda low, high, *shape: _uniform(generator, low, high, *shape)
    pitch = torch.tensor(PITCH)
    counts = torch.tensor((COLUMNS, ROWS))
    x, y, ray, _ = project(
        scenes, u(-0.62, 0.62)[:, None] * scenes["aspect"][:, None], u(-0.62, 0.66)[:, None]
    )
    seen = torch.cat([x, y], 1) / pitch + counts / 2  # a seen point in cells; walls stand at whole numbers
    across = torch.randint(2, (CHUNK,), generator=generator)  # the axis along which the metal crosses a wall
    is_across = F.one_hot(across, 2).float()
    on_wall = torch.minimum(seen.round().clamp(min=1), counts - 1.0)
    inside = torch.minimum(seen.clamp(min=0.3), counts - 0.3)
    start = ((on_wall * is_across + inside * (1 - is_across)) - counts / 2) * pitch

    far = (ray / scenes["distance"][:, None]).squeeze(1)  # what is far looks small: let it be larger
    size = torch.exp(u(math.log(0.14), math.log(0.18))) * far  # the radius of a middling disc
    radii = size[:, None] * u(0.4, 1.05, TONGUES)
    spread = ((radii / far[:, None]).square().sum(1) / 0.12).sqrt()
    heading = math.pi / 2 * across + math.pi * torch.randint(2, (CHUNK,), generator=generator)
    angle = (heading + u(-0.5, 0.5))[:, None] + u(-0.6, 0.6, TONGUES).cumsum(1)
    steps = (size[:, None] * u(0.3, 0.9, TONGUES))[..., None] * torch.stack([angle.cos(), angle.sin()], 2)
    begin = start[:, None] - steps[:, :3].sum(1, keepdim=True)  # so that the third disc lies on the wall
    path = begin + steps.cumsum(1)
    bright = u(1.0, 1.08) * (spread**-0.6).clamp(0.9, 1.15)  # what is thick cools slowly and is dull
    drops = start[:, None] + size[:, None, None] * torch.randn((CHUNK, DROPS, 2), generator=generator) * 2
    return {
        "spill_at": torch.cat([path, drops], 1),
        "spill_radius": torch.cat([radii, u(-0.02, 0.05, DROPS)], 1),
        "spill_ragged": size * u(0.3, 0.8),
        "spill_bright": bright,
        "spill_gloss": u(0.1, 0.5),
    }
