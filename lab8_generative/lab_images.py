"""The image sets of the lab: drawn creatures, or any folder of about a thousand pictures."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common import data
from common.data import ImageSet
from common.errors import InputError

import torch

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
    drawn = name_or_folder in data.DRAWN
    images = data.load(
        name_or_folder, split, size=size, count=count if drawn else None, data_dir=data_dir, fit="pad"
    )
    if images.shape != (3, size, size):
        raise InputError(
            f"--data {name_or_folder}: images of {'x'.join(map(str, images.shape))}; the lab's networks draw "
            f"3x{size}x{size}; use creatures, avatars, celeba or a folder"
        )
    return images


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
    """The row of an image given by its file name (with or without folder and ending), or by its number.

    A name wins over a number, also over the number of another image where the file of that name is in another
    split: a number that is written as the names of the files are is never taken for a row.
    """
    composed = lambda name: unicodedata.normalize("NFC", name)
    calls = lambda name: (composed(Path(name).name), composed(Path(name).stem))
    found = [i for i, name in enumerate(images.file_names) if composed(wanted) == composed(name)]
    found = found or [i for i, name in enumerate(images.file_names) if composed(wanted) in calls(name)]
    if len(found) == 1:
        return found[0]
    is_row = wanted.isdecimal() and len(wanted) < 10 and not _written_as_names(wanted, images.file_names)
    if not found and is_row and int(wanted) < len(images):
        return int(wanted)
    what = f"{len(found)} files are called so" if found else "no file is called so"
    use = [f"a name such as {images.file_names[0]}"] if images.file_names else []
    last = len(images) - 1
    use += [] if _written_as_names(str(last), images.file_names) else [f"0 to {last}"]
    raise InputError(
        f"image {wanted}: {what if images.file_names else 'there is no such number'} among the "
        f"{len(images)} of the {images.split} split of {images.name}; use {' or '.join(use)}"
    )


def _written_as_names(number: str, file_names: Sequence[str]) -> bool:
    """Whether a number has the form of the files' names: 25 beside 7.png, 0025 and 1025 beside 0007.png."""
    stems = [Path(name).stem for name in file_names]
    padded = [len(stem) for stem in stems if stem.isdecimal() and stem[0] == "0" and len(stem) > 1]
    if number[0] == "0" and number != "0":
        return True
    return bool(stems) and all(map(str.isdecimal, stems)) and len(number) >= min(padded, default=1)


def name_of(images: ImageSet, row: int) -> str:
    """How a reader finds an image again: its file name, or its number where there are no files."""
    return images.file_names[row] if images.file_names else str(row)
