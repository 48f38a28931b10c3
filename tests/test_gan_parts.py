"""StyleGAN2's parts in the GAN of week 2: filters, modulated convolutions, noise, residual discriminator."""

from typing import get_args

from common.errors import InputError
from common.layers import MinibatchDeviation
from common.shapes import parameters

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hw2_gan import networks, players, train_gan
from hw2_gan.residual_discriminator import ResidualBlock, ResidualDiscriminator
from hw2_gan.stylegan_parts import (
    Downsampling,
    FilteredUpsampling,
    Halving,
    ModulatedConvolution,
    Noise,
)

BOARD = (-1.0) ** (torch.arange(16)[:, None] + torch.arange(16))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def filtered(x: Tensor) -> Tensor:
    """[1, 3, 3, 1] / 8 along rows and columns without padding: (B, C, H, W) -> (B, C, H - 3, W - 3)."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 8
    windows = x.unfold(2, 4, 1) @ line  # (B, C, H - 3, W)
    return windows.unfold(3, 4, 1) @ line


# ---- generator


def test_filtered_upsampling_is_a_transposed_convolution_and_then_the_filter():
    layer = FilteredUpsampling(3).double()
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    apart = torch.zeros(2, 3, 9, 13, dtype=torch.float64)
    apart[:, :, ::2, ::2] = x  # zeros between
    raised = F.conv2d(F.pad(apart, (2, 2, 2, 2)), layer.weight.transpose(0, 1).flip(2, 3))
    expected = 4 * filtered(F.pad(raised, (1, 1, 1, 1)))
    assert layer(x).shape == (2, 3, 10, 14) and (layer(x) - expected).abs().max() < 1e-12


def test_bilinear_upsampling_is_the_filter_between_zeros():
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    apart = torch.zeros(2, 3, 10, 14, dtype=torch.float64)
    apart[:, :, ::2, ::2] = 4 * x
    expected = filtered(F.pad(apart, (2, 1, 2, 1)))[:, :, 1:-1, 1:-1]  # without the border
    found = networks.upsample(3, "bilinear")(x)
    assert found.shape == (2, 3, 10, 14) and (found[:, :, 1:-1, 1:-1] - expected).abs().max() < 1e-12


def test_no_kernel_of_a_filtered_upsampling_draws_a_grid():
    """A map that is the same everywhere stays so, whatever was learnt; without the filter it does not."""
    apart = lambda layer: layer(torch.ones(1, 4, 8, 8))[:, :, 4:-4, 4:-4].std((2, 3)).max().item()
    assert apart(FilteredUpsampling(4)) < 1e-6
    assert apart(networks.upsample(4, "filtered")) < 1e-6
    assert apart(networks.upsample(4, "transposed")) > 1e-2


def test_modulated_convolutions_are_those_of_the_paper():
    """Weights of its own for each image, those of each output channel brought to length 1."""
    layer = ModulatedConvolution(5, 4, 3, latent=6).double()
    nn.init.normal_(layer.style.weight)
    x, z = torch.randn(3, 5, 6, 7, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    found = layer(x, z)
    for image, latent, answer in zip(x, z, found):
        weight = layer.weight * layer.style(latent)[None, :, None, None]
        weight = weight / weight.square().sum((1, 2, 3), keepdim=True).sqrt()
        assert (answer - F.conv2d(image[None], weight, layer.bias, padding=1)[0]).abs().max() < 1e-6


def test_a_demodulated_generator_draws_each_image_alone():
    """Batch normalisation does not: with it an image depends on the others of its batch."""
    z = torch.randn(4, 100)
    alone = {}
    for normalisation in ("demodulated", "modulated"):
        generator = networks.CSPupGenerator(32, 0.125, normalisation=normalisation, output="tanh").train()
        alone[normalisation] = torch.allclose(generator(z)[:2], generator(z[:2]), atol=1e-6)
    assert alone == {"demodulated": True, "modulated": False}


def test_latents_reach_every_modulated_convolution():
    generator = networks.CSPupGenerator(32, 0.125, normalisation="demodulated", output="tanh")
    told = [module for module in generator.modules() if isinstance(module, ModulatedConvolution)]
    assert len(told) == 2 * 2  # two blocks with two each
    generator(torch.randn(4, 100)).square().mean().backward()
    assert all(layer.style.weight.grad.abs().max() > 0 for layer in told)


def test_noise_is_one_number_a_pixel_and_begins_without_any():
    layer, x = Noise(), torch.randn(2, 3, 4, 5)
    assert torch.equal(layer(x), x)
    nn.init.constant_(layer.strength, 0.5)
    added = layer(x) - x
    assert torch.allclose(added[:, :1].expand(-1, 3, -1, -1), added, atol=1e-6)
    assert added[0, 0].std() > 0.1 and not torch.allclose(added[0], added[1])
    generator = networks.CSPupGenerator(32, 0.125, noise=True, refined=True, output="tanh")
    assert sum(isinstance(module, Noise) for module in generator.modules()) == 2 * 2 + 1
    generator(torch.randn(4, 100)).square().mean().backward()
    strengths = [module.strength for module in generator.modules() if isinstance(module, Noise)]
    assert all(strength.grad is not None for strength in strengths)


@pytest.mark.parametrize("last", get_args(networks.Upsampling))
def test_the_last_upsampling_is_chosen_by_itself(last):
    generator = networks.CSPupGenerator(32, 0.125, refined=True, last_upsampling=last)
    kinds = {"transposed": nn.ConvTranspose2d, "filtered": FilteredUpsampling}
    assert type(generator.end[0]) is kinds.get(last, nn.Upsample)
    assert all(type(block.left) is nn.ConvTranspose2d for block in generator.blocks)
    assert generator(torch.randn(2, 100)).shape == (2, 3, 32, 32)


# ---- discriminator


@pytest.mark.parametrize("kind", get_args(Downsampling))
def test_halving(kind):
    layer = Halving(3, 5, kind).double()
    x = torch.randn(2, 3, 16, 12, dtype=torch.float64)
    if kind == "filtered":
        seen = filtered(F.pad(x, (2, 2, 2, 2)))
        expected = F.conv2d(seen, layer.weight, layer.bias)[:, :, ::2, ::2]
    else:
        expected = F.conv2d(F.pad(x, (1, 1, 1, 1)), layer.weight, layer.bias)[:, :, ::2, ::2]
        assert layer.kernel_size == (4, 4)
    assert layer(x).shape == (2, 5, 8, 6) and (layer(x) - expected).abs().max() < 1e-12


def test_the_filter_hides_a_grid_of_two_pixels_from_a_halving():
    """So no gradient asks for one, or against it; full-size layers must see it."""
    grid = lambda kind: Halving(1, 4, kind, bias=False)(BOARD[None, None])[:, :, 2:-2, 2:-2].abs().max()
    assert grid("filtered") < 1e-6
    assert grid("strided") > 1e-2
    board = BOARD.expand(2, 3, -1, -1)
    first = ResidualDiscriminator(32, 0.25).layers[:2](F.pad(board, (8, 8, 8, 8)))
    assert first.std() > 1e-2


@pytest.mark.parametrize("kind", get_args(Downsampling))
def test_a_residual_block_is_two_convolutions_beside_a_linear_layer(kind):
    block = ResidualBlock(3, 5, kind).double()
    x = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    worked_on = F.leaky_relu(F.conv2d(x, block.first.weight, block.first.bias, padding=1), 0.2)
    worked_on = F.leaky_relu(block.second(worked_on), 0.2)
    half = filtered(F.pad(x, (1, 1, 1, 1)))[:, :, ::2, ::2] if kind == "filtered" else F.avg_pool2d(x, 2)
    expected = (worked_on + F.conv2d(half, block.skip.weight)) / 2**0.5
    assert block(x).shape == (2, 5, 4, 6) and (block(x) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("size", get_args(networks.Size))
def test_residual_discriminators_give_a_logit_each(size):
    discriminator = ResidualDiscriminator(size, 0.25, minibatch_deviation=True, option_counts=(2, 3))
    channels = [
        layer.second.out_channels for layer in discriminator.layers if isinstance(layer, ResidualBlock)
    ]
    assert channels == [16, 32, 64, 64, 64][: size.bit_length() - 3]
    images = torch.randn(3, 3, size, size)
    logits = discriminator(images)
    assert logits.shape == (3,) and logits.dtype == torch.float32 and 0.1 < logits.std() < 10
    told = [discriminator(images, torch.tensor([[option, 0]] * 3)) for option in (0, 1)]
    assert not torch.allclose(told[0], told[1])
    told[0].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in discriminator.parameters())


def test_discriminators_give_options_the_same_part_of_the_logit():
    """Eq. (gan.22): of each attribute the output of its option, over the root of their number."""
    outputs = torch.arange(12.0).view(2, 6)
    labels = torch.tensor([[1, 0], [0, 2]])
    found = networks.logit_of_labels(outputs, labels, (2, 3))
    assert found.tolist() == pytest.approx([0 + (2 + 3) / 2**0.5, 6 + (7 + 11) / 2**0.5])
    assert networks.logit_of_labels(outputs, None, (2, 3)).tolist() == [0, 6]


# ---- flags


def built(**flags) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator of a conditional game with other flags."""
    before = {"conditional": True, "normalisation": "modulated", "refined": True, "minibatch_deviation": True,
              "discriminator_normalisation": "none", "r1_gamma": 2.0, "discriminator_width": 2.0}  # fmt: skip
    config = train_gan.Config(width=0.125, size=32, **{**before, **flags})
    train_gan.check(config)
    return players.build_generator(config).generator, players.build_discriminator(config)


