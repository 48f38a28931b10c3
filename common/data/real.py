"""MNIST and Fashion-MNIST: from the four published IDX files, compressed or not, or downloaded."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from common import downloads
from common.data.image_set import ImageSet
from common.errors import InputError

import numpy as np
import torch
from torch import Tensor

CLASS_NAMES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
}
TORCHVISION_CLASSES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
ONE_IN = 12
"""Of so many training images one is for validation, 5,000 of the 60,000: the last rows.  The test images stay
untouched."""


def load_idx_set(name: str, split: str, data_dir: Path) -> ImageSet:
    """`mnist` or `fashion-mnist`; split `train` (55,000), `val` (5,000), `train+val` (60,000) or `test`
    (10,000); of files with fewer or more images the same shares.

    Looks for the IDX files in `data_dir` itself and in its subfolders `mnist`, `MNIST/raw`, ..., under each
    name that they get when they are unpacked; where there are none, they are downloaded.
    """
    if split not in ("train", "val", "train+val", "test"):
        raise InputError(f"split {split!r} of {name}: there are train, val, train+val and test")
    prefix = "t10k" if split == "test" else "train"
    folder = _find(name, Path(data_dir), prefix) or _download(name, Path(data_dir))
    images = read_idx(_file(folder, f"{prefix}-images-idx3-ubyte"))
    labels = read_idx(_file(folder, f"{prefix}-labels-idx1-ubyte"))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise InputError(
            f"{folder}: images {tuple(images.shape)} and labels {tuple(labels.shape)} do not belong together"
        )
    if len(labels) and int(labels.max()) >= len(CLASS_NAMES[name]):
        raise InputError(
            f"{folder}: a label is {int(labels.max())}, and {name} has classes 0 to "
            f"{len(CLASS_NAMES[name]) - 1}; is this another set?"
        )
    image_set = ImageSet(
        images[:, None], name, split, str(folder), labels=labels.long(), class_names=CLASS_NAMES[name]
    )
    cut = len(images) - len(images) // ONE_IN
    part = {"train": image_set.take(slice(0, cut)), "val": image_set.take(slice(cut, None))}.get(
        split, image_set
    )
    if not len(part):
        raise InputError(f"{folder}: {len(images)} images are too few for a {split} split; add images")
    return part


def read_idx(path: Path) -> Tensor:
    """An IDX file of unsigned bytes (LeCun's format: two zeros, type 8, the number of axes, each axis as
    big-endian int32, the bytes), gzip-compressed or not -> uint8 tensor.  InputError when cut off or of
    another kind."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it and download it again") from error
    if data[:3] != b"\0\0\x08" or len(data) < 4:
        raise InputError(
            f"{path}: not an IDX file of bytes (it begins with {data[:4]!r}); delete it and download it again"
        )
    axes = data[3]
    if len(data) < 4 + 4 * axes:
        raise InputError(f"{path}: cut off after {len(data)} bytes; delete it and download it again")
    shape = np.frombuffer(data, ">i4", count=axes, offset=4).astype(int).tolist()
    start = 4 + 4 * axes
    if len(data) - start != np.prod(shape):
        raise InputError(
            f"{path}: {len(data) - start} bytes where {shape} needs {np.prod(shape)}; "
            "delete it and download it again"
        )
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=start).view(shape)


def _find(name: str, data_dir: Path, prefix: str) -> Path | None:
    other = {
        "mnist": ("mnist", "MNIST/raw", "MNIST"),
        "fashion-mnist": ("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", "FashionMNIST"),
    }
    folders = (*(data_dir / part for part in other[name]), data_dir)
    return next((folder for folder in folders if _existing(folder, f"{prefix}-images-idx3-ubyte")), None)


def _existing(folder: Path, stem: str) -> Path | None:
    """A file of the set: `train-images-idx3-ubyte`, as some unpack it `train-images.idx3-ubyte`, or in a
    folder of its own name, as on Kaggle; compressed or not."""
    stems = (stem, stem.replace("-idx", ".idx"))
    paths = [folder / f"{each}{ending}" for each in stems for ending in ("", ".gz")]
    return next((path for path in (*paths, *(path / path.name for path in paths)) if path.is_file()), None)


def _file(folder: Path, stem: str) -> Path:
    if path := _existing(folder, stem):
        return path
    raise InputError(f"{folder}: {stem}.gz is missing; put all four files there or give an empty --data-dir")


def _download(name: str, data_dir: Path) -> Path:
    """The four files from torchvision's mirrors, with the MD5 that it lists."""
    from common import torchvision_operators  # noqa: F401

    from torchvision import datasets

    published = getattr(datasets, TORCHVISION_CLASSES[name])
    folder = data_dir / TORCHVISION_CLASSES[name] / "raw"
    for file_name, md5 in published.resources:
        downloads.fetch(
            folder / file_name,
            [f"{mirror}{file_name}" for mirror in published.mirrors],
            md5,
            otherwise=f"--data {name}: put the four *-ubyte.gz files into {data_dir}, or use --data digits, "
            "which is drawn here",
        )
    return folder
