"""sample.py: NVIDIA's seeds, truncation, classes, noise, and mistakes in one line."""

from common import command_line

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from hw3_stylegan_sampling import sample, weights
from hw3_stylegan_sampling.networks import Architecture, Generator

SMALL = Architecture(size=8, channels=(6, 5), z_dim=6, w_dim=7, mapping_layers=2)


@pytest.fixture
def network(tmp_path):
    torch.manual_seed(0)
    generator = Generator(SMALL)
    generator.w_mean.normal_()
    for block in generator.synthesis.blocks:
        torch.nn.init.constant_(block.second.noise_strength, 0.5)
    weights.save(tmp_path / "net.safetensors", generator, "a test")
    return tmp_path / "net.safetensors"


def run(network, *flags: str, outdir=None) -> str:
    """Exit code of the script as text, empty for success."""
    words = ["--network", str(network), "--device", "cpu", "--outdir", str(outdir or network.parent / "out")]
    try:
        command_line.run(sample.main, sample.Config, [*words, *flags])
    except SystemExit as stopped:
        return str(stopped.code)
    return ""


def by_hand(network, seed, **options) -> np.ndarray:
    """As NVIDIA's generate.py computes and rounds it."""
    generator = weights.read(network)
    z = torch.from_numpy(np.random.RandomState(seed).randn(1, 6)).float()
    image = generator.synthesis(generator.styles(z, **options), "const")
    return (image * 127.5 + 128).clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()


def test_each_seed_gives_its_image(network, capsys):
    out = network.parent / "out"
    assert run(network, "--seeds", "85,3,7-9") == ""
    assert sorted(path.name for path in out.iterdir()) == [f"seed{n:04d}.png" for n in (3, 7, 8, 9, 85)]
    for seed in (3, 8, 85):
        assert np.array_equal(imageio.imread(out / f"seed{seed:04d}.png"), by_hand(network, seed))
    assert "5 images" in capsys.readouterr().out


def test_truncation_and_cutoff_reach_the_layers(network):
    out = network.parent / "out"
    assert run(network, "--seeds", "1", "--trunc", "0.4", "--trunc_cutoff", "2") == ""
    expected = by_hand(network, 1, psi=0.4, cutoff=2)
    assert np.array_equal(imageio.imread(out / "seed0001.png"), expected)
    assert not np.array_equal(expected, by_hand(network, 1, psi=0.4))
    assert run(network, "--seeds", "1,2", "--trunc=0") == ""
    assert np.array_equal(imageio.imread(out / "seed0001.png"), imageio.imread(out / "seed0002.png"))


def test_noise_modes(network, tmp_path):
    images = {}
    for mode in ("const", "random", "none"):
        for turn, seeds in ((1, "4"), (2, "3,4")):
            flags = ("--seeds", seeds, "--noise-mode", mode)
            assert run(network, *flags, outdir=tmp_path / f"{mode}{turn}") == ""
        images[mode] = [imageio.imread(tmp_path / f"{mode}{turn}" / "seed0004.png") for turn in (1, 2)]
        assert np.array_equal(
            *images[mode]
        )  # random noise too, whatever was drawn before: the seed is its own
    assert not np.array_equal(images["const"][0], images["random"][0])
    assert not np.array_equal(images["const"][0], images["none"][0])


def test_classes(tmp_path):
    torch.manual_seed(0)
    generator = Generator(Architecture(**{**vars(SMALL), "classes": 3}))
    weights.save(tmp_path / "net.safetensors", generator, "a test")
    for index in ("0", "2"):
        assert (
            run(tmp_path / "net.safetensors", "--seeds", "1", "--class", index, outdir=tmp_path / index) == ""
        )
    pictures = [imageio.imread(tmp_path / index / "seed0001.png") for index in ("0", "2")]
    assert not np.array_equal(*pictures)
    assert "--class: this generator draws one of 3 classes" in run(tmp_path / "net.safetensors")
    for index, said in (("3", "there are 3 classes"), ("-1", "must be greater than or equal to 0")):
        assert f"--class {index}: {said}" in run(tmp_path / "net.safetensors", "--class", index)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--seeds", "6-4"], "--seeds 6-4: '6-4' is neither a number nor a range; write 0,1,4-6"),
        (["--seeds", "1,,2"], "--seeds 1,,2"),
        (["--seeds", "a"], "--seeds a"),
        (["--trunc", "100"], "--trunc 100"),
        (["--seeds", "4294967296"], "--seeds 4294967296"),
        (["--seeds", "0-4000000000"], "more than 100000 numbers"),
        (["--trunc", "nan"], "--trunc"),
        (["--trunc-cutoff", "9"], "--trunc-cutoff 9: this generator has 4 style layers"),
        (["--class", "0"], "--class 0: this generator has no classes"),
    ],
)
def test_a_mistake_is_one_line(flags, said, network):
    text = run(network, *flags)
    assert said in text and text.startswith("error: ") and "\n" not in text
    assert not (network.parent / "out").exists()


def test_a_network_that_is_not_there(tmp_path):
    assert "--network" in run(tmp_path / "ffhq.pkl") and "neither a file" in run(tmp_path / "ffhq.pkl")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", [0]), ("0,1,4-6", [0, 1, 4, 5, 6]), ("7 - 8, 2", [7, 8, 2]), ("3-3", [3]), ("1-3,2,2", [1, 2, 3])],
)
def test_seeds_are_numbers_and_ranges(text, expected):
    assert sample.numbers(text) == expected
