"""A student's pictures: whether they decode, how they look alike, and thumbnails drawn from their pixels
alone.

Only the common raster formats are opened, after their header has said that they are small enough; of an
animation the first frame.  A vector file could hold scripts and is not drawn.
"""

from __future__ import annotations

import base64
import hashlib
import io
import warnings
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
MOST_BYTES, MOST_PIXELS, THUMBNAIL = 24 << 20, 40_000_000, 144
FLAT_SHARE = 0.5
"""A figure's background covers at least so much of it."""


@dataclass(frozen=True)
class Picture:
    """What one picture's bytes hold."""

    digest: str
    """Of the bytes: equal for pictures that are the very same file."""
    format: str = ""
    width: int = 0
    height: int = 0
    animated: bool = False
    looks_drawn: bool = False
    """Mostly one colour, as plots and tables are."""
    hash: str = ""
    """Perceptual (pHash, 64 bits): a few bits apart for pictures that look alike; empty for flat ones."""
    thumbnail: str = ""
    """A JPEG of ours in base64."""
    trouble: str = ""
    """Why it could not be looked at; then all else is empty."""


def look(content: bytes) -> Picture:
    """Decode one picture as far as it is safe."""
    digest = hashlib.sha256(content).hexdigest()
    bad = lambda trouble: Picture(digest, trouble=trouble)
    if trouble := _unopened(content):
        return bad(trouble)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata, and sizes that are judged here
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return _decoded(image, digest)
        except Image.DecompressionBombError:
            return bad(f"more than {MOST_PIXELS // 1_000_000} million pixels")
        except Exception as error:  # a decoder fed with anything may raise anything
            return bad(
                "not a picture" if type(error).__name__ == "UnidentifiedImageError" else "broken picture"
            )


def _unopened(content: bytes) -> str | None:
    """Why the bytes are not given to a decoder at all."""
    for wrong, trouble in (
        (not content, "empty, or too large"),
        (content.startswith(b"version https://git-lfs"), "only a pointer: the picture lies in Git LFS"),
        (len(content) > MOST_BYTES, f"larger than {MOST_BYTES >> 20} MB"),
        (b"<svg" in content[:2000].lower(), "an SVG drawing, which is not opened"),
    ):
        if wrong:
            return trouble
    return None


def _decoded(image: Image.Image, digest: str) -> Picture:
    width, height = image.size
    if width * height > MOST_PIXELS:
        return Picture(
            digest, trouble=f"more than {MOST_PIXELS // 1_000_000} million pixels ({width}×{height})"
        )
    image.draft("RGB", (512, 512))  # a JPEG is decoded at the size that is needed
    animated = False
    if image.format in ("GIF", "WEBP", "PNG"):
        try:
            image.seek(1)
            animated = True
        except (EOFError, AttributeError):
            pass
        image.seek(0)
    image.load()
    small = _on_white(image)
    pixels = np.asarray(small.convert("L"))
    counts = np.bincount(pixels.ravel() >> 2, minlength=64)
    drawn = bool(counts.max() >= FLAT_SHARE * pixels.size)
    flat = float(pixels.std()) < 4
    return Picture(
        digest,
        str(image.format),
        width,
        height,
        animated,
        drawn,
        "" if flat else str(imagehash.phash(small)),
        _thumbnail(small),
    )


def _on_white(image: Image.Image) -> Image.Image:
    """The picture in RGB, made small first; what is transparent becomes white."""
    image.thumbnail((512, 512), Image.Resampling.BILINEAR, reducing_gap=2.0)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _thumbnail(image: Image.Image) -> str:
    image = image.copy()
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=65)
    return base64.b64encode(file.getvalue()).decode("ascii")


def distance(first: str, second: str) -> int:
    """In how many of 64 bits two perceptual hashes differ."""
    return (int(first, 16) ^ int(second, 16)).bit_count()
