"""Fréchet distances against closed forms, many digits and pytorch-fid; streamed statistics."""

import warnings

from common.errors import InputError
from common.metrics import frechet, spread
from common.metrics.frechet import Moments, Statistics

import mpmath
import numpy as np
import pytest
import torch
from pytorch_fid import fid_score


def features(count, dimension, seed=0, scale=1.0):
    """Correlated features with eigenvalues over three decades."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    spectrum = torch.logspace(0, -1.5, dimension, dtype=torch.float64)
    return scale * draw(count, dimension) * spectrum @ torch.linalg.qr(draw(dimension, dimension)).Q + draw(
        dimension
    )


def mean_and_covariance(x):
    return x.mean(0).numpy(), np.cov(x.numpy(), rowvar=False)


def exact_distance(x, y, digits=60):
    """The distance of two samples in `digits` decimal digits, from eq. (metrics.8) in small matrices."""
    with mpmath.workdps(digits):
        means, grams = [], []
        for rows in (x, y):
            matrix = mpmath.matrix(rows.tolist())
            N, D = matrix.rows, matrix.cols
            mean = [mpmath.fsum(matrix[i, j] for i in range(N)) / N for j in range(D)]
            for i in range(N):
                for j in range(D):
                    matrix[i, j] -= mean[j]
            means.append(mean)
            grams.append(matrix / mpmath.sqrt(N - 1))
        a, b = grams
        cross = a * b.T
        eigenvalues = mpmath.eigsy(cross * cross.T, eigvals_only=True)
        root = mpmath.fsum(mpmath.sqrt(max(value, 0)) for value in eigenvalues)
        trace = mpmath.fsum(v * v for v in a) + mpmath.fsum(v * v for v in b)
        return float(mpmath.fsum((p - q) ** 2 for p, q in zip(*means)) + trace - 2 * root)


def test_one_dimension():
    assert frechet.frechet_distance(1.0, 4.0, -2.0, 9.0) == pytest.approx(9 + (2 - 3) ** 2, rel=1e-14)


def test_diagonal_gaussians():
    variance1, variance2 = torch.tensor([1.0, 4.0, 0.25]), torch.tensor([9.0, 1.0, 0.0])
    expected = ((variance1.sqrt() - variance2.sqrt()) ** 2).sum() + 3
    found = frechet.frechet_distance(torch.zeros(3), variance1.diag(), torch.ones(3), variance2.diag())
    assert found == pytest.approx(float(expected), rel=1e-14)


def test_a_set_and_its_shifted_copy():
    x = features(200, 24)
    mu, sigma = mean_and_covariance(x)
    shift = np.linspace(-1, 1, 24)
    assert frechet.frechet_distance(mu, sigma, mu, sigma) < 1e-13 * np.trace(sigma)
    assert frechet.frechet_distance(mu, sigma, mu + shift, sigma) == pytest.approx(shift @ shift, rel=1e-12)


def test_rotation_and_scale():
    x, y = features(200, 16), features(150, 16, seed=1)
    rotation = torch.linalg.qr(features(16, 16, seed=2)).Q
    distance = frechet.frechet_distance_from_features(x, y)
    assert frechet.frechet_distance_from_features(y, x) == pytest.approx(distance, rel=1e-12)
    assert frechet.frechet_distance_from_features(3 * x @ rotation, 3 * y @ rotation) == pytest.approx(
        9 * distance, rel=1e-12
    )


def test_rank_one_against_identity():
    """Tr (v v' I)^(1/2) = |v|: a covariance of rank one has a closed form too."""
    v = torch.tensor([3.0, 0.0, 4.0])
    found = frechet.frechet_distance(torch.zeros(3), v[:, None] * v, torch.zeros(3), torch.eye(3))
    assert found == pytest.approx(25 + 3 - 2 * 5, rel=1e-14)


def test_sets_without_any_spread():
    constant = torch.ones(5, 3)
    assert frechet.frechet_distance_from_features(constant, 3 * constant) == pytest.approx(12)
    assert frechet.distance(
        Statistics.of(torch.ones(5, 3)), Statistics.of(3 * torch.ones(5, 3))
    ) == pytest.approx(12)


@pytest.mark.parametrize(("counts", "dimension"), [((400, 300), 64), ((1000, 90), 48)])
def test_full_rank_agrees_with_pytorch_fid(counts, dimension):
    x, y = features(counts[0], dimension), features(counts[1], dimension, seed=1, scale=1.1)
    moments = (*mean_and_covariance(x), *mean_and_covariance(y))
    expected = fid_score.calculate_frechet_distance(*moments)
    assert frechet.frechet_distance(*moments) == pytest.approx(expected, rel=1e-6)
    assert frechet.frechet_distance_from_features(x, y) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("counts", [(40, 30), (20, 200)])
def test_deficient_rank_agrees_with_pytorch_fid(counts):
    x, y = features(counts[0], 96), features(counts[1], 96, seed=1, scale=1.1)
    moments = (*mean_and_covariance(x), *mean_and_covariance(y))
    expected = fid_score.calculate_frechet_distance(*moments)
    assert frechet.frechet_distance(*moments) == pytest.approx(expected, rel=1e-5)
    assert frechet.frechet_distance_from_features(x, y) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("counts", [(9, 7), (9, 40)])
def test_deficient_rank_against_sixty_digits(counts):
    x, y = features(counts[0], 16), features(counts[1], 16, seed=1)
    exact = exact_distance(x, y)
    moments = (*mean_and_covariance(x), *mean_and_covariance(y))
    assert frechet.frechet_distance_from_features(x, y) == pytest.approx(exact, rel=1e-13)
    assert frechet.frechet_distance(*moments) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dimension", [1, 12])
def test_statistics_stay_as_they_are(order, dimension):
    moments = [
        np.array(values, order=order)
        for seed in (0, 1)
        for values in (
            np.zeros(dimension),
            np.atleast_2d(np.cov(features(40, dimension, seed), rowvar=False)),
        )
    ]
    before = [values.copy() for values in moments]
    assert frechet.frechet_distance(*moments) == frechet.frechet_distance(*moments) > 0
    assert all(np.array_equal(one, other) for one, other in zip(moments, before))


@pytest.mark.parametrize("counts", [(200, 60), (200, 20), (20, 200)])
def test_either_set_may_be_the_one_of_deficient_rank(counts):
    x, y = features(counts[0], 48), features(counts[1], 48, seed=1)
    moments = [mean_and_covariance(x), mean_and_covariance(y)]
    expected = frechet.frechet_distance_from_features(x, y)
    for one, other in (moments, moments[::-1]):
        assert frechet.frechet_distance(*one, *other) == pytest.approx(expected, rel=1e-10)


def test_distance_never_negative():
    x = features(30, 64)
    mu, sigma = mean_and_covariance(x)
    assert frechet.frechet_distance(mu, sigma, mu, sigma * (1 + 1e-15)) >= 0


@pytest.mark.parametrize("chunk", [1, 7, 100, 500])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_streamed_statistics_equal_numpy(chunk, offset):
    x = features(500, 12) + offset
    statistics = Statistics.of(x.split(chunk))
    exact = torch.cov((x - offset).T)  # subtracting the offset again is exact to rounding of the data itself
    reference = torch.from_numpy(np.cov(x.numpy(), rowvar=False))
    assert statistics.count == 500
    assert (statistics.mu - x.mean(0)).abs().max() <= 1e-12 * max(1, offset)
    assert (statistics.sigma - reference).abs().max() <= 1e-12 * reference.abs().max()
    assert (statistics.sigma - exact).abs().max() <= (1e-12 + offset * 1e-15) * exact.abs().max()


def test_statistics_from_float32_features_keep_float64():
    x = features(300, 8).float() + 1000
    assert torch.allclose(Statistics.of(x.split(64)).sigma, torch.cov(x.double().T), rtol=1e-12, atol=1e-12)


def test_merge_equals_one_pass_and_leaves_the_parts():
    x = features(200, 10)
    parts = [Statistics.of(part) for part in x.split([50, 1, 149])]
    whole = Statistics.merged(parts)
    assert torch.allclose(whole.sigma, torch.cov(x.T), rtol=1e-12, atol=1e-14)
    assert torch.equal(parts[0].sigma, Statistics.of(x[:50]).sigma)
    assert (whole.count, whole.merge(Statistics(10)).count) == (200, 200)


def test_few_images_are_announced_with_their_rank():
    few, many = Statistics.of(features(10, 16)), Statistics.of(features(40, 16))
    with pytest.warns(
        UserWarning, match=r"first set has N = 10 images for D = 16 dimensions.*rank at most 9"
    ):
        frechet.distance(few, many)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet.distance(many, many)


def test_npz_goes_to_pytorch_fid_and_back(tmp_path):
    moments = Statistics.of(features(40, 16), features="inception-64").moments()
    moments.save(tmp_path / "ours.npz")
    mu, sigma = fid_score.compute_statistics_of_path(str(tmp_path / "ours.npz"), None, 1, 16, "cpu")
    assert (mu.dtype, mu.shape, sigma.shape) == (np.float64, (16,), (16, 16))
    again = Moments.load(tmp_path / "ours.npz")
    assert torch.equal(again.sigma, moments.sigma)
    assert (again.count, again.features) == (40, "inception-64")
    np.savez_compressed(tmp_path / "theirs.npz", mu=mu, sigma=sigma)
    theirs = Moments.load(tmp_path / "theirs.npz")
    assert torch.equal(theirs.mu, moments.mu)
    assert theirs.count is None
    assert frechet.distance(theirs, moments) < 1e-12


def _npz(tmp_path, **arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    return tmp_path / "a.npz"


def test_unusable_files_are_named(tmp_path):
    text = tmp_path / "text.npz"
    text.write_text("mu sigma")
    cut = _npz(tmp_path, mu=np.zeros(64), sigma=np.eye(64))
    (tmp_path / "cut.npz").write_bytes(cut.read_bytes()[:3000])
    for path in (text, tmp_path / "cut.npz"):
        with pytest.raises(InputError, match=rf"{path.name}: not an .npz file of numbers"):
            Moments.load(path)
    with pytest.raises(InputError, match=r"none.npz: no such file; make it with --save-stats"):
        Moments.load(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"a.npz: no sigma in it \(it holds: mu, cov\)"):
        Moments.load(_npz(tmp_path, mu=np.zeros(2), cov=np.eye(2)))
    with pytest.raises(InputError, match=r"a.npz: mu has 3 values and sigma is \(2, 2\)"):
        Moments.load(_npz(tmp_path, mu=np.zeros(3), sigma=np.eye(2)))
    with pytest.raises(InputError, match=r"a.npz: NaN or infinite values"):
        Moments.load(_npz(tmp_path, mu=np.zeros(2), sigma=np.full((2, 2), np.nan)))


def test_unusable_statistics():
    moments = lambda D, features="": Moments(torch.zeros(D), torch.eye(D), 100, features)
    with pytest.raises(InputError, match="64 and of 16 dimensions cannot be compared"):
        frechet.distance(moments(64), moments(16))
    with pytest.raises(InputError, match="inception-64 and of digits-v1 cannot be compared"):
        frechet.distance(moments(64, "inception-64"), moments(64, "digits-v1"))
    with pytest.raises(InputError, match="negative eigenvalues"):
        frechet.frechet_distance(
            torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]]), torch.zeros(2), torch.eye(2)
        )
    with pytest.raises(InputError, match="not symmetric"):
        frechet.frechet_distance(
            torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]]), torch.zeros(2), torch.eye(2)
        )
    with pytest.raises(InputError, match=r"features: 1 of 3 rows have NaN"):
        Statistics.of(torch.tensor([[0.0], [float("nan")], [1.0]]))
    with pytest.raises(InputError, match="at least two images, found 1"):
        _ = Statistics.of(torch.ones(1, 4)).sigma


