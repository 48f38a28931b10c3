"""Checks of theory/{en,ru}/bayes.md, pixels, against hw1_bayes_and_autoencoders/pixel_*.py.

Float64 identities; Monte Carlo by z-scores, |z| < 4.5, with fixed seeds.
"""

import itertools
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from hw1_bayes_and_autoencoders import bayes_styles, pixel_chain, pixel_models
from hw1_bayes_and_autoencoders.style_counts import read_counts
from theory.checks.draws import Z
from theory.printed import printed
from theory.tags import verifies

PRECISION = 1e-7  # of the chain's probabilities, part of which is single precision
COUNTS = read_counts(Path(bayes_styles.__file__).with_name("style_counts.toml"))
HAIR = COUNTS[0].counts


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- independent pixels


def eleven_images(height: int = 5, width: int = 7) -> torch.Tensor:
    """uint8 (11, 3, H, W) in which neighbours go together: stripes of a few colours, shifted."""
    rows = (
        torch.arange(11)[:, None, None, None] + torch.arange(height)[:, None] // 2 + torch.arange(width) // 3
    )
    return (rows * torch.tensor([40, 70, 110])[:, None, None] % 256).to(torch.uint8)


@verifies("bayes.5", "bayes.7")
@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_channels_are_drawn_independently_with_smoothed_frequencies(alpha):
    printed(r"""
        p(x) = \prod_{k=1}^{K} \theta_{k, x_k} ,
        \qquad
        \hat\theta_{k, v} = \frac{n_{k, v}}{N}
        \tag{bayes.7}
    """)
    images, n = eleven_images(2, 2), 20_000
    model = pixel_models.PixelTables(images, alpha=alpha)
    drawn = model.sample(n, generator()).flatten(1).long()
    for k in range(12):
        counts = torch.bincount(images.flatten(1)[:, k].long(), minlength=256).tolist()
        theta = np.array([float(p) for p in bayes_styles.additive_smoothing(counts, alpha)])
        observed = torch.bincount(drawn[:, k], minlength=256).numpy()
        assert (observed[theta == 0] == 0).all()
        possible = theta > 0
        chi_squared = ((observed - n * theta) ** 2)[possible] / (n * theta[possible])
        freedom = possible.sum() - 1
        assert chi_squared.sum() < freedom + Z * math.sqrt(2 * freedom) + 15
    centred = drawn.double() - drawn.double().mean(0)
    correlation = (centred.T @ centred / n) / centred.pow(2).mean(0).sqrt().outer(
        centred.pow(2).mean(0).sqrt()
    )
    assert (correlation - torch.eye(12)).abs().max() < Z / math.sqrt(n)
    one_of_each = model.log2_probability(images[:1])
    expected = sum(
        math.log2((int((images[:, c, 0, 0] == images[0, c, 0, 0]).sum()) + alpha) / (11 + 256 * alpha))
        for c in range(3)
    )
    assert one_of_each[0, 0, 0].item() == pytest.approx(expected, abs=1e-12)


@verifies("bayes.8")
def test_joint_colours_invent_no_colour_and_keep_their_frequencies():
    printed(r"""
        p(x) = \prod_{i=1}^{HW} \varphi_{i, x_i} ,
        \qquad
        \hat\varphi_{i, c} = \frac{n_{i, c}}{N} ,
        \qquad
        c = (r, g, b)
        \tag{bayes.8}
    """)
    images, n = eleven_images(2, 3), 20_000
    drawn = pixel_models.pack(pixel_models.PixelTables(images, joint=True).sample(n, generator()))
    seen = pixel_models.pack(images)
    for i, j in itertools.product(range(2), range(3)):
        colors, counts = seen[:, i, j].unique(return_counts=True)
        frequency = torch.tensor([(drawn[:, i, j] == color).double().mean() for color in colors])
        assert frequency.sum().item() == pytest.approx(1)
        p = counts / 11
        assert ((frequency - p).abs() < Z * (p * (1 - p) / n).sqrt() + 1e-12).all()
    neighbours = torch.stack([drawn[:, 0, 0], drawn[:, 0, 1]], 1).unique(dim=0)
    assert len(neighbours) == len(seen[:, 0, 0].unique()) * len(
        seen[:, 0, 1].unique()
    )  # strangers: all pairs occur
    separate = pixel_models.pack(pixel_models.PixelTables(images).sample(2000, generator()))
    assert not torch.isin(separate[:, 0, 0], seen[:, 0, 0]).all()  # channel by channel colours are invented


