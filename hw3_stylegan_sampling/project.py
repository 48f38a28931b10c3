"""Project images into a generator's styles, W or W+ (Karras et al. 2020, appendix D), or ask an encoder.

python hw3_stylegan_sampling/project.py --network avatars --images people/                # W+, all at once
python hw3_stylegan_sampling/project.py --network ffhq.pkl --images anna.png bob.png --how w --steps 1000
python hw3_stylegan_sampling/project.py --network avatars --seeds 0-3      # its own images must come back
python hw3_stylegan_sampling/project.py --network avatars --images people/ --encoder avatars --how w+ encoder
python hw3_stylegan_sampling/project.py --network avatars --people 6 --identity avatars    # drawn ones

Every image gets a folder with target.png, projection.png and projected_w.npz, whose `w` (1, L, D) other
scripts take as --projected-w.  projections.png shows originals and projections, losses.png the way there,
progress.gif the images on it.
"""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from common import command_line, devices, runs
from common.data import to_model_range, to_uint8
from common.data.decoding import printable
from common.data.folder import list_images
from common.errors import InputError
from common.flags import Count, Flags, LearningRate, NonNegative, Seed
from common.metrics import identity
from common.metrics.identity import IdentityName
from common.metrics.perceptual import Perceptual

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from hw3_stylegan_sampling import encoder as encoders
from hw3_stylegan_sampling import models, people, projected, projection, sample
from hw3_stylegan_sampling.networks import Generator
from hw3_stylegan_sampling.projection import Projected, Recipe
from hw3_stylegan_sampling.projection_report import SHOWN, How, Obtained, Persons, report

People = Annotated[int, Interval(ge=0, le=100)]
MOST_IMAGES = 256
"""In one batch; more are a mistake in --images."""
VGG_WEIGHTS = "vgg16-397923af.pth"
"""The network under LPIPS, as torchvision calls the file."""
FRAMES = 40
"""Of progress.gif."""


@dataclass(frozen=True)
class Config(Flags):
    """Flags of project.py."""

    network: models.Network
    """A shipped generator's name, a run directory of train_stylegan.py, a .safetensors or a .pkl file."""
    images: tuple[Path, ...] = ()
    """Image files, and folders of them; cut to squares and made as large as the generator's."""
    seeds: str | None = None
    """Seeds of the generator's own images to project, beside --images: 0,1,4-6."""
    people: People = 0
    """Drawn persons to project, whom no network saw in training, each frontal and turned."""
    how: tuple[How, ...] = ("w+",)
    """w: one vector for all layers, optimised; w+: one for each layer, which fits more and edits worse;
    encoder: what the encoder answers; encoder+w+: optimised from there.  Several are compared."""
    encoder: encoders.Network | None = None
    """A shipped encoder's name, a run directory of train_encoder.py, or a .safetensors file."""
    steps: Count = 300
    """Steps of the optimiser."""
    learning_rate: LearningRate = 0.1
    """Learning rate at its highest."""
    pixels: NonNegative = 1.0
    """Weight of the pixels' error beside the perceptual one."""
    perceptual: Literal["auto", "lpips", "small"] = "auto"
    """Network of the perceptual error: lpips (a package with weights of its own), the shipped small one, or
    lpips where it is at hand."""
    identity: IdentityName | None = None
    """Net that says how much a projection shows the same person: avatars, a .safetensors file, or a .py file
    of your own whose load(device) gives one."""
    seed: Seed = 0
    """Seed of the noise on w."""
    outdir: Path = Path("runs")
    """Parent of the run directories."""
    device: str = "auto"
    """Device: auto, cpu, mps, cuda or cuda:N."""


def main(config: Config) -> Path:
    device = devices.start(config.device, seed=config.seed)
    generator = models.load(config.network, device.torch)
    encoder = encoder_of(config, generator)
    names, images = targets_of(config, generator)
    distance, judge = perceptual(config.perceptual, device.torch)
    person = identity.load(config.identity, device.torch) if config.identity else None
    persons = Persons(person, config.people, generator.shape.size) if person else None
    targets = to_model_range(images).to(device.torch)  # (B, 3, S, S)
    recipe = Recipe("w+", config.steps, config.learning_rate, pixels=config.pixels, seed=config.seed)
    with runs.start("hw3", "project", config, device) as run:
        run.say(f"{len(names)} images by {', '.join(config.how)}; judged by {judge}")
        began = time.monotonic()
        answer = answered(generator, encoder, targets, distance, recipe) if encoder is not None else None
        seconds, found = (time.monotonic() - began) / len(names), []
        for how in config.how:
            if how == "encoder":
                found.append(Obtained(how, answer, torch.zeros(0, len(names)), [], seconds))
            elif how == "encoder+w+":  # w needs no shaking where it begins in a good valley
                calm = replace(recipe, wander=0)
                found.append(optimised(run, how, generator, targets, distance, calm, answer.ws))
            else:
                found.append(optimised(run, how, generator, targets, distance, replace(recipe, space=how)))
        report(run, generator, names, images, found, targets, persons)
        if len(config.how) == 1 and len(names) == 2 * config.people:
            projected.write_people(run.folder, people.drawn(config.people, generator.shape.size))
    return run.folder


