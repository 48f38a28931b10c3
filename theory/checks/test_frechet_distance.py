"""Checks of theory/{en,ru}/metrics.md, the Fréchet distance, against common/metrics/frechet.py.

Monte Carlo results are compared by z = (estimate - closed form) / standard error.  A correct formula breaks
|z| < 4.5 once in 150,000 seeds, and the seeds are fixed.
"""

import math

from common.metrics import frechet
from common.metrics.frechet import Statistics

import pytest
import torch
from scipy import optimize

from theory.checks.draws import Z
from theory.printed import printed
from theory.tags import verifies


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_covariance(dimension, seed):
    factor = draw(dimension, dimension, seed=seed)
    return factor @ factor.T / dimension


def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def within(values, expected, slack=0.0):
    """|z| < Z for the mean of independent values, with `slack` for terms the formula leaves out."""
    values = torch.as_tensor(values, dtype=torch.float64)
    return abs(float(values.mean()) - expected) < Z * float(values.std()) / math.sqrt(len(values)) + slack


@verifies("metrics.7")
def test_distance_is_the_least_cost_over_couplings():
    """The covariance between x and y is S1^(1/2) R S2^(1/2) with a contraction R: no R beats the formula."""
    printed(r"""
        d^2 = \min_{x \sim \mathcal{N}(\mu_1, \Sigma_1),\; y \sim \mathcal{N}(\mu_2, \Sigma_2)} \mathbb{E}
        \lVert x - y \rVert^2
        = \lVert \mu_1 - \mu_2 \rVert^2 + \mathrm{Tr} \Bigl( \Sigma_1 + \Sigma_2 - 2 \bigl( \Sigma_1
        \Sigma_2 \bigr)^{1/2} \Bigr)
        \tag{metrics.7}
    """)
    covariance1, covariance2 = random_covariance(3, seed=0), random_covariance(3, seed=1)
    means = draw(2, 3, seed=2)
    distance = frechet.frechet_distance(means[0], covariance1, means[1], covariance2)
    shift, traces = (means[0] - means[1]).square().sum(), covariance1.trace() + covariance2.trace()
    cost = lambda r: float(shift + traces - 2 * (root(covariance1) @ r @ root(covariance2)).trace())
    for seed in range(200):
        r = draw(3, 3, seed=seed)
        assert cost(r / torch.linalg.matrix_norm(r, 2)) >= distance - 1e-12
    u, _, vh = torch.linalg.svd(root(covariance2) @ root(covariance1))
    best = vh.T @ u.T
    assert cost(best) == pytest.approx(distance, rel=1e-12)
    cross = root(covariance1) @ best @ root(covariance2)
    joint = torch.cat([torch.cat([covariance1, cross], 1), torch.cat([cross.T, covariance2], 1)])
    assert torch.linalg.eigvalsh(joint).min() > -1e-12  # the coupling exists


@verifies("metrics.7")
def test_distance_bounds_the_transport_of_any_distributions_with_these_moments():
    """Optimal assignment of two clouds, far from Gaussian, costs no less than their moments say."""
    x, y = draw(200, 2, seed=0).exp(), 3 * draw(200, 2, seed=1).sign() + 0.1 * draw(200, 2, seed=2)
    costs = torch.cdist(x, y).square().numpy()
    transport = costs[optimize.linear_sum_assignment(costs)].mean()
    moments = [m for rows in (x, y) for m in (rows.mean(0), torch.cov(rows.T, correction=0))]
    assert frechet.frechet_distance(*moments) < transport


@verifies("metrics.7")
def test_commuting_covariances_compare_standard_deviations():
    axes = torch.linalg.qr(draw(4, 4, seed=0)).Q
    variances = draw(2, 4, seed=1).square()
    covariances = [axes * each @ axes.T for each in variances]
    zero = torch.zeros(4)
    expected = float((variances[0].sqrt() - variances[1].sqrt()).square().sum())
    assert frechet.frechet_distance(zero, covariances[0], zero, covariances[1]) == pytest.approx(
        expected, rel=1e-9
    )


