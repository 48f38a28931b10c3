"""Images for an extractor, in batches and in constant memory: from a folder, a tensor or a named data set."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import data
from common.data.decoding import DEEP_GREY, reason, to_rgb, words_for
from common.data.folder import list_images
from common.data.image_set import require_images, to_grey
from common.errors import InputError, warn

import numpy as np
import torch
from PIL import Image
from torch import Tensor

PROBED = 64
"""Images looked at to tell whether a set is grey."""


class TensorImages:
    """uint8 (N, 1 or 3, H, W) in memory: generated images (`common.data.to_uint8`) or an image set."""

    def __init__(self, images: Tensor, name: str = "images", *, grey: bool = False):
        self.images, self.name, self.grey = require_images(images), name, grey

    def __len__(self) -> int:
        return len(self.images)

    def is_grey(self) -> bool:
        """Whether there is no colour in the first images."""
        return all(_is_grey(image) for image in self.images[:PROBED])

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """uint8 (B, 1 or 3, H, W)."""
        for batch in self.images.split(batch_size):
            yield to_grey(batch) if self.grey else batch


class FolderImages:
    """The images in a folder, decoded by `workers` threads ahead of whoever takes the batches.

    Decoded as pytorch-fid does it: Pillow's conversion to RGB, without turning by EXIF, without a background
    under transparent pixels.  DIFFERS: greys of more than 8 bits are scaled where pytorch-fid makes all
    levels above 255 white; endings in capitals and all that Pillow reads count; hidden files do not; and
    where no image lies directly in the folder, those below it are taken.
    """

    def __init__(self, folder: Path, *, workers: int | None = None, grey: bool = False):
        folder = Path(folder)
        self.name, self.grey = str(folder), grey
        self.workers = min(8, os.cpu_count() or 1) if workers is None else workers
        every = list_images(folder)
        self.paths = [path for path in every if path.parent == folder] or every

    def __len__(self) -> int:
        return len(self.paths)

    def is_grey(self) -> bool:
        """Whether there is no colour in some images spread over the folder."""
        step = -(-len(self.paths) // PROBED)
        return all(_is_grey(_decode(path, grey=False)) for path in self.paths[::step])

    def batches(self, batch_size: int) -> Iterator[list[Tensor]]:
        """Lists of uint8 (3, H, W), of as many sizes as the folder has."""
        images = self._decoded(ahead=2 * batch_size)
        while batch := list(itertools.islice(images, batch_size)):
            yield batch

    def _decoded(self, ahead: int) -> Iterator[Tensor]:
        if self.workers == 0:
            yield from (_decode(path, self.grey) for path in self.paths)
            return
        pending: deque = deque()
        with ThreadPoolExecutor(self.workers) as pool:  # Pillow releases the GIL while it decodes
            try:
                for path in self.paths:
                    pending.append(pool.submit(_decode, path, self.grey))
                    if len(pending) > ahead:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)


Images = TensorImages | FolderImages


def open_images(
    source: str, *, workers: int | None = None, grey: bool = False, data_dir: Path | None = None
) -> Images:
    """A folder, or a data set by name with its split: `mnist` (the test split) or `mnist:train`."""
    name, _, split = source.partition(":")
    if name in data.NAMES:
        image_set = data.load(name, split or "test", data_dir=data_dir)
        return TensorImages(image_set.images, f"{name}:{image_set.split}", grey=grey)
    if Path(source).is_dir():
        return FolderImages(Path(source), workers=workers, grey=grey)
    raise InputError(
        f"{source}: no such folder, .npz file or data set; data sets are {', '.join(data.NAMES)}, "
        "with :train after the name for another split than test"
    )


def _decode(path: Path, grey: bool) -> Tensor:
    try:
        with Image.open(path) as image:
            if image.mode in DEEP_GREY:
                warn(f"{path.parent}: images with {words_for(image.mode)}")
            rgb = to_rgb(image, background=None)
            pixels = np.array(rgb.convert("L").convert("RGB") if grey else rgb)  # (H, W, 3)
            return torch.from_numpy(pixels).permute(2, 0, 1)
    except Exception as error:  # each of Pillow's decoders has its own ways to fail
        why = reason(error)
        raise InputError(f"{path}: cannot be read as an image ({why}); repair or remove it") from error


def _is_grey(image: Tensor) -> bool:
    return image.shape[0] == 1 or bool((image == image[:1]).all())
