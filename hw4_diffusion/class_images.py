"""Images of the subject's class for prior preservation: counted, reused, and drawn where some are missing.

class_images.complete(pipeline, wanted, folder, device)
images = class_images.load(wanted, folder)
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common import atomic, runs
from common.data import DATA_DIR, ImageSet
from common.data.decoding import read_images, say_deep
from common.data.folder import list_images
from common.errors import InputError, warn

import imageio.v3 as imageio
import torch
from torch import Tensor

from hw4_diffusion import drawing

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

BLANK = 4.0
"""Grey levels: an image whose pixels deviate less from their mean shows nothing; a safety checker blackens
what it does not like."""
MOST_TRIES = 4
"""Images drawn for each that is wanted, before blanks end it."""
RECIPE = "class_images.json"


@dataclass(frozen=True)
class Wanted:
    """What the images of a class are, and how they are drawn."""

    model: str
    prompt: str
    negative_prompt: str | None
    count: int
    side: int
    steps: int
    guidance: float
    batch_size: int
    seed: int

    @property
    def recipe(self) -> dict:
        """What makes other images when it changes; a larger count only adds some."""
        return {name: value for name, value in asdict(self).items() if name not in ("count", "batch_size")}

    def folder(self, data_dir: Path | None) -> Path:
        """Where they are kept if no folder is named: one for each recipe."""
        digest = hashlib.sha256(json.dumps(self.recipe).encode()).hexdigest()[:8]
        return (data_dir or DATA_DIR) / "class_images" / f"{Path(self.model).name}-{digest}"


def complete(pipeline: StableDiffusionPipeline, wanted: Wanted, folder: Path, device: torch.device) -> None:
    """Draw what is missing of `wanted.count` images into the folder, which may hold one's own pictures.

    InputError where the drawn ones there are of another recipe."""
    _check_recipe(folder, wanted)
    images, _ = _read(folder, wanted.side) if folder.is_dir() else (None, ())
    there = 0 if images is None else len(images)
    if there < wanted.count:
        pipeline.to(device)
        print(f"class images: {there} of {wanted.count} are in {folder}; drawing {wanted.count - there}")
        draw = lambda seeds: drawing.draw(
            pipeline, [wanted.prompt] * len(seeds), seeds, resolution=wanted.side,
            steps=wanted.steps, guidance=wanted.guidance, negative_prompt=wanted.negative_prompt,
            batch_size=wanted.batch_size,
        )  # fmt: skip
        _draw_missing(draw, wanted, folder, wanted.count - there)
    else:
        print(f"class images: {wanted.count} of {folder} are used again")


def load(wanted: Wanted, folder: Path) -> ImageSet:
    """The first `wanted.count` images of the folder that are not blank."""
    images, names = _read(folder, wanted.side)
    return ImageSet(
        images[: wanted.count], folder.name, "train", str(folder), file_names=names[: wanted.count]
    )


def _draw_missing(draw: Callable[[list[int]], Tensor], wanted: Wanted, folder: Path, missing: int) -> None:
    """Images of the next seeds as seed000123.png, without the blank ones."""
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_json(folder / RECIPE, wanted.recipe)
    names = (re.fullmatch(r"seed(\d+)", path.stem) for path in folder.glob("seed[0-9]*.png"))
    taken = [int(name[1]) for name in names if name]
    seed, tried, blank = max(taken, default=wanted.seed - 1) + 1, 0, 0
    while missing:
        seeds = list(range(seed, seed + min(missing, wanted.batch_size)))
        seed, tried = seed + len(seeds), tried + len(seeds)
        for number, image in zip(seeds, draw(seeds)):
            if is_blank(image):
                blank += 1
                continue
            _save(folder / f"seed{number:06d}.png", image)
            missing -= 1
        if tried > MOST_TRIES * wanted.count and missing:
            raise InputError(
                f"--class_prompt {wanted.prompt!r}: {blank} of {tried} images are blank; use another prompt, "
                "or put pictures of the class into --class_data_dir"
            )
    if blank:
        print(f"class images: {blank} blank ones left out")


def _save(path: Path, image: Tensor) -> None:
    """One PNG, whole or not there."""
    with atomic.replacing(path, advice="free some space or name another --class_data_dir") as beside:
        imageio.imwrite(beside, image.permute(1, 2, 0).numpy(), extension=".png")


def _read(folder: Path, side: int) -> tuple[Tensor | None, tuple[str, ...]]:
    """The images of a folder in the order of their names, blank ones left out."""
    shown = [path for path in folder.iterdir() if not path.name.startswith(".")]  # .DS_Store, or half a PNG
    if not any(path.is_file() and path.suffix != ".json" for path in shown):
        return None, ()
    paths = list_images(folder)
    read = read_images(paths, side)
    say_deep(folder, len(paths), read.deep)
    good = [i for i, image in enumerate(read.images) if not is_blank(image)]
    if len(good) < len(paths):
        warn(f"{folder}: left out {len(paths) - len(good)} images that are blank or cannot be read")
    return read.images[good], tuple(paths[read.readable[i]].name for i in good)


def is_blank(image: Tensor) -> bool:
    """Whether an image uint8 (3, S, S) shows nothing."""
    return image.float().std().item() < BLANK


def _check_recipe(folder: Path, wanted: Wanted) -> None:
    if not (folder / RECIPE).is_file():
        return
    there = runs.read_json(folder / RECIPE)
    for name, value in wanted.recipe.items():
        if there.get(name) != value:
            raise InputError(
                f"--class_data_dir {folder}: its images were drawn with {name} {there.get(name)!r}, not "
                f"{value!r}; name another folder"
            )
