"""From bytes to square pictures: composition, trimming, and what does not count as a picture."""

import io

import numpy as np
import pytest
from PIL import Image
from pokemon_server import make_picture, png_that_claims

from lab8_generative import sprite_pictures
from lab8_generative.polite_download import BadAnswer

WHITE = (255, 255, 255)


def test_a_picture_is_trimmed_centred_and_put_on_the_background():
    image = Image.new("RGBA", (30, 20), (9, 9, 9, 0))
    image.paste((255, 0, 0, 255), (5, 4, 13, 8))  # 8 x 4, off centre
    image.putpixel((5, 4), (0, 0, 255, 128))
    square = np.asarray(sprite_pictures.on_square(image, 8, (0, 255, 0)))
    expected = np.zeros((8, 8, 3), np.uint8)
    expected[:] = (0, 255, 0)
    expected[2:6] = (255, 0, 0)
    expected[2, 0] = (0, 127, 128)
    np.testing.assert_array_equal(square, expected)
    image.putpixel((5, 4), (255, 0, 0, 255))
    for size in (4, 16):
        resized = np.asarray(sprite_pictures.on_square(image, size, (255, 0, 0)))
        assert resized.shape == (size, size, 3) and (resized == (255, 0, 0)).all()
    with pytest.raises(BadAnswer, match="nothing on it"):
        sprite_pictures.on_square(Image.new("RGBA", (9, 9)), 8, WHITE)


def test_palette_transparency_becomes_background():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 255, 0, 0, 200])
    image.putpixel((0, 0), 0)
    file = io.BytesIO()
    image.save(file, "PNG", transparency=0)
    with Image.open(io.BytesIO(sprite_pictures.square_png(file.getvalue(), 4, WHITE))) as square:
        assert square.getpixel((0, 0)) == WHITE and square.getpixel((1, 1)) == (0, 0, 200)


@pytest.mark.parametrize("seed", range(6))
def test_a_picture_that_is_cut_off_counts_only_when_no_pixel_is_missing(seed):
    body = make_picture(seed)
    pixels = np.asarray(sprite_pictures.decode(body))
    for length in [*range(0, len(body) - 100, 37), *range(len(body) - 100, len(body))]:
        try:
            decoded = sprite_pictures.decode(body[:length])
        except BadAnswer:
            continue
        assert length >= len(body) - 4, "at most the end mark may lack"
        np.testing.assert_array_equal(decoded, pixels)


def test_a_picture_of_too_many_pixels_is_refused_before_they_are_decoded():
    with pytest.raises(BadAnswer, match="picture of 5000 x 2 pixels"):
        sprite_pictures.decode(png_that_claims(5000, 2))