@verifies("bayes.9")
def test_smoothing_is_a_mixture_of_the_data_and_noise():
    rule, mixed, share = printed(r"«rule» = «mixed» , \qquad w = «share» \tag{bayes.9}")
    for counts, alpha in ((HAIR, 1), ((11, *[0] * 255), 1), ((3, 8, *[0] * 254), Fraction(1, 256))):
        total, d = sum(counts), len(counts)
        w = Fraction(total) / (total + alpha * d)
        mixture = tuple(w * n / total + (1 - w) / d for n in counts)
        assert bayes_styles.additive_smoothing(counts, float(alpha)) == mixture
    images = eleven_images()
    weight = lambda joint, alpha: pixel_models.PixelTables(images, joint, alpha).weight_of_data
    assert weight(False, 1) == pytest.approx(11 / 267) == pytest.approx(0.041, abs=5e-4)
    assert weight(False, 1 / 256) == pytest.approx(11 / 12)
    assert weight(True, 1) == pytest.approx(0.66e-6, abs=5e-9)
    smooth = pixel_models.PixelTables(images, alpha=0.1)  # neighbours of the mixture: data, or any level
    drawn = smooth.sample(4000, generator()).double()
    each = (drawn[..., 1:] - drawn[..., :-1]).square().mean((1, 2, 3))
    assert abs(each.mean() - smooth.neighbour_difference()) < Z * each.std() / math.sqrt(len(each))
    constant = torch.full((11, 1, 40, 50), 7, dtype=torch.uint8)
    kept = (pixel_models.PixelTables(constant, alpha=1.0).sample(5, generator()) == 7).double().mean().item()
    assert abs(kept - 12 / 267) < Z * math.sqrt(12 / 267 * 255 / 267 / 10_000)
    assert share(N=11, alpha=0.3, d=256).item() == pytest.approx(weight(False, 0.3), rel=1e-12)
    symbols = {"n_j": HAIR, "N": 50, "alpha": 0.3, "d": 7}
    smoothed = list(map(float, bayes_styles.additive_smoothing(HAIR, 0.3)))
    for values in (rule(**symbols), mixed(w=share(**symbols), **symbols)):
        assert values.tolist() == pytest.approx(smoothed, rel=1e-12)


@verifies("bayes.10")
def test_independence_adds_twice_the_covariance_to_the_difference_of_neighbours():
    printed(r"""
        \mathbb{E}_{\text{model}} (x_k - x_l)^2 = \mathbb{E}_{\text{data}} (x_k - x_l)^2 + 2 \,
        \mathrm{Cov}_{\text{data}}(x_k, x_l)
        \tag{bayes.10}
    """)
    images = eleven_images()
    data = images.double()
    centred = data - data.mean(0)
    covariance = (centred[..., 1:] * centred[..., :-1]).mean(0)
    in_data = pixel_models.neighbour_difference(images)
    model = pixel_models.PixelTables(images)
    assert model.neighbour_difference() == pytest.approx(in_data + 2 * covariance.mean().item(), rel=1e-12)
    drawn = model.sample(4000, generator()).double()
    each = (drawn[..., 1:] - drawn[..., :-1]).square().mean((1, 2, 3))
    assert abs(each.mean() - model.neighbour_difference()) < Z * each.std() / math.sqrt(len(each))
    fringe = torch.tensor([220] * 6 + [40] * 5, dtype=torch.uint8)[:, None, None, None].expand(11, 1, 1, 2)
    assert pixel_models.neighbour_difference(fringe) == 0
    assert pixel_models.PixelTables(fringe).neighbour_difference() == pytest.approx(16066, abs=0.5)


