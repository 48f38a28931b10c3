"""Image sets by name: `load("mnist")`, `load("avatars", "val")`, `load("path/to/folder")`."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import torch

from common.data import cache
from common.data.batches import Batch, Batches
from common.data.celeba import load_celeba
from common.data.folder import list_images, load_folder, read_images, report_skipped, split_of_name
from common.data.image_set import ImageSet, to_model_range, to_uint8
from common.data.real import CLASS_NAMES, load_idx_set
from common.errors import InputError

__all__ = [
    "DRAWN",
    "NAMES",
    "REAL",
    "Batch",
    "Batches",
    "ImageSet",
    "list_images",
    "load",
    "load_folder",
    "read_images",
    "report_skipped",
    "split_of_name",
    "to_model_range",
    "to_uint8",
]

DRAWN = ("avatars", "wells", "digits", "creatures")
"""Sets the course draws itself, with everything about each image known."""
REAL = (*CLASS_NAMES, "celeba")
"""Published sets, downloaded on first use or read from --data-dir."""
NAMES = (*DRAWN, *REAL)

DATA_DIR = Path(__file__).resolve().parents[2] / "data"
"""Default --data-dir: `data/` of the repository, outside git."""


def load(
    data: str,
    split: str = "train",
    *,
    size: int | None = None,
    count: int | None = None,
    seed: int = 0,
    data_dir: Path | str | None = None,
    grey: bool = False,
) -> ImageSet:
    """The images of a named set or of a folder.

    size      side in pixels; the set's own when None (64 for a folder and CelebA; fixed to 28 for MNIST and
    Fashion-MNIST)
    count     only the first `count` images (drawn sets can make any number)
    seed      of the drawn sets
    data_dir  where real sets lie or are downloaded to, and drawn and decoded ones are cached; default `data/`
    of the repository
    grey      one channel instead of three, for folders

    A folder that has a subfolder named like the split is read from there; one without is split by
    `split_of_name`. Raises InputError for unknown names, splits and sizes.
    """
    data_dir = DATA_DIR if data_dir is None else Path(data_dir)
    if data in DRAWN:
        return _drawn(data, split, size, count, seed, data_dir)
    if data == "celeba":
        return load_celeba(split, size, data_dir, count=count, spare_dir=DATA_DIR)
    if data in REAL:
        image_set = load_idx_set(data, split, data_dir)
        if size not in (None, image_set.images.shape[-1]):
            raise InputError(
                f"--size {size}: {data} has images of {image_set.images.shape[-1]} pixels; leave the flag out"
            )
    elif Path(data).is_dir():
        image_set = _folder(Path(data), split, size or 64, grey)
    else:
        raise InputError(
            f"--data {data}: neither a data set ({', '.join(NAMES)}) nor a folder; "
            "check the spelling or the path"
        )
    return image_set if count is None else image_set.take(slice(0, count))


def _drawn(name: str, split: str, size: int | None, count: int | None, seed: int, data_dir: Path) -> ImageSet:
    module = importlib.import_module(f"common.data.{name}")
    if split not in module.DEFAULT_COUNTS:
        raise InputError(f"split {split!r} of {name}: there are {', '.join(module.DEFAULT_COUNTS)}")
    size, count = size or module.DEFAULT_SIZE, module.DEFAULT_COUNTS[split] if count is None else count
    if not (8 <= size <= 1024 and count >= 1):
        raise InputError(
            f"--data {name}: cannot draw {count} images of {size} pixels; sizes go from 8 to 1024"
        )
    path = data_dir / "drawn" / f"{name}-v{module.VERSION}-{split}-{size}px-{count}-seed{seed}.safetensors"
    image_set = cache.load(path)
    if image_set is None:
        image_set = module.draw_set(split, size, count, seed)
        cache.save(path, image_set)
    return image_set


def _folder(folder: Path, split: str, size: int, grey: bool) -> ImageSet:
    if (folder / split).is_dir():
        return load_folder(folder / split, size, grey=grey, split=split)
    image_set = load_folder(folder, size, grey=grey)
    if split == "all":
        return image_set
    if split not in ("train", "val", "test"):
        raise InputError(
            f"split {split!r} of {folder}: no such subfolder; a plain folder has train, val, test and all"
        )
    rows = [i for i, name in enumerate(image_set.file_names) if split_of_name(name) == split]
    if not rows:
        raise InputError(
            f"{folder}: none of its {len(image_set)} images falls into the {split} split; add images"
        )
    return replace(image_set.take(torch.tensor(rows)), split=split)
