"""Checks of theory/{en,ru}/gan.md, spectral normalisation, and layers.md, transposed convolution and CSPup.

Against hw2_gan/networks.py, hw2_gan/transposed_convolution.py and torch, in float64.
"""

import itertools
import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hw2_gan import networks, transposed_convolution
from theory.checks.draws import normal
from theory.printed import printed
from theory.tags import verifies

PAGES = [Path(__file__).parents[1] / language / "layers.md" for language in ("en", "ru")]


def matrix_of(layer, *shape: int) -> Tensor:
    """The matrix (outputs, inputs) of a linear layer on one image (C, H, W)."""
    size = math.prod(shape)
    return layer(torch.eye(size, dtype=torch.float64).view(size, *shape)).flatten(1).T


# ---- spectral normalisation


@verifies("gan.12")
def test_power_iteration_and_the_gradient_of_the_norm():
    printed(r"""
        \bar W = \frac{W}{\sigma_1(W)} ,
        \qquad
        \lVert D \rVert_{\mathrm{L}} \le \prod_{i} \lVert \bar W_i \rVert = 1 ,
        \qquad
        u \leftarrow \frac{W v}{\lVert W v \rVert} ,
        \quad
        v \leftarrow \frac{W^\top u}{\lVert W^\top u \rVert} ,
        \quad
        \sigma_1 \approx u^\top W v
        \tag{gan.12}
    """)
    weight = torch.tensor([[3.0, 0.0], [4.0, 5.0]], dtype=torch.float64, requires_grad=True)
    values = torch.linalg.svdvals(weight)
    assert values.tolist() == pytest.approx([6.708, 2.236], abs=5e-4)
    estimates, v = [], torch.tensor([1.0, 0.0], dtype=torch.float64)
    for _ in range(6):
        u = F.normalize(weight.detach() @ v, dim=0)
        v = F.normalize(weight.detach().T @ u, dim=0)
        estimates.append((u @ weight.detach() @ v).item())
    assert estimates[0] == pytest.approx(6.403, abs=5e-4) and estimates[2] == pytest.approx(6.708, abs=5e-4)
    errors = [values[0].item() - estimate for estimate in estimates]
    assert all(error > 0 for error in errors)  # from below
    assert errors[3] / errors[2] == pytest.approx((values[1] / values[0]).item() ** 4, rel=0.05)
    torch.testing.assert_close(
        torch.autograd.grad(values[0], weight)[0], torch.outer(u, v), atol=1e-5, rtol=0
    )


@verifies("gan.12")
def test_the_discriminator_divides_every_weight_by_its_largest_singular_value_and_keeps_the_bound():
    torch.manual_seed(0)
    discriminator = networks.DCGANDiscriminator(32, 0.125, normalisation="spectral").double()
    layers = [layer for layer in discriminator.layers if isinstance(layer, nn.Conv2d)]
    for layer in layers:
        before = layer.parametrizations.weight.original.detach()
        with torch.no_grad():
            for _ in range(500):  # one pass of the power iteration each
                weight = layer.weight
        torch.testing.assert_close(
            weight, before / torch.linalg.svdvals(before.flatten(1))[0], rtol=1e-3, atol=0
        )
    discriminator.eval()
    images = normal(8, 3, 32, 32).requires_grad_()
    score = discriminator.layers(images).flatten()
    (gradient,) = torch.autograd.grad(score.sum(), images)
    bound = math.prod(math.ceil(layer.kernel_size[0] / layer.stride[0]) for layer in layers[:-1])
    assert 0 < gradient.flatten(1).norm(dim=1).max() <= bound  # the last layer sees a single patch


