"""The power spectrum of images, and the number for a grid in generated ones."""

from common.data import avatars
from common.metrics import samples, spectrum

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor


@pytest.fixture(scope="module")
def portraits() -> Tensor:
    return avatars.draw_set("val", 64, 120, 0).images


def strength(images: Tensor, real: Tensor) -> float:
    return spectrum.grid_strength(spectrum.power_spectrum(images), spectrum.power_spectrum(real))


def grid(period: int, height: float, shape: tuple[int, ...]) -> Tensor:
    """Grey levels to add: every other `period / 2` rows and columns lighter, the others darker."""
    rows, columns = (torch.arange(side) // (period // 2) % 2 for side in shape[-2:])
    return height * (1 - 2 * (rows[:, None] ^ columns).float())


def test_the_spectrum_of_a_wave_is_where_it_should_be():
    """128 + 100 cos(2 pi (3 y / 16 + 5 x / 32)) in every channel: half of its square mean at each of the
    frequency and its opposite, of which the half plane holds one."""
    y, x = torch.meshgrid(torch.arange(16), torch.arange(32), indexing="ij")
    wave = 127.5 + 100 * torch.cos(2 * torch.pi * (3 * y / 16 + 5 * x / 32))
    power = spectrum.power_spectrum(wave.round().to(torch.uint8).expand(2, 3, -1, -1))
    assert power.shape == (16, 17)
    mean_square = (100 / 127.5) ** 2 / 2
    assert power[3, 5].item() == pytest.approx(mean_square * 16 * 32 / 2, rel=0.01)
    power[3, 5] = 0
    assert power.max() < 0.01


def test_the_means_of_images_have_no_part_in_it():
    flat = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)
    assert spectrum.power_spectrum(flat).max() < 1e-10


def test_other_real_images_have_no_grid(portraits):
    assert strength(portraits[:60], portraits[60:]) < 1.5
    assert strength(portraits, portraits) == 1


@pytest.mark.parametrize("period", [2, 4])
def test_a_planted_grid_raises_it(portraits, period):
    planted = (portraits.float() + grid(period, 4, portraits.shape)).clamp(0, 255).to(torch.uint8)
    assert strength(planted[:60], portraits[60:]) > 3
    assert strength(planted[:60], portraits[60:]) > 2 * strength(portraits[:60], portraits[60:])


def test_a_grid_whose_sign_changes_within_the_image_raises_it(portraits):
    """As a transposed convolution draws it: its sign depends on what is drawn there."""
    changing = grid(2, 8, portraits.shape) * torch.arange(64).sub(32).sign()  # the halves opposite
    planted = (portraits.float() + changing).clamp(0, 255).to(torch.uint8)
    assert strength(planted[:60], portraits[60:]) > 3


def test_stripes_are_a_grid(portraits):
    for stripes in (1 - 2 * (torch.arange(64) % 2), (1 - 2 * (torch.arange(64) % 2))[:, None]):
        planted = (portraits.float() + 6 * stripes).clamp(0, 255).to(torch.uint8)
        assert strength(planted[:60], portraits[60:]) > 2


def test_other_detail_is_no_grid(portraits):
    """Waves between the grid's frequencies, and images without detail."""
    columns = torch.arange(64)
    wave = 8 * torch.cos(2 * torch.pi * 24 / 64 * columns)
    paler = 0.8 * portraits.float() + 25  # nothing is cut off at black and white
    assert strength((paler + wave).round().to(torch.uint8), paler.round().to(torch.uint8)) < 1.2
    padded = F.pad(portraits.float(), (1, 1, 1, 1), mode="replicate")
    assert strength(F.avg_pool2d(padded, 3, stride=1).round().to(torch.uint8), portraits) < 1


@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (3, 3, 48, 32), (3, 3, 4, 4)])
def test_images_of_every_side_have_a_number(shape):
    torch.manual_seed(0)
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    assert strength(images, images) == 1
    assert strength((255 - images.float()).to(torch.uint8), images) == pytest.approx(1)


def test_flat_real_images_do_not_divide_by_zero():
    flat = torch.full((4, 3, 16, 16), 200, dtype=torch.uint8)
    assert strength(flat, flat) == 1
    assert 1 < strength((flat + grid(2, 2, flat.shape)).to(torch.uint8), flat) < float("inf")


def test_it_is_measured_with_the_other_numbers(portraits):
    real = samples.Reference(portraits[60:])
    planted = (portraits[:60].float() + grid(2, 4, portraits.shape)).clamp(0, 255).to(torch.uint8)
    assert real.measure(planted)["grid"] == strength(planted, portraits[60:])