def test_expected_bias_is_what_two_samples_of_one_gaussian_show():
    D, N, M, repeats = 20, 400, 300, 400
    scale = torch.logspace(0, -1, D, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    draw = lambda count: torch.randn(count, D, generator=generator, dtype=torch.float64) * scale
    values = torch.tensor([frechet.frechet_distance_from_features(draw(N), draw(M)) for _ in range(repeats)])
    error = float(values.std()) / repeats**0.5
    expected = frechet.expected_bias(scale.square().diag(), N, M)
    # four standard errors, and the next order of the expansion
    assert abs(float(values.mean()) - expected) < 4 * error + 0.01 * expected


@pytest.mark.parametrize("dimension", [1, 20])
def test_the_expected_bias_of_rank_one(dimension):
    """(1 / N + 1 / M) (5 / 4 + 1 / 4) v for the only eigenvalue v; rounding of the others costs nothing."""
    direction = torch.linspace(1, 2, dimension, dtype=torch.float64)
    expected = (1 / 100 + 1 / 50) * 1.5 * float(direction.square().sum())
    found = frechet.expected_bias(torch.outer(direction, direction), 100, 50)
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 4, 1)])
def test_features_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected features \(B, 4\)"):
        Statistics(4).update(torch.zeros(shape))


def test_jackknife_error_is_the_spread_over_repeats():
    """For the mean, the jackknife is exact on average: the mean of its squares is the variance."""
    generator = torch.Generator().manual_seed(0)
    metric = lambda x, y: float(x.mean() - y.mean())
    estimates = [
        spread.jackknife(
            metric, torch.randn(100, 1, generator=generator), 2 * torch.randn(400, 1, generator=generator)
        )
        for _ in range(400)
    ]
    true_variance = 1 / 100 + 4 / 400
    squares = torch.tensor([estimate.standard_error**2 for estimate in estimates])
    assert float(squares.mean()) == pytest.approx(true_variance, abs=4 * float(squares.std()) / 20)
    assert estimates[0].count == (100, 400)


