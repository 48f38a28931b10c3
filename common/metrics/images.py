"""Images for an extractor, in batches and in constant memory: from a folder, a tensor or a named data set."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common import data
from common.data.image_set import to_grey
from common.errors import InputError

SUFFIXES = (".bmp", ".jpg", ".jpeg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""pytorch-fid's."""
PROBED = 64
"""Images looked at to tell whether a set is grey."""


class TensorImages:
    """uint8 (N, 1 or 3, H, W) in memory: generated images (`common.data.to_uint8`) or an image set."""

    def __init__(self, images: Tensor, name: str = "images", *, grey: bool = False):
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                f"expected uint8 (N, 1 or 3, H, W), got {images.dtype} {tuple(images.shape)}; "
                "common.data.to_uint8 converts from [-1, 1]"
            )
        self.images, self.name, self.grey = images, name, grey

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
    under transparent pixels.  DIFFERS: endings in capitals count too, and where no image lies directly in the
    folder, those below it are taken.
    """

    def __init__(self, folder: Path, *, workers: int | None = None, grey: bool = False):
        self.name, self.grey = str(folder), grey
        self.workers = min(8, os.cpu_count() or 1) if workers is None else workers
        take = lambda paths: sorted(
            path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        self.paths = take(Path(folder).glob("*")) or take(Path(folder).rglob("*"))
        if not self.paths:
            raise InputError(f"{folder}: no images; expected files ending in {', '.join(SUFFIXES)}")

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
            rgb = image.convert("RGB")
            pixels = np.array(rgb.convert("L").convert("RGB") if grey else rgb)  # (H, W, 3)
            return torch.from_numpy(pixels).permute(2, 0, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: cannot be read as an image ({reason}); repair or remove it") from error


def _is_grey(image: Tensor) -> bool:
    return image.shape[0] == 1 or bool((image == image[:1]).all())