@verifies("gan.12")
@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (3, 1), (2, 2), (5, 2)])
def test_how_far_a_convolution_stretches_beyond_the_norm_of_its_reshaped_kernel(kernel, stride):
    for seed in range(3):
        weight = normal(3, 2, kernel, kernel, seed=seed)
        weight = weight / torch.linalg.svdvals(weight.flatten(1))[0]
        operator = matrix_of(lambda x, w=weight: F.conv2d(x, w, stride=stride, padding=1), 2, 9, 9)
        assert torch.linalg.svdvals(operator)[0] <= math.ceil(kernel / stride) + 1e-9
    flat = torch.full(
        (1, 1, kernel, kernel), 1 / kernel, dtype=torch.float64
    )  # norm 1: nearly the worst case
    operator = matrix_of(lambda x: F.conv2d(x, flat, stride=stride, padding=1), 1, 24, 24)
    assert torch.linalg.svdvals(operator)[0] > 0.9 * kernel / stride


# ---- transposed convolution

SETTINGS = [
    (k, s, p, d)
    for k, s, p, d in itertools.product((1, 2, 3, 4, 5), (1, 2, 3), (0, 1, 2), (1, 2))
    if p <= d * (k - 1)
]


@verifies("gan.18")
@pytest.mark.parametrize(("k", "s", "p", "d"), SETTINGS[::7])
def test_transposed_convolution_is_the_transposed_matrix(k, s, p, d):
    printed(r"""
        \mathrm{conv}(x) = C x ,
        \qquad
        \mathrm{conv}^\top(y) = C^\top y ,
        \qquad
        \langle C x , \, y \rangle = \langle x , \, C^\top y \rangle
        \tag{gan.18}
    """)
    size = 12
    taps = normal(k)
    matrix = transposed_convolution.convolution_matrix(taps, size, s, p, d)
    small = len(matrix)
    smallest = transposed_convolution.transposed_size(small, k, s, p, 0, d)
    y = normal(small, seed=1)
    options = {"stride": s, "padding": p, "dilation": d}
    back = F.conv_transpose1d(
        y[None, None], taps[None, None], output_padding=size - smallest, **options
    )[0, 0]  # fmt: skip
    torch.testing.assert_close(back, matrix.T @ y)
    weight = normal(3, 2, k, k, seed=2)  # two channels to three; the same weight serves both ways
    x, g = normal(1, 2, size, size, seed=3), normal(1, 3, small, small, seed=4)
    forth = F.conv2d(x, weight, **options)
    back = F.conv_transpose2d(g, weight, output_padding=size - smallest, **options)
    assert (forth * g).sum().item() == pytest.approx((x * back).sum().item())  # <C x, y> = <x, C^T y>


@verifies("gan.18")
def test_zeros_between_a_flipped_kernel_and_the_example():
    taps, y = torch.tensor([[[1.0, 2, 3]]]).double(), torch.tensor([[[10.0, 1]]]).double()
    assert F.conv_transpose1d(y, taps, stride=2).flatten().tolist() == [10, 20, 31, 2, 3]
    k, s, p, d = 4, 3, 1, 2
    weight, y = normal(1, 1, k), normal(1, 1, 6, seed=1)
    stuffed = F.pad(y[..., None], (0, s - 1)).flatten(2)[..., : -(s - 1)]
    by_hand = F.conv1d(stuffed, weight.flip(2), padding=d * (k - 1) - p, dilation=d)
    torch.testing.assert_close(by_hand, F.conv_transpose1d(y, weight, stride=s, padding=p, dilation=d))
    matrix = transposed_convolution.convolution_matrix(normal(4), 8, 2, 1)
    assert (matrix.T @ matrix - torch.eye(8)).abs().max() > 0.1  # no inverse


@verifies("gan.19")
@pytest.mark.parametrize(("k", "s", "p", "d"), SETTINGS)
def test_output_sizes(k, s, p, d):
    shrunk, grown = printed(r"""
        H_{\mathrm{conv}} = «shrunk» ,
        \qquad
        H_{\mathrm{transposed}} = «grown»
        \tag{gan.19}
    """)
    convolution = nn.Conv1d(1, 1, k, stride=s, padding=p, dilation=d)
    small = transposed_convolution.convolution_size(14, k, s, p, d)
    assert convolution(torch.zeros(1, 1, 14)).shape[-1] == small
    for extra in range(s):
        transposed = nn.ConvTranspose1d(1, 1, k, stride=s, padding=p, output_padding=extra, dilation=d) \
            if extra < max(s, d) else None  # fmt: skip
        large = transposed_convolution.transposed_size(small, k, s, p, extra, d)
        assert transposed(torch.zeros(1, 1, small)).shape[-1] == large
        assert transposed_convolution.convolution_size(large, k, s, p, d) == small  # the way back
    symbols = {"k": k, "s": s, "p": p, "d": d}
    assert shrunk(H=14, **symbols) == small
    assert grown(H=small, o=s - 1, **symbols) == large


