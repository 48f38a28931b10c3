"""From the bytes that a service calls a picture to a square RGB image for training."""

from __future__ import annotations

import io

from PIL import Image

from lab8_generative.polite_download import BadAnswer

FORMATS = ("PNG", "GIF", "JPEG", "WEBP")
MAX_SIDE = 1024
"""The largest renderings have half of it; a few kilobytes that claim more are a decompression bomb."""


def decode(body: bytes) -> Image.Image:
    """RGBA of a complete picture: all pixels decoded, of a PNG all check sums right.  Raises BadAnswer."""
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as image:
            if max(image.size) > MAX_SIDE:
                raise BadAnswer(f"picture of {image.width} x {image.height} pixels")
            image.verify()
        with Image.open(io.BytesIO(body), formats=FORMATS) as image:  # verify() leaves nothing to decode
            image.load()
            return image.convert("RGBA")
    except Image.UnidentifiedImageError as error:
        kind = "HTML" if body.lstrip()[:1] == b"<" else "something"
        raise BadAnswer(f"{kind} instead of a picture") from error
    except Image.DecompressionBombError as error:
        raise BadAnswer("picture of far too many pixels") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # what Pillow's decoders raise
        raise BadAnswer("damaged picture") from error


def on_square(picture: Image.Image, size: int, background: tuple[int, int, int]) -> Image.Image:
    """The picture trimmed of its transparent border, centred on a square of `background`, size x size.

    Raises BadAnswer when there is nothing but transparency.
    """
    box = picture.getbbox()  # of RGBA: where alpha is not 0
    if box is None:
        raise BadAnswer("picture with nothing on it", again=False)
    picture = picture.crop(box)
    side = max(picture.size)
    square = Image.new("RGBA", (side, side), (*background, 255))
    square.alpha_composite(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)


def square_png(body: bytes, size: int, background: tuple[int, int, int]) -> bytes:
    """The PNG file made of a picture's bytes.  Raises BadAnswer."""
    file = io.BytesIO()
    on_square(decode(body), size, background).save(file, "PNG", optimize=True)
    return file.getvalue()
