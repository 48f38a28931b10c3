"""Sheets of the drawn sets for the pages: common/data/gallery/NAME.png.

python -m common.data.gallery
"""

from __future__ import annotations

from pathlib import Path

from common import data, figures

FOLDER = Path(__file__).with_name("gallery")
SHEETS = {
    "avatars": ("train", 96, 24),
    "wells": ("test", 96, 24),
    "digits": ("train", 28, 78),
    "creatures": ("train", 64, 39),
}
"""Name -> split, side in pixels, number of images."""
WIDTH = 1178
"""Of every sheet in pixels."""


def main() -> None:
    for name, (split, size, count) in SHEETS.items():
        images = data.load(name, split, size=size, count=count).images
        figures.save_png(FOLDER / f"{name}.png", figures.image_grid(images, WIDTH // (size + 2)))
        print(FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