@verifies("gan.19")
def test_the_table_of_settings():
    size = transposed_convolution.transposed_size
    assert size(1, 4, 1, 0, 0) == 4
    for setting in [(4, 2, 1, 0), (3, 2, 1, 1), (5, 2, 2, 1), (2, 2, 0, 0)]:
        assert all(size(n, *setting) == 2 * n for n in range(1, 20)), setting
    assert size(7, 3, 1, 1, 0) == 7
    assert networks.upsample(2, "transposed")(torch.zeros(1, 2, 5, 7)).shape == (1, 2, 10, 14)


# ---- checkerboards


@verifies("gan.20")
@pytest.mark.parametrize(("k", "s"), itertools.product(range(1, 8), range(1, 5)))
def test_taps_per_position(k, s):
    (taps,) = printed(r"""
        c(n) = «taps» ,
        \qquad
        r = (n + p) \bmod s ;
        \qquad
        c \text{ is constant} \iff s \text{ divides } k
        \tag{gan.20}
    """)
    padding = min(1, k - 1)
    counts = transposed_convolution.tap_counts(20, k, s, padding)
    inside = range(k + s, len(counts) - k - s)
    along = torch.tensor([math.ceil((k - (n + padding) % s) / s) for n in range(len(counts))])
    along = along[inside.start : inside.stop].float()
    found = counts[inside.start : inside.stop, inside.start : inside.stop]
    assert len(found) >= s and torch.equal(found, torch.outer(along, along))
    assert (len(found.unique()) == 1) == (k % s == 0)
    as_printed = taps(k=k, s=s, r=(torch.arange(len(counts)) + padding) % s)
    assert torch.equal(as_printed[inside.start : inside.stop], along.double())


@verifies("gan.20")
def test_random_weights_show_the_pattern_and_upsampling_with_a_convolution_does_not():
    ones, weights = torch.ones(1, 50, 6, 6).double(), normal(50, 3000, 3, 3) / 50**0.5
    variance = F.conv_transpose2d(ones, weights, stride=2)[0, :, 4:8, 4:8].var(0)
    counts = transposed_convolution.tap_counts(6, 3, 2)[4:8, 4:8].double()
    torch.testing.assert_close(variance, counts, rtol=0.15, atol=0)
    inside = transposed_convolution.upsampled_tap_counts(6)[1:-1, 1:-1]
    assert inside.unique().tolist() == [9]
    for kernel, stride, found in ((3, 2, {1, 2, 4}), (5, 2, {4, 6, 9}), (4, 2, {4}), (4, 4, {1})):
        counts = transposed_convolution.tap_counts(9, kernel, stride)
        assert {int(c) for c in transposed_convolution.interior(counts, kernel).flatten()} == found


@verifies("gan.18", "gan.20")
def test_upsampling_and_a_convolution_are_a_transposed_convolution_with_tied_weights():
    x, weight = normal(2, 3, 5, 4), normal(4, 3, 3, 3, seed=1)
    expected = F.conv2d(networks.upsample(3, "nearest")(x), weight, padding=1)
    box = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    flipped = weight.flip(2, 3).transpose(0, 1)  # (in, out, 3, 3)
    tied = F.conv2d(flipped.reshape(12, 1, 3, 3), box, padding=1).view(3, 4, 4, 4)  # box * flipped: 4 x 4
    torch.testing.assert_close(F.conv_transpose2d(x, tied, stride=2, padding=1), expected)


# ---- CSPup


def block(channels: int, upsampling: str) -> networks.CSPupBlock:
    return networks.CSPupBlock(channels, upsampling=upsampling)


