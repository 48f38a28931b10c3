"""Ways of sampling: what each draws, on a toy whose images are its latents, and on a small generator."""

import math
from types import SimpleNamespace

import pytest
import torch

from hw3_stylegan_sampling import ways
from hw3_stylegan_sampling.networks import Architecture, Generator

SMALL = Architecture(size=8, channels=(6, 5), z_dim=6, w_dim=7, mapping_layers=2)
CHOOSING = Architecture(size=8, channels=(6, 5), z_dim=8, w_dim=7, mapping_layers=2, options=(2, 3))
NARROW = 1.5
"""The toy's discriminator says that real first numbers are narrower: the ratio is exp(-NARROW z^2)."""


class Toy:
    """A generator whose image is z, one pixel for each number."""

    def __init__(self, z_dim: int = 3, options: tuple[int, ...] = ()):
        self.z_dim, self.shape = z_dim, SimpleNamespace(options=options)
        self.w_mean = torch.zeros(1)
        self.mapping = SimpleNamespace(labels=lambda z: z[:, :0])

    def __call__(self, z, noise_mode):
        return z[:, :, None, None]


def toy_judge(**changes) -> ways.Judge:
    return ways.Judge(Toy(**changes), lambda images, labels: -NARROW * images[:, 0, 0, 0].square())


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_z_is_drawn_within_its_limit_and_orders_as_always():
    generator = Generator(CHOOSING)
    z = ways.truncated_normal(generator, 4000, 0.8, draws())
    assert z[:, :6].abs().max() <= 0.8 and z[:, 6:].std() == pytest.approx(1, abs=0.05)
    tail = torch.distributions.Normal(0, 1)
    inside = (tail.cdf(torch.tensor(0.3)) - 0.5) / (tail.cdf(torch.tensor(0.8)) - 0.5)
    assert (z[:, :6].abs() < 0.3).double().mean().item() == pytest.approx(inside.item(), abs=0.015)


def test_truncation_towards_a_centre_goes_to_the_nearest_one():
    centre = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    w = torch.tensor([[1.0, 2.0], [9.0, 4.0], [6.0, 0.0]])
    assert torch.allclose(
        ways.towards_nearest(w, centre, 0.5), torch.tensor([[0.5, 1.0], [9.5, 2.0], [8.0, 0.0]])
    )


def test_centres_are_means_of_the_w_around_them():
    torch.manual_seed(0)
    generator = Generator(SMALL)
    centre = ways.centres(generator, 5)
    assert centre.shape == (5, 7)
    w = generator.mapping(torch.randn(20_000, 6)).detach()
    nearest = torch.cdist(w, centre).argmin(1)
    for k in range(5):
        around = w[nearest == k]
        assert len(around) > 1000
        assert (around.mean(0) - centre[k]).norm() < 0.2 * around.std(0).norm()


def test_the_own_mean_is_that_of_latents_with_the_same_options():
    torch.manual_seed(0)
    generator = Generator(CHOOSING)
    z = torch.randn(3, 8)
    found = ways.towards_own_mean(generator, z, 0.0, draws(), others=3000)
    for row in range(3):
        same = torch.cat([torch.randn(3000, 6), z[row : row + 1, 6:].expand(3000, -1)], 1)
        w = generator.mapping(same).detach()
        assert ((found[row] - w.mean(0)) / (w.std(0) * (2 / 3000) ** 0.5)).abs().max() < 4.5
    kept = ways.towards_own_mean(generator, z, 1.0, draws())
    assert torch.allclose(kept, generator.mapping(z), atol=1e-5)


def test_images_of_w_are_the_generators():
    torch.manual_seed(0)
    generator = Generator(SMALL)
    z = torch.randn(45, 6)
    images = ways.images_of(generator, generator.mapping(z).detach())
    assert images.shape == (45, 3, 8, 8) and images.dtype == torch.uint8
    expected = (generator(z, noise_mode="const").detach() + 1) * 127.5
    assert (images - expected.clamp(0, 255)).abs().max() <= 0.51


# ---- the discriminator's ways


def test_acceptance_is_the_share_of_the_largest_ratio():
    ratio = torch.tensor([0.0, -1.0, -3.0])
    exact = ways.acceptance(ratio, 0.5, 0.0)
    assert exact.tolist() == pytest.approx([math.exp(value - 0.5) for value in (0, -1, -3)], rel=1e-9)
    more, fewer = ways.acceptance(ratio, 0.5, -3.0), ways.acceptance(ratio, 0.5, 3.0)
    assert (more > exact).all() and (fewer < exact).all()
    assert ways.acceptance(torch.tensor([2.0]), 2.0, 0.0).item() == pytest.approx(1, abs=1e-5)