def answered(
    generator: Generator, encoder: encoders.Encoder, targets: Tensor, distance: projection.Distance,
    recipe: Recipe,
) -> Projected:  # fmt: skip
    """What the encoder says, without a step of optimisation."""
    with torch.no_grad():
        ws = encoder(targets)
        images = generator.synthesis(ws, "const")
        return Projected(0, ws, images, projection.error(targets, images, distance, recipe))


def optimised(
    run: runs.Run, how: How, generator: Generator, targets: Tensor, distance: projection.Distance,
    recipe: Recipe, start: Tensor | None = None,
) -> Obtained:  # fmt: skip
    """Projections after all steps, and what was seen on the way."""
    losses, frames, began = [], [], time.monotonic()
    shown = set(np.linspace(1, recipe.steps, min(FRAMES, recipe.steps)).round().astype(int).tolist())
    steps = projection.project(generator, targets, distance, recipe, start)
    for _, step in zip(run.progress(1, recipe.steps + 1), steps):
        losses.append(step.distances.cpu())  # (B,)
        if step.step in shown:
            frames.append(to_uint8(step.images[:SHOWN]).cpu())
    seconds = (time.monotonic() - began) / len(targets)
    return Obtained(how, step, torch.stack(losses[:-1]), frames, seconds)


# ---- what is asked for


def encoder_of(config: Config, generator: Generator) -> encoders.Encoder | None:
    """The encoder where one is needed; InputError where it is not named."""
    needed = [how for how in config.how if how.startswith("encoder")]
    command_line.warn_of_idle(config, "encoder", needs="--how encoder", met=bool(needed))
    if needed and config.encoder is None:
        raise InputError(f"--how {needed[0]}: name an encoder of this network with --encoder")
    if len(set(config.how)) < len(config.how):
        raise InputError(f"--how {' '.join(config.how)}: name every way once")
    return encoders.load(config.encoder, generator) if needed else None


def targets_of(config: Config, generator: Generator) -> tuple[list[str], Tensor]:
    """A name for each target, and uint8 (B, 3, S, S); drawn persons come first."""
    size, seeds = generator.shape.size, sample.numbers(config.seeds) if config.seeds is not None else []
    paths = [p for path in config.images for p in (list_images(path) if path.is_dir() else [path])]
    count = 2 * config.people + len(paths) + len(seeds)
    if not count:
        raise InputError(
            "--images: name image files or a folder, --seeds of the generator's own, or --people"
        )
    if count > MOST_IMAGES:
        raise InputError(f"--images: {count} images; project at most {MOST_IMAGES} at once")
    if generator.shape.image_channels != 3:
        raise InputError(f"--network {config.network}: it draws grey images; projection needs colours")
    drawn = people.drawn(config.people, size) if config.people else None
    labels = models.class_labels(generator, 0 if generator.shape.classes else None)
    own = [sample.draw(generator, seed, labels, 1.0, None, "const") for seed in seeds]
    names = (drawn.names if drawn else []) + [printable(path.stem) for path in paths]
    names += [f"seed{seed:04d}" for seed in seeds]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"--images: {repeated[0]} is the name of two images; rename one of them")
    images = [people.read(paths, size), *(image[None] for image in own)]
    return names, torch.cat(([drawn.images] if drawn else []) + images)


def perceptual(kind: str, device: torch.device) -> tuple[projection.Distance, str]:
    """The perceptual error of images that are asserted to be in [-1, 1], and what to call it."""
    distance, judge = unchecked_perceptual(kind, device)
    return (lambda images, others: distance(in_range(images), others)), judge


def unchecked_perceptual(kind: str, device: torch.device) -> tuple[projection.Distance, str]:
    """The same without the assertion, which would stop a GPU at every step."""
    weights = Path(torch.hub.get_dir()) / "checkpoints" / VGG_WEIGHTS
    at_hand = importlib.util.find_spec("lpips") is not None and weights.is_file()
    if kind == "lpips" and not at_hand:
        raise InputError(
            f"--perceptual lpips: it needs `pip install lpips` and torchvision's weights as {weights}, which "
            "are not downloaded here; put them there, or use small"
        )
    if at_hand and kind != "small":
        import lpips

        net = lpips.LPIPS(net="vgg", verbose=False).to(device).requires_grad_(False)
        return (lambda images, others: net(images, others).flatten()), "LPIPS (VGG)"
    return Perceptual().to(device).requires_grad_(False), "the shipped small network"


def in_range(images: Tensor) -> Tensor:
    """The same images, asserted to be in [-1, 1], which the network expects."""
    if images.min() < -1.001 or images.max() > 1.001:
        raise ValueError(f"images from {images.min():.2f} to {images.max():.2f}, not in [-1, 1]")
    return images


if __name__ == "__main__":
    command_line.run(main, Config)
