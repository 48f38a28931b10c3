"""Compare edits of drawn people: expressions, styles and swapped faces, by layers and by other ways.

Theory: theory/en/stylegan.md, eqs. (stylegan.37)-(stylegan.40).

python hw3_stylegan_sampling/compare_edits.py --network avatars
python hw3_stylegan_sampling/compare_edits.py --network avatars --seeds 0 --steps 50       # a first look

Every seed draws six people whom no network has seen, and others to take expressions and styles from; all are
projected.  Makes a run directory: summary.json with every number, a figure of strength against what stays for
each edit, and sheets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, NamedTuple

from common import command_line, devices, runs, seeds
from common.data import avatars, to_model_range
from common.errors import InputError
from common.flags import Count, CountOrZero, Flags, NonNegative, Seed
from common.metrics import identity, portraits
from common.metrics.identity import IdentityName
from common.text_table import markdown

import torch
from annotated_types import Interval
from torch import Tensor

from hw3_stylegan_sampling import (
    directions,
    edit_figures,
    edit_measures,
    edits,
    eval_stylegan,
    models,
    project,
    projection,
)
from hw3_stylegan_sampling import people as drawn_people
from hw3_stylegan_sampling.directions import Subspaces
from hw3_stylegan_sampling.edit_measures import Judges
from hw3_stylegan_sampling.edits import SwapRecipe
from hw3_stylegan_sampling.networks import Generator

Strength = Annotated[float, Interval(ge=-5, le=5)]
"""Lambda: how far an edit goes."""
EMOTIONS = ("smile", "surprise", "anger")
EXPRESSION_LAYERS = range(3, 7)
"""The course's layers of an expression."""
PAIR_LAYERS = range(2, 8)
"""Those that the mean of many pairs moves."""
SWAP_LAYERS = {"0-3": range(4), "2-5": range(2, 6), "2-7": range(2, 8), "0-5": range(6), "4-9": range(4, 10)}


