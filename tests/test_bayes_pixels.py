"""Images from counts: probabilities by hand, totals of 1, limiting cases, samples, the script."""

import json
import math
import subprocess
import sys
from fractions import Fraction

from common import figures
from common.data import avatars
from common.errors import InputError

import pytest
import torch
from pixel_blocks import blocks, generator

from hw1_bayes_and_autoencoders import bayes_pixels
from hw1_bayes_and_autoencoders.pixel_models import (
    PixelTables,
    bits_per_pixel,
    neighbour_difference,
    pack,
    unpack,
)

SCRIPT = bayes_pixels.__file__


@pytest.fixture(scope="module")
def faces():
    return avatars.draw_set("train", 48, 11, 0).images, avatars.draw_set("val", 48, 4, 0).images


# ---- independent pixels


@pytest.mark.parametrize("channels", [1, 3])
def test_packing_is_invertible(channels):
    images = torch.randint(256, (3, channels, 4, 5), generator=generator(), dtype=torch.uint8)
    code = pack(images)
    assert int(code.max()) < 256**channels
    assert torch.equal(unpack(code, channels), images)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 1 / 256])
@pytest.mark.parametrize("joint", [False, True])
def test_probability_of_an_image_by_hand(joint, alpha):
    train = torch.tensor([[[10, 20]], [[10, 30]], [[40, 30]]], dtype=torch.uint8)[:, :, None]  # (3, 1, 1, 2)
    alpha_exact = Fraction(alpha)
    theta = lambda n: (n + alpha_exact) / (3 + alpha_exact * 256)
    expected = theta(2) * theta(1)  # 10 twice in three images, 20 once
    log2_p = PixelTables(train, joint, alpha).log2_probability(
        torch.tensor([[[[10, 20]]]], dtype=torch.uint8)
    )
    assert float(log2_p.sum()) == pytest.approx(math.log2(expected), abs=1e-12)


def test_the_channels_of_a_color_come_apart_only_without_joint():
    train = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.uint8).view(2, 3, 1, 1)
    mixed = torch.tensor([1, 5, 3], dtype=torch.uint8).view(1, 3, 1, 1)
    assert float(PixelTables(train).log2_probability(mixed)) == -3
    assert float(PixelTables(train, joint=True).log2_probability(mixed)) == -math.inf
    assert float(PixelTables(train, joint=True).log2_probability(train[:1])) == -1
    colors = {tuple(pixel.flatten().tolist()) for pixel in PixelTables(train).sample(200, generator())}
    assert len(colors) == 8
    colors = {tuple(pixel.flatten().tolist()) for pixel in PixelTables(train, True).sample(200, generator())}
    assert colors == {(1, 2, 3), (4, 5, 6)}


@pytest.mark.parametrize("alpha", [0.0, 0.01, 1.0])
def test_each_table_sums_to_1(alpha):
    model = PixelTables(blocks(5, height=1, width=3), alpha=alpha)
    every = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(-1, -1, 1, 3)
    assert torch.allclose(model.log2_probability(every).exp2().sum(0), torch.ones(1, 3, dtype=torch.float64))


def test_infinite_smoothing_is_uniform():
    images = blocks(5, channels=3)
    for joint in (False, True):
        log2_p = PixelTables(images, joint, alpha=1e15).log2_probability(images)
        assert torch.allclose(log2_p, torch.full_like(log2_p, -24), atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.02])
def test_sampling_frequencies_are_theta(alpha):
    train, count = torch.tensor([10, 10, 200], dtype=torch.uint8).view(3, 1, 1, 1), 50_000
    drawn = PixelTables(train, alpha=alpha).sample(count, generator(1)).flatten().long()
    p = torch.full((256,), alpha, dtype=torch.float64)
    p[10], p[200] = 2 + alpha, 1 + alpha
    p /= 3 + 256 * alpha
    deviation = (p * (1 - p) / count).sqrt()
    seen = torch.bincount(drawn, minlength=256) / count
    assert ((seen - p).abs() <= 5 * deviation + 1e-12).all()  # 256 levels: chance 1.5e-4


def test_bits_per_pixel_of_constants():
    white = torch.full((2, 3, 4, 5), 255, dtype=torch.uint8)
    assert bits_per_pixel(PixelTables(white).log2_probability(white)).tolist() == [0, 0]
    smoothed = PixelTables(white[:1].expand(11, -1, -1, -1), alpha=1)
    for images, theta in ((white, 12 / 267), (white - 1, 1 / 267)):
        bits = bits_per_pixel(smoothed.log2_probability(images))
        assert bits.tolist() == pytest.approx([-3 * math.log2(theta)] * 2)


