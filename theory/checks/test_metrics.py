"""Checks of theory/{en,ru}/metrics.md, detection, against common/metrics/detection.py.

Monte Carlo results are compared by z = (estimate - closed form) / standard error.  A correct formula breaks
|z| < 4.5 once in 150,000 seeds, and the seeds are fixed.
"""

import math
from fractions import Fraction

from common.errors import InputError
from common.metrics import detection

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as sklearn_metrics

from theory.checks.draws import Z
from theory.printed import printed
from theory.tags import verifies


def gaussian_scores(normal: int, spills: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """N(0, 1) for normal images, N(2, 1) for spills: the page's example."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda count: torch.randn(count, generator=generator, dtype=torch.float64)
    return draw(normal), draw(spills) + 2


@verifies("metrics.1")
def test_rates_are_the_shares_of_the_confusion_matrix_and_precision_follows_from_prevalence():
    hits, passes, precision = printed(r"""
        \begin{aligned}
        \mathrm{TPR} &= «hits» = 1 - F_+(t) , \\[1ex]
        \mathrm{TNR} &= «passes» = F_-(t) , \\[1ex]
        \mathrm{precision} &= «precision»
        \end{aligned}
        \tag{metrics.1}
    """)
    normal, spills = gaussian_scores(301, 77, seed=0)
    rates = detection.rates(normal, spills, threshold=1.3)
    truth = np.r_[np.zeros(301), np.ones(77)]
    alarm = torch.cat([normal, spills]).numpy() > 1.3
    (tn, fp), (fn, tp) = sklearn_metrics.confusion_matrix(truth, alarm)
    assert float(rates.tpr) == pytest.approx(tp / (tp + fn), abs=1e-12)
    assert float(rates.tnr) == pytest.approx(tn / (tn + fp), abs=1e-12)
    prevalence = 77 / 378
    tpr, tnr = float(rates.tpr), float(rates.tnr)
    from_prevalence = prevalence * tpr / (prevalence * tpr + (1 - prevalence) * (1 - tnr))
    assert float(rates.precision) == pytest.approx(tp / (tp + fp), abs=1e-12)
    assert float(rates.precision) == pytest.approx(from_prevalence, abs=1e-12)
    assert detection.rates(torch.tensor([1.0]), torch.tensor([1.0]), 1.0).tpr == 0  # alarm only above t
    counts = {"TP": tp, "FN": fn, "TN": tn, "FP": fp}
    found = [share(**counts).item() for share in (hits, passes, precision)]
    assert found == pytest.approx([tpr, tnr, float(rates.precision)], abs=1e-12)


@verifies("metrics.2")
def test_fraction_of_max_has_the_law_of_a_maximum_and_grows_with_the_set():
    printed(r"t = c \max_{i} s^+_i , \qquad P(t \le u) = F_+(u / c)^{n_+} \tag{metrics.2}")
    scores = np.random.default_rng(0).exponential(size=(4000, 100))
    thresholds = {
        n: np.array([detection.threshold_fraction_of_max(torch.from_numpy(row[:n])) for row in scores])
        for n in (10, 100)
    }
    for n, t in thresholds.items():
        harmonic = sum(1 / i for i in range(1, n + 1))
        assert abs(t.mean() - 0.56 * harmonic) < Z * t.std() / math.sqrt(len(t))
        closed = (1 - math.exp(-2.0 / 0.56)) ** n  # P(t <= 2) = F(2 / c)^n
        assert abs((t <= 2).mean() - closed) < Z * math.sqrt(closed * (1 - closed) / len(t))
    some = torch.from_numpy(scores[0])
    scaled = detection.threshold_fraction_of_max(7 * some)
    assert scaled == pytest.approx(7 * detection.threshold_fraction_of_max(some), rel=1e-12)


@verifies("metrics.3")
@pytest.mark.parametrize(("n", "alpha"), [(19, "0.05"), (40, "0.05"), (100, "0.05"), (30, "0.2"), (9, "0.1")])
def test_quantile_threshold_keeps_its_false_alarm_rate_for_any_distribution(n, alpha):
    (rank,) = printed(r"""
        t = s_{(k)} ,
        \qquad
        k = «rank»
        \quad\Longrightarrow\quad
        P(s_{n+1} \gt t) \le \alpha
        \tag{metrics.3}
    """)
    k = math.ceil((n + 1) * (1 - Fraction(alpha)))
    exact = 1 - k / (n + 1)
    assert float(alpha) - 1 / (n + 1) < exact <= float(alpha) + 1e-12
    generator = torch.Generator().manual_seed(n)
    scores = torch.randn(4000, n + 1, generator=generator, dtype=torch.float64).exp()  # log-normal
    thresholds = [detection.threshold_quantile(row, float(alpha)) for row in scores[:, :n]]
    thresholds = torch.tensor(thresholds, dtype=torch.float64)
    assert torch.equal(thresholds, scores[:, :n].sort(1).values[:, k - 1])
    given_validation = stats.lognorm(1).sf(thresholds.numpy())  # false-alarm rate of each threshold
    law = stats.beta(n + 1 - k, k)
    assert law.mean() == pytest.approx(exact)
    assert abs(given_validation.mean() - exact) < Z * law.std() / math.sqrt(len(scores))
    assert stats.kstest(given_validation, law.cdf).pvalue > 1e-5
    alarms = (scores[:, n] > thresholds).double().mean().item()
    assert abs(alarms - exact) < Z * math.sqrt(exact * (1 - exact) / len(scores))
    assert rank(n=n, alpha=float(alpha)) == k


@verifies("metrics.3")
def test_quantile_threshold_with_ties_and_with_too_few_images():
    generator = torch.Generator().manual_seed(1)
    scores = torch.randint(0, 4, (4000, 21), generator=generator).double()
    thresholds = torch.tensor([detection.threshold_quantile(row, 0.2) for row in scores[:, :20]])
    assert (scores[:, 20] > thresholds).double().mean() < 0.2  # ties only make alarms rarer
    with pytest.raises(InputError, match="at least 19"):
        detection.threshold_quantile(torch.arange(18.0), 0.05)


@verifies("metrics.3")
def test_the_plain_quantile_of_19_scores_lets_more_than_one_in_twenty_through():
    uniform = np.random.default_rng(2).random((40_000, 19))
    rate = 1 - np.quantile(uniform, 0.95, axis=1)
    assert abs(rate.mean() - 0.095) < Z * rate.std() / math.sqrt(len(rate))


@verifies("metrics.4")
def test_youden_threshold_maximises_the_sum_of_rates():
    printed(r"""
        J = \max_{t} \bigl[ \mathrm{TPR}(t) + \mathrm{TNR}(t) - 1 \bigr] = \max_{t} \bigl[ F_-(t) - F_+(t)
        \bigr]
        \tag{metrics.4}
    """)
    normal, spills = gaussian_scores(61, 43, seed=3)
    normal, spills = normal.mul(4).round() / 4, spills.mul(4).round() / 4  # with ties
    informedness = lambda t: sum(map(float, detection.rates(normal, spills, t)[:2])) - 1
    found = informedness(detection.threshold_youden(normal, spills))
    everywhere = [informedness(t) for t in torch.linspace(-5, 8, 2001).tolist()]
    assert found == pytest.approx(max(everywhere), abs=1e-12)
    kolmogorov_smirnov = stats.ks_2samp(normal.numpy(), spills.numpy(), alternative="greater").statistic
    assert found == pytest.approx(kolmogorov_smirnov, abs=1e-12)


@verifies("metrics.4")
def test_youden_of_two_gaussians_and_its_optimism_without_any_difference():
    normal, spills = gaussian_scores(200_000, 200_000, seed=4)
    t = detection.threshold_youden(normal, spills)
    j = sum(map(float, detection.rates(normal, spills, t)[:2])) - 1
    assert abs(j - (2 * stats.norm.cdf(1) - 1)) < Z * math.sqrt(2 * 0.841 * 0.159 / 200_000) + 0.001
    assert stats.norm.pdf(t) == pytest.approx(stats.norm.pdf(t - 2), rel=0.1)  # equal densities; flat maximum
    same = torch.from_numpy(np.random.default_rng(5).random((3000, 40)))
    best = [
        sum(
            map(
                float, detection.rates(row[:20], row[20:], detection.threshold_youden(row[:20], row[20:]))[:2]
            )
        )
        for row in same
    ]
    assert abs(np.mean(best) - 1 - 0.1746) < Z * np.std(best) / math.sqrt(len(best))


@verifies("metrics.5")
def test_auc_is_the_share_of_ordered_pairs_the_area_and_the_rank_formula():
    printed(r"""
        \begin{aligned}
        \mathrm{AUC} = \int_0^1 \mathrm{TPR} \, \mathrm{d}(1 - \mathrm{TNR})
        &= P(S_+ \gt S_-) + \tfrac{1}{2} P(S_+ = S_-) \\
        &= \frac{1}{n_+ n_-} \sum_{i=1}^{n_+} \sum_{j=1}^{n_-} \Bigl( \mathbb{1}[s^+_i \gt s_j] +
        \tfrac{1}{2} \mathbb{1}[s^+_i = s_j] \Bigr)
        \end{aligned}
        \tag{metrics.5}
    """)
    normal, spills = gaussian_scores(53, 31, seed=6)
    normal, spills = normal.mul(3).round(), spills.mul(3).round()  # many ties
    auc = detection.roc_auc(normal, spills)
    wins = (spills[:, None] > normal).double() + 0.5 * (spills[:, None] == normal).double()
    assert auc == pytest.approx(wins.mean().item(), abs=1e-12)
    false_alarms, hits = (axis.double().numpy() for axis in detection.roc_curve(normal, spills))
    assert auc == pytest.approx(
        np.trapezoid(hits, false_alarms), abs=1e-6
    )  # the curve is in single precision
    rank_sum = stats.rankdata(torch.cat([normal, spills]))[53:].sum()
    assert auc == pytest.approx((rank_sum - 31 * 32 / 2) / (31 * 53), abs=1e-12)
    assert detection.roc_auc(normal.div(9).exp(), spills.div(9).exp()) == auc  # only the order matters


@verifies("metrics.5")
def test_auc_of_two_gaussians():
    areas = [detection.roc_auc(*gaussian_scores(60, 40, seed)) for seed in range(2000)]
    closed = stats.norm.cdf(2 / math.sqrt(2))
    assert abs(np.mean(areas) - closed) < Z * np.std(areas) / math.sqrt(len(areas))


@verifies("metrics.6")
def test_bootstrap_of_a_rate_has_binomial_quantiles_and_fails_at_the_edge():
    printed(r"""
        \bigl[ \, Q_{\delta / 2}, \; Q_{1 - \delta / 2} \, \bigr] ,
        \qquad
        Q_u \;\; \text{the quantile of order } u \text{ of } \hat m^*_1, \dots, \hat m^*_B
        \tag{metrics.6}
    """)
    normal = torch.arange(100.0)
    intervals = detection.bootstrap_interval(normal, torch.full((30,), 999.0), threshold=74.5, repeats=4000)
    low, high = stats.binom(100, 0.75).ppf([0.025, 0.975]) / 100
    assert intervals["tnr"] == pytest.approx((low, high), abs=0.0101)  # one image either way
    assert intervals["tpr"] == (1.0, 1.0)
    clopper_pearson = stats.binomtest(30, 30).proportion_ci(0.95).low
    assert clopper_pearson == pytest.approx(0.025 ** (1 / 30), abs=1e-9)


@verifies("metrics.6")
def test_bootstrap_interval_of_auc_covers_the_truth_and_agrees_with_hanley_and_mcneil():
    truth, n = stats.norm.cdf(2 / math.sqrt(2)), 50
    intervals = np.array(
        [
            detection.bootstrap_interval(*gaussian_scores(n, n, seed), 1.0, repeats=300, seed=seed)["auc"]
            for seed in range(400)
        ]
    )
    covered = ((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).mean()
    assert 0.95 - 0.03 - Z * math.sqrt(0.05 * 0.95 / 400) < covered < 0.95 + Z * math.sqrt(0.05 * 0.95 / 400)
    q1, q2 = truth / (2 - truth), 2 * truth**2 / (1 + truth)
    variance = (truth * (1 - truth) + (n - 1) * (q1 + q2 - 2 * truth**2)) / n**2
    half_width = (intervals[:, 1] - intervals[:, 0]).mean() / 2
    assert half_width == pytest.approx(1.96 * math.sqrt(variance), rel=0.15)
