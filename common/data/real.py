"""MNIST and Fashion-MNIST: from the four published IDX files, compressed or not, or downloaded by
torchvision."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.data.image_set import ImageSet
from common.errors import InputError

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
VALIDATION = 5000
"""The last rows of the 60,000 training images are the validation split; the 10,000 test images stay
untouched."""


def load_idx_set(name: str, split: str, data_dir: Path) -> ImageSet:
    """`mnist` or `fashion-mnist`; split `train` (55,000), `val` (5,000), `train+val` (60,000) or `test`
    (10,000).

    Looks for the IDX files in `data_dir` itself and in its subfolders `mnist`, `MNIST/raw`, ...; where there
    are none, torchvision downloads them into `data_dir` and checks their MD5.
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
    image_set = ImageSet(
        images[:, None], name, split, str(folder), labels=labels.long(), class_names=CLASS_NAMES[name]
    )
    cut = max(len(images) - VALIDATION, 0)
    return {"train": image_set.take(slice(0, cut)), "val": image_set.take(slice(cut, None))}.get(
        split, image_set
    )


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
        "mnist": ("mnist", "MNIST/raw"),
        "fashion-mnist": ("fashion_mnist", "fashion-mnist", "FashionMNIST/raw"),
    }
    for folder in (*(data_dir / part for part in other[name]), data_dir):
        if any((folder / f"{prefix}-images-idx3-ubyte{ending}").is_file() for ending in ("", ".gz")):
            return folder
    return None


def _file(folder: Path, stem: str) -> Path:
    for path in (folder / stem, folder / f"{stem}.gz"):
        if path.is_file():
            return path
    raise InputError(f"{folder}: {stem}.gz is missing; put all four files there or give an empty --data-dir")


def _download(name: str, data_dir: Path) -> Path:
    from torchvision import datasets

    print(f"downloading {name} into {data_dir} (about {'12' if name == 'mnist' else '31'} MB)")
    class_name = TORCHVISION_CLASSES[name]
    try:
        getattr(datasets, class_name)(str(data_dir), download=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"--data {name}: not found under {data_dir} and the download failed "
            f"({str(error).splitlines()[0]}); put the four *-ubyte.gz files there, "
            "or use --data digits, which is drawn here"
        ) from error
    return data_dir / class_name / "raw"
