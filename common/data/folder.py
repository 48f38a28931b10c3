"""Any folder of images as one set: whatever is inside becomes uint8 RGB or grey of one size."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from common.data.image_set import ImageSet
from common.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
Image.MAX_IMAGE_PIXELS = 100_000_000  # a decompression bomb is an unreadable file, not a dead machine


def list_images(folder: Path) -> list[Path]:
    """All images below `folder`, hidden ones left out, in a fixed order.  InputError when there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name a folder of images or a data set")
    paths = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not paths:
        raise InputError(f"{folder}: no images; expected files ending in {', '.join(SUFFIXES)}")
    return sorted(paths)


def read_images(
    paths: Sequence[Path],
    size: int | tuple[int, int],
    *,
    grey: bool = False,
    fit: str = "crop",
    background: tuple[int, int, int] = (255, 255, 255),
) -> tuple[Tensor, list[int], list[str]]:
    """Decode files into uint8 (N, 1 or 3, H, W); `size` is one side or (H, W).

    Transparent pixels go onto `background`; palettes, grey levels, 16 bits and CMYK become RGB; EXIF turns
    are applied.  `fit` makes one shape of many: `crop` keeps the centre, `pad` adds background, `stretch`
    distorts. Returns the images, the positions in `paths` that could be read, and a line "name: reason" for
    each other file.
    """
    height, width = (size, size) if isinstance(size, int) else size

    def decode(path: Path) -> np.ndarray | str:
        try:
            with Image.open(path) as image:
                image.load()
                return np.asarray(
                    _to_size(_to_rgb(image, background), (width, height), fit, background).convert(
                        "L" if grey else "RGB"
                    )
                )
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, EOFError) as error:
            return f"{path.name}: {str(error) or type(error).__name__}"

    with ThreadPoolExecutor(4) as pool:  # Pillow releases the GIL while it decodes and resizes
        decoded = list(pool.map(decode, paths))
    readable = [i for i, array in enumerate(decoded) if isinstance(array, np.ndarray)]
    skipped = [text for text in decoded if isinstance(text, str)]
    if not readable:
        return torch.empty(0, 1 if grey else 3, height, width, dtype=torch.uint8), readable, skipped
    images = torch.from_numpy(np.stack([decoded[i] for i in readable]))
    return (images[:, None] if grey else images.permute(0, 3, 1, 2).contiguous()), readable, skipped


def load_folder(
    folder: Path, size: int, *, grey: bool = False, fit: str = "crop", split: str = "all"
) -> ImageSet:
    """Every image below `folder` at size x size.  Classes are the subfolders, where all images lie in
    subfolders.

    Unreadable files are listed on stderr and skipped; InputError when nothing is left.
    """
    folder = Path(folder)
    paths = list_images(folder)
    images, readable, skipped = read_images(paths, size, grey=grey, fit=fit)
    report_skipped(folder, skipped, len(paths))
    parents = [
        paths[i].relative_to(folder).parts[0] if len(paths[i].relative_to(folder).parts) > 1 else ""
        for i in readable
    ]
    class_names = () if "" in parents else tuple(sorted(set(parents)))
    return ImageSet(
        images,
        name=folder.resolve().name,
        split=split,
        source=str(folder),
        labels=torch.tensor([class_names.index(name) for name in parents]) if class_names else None,
        class_names=class_names,
        file_names=tuple(paths[i].relative_to(folder).as_posix() for i in readable),
        skipped=tuple(skipped),
    )


def split_of_name(file_name: str) -> str:
    """`train`, `val` or `test` (80, 10 and 10 %) for a file of a set without splits.

    It depends on the name alone, so adding or losing a file moves no other.
    """
    bucket = int.from_bytes(hashlib.sha256(file_name.encode()).digest()[:8], "big") % 10
    return {8: "val", 9: "test"}.get(bucket, "train")


def report_skipped(folder: Path, skipped: Sequence[str], total: int) -> None:
    """Name the unreadable files on stderr; InputError when every file was unreadable."""
    if len(skipped) == total:
        raise InputError(f"{folder}: none of {total} images could be read; the first: {skipped[0]}")
    if skipped:
        more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
        print(
            f"warning: {folder}: skipped {len(skipped)} of {total} images: {'; '.join(skipped[:5])}{more}",
            file=sys.stderr,
        )


def _to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I;16", "I;16B", "I", "F"):  # 16 bits of grey: Pillow would clip them to 255
        array = np.asarray(image, dtype=np.float64)
        array = array / 257 if array.max(initial=0) > 255 else array
        return Image.fromarray(array.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image).convert("RGB")
    return image.convert("RGB")


def _to_size(
    image: Image.Image, size: tuple[int, int], fit: str, background: tuple[int, int, int]
) -> Image.Image:
    if image.size == size:
        return image
    if fit == "crop":
        return ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    if fit == "pad":
        return ImageOps.pad(image, size, Image.Resampling.LANCZOS, color=background)
    if fit == "stretch":
        return image.resize(size, Image.Resampling.LANCZOS)
    raise ValueError(f"fit must be crop, pad or stretch, not {fit!r}")
