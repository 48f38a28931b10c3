"""Checks of theory/{en,ru}/bayes.md against hw1_bayes_and_autoencoders.

Exact where the code is exact (fractions), float64 identities elsewhere; Monte Carlo by z-scores,
|z| < 4.5, with fixed seeds.
"""

import itertools
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import sympy
import torch
from scipy import special, stats

from hw1_bayes_and_autoencoders import bayes_styles, pixel_chain, pixel_models
from hw1_bayes_and_autoencoders.style_counts import Attribute, read_counts
from theory.printed import printed
from theory.tags import verifies

Z = 4.5
PRECISION = 1e-7  # of the chain's probabilities, part of which is single precision
COUNTS = read_counts(Path(bayes_styles.__file__).with_name("style_counts.toml"))
HAIR = COUNTS[0].counts


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- styles


@verifies("bayes.1")
def test_attributes_of_drawn_styles_are_independent_and_the_probability_is_their_product():
    printed(r"P(s) = \prod_{a=1}^{A} P(s_a) = \prod_{a=1}^{A} \theta_{a, s_a} \tag{bayes.1}")
    model, n = bayes_styles.StyleModel.fit(COUNTS, alpha=1), 50_000
    styles = model.sample(n, generator())
    for (one, theta), (other, phi) in itertools.combinations(zip(styles.options.values(), model.theta), 2):
        expected = n * np.outer([float(p) for p in theta], [float(p) for p in phi])
        observed = torch.bincount(one * len(phi) + other, minlength=expected.size).numpy()
        chi_squared = ((observed - expected.ravel()) ** 2 / expected.ravel()).sum()
        freedom = expected.size - 1
        assert abs(chi_squared - freedom) < Z * math.sqrt(2 * freedom) + 10
    row = tuple(int(column[0]) for column in styles.options.values())
    assert styles.probability[0] == math.prod(theta[j] for theta, j in zip(model.theta, row))
    assert model.combinations == 4032 and sum(len(theta) - 1 for theta in model.theta) == 23


@verifies("bayes.2")
def test_multinomial_log_likelihood():
    (varying,) = printed(r"""
        \ln P(n \mid \theta) = \ln \frac{N!}{n_1! \cdots n_d!} + «varying»
        \tag{bayes.2}
    """)
    theta, n = np.array([0.5, 0.2, 0.3]), 7
    counts = [c for c in itertools.product(range(n + 1), repeat=3) if sum(c) == n]
    closed = lambda c: (
        special.gammaln(n + 1) - special.gammaln(np.add(c, 1)).sum() + special.xlogy(c, theta).sum()
    )
    assert sum(math.exp(closed(c)) for c in counts) == pytest.approx(1, abs=1e-12)
    for c in counts:
        assert closed(c) == pytest.approx(stats.multinomial(n, theta).logpmf(c), abs=1e-12)
    per_person = bayes_styles.fitted(COUNTS, torch.tensor([0.0, 1.0]))  # without the constant
    for alpha, value in zip((0, 1), per_person.tolist()):
        tables = bayes_styles.StyleModel.fit(COUNTS, alpha).theta
        expected = sum(
            n_j * math.log(p) for a, theta in zip(COUNTS, tables) for n_j, p in zip(a.counts, theta) if n_j
        )
        assert value == pytest.approx(expected / 50, abs=1e-12)
    attributes = zip(COUNTS, bayes_styles.StyleModel.fit(COUNTS, 1).theta)
    total = sum(varying(d=len(a.counts), n=a.counts, theta=list(map(float, p))) for a, p in attributes)
    assert per_person[1].item() == pytest.approx(total.item() / 50, abs=1e-12)


@verifies("bayes.3")
def test_frequencies_solve_the_lagrange_equations_and_are_the_global_maximum():
    (share,) = printed(r"\hat\theta_j = «share» \tag{bayes.3}")
    theta, multiplier = sympy.symbols("theta:3", positive=True), sympy.Symbol("lambda")
    n = (4, 1, 2)
    lagrangian = sum(k * sympy.log(t) for k, t in zip(n, theta)) + multiplier * (1 - sum(theta))
    (solution,) = sympy.solve(
        [sympy.diff(lagrangian, s) for s in (*theta, multiplier)], [*theta, multiplier], dict=True
    )
    assert [solution[t] for t in theta] == [sympy.Rational(p) for p in bayes_styles.maximum_likelihood(n)]
    assert solution[multiplier] == 7
    best = np.array([float(p) for p in bayes_styles.maximum_likelihood(HAIR)])
    value = lambda theta: special.xlogy(HAIR, theta).sum()
    for other in np.random.default_rng(0).dirichlet(np.ones(7), size=200):
        divergence = special.rel_entr(best, other).sum()
        assert value(best) - value(other) == pytest.approx(50 * divergence, rel=1e-10)
        assert divergence > 0
    assert best[1] == 0 and round(0.95**50, 3) == 0.077
    assert share(n_j=HAIR, N=50).tolist() == pytest.approx(best.tolist(), abs=1e-15)


