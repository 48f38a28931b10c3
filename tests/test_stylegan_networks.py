"""StyleGAN2's networks: the scaling form against the papers', filters, layers, noise, truncation, labels."""

import itertools

from common import modulation, resampling
from common.errors import InputError

import pytest
import torch
import torch.nn.functional as F
from scipy.signal import upfirdn
from torch import Tensor, nn

from hw3_stylegan_sampling.discriminator import Convolution, Discriminator, ResidualBlock
from hw3_stylegan_sampling.networks import Architecture, Generator, Linear, StyledLayer

SMALL = Architecture(size=16, channels=(12, 10, 8), z_dim=6, w_dim=7, mapping_layers=2)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def grouped_convolution(x: Tensor, weight: Tensor, style: Tensor, up: bool) -> Tensor:
    """The papers' form: weights of its own for every image, demodulated, in one convolution with B groups."""
    count, inputs, height, width = x.shape
    own = weight[None] * style[:, None, :, None, None]  # (B, O, I, k, k)
    own = own * (own.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    side_by_side = x.reshape(1, count * inputs, height, width)
    if up:
        kernels = own.transpose(1, 2).flatten(0, 1)  # (B I, O, k, k)
        out = F.conv_transpose2d(side_by_side, kernels, stride=2, groups=count)
        out = resampling.blur(out, padding=1, gain=4)
    else:
        out = F.conv2d(side_by_side, own.flatten(0, 1), padding=1, groups=count)
    return out.unflatten(1, (count, -1))[0]


@pytest.mark.parametrize("up", [False, True])
def test_scaling_input_and_output_is_the_grouped_form_with_gradients_of_both_orders(up):
    """Sums of the same float64 numbers in another order; both orders of the gradient as R1 and path lengths
    take them."""
    x = torch.randn(3, 5, 6, 4, dtype=torch.float64)
    weight, style = torch.randn(7, 5, 3, 3, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    target = torch.randn(3, 7, 12 if up else 6, 8 if up else 4, dtype=torch.float64)

    def scaled(x, weight, style):
        scale = modulation.demodulation(weight, style)[:, :, None, None]
        return modulation.modulated_convolution(x, weight, style, up=up) * scale

    results = []
    for form in (scaled, lambda *given: grouped_convolution(*given, up)):
        given = [part.clone().requires_grad_() for part in (x, weight, style)]
        out = form(*given)
        first = torch.autograd.grad((out.sin() * target).sum(), given, create_graph=True)
        second = torch.autograd.grad(sum(part.square().sum() for part in first), given)
        results.append([out, *first, *second])
    for ours, theirs in zip(*results, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() < 1e-9 * theirs.abs().max()


def along_both(x: Tensor, up: int = 1, down: int = 1, gain: float = 1.0) -> Tensor:
    """[1, 3, 3, 1] / 8 along both directions by SciPy, whole (nothing cut off)."""
    line = gain * torch.tensor([1.0, 3.0, 3.0, 1.0]).double().numpy() / 8
    once = upfirdn(line, x.numpy(), up=up, down=down, axis=-1)
    return torch.from_numpy(upfirdn(line, once, up=up, down=down, axis=-2))


def test_resampling_is_zeros_filter_and_every_second_pixel():
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    whole = along_both(x, up=2, gain=2)  # (2, 3, 14, 12)
    assert (resampling.upsample(x) - whole[:, :, 1:-1, 1:-1]).abs().max() < 1e-12
    assert (resampling.blur(x, padding=2) - along_both(x)[:, :, 1:-1, 1:-1]).abs().max() < 1e-12
    kept = along_both(x)[:, :, 2:-2:2, 2:-2:2]
    assert (resampling.blur(x, padding=1, stride=2) - kept).abs().max() < 1e-12


def test_enlarging_keeps_grey_levels_and_a_checkerboard_does_not_survive_the_filter():
    grey = resampling.upsample(torch.full((1, 3, 8, 8), 0.7))
    assert torch.allclose(grey[:, :, 1:-1, 1:-1], torch.tensor(0.7))
    board = torch.ones(1, 1, 8, 8)
    board[..., ::2, 1::2] = board[..., 1::2, ::2] = -1
    assert resampling.blur(board, padding=0).abs().max() < 1e-7


@pytest.mark.parametrize(("size", "layers"), [(8, 4), (16, 6), (64, 10)])
def test_generators_draw_every_size_with_so_many_layers(size, layers):
    channels = (9, 8, 7, 6, 5)[: size.bit_length() - 2]
    generator = Generator(Architecture(size=size, channels=channels, z_dim=6, w_dim=7, mapping_layers=3))
    ws = generator.styles(torch.randn(3, 6))
    assert ws.shape == (3, layers, 7) and generator.layers == layers
    images = generator.synthesis(ws)
    assert images.shape == (3, 3, size, size)
    images.square().mean().backward()
    strengths = {name for name, _ in generator.named_parameters() if name.endswith("noise_strength")}
    for name, parameter in generator.named_parameters():
        assert parameter.grad.isfinite().all() and (parameter.grad.abs().max() > 0 or name in strengths)


def test_each_style_layer_acts_at_its_own_size():
    """A block's image is made by the styles up to its own; that one also enlarges the block after."""
    generator, seen = Generator(SMALL), []
    for block in generator.synthesis.blocks:
        block.register_forward_hook(lambda _, __, out: seen.append(out))
    ws = torch.randn(1, generator.layers, 7, requires_grad=True)
    generator.synthesis(ws)
    for k, (features, image) in enumerate(seen):
        for output, last in ((features, 2 * k), (image, 2 * k + 1)):
            reached = torch.autograd.grad(output.square().sum(), ws, retain_graph=True)[0][0].abs().sum(1) > 0
            assert reached.tolist() == [layer <= last for layer in range(generator.layers)]


def test_the_image_is_the_sum_of_its_parts_enlarged():
    generator, parts = Generator(SMALL), []
    for block in generator.synthesis.blocks:
        block.to_image.register_forward_hook(lambda _, __, out: parts.append(out))
    images = generator.synthesis(torch.randn(2, generator.layers, 7))
    total = parts[0]
    for part in parts[1:]:
        total = resampling.upsample(total) + part
    assert torch.equal(images, total)


def test_demodulation_gives_every_channel_variance_one():
    """For inputs of variance 1 that know nothing of one another; 40,000 places a channel: within 3 %."""
    layer = StyledLayer(32, 6, 200, Architecture(w_dim=4))
    style = 3 * torch.randn(1, 32)
    x = torch.randn(1, 32, 200, 200)
    x = (
        modulation.modulated_convolution(x, layer.weight, style)
        * modulation.demodulation(layer.weight, style)[:, :, None, None]
    )
    inside = x[0, :, 1:-1, 1:-1]
    assert (inside.std((1, 2)) - 1).abs().max() < 0.03


def test_a_styled_layer_is_convolution_then_noise_bias_and_a_leaky_relu():
    """The gain is applied early; by hand it comes last, as in the papers."""
    layer = StyledLayer(5, 4, 8, Architecture(w_dim=7, clamp=0.5), up=True)
    nn.init.normal_(layer.bias)
    nn.init.constant_(layer.noise_strength, 0.7)
    x, w = torch.randn(3, 5, 4, 4), torch.randn(3, 7)
    style = w @ layer.affine.weight.T / 7**0.5 + layer.affine.bias
    assert torch.equal(layer.affine.bias, torch.ones(5))  # at first no style scales by about 0
    by_hand = (
        grouped_convolution(x, layer.weight, style, True) + 0.7 * layer.noise + layer.bias[:, None, None]
    )
    by_hand = (F.leaky_relu(by_hand, 0.2) * 2**0.5).clamp(-0.5, 0.5)
    assert (layer(x, w, "const") - by_hand).abs().max() < 1e-5


def test_noise_modes():
    generator = Generator(SMALL)
    ws = generator.styles(torch.randn(2, 6))
    draw = lambda mode: generator.synthesis(ws, mode)
    assert torch.equal(draw("none"), draw("random"))  # strengths begin at 0
    for block in generator.synthesis.blocks:
        nn.init.ones_(block.second.noise_strength)
    none, const, random = draw("none"), draw("const"), draw("random")
    assert torch.equal(const, draw("const"))
    assert not torch.equal(random, draw("random"))
    for one, other in itertools.combinations((none, const, random), 2):
        assert (one - other).abs().max() > 0.01
    quiet = Generator(Architecture(**{**vars(SMALL), "noise": False}))
    assert torch.equal(quiet.synthesis(ws, "random"), quiet.synthesis(ws, "none"))
    assert not any("noise" in name for name in quiet.state_dict())


def test_random_noise_differs_between_images():
    generator = Generator(SMALL)
    nn.init.ones_(generator.synthesis.blocks[-1].second.noise_strength)
    one, other = generator.synthesis(generator.styles(torch.randn(1, 6)).expand(2, -1, -1), "random")
    assert (one - other).abs().max() > 0.01


def test_truncation_with_psi_and_cutoff():
    generator = Generator(SMALL)
    generator.w_mean.normal_()
    z = torch.randn(3, 6)
    ws, mean = generator.styles(z), generator.w_mean
    assert torch.allclose(generator.styles(z, psi=0.0), mean.expand(3, 6, -1))
    assert torch.allclose(generator.styles(z, psi=-0.5), mean - 0.5 * (ws - mean), atol=1e-6)
    near = generator.styles(z, psi=0.5, cutoff=2)
    assert torch.allclose(near[:, :2], (ws + mean)[:, :2] / 2, atol=1e-6) and torch.allclose(
        near[:, 2:], ws[:, 2:]
    )
    images = generator(z, psi=0.5)
    assert torch.equal(images, generator.synthesis(generator.styles(z, psi=0.5)))


def test_the_mean_w_is_that_of_many_latents():
    generator = Generator(SMALL)
    generator.estimate_w_mean(20_000, seed=3)
    other = generator.mapping(torch.randn(20_000, 6)).detach()
    error = other.std(0) * (2 / 20_000) ** 0.5
    assert ((other.mean(0) - generator.w_mean) / error).abs().max() < 4


def test_w_depends_on_the_direction_of_z_alone():
    mapping = Generator(SMALL).mapping
    z = torch.randn(4, 6)
    assert torch.allclose(mapping(z), mapping(5 * z), atol=1e-5)
    assert not torch.allclose(mapping(z), mapping(-z), atol=1e-2)


def test_a_layer_scales_its_weights_when_used():
    """At first the output has the input's variance, and one step of Adam changes what is used by rate / the
    root of the inputs."""
    layer = Linear(400, 300, rate=0.01)
    x = torch.randn(200, 400)
    assert layer(x).std().item() == pytest.approx(1, rel=0.05)
    assert layer.weight.std().item() == pytest.approx(100, rel=0.05)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.5, betas=(0.0, 0.99))
    before = layer.weight.detach() * layer.scale
    layer(x).square().sum().backward()  # far above Adam's epsilon
    optimizer.step()
    moved = (layer.weight.detach() * layer.scale - before).abs()
    assert moved.mean().item() == pytest.approx(0.5 * 0.01 / 400**0.5, rel=0.01)


def test_signals_keep_their_size_through_both_networks():
    convolution, block = Convolution(32, 48, 3), ResidualBlock(32, 32)
    x = torch.randn(4, 32, 32, 32)
    assert convolution(x).square().mean().item() == pytest.approx(1, rel=0.2)
    smooth = F.interpolate(torch.randn(4, 32, 4, 4), 64, mode="bicubic")
    assert 0.3 < block(smooth).square().mean() / smooth.square().mean() < 3


def test_a_residual_block_is_two_paths_over_root_two():
    block = ResidualBlock(6, 8).double()
    nn.init.normal_(block.first.bias)
    nn.init.normal_(block.second.bias)
    x = torch.randn(3, 6, 12, 8, dtype=torch.float64)
    leaky = lambda x: F.leaky_relu(x, 0.2) * 2**0.5
    first = leaky(F.conv2d(x, block.first.weight / 54**0.5, block.first.bias, padding=1))
    second = F.conv2d(resampling.blur(first, padding=2), block.second.weight / 54**0.5, stride=2)
    second = leaky(second + block.second.bias[:, None, None])
    skip = F.conv2d(resampling.blur(x, padding=1, stride=2), block.skip.weight / 6**0.5)
    assert (block(x) - (skip + second) / 2**0.5).abs().max() < 1e-12 and block(x).shape == (3, 8, 6, 4)


@pytest.mark.parametrize("size", [8, 32])
def test_the_discriminator_gives_a_logit_each(size):
    discriminator = Discriminator((12, 10, 8, 6)[: size.bit_length() - 2])
    logits = discriminator(torch.randn(3, 3, size, size))
    assert logits.shape == (3,) and logits.std() > 0
    logits.sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in discriminator.parameters())


def test_the_discriminator_judges_an_image_together_with_its_labels():
    discriminator = Discriminator((8, 8), options=(2, 3))
    images = torch.randn(4, 3, 8, 8)
    labels = torch.tensor([[1.0, 0, 0, 1, 0], [0, 1, 0, 0, 1], [0, 1, 1, 0, 0], [1, 0, 1, 0, 0]])
    plain = discriminator(images)
    seen = []
    discriminator.out.register_forward_hook(lambda _, __, out: seen.append(out))
    logits = discriminator(images, labels)
    expected = seen[0][:, 0] + (seen[0][:, 1:] * labels).sum(1) / 2**0.5
    assert torch.allclose(logits, expected) and torch.allclose(plain, seen[0][:, 0])


def test_the_last_numbers_of_z_choose_the_labels():
    shape = Architecture(**{**vars(SMALL), "z_dim": 8, "options": (2, 4)})
    generator = Generator(shape)
    z = torch.randn(3, 8)
    z[:, 6:] = torch.tensor([[-1.0, -2.0], [0.5, 0.1], [3.0, 9.0]])
    labels = generator.mapping.labels(z)
    assert labels.tolist() == [[1, 0, 1, 0, 0, 0], [0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1]]
    assert torch.equal(generator.styles(z), generator.styles(z, labels))
    z[:, 6:] = torch.tensor([[-0.1, -3.0], [0.9, 0.2], [1.0, 2.0]])  # the same options
    assert torch.equal(generator.styles(z), generator.styles(z, labels))
    assert not torch.allclose(generator.styles(z), generator.styles(z, labels.flip(0)))


def test_classes_are_read_from_label_vectors():
    generator = Generator(Architecture(**{**vars(SMALL), "classes": 3, "embedding": 5}))
    z = torch.randn(1, 6).expand(3, -1)
    ws = generator.styles(z, torch.eye(3))
    assert not torch.allclose(ws[0], ws[1]) and not torch.allclose(ws[1], ws[2])


def test_bfloat16_and_channels_last_draw_the_same_images():
    """bfloat16 has 8 bits: a few hundredths on images of about 1."""
    generator, discriminator = Generator(SMALL), Discriminator(SMALL.channels)
    ws = generator.styles(torch.randn(2, 6))
    images, logits = generator.synthesis(ws), discriminator(torch.ones(2, 3, 16, 16))
    for network in (generator, discriminator):
        network.to(memory_format=torch.channels_last)
    assert torch.allclose(generator.synthesis(ws), images, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        near, judged = generator.synthesis(ws), discriminator(torch.ones(2, 3, 16, 16))
    assert near.dtype == judged.dtype == torch.float32
    assert (near - images).abs().max() < 0.05 * images.abs().max()
    assert (judged - logits).abs().max() < 0.1


@pytest.mark.parametrize(
    ("change", "said"),
    [({"size": 48}, "--size 48"), ({"size": 4}, "--size 4"), ({"size": 32}, "--size 32 needs 4")],
)
def test_shapes_that_no_generator_has_are_refused(change, said):
    with pytest.raises(InputError, match=said):
        Generator(Architecture(**{**vars(SMALL), **change}))
