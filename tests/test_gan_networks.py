"""The GANs' networks: the homework's shapes and block, options, widths, spectral normalisation, mistakes."""

from typing import get_args

from common import command_line
from common.errors import InputError
from common.layers import MinibatchDeviation
from common.shapes import parameters

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hw2_gan import networks, players, stylegan_parts, train_gan


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def shapes(generator: nn.Module, modules: list[nn.Module]) -> list[tuple[int, ...]]:
    """Output shapes of some of a generator's modules, without the batch."""
    seen = []
    hooks = [m.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:]))) for m in modules]
    with torch.inference_mode():
        generator(torch.randn(1, generator.latent))
    for hook in hooks:
        hook.remove()
    return seen


def test_the_defaults_are_the_homeworks_generator():
    generator = networks.CSPupGenerator()
    assert generator.latent == 100 and parameters(generator) == 19_403_459
    stages = [generator.start, *generator.blocks, generator.end]
    assert shapes(generator, stages) == [
        (1024, 4, 4),
        (512, 8, 8),
        (256, 16, 16),
        (128, 32, 32),
        (64, 64, 64),
        (3, 128, 128),
    ]
    kinds = {type(module) for module in generator.modules()}
    assert kinds.isdisjoint({nn.BatchNorm2d, nn.LeakyReLU, nn.Upsample})  # transposed convolutions and ReLU
    assert generator.output == "relu"


def test_modulated_normalisation_reaches_every_layer():
    """Latents differ in what a layer is told: after a first step of training, in the last layer too."""
    generator = networks.CSPupGenerator(32, 0.125, normalisation="modulated", output="tanh", refined=True)
    told = [module for module in generator.modules() if isinstance(module, stylegan_parts.ModulatedBatchNorm)]
    assert len(told) == 1 + 2 * 2 + 1  # start, two blocks with two each, end
    generator(torch.randn(4, generator.latent)).square().mean().backward()
    for layer in told:
        assert layer.modulation.weight.grad.abs().max() > 0
    nn.init.ones_(told[-1].modulation.weight)
    generator.eval()
    x = generator.blocks(generator.start(torch.zeros(1, 100, 1, 1), torch.zeros(1, 100)), torch.zeros(1, 100))
    one, other = (generator.end(x, z) for z in (torch.zeros(1, 100), torch.ones(1, 100)))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_the_block_computes_what_is_drawn(upsampling):
    """Both paths by hand in float64 from the block's own weights, with H != W."""
    block = networks.CSPupBlock(8, upsampling=upsampling).double()
    x = torch.randn(3, 8, 5, 7, dtype=torch.float64)

    def up(x, layer):
        if upsampling == "nearest":
            return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        assert layer.kernel_size == (4, 4) and layer.weight.shape[:2] == (4, 4)
        return F.conv_transpose2d(x, layer.weight, layer.bias, stride=2, padding=1)

    one, _, raised, two, _, three = block.right
    assert (one.kernel_size, two.kernel_size, three.kernel_size) == ((1, 1), (3, 3), (3, 3))
    left = up(x[:, :4], block.left)
    right = F.relu(F.conv2d(x[:, 4:], one.weight, one.bias))
    right = F.relu(F.conv2d(up(right, raised), two.weight, two.bias, padding=1))
    right = F.conv2d(right, three.weight, three.bias, padding=1)
    found = block(x)
    assert found.shape == (3, 4, 10, 14) and (found - (left + right)).abs().max() < 1e-12


def test_the_first_half_of_the_channels_goes_left():
    block = networks.CSPupBlock(8)
    nn.init.zeros_(block.right[-1].weight)  # cuts the right path off
    x = torch.randn(2, 8, 4, 6, requires_grad=True)
    gradient = torch.autograd.grad(block(x).square().sum(), x)[0].abs().sum((0, 2, 3))
    assert (gradient[:4] > 0).all() and (gradient[4:] == 0).all()


def test_the_options_of_the_hypotheses_are_layers_of_the_block():
    block = networks.CSPupBlock(8, normalisation="batch", activation="leaky_relu")
    names = [type(layer).__name__ for layer in block.right]
    assert names == [
        "Conv2d",
        "BatchNorm2d",
        "LeakyReLU",
        "ConvTranspose2d",
        "Conv2d",
        "BatchNorm2d",
        "LeakyReLU",
        "Conv2d",
    ]
    assert block.right[2].negative_slope == 0.2


