"""Find directions in W without labels, and see what each moves: GANSpace and SeFa.

Theory: theory/en/stylegan.md, eqs. (stylegan.35), (stylegan.36).

python hw3_stylegan_sampling/find_directions.py --network avatars
python hw3_stylegan_sampling/find_directions.py --network ffhq.pkl --no-read --layers 0-5 --count 6

Makes a run directory: a sheet for each way, a row for each direction, and for avatars a table of what the
reader of portraits sees change most along it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from common import command_line, devices, figures, runs
from common.data import avatars
from common.errors import InputError
from common.flags import Count, Flags, Seed
from common.metrics import portraits
from common.metrics.portraits import Reader, Reading
from common.text_table import Column, markdown

import torch
from annotated_types import Interval
from torch import Tensor

from hw3_stylegan_sampling import directions, edits, models, projection, style_mixing, ways
from hw3_stylegan_sampling.directions import Axes
from hw3_stylegan_sampling.networks import Generator

SHIFTS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Of the sheets, in units of --distance."""
COLUMNS = (
    Column("way", "way"), Column("direction", "number"), Column("strength", "strength", ".3g"),
    Column("moves most", "moves"), Column("by", "by", ".0%"),
    Column("then", "then"), Column("by", "then_by", ".0%"),
)  # fmt: skip


@dataclass(frozen=True)
class Config(Flags):
    """Flags of find_directions.py."""

    network: models.Network
    """A shipped generator's name, a run directory of train_stylegan.py, a .safetensors or a .pkl file."""
    ways: tuple[Literal["ganspace", "sefa"], ...] = ("ganspace", "sefa")
    """ganspace: principal axes of W; sefa: what the styles' matrices answer most to."""
    count: Annotated[int, Interval(ge=1, le=100)] = 10
    """Directions of each way, the strongest first."""
    layers: str | None = None
    """Style layers that move, and whose matrices sefa reads: 0-5; all of them if left out."""
    distance: Annotated[float, Interval(gt=0, le=5)] = 1.0
    """How far to go to either side, as a share of the distance of a w from the mean w."""
    images: Count = 60
    """Random images that are moved along each direction and read."""
    read: bool = True
    """Read what moved with the reader of drawn portraits; --no-read for other generators."""
    seed: Seed = 0
    """Seed of the images."""
    outdir: Path = Path("runs")
    """Parent of the run directories."""
    device: str = "auto"
    """Device: auto, cpu, mps, cuda or cuda:N."""


def main(config: Config) -> Path:
    device = devices.start(config.device)
    if not config.ways:
        raise InputError("--ways: none; name ganspace or sefa")
    generator = models.load(config.network, device.torch)
    if config.read and (generator.shape.size, generator.shape.image_channels) != (64, 3):
        raise InputError("--read: the reader knows drawn portraits of 64 pixels in colour; give --no-read")
    layers = range(generator.layers)
    if config.layers is not None:
        layers = style_mixing.layers_of(config.layers, generator, "--layers")
    reader = portraits.load_reader(device.torch) if config.read else None
    far = config.distance * projection.statistics_of_w(generator)[1]
    ws = random_styles(generator, config)
    with runs.start("hw3", "directions", config, device) as run:
        rows = []
        for way in config.ways:
            axes = axes_of(way, generator, config.count, layers)
            for number, (axis, strength) in enumerate(zip(*axes)):
                row = {"way": way, "number": number, "strength": strength.item()}
                if reader is not None:
                    row |= most_moved(generator, reader, ws, axis * far, layers)
                rows.append(row)
            names = [row.get("moves", "") for row in rows[-len(axes.directions) :]]
            save_sheet(run.folder / f"{way}.png", generator, ws[:1], axes, far, layers, names, way)
        run.say(markdown(COLUMNS, rows))
        run.summary({"eval/directions": len(rows)}, rows=rows, figures=[f"{way}.png" for way in config.ways])
        run.say(f"see {run.folder}")
    return run.folder


def axes_of(way: str, generator: Generator, count: int, layers) -> Axes:
    """The directions of a way, as many as there are."""
    count = min(count, generator.w_dim)
    if way == "sefa":
        return directions.closed_form(generator, count, layers)
    return directions.principal_axes(generator, count)


def random_styles(generator: Generator, config: Config) -> Tensor:  # -> (N, L, D)
    """Styles of random z, of the first class if there are classes."""
    z = ways.normal(generator, config.images, torch.Generator().manual_seed(config.seed))
    labels = models.class_labels(generator, 0 if generator.shape.classes else None)
    with torch.no_grad():
        return generator.styles(z, None if labels is None else labels.expand(len(z), -1))


def most_moved(generator: Generator, reader: Reader, ws: Tensor, move: Tensor, layers) -> dict:
    """The two properties that change most from one end of the direction to the other, and by how much."""
    ends = [reader.read(edits.images_of(generator, edits.moved(ws, move, side, layers))) for side in (-1, 1)]
    changes = sorted(change(*ends).items(), key=lambda item: -item[1])
    (first, by), (second, then_by) = changes[:2]
    return {"moves": first, "by": by, "then": second, "then_by": then_by, "changes": dict(changes)}


def change(before: Reading, after: Reading) -> dict[str, float]:
    """How much each property changes, from 0 to about 1: of a choice the share of images with another answer,
    of a number the mean difference as a share of its range."""
    changes = {name: (before.answers[name] != after.answers[name]).double().mean().item()
               for name in avatars.CHOICES}  # fmt: skip
    for column, (name, largest) in enumerate(avatars.TURNS.items()):
        changes[name] = (after.turn - before.turn)[:, column].mean().abs().item() / (2 * largest)
    moved = (after.traits - before.traits).mean(0).abs()
    return changes | dict(zip(avatars.TRAITS, moved.tolist()))


def save_sheet(
    path: Path, generator: Generator, ws: Tensor, axes: Axes, far: float, layers, names: list[str], way: str
) -> None:
    """One image moved along each direction: a row each."""
    moved = [edits.moved(ws, axis * far, shift, layers) for axis in axes.directions for shift in SHIFTS]
    figures.save_grid(
        path,
        edits.images_of(generator, torch.cat(moved)),
        len(SHIFTS),
        title=f"{way}: one image along each direction",
        row_titles=[f"{number} {name}" for number, name in enumerate(names)],
        column_titles=[f"{shift:+g}" for shift in SHIFTS],
    )


if __name__ == "__main__":
    command_line.run(main, Config)