@verifies("bayes.4")
@pytest.mark.parametrize("alpha", [1, 2])
def test_dirichlet_posterior_is_prior_times_likelihood_normalised(alpha):
    (density,) = printed(r"p(\theta \mid n) = «density» \tag{bayes.4}")
    a, b = sympy.symbols("a b", positive=True)
    theta, n = (a, b, 1 - a - b), (2, 0, 1)
    powers = [k + alpha - 1 for k in n]
    integral = lambda powers: sympy.integrate(
        sympy.expand(sympy.prod(t**k for t, k in zip(theta, powers))), (b, 0, 1 - a), (a, 0, 1)
    )
    constant = sympy.gamma(3 + 3 * alpha) / sympy.prod(sympy.gamma(k + alpha) for k in n)
    assert sympy.simplify(constant * integral(powers) - 1) == 0
    mean = [constant * integral([k + (i == j) for i, k in enumerate(powers)]) for j in range(3)]
    smoothed = bayes_styles.additive_smoothing(n, alpha)
    assert [sympy.Rational(p) for p in smoothed] == [sympy.nsimplify(m) for m in mean]
    point = [0.2, 0.3, 0.5]
    value = density(N=3, d=3, alpha=alpha, n=n, theta=point).item()
    assert value == pytest.approx(stats.dirichlet([k + alpha for k in n]).pdf(point), rel=1e-12)


@verifies("bayes.5")
def test_smoothing_predicts_the_next_observation_of_worlds_drawn_from_the_prior():
    rng, alpha, n = np.random.default_rng(0), 0.5, (3, 1, 0)
    worlds = rng.dirichlet([alpha] * 3, size=400_000)
    alike = worlds[(rng.multinomial(sum(n), worlds) == n).all(1)]  # worlds that showed these counts
    following = (alike.cumsum(1) > rng.random((len(alike), 1))).argmax(1)
    assert len(alike) > 5_000
    for j, p in enumerate(map(float, bayes_styles.additive_smoothing(n, alpha))):
        assert abs((following == j).mean() - p) < Z * math.sqrt(p * (1 - p) / len(alike))


@verifies("bayes.5")
def test_smoothing_adds_alpha_d_to_the_denominator_and_is_a_mean_not_a_mode():
    by_gammas, closed = printed(r"""
        P(x_{N+1} = j \mid n) = \int \theta_j \, p(\theta \mid n) \, \mathrm{d}\theta
        = «by_gammas»
        = «closed»
        \tag{bayes.5}
    """)
    smoothed = bayes_styles.additive_smoothing(HAIR, 1)
    assert smoothed[1] == Fraction(1, 57) and smoothed[3] == Fraction(24, 57) and sum(smoothed) == 1
    mode = lambda alpha: tuple(Fraction(n + alpha - 1, 50 + 7 * alpha - 7) for n in HAIR)
    log_posterior = lambda theta, alpha: special.xlogy(np.add(HAIR, alpha - 1), np.array(theta, float)).sum()
    for alpha in (1, 2):
        for other in np.random.default_rng(1).dirichlet(np.add(HAIR, 0.5), size=200):
            assert log_posterior(mode(alpha), alpha) > log_posterior(other, alpha)
    assert mode(1) == bayes_styles.maximum_likelihood(HAIR)
    assert mode(2) == smoothed
    for side in (by_gammas, closed):
        values = side(n_j=HAIR, N=50, alpha=1, d=7).tolist()
        assert values == pytest.approx(list(map(float, smoothed)), rel=1e-12)


@verifies("bayes.6")
def test_all_styles_together_have_probability_one_and_the_page_has_the_right_numbers():
    printed(r"""
        \ln P(s) = \sum_{a=1}^{A} \ln \theta_{a, s_a} ,
        \qquad
        \sum_{s} P(s) = \sum_{s_1} \cdots \sum_{s_A} \prod_{a=1}^{A} \theta_{a, s_a}
        = \prod_{a=1}^{A} \sum_{j} \theta_{a, j} = 1
        \tag{bayes.6}
    """)
    mle, smoothed = (bayes_styles.StyleModel.fit(COUNTS, alpha) for alpha in (0, 1))
    every = itertools.product(*(range(len(theta)) for theta in smoothed.theta))
    assert sum(smoothed.probability(options) for options in every) == 1
    assert mle.total_probability() == smoothed.total_probability() == 1
    best = {"hair": "long straight", "hair_color": "silver grey", "accessory": "round glasses",
            "clothes": "crew-neck tee", "clothes_color": "green"}  # fmt: skip
    with_bun = best | {"hair": "long bun"}
    for model, style, p, ln_p in (
        (mle, best, 0.005907, -5.132),
        (smoothed, best, 0.004688, -5.363),
        (mle, with_bun, 0, -math.inf),
        (smoothed, with_bun, 0.000195, -8.541),
    ):
        options = {a.name: torch.tensor([a.index(style[a.name])]) for a in COUNTS}
        assert float(model.probability([int(j) for j in options.values()])) == pytest.approx(p, abs=5e-7)
        assert model.log_probability(options).item() == pytest.approx(ln_p, abs=5e-4)
    likeliest = math.prod(max(theta) for theta in mle.theta)
    assert float(likeliest) == pytest.approx(0.005907, abs=5e-7)


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


@verifies("bayes.5")
def test_leave_one_out_of_the_page_by_predicting_each_person_in_turn():
    def by_hand(attribute: Attribute, alpha: float) -> float:
        people = [j for j, n in enumerate(attribute.counts) for _ in range(n)]
        total = 0.0
        for j in people:
            others = [n - (option == j) for option, n in enumerate(attribute.counts)]
            total += math.log(bayes_styles.additive_smoothing(others, alpha)[j])
        return total / len(people)

    values = bayes_styles.leave_one_out(COUNTS, torch.tensor([0.0, 1.0, 2.0]))
    assert values[0] == -math.inf
    for alpha, value, written in ((1, values[1], -7.691), (2, values[2], -7.677)):
        assert value.item() == pytest.approx(sum(by_hand(a, alpha) for a in COUNTS), abs=1e-10)
        assert value.item() == pytest.approx(written, abs=5e-4)
