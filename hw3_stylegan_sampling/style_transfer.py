"""Give projected people the style of other pictures: some of their W+ layers, or what the style moves in W.

Theory: theory/en/stylegan.md, eq. (stylegan.39).

python hw3_stylegan_sampling/style_transfer.py runs/hw3/0002-project --network avatars
python hw3_stylegan_sampling/style_transfer.py runs/hw3/0002-project --network avatars --by layers
python hw3_stylegan_sampling/style_transfer.py PROJECTIONS --network ffhq.pkl --by layers --layers 9-17

The first argument is a run directory of project.py.  Styles are images of seeds, or projected pictures.
Makes a run directory: styles.png with a row for each person, and layers.png, the sweep that shows what each
layer carries.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from common import command_line, devices, figures, runs
from common.errors import InputError
from common.flags import CountOrZero, Flags
from common.metrics import identity
from common.metrics.identity import IdentityName
from common.text_table import Column, markdown

import torch
import tyro
from annotated_types import Interval
from torch import Tensor

from hw3_stylegan_sampling import (
    directions,
    edit_measures,
    edits,
    models,
    projected,
    restoring,
    sample,
    style_mixing,
)
from hw3_stylegan_sampling.edit_measures import Judges
from hw3_stylegan_sampling.networks import Generator
from hw3_stylegan_sampling.projected import Projected

SHOWN = 16
"""People on a sheet, at most."""
COLUMNS = (Column("layers", "layers"), Column("strength", "strength", "g"), *edit_measures.COLUMNS)


@dataclass(frozen=True)
class Config(Flags):
    """Flags of style_transfer.py."""

    projections: Annotated[Path, tyro.conf.Positional]
    """Run directory of project.py: pictures and their styles."""
    network: models.Network
    """The generator they were projected into: a shipped one's name, a run directory, or a file."""
    style_seeds: str | None = "0-2"
    """Seeds of generated images whose styles are taken: 0,1,4-6."""
    style_pictures: tuple[str, ...] = ()
    """Names of projected pictures whose styles are taken, instead of seeds."""
    by: Literal["subspace", "layers"] = "subspace"
    """subspace: what hair, glasses and clothes move in W, for generators whose z chooses these; layers:
    replaced as they are."""
    layers: str = "5-9"
    """Style layers that are replaced: 5-9, or 4,5,8."""
    strength: Annotated[float, Interval(ge=-5, le=5)] = 1.0
    """How far to go: 0 leaves the picture alone, 1 takes the style over."""
    steps: CountOrZero = 0
    """Steps of an optimiser that brings the person back after the edit; 0 leaves the edit as it is."""
    identity: IdentityName = "avatars"
    """Net that the optimiser asks who is in a picture: a shipped one's name, a .safetensors file, or a .py
    file of your own whose load(device) gives one."""
    judge: IdentityName = "avatars"
    """Net that says who is in the edited picture, named likewise; where --steps asked the same one, believe
    the reader of traits instead."""
    outdir: Path = Path("runs")
    """Parent of the run directories."""
    device: str = "auto"
    """Device: auto, cpu, mps, cuda or cuda:N."""


def main(config: Config) -> Path:
    device = devices.start(config.device)
    generator = models.load(config.network, device.torch)
    people = projected.load(config.projections, generator)
    names, styles = styles_of(config, generator, people)
    layers = style_mixing.layers_of(config.layers, generator, "--layers")
    judge = identity.load(config.judge, device.torch)
    judges, own = edit_measures.judges_of(judge, people.images, people.persons, people.attributes)
    edited = edit_of(config, generator, judges, layers)
    restore = restoring.restorer(config.steps, config.identity, generator, people.images)
    with runs.start("hw3", "style", config, device) as run:
        one = lambda ws: measured(generator, judges, people, own, styles, ws)
        pairs = (people.ws.repeat_interleave(len(styles), 0), styles.repeat(len(people.ws), 1, 1))
        owners = torch.arange(len(people.names)).repeat_interleave(len(styles))
        images, numbers = one(restore(edited(*pairs), owners))
        how = config.layers if config.by == "layers" else "subspace"
        rows = [edit_measures.row(numbers, "style", layers=how, strength=config.strength)]
        for first in range(generator.layers):
            swept = one(edits.towards(*pairs, 1.0, range(first, generator.layers)))[1]
            rows.append(edit_measures.row(swept, "style", layers=f"{first} and later", strength=1.0))
        run.say(markdown(COLUMNS, rows))
        drawn = edits.images_of(generator, styles)
        save_sheet(run.folder / "styles.png", people, drawn, names, images, how)
        save_sweep(run.folder / "layers.png", generator, people, styles, drawn, names)
        run.summary(
            {f"eval/{name}": value for name, value in rows[0].items() if name not in ("layers", "strength")},
            rows=rows,
            n=len(images),
            figures=["styles.png", "layers.png"],
        )
        run.say(f"see {run.folder}")
    return run.folder