def test_the_jackknife_of_a_mean_is_the_standard_error_of_a_mean():
    """Of one row a group: s / sqrt(n); by hand, and of a metric that is not symmetric."""
    x, y = torch.tensor([[1.0], [2.0], [6.0]]).double(), torch.zeros(3, 1).double()
    found = spread.jackknife_of_groups(
        lambda a, b: float(a.mean() - 2 * b.mean()), x.split(1), y.split(1), torch.cat
    )
    assert found == pytest.approx((3.0, (14 / 2) ** 0.5 / 3**0.5), rel=1e-12)
    found = spread.jackknife_of_groups(
        lambda a, b: float(a.mean() - 2 * b.mean()), y.split(1), x.split(1), torch.cat
    )
    assert found == pytest.approx((-6.0, 2 * (14 / 2) ** 0.5 / 3**0.5), rel=1e-12)


def test_how_few_groups_and_rows_a_jackknife_takes():
    metric, rows = lambda x, y: float(x.mean() - y.mean()), torch.arange(8.0)[:, None]
    assert spread.jackknife(metric, rows[:4], rows[:5], groups=2).standard_error > 0
    for first, second, groups in ((3, 4, 2), (4, 3, 2), (8, 8, 1)):
        with pytest.raises(InputError, match=f"^{groups} groups need at least {2 * groups} images"):
            spread.jackknife(metric, rows[:first], rows[:second], groups=groups)
    for first, second in ((4, 2), (2, 4), (8, 8)):  # parts of two rows, of four, all rows in one part
        with pytest.raises(ValueError, match="cannot pair"):
            spread.jackknife_of_groups(metric, rows.split(first), rows.split(second), torch.cat)


def test_jackknife_of_streamed_parts_equals_that_of_features():
    x, y = features(200, 8), features(100, 8, seed=1)
    by_features = spread.jackknife(frechet.frechet_distance_from_features, x, y, groups=5)
    parts = [[Statistics.of(rows[group::5]) for group in range(5)] for rows in (x, y)]
    value, error = spread.jackknife_of_groups(frechet.distance, *parts, Statistics.merged)
    assert (value, error) == pytest.approx(by_features[:2], rel=1e-9)
    fixed = spread.jackknife_of_groups(frechet.distance, parts[0], [Statistics.of(y)], Statistics.merged)
    assert fixed[0] == pytest.approx(value, rel=1e-12)
    assert 0 < fixed[1] < error * 1.5
    with pytest.raises(InputError, match="10 groups need at least 20 images, found 19 and 30"):
        spread.jackknife(frechet.frechet_distance_from_features, x[:19], y[:30])
