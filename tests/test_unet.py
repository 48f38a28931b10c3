"""The U-Net of hw4_diffusion: shapes, what it is told, its beginning, and whether it can learn."""

import dataclasses
import math

from common.errors import InputError

import pytest
import torch

from hw4_diffusion import unet
from hw4_diffusion.unet import Architecture, UNet

SMALL = Architecture(image_channels=1, size=8, channels=(8, 16), blocks=1, classes=3)


def woken(shape: Architecture) -> UNet:
    """A network whose layers that begin at zero do not."""
    torch.manual_seed(0)
    network = UNet(shape)
    for parameter in network.parameters():
        if (parameter == 0).all():
            torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.mark.parametrize(
    "shape",
    [
        SMALL,
        Architecture(3, 12, (16, 8, 24), 2, 0),
        Architecture(1, 28, (8, 8, 16), 1, 10),
        Architecture(2, 5, (8,), 1, 0),
    ],
)
def test_images_keep_their_shape(shape):
    x = torch.randn(3, shape.image_channels, shape.size, shape.size)
    labels = torch.tensor([0, 1, shape.classes]) if shape.classes else None
    network = woken(shape).to(memory_format=torch.channels_last)
    got = network(x, torch.tensor([0.001, 0.5, 1.0]), labels)
    assert got.shape == x.shape and got.isfinite().all()
    one = network(x[1:2], torch.tensor([0.5]), None if labels is None else labels[1:2])
    assert (got[1:2] - one).abs().max() < 1e-5  # images of a batch do not mix


def test_it_begins_with_the_answer_0():
    network = UNet(SMALL)
    assert (network(torch.randn(2, 1, 8, 8), torch.rand(2), torch.tensor([0, 3])) == 0).all()


def test_it_hears_the_time_and_the_class():
    network, x = woken(SMALL), torch.randn(1, 1, 8, 8).expand(3, 1, 8, 8)
    by_time = network(x, torch.tensor([0.1, 0.1, 0.9]), torch.tensor([1, 1, 1]))
    by_class = network(x, torch.tensor([0.1, 0.1, 0.1]), torch.tensor([1, 2, 3]))
    assert torch.allclose(by_time[0], by_time[1]) and (by_time[0] - by_time[2]).abs().max() > 1e-3
    assert (by_class[0] - by_class[1]).abs().max() > 1e-3 and (by_class[1] - by_class[2]).abs().max() > 1e-3


def test_blocks_are_told_the_time_as_a_number_up_to_1000_and_the_class():
    network, heard = woken(SMALL), []
    network.down[0].register_forward_pre_hook(lambda block, given: heard.append(given[1]))
    share, labels = torch.tensor([0.001, 0.4]), torch.tensor([2, 3])
    network(torch.randn(2, 1, 8, 8), share, labels)
    told = network.time(unet.wave(torch.tensor([1.0, 400.0]), 8)) + network.label(labels)
    assert torch.allclose(heard[0], torch.nn.functional.silu(told), atol=1e-5)


def test_a_block_scales_and_shifts_what_it_adds():
    """Told nothing, it is a plain residual block; a bias of its told layer doubles, another shifts."""
    torch.manual_seed(0)
    block, x = unet.Block(8, 16, 4), torch.randn(2, 8, 5, 5)
    torch.nn.init.normal_(block.second[1].weight)
    torch.nn.init.zeros_(block.told.weight)
    torch.nn.init.zeros_(block.told.bias)
    inner = block.norm(block.first(x))
    told = torch.randn(2, 4)
    assert (block(x, told) - block.shortcut(x) - block.second(inner)).abs().max() < 1e-5
    torch.nn.init.ones_(block.told.bias)
    assert (block(x, told) - block.shortcut(x) - block.second(2 * inner + 1)).abs().max() < 1e-5


def test_every_parameter_learns():
    network = woken(SMALL)
    network(torch.randn(4, 1, 8, 8), torch.rand(4), torch.tensor([0, 1, 2, 3])).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_every_place_can_depend_on_every_other():
    """The attention at the smallest size reaches over the whole image."""
    network, x = woken(Architecture(1, 32, (8, 8, 8), 1, 0)), torch.randn(1, 1, 32, 32, requires_grad=True)
    network(x, torch.tensor([0.5]))[0, 0, 0, 0].backward()
    assert (x.grad[0, 0, 24:, 24:] != 0).any()


def test_a_batch_is_learned():
    """The noise in four images under one noise each: the loss falls to a hundredth."""
    torch.manual_seed(0)
    network = UNet(SMALL)
    x, noise, share = torch.randn(4, 1, 8, 8), torch.randn(4, 1, 8, 8), torch.tensor([0.2, 0.4, 0.6, 0.8])
    optimizer, labels = torch.optim.Adam(network.parameters(), 5e-3), torch.tensor([0, 1, 2, 3])
    for _ in range(300):
        loss = (network(x + noise, share, labels) - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.01


def test_times_are_told_by_waves():
    got = unet.wave(torch.tensor([0.0, 3.0, 700.0]), 8)
    frequencies = [10000 ** -(i / 3) for i in range(4)]
    for row, time in zip(got, (0, 3, 700)):
        expected = [math.sin(f * time) for f in frequencies] + [math.cos(f * time) for f in frequencies]
        assert row.tolist() == pytest.approx(expected, abs=1e-4)


def test_attention_is_a_weighted_mean_of_values():
    torch.manual_seed(0)
    layer = unet.Attention(16)
    torch.nn.init.normal_(layer.out.weight, std=0.1)
    x = torch.randn(2, 16, 3, 5)
    places = layer.norm(x).flatten(2).transpose(1, 2)
    query, key, value = layer.query_key_value(places).chunk(3, 2)
    weights = (query @ key.transpose(1, 2) / 4).softmax(2)
    expected = layer.out(weights @ value).transpose(1, 2).reshape(2, 16, 3, 5)
    assert (layer(x, None) - x - expected).abs().max() < 1e-5


def test_normalisation_is_that_of_float32_in_any_format():
    x = 100 + torch.randn(2, 16, 4, 4)
    got = unet.Norm(16)(x.bfloat16())
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, unet.Norm(16)(x.bfloat16().float()).bfloat16())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 9}, "--size 9: .* multiple of 2"),
        ({"size": 28, "channels": (8, 8, 8, 8)}, "--size 28: .* multiple of 8"),
        ({"channels": (8, 12)}, "--channels 12: not a multiple of 8"),
    ],
)
def test_shapes_that_cannot_be(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SMALL, **changes)