def styles_of(config: Config, generator: Generator, people: Projected) -> tuple[list[str], Tensor]:
    """Names of the styles, and their ws (K, L, D)."""
    for name in config.style_pictures:
        if name not in people.names:
            raise InputError(f"--style-pictures {name}: no such picture; there are {', '.join(people.names)}")
    if config.style_pictures:
        places = [people.names.index(name) for name in config.style_pictures]
        return list(config.style_pictures), people.ws[places]
    if config.style_seeds is None:
        raise InputError("--style-seeds: none, and no --style-pictures; name one or more")
    seeds = sample.numbers(config.style_seeds, "--style-seeds")
    labels = models.class_labels(generator, 0 if generator.shape.classes else None)
    with torch.no_grad():
        ws = [generator.styles(sample.latent(seed, generator), labels) for seed in seeds]
    return [f"seed {seed}" for seed in seeds], torch.cat(ws)


def edit_of(config: Config, generator: Generator, judges: Judges, layers: list[int]):
    """A function of the ws of people and of styles, (B, L, D) each."""
    if config.by == "layers":
        return lambda ws, others: edits.towards(ws, others, config.strength, layers)
    if not directions.attributes_of(generator):
        raise InputError("--by subspace: this generator's z chooses no attributes; give --by layers")
    spaces = directions.subspaces(generator)
    return lambda ws, others: edits.transferred(ws, others, spaces, edit_measures.STYLE, config.strength)


def measured(
    generator: Generator, judges: Judges, people: Projected, own: Tensor, styles: Tensor, ws: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Images uint8 (N K, 3, S, S) of everyone in every style, and their numbers."""
    images, K = edits.images_of(generator, ws), len(styles)
    rows, changed = torch.arange(len(people.names)).repeat_interleave(K), {}
    if judges.reader is not None:
        answers = judges.reader.read(edits.images_of(generator, styles)).answers
        changed = {name: answers[name].repeat(len(people.names)) for name in edit_measures.STYLE}
    goal = edit_measures.wanted(people.persons, people.attributes, own, rows, **changed)
    return images, judges.measure(images, goal)


# ---- figures


def save_sheet(
    path: Path, people: Projected, drawn: Tensor, names: list[str], images: Tensor, how: str
) -> None:
    """The styles above, a row for each picture: the original, then in each style."""
    corner = torch.full_like(drawn[:1], 255)
    rows = [torch.cat([corner, drawn])]
    rows += [torch.cat([one[None], styled]) for one, styled in zip(people.images, images.split(len(names)))]
    figures.save_grid(
        path,
        torch.cat(rows[: SHOWN + 1]),
        1 + len(names),
        title=f"People in the styles of the first row ({how})",
        row_titles=["style", *people.names[:SHOWN]],
        column_titles=["original", *names],
    )


def save_sweep(
    path: Path, generator: Generator, people: Projected, styles: Tensor, drawn: Tensor, names: list[str]
) -> None:
    """The first person with layers k to L - 1 of each style: a row for each style, a column for each k."""
    L = generator.layers
    rows = []
    for style, picture in zip(styles, drawn):
        swept = torch.cat(
            [edits.towards(people.ws[:1], style[None], 1.0, range(first, L)) for first in reversed(range(L))]
        )
        rows.append(torch.cat([people.images[:1], edits.images_of(generator, swept), picture[None]]))
    figures.save_grid(
        path,
        torch.cat(rows),
        L + 2,
        title="The style's layers k and later: the last ones carry colours, the first ones shapes",
        row_titles=names,
        column_titles=["original", *(f"k = {first}" for first in reversed(range(L))), "style"],
    )


if __name__ == "__main__":
    command_line.run(main, Config)