@verifies("metrics.8")
def test_trace_of_the_root_by_eigenvalues_and_by_singular_values():
    printed(r"""
        \mathrm{Tr} \bigl( \Sigma_1 \Sigma_2 \bigr)^{1/2}
        = \sum_{i} \sqrt{ \lambda_i \bigl( A^\top \Sigma_2 A \bigr) }
        = \bigl\lVert A^\top B \bigr\rVert_*
        \tag{metrics.8}
    """)
    a, b = draw(6, 6, seed=0), draw(6, 6, seed=1)
    covariance1, covariance2 = a @ a.T, b @ b.T
    unsymmetric = torch.linalg.eigvals(covariance1 @ covariance2)
    symmetric = torch.linalg.eigvalsh(a.T @ covariance2 @ a)
    assert unsymmetric.imag.abs().max() < 1e-9
    assert torch.allclose(unsymmetric.real.sort().values, symmetric, rtol=1e-8)
    expected = float(symmetric.sqrt().sum())
    assert float(torch.linalg.matrix_norm(a.T @ b, "nuc")) == pytest.approx(expected, rel=1e-10)
    assert float(frechet.trace_of_root(a, b)) == pytest.approx(expected, rel=1e-10)
    assert float(root(root(covariance1) @ covariance2 @ root(covariance1)).trace()) == pytest.approx(
        expected, rel=1e-8
    )


@verifies("metrics.8")
def test_roots_of_eigenvalues_lose_half_the_digits_of_singular_covariances():
    """The trace of rank 2 in 200 dimensions: singular values keep 1e-14, roots of eigenvalues do not."""
    a, b = draw(200, 2, seed=0), draw(200, 2, seed=1)
    exact = float(torch.linalg.svdvals(a.T @ b).sum())  # of a 2 x 2 matrix
    axes = torch.linalg.qr(draw(200, 200, seed=2)).Q  # wide factors of the same covariances
    wide_a, wide_b = (
        torch.cat([a, torch.zeros(200, 198)], 1) @ axes,
        torch.cat([b, torch.zeros(200, 198)], 1) @ axes,
    )
    eigenvalues = torch.linalg.eigvalsh(wide_a.T @ (wide_b @ wide_b.T) @ wide_a)
    assert float(eigenvalues.clamp(min=0).sqrt().sum()) / exact - 1 > 1e-9
    assert float(frechet.trace_of_root(wide_a, wide_b)) == pytest.approx(exact, rel=1e-12)


@verifies("metrics.9")
@pytest.mark.parametrize(("n", "m"), [(5, 9), (30, 4), (40, 50)])
def test_features_give_the_same_trace_as_their_covariances(n, m):
    printed(r"""
        \mathrm{Tr} \bigl( \Sigma_1 \Sigma_2 \bigr)^{1/2} = \frac{ \lVert X_c Y_c^\top \rVert_* }{ \sqrt{(N
        - 1)(M - 1)} } ,
        \qquad
        \mathrm{Tr}\, \Sigma_1 = \frac{ \lVert X_c \rVert_F^2 }{ N - 1 }
        \tag{metrics.9}
    """)
    x, y = draw(n, 12, seed=0), draw(m, 12, seed=1) + 1
    centred_x, centred_y = x - x.mean(0), y - y.mean(0)
    by_features = torch.linalg.matrix_norm(centred_x @ centred_y.T, "nuc") / math.sqrt((n - 1) * (m - 1))
    covariance1, covariance2 = torch.cov(x.T), torch.cov(y.T)
    assert float(centred_x.square().sum()) / (n - 1) == pytest.approx(float(covariance1.trace()), rel=1e-12)
    in_the_middle = root(root(covariance1) @ covariance2 @ root(covariance1)).trace()
    assert float(by_features) == pytest.approx(float(in_the_middle), rel=1e-6)
    shift = (x.mean(0) - y.mean(0)).square().sum()
    expected = shift + covariance1.trace() + covariance2.trace() - 2 * by_features
    assert frechet.frechet_distance_from_features(x, y) == pytest.approx(float(expected), rel=1e-11)