def test_gamma_keeps_the_wanted_share():
    ratio = torch.randn(500, generator=draws()) * 3
    for share in (0.02, 0.2, 0.9):
        gamma = ways.gamma_for(ratio, share)
        assert ways.acceptance(ratio, ratio.max().item(), gamma).mean().item() == pytest.approx(
            share, rel=1e-6
        )


def test_no_ratio_is_larger_than_the_one_that_all_are_compared_with(monkeypatch):
    compared, acceptance = [], ways.acceptance

    def spy(log_ratio, largest, gamma):
        compared.append((log_ratio, largest))
        return acceptance(log_ratio, largest, gamma)

    monkeypatch.setattr(ways, "acceptance", spy)
    ways.rejection(toy_judge(), 100, 10, draws())
    assert compared and all((ratio <= largest).all() for ratio, largest in compared)


def test_every_image_has_a_coin_of_its_own(monkeypatch):
    monkeypatch.setattr(ways, "acceptance", lambda ratio, largest, gamma: torch.full_like(ratio, 0.5))
    judge, chunks = toy_judge(), []
    draw = judge.draw
    monkeypatch.setattr(judge, "draw", lambda z: chunks.append(z) or draw(z))
    kept = {tuple(row) for row in ways.rejection(judge, 500, 10, draws()).z.tolist()}
    shares = [sum(tuple(row) in kept for row in z.tolist()) / len(z) for z in chunks[:20]]
    assert all(0 < share < 1 for share in shares)


def test_rejection_with_the_exact_share_draws_what_the_discriminator_asks_for(monkeypatch):
    """Real first numbers are N(0, 1 / (1 + 2 NARROW)); the mean ratio of normal ones, as a share of the
    largest, which is 1, is the root of that variance."""
    monkeypatch.setattr(ways, "gamma_for", lambda ratio, share: 0.0)
    drawn = ways.rejection(toy_judge(), 4000, 4, draws())
    assert drawn.z.shape == (4000, 3) and drawn.images.shape == (4000, 3, 1, 1)
    assert drawn.z[:, 0].var().item() == pytest.approx(0.25, rel=0.1)
    assert drawn.z[:, 1:].var().item() == pytest.approx(1, rel=0.1)
    assert drawn.passes == pytest.approx(2 / 0.5, rel=0.1)
    expected = ((drawn.z[:, :, None, None] + 1) * 127.5).clamp(0, 255)
    assert (drawn.images - expected).abs().max() <= 0.51  # rows stay together


def test_rejection_spends_its_budget():
    drawn = ways.rejection(toy_judge(), 3000, 10, draws(1))
    assert drawn.passes == pytest.approx(10, rel=0.15)
    assert drawn.z[:, 0].var() < 0.25  # stricter than the exact share


def test_langevin_samples_its_energy_with_the_bias_of_finite_steps():
    """Precision 1 + 2 NARROW = 4 in the first number, 1 in the second: variances 1 / (4 (1 - 0.2)) and 1 / (1
    - 0.05) for steps of 0.2, eq. (stylegan.22)."""
    drawn = ways.langevin(toy_judge(), 2000, 1 + 4 * 60, 0.2, draws())
    assert drawn.passes == 1 + 4 * 60
    assert drawn.z[:, 0].var().item() == pytest.approx(0.3125, rel=0.12)
    assert drawn.z[:, 1].var().item() == pytest.approx(1 / 0.95, rel=0.12)
    expected = ((drawn.z[:, :, None, None] + 1) * 127.5).clamp(0, 255)
    assert (drawn.images - expected).abs().max() <= 0.51


def test_langevin_leaves_the_orders_alone():
    start = ways.normal(Toy(4, (2,)), 40, draws())
    drawn = ways.langevin(toy_judge(z_dim=4, options=(2,)), 40, 9, 0.1, draws())
    assert torch.equal(drawn.z[:, 3], start[:, 3])
    assert ((drawn.z[:, :3] - start[:, :3]).abs() > 1e-3).all()


def test_the_discriminator_is_calibrated_on_images_it_has_not_seen():
    """A logit of 3 log p / q + 1 becomes log p / q: real first numbers are N(1, 1), the log ratio z - 1/2."""
    judge = ways.Judge(Toy(), lambda images, labels: 3 * (images[:, 0, 0, 0] - 0.5) + 1)
    real, z = torch.randn(6000, 3, generator=draws()), torch.randn(6000, 3, generator=draws(1))
    real[:, 0] += 1
    judge.calibrate(real[:, :, None, None], torch.zeros(6000, 0), z)
    assert (judge.scale, judge.shift) == pytest.approx((1 / 3, -1 / 3), abs=0.03) and judge.passes == 0
    assert judge.log_ratio_of(torch.tensor([[2.0, 0, 0]])).item() == pytest.approx(1.5, abs=0.1)
