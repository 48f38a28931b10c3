"""The four parts anomaly detection needs, from the drawn wells, the course's folder, or any labelled set.

train      normal images only: what the autoencoder learns
val        other normal images: best epoch, quantile threshold
anomalies  known anomalies (`proliv` of the wells): threshold
test       both; labels 0 normal, 1 anomalous
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from common import data
from common.data import ImageSet
from common.data.image_set import to_grey
from common.data.wells_layout import read_layout
from common.errors import InputError

import torch
import torch.nn.functional as F

Part = Literal["train", "val", "anomalies", "test"]


def load(
    name: str, part: Part, *, size: int, color: bool, normal_class: int | None, data_dir: Path | None
) -> ImageSet:
    """One part at `size` pixels, grey unless `color`.

    `name` is `wells`, a folder in the course's layout (`train/`, `proliv/`, `test/imgs`,
    `test/test_annotation.txt`), or a labelled set such as `mnist`, of which `normal_class` is the normal one
    (by default 0) and every other class an anomaly.
    """
    split = "proliv" if part == "anomalies" else part
    layout = name == "wells" or (name not in data.NAMES and Path(name).is_dir())
    if layout and normal_class is not None:
        raise InputError(f"--normal-class {normal_class}: {name} has no classes; leave the flag out")
    if name == "wells":  # photographed at 64 pixels and made smaller, as one does with a camera's pictures
        image_set = _resized(data.load(name, split, data_dir=data_dir), size)
    elif layout:
        image_set = read_layout(Path(name), split, size)
    else:
        image_set = _one_class(name, part, normal_class or 0, data_dir, size)
    if not color:
        return replace(image_set, images=to_grey(image_set.images))
    if image_set.shape[0] != 3:
        raise InputError(f"--color: the images of {name} are grey; leave the flag out")
    return image_set


def _resized(image_set: ImageSet, size: int) -> ImageSet:
    """The set at `size` pixels, smoothed before it is sampled."""
    if image_set.images.shape[-1] == size:
        return image_set
    resize = lambda images: F.interpolate(images, (size, size), mode="bilinear", antialias=True)
    return replace(image_set, images=torch.cat([resize(images) for images in image_set.images.split(500)]))


def _one_class(name: str, part: Part, normal_class: int, data_dir: Path | None, size: int) -> ImageSet:
    """One class against the rest (Ruff et al. 2018, "Deep one-class classification")."""
    image_set = data.load(name, {"anomalies": "val"}.get(part, part), data_dir=data_dir)
    if image_set.labels is None:
        raise InputError(
            f"--data {name}: no labels to tell normal from anomalous; use wells or a labelled set"
        )
    if not 0 <= normal_class < len(image_set.class_names):
        raise InputError(
            f"--normal-class {normal_class}: {name} has classes 0 to {len(image_set.class_names) - 1}"
        )
    normal = image_set.labels == normal_class
    keep = {"train": normal, "val": normal, "anomalies": ~normal, "test": torch.ones_like(normal)}[part]
    kept = image_set.take(keep.nonzero()[:, 0])
    side = kept.images.shape[-1]
    if size < side:
        raise InputError(f"--size {size}: images of {name} have {side} pixels; use {side} or more")
    before, after = (size - side) // 2, (size - side + 1) // 2
    images = F.pad(kept.images, (before, after, before, after))  # a black frame, as MNIST's own
    names = (image_set.class_names[normal_class], "other")
    return replace(kept, images=images, labels=(~normal[keep]).long(), class_names=names)
