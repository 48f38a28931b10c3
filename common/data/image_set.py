"""One container for a set of images, whatever it came from, and the one place that converts grey levels."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor


def to_model_range(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 [0, 255] -> float [-1, 1], same shape and device."""
    if images.dtype != torch.uint8:
        raise TypeError(f"image sets hold uint8, got {images.dtype}")
    return images.to(dtype).mul_(2 / 255).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """float [-1, 1] (clamped) -> uint8 [0, 255], rounded to the nearest grey level."""
    if not images.is_floating_point():
        raise TypeError(f"expected float images in [-1, 1], got {images.dtype}")
    return images.float().add(1).mul(255 / 2).round().clamp(0, 255).to(torch.uint8)


def require_images(images: Tensor) -> Tensor:
    """`images` themselves where they are uint8 (N, 1 or 3, H, W), the type of every set and every extractor;
    else ValueError."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"expected uint8 images (N, 1 or 3, H, W), got {images.dtype} {tuple(images.shape)}; "
            "common.data.to_uint8 converts from [-1, 1]"
        )
    return images


DRAWN_BY = "drawn by "
"""How the `source` of a set begins that the course draws itself."""
DIGESTED = 64 * 2**20
"""Bytes of pixels that tell one set from another; of a larger set images at equal distances are taken."""


@dataclass(frozen=True)
class ImageSet:
    """N images of one size, in memory or memory-mapped, with what is known about each of them."""

    images: Tensor
    """uint8 (N, C, H, W), C = 1 or 3."""
    name: str
    """`mnist`, `avatars`, ... or the folder's name."""
    split: str
    """`train`, `val`, `test`, or what the set calls its parts (`proliv` of the wells)."""
    source: str
    """Where it came from, for a reader: a folder, an address, `drawn by common/data/avatars.py, seed 0`."""
    labels: Tensor | None = None
    """int64 (N,): class of each image."""
    class_names: tuple[str, ...] = ()
    """Name of each class, in label order."""
    attributes: dict[str, Tensor] = field(default_factory=dict)
    """What is known about each image: int64 (N,) for a choice of options, float32 (N, ...) for a quantity."""
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """For each attribute that is a choice: the names of its options, in order."""
    captions: tuple[str, ...] = ()
    """One English sentence per image, or nothing."""
    file_names: tuple[str, ...] = ()
    """One name per image where the set came from files, in the order of the images."""
    skipped: tuple[str, ...] = ()
    """Files that could not be read, each with the reason."""

    def __post_init__(self):
        require_images(self.images)
        per_image = {
            "labels": self.labels,
            "captions": self.captions,
            "file_names": self.file_names,
            **self.attributes,
        }
        for what, values in per_image.items():
            if values is not None and len(values) not in (len(self), 0):
                raise ValueError(f"{what}: {len(values)} values for {len(self)} images")

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return tuple(self.images.shape[1:])

    @cached_property
    def identity(self) -> str:
        """32 hexadecimal digits that change with the images, their order, names, labels or attributes.

        The folder and its name are no part of it: the same files elsewhere are the same set.  Of a drawn set
        its recipe counts, not its pixels, which may differ by a grey level between kinds of processors.
        """
        digest = hashlib.sha256(f"{self.split} {tuple(self.images.shape)}".encode())
        known = {"labels": self.labels, **self.attributes}
        if self.source.startswith(DRAWN_BY):
            digest.update(self.source.encode())
            known = {name: x for name, x in known.items() if x is not None and not x.is_floating_point()}
        else:
            step = max(1, -(-self.images.numel() // DIGESTED))
            known["images"] = self.images[::step]
        names = unicodedata.normalize("NFC", "\0".join(self.file_names))
        digest.update(names.encode("utf-8", "surrogatepass"))
        for name, values in sorted(known.items()):  # a set read back has its attributes in another order
            if values is not None:
                digest.update(name.encode())
                digest.update(values.contiguous().numpy())
        return digest.hexdigest()[:32]

    def few(self, count: int) -> ImageSet:
        """At most `count` of the images, from all parts of the set: a folder of classes is in their order."""
        return self if count >= len(self) else self.take(spread(count, len(self)))

    def take(self, index: Tensor | slice) -> ImageSet:
        """The images at `index` (int64 (M,) or a slice, which stays a view), with everything known about
        them."""
        rows = torch.arange(len(self))[index]
        pick = lambda names: tuple(names[i] for i in rows.tolist()) if names else ()
        return replace(
            self,
            images=self.images[index],
            labels=None if self.labels is None else self.labels[index],
            attributes={name: values[index] for name, values in self.attributes.items()},
            captions=pick(self.captions),
            file_names=pick(self.file_names),
        )


def spread(count: int, total: int) -> Tensor:
    """At most `count` of `total` rows, int64, at equal distances."""
    count = min(count, total)
    return torch.arange(count) * total // max(count, 1)


def to_grey(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> (N, 1, H, W), luma of ITU-R BT.601; one channel stays as it is."""
    if images.shape[1] == 1:
        return images
    weight = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    grey = lambda chunk: (chunk.float() * weight).sum(1, keepdim=True).round().to(torch.uint8)
    return torch.cat([grey(chunk) for chunk in images.split(1024)])