def cost(channels: int, kappa: int, pixels: int) -> tuple[int, int]:
    """(parameters, multiply-adds), eq. (gan.21)."""
    half, biases = channels // 2, 5 if kappa else 3
    return (19 + 2 * kappa**2) * half**2 + biases * half, (73 + 2 * kappa**2) * half**2 * pixels


@verifies("gan.21")
@pytest.mark.parametrize(("upsampling", "kappa"), [("nearest", 0), ("transposed", 4)])
@pytest.mark.parametrize("channels", [8, 64, 256])
def test_parameters_and_multiply_adds_of_the_block(channels, upsampling, kappa):
    weights, products = printed(r"""
        y = U x_{\mathrm{left}} + R(x_{\mathrm{right}}) ,
        \quad
        \mathrm{params} = «weights» ,
        \quad
        \mathrm{MACs} = «products» ,
        \quad
        \frac{\partial L}{\partial x} = \bigl( U^\top g , \; J_R^\top g \bigr)
        \tag{gan.21}
    """)
    module = block(channels, upsampling)
    parameters, macs = cost(channels, kappa, 5 * 6)
    assert sum(p.numel() for p in module.parameters()) == parameters
    counter = FlopCounterMode(display=False)
    with counter:
        assert module(torch.zeros(1, channels, 5, 6)).shape == (1, channels // 2, 10, 12)
    assert counter.get_total_flops() == 2 * macs
    symbols = {"kappa": kappa, "h": channels // 2, "b": 5 if kappa else 3, "H": 5, "W": 6}
    assert weights(**symbols) == parameters and products(**symbols) == macs


@verifies("gan.21")
@pytest.mark.parametrize("page", PAGES, ids=["en", "ru"])
def test_the_pages_table_of_parameters(page):
    rows = re.findall(r"^\| (\d+) → (\d+) \| (.+) \|$", page.read_text(encoding="utf-8"), re.M)
    numbers = [[int(re.sub(r"\D", "", cell)) for cell in cells.split("|")] for *_, cells in rows]
    widths = [int(row[0]) for row in rows]
    plain = lambda c: sum(p.numel() for p in nn.ConvTranspose2d(c, c // 2, 4, device="meta").parameters())
    assert widths == [1024, 512, 256, 128]
    assert numbers == [[cost(c, 0, 1)[0], cost(c, 4, 1)[0], plain(c)] for c in widths]
    assert [cost(c, 4, 4096 * 1024 // c**2 * 4)[1] for c in widths][1:] == [cost(1024, 4, 16)[1]] * 3
    assert pytest.approx([0.6, 1.6, 2.3, 3.3], abs=0.05) == [19 / 32, 51 / 32, 73 / 32, 105 / 32]


@verifies("gan.21")
@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
def test_both_gradient_paths(upsampling):
    torch.manual_seed(0)
    module, x = block(6, upsampling).double(), normal(2, 6, 3, 4).requires_grad_()
    y, g = module(x), normal(2, 3, 6, 8, seed=1)
    left, right = torch.autograd.grad((y * g).sum(), x)[0].chunk(2, 1)
    x_left, x_right = (part.detach().requires_grad_() for part in x.chunk(2, 1))
    torch.testing.assert_close(left, torch.autograd.grad((module.left(x_left) * g).sum(), x_left)[0])
    torch.testing.assert_close(right, torch.autograd.grad((module.right(x_right) * g).sum(), x_right)[0])
    if upsampling == "nearest":  # sums of squares of four, whatever the right path does
        torch.testing.assert_close(left, 4 * F.avg_pool2d(g, 2))
        assert left.norm() <= 2 * g.norm()


@verifies("gan.21")
def test_the_chain_of_left_paths_enlarges_the_first_channels():
    chain = nn.Sequential(*(block(channels, "nearest") for channels in (64, 32, 16, 8))).double()
    for module in chain:
        nn.init.zeros_(module.right[-1].weight)
        nn.init.zeros_(module.right[-1].bias)
    x = normal(1, 64, 2, 2)  # 64 -> 4 channels, as 1024 -> 64
    torch.testing.assert_close(chain(x), F.interpolate(x[:, :4], scale_factor=16))
