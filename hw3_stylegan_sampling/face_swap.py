"""Put everyone's face into everyone else's picture: one's face, the other's hair, clothes and pose.

Theory: theory/en/stylegan.md, eqs. (stylegan.39), (stylegan.40).

python hw3_stylegan_sampling/face_swap.py runs/hw3/0002-project --network avatars
python hw3_stylegan_sampling/face_swap.py runs/hw3/0002-project --network avatars --by layers --layers 2-5
python hw3_stylegan_sampling/face_swap.py PROJECTIONS --network ffhq.pkl --identity my_arcface.py

The first argument is a run directory of project.py with two persons or more.  Faces come from the first
picture of each person and go into the last one of every other: with anna.png and anna-turned.png, into the
turned one.  Makes a run directory: everyone.png, the table of everyone with everyone, and losses.png.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from common import command_line, devices, figures, runs
from common.data import to_model_range
from common.errors import InputError
from common.flags import Count, Flags, LearningRate, NonNegative
from common.metrics import identity
from common.metrics.identity import IdentityName
from common.text_table import Column, markdown

import torch
import tyro
from torch import Tensor

from hw3_stylegan_sampling import directions, edit_measures, edits, models, project, projected, style_mixing
from hw3_stylegan_sampling.directions import Subspaces
from hw3_stylegan_sampling.edit_measures import Judges
from hw3_stylegan_sampling.edits import SwapRecipe
from hw3_stylegan_sampling.networks import Generator
from hw3_stylegan_sampling.projected import Projected

MOST_PEOPLE = 12
COLUMNS = (Column("swap", "swap"), *edit_measures.COLUMNS)


@dataclass(frozen=True)
class Config(Flags):
    """Flags of face_swap.py."""

    projections: Annotated[Path, tyro.conf.Positional]
    """Run directory of project.py: pictures and their styles, of two persons or more."""
    network: models.Network
    """The generator they were projected into: a shipped one's name, a run directory, or a file."""
    by: Literal["optimised", "subspace", "layers"] = "optimised"
    """optimised: styles moved until the identity net sees the other person; subspace: all of the other's w
    but what pose, expression and style move; layers: some of the other's, replaced."""
    layers: str = "2-5"
    """Style layers that are replaced: 2-5, or 3,4."""
    steps: Count = 60
    """Steps of the optimiser."""
    learning_rate: LearningRate = 0.05
    """Its learning rate at the beginning; it falls to 0."""
    identity_weight: NonNegative = SwapRecipe.identity
    """Weight of 1 - the cosine between the embeddings of the image and of the face's owner."""
    perceptual_weight: NonNegative = SwapRecipe.perceptual
    """Weight of the perceptual distance to the picture, outside the face."""
    colour_weight: NonNegative = SwapRecipe.colour
    """Weight of the difference of coarse colours, outside the face."""
    pose_weight: NonNegative = SwapRecipe.kept
    """Weight of the change in what pose, expression and style move in W."""
    identity: IdentityName = "avatars"
    """Net that the optimiser asks who is in a picture: a shipped one's name, a .safetensors file, or a .py
    file of your own whose load(device) gives one."""
    judge: IdentityName = "avatars"
    """Net that says who is in the swapped picture, named likewise; where the optimiser asked the same one,
    believe the reader of traits instead."""
    perceptual: Literal["auto", "lpips", "small"] = "auto"
    """Network of the perceptual distance, as in project.py."""
    outdir: Path = Path("runs")
    """Parent of the run directories."""
    device: str = "auto"
    """Device: auto, cpu, mps, cuda or cuda:N."""