@dataclass(frozen=True)
class Config(Flags):
    """Flags of compare_edits.py."""

    network: models.Network
    """A generator of avatars whose z chooses attributes: a shipped one's name, a run directory, a file."""
    identity: IdentityName = "avatars"
    """Net that edits by optimisation ask who is in a picture: a shipped one's name, a .safetensors file, or a
    .py file of your own."""
    judge: IdentityName = "avatars"
    """Net that says who is in the edited picture; of edits that asked the same one, believe the reader of
    traits instead."""
    people: Annotated[int, Interval(ge=2, le=50)] = 6
    """Drawn people of each seed, with two pictures each."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Seeds of the people: the spread is that over them."""
    steps: Count = 120
    """Steps of each projection."""
    swap_steps: CountOrZero = 60
    """Steps of a swap by optimisation, and of bringing a person back after an edit; 0 leaves these out."""
    strengths: tuple[Strength, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    """Lambdas of edits that have one."""
    restored_strengths: tuple[Strength, ...] = (1.0, 1.5)
    """Lambdas after which persons are brought back."""
    identity_weights: tuple[NonNegative, ...] = (0.3, 1.0, 3.0)
    """Weights of the identity term in swaps by optimisation."""
    device: str = "auto"
    """Device to compute on: auto, cpu, mps, cuda or cuda:N."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""


class Scene(NamedTuple):
    """Everything that the edits of one seed begin with."""

    people: drawn_people.People
    ws: Tensor
    """(N, L, D): of the people's pictures."""
    feelings: Tensor
    """(1 + emotions, L, D): of one other person's pictures, the first of them neutral."""
    styles: Tensor
    """(3, L, D): of three more people."""
    styled: dict[str, Tensor]
    """What the pictures of these three show, (3,) each."""
    judges: Judges
    own: Tensor
    """(N,): similarity of each picture to its person in the gallery."""
    embeddings: Tensor
    """(N, E): of the pictures, as the identity network that edits may ask sees them."""


class Tools(NamedTuple):
    """What all seeds share."""

    generator: Generator
    net: identity.Identity
    judge: identity.Identity
    reader: portraits.Reader
    spaces: Subspaces
    distance: projection.Distance


def main(config: Config) -> Path:
    device = devices.start(config.device)
    if not config.seeds or len(set(config.seeds)) < len(config.seeds):
        raise InputError("--seeds: name one or more, each once")
    generator = models.load(config.network, device.torch)
    reader = portraits.load_reader(device.torch)
    net = identity.load(config.identity, device.torch)
    spaces = directions.subspaces_of_avatars(generator, reader)
    judge = identity.load(config.judge, device.torch)
    tools = Tools(generator, net, judge, reader, spaces, project.perceptual("small", device.torch)[0])
    with runs.start("hw3", "edits", config, device) as run:
        rows = []
        for place, seed in enumerate(config.seeds, 1):
            run.say(f"people of seed {seed} ({place} of {len(config.seeds)})")
            scene = scene_of(config, tools, seed)
            for edit in (unedited, expressions, styles, swaps):
                rows += [{"seed": seed, **row} for row in edit(config, tools, scene)]
            keep(run, config, generator, rows)  # after every seed: what is measured is not lost
        columns = (*edit_figures.NAMES, *edit_measures.COLUMNS)
        for edit, part in groupby(averaged(rows), lambda row: row["edit"]):
            run.say(f"{edit}\n" + markdown(columns, list(part)))
        run.say(f"see {run.folder}")
    return run.folder


def averaged(rows: list[dict]) -> list[dict]:
    """Over seeds, the edits in their order."""
    return seeds.over_seeds(rows, ("edit", "method", "what", "strength"))


def keep(run: runs.Run, config: Config, generator: Generator, rows: list[dict]) -> None:
    """Summary and figure of the seeds so far."""
    merged = averaged(rows)
    projections = merged[0]
    run.summary(
        {
            f"eval/projection_{name}": projections[name]
            for name in ("ratio", "recognised", "recognised_traits")
        },
        rows=merged,
        seeds=list(dict.fromkeys(row["seed"] for row in rows)),
        people=config.people,
        step=eval_stylegan.step_of(generator),
        figures=edit_figures.save(run.folder, merged),
    )


# ---- what the edits begin with


def scene_of(config: Config, tools: Tools, seed: int) -> Scene:
    size = tools.generator.shape.size
    people = drawn_people.load("drawn", size, count=config.people, seed=seed)
    others = drawn_people.others(config.people + 4, seed)[config.people :]
    feeling = {"person": others[:1].expand(4), "expression": torch.tensor([0, *map(option_of, EMOTIONS)])}
    styled = avatars.sample_attributes(3, torch.Generator().manual_seed(seed))
    styled |= {"person": others[1:4], **{name: torch.zeros(3) for name in avatars.TURNS}}
    styled["expression"] = torch.zeros_like(styled["expression"])
    images = torch.cat([people.images, avatars.draw(feeling, size), avatars.draw(styled, size)])
    ws = projected(config, tools, images).split([len(people.images), 4, 3])
    judges, own = edit_measures.judges_of(tools.judge, people.images, people.persons, people.attributes)
    embeddings = identity.embed(tools.net, people.images)
    return Scene(people, ws[0], ws[1], ws[2], styled, judges, own, embeddings)


def option_of(emotion: str) -> int:
    return avatars.EXPRESSIONS.index(emotion)


def projected(config: Config, tools: Tools, images: Tensor) -> Tensor:  # uint8 (N, 3, S, S) -> (N, L, D)
    """Styles in W+."""
    targets = to_model_range(images).to(tools.generator.w_mean.device)
    recipe = projection.Recipe("w+", config.steps)
    for step in projection.project(tools.generator, targets, tools.distance, recipe):
        last = step
    return last.ws


# ---- the edits: rows of numbers


def judged(
    tools: Tools, scene: Scene, ws: Tensor, rows: Tensor, faces: Tensor | None = None, **changed
) -> dict:
    """Numbers of edited pictures `rows` of the scene; they should show the persons `faces` (their own, if
    None) and what they showed before, but for what has `changed`."""
    images, people = edits.images_of(tools.generator, ws), scene.people
    wanted = edit_measures.wanted(people.persons, people.attributes, scene.own, rows, faces, **changed)
    return scene.judges.measure(images, wanted)


def unedited(config: Config, tools: Tools, scene: Scene) -> list[dict]:
    """The projections as they are: what an edit cannot be better than."""
    numbers = judged(tools, scene, scene.ws, torch.arange(len(scene.ws)))
    return [edit_measures.row(numbers, None, edit="none", method="projection", what="", strength=0.0)]


def expressions(config: Config, tools: Tools, scene: Scene) -> list[dict]:
    """Neutral pictures with each emotion."""
    calm = (scene.people.attributes["expression"] == 0).nonzero()[:, 0]
    rows = []
    for emotion, felt in zip(EMOTIONS, scene.feelings[1:]):
        changed = {"expression": torch.full_like(calm, option_of(emotion))}
        for method, edited in ways_to_feel(config, tools, scene, calm, emotion, felt).items():
            again = method.endswith("restored")
            for strength in config.restored_strengths if again else config.strengths:
                numbers = judged(tools, scene, edited(strength), calm, **changed)
                names = {"edit": "expression", "method": method, "what": emotion, "strength": strength}
                rows.append(edit_measures.row(numbers, "expression", **names))
    return rows


def ways_to_feel(
    config: Config, tools: Tools, scene: Scene, calm: Tensor, emotion: str, felt: Tensor
) -> dict[str, Callable[[float], Tensor]]:
    """By name, functions of the strength: ws of the pictures `calm` with an emotion that `felt` (L, D)
    shows."""
    ws, neutral = scene.ws[calm], scene.feelings[0]
    others = felt.expand_as(ws)
    mean = directions.paired(tools.generator, "expression", option_of(emotion), 0)
    of_pairs = lambda strength: edits.moved(ws, mean, strength, PAIR_LAYERS)
    found = {
        "layers 3-6": lambda strength: edits.towards(ws, others, strength, EXPRESSION_LAYERS),
        "one pair": lambda strength: edits.moved(ws, felt - neutral, strength, EXPRESSION_LAYERS),
        "mean of pairs": of_pairs,
        "subspace": lambda strength: edits.transferred(ws, others, tools.spaces, ["expression"], strength),
    }
    if config.swap_steps:
        found["mean of pairs, restored"] = lambda strength: restored(
            config, tools, scene, of_pairs(strength), calm
        )
    return found


def styles(config: Config, tools: Tools, scene: Scene) -> list[dict]:
    """All pictures with each of three styles; the strength of an edit by layers is the first layer."""
    N, L = len(scene.ws), tools.generator.layers
    rows = torch.arange(N).repeat(3)
    ws, others = scene.ws.repeat(3, 1, 1), scene.styles.repeat_interleave(N, 0)
    changed = {name: scene.styled[name].repeat_interleave(N) for name in edit_measures.STYLE}
    found = []

    def add(method: str, strength: float, edited: Tensor) -> None:
        numbers = judged(tools, scene, edited, rows, **changed)
        names = {"edit": "style", "method": method, "what": "", "strength": strength}
        found.append(edit_measures.row(numbers, "style", **names))

    for first in range(L):
        add("layers from", float(first), edits.towards(ws, others, 1.0, range(first, L)))
    for strength in config.strengths:
        edited = edits.transferred(ws, others, tools.spaces, edit_measures.STYLE, strength)
        add("subspace", strength, edited)
        if config.swap_steps and strength in config.restored_strengths:
            add("subspace, restored", strength, restored(config, tools, scene, edited, rows))
    return found


def swaps(config: Config, tools: Tools, scene: Scene) -> list[dict]:
    """Everyone's frontal face in everyone else's turned picture."""
    source, target = edits.everyone_with_everyone(config.people)
    faces, pictures = scene.people.rows()[source], scene.people.rows(turned=True)[target]
    ws, others = scene.ws[pictures], scene.ws[faces]
    kept, rows = list(tools.spaces.bases), []

    def add(method: str, strength: float, edited: Tensor, what: str = "") -> None:
        numbers = judged(tools, scene, edited, pictures, faces)
        names = {"edit": "swap", "method": method, "what": what, "strength": strength}
        rows.append(edit_measures.row(numbers, None, **names))

    for layers, places in SWAP_LAYERS.items():
        add("layers", 1.0, edits.towards(ws, others, 1.0, places), layers)
    for strength in config.strengths:
        add("subspace", strength, edits.swapped(ws, others, tools.spaces, kept, strength))
    for weight in config.identity_weights if config.swap_steps else ():
        recipe = SwapRecipe(config.swap_steps, identity=weight)
        add("optimised", weight, optimised(tools, scene, pictures, faces, recipe))
    return rows


def restored(config: Config, tools: Tools, scene: Scene, edited: Tensor, rows: Tensor) -> Tensor:
    """Edited ws with the persons of the pictures `rows` brought back, in batches."""
    owners = scene.embeddings[rows].to(edited.device)
    known = (tools.net, tools.distance, SwapRecipe(config.swap_steps), tools.spaces)
    parts = zip(edited.split(edits.CHUNK), owners.split(edits.CHUNK))
    return torch.cat([edits.restored(tools.generator, *part, *known) for part in parts])


def optimised(tools: Tools, scene: Scene, pictures: Tensor, faces: Tensor, recipe: SwapRecipe) -> Tensor:
    """ws of a swap by optimisation, in batches."""
    ws = scene.ws[pictures]
    source = scene.embeddings[faces].to(ws.device)
    targets = to_model_range(scene.people.images[pictures]).to(ws.device)
    known, found = (tools.net, tools.distance, recipe, tools.spaces), []
    for start, target, person in zip(*(tensor.split(edits.CHUNK) for tensor in (ws, targets, source))):
        for step in edits.optimised_swap(tools.generator, start, target, start, person, *known):
            last = step
        found.append(last.ws)
    return torch.cat(found)


if __name__ == "__main__":
    command_line.run(main, Config)