def test_a_refined_generator_ends_in_a_convolution_over_neighbouring_pixels():
    generator = networks.CSPupGenerator(32, 0.125, refined=True, normalisation="batch", output="tanh").eval()
    stages = [generator.blocks, *generator.end]
    expected = [(32, 16, 16), (32, 32, 32), (32, 32, 32), (32, 32, 32), (3, 32, 32)]
    assert shapes(generator, stages) == expected
    z = torch.randn(1, 100, requires_grad=True)
    seen = []
    generator.end[0].register_forward_hook(lambda _, __, out: seen.append(out))
    pixel = generator(z)[0, :, 8, 8].sum()
    reached = torch.autograd.grad(pixel, seen[0])[0][0].abs().sum(0)  # (32, 32)
    rows, columns = reached.nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 9, 7, 9)


@pytest.mark.parametrize("size", get_args(networks.Size))
@pytest.mark.parametrize("kind", [networks.CSPupGenerator, networks.DCGANGenerator])
def test_generators_draw_every_size(size, kind):
    for output in ("tanh", "relu"):
        generator = kind(size, 0.125, output=output)
        images = generator(3 * torch.randn(3, 100))
        assert images.shape == (3, 3, size, size) and images.dtype == torch.float32
        assert images.min() >= -1 and (output == "relu" or images.max() <= 1)
    images.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())


def test_the_last_activation():
    x = torch.tensor([-3.0, 0.0, 0.25, 1.0])
    assert networks.to_images(x, "relu").tolist() == [-1.0, -1.0, -0.5, 1.0]  # black at 0, white at 1
    assert torch.equal(networks.to_images(x, "tanh"), x.tanh())


@pytest.mark.parametrize("normalisation", ["batch", "spectral", "none"])
@pytest.mark.parametrize("size", get_args(networks.Size))
def test_discriminators_give_a_logit_each(size, normalisation):
    discriminator = networks.DCGANDiscriminator(size, 0.125, normalisation=normalisation)
    logits = discriminator(torch.randn(3, 3, size, size))
    assert logits.shape == (3,) and logits.dtype == torch.float32 and logits.std() > 0
    logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in discriminator.parameters())
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in discriminator.modules())
    assert norms == (size.bit_length() - 4 if normalisation == "batch" else 0)  # not after the first layer


