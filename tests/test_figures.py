"""Figures as files: what a GIF holds, and titles that can be read beside large images."""

from common import figures

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.mark.parametrize("channels", [1, 3])
def test_gif_keeps_equal_frames_and_small_changes(tmp_path, channels):
    first = torch.randint(0, 256, (channels, 12, 20), dtype=torch.uint8)
    second = first.clone()
    second[:, 3:5, 7:9] = 255 - second[:, 3:5, 7:9]
    frames = torch.stack([first, first, second, second, second, first])
    figures.save_gif(tmp_path / "x.gif", frames, frame_ms=40)
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == 6
        for i, frame in enumerate(frames):
            gif.seek(i)
            assert gif.info["duration"] == 40
            shown = torch.from_numpy(np.asarray(gif.convert("RGB")).copy()).permute(2, 0, 1)
            assert torch.equal(shown, frame.expand(3, -1, -1))  # 240 colours at most: none is lost


def test_gif_times_are_hundredths_of_a_second():
    assert [figures.gif_frame_ms(ms) for ms in (20, 33, 38, 80, 5)] == [20, 30, 40, 80, 20]


def test_titles_of_large_grids_are_as_large_as_those_of_small_ones_where_both_fill_a_page(tmp_path):
    ink = {}
    for side, zoom in ((60, 1), (600, 1)):
        path = tmp_path / f"{side}.png"
        white = torch.full((6, 3, side, side), 255, dtype=torch.uint8)
        figures.save_grid(path, white, 6, row_titles=["a title of the row"], zoom=zoom)
        with Image.open(path) as image:
            rows = (np.asarray(image.convert("L")) < 128).any(1)
            ink[side] = rows.sum() / max(figures.READ_AT, image.width) * figures.READ_AT
    assert ink[60] > 6 and ink[600] > 0.7 * ink[60]