def main(config: Config) -> Path:
    device = devices.start(config.device)
    generator = models.load(config.network, device.torch)
    people = projected.load(config.projections, generator, at_least=2)
    if people.count > MOST_PEOPLE:
        raise InputError(f"{config.projections}: {people.count} persons; swap at most {MOST_PEOPLE} at once")
    layers = style_mixing.layers_of(config.layers, generator, "--layers")
    net, judge = (identity.load(name, device.torch) for name in (config.identity, config.judge))
    judges, own = edit_measures.judges_of(judge, people.images, people.persons, people.attributes)
    spaces = spaces_of(config, generator, judges)
    source, target = edits.everyone_with_everyone(people.count)
    faces, pictures = people.first()[source], people.last()[target]
    with runs.start("hw3", "swap", config, device) as run:
        if config.by == "layers":
            ws, terms = edits.towards(people.ws[pictures], people.ws[faces], 1.0, layers), []
        elif config.by == "subspace":
            ws, terms = edits.swapped(people.ws[pictures], people.ws[faces], spaces, spaces.bases), []
        else:
            ws, terms = optimised(config, run, generator, people, faces, pictures, net, spaces)
        before = numbers_of(generator, judges, people, own, faces, pictures, people.ws[pictures])[1]
        images, numbers = numbers_of(generator, judges, people, own, faces, pictures, ws)
        rows = [edit_measures.row(before, None, swap="the pictures themselves"),
                edit_measures.row(numbers, None, swap=config.by)]  # fmt: skip
        run.say(markdown(COLUMNS, rows))
        save_table(run.folder / "everyone.png", people, images, numbers["similarity"], config.by)
        if terms:
            figures.save_curves(run.folder / "losses.png", terms, list(terms[0])[1:],
                                title="Terms of the swap, mean over pairs", ylabel="unweighted")  # fmt: skip
        run.summary(
            {f"eval/{name}": value for name, value in rows[1].items() if name != "swap"},
            rows=rows,
            n=len(images),
            figures=["everyone.png", *(["losses.png"] if terms else [])],
        )
        run.say(f"see {run.folder}")
    return run.folder


def spaces_of(config: Config, generator: Generator, judges: Judges) -> Subspaces | None:
    """What pose, expression and style move in W; None where nobody can say."""
    if directions.attributes_of(generator) and judges.reader is not None:
        return directions.subspaces_of_avatars(generator, judges.reader)
    if config.by == "subspace":
        raise InputError(
            "--by subspace: it needs a generator of avatars whose z chooses attributes, and drawn people; "
            "give --by optimised or layers"
        )
    return None


def optimised(
    config: Config, run: runs.Run, generator: Generator, people: Projected, faces: Tensor, pictures: Tensor,
    net: identity.Identity, spaces: Subspaces | None,
) -> tuple[Tensor, list[dict]]:  # fmt: skip
    """ws (B, L, D) of all pairs at once, and the mean of every term at every step, eq. (stylegan.40)."""
    device = generator.w_mean.device
    recipe = SwapRecipe(
        config.steps, config.learning_rate, identity=config.identity_weight,
        perceptual=config.perceptual_weight, colour=config.colour_weight, kept=config.pose_weight,
    )  # fmt: skip
    ws = people.ws[pictures]
    targets = to_model_range(people.images[pictures]).to(device)
    owners = identity.embed(net, people.images)[faces].to(device)
    distance = project.perceptual(config.perceptual, device)[0]
    steps = edits.optimised_swap(generator, ws, targets, ws, owners, net, distance, recipe, spaces)
    terms = []
    for number, step in zip(run.progress(1, config.steps + 1), steps):
        terms.append({"step": number, **{name: term.mean().item() for name, term in step.terms.items()}})
    return step.ws, terms


def numbers_of(
    generator: Generator, judges: Judges, people: Projected, own: Tensor, faces: Tensor, pictures: Tensor,
    ws: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """Images of swaps, and what they show of the faces' owners and of the pictures."""
    images = edits.images_of(generator, ws)
    goal = edit_measures.wanted(people.persons, people.attributes, own, pictures, faces)
    return images, judges.measure(images, goal)


def save_table(path: Path, people: Projected, images: Tensor, similarity: Tensor, by: str) -> None:
    """A row for each face, a column for each picture; on the diagonal the picture as it is."""
    P = people.count
    pictures, faces = people.images[people.last()], people.images[people.first()]
    swapped = iter(images)
    cells = [torch.full_like(pictures[0], 255), *pictures]
    for row in range(P):
        cells += [faces[row], *(pictures[row] if row == column else next(swapped) for column in range(P))]
    names = [people.names[int(row)] for row in people.first()]
    figures.save_grid(
        path,
        torch.stack(cells),
        P + 1,
        title=f"Faces of the rows in the pictures of the columns ({by})\n"
        f"mean similarity to the face's owner {similarity.mean():.2f}",
        row_titles=["", *names],
        column_titles=["face", *(people.names[int(row)].replace("-", "\n") for row in people.last())],
    )


if __name__ == "__main__":
    command_line.run(main, Config)
