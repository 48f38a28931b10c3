"""Checks of theory/{en,ru}/metrics.md, KID, precision and recall, coverage, against common/metrics.

Monte Carlo results are compared by z = (estimate - closed form) / standard error.  A correct formula breaks
|z| < 4.5 once in 150,000 seeds, and the seeds are fixed.
"""

import math

from common.data import avatars
from common.metrics import attributes, spectrum
from common.metrics.kernel import kernel_distance, squared_mmd
from common.metrics.precision_recall import covered, precision_recall, squared_radii

import numpy as np
import pytest
import torch
from scipy import stats

from theory.checks.draws import Z
from theory.printed import printed
from theory.tags import verifies


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def within(values, expected, slack=0.0):
    """|z| < Z for the mean of independent values, with `slack` for terms the formula leaves out."""
    values = torch.as_tensor(values, dtype=torch.float64)
    return abs(float(values.mean()) - expected) < Z * float(values.std()) / math.sqrt(len(values)) + slack


@verifies("metrics.12")
def test_mmd_is_a_weighted_distance_of_the_first_three_moments():
    """Without the terms i = j taken out, the sums are ||mean phi(x) - mean phi(y)||^2 exactly."""
    (cross,) = printed(r"""
        \widehat{\mathrm{MMD}}^2 = \frac{1}{N (N - 1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{M (M - 1)}
        \sum_{i \ne j} k(y_i, y_j)
        - «cross»
        \tag{metrics.12}
    """)
    x, y, D = draw(6, 2, seed=0), draw(8, 2, seed=1), 2
    power = lambda rows, p: torch.stack([_tensor_power(row, p) for row in rows])
    biased = sum(
        math.comb(3, p) / D**p * float((power(x, p).mean(0) - power(y, p).mean(0)).square().sum())
        for p in range(4)
    )
    kernel = lambda a, b: (a @ b.T / D + 1) ** 3
    assert biased == pytest.approx(
        float(kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()), rel=1e-10
    )
    off = lambda k: (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))
    unbiased = off(kernel(x, x)) + off(kernel(y, y)) - 2 * kernel(x, y).mean()
    assert float(squared_mmd(x, y)) == pytest.approx(float(unbiased), rel=1e-12)
    as_printed = cross(N=6, M=8, x=x.T, y=y.T, k=lambda a, b: (a @ b / D + 1) ** 3)
    assert float(squared_mmd(x, y)) == pytest.approx(
        float(off(kernel(x, x)) + off(kernel(y, y)) - as_printed), rel=1e-12
    )


def _tensor_power(row, p):
    """All products of p coordinates; 1 for p = 0."""
    result = torch.ones(1, dtype=row.dtype)
    for _ in range(p):
        result = torch.outer(result, row).flatten()
    return result


@verifies("metrics.12")
def test_mmd_is_unbiased_with_five_points_and_biased_with_the_diagonal():
    """x ~ N(0, 1), y ~ N(1, 1): sum of binom(3, p) (m_p - m'_p)^2 over moments (0, 1, 0) and (1, 2, 4)."""
    expected = 3 * 1 + 3 * (2 - 1) ** 2 + 4**2
    samples = [(draw(5, 1, seed=2 * i), draw(4, 1, seed=2 * i + 1) + 1) for i in range(20_000)]
    assert within([float(squared_mmd(x, y)) for x, y in samples], expected)
    kernel = lambda a, b: (a @ b.T + 1) ** 3
    biased = [
        float(kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()) for x, y in samples[:5000]
    ]
    assert np.mean(biased) > 2 * expected


