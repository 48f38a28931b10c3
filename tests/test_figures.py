"""Figures as files: what a GIF holds, and titles that can be read beside large images."""

from collections import defaultdict
from types import SimpleNamespace

from common import figures
from common.errors import warn

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from PIL import Image

from hw3_stylegan_sampling import interpolate as stylegan_interpolate
from lab8_generative import interpolate as lab_interpolate


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


@pytest.mark.parametrize(
    ("frame_ms", "said"),
    [
        (40, ""),
        (33, "warning: --frame-ms 33: a GIF counts time in 10 ms; its frames last 30 ms\n"),
    ],
)
def test_a_time_that_a_gif_cannot_hold_is_said(tmp_path, capsys, frame_ms, said):
    frames = torch.zeros(8, 3, 16, 16, dtype=torch.uint8)
    warn.cache_clear()
    stylegan_interpolate.save(tmp_path, {"z": frames}, 2, frame_ms)
    assert capsys.readouterr().err == said
    warn.cache_clear()
    run, config = SimpleNamespace(say=print, folder=tmp_path), SimpleNamespace(frame_ms=frame_ms)
    lab_interpolate.say(run, config, defaultdict(float))
    assert capsys.readouterr().err == said


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


def test_image_grid_places_each_image():
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 1, 2, 3)
    grid = figures.image_grid(images, 3, padding=1, background=9)
    assert grid.shape == (1, 5, 11)
    assert grid[0, 0].tolist() == [0, 0, 0, 9, 1, 1, 1, 9, 2, 2, 2]
    assert grid[0, 3].tolist() == [3, 3, 3, 9, 4, 4, 4, 9, 9, 9, 9]


def test_gif_loops_and_keeps_its_frame_time(tmp_path):
    frames = torch.stack([torch.full((3, 8, 8), level, dtype=torch.uint8) for level in (0, 100, 200)])
    figures.save_gif(tmp_path / "x.gif", frames, frame_ms=120)
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == 3 and gif.info["loop"] == 0 and gif.info["duration"] == 120


def test_equal_figures_are_equal_files(tmp_path):
    lines = [{"step": step, "train/loss": 1 / step} for step in range(1, 5)]
    for name in ("a.png", "b.png"):
        figures.save_curves(tmp_path / name, lines, ["train/loss"], title="t", ylabel="nats")
        figures.save_grid(tmp_path / f"grid-{name}", torch.zeros(3, 3, 8, 8, dtype=torch.uint8), 2, title="t")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "grid-a.png").read_bytes() == (tmp_path / "grid-b.png").read_bytes()
    assert imageio.imread(tmp_path / "grid-a.png").ndim == 3


def test_titles_of_rows_are_not_cut_off(tmp_path):
    for text in ("iiiiiiiiii", "encoder+w+", "MMMMMMMMMM", "широкие буквы ЖЮЩ"):
        black = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        figures.save_grid(tmp_path / "grid.png", black, 1, row_titles=[text, text])
        with Image.open(tmp_path / "grid.png") as image:
            left = np.asarray(image.convert("L"))[:, :4]
        assert (left == 255).all(), text
