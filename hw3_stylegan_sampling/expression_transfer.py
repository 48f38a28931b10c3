"""Give projected people another expression: a direction from paired latents, and how far to go along it.

Theory: theory/en/stylegan.md, eq. (stylegan.37).

python hw3_stylegan_sampling/expression_transfer.py runs/hw3/0002-project --network avatars
python hw3_stylegan_sampling/expression_transfer.py runs/hw3/0002-project --network avatars --strengths 0 1 2
python hw3_stylegan_sampling/expression_transfer.py PROJECTIONS --network ffhq.pkl --pair anna anna-smile

The first argument is a run directory of project.py.  A pair of latents differs in the expression alone: the
generator makes thousands of them where its z chooses expressions; else --pair names two pictures of one
person.  Makes a run directory: a sheet for each emotion with a row for each picture, and curves of what is
reached and what stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from common import command_line, devices, figures, runs
from common.data import avatars
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
    style_mixing,
)
from hw3_stylegan_sampling.networks import Generator
from hw3_stylegan_sampling.projected import Projected

Emotion = Literal["smile", "surprise", "sadness", "anger"]
EMOTIONS = get_args(Emotion)
Strength = Annotated[float, Interval(ge=-5, le=5)]
"""Lambda of eq. (stylegan.37): further away no image looks like a face."""
SHOWN = 16
"""Pictures on a sheet, at most."""
COLUMNS = (Column("emotion", "emotion"), Column("strength", "strength", "g"), *edit_measures.COLUMNS)


@dataclass(frozen=True)
class Config(Flags):
    """Flags of expression_transfer.py."""

    projections: Annotated[Path, tyro.conf.Positional]
    """Run directory of project.py: pictures and their styles."""
    network: models.Network
    """The generator they were projected into: a shipped one's name, a run directory, or a file."""
    emotions: tuple[Emotion, ...] = ("smile", "surprise", "anger")
    """Expressions to give, of those that z chooses from."""
    pair: tuple[str, str] | None = None
    """Two pictures of one person among the projections, the second with the expression: their difference is
    the direction, for generators whose z chooses no expressions."""
    strengths: tuple[Strength, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    """Lambdas: 0 leaves the picture alone, 1 is the difference of a pair, below 0 the opposite."""
    layers: str = "2-7"
    """Style layers that move: 2-7, or 3,4,5."""
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
    check(config)
    generator = models.load(config.network, device.torch)
    people = projected.load(config.projections, generator)
    layers = style_mixing.layers_of(config.layers, generator, "--layers")
    moves = moves_of(config, generator, people)
    judge = identity.load(config.judge, device.torch)
    judges, own = edit_measures.judges_of(judge, people.images, people.persons, people.attributes)
    restore = restoring.restorer(config.steps, config.identity, generator, people.images)
    with runs.start("hw3", "expression", config, device) as run:
        rows, everyone = [], torch.arange(len(people.names))
        for emotion, move in moves.items():
            sheet = [people.images]
            for strength in config.strengths:
                ws = restore(edits.moved(people.ws, move, strength, layers), everyone)
                images = edits.images_of(generator, ws)
                sheet.append(images)
                goal = edit_measures.wanted(
                    people.persons, people.attributes, own, everyone, **shown(emotion, len(everyone))
                )
                numbers, reached = judges.measure(images, goal), None if config.pair else "expression"
                rows.append(edit_measures.row(numbers, reached, emotion=emotion, strength=strength))
            save_sheet(
                run.folder / f"{emotion}.png", emotion, torch.stack(sheet, 1), people, config.strengths
            )
        run.say(markdown(COLUMNS, rows))
        save_curves(run.folder / "strength.png", rows)
        run.summary(
            {f"eval/{name}": value for name, value in at_one(rows).items()},
            rows=rows,
            n=len(everyone),
            figures=[*(f"{emotion}.png" for emotion in moves), "strength.png"],
        )
        run.say(f"see {run.folder}")
    return run.folder


def check(config: Config) -> None:
    """InputError for flags that leave nothing to do."""
    if not config.strengths or len(set(config.strengths)) < len(config.strengths):
        raise InputError("--strengths: name one or more, each once")
    if not config.emotions and config.pair is None:
        raise InputError("--emotions: none; name smile, surprise, sadness or anger")


def moves_of(config: Config, generator: Generator, people: Projected) -> dict[str, Tensor]:
    """The direction of each emotion: (D,) from the generator's own pairs, (L, D) from two pictures."""
    if config.pair is not None:
        for name in config.pair:
            if name not in people.names:
                raise InputError(f"--pair {name}: no such picture; there are {', '.join(people.names)}")
        before, after = (people.names.index(name) for name in config.pair)
        return {config.pair[1]: people.ws[after] - people.ws[before]}
    if "expression" not in directions.attributes_of(generator):
        raise InputError(
            "--emotions: this generator's z chooses no expressions; give --pair with two pictures of one "
            "person, the second with the expression"
        )
    return {
        emotion: directions.paired(generator, "expression", avatars.EXPRESSIONS.index(emotion), 0)
        for emotion in config.emotions
    }


def shown(emotion: str, count: int) -> dict[str, Tensor]:
    """What edited pictures should show; nothing where the emotion is a pair of pictures."""
    if emotion not in EMOTIONS:
        return {}
    return {"expression": torch.full((count,), avatars.EXPRESSIONS.index(emotion))}


def at_one(rows: list[dict]) -> dict[str, float]:
    """Numbers at the strength nearest to 1, averaged over emotions."""
    nearest = min((row["strength"] for row in rows), key=lambda strength: abs(strength - 1))
    chosen = [row for row in rows if row["strength"] == nearest]
    names = [name for name, value in chosen[0].items() if isinstance(value, float)]
    return {name: sum(row[name] for row in chosen) / len(chosen) for name in names}


# ---- figures


def save_sheet(
    path: Path, emotion: str, sheet: Tensor, people: Projected, strengths: tuple[float, ...]
) -> None:
    """uint8 (N, 1 + strengths, 3, S, S): originals first."""
    figures.save_grid(
        path,
        sheet[:SHOWN].flatten(0, 1),
        1 + len(strengths),
        title=f"{emotion}: original, and lambda times the direction",
        row_titles=people.names[:SHOWN],
        column_titles=["original", *(f"{strength:g}" for strength in strengths)],
    )


def save_curves(path: Path, rows: list[dict]) -> None:
    """What is reached and what stays against lambda, a line for each emotion."""
    figure, axes = figures.new_figure(10, 3.8, ncols=2)
    panels = (("reached", "emotion reached"), ("ratio", "similarity to the person,\nshare of the original's"))
    for axis, (name, label) in zip(axes, panels):
        for emotion in dict.fromkeys(row["emotion"] for row in rows):
            points = [
                (row["strength"], row[name]) for row in rows if row["emotion"] == emotion and name in row
            ]
            if points:
                axis.plot(*zip(*sorted(points)), marker=".", label=emotion)
        axis.set(xlabel="lambda", ylabel=label)
        if axis.lines:
            axis.legend(frameon=False)
    axes[0].set_title("Stronger edits reach the emotion ...")
    axes[1].set_title("... and move away from the person")
    figures.save_figure(figure, path)


if __name__ == "__main__":
    command_line.run(main, Config)
