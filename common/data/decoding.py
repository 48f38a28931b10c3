"""Picture files as pixels: whatever Pillow can read becomes uint8 of one size, and each fault has a name."""

from __future__ import annotations

import functools
import importlib
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from common.errors import InputError, warn

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"),
    *(".avif", ".heic", ".heif", ".jp2", ".jxl"),
)
"""Pictures as people have them; `readable_endings` are those that Pillow reads here."""
DEEP_GREY = {
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), (65535, "16 bits of grey")),
    "I": (65535, "32-bit whole numbers, taken for 16 bits of grey,"),
    "F": (1.0, "floating point levels"),
}
"""What is white in each of Pillow's modes that are deeper than 8 bits, and the mode in words."""
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How each value of EXIF's orientation is set upright."""
LYING = 5
"""From this orientation on width and height change places."""
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # faults are named file by file
Image.MAX_IMAGE_PIXELS = 100_000_000  # a decompression bomb is an unreadable file, not a dead machine


class Pictures(NamedTuple):
    """What `read_images` made of a list of files."""

    images: Tensor
    """uint8 (N, 1 or 3, H, W)."""
    readable: list[int]
    """Positions of the N files in the list."""
    skipped: list[str]
    """A line "name: reason" for each other file."""
    deep: dict[str, int]
    """How many files have each of the modes DEEP_GREY."""


@functools.cache
def readable_endings() -> tuple[str, ...]:
    """Of ENDINGS those that Pillow reads on this machine; HEIC where pillow-heif is installed."""
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    known = Image.registered_extensions()
    return tuple(ending for ending in ENDINGS if known.get(ending) in Image.OPEN)


def read_images(
    paths: Sequence[Path],
    size: int | tuple[int, int],
    *,
    grey: bool = False,
    fit: str = "crop",
    background: tuple[int, int, int] = (255, 255, 255),
) -> Pictures:
    """Decode files into uint8 (N, 1 or 3, H, W); `size` is one side or (H, W).

    Transparent pixels go onto `background`; palettes, grey levels, 16 bits and CMYK become RGB; EXIF turns
    are applied.  `fit` makes one shape of many: `crop` keeps the centre, `pad` adds background, `stretch`
    distorts.  A file that cannot be decoded, for whatever reason, is skipped and named.
    """
    height, width = (size, size) if isinstance(size, int) else size
    images = torch.empty(len(paths), 1 if grey else 3, height, width, dtype=torch.uint8)
    rows, modes = images.numpy(), []

    def decode(place: int) -> str | None:
        """Fill one row, or say why not."""
        path = paths[place]
        try:
            with Image.open(path) as image:
                image.load()
                modes.append(image.mode)
                rgb = _to_size(to_rgb(upright(image), background), (width, height), fit, background)
                pixels = np.asarray(rgb.convert("L" if grey else "RGB"))  # (H, W) or (H, W, 3)
                rows[place] = pixels if grey else pixels.transpose(2, 0, 1)
        except Exception as error:  # each of Pillow's decoders has its own ways to fail on bytes it dislikes
            return f"{printable(path.name)}: {reason(error)}"
        return None

    with ThreadPoolExecutor(4) as pool:  # Pillow releases the GIL while it decodes and resizes
        faults = list(pool.map(decode, range(len(paths))))
    readable = [place for place, fault in enumerate(faults) if fault is None]
    images = images if len(readable) == len(paths) else images[readable]
    deep = {mode: count for mode, count in Counter(modes).items() if mode in DEEP_GREY}
    return Pictures(images, readable, [fault for fault in faults if fault is not None], deep)


def report(folder: Path, total: int, skipped: Sequence[str], deep: dict[str, int] | None = None) -> None:
    """Name unreadable files and deep grey ones on stderr; InputError when every file is unreadable."""
    if len(skipped) == total:
        raise InputError(f"{folder}: none of {total} images could be read; the first: {skipped[0]}")
    if skipped:
        more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
        warn(f"{folder}: skipped {len(skipped)} of {total} images: {'; '.join(skipped[:5])}{more}")
    say_deep(folder, total, deep or {})


def say_deep(folder: Path, total: int, deep: dict[str, int]) -> None:
    """How the levels of deep grey files were read, on stderr."""
    for mode, count in deep.items():
        warn(f"{folder}: {count} of {total} images have {words_for(mode)}")


def upright(image: Image.Image) -> Image.Image:
    """Turned by EXIF's orientation alone: whatever else EXIF says, however wrong, does not matter."""
    turn = TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int | None:
    """EXIF's orientation, 1 to 8; None where there is none or EXIF cannot be read."""
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # damaged EXIF; the pixels may be sound
        return None


def to_rgb(image: Image.Image, background: tuple[int, int, int] | None) -> Image.Image:
    """RGB of 8 bits, transparent pixels on `background`; None shows the colours hidden under them."""
    if image.mode in DEEP_GREY:  # Pillow would make everything above 255 white
        array = np.nan_to_num(np.asarray(image, dtype=np.float64) * (255 / DEEP_GREY[image.mode][0]))
        return Image.fromarray(array.clip(0, 255).round().astype(np.uint8)).convert("RGB")
    transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    if background is not None and transparent:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image).convert("RGB")
    return image.convert("RGB")


def words_for(mode: str) -> str:
    """How the levels of a deep grey mode are read."""
    white, words = DEEP_GREY[mode]
    return f"{words} from 0, black, to {white:g}, white; convert them if that is not their range"


def reason(error: Exception) -> str:
    """Why a picture cannot be read, in one short line."""
    if isinstance(error, UnidentifiedImageError):
        return "not a picture Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "too large for the memory left"
    text = printable(" ".join(str(error).split()))[:200]
    return text if isinstance(error, (OSError, ValueError, SyntaxError)) and text else type(error).__name__


def printable(name: str) -> str:
    """A file's name as text that can be printed and saved: bytes that are no UTF-8 become \\xNN."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a pair of UTF-16, as Windows allows
        return name.encode("utf-8", "backslashreplace").decode()


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