@verifies("metrics.13")
def test_squared_error_of_kid_is_its_variance():
    mean, error_of = printed(r"""
        \mathrm{KID} = \bar m = «mean» ,
        \qquad
        \mathrm{SE} = «error_of»
        \tag{metrics.13}
    """)
    estimates = [
        kernel_distance(draw(60, 2, seed=2 * i), draw(60, 2, seed=2 * i + 1) * 1.2) for i in range(2000)
    ]
    variance = np.var([estimate.value for estimate in estimates], ddof=1)
    squares = np.array([estimate.standard_error**2 for estimate in estimates])
    fourth = stats.kurtosis([estimate.value for estimate in estimates], fisher=False)
    error = variance * math.sqrt((fourth - 1) / 2000) + squares.std() / math.sqrt(2000)
    assert abs(squares.mean() - variance) < Z * error
    rows = [draw(60, 2, seed=seed) for seed in (0, 1)]
    estimate, generator = kernel_distance(*rows), torch.Generator().manual_seed(0)
    subsets = [each[torch.randperm(60, generator=generator)].split(6) for each in rows]
    values = torch.stack([squared_mmd(a, b) for a, b in zip(*subsets)])
    assert estimate.value == pytest.approx(mean(S=10, m=values).item(), rel=1e-12)
    printed_error = error_of(S=10, m=values, mbar=values.mean()).item()
    assert estimate.standard_error == pytest.approx(printed_error, rel=1e-12)


@verifies("metrics.14")
@pytest.mark.parametrize(("dimension", "k"), [(1, 3), (4, 3), (20, 5)])
def test_a_new_point_lies_in_k_balls_on_average(dimension, k):
    printed(r"""
        \mathrm{precision} = \frac{1}{M} \sum_{j=1}^{M} \max_{i} \mathbb{1} \bigl[ \lVert y_j - x_i \rVert
        \le r_i(X) \bigr] ,
        \qquad
        \mathrm{recall} = \frac{1}{N} \sum_{i=1}^{N} \max_{j} \mathbb{1} \bigl[ \lVert x_i - y_j \rVert \le
        r_j(Y) \bigr]
        \tag{metrics.14}
    """)
    counts = []
    for seed in range(300):
        points = draw(40, dimension, seed=seed).exp()  # of any distribution
        new, old = points[:1], points[1:]
        counts.append(float((torch.cdist(new, old).square() <= squared_radii(old, k) + 1e-12).sum()))
    assert within(counts, k)


@verifies("metrics.14")
@pytest.mark.parametrize(("dimension", "share"), [(2, 0.98), (8, 0.90), (64, 0.61)])
def test_precision_and_recall_of_two_halves_are_not_one(dimension, share):
    pairs = [(draw(2000, dimension, seed=2 * i), draw(2000, dimension, seed=2 * i + 1)) for i in range(3)]
    found = [precision_recall(real, fake)[:2] for real, fake in pairs]
    assert np.mean(found, axis=0) == pytest.approx([share, share], abs=0.03)  # one pair varies by 0.02
    real, fake = pairs[0]
    assert found[0][0] == float(covered(fake, real, squared_radii(real, 3)).double().mean())


@verifies("metrics.14")
def test_shrinking_trades_recall_for_precision():
    found = precision_recall(draw(2000, 64, seed=0), 0.7 * draw(2000, 64, seed=1))
    assert found.precision > 0.999
    assert found.recall < 0.01