@verifies("metrics.10")
def test_merge_of_two_parts_and_the_digits_the_school_formula_loses():
    mean, weight, covariance = printed(r"""
        \mu = «mean» ,
        \qquad
        S = S_1 + S_2 + «weight» \, \delta \delta^\top ,
        \qquad
        \Sigma = «covariance»
        \tag{metrics.10}
    """)
    x = draw(90, 3, seed=0) + 1e6
    part1, part2 = x[:20], x[20:]
    scatter = lambda rows: (rows - rows.mean(0)).T @ (rows - rows.mean(0))
    delta = part2.mean(0) - part1.mean(0)
    merged = scatter(part1) + scatter(part2) + 20 * 70 / 90 * torch.outer(delta, delta)
    streamed = Statistics.of([part1, part2])
    exact = torch.cov((x - 1e6).T)
    assert torch.allclose(merged / 89, exact, rtol=1e-7)  # delta itself is rounded at 1e6
    assert (streamed.sigma - exact).abs().max() < 1e-13
    assert torch.allclose(streamed.mu, part1.mean(0) + 70 / 90 * delta, rtol=1e-15)
    school = (x.T @ x - 90 * torch.outer(x.mean(0), x.mean(0))) / 89
    assert (school - exact).abs().max() > 1e-4
    symbols = {"n_1": 20, "n_2": 70, "n": 90}
    middle = mean(mu_1=part1.mean(0), delta=delta, **symbols)
    torch.testing.assert_close(streamed.mu, middle, rtol=1e-15, atol=0)
    as_printed = scatter(part1) + scatter(part2) + weight(**symbols) * torch.outer(delta, delta)
    torch.testing.assert_close(streamed.sigma, covariance(S=as_printed, **symbols), rtol=1e-7, atol=1e-9)


@verifies("metrics.11")
@pytest.mark.parametrize(("n", "m"), [(128, 128), (512, 512), (300, 900)])
def test_bias_of_two_samples_of_one_gaussian(n, m):
    """The page's table at D = 64, and unequal N and M; the next order is about a 1/N of the first."""
    sizes, of_trace, of_pairs = printed(r"""
        \mathbb{E} \, \hat d^2 \approx «sizes»
        \Bigl( «of_trace» \, \mathrm{Tr}\, \Sigma + «of_pairs» \Bigr)
        \tag{metrics.11}
    """)
    closed = (1 / n + 1 / m) * 64 * 69 / 4
    assert frechet.expected_bias(torch.eye(64), n, m) == pytest.approx(closed, rel=1e-12)
    values = [
        frechet.frechet_distance_from_features(draw(n, 64, seed=2 * i), draw(m, 64, seed=2 * i + 1))
        for i in range(30)
    ]
    assert within(values, closed, slack=0.01 * closed)
    sigma = random_covariance(5, seed=0)
    inner = of_trace() * sigma.trace() + of_pairs(D=5, lambda_=torch.linalg.eigvalsh(sigma))
    as_printed = sizes(N=n, M=m) * inner
    assert frechet.expected_bias(sigma, n, m) == pytest.approx(as_printed.item(), rel=1e-12)


@verifies("metrics.11")
def test_second_order_of_the_distance():
    """Distance of S and S + D against 1/2 sum D_ij^2 / (l_i + l_j), error falling as the cube of D."""
    eigenvalues = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    change = draw(3, 3, seed=0)
    change = change + change.T
    zero, errors = torch.zeros(3), []
    for size in (1e-2, 1e-3):
        distance = frechet.frechet_distance(
            zero, eigenvalues.diag(), zero, eigenvalues.diag() + size * change
        )
        quadratic = 0.5 * float(((size * change) ** 2 / (eigenvalues[:, None] + eigenvalues)).sum())
        errors.append(abs(distance / quadratic - 1))
    assert errors[0] < 0.1
    assert errors[1] < 0.15 * errors[0]
