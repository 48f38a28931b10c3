"""KID, improved precision and recall, validity and coverage: double loops, brute force and closed forms."""

import math

from common.errors import InputError
from common.metrics import attributes
from common.metrics.kernel import kernel_distance, squared_mmd
from common.metrics.precision_recall import covered, precision_recall, squared_radii
from common.metrics.spread import jackknife

import pytest
import torch


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mmd_by_loops(x, y):
    kernel = lambda a, b: (float(a @ b) / len(a) + 1) ** 3
    n, m = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def test_mmd_equals_the_double_loop():
    x, y = normal(9, 5), 1 + 2 * normal(7, 5, seed=1)
    assert float(squared_mmd(x, y)) == pytest.approx(mmd_by_loops(x, y), rel=1e-12)


def test_mmd_of_point_masses():
    """x = 0, y = c in one dimension: k(0,0) + k(c,c) - 2 k(0,c) = 1 + (c^2 + 1)^3 - 2."""
    x, y = torch.zeros(4, 1, dtype=torch.float64), torch.full((5, 1), 3.0, dtype=torch.float64)
    assert float(squared_mmd(x, y)) == pytest.approx(1 + 10**3 - 2, rel=1e-14)


def test_kid_of_one_distribution_is_zero_on_average_and_its_error_is_honest():
    estimates = [
        kernel_distance(normal(200, 8, seed=2 * i), normal(200, 8, seed=2 * i + 1)) for i in range(200)
    ]
    values = torch.tensor([estimate.value for estimate in estimates])
    squared_errors = torch.tensor([estimate.standard_error**2 for estimate in estimates])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(200)
    assert values.min() < 0 < values.max()  # unbiased, so it must be able to fall below zero
    assert float(squared_errors.mean()) == pytest.approx(float(values.var()), rel=0.4)  # var has error 10 %


def test_kid_has_the_expected_value_of_shifted_gaussians():
    """One dimension, N(0, 1) against N(c, 1), kernel (ab + 1)^3 = sum of binom(3, k) a^k b^k:
    MMD^2 = sum over k of binom(3, k) (difference of the k-th moments)^2."""
    c = 0.5
    expected = 3 * c**2 + 3 * (c**2) ** 2 + (c**3 + 3 * c) ** 2
    estimate = kernel_distance(normal(20000, 1), c + normal(20000, 1, seed=1))
    assert estimate.value == pytest.approx(expected, abs=4 * estimate.standard_error)
    assert estimate.standard_error < 0.1 * expected
    assert estimate.count == (20000, 20000)
    assert str(estimate).endswith("(N = 20000 and 20000)")


def test_kid_of_unequal_sets_is_reproducible_and_seeded():
    x, y = normal(50, 3), normal(33, 3, seed=1) + 1
    assert kernel_distance(x, y) == kernel_distance(x, y)
    assert kernel_distance(x, y) != kernel_distance(x, y, seed=1)
    assert kernel_distance(x.float(), y.float()).value == pytest.approx(kernel_distance(x, y).value, rel=1e-5)


def test_kid_is_the_mean_over_ten_subsets_with_its_standard_error():
    """40 images: ten subsets of four, in an order drawn from the seed; the root of S - 1 in the deviation."""
    x, y = normal(40, 3), normal(40, 3, seed=1) + 0.5
    generator = torch.Generator().manual_seed(5)
    x_order, y_order = (torch.randperm(40, generator=generator) for _ in range(2))
    values = [mmd_by_loops(x[a], y[b]) for a, b in zip(x_order.split(4), y_order.split(4))]
    mean = sum(values) / 10
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (10 - 1))
    found = kernel_distance(x, y, seed=5)
    assert found.value == pytest.approx(mean, rel=1e-10)
    assert found.standard_error == pytest.approx(deviation / math.sqrt(10), rel=1e-10)


def test_subsets_are_of_1000_images_where_there_are_enough():
    x, y = normal(10_010, 1), normal(10_010, 1, seed=1) + 0.5
    assert kernel_distance(x, y) == kernel_distance(x, y, subset_size=1000)


def brute_force(real, fake, k):
    distance = lambda a, b: math.dist(a.tolist(), b.tolist())
    radius = lambda points, i: sorted(distance(points[i], other) for other in points)[k]
    inside = lambda point, centers: any(
        distance(point, centers[i]) <= radius(centers, i) for i in range(len(centers))
    )
    share = lambda points, centers: sum(inside(point, centers) for point in points) / len(points)
    return share(fake, real), share(real, fake)


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_equal_brute_force(k):
    real, fake = normal(40, 2), 0.7 * normal(31, 2, seed=1) + 0.8
    found = precision_recall(real, fake, k=k, chunk=7)
    assert found[:2] == brute_force(real, fake, k)
    assert min(found[:2]) > 0 and max(found[:2]) < 1
    assert found.count == (40, 31)