@verifies("metrics.15")
def test_coverage_of_independent_draws():
    (expectation,) = printed(r"""
        \mathrm{validity} = \frac{\text{valid images}}{N} ,
        \qquad
        \mathrm{coverage} = \frac{\text{combinations seen}}{K} ,
        \qquad
        \mathbb{E} \, \mathrm{coverage} = «expectation»
        \tag{metrics.15}
    """)
    probabilities = torch.tensor([0.4, 0.3, 0.2, 0.06, 0.04, 0.0], dtype=torch.float64)
    options = {"hair": ("a", "b", "c"), "glasses": ("no", "yes")}
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(3000):
        cell = torch.multinomial(probabilities, 10, replacement=True, generator=generator)
        found.append(attributes.coverage({"hair": cell // 2, "glasses": cell % 2}, options))
    assert within(found, attributes.expected_coverage(10, probabilities))
    by_hand = sum(1 - (1 - p) ** 10 for p in probabilities.tolist()) / 6
    assert attributes.expected_coverage(10, probabilities) == pytest.approx(by_hand, rel=1e-12)
    as_printed = expectation(K=6, N=10, p=probabilities).item()
    assert attributes.expected_coverage(10, probabilities) == pytest.approx(as_printed, rel=1e-12)


@verifies("metrics.15")
def test_coverage_of_the_avatars_on_the_page():
    assert attributes.expected_coverage(4032, 4032) == pytest.approx(0.63, abs=0.005)
    assert attributes.expected_coverage(10_000, 4032) == pytest.approx(0.92, abs=0.005)
    predicted = {"hair": torch.tensor([0, 1, -1]), "glasses": torch.tensor([0, 0, 0])}
    assert attributes.validity(predicted) == pytest.approx(2 / 3)


@verifies("metrics.16")
def test_the_spectrum_is_the_sum_written_out():
    printed(r"""
        P(k, l) = \frac{1}{N C} \sum_{n, c} \frac{1}{H W} \Bigl|
        \sum_{y, x} \bigl( x_{n c}(y, x) - \bar x_{n c} \bigr) \, e^{- 2 \pi \mathrm{i} (k y / H + l x / W)}
        \Bigr|^2
        \tag{metrics.16}
    """)  # fmt: skip
    images = torch.randint(
        0, 256, (3, 2, 6, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    x = images.double() * 2 / 255
    x = x - x.mean((2, 3), keepdim=True)
    rows, columns = torch.arange(6.0), torch.arange(8.0)
    for k, l in ((0, 0), (1, 3), (5, 2), (3, 4)):  # noqa: E741  as on the page
        phase = 2 * math.pi * (k * rows[:, None] / 6 + l * columns / 8)
        squared = (x * phase.cos()).sum((2, 3)) ** 2 + (x * phase.sin()).sum((2, 3)) ** 2
        found = spectrum.power_spectrum(images)[k, l].item()
        assert found == pytest.approx(float(squared.mean()) / 48, abs=1e-6)


@verifies("metrics.17")
def test_where_the_power_of_a_grid_is():
    (rounding,) = printed(r"""
        \mathrm{grid} = \max_{f} \;
        \frac{\sum_{(k, l) \sim f} \bigl( P_{\mathrm{fake}}(k, l) + \varepsilon \bigr)}
        {\sum_{(k, l) \sim f} \bigl( P_{\mathrm{real}}(k, l) + \varepsilon \bigr)} ,
        \qquad
        f \in \bigl\{ 0, \tfrac{1}{4}, \tfrac{1}{2}, \tfrac{3}{4} \bigr\}^2 \setminus \{ (0, 0) \} ,
        \qquad
        \varepsilon = «rounding»
        \tag{metrics.17}
    """)
    assert rounding().item() == pytest.approx(spectrum.ROUNDING, rel=1e-12)
    flat = torch.full((1, 1, 16, 16), 128, dtype=torch.uint8)
    board = (-1) ** (torch.arange(16)[:, None] + torch.arange(16))
    changing = 10 * torch.cos(2 * math.pi * torch.arange(16) / 16) * board  # a(y, x) has the frequency 1
    shifted = spectrum.power_spectrum((flat + changing).round().to(torch.uint8))
    assert shifted[8, 7].item() == pytest.approx(float(shifted.sum()), rel=0.01)  # 8 - 1, and 8 + 1 opposite
    alone = spectrum.power_spectrum((flat + 10 * board).to(torch.uint8))
    strength = spectrum.grid_strength(alone, spectrum.power_spectrum(flat))
    patch = 3 * 2  # frequencies around (1 / 2, 1 / 2) in the half plane
    assert strength == pytest.approx(1 + float(alone.sum()) / (patch * spectrum.ROUNDING), rel=1e-6)
    noise = torch.rand(200, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 255
    error = ((noise.round() - noise) * 2 / 255).square().mean().item()
    assert error == pytest.approx(spectrum.ROUNDING, rel=0.02)


@verifies("metrics.17")
def test_real_images_have_no_grid():
    images = avatars.draw_set("val", 64, 600, 0).images
    halves = [spectrum.power_spectrum(half) for half in images.split(300)]
    assert spectrum.grid_strength(*halves) < 1.2