def kinds(network: nn.Module) -> set[type]:
    return {type(module) for module in network.modules()}


@pytest.mark.parametrize(
    ("flags", "generators", "discriminators"),
    [
        ({"upsampling": "filtered"}, {FilteredUpsampling, nn.ConvTranspose2d}, set()),
        ({"last_upsampling": "filtered"}, {FilteredUpsampling, nn.ConvTranspose2d}, set()),
        ({"normalisation": "demodulated"}, {ModulatedConvolution}, set()),
        ({"noise": True}, {Noise}, set()),
        ({"discriminator": "residual"}, set(), {ResidualBlock, MinibatchDeviation}),
    ],
)
def test_flags_choose_the_parts(flags, generators, discriminators):
    before, after = built(), built(**flags)
    assert generators <= kinds(after[0]) and discriminators <= kinds(after[1])
    new = (generators | discriminators) - {nn.ConvTranspose2d, MinibatchDeviation}
    assert new.isdisjoint(kinds(before[0]) | kinds(before[1]))


@pytest.mark.parametrize("discriminator", ["dcgan", "residual"])
def test_the_filter_of_the_discriminator_is_chosen(discriminator):
    for downsampling in get_args(Downsampling):
        _, judge = built(discriminator=discriminator, downsampling=downsampling)
        halvings = [module.filtered for module in judge.modules() if isinstance(module, Halving)]
        assert len(halvings) == 3 and set(halvings) == {downsampling == "filtered"}


def test_widths_of_discriminators_go_with_the_flag():
    narrow, wide = (built(discriminator="residual", discriminator_width=width)[1] for width in (2.0, 4.0))
    assert parameters(wide) / parameters(narrow) == pytest.approx(4, rel=0.1)


def test_what_a_residual_discriminator_lacks_is_refused():
    with pytest.raises(InputError, match="--discriminator-normalisation spectral: the residual"):
        built(discriminator="residual", discriminator_normalisation="spectral")


def test_the_last_upsampling_without_a_refined_end_is_idle(capsys):
    built(refined=False, last_upsampling="nearest")
    assert "--last-upsampling nearest: does nothing without --refined" in capsys.readouterr().err
