"""What project.py leaves: a table, originals beside projections, curves, a film, and files of each image."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from common import figures, runs
from common.data import to_uint8
from common.metrics import identity
from common.text_table import Column, markdown

import numpy as np
import torch
from torch import Tensor

from hw3_stylegan_sampling import people, projection, projections
from hw3_stylegan_sampling.networks import Generator
from hw3_stylegan_sampling.projection import Projected

How = Literal["w", "w+", "encoder", "encoder+w+"]
AMONG = 100
"""Persons among whom that of a projection is looked for."""
SHOWN = 16
"""Images in the figures, at most."""
COLUMNS = (
    Column("image", "image"), Column("obtained by", "how"), Column("PSNR, dB", "psnr", ".1f"),
    Column("distance", "distance", ".4f"), Column("identity", "identity", ".3f"),
    Column("taken for", "taken_for"), Column("seconds an image", "seconds", ".2f"),
)  # fmt: skip


class Obtained(NamedTuple):
    """Projections of B images by one way."""

    how: How
    last: Projected
    losses: Tensor
    """(T, B), T the steps; no step for the encoder."""
    frames: list[Tensor]
    """uint8 (B, 3, S, S): on the way."""
    seconds: float
    """For one image."""


class Persons:
    """What a network that recognises people says of projections."""

    def __init__(self, net: identity.Identity, count: int, size: int):
        self.net, self.count = net, count
        hundred = people.others(AMONG)  # the first `count` of them are those projected
        self.gallery = identity.gallery(net, hundred, size=size) if count else None

    def columns(self, targets: Tensor, projections: Tensor) -> dict[str, list]:
        """Cosine to the target's person, and whom of a hundred each picture of a drawn person, which come
        first, is taken for: right, or another one."""
        found = identity.embed(self.net, projections)
        known = {"identity": identity.similarity(identity.embed(self.net, targets), found).tolist()}
        if self.count:
            nearest = identity.nearest(found[: 2 * self.count], self.gallery)
            right = nearest == torch.arange(self.count).repeat_interleave(2)
            words = ["the right person" if one else "another" for one in right.tolist()]
            known["taken_for"] = words + [None] * (len(found) - len(words))
        return known


def rows_of(names: list[str], targets: Tensor, found: Obtained, persons: Persons | None) -> list[dict]:
    """A line of the table for each image."""
    columns = {"psnr": projection.psnr(targets, found.last.images).tolist()}
    columns["distance"] = found.last.distances.tolist()
    columns |= {} if persons is None else persons.columns(targets, found.last.images)
    known = {"how": found.how, "seconds": found.seconds}
    rows = zip(*columns.values())
    return [{"image": name, **known, **dict(zip(columns, row))} for name, row in zip(names, rows)]


def report(
    run: runs.Run, generator: Generator, names: list[str], images: Tensor, found: list[Obtained],
    targets: Tensor, persons: Persons | None,
) -> None:  # fmt: skip
    """Files of each image, the sheet, the curves, the film, and the summary."""
    rows = [rows_of(names, targets, one, persons) for one in found]
    for one in found:
        save_each(run.folder, generator, names, images, one, alone=len(found) == 1)
    run.say(markdown(COLUMNS, [row for part in zip(*rows) for row in part]))
    save_sheet(run.folder / "projections.png", names, images, found, rows)
    drawn = ["projections.png"]
    if optimised := [one for one in found if one.frames]:
        save_losses(run.folder / "losses.png", names, optimised)
        save_film(run.folder / "progress.gif", optimised)
        drawn += ["losses.png", "progress.gif"]
    numbers = {}
    for one, part in zip(found, rows):
        key = key_of(one.how)
        values = lambda name, part=part: [row[name] for row in part if name in row]
        numbers |= {f"{key}_psnr_db": np.mean(values("psnr")), f"{key}_lowest_psnr_db": min(values("psnr"))}
        numbers |= {f"{key}_distance": np.mean(values("distance")), f"{key}_seconds": one.seconds}
        if values("identity"):
            numbers[f"{key}_identity"] = np.mean(values("identity"))
        if taken := [word for word in values("taken_for") if word is not None]:
            numbers[f"{key}_first_among_100"] = np.mean([word == "the right person" for word in taken])
    run.summary(
        numbers,
        n=len(names),
        generator=generator.source,
        images=[row for part in rows for row in part],
        figures=drawn,
    )


def key_of(how: How) -> str:
    """A way's name in files and numbers."""
    return how.replace("r+", "r_").replace("+", "plus")


def save_each(
    folder: Path, generator: Generator, names: list[str], images: Tensor, found: Obtained, *, alone: bool
) -> None:
    """target.png, projection.png and projected_w.npz of each image, in a folder of its own."""
    drawn = to_uint8(found.last.images).cpu()
    for row, name in enumerate(names):
        place = folder / (name if alone else f"{name}-{key_of(found.how)}")
        figures.save_png(place / "target.png", images[row])
        figures.save_png(place / "projection.png", drawn[row])
        projections.write(place / "projected_w.npz", found.last.ws[row : row + 1], generator)


def save_sheet(
    path: Path, names: list[str], images: Tensor, found: list[Obtained], rows: list[list[dict]]
) -> None:
    """Originals above, a row for each way below."""
    shown = names[:SHOWN]
    decibels = [[f"{part[k]['psnr']:.1f}" for part in rows] for k in range(len(shown))]
    figures.save_grid(
        path,
        torch.cat([images[:SHOWN], *(to_uint8(one.last.images[:SHOWN]).cpu() for one in found)]),
        len(shown),
        title="PSNR in dB above each picture, in the order of the rows",
        row_titles=("original", *(one.how for one in found)),
        column_titles=["\n".join([*name.split("-"), *each]) for name, each in zip(shown, decibels)],
    )


def save_losses(path: Path, names: list[str], found: list[Obtained]) -> None:
    """Of every image where there is one way, else the mean of each way."""
    if len(found) == 1:
        curves = dict(zip(names[:SHOWN], found[0].losses.T.tolist()))
    else:
        curves = {one.how: one.losses.mean(1).tolist() for one in found}
    lines = [{"step": k, **dict(zip(curves, values))} for k, values in enumerate(zip(*curves.values()), 1)]
    title = "distance to the image" + ("" if len(found) == 1 else ", mean over the images")
    figures.save_curves(path, lines, list(curves), title=title, ylabel="distance", log_scale=True)


def save_film(path: Path, found: list[Obtained]) -> None:
    """The images on their way, a row for each way."""
    rows = [torch.cat(frames) for frames in zip(*(one.frames for one in found))]
    columns = len(found[0].frames[0])
    figures.save_gif(path, torch.stack([figures.image_grid(frame, columns) for frame in rows]), 100)