def test_radii_and_balls_on_a_line():
    """Points 0, 1, 3, 7: the nearest neighbours lie at 1, 1, 2, 4; edges belong to the ball."""
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]], dtype=torch.float64)
    assert squared_radii(line, 1).tolist() == [1, 1, 4, 16]
    probes = torch.tensor([[-1.0], [-1.01], [2.99], [11.0], [11.01]], dtype=torch.float64)
    assert covered(probes, line, squared_radii(line, 1)).tolist() == [True, False, True, True, False]


def test_one_mode_of_two_is_precise_but_misses_half():
    modes = torch.cat([normal(300, 4), normal(300, 4, seed=1) + 50])
    found = precision_recall(modes, normal(300, 4, seed=2))
    assert found.precision > 0.9
    assert 0.4 < found.recall <= 0.5


def test_identical_and_distant_sets():
    x = normal(50, 6)
    assert precision_recall(x, x)[:2] == (1, 1)
    assert precision_recall(x, x + 1e6)[:2] == (0, 0)


def test_offset_costs_no_digits():
    real, fake = normal(40, 2), normal(40, 2, seed=1)
    assert precision_recall(real + 1e6, fake + 1e6) == precision_recall(real, fake)


def test_jackknife_gives_precision_an_error():
    real, fake = normal(100, 2), normal(100, 2, seed=1) + 1
    estimate = jackknife(lambda x, y: precision_recall(x, y).precision, real, fake)
    assert estimate.value == precision_recall(real, fake).precision
    assert 0 < estimate.standard_error < 0.3


def test_too_few_or_broken_features():
    with pytest.raises(InputError, match="KID needs at least 20 images in each set, found 19 and 50"):
        kernel_distance(normal(19, 2), normal(50, 2))
    with pytest.raises(InputError, match="at k = 3 need more than 3 images in each set, found 3 and 50"):
        precision_recall(normal(3, 2), normal(50, 2))
    with pytest.raises(InputError, match="need more than 3 images in each set, found 50 and 3"):
        precision_recall(normal(50, 2), normal(3, 2))
    assert precision_recall(normal(4, 2), normal(4, 2, seed=1)).count == (4, 4)
    with pytest.raises(InputError, match="KID needs at least 20 images in each set, found 50 and 19"):
        kernel_distance(normal(50, 2), normal(19, 2))
    broken = normal(30, 2).index_fill(0, torch.tensor([4]), math.nan)
    for metric in (kernel_distance, precision_recall):
        with pytest.raises(InputError, match="features: NaN or infinite values"):
            metric(broken, normal(30, 2))
        with pytest.raises(ValueError, match=r"\(30, 2\)"):
            metric(normal(30, 2), normal(30, 3))


OPTIONS = {"hair": ("none", "long", "short"), "glasses": ("no", "yes")}


def test_validity_and_coverage_by_hand():
    predicted = {"hair": torch.tensor([0, 0, 2, -1, 2]), "glasses": torch.tensor([1, 1, 0, 1, -1])}
    assert attributes.validity(predicted) == 3 / 5
    assert attributes.coverage(predicted, OPTIONS) == 2 / 6  # (none, yes) twice, (short, no)


def test_coverage_counts_every_combination_once():
    hair, glasses = torch.meshgrid(torch.arange(3), torch.arange(2), indexing="ij")
    predicted = {"hair": hair.flatten(), "glasses": glasses.flatten()}
    assert attributes.coverage(predicted, OPTIONS) == 1
    assert attributes.coverage({name: values[1:] for name, values in predicted.items()}, OPTIONS) == 5 / 6


def test_coverage_of_draws_is_as_expected():
    K, N, repeats = 60, 100, 400
    generator = torch.Generator().manual_seed(0)
    found = torch.tensor(
        [
            attributes.coverage(
                {"a": torch.randint(0, K, (N,), generator=generator)}, {"a": tuple(map(str, range(K)))}
            )
            for _ in range(repeats)
        ]
    )
    expected = attributes.expected_coverage(N, K)
    assert expected == pytest.approx(1 - (1 - 1 / K) ** N, rel=1e-12)
    assert abs(float(found.mean()) - expected) < 4 * float(found.std()) / math.sqrt(repeats)


def test_expected_coverage_of_uneven_draws():
    assert attributes.expected_coverage(2, torch.tensor([0.75, 0.25, 0.0])) == pytest.approx(
        ((1 - 0.25**2) + (1 - 0.75**2)) / 3
    )
    assert attributes.expected_coverage(5, torch.tensor([1.0, 0.0])) == 0.5


def test_predictions_that_do_not_fit_the_options():
    with pytest.raises(InputError, match="hair: predicted option 3, but there are only 3"):
        attributes.coverage({"hair": torch.tensor([0, 3]), "glasses": torch.tensor([0, 1])}, OPTIONS)
    with pytest.raises(ValueError, match="no predictions for the attribute glasses"):
        attributes.coverage({"hair": torch.tensor([1])}, OPTIONS)
    with pytest.raises(ValueError, match="one N above 0"):
        attributes.validity({"hair": torch.tensor([1]), "glasses": torch.tensor([0, 1])})
