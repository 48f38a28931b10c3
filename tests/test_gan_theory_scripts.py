"""The two scripts that draw the figures of theory/{en,ru}/gan.md: limiting cases, artefacts, mistakes."""

import json
import subprocess
import sys
from dataclasses import replace

from common import command_line
from common.errors import InputError

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes

from hw2_gan import dirac_gan, transposed_convolution

CONFIG = dirac_gan.Config()


def start(script, *arguments, status=0):
    command = [sys.executable, script.__file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


# ---- the Dirac-GAN


def test_the_figures_of_the_dirac_gan_and_its_numbers(tmp_path):
    output = start(dirac_gan, "--steps", 30, "--outdir", tmp_path)
    folder = tmp_path / "hw2" / "0001-dirac-gan"
    summary = json.loads((folder / "summary.json").read_text())
    assert all((folder / name).stat().st_size > 10_000 for name in summary["figures"])
    assert len(summary["metrics"]) == 18 and "minimax + R1: eigenvalues −0.25 ± 0.43i" in output


def test_only_the_regularised_minimax_games_end_at_the_equilibrium():
    for name, game in dirac_gan.games(CONFIG).items():
        for alternating in (False, True):
            distance = np.linalg.norm(dirac_gan.train(game, CONFIG, alternating)[-1])
            assert (distance < 1e-6) == (name in ("minimax + R1", "minimax + instance noise")), name


def test_penalties_of_the_figure_have_their_weights_and_noise_damps_as_r1_does():
    pair = torch.tensor([0.0], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
    by_name = dirac_gan.games(replace(CONFIG, gamma=0.8, gp_weight=0.7))
    pull = lambda name: dirac_gan.vector_field(by_name[name], *pair)[1].item()  # on psi, at theta = 0
    assert pull("Wasserstein + gradient penalty") == pytest.approx(0.7 * 2 * (1 - 0.5))  # of (|psi| - 1)^2
    assert pull("minimax + R1") - pull("minimax") == pytest.approx(-0.8 * 0.5)  # of gamma / 2 psi^2
    noisy = dirac_gan.games(replace(CONFIG, noise=0.9, gamma=0.9**2 / 2))
    same = (dirac_gan.eigenvalues(noisy[f"minimax + {name}"]) for name in ("instance noise", "R1"))
    np.testing.assert_allclose(*map(np.sort_complex, same), atol=1e-12)


def test_portraits_have_theta_to_the_right_and_psi_up(tmp_path, monkeypatch):
    """In the Wasserstein game theta moves by psi, and psi by -theta."""
    drawn, stream = [], Axes.streamplot
    note = lambda self, *arguments, **options: drawn.append(arguments) or stream(self, *arguments, **options)
    monkeypatch.setattr(Axes, "streamplot", note)
    games = {"Wasserstein": dirac_gan.games(CONFIG)["Wasserstein"]}
    path = dirac_gan.train(games["Wasserstein"], replace(CONFIG, steps=2), alternating=True)
    dirac_gan.save_portraits(tmp_path / "p.png", games, {"Wasserstein": {"alternating": path}})
    ((theta, psi, right, up),) = drawn
    np.testing.assert_allclose(right, np.broadcast_to(psi[:, None], right.shape), atol=1e-12)
    np.testing.assert_allclose(up, np.broadcast_to(-theta[None], up.shape), atol=1e-12)


def test_alternating_updates_use_the_new_discriminator():
    game, config = dirac_gan.games(CONFIG)["Wasserstein"], replace(CONFIG, steps=1, start=(2.0, 3.0))
    np.testing.assert_allclose(dirac_gan.train(game, config, False)[1], [2 + 0.2 * 3, 3 - 0.2 * 2])
    np.testing.assert_allclose(dirac_gan.train(game, config, True)[1], [2 + 0.2 * (3 - 0.2 * 2), 3 - 0.2 * 2])


def test_the_average_of_a_circle_is_near_its_centre():
    circle = dirac_gan.train(dirac_gan.games(CONFIG)["minimax"], CONFIG, alternating=True)
    means = dirac_gan.averaged(circle, CONFIG.ema)
    np.testing.assert_array_equal(means[0], circle[0])
    assert (
        np.linalg.norm(circle[200:], axis=1).min() > 1.3 and np.linalg.norm(means[300:], axis=1).max() < 0.4
    )


def test_the_words_for_the_eigenvalues():
    by_name = dirac_gan.games(replace(CONFIG, gamma=3.0))
    assert dirac_gan.spectrum(by_name["minimax + R1"]) == "eigenvalues −2.91, −0.09"  # too much: a node
    assert dirac_gan.spectrum(by_name["Wasserstein"]) == "eigenvalues ± 1.00i"


@pytest.mark.parametrize("flag", [{"step": 0.0}, {"steps": 0}, {"gamma": -1.0}, {"noise": float("nan")}])
def test_flags_that_make_no_sense_are_named(flag):
    with pytest.raises(InputError, match=rf"^--{next(iter(flag))} .*: must be "):
        command_line.checked(replace(CONFIG, **flag))


def test_a_mistake_is_one_line(tmp_path):
    output = start(dirac_gan, "--step", 0, "--outdir", tmp_path, status=1)
    assert output == "error: --step 0.0: must be greater than 0\n"
    assert not (tmp_path / "hw2").exists()


# ---- transposed convolution


def test_the_figures_of_transposed_convolution_and_its_numbers(tmp_path):
    flags = ["--kernel", 3, "--output-padding", 1, "--size", 5]
    output = start(transposed_convolution, *flags, "--outdir", tmp_path)
    assert "5 -> 10; convolution back: 10 -> 5" in output
    summary = json.loads((tmp_path / "hw2" / "0001-transposed-convolution" / "summary.json").read_text())
    assert summary["metrics"]["matrix/largest_difference"] < 1e-12
    assert summary["tap_counts"]["kernel 3, stride 2"] == [1, 2, 4]
    assert summary["tap_counts"]["upsample ×2, convolution 3"] == [9]
    for name in summary["figures"]:
        assert (tmp_path / "hw2" / "0001-transposed-convolution" / name).stat().st_size > 10_000


def test_the_matrix_of_a_dilated_padded_strided_convolution():
    taps = torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = transposed_convolution.convolution_matrix(taps, 11, stride=2, padding=1, dilation=2)
    signal = torch.arange(11, dtype=torch.float64)
    expected = F.conv1d(signal[None, None], taps[None, None], stride=2, padding=1, dilation=2)[0, 0]
    torch.testing.assert_close(matrix @ signal, expected)
    assert matrix.shape == (transposed_convolution.convolution_size(11, 3, 2, 1, 2), 11)


@pytest.mark.parametrize("sizes", [(4, 2, 1, 0, 1), (3, 2, 1, 1, 2), (3, 3, 2, 2, 3)])
def test_output_sizes_are_those_of_torch(sizes):
    kernel, stride, padding, output_padding, dilation = sizes
    one, taps = torch.zeros(1, 1, 7), torch.zeros(1, 1, kernel)
    large = F.conv_transpose1d(one, taps, None, stride, padding, output_padding, dilation=dilation)
    assert transposed_convolution.transposed_size(7, *sizes) == large.shape[-1]
    assert transposed_convolution.convolution_size(large.shape[-1], kernel, stride, padding, dilation) == 7


@pytest.mark.parametrize(("kernel", "stride"), transposed_convolution.COMPARED)
def test_every_input_pixel_places_its_kernel_once(kernel, stride):
    counts = transposed_convolution.tap_counts(6, kernel, stride)
    assert counts.sum() == 36 * kernel**2
    assert len(counts) == transposed_convolution.transposed_size(6, kernel, stride)


@pytest.mark.parametrize(
    "flags", [{"output_padding": 2}, {"stride": 0}, {"padding": 9}, {"kernel": 0}, {"padding": -1}]
)
def test_impossible_convolutions_are_named(flags):
    (name,) = flags
    with pytest.raises(InputError, match=rf"^--{name.replace('_', '-')} {flags[name]}: "):
        config = command_line.checked(replace(transposed_convolution.Config(), **flags))
        transposed_convolution.check(config)
