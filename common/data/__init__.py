"""Image sets by name: `load("mnist")`, `load("avatars", "val")`, `load("path/to/folder")`."""

from __future__ import annotations

import importlib
from pathlib import Path

from common.data import cache
from common.data.batches import Batch, Batches
from common.data.celeba import load_celeba
from common.data.folder import has_images, load_folder, read_few, split_of_name
from common.data.image_set import ImageSet, to_model_range, to_uint8
from common.data.real import CLASS_NAMES, load_idx_set
from common.errors import InputError, warn

__all__ = [
    "DRAWN",
    "NAMES",
    "REAL",
    "Batch",
    "Batches",
    "ImageSet",
    "load",
    "load_folder",
    "read_few",
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
    fit: str = "crop",
) -> ImageSet:
    """The images of a named set or of a folder.

    size      side in pixels; the set's own when None (64 for a folder and CelebA; fixed to 28 for MNIST and
    Fashion-MNIST)
    count     only the first `count` images (drawn sets can make any number)
    seed      of the drawn sets
    data_dir  where real sets lie or are downloaded to, and drawn and decoded ones are cached; default `data/`
    of the repository
    grey      one channel instead of three, for folders
    fit       how pictures of a folder become square: `crop` keeps the centre, `pad` adds white

    A folder may have subfolders train/, val/ (or valid/, validation/) and test/.  A split without a subfolder
    is taken out of train/, or out of the whole folder where there is none, by `split_of_name`.  Raises
    InputError for unknown names, splits and sizes.
    """
    data_dir = DATA_DIR if data_dir is None else Path(data_dir)
    if data in NAMES and has_images(Path(data)) and Path(data).resolve().parent != data_dir.resolve():
        warn(f"--data {data}: taken for the set of that name; give ./{data} for the folder called so")
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
        image_set = load_folder(Path(data), size or 64, split=split, grey=grey, fit=fit)
    else:
        raise InputError(
            f"--data {data}: neither a data set ({', '.join(NAMES)}) nor a folder; "
            "check the spelling or the path"
        )
    return image_set if count is None else image_set.few(count)


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