@pytest.mark.parametrize(("joint", "alpha"), [(False, 0.0), (False, 1 / 256), (True, 0.0), (True, 2.0**-24)])
def test_neighbour_difference_is_that_of_samples_and_loses_the_covariance(faces, joint, alpha):
    train, _ = faces
    model = PixelTables(train, joint, alpha)
    sampled = (model.sample(400, generator(2)).double().diff(dim=-1) ** 2).mean((1, 2, 3))
    assert abs(float(sampled.mean()) - model.neighbour_difference()) < 5 * float(sampled.std()) / 20
    if alpha == 0:
        left, right = (train[..., cut].double() for cut in (slice(None, -1), slice(1, None)))
        covariance = ((left - left.mean(0)) * (right - right.mean(0))).mean()
        expected = neighbour_difference(train) + 2 * float(covariance)
        assert model.neighbour_difference() == pytest.approx(expected, rel=1e-12)


# ---- reading, the script


def folder_of(tmp_path, images, name="faces"):
    for i, image in enumerate(images):
        figures.save_png(tmp_path / name / f"{i:02d}.png", image)
    return tmp_path / name


def test_a_folder_gives_its_first_images_and_holds_out_the_others(tmp_path):
    images = torch.randint(256, (7, 3, 9, 12), generator=generator(), dtype=torch.uint8)
    folder = folder_of(tmp_path, images)
    (folder / "broken.png").write_bytes(b"not a picture")
    config = bayes_pixels.Config(data=str(folder), train_count=4, held_out_count=9)
    train, held_out = bayes_pixels.read_sets(config)
    assert train.shape[1:] == held_out.shape[1:] == (3, 9, 12)  # the usual size of the folder
    both = torch.cat([train, held_out])
    assert {tuple(x.flatten().tolist()) for x in both} == {tuple(x.flatten().tolist()) for x in images}
    assert len(train) in (3, 4)  # the broken one may be among the first


def test_subfolders_are_the_splits_and_size_is_obeyed(tmp_path):
    images = blocks(5, channels=3)
    folder_of(tmp_path, images[:3], "set/train")
    folder_of(tmp_path, images[3:], "set/val")
    config = bayes_pixels.Config(data=str(tmp_path / "set"), size=(4, 6))
    train, held_out = bayes_pixels.read_sets(config)
    assert train.shape == (3, 3, 4, 6)
    assert held_out.shape == (2, 3, 4, 6)


def test_images_without_neighbours_are_refused_unless_they_are_made_larger(tmp_path):
    folder = folder_of(tmp_path, blocks(5, height=1))
    with pytest.raises(InputError, match=r"^--data .*faces: images of 1x7, .* give --size"):
        bayes_pixels.read_sets(bayes_pixels.Config(data=str(folder)))
    assert bayes_pixels.read_sets(bayes_pixels.Config(data=str(folder), size=(4,)))[0].shape[2:] == (4, 4)


def run(*arguments, cwd):
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.mark.parametrize(
    ("arguments", "named"), [(["--data", "no-such-folder"], "no-such-folder"), (["--beta", "-1"], "--beta")]
)
def test_a_mistake_on_the_command_line_is_one_line(tmp_path, arguments, named):
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert named in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_the_script_leaves_figures_and_numbers(tmp_path):
    flags = ("--size", 48, "--held-out-count", 3, "--count", 2, "--data-dir", tmp_path / "data")
    result = run(*flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "runs" / "hw1" / "0001-bayes-pixels"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    metrics = summary["metrics"]
    assert (summary["n_train"], summary["n_val"]) == (11, 3)
    assert "val/channels_mle_bits_per_pixel" not in metrics  # infinite, said by the share instead
    assert 0 < metrics["val/channels_mle_impossible_pixels"] <= 1
    assert metrics["val/chain_bits_per_pixel"] < metrics["val/colors_one_pseudo_observation_bits_per_pixel"]
    assert all((folder / name).stat().st_size > 5_000 for name in summary["figures"])
    assert len(list((folder / "samples").glob("*.png"))) == 7


def test_grey_images_and_nothing_held_out(tmp_path):
    config = bayes_pixels.Config(data=str(folder_of(tmp_path, blocks(3))), outdir=tmp_path, count=2, alpha=0)
    bayes_pixels.main(config)
    summary = json.loads(
        (tmp_path / "hw1" / "0001-bayes-pixels" / "summary.json").read_text(encoding="utf-8")
    )
    assert summary["n_val"] == 0
    assert not any(name.startswith("val/") for name in summary["metrics"])
