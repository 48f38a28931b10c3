"""The image sets of the lab: drawn creatures, or any folder of about a thousand pictures."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from common import data
from common.data import ImageSet
from common.errors import InputError

ENOUGH = 1000
"""Images the lab asks for."""


def load_split(
    name_or_folder: str, split: str, size: int, data_dir: Path | None = None, count: int | None = None
) -> ImageSet:
    """Colour images of one split: `train`, `val`, `test` (or `all` of a folder).

    Pictures of a folder keep their shape: what is not square is padded with white, and white goes behind what
    is transparent, as sprites want it.  `count` asks a drawn set for so many images; a folder has what it
    has.
    """
    folder = Path(name_or_folder)
    if name_or_folder in data.NAMES or not folder.is_dir():
        drawn = name_or_folder in data.DRAWN
        images = data.load(
            name_or_folder, split, size=size, count=count if drawn else None, data_dir=data_dir
        )
    else:
        images = _load_folder(folder, split, size)
    if images.shape != (3, size, size):
        raise InputError(
            f"--data {name_or_folder}: images of {'x'.join(map(str, images.shape))}; the lab's networks draw "
            f"3x{size}x{size}; use creatures, avatars, celeba or a folder"
        )
    return images


def _load_folder(folder: Path, split: str, size: int) -> ImageSet:
    if (folder / split).is_dir():
        return data.load_folder(folder / split, size, fit="pad", split=split)
    images = data.load_folder(folder, size, fit="pad")
    if split == "all":
        return images
    rows = [i for i, name in enumerate(images.file_names) if data.split_of_name(name) == split]
    if not rows:
        raise InputError(
            f"--data {folder}: none of its {len(images)} images falls into the {split} split; add images"
        )
    return replace(images.take(torch.tensor(rows)), split=split)


def load_for_training(
    name_or_folder: str, size: int, batch_size: int, data_dir: Path | None
) -> list[ImageSet]:
    """The training and the validation images; a warning when there are few, InputError when no batch."""
    train, val = (load_split(name_or_folder, split, size, data_dir) for split in ("train", "val"))
    if len(train) < batch_size:
        raise InputError(
            f"--data {name_or_folder}: {len(train)} training images make no batch of {batch_size}; "
            f"collect about {ENOUGH:,}, or lower --batch-size"
        )
    if len(train) + len(val) < 0.8 * ENOUGH:
        print(
            f"warning: --data {name_or_folder}: {len(train)} training and {len(val)} validation images; the "
            f"lab asks for {ENOUGH:,}: expect samples that repeat them, collect more or use --mirror",
            file=sys.stderr,
        )
    return [train, val]


def with_mirrored(images: ImageSet) -> ImageSet:
    """The images and their mirror images: twice as many to learn from, where left and right are alike."""
    doubled = images.take(torch.arange(len(images)).repeat(2))
    return replace(doubled, images=torch.cat([images.images, images.images.flip(-1)]))


def find_image(images: ImageSet, wanted: str) -> int:
    """The row of an image given by its number or by its file name (with or without folder and ending)."""
    if wanted.lstrip("-").isdigit() and wanted not in images.file_names:
        row = int(wanted)
        if 0 <= row < len(images):
            return row
        by_stem = [i for i, name in enumerate(images.file_names) if Path(name).stem == wanted]
        if len(by_stem) == 1:
            return by_stem[0]
        raise InputError(
            f"image {wanted}: {images.name} has {len(images)} images in its {images.split} split; "
            f"use 0 to {len(images) - 1}"
        )
    found = [
        i for i, name in enumerate(images.file_names) if wanted in (name, Path(name).name, Path(name).stem)
    ]
    if len(found) == 1:
        return found[0]
    if not images.file_names:
        raise InputError(f"image {wanted!r}: {images.name} has no file names; use 0 to {len(images) - 1}")
    what = f"{len(found)} files are called so" if found else "no file is called so"
    raise InputError(
        f"image {wanted!r}: {what} among the {len(images)} of the {images.split} split of {images.name}; "
        f"use a name such as {images.file_names[0]}, or 0 to {len(images) - 1}"
    )