def test_dcgan_is_that_of_its_paper():
    generator, discriminator = networks.DCGANGenerator(), networks.DCGANDiscriminator()
    convolutions = [m for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [layer.out_channels for layer in convolutions] == [1024, 512, 256, 128, 3]
    assert [layer.out_channels for layer in discriminator.layers if isinstance(layer, nn.Conv2d)] == [
        64,
        128,
        256,
        512,
        1,
    ]
    for network in (generator, discriminator):
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert abs(module.weight.mean() - 1) < 0.01 and module.weight.std() < 0.03
            elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.weight.numel() > 2000:
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_width_multiplies_channels_and_divides_parameters_by_its_square():
    full, half = networks.CSPupBlock(512), networks.CSPupBlock(256)
    assert parameters(full) / parameters(half) == pytest.approx(4, rel=0.01)
    wide, narrow = (networks.CSPupGenerator(32, width) for width in (0.5, 0.25))
    stages = lambda generator: shapes(generator, [generator.start, *generator.blocks, generator.end])
    assert stages(wide) == [(512, 4, 4), (256, 8, 8), (128, 16, 16), (3, 32, 32)]
    assert stages(narrow) == [(256, 4, 4), (128, 8, 8), (64, 16, 16), (3, 32, 32)]


def test_the_discriminators_width_multiplies_that_of_the_run():
    wide = train_gan.Config(width=0.25, discriminator_width=2.0)
    shapes = [
        [tuple(parameter.shape) for parameter in players.build_discriminator(config).parameters()]
        for config in (wide, train_gan.Config(width=0.5))
    ]
    assert shapes[0] == shapes[1]


def test_spectral_norms_stay_at_most_one_while_training():
    config = train_gan.Config(size=32, width=0.125, discriminator_normalisation="spectral", loss="hinge")
    discriminator = players.build_discriminator(config)
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-3, betas=(0.0, 0.9))
    real, fake = torch.rand(8, 3, 32, 32), -torch.rand(8, 3, 32, 32)
    before = discriminator.layers[0].weight.detach().clone()
    for _ in range(30):
        loss = train_gan.discriminator_loss(config, discriminator(real), discriminator(fake)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    layers = [layer for layer in discriminator.layers if isinstance(layer, nn.Conv2d)]
    for _ in range(30):  # forward passes settle the power iteration
        discriminator(real)
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item()
        assert 0.99 < largest < 1.01
    assert (layers[0].weight - before).abs().max() > 0.01  # it did learn


def test_the_discriminator_is_told_how_much_images_differ():
    layer = MinibatchDeviation()
    x = torch.randn(8, 5, 3, 2, dtype=torch.float64)
    told = layer(x)
    assert told.shape == (8, 6, 3, 2) and torch.equal(told[:, :5], x)
    for first in range(2):  # images n, n + 2, n + 4, n + 6 are a group
        by_hand = x[first::2].std(0, correction=0).mean()
        assert (told[first::2, 5] - by_hand).abs().max() < 1e-6  # float32 inside
    alike = layer(x[:1].expand(4, -1, -1, -1))[:, 5]
    assert alike.max() <= 1.0001e-4  # the root of 1e-8, which keeps gradients finite
    assert layer(x[:3])[:, 5].unique().numel() == 1  # no four: all of them
    discriminator = networks.DCGANDiscriminator(32, 0.125, normalisation="none", minibatch_deviation=True)
    images = torch.randn(1, 3, 32, 32).expand(4, -1, -1, -1).clone().requires_grad_()
    discriminator(images).sum().backward()
    assert images.grad.isfinite().all()


def test_spectral_normalisation_is_computed_once_for_real_and_fake():
    discriminator = networks.DCGANDiscriminator(32, 0.125, normalisation="spectral")
    images = torch.randn(4, 3, 32, 32)
    real, fake = players.RealAndFake(discriminator)(images, images)
    assert torch.equal(real, fake)  # the power iteration did not move in between


def test_judging_real_and_fake_together_is_judging_each():
    discriminator = networks.DCGANDiscriminator(32, 0.125)
    real, fake = torch.randn(2, 4, 3, 32, 32)
    both = players.RealAndFake(discriminator)(real, fake)
    alone = discriminator(real), discriminator(fake)
    assert torch.equal(both[0], alone[0]) and torch.equal(both[1], alone[1])
    mixed = discriminator(torch.cat([real, fake]))
    assert not torch.allclose(mixed[:4], alone[0])  # batch statistics would mix


def test_the_table_of_shapes_names_every_parameter(capsys):
    networks.main(networks.Config(size=64, width=0.25))
    text = capsys.readouterr().out
    for kind in (networks.CSPupGenerator, networks.DCGANGenerator, networks.DCGANDiscriminator):
        table = text.split(f"{kind.__name__}, 64 pixels, width 0.25\n")[1].split("\n\n")[0].splitlines()
        rows = [int(line.split()[-1].replace(",", "")) for line in table]
        assert sum(rows[:-1]) == rows[-1] == parameters(kind(64, 0.25))
    assert "128x8x8" in text and "3x64x64" in text


# ---- mistakes


@pytest.mark.parametrize("size", [48, 0, 16, 256])
def test_sizes_there_are_none_of(size):
    with pytest.raises(InputError, match=f"--size {size}: must be 32, 64 or 128"):
        command_line.checked(networks.Config(size=size))


@pytest.mark.parametrize("width", [0.3, 0.0, -1.0, 0.001, 0.0009765625])
def test_widths_that_do_not_halve(width):
    for kind in (networks.CSPupGenerator, networks.DCGANGenerator):
        with pytest.raises(InputError, match=f"--width {width}: .* use 1, 1/2"):
            kind(128, width)


def test_a_block_needs_an_even_number_of_channels():
    with pytest.raises(ValueError, match="in_channels 7"):
        networks.CSPupBlock(7)