@verifies("bayes.10")
def test_the_mean_of_a_patch_forgets_the_image_under_the_model_only():
    images = (
        torch.where(torch.arange(11)[:, None, None, None] < 6, 220, 40).expand(11, 1, 16, 16).to(torch.uint8)
    )
    drawn = pixel_models.PixelTables(images).sample(4000, generator()).double()
    variance = images.double()[:, 0, 0, 0].var(correction=0).item()
    for side in (4, 16):
        patch_mean = drawn[..., :side, :side].mean((1, 2, 3))
        expected = variance / side**2
        assert abs(patch_mean.var().item() - expected) < Z * expected * math.sqrt(2 / len(drawn))
        in_data = images[..., :side, :side].double().mean((1, 2, 3)).var(correction=0).item()
        assert in_data == pytest.approx(variance)  # the covariances keep it, however large the patch


# ---- dependent pixels


def tiny_chain(beta: float = 0.5) -> pixel_chain.PixelChain:
    """A chain over grey images of 1 x 2 pixels, counted from three of them."""
    images = torch.tensor([[10, 10], [10, 200], [90, 90]], dtype=torch.uint8).reshape(3, 1, 1, 2)
    return pixel_chain.PixelChain.fit(images, bits=4, alpha=0.01, beta=beta)


@verifies("bayes.11")
def test_every_factor_of_the_chain_is_a_distribution_that_does_not_look_ahead():
    printed(r"""
        p(x) = \prod_{k} p(x_k \mid x_{\lt k}) \approx \prod_{k} p(x_k \mid c_k) ,
        \qquad
        c_k = \bigl( x_{\mathrm{left}(k)}, x_{\mathrm{above}(k)}, \dots \bigr)
        \tag{bayes.11}
    """)
    model, levels = tiny_chain(), torch.arange(256, dtype=torch.uint8)
    for first in (10, 90, 255, 123):  # seen, seen, the colour of the border, never seen
        images = torch.stack([torch.full_like(levels, first), levels], 1).reshape(256, 1, 1, 2)
        p_first, p_second = model.log2_probability(images).exp2().flatten(1).unbind(1)
        assert (p_first == p_first[0]).all()  # whatever follows
        assert p_second.sum().item() == pytest.approx(1, abs=PRECISION)
    images = torch.stack([levels, levels], 1).reshape(256, 1, 1, 2)
    assert model.log2_probability(images)[..., 0].exp2().sum().item() == pytest.approx(1, abs=PRECISION)


@verifies("bayes.11")
def test_images_drawn_pixel_by_pixel_have_the_probability_of_the_product():
    model, n = tiny_chain(), 20_000
    images, counts = model.sample(n, generator()).unique(dim=0, return_counts=True)
    images, counts = images[counts > 40], counts[counts > 40]
    p = model.log2_probability(images).flatten(1).sum(1).exp2()
    error = (counts / n - p).abs() / (p * (1 - p) / n).sqrt()
    assert len(images) > 5 and counts.sum() > n / 3
    assert error.max() < Z


@verifies("bayes.12")
def test_back_off_is_the_posterior_mean_under_a_prior_centred_on_the_shorter_context():
    printed(r"""
        p(v \mid c) = \frac{n(c, v) + \beta \, p(v \mid c')}{n(c) + \beta} ,
        \qquad
        p(v) = \frac{n(v) + \alpha}{n + \alpha d}
        \tag{bayes.12}
    """)
    rng, beta, shorter, n = np.random.default_rng(0), 2.0, np.array([0.5, 0.3, 0.2]), np.array([2, 0, 1])
    tables = rng.dirichlet(beta * shorter, size=400_000)
    alike = tables[(rng.multinomial(n.sum(), tables) == n).all(1)]
    predicted = pixel_chain.chained([torch.tensor(n)], [torch.tensor(3)], beta, torch.tensor(shorter)).numpy()
    assert predicted.sum() == pytest.approx(1, abs=1e-12)
    assert (abs(alike.mean(0) - predicted) < Z * alike.std(0) / math.sqrt(len(alike))).all()
    unseen = pixel_chain.chained([torch.zeros(3)], [torch.tensor(0)], beta, torch.tensor(shorter)).numpy()
    assert (unseen == shorter).all()
    example = pixel_chain.chained([torch.tensor(2)], [torch.tensor(3)], 1.0, torch.tensor(0.5))
    assert example.item() == pytest.approx(0.625)


