"""The parts of a step of StyleGAN2: path lengths, penalties, learning rate, latents of two."""

from itertools import pairwise
from pathlib import Path

from common import adversarial, devices
from common.noise import BatchNoise

import pytest
import torch
from small_stylegans import config
from torch import nn

from hw3_stylegan_sampling import train_stylegan
from hw3_stylegan_sampling.discriminator import Discriminator
from hw3_stylegan_sampling.networks import Architecture, Generator

SMALL = Architecture(size=8, channels=(6, 5), z_dim=6, w_dim=7, mapping_layers=2)
HERE = devices.Device(torch.device("cpu"))


def test_path_lengths_are_those_of_the_jacobian():
    """|J^T y| from the whole Jacobian, the root mean square over layers; y is the noise that was drawn."""
    torch.manual_seed(0)
    generator = Generator(SMALL).double()
    ws = torch.randn(2, generator.layers, 7, dtype=torch.float64, requires_grad=True)
    state = torch.get_rng_state()
    lengths = train_stylegan.path_lengths(generator, ws)
    torch.set_rng_state(state)
    generator.synthesis(ws, "random")  # draws the layers' noise, of strength 0, before y
    y = torch.randn(2, 3, 8, 8, dtype=torch.float64) / 8
    for row in range(2):
        draw = lambda styles: generator.synthesis(styles[None])[0]
        jacobian = torch.autograd.functional.jacobian(draw, ws[row].detach())  # (3, 8, 8, L, D)
        back = torch.einsum("chwld,chw->ld", jacobian, y[row])
        assert lengths[row].item() == pytest.approx(back.square().sum(1).mean().sqrt().item(), rel=1e-9)


def test_the_path_penalty_pulls_lengths_to_their_mean_and_reaches_every_style():
    torch.manual_seed(0)
    generator, paths = Generator(SMALL), train_stylegan.PathLengths(HERE)
    z = torch.randn(4, 6)
    penalty = paths(generator, z)
    assert penalty.shape == (4,) and paths.mean > 0
    for _ in range(2000):
        with torch.no_grad():
            paths.mean.lerp_(torch.tensor(3.0), 0.01)
    assert paths.mean.item() == pytest.approx(3, abs=1e-3) and paths.state_dict().keys() == {"mean"}
    paths(generator, z).sum().backward()
    reached = [
        name for name, p in generator.named_parameters() if p.grad is not None and p.grad.abs().max() > 0
    ]
    assert any(name.startswith("mapping") for name in reached)
    for k, block in enumerate(generator.synthesis.blocks):
        for layer in ("first", "second", "to_image"):
            if getattr(block, layer) is not None:
                assert f"synthesis.blocks.{k}.{layer}.affine.weight" in reached


def test_penalties_come_rarely_and_so_many_times_heavier():
    """Over six steps R1 with --r1-every 2 counts as much as in every step."""
    torch.manual_seed(0)
    discriminator, images = Discriminator((6, 5)), torch.randn(4, 3, 8, 8)
    lazy, always = (config("pets", Path(), r1_every=every, augment=()) for every in (2, 1))
    penalties = [train_stylegan.r1_penalty(lazy, discriminator, images, step) for step in range(1, 7)]
    each = train_stylegan.r1_penalty(always, discriminator, images, 1)
    plain = adversarial.r1_penalty(discriminator, images).mean()
    assert each.item() == pytest.approx(lazy.r1_gamma / 2 * plain.item())
    assert penalties[::2] == [0.0] * 3 and sum(penalties).item() == pytest.approx(6 * each.item())
    paths, generator = train_stylegan.PathLengths(HERE), Generator(SMALL)
    found = [
        train_stylegan.path_penalty(lazy, paths, generator, torch.randn(4, 6), step) for step in (1, 2, 3)
    ]
    assert found[:2] == [0.0, 0.0] and found[2] > 0


def test_the_learning_rate_is_constant_until_the_cooldown():
    one = config("pets", Path(), steps=100, cooldown=0.2)
    optimizer = torch.optim.Adam(nn.Linear(2, 2).parameters())
    rates = []
    for step in range(1, 101):
        train_stylegan.set_learning_rates(one, step, optimizer)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:80] == [rates[0]] * 80 and rates[0] == 1e-2
    assert all(later < before for before, later in pairwise(rates[79:]))
    assert rates[89] == pytest.approx(rates[0] / 2) and rates[99] == pytest.approx(0, abs=1e-12)


def test_two_latents_make_one_image_layer_by_layer():
    torch.manual_seed(0)
    generator = Generator(SMALL)
    mixing = train_stylegan.MixingGenerator(generator)
    z, other = torch.randn(3, 6), torch.randn(3, 6)
    cut = torch.tensor([generator.layers, 1, 0])
    images = mixing(z, other, cut)
    assert torch.allclose(images[0], generator(z)[0], atol=1e-6)
    assert torch.allclose(images[2], generator(other)[2], atol=1e-6)
    ws = generator.styles(other)
    ws = torch.cat([generator.styles(z)[:, :1], ws[:, 1:]], 1)
    assert torch.allclose(images[1], generator.synthesis(ws)[1], atol=1e-6)


def test_mixed_latents_share_their_choices():
    shape = Architecture(**{**vars(SMALL), "z_dim": 8, "options": (2, 3)})
    generator, noise = Generator(shape), BatchNoise(4000, HERE, seed=0)
    one = config("pets", Path(), mixing=0.3)
    z, other, cut = train_stylegan.latents(one, noise, generator)
    assert torch.equal(z[:, 6:], other[:, 6:]) and not torch.equal(z[:, :6], other[:, :6])
    assert torch.equal(generator.mapping.labels(z), generator.mapping.labels(other))
    counts = cut.bincount(minlength=5) / 4000  # 4 layers: cut is 1, 2 or 3, or 4 where nothing is mixed
    assert counts[0] == 0 and counts[4].item() == pytest.approx(0.7, abs=0.03)
    assert counts[1:4].tolist() == pytest.approx([0.1] * 3, abs=0.02)