@verifies("bayes.12")
def test_the_weight_of_the_shorter_context_decides_between_no_context_and_the_longest():
    after_10 = torch.tensor([[10, 200], [10, 10]], dtype=torch.uint8).reshape(2, 1, 1, 2)
    second = lambda beta: tiny_chain(beta).log2_probability(after_10)[:, 0, 1].exp2().tolist()
    # Without context, of 6 pixels: 200 is new once; 10 is new twice, and two pixels copy the left one.
    n, alpha, d = 6, 0.01, 256
    assert second(1e12) == pytest.approx(
        [(1 + alpha) / (n + alpha * d), (2 + 2 + alpha) / (n + alpha * d)], abs=1e-7
    )
    # After 10, once each: a new colour in the cell of 200 (192 to 207), of which 200 was 1 of 1; a copy.
    assert second(0.0) == pytest.approx([1 / 2 * (1 + alpha) / (1 + 16 * alpha), 1 / 2], abs=1e-7)
    between = second(0.5)
    assert second(1e12)[0] < between[0] < second(0.0)[0]


@verifies("bayes.13")
def test_bits_per_pixel_of_the_uniform_model_and_of_smoothed_levels():
    by_log2, by_ln = printed(r"b(x) = «by_log2» = «by_ln» \tag{bayes.13}")
    images = eleven_images()
    bits = lambda alpha, asked: pixel_models.bits_per_pixel(
        pixel_models.PixelTables(images, alpha=alpha).log2_probability(asked)
    )
    nearly_uniform = bits(1e12, images[:1]).item()
    assert nearly_uniform == pytest.approx(24, abs=1e-6)
    one = torch.tensor(
        [[[[7, 8]]]], dtype=torch.uint8
    )  # one channel, 1 x 2 pixels: level 7 always seen, 8 never
    always = pixel_models.PixelTables(torch.full((11, 1, 1, 2), 7, dtype=torch.uint8), alpha=1.0)
    assert always.log2_probability(one)[0, 0].tolist() == pytest.approx([-4.48, -8.06], abs=5e-3)
    assert pixel_models.bits_per_pixel(always.log2_probability(one)).item() == pytest.approx(
        (4.4757 + 8.0607) / 2, abs=1e-4
    )
    assert bits(0.0, 255 - images[:1]).item() == math.inf
    p = always.log2_probability(one).sum().exp2()
    found = pixel_models.bits_per_pixel(always.log2_probability(one)).item()
    for side in (by_log2, by_ln):
        assert side(p=lambda x: p, x=0, H=1, W=2).item() == pytest.approx(found, rel=1e-12)


@verifies("bayes.13")
def test_mean_code_length_is_entropy_plus_divergence():
    levels = torch.tensor([5] * 4 + [60] * 10 + [200] * 6, dtype=torch.uint8)
    model = pixel_models.PixelTables(levels[:, None, None, None])  # one pixel
    data, shares = np.array([0.5, 0.25, 0.25]), np.array([0.2, 0.5, 0.3])
    drawn = np.random.default_rng(0).choice([5, 60, 200], p=data, size=100_000)
    images = torch.from_numpy(drawn).to(torch.uint8)[:, None, None, None]
    bits = pixel_models.bits_per_pixel(model.log2_probability(images))
    closed = stats.entropy(data, base=2) + stats.entropy(data, shares, base=2)
    assert abs(bits.mean() - closed) < Z * bits.std() / math.sqrt(len(bits))
    assert closed > stats.entropy(data, base=2)
