"""Rates, thresholds, ROC AUC and bootstrap against scikit-learn, brute force and limiting cases."""

import math

from common.errors import InputError
from common.metrics import detection

import pytest
import torch
from sklearn import metrics as sklearn_metrics


def scores(n0: int, n1: int, shift: float, seed: int = 0, ties: bool = False):
    generator = torch.Generator().manual_seed(seed)
    normal, anomalous = torch.randn(n0, generator=generator), torch.randn(n1, generator=generator) + shift
    return (normal.mul(2).round(), anomalous.mul(2).round()) if ties else (normal, anomalous)


def test_rates_by_hand():
    measured = detection.rates(torch.tensor([0.1, 0.2, 0.9, 0.4]), torch.tensor([0.5, 0.3]), 0.3)
    assert [value.item() for value in measured] == [
        0.5,
        0.5,
        pytest.approx(1 / 3),
    ]  # a score at the threshold passes
    nothing_flagged = detection.rates(torch.zeros(3), torch.zeros(2), 1.0)
    assert nothing_flagged.tpr == 0 and nothing_flagged.tnr == 1 and math.isnan(nothing_flagged.precision)


@pytest.mark.parametrize("ties", [False, True])
def test_auc_and_curve_agree_with_scikit_learn(ties):
    normal, anomalous = scores(70, 40, 0.8, ties=ties)
    labels, joined = [0] * 70 + [1] * 40, torch.cat([normal, anomalous])
    expected = sklearn_metrics.roc_auc_score(labels, joined)
    assert detection.roc_auc(normal, anomalous) == pytest.approx(expected, abs=1e-12)
    fpr, tpr = detection.roc_curve(normal, anomalous)
    assert torch.trapezoid(tpr, fpr).item() == pytest.approx(expected, abs=1e-6)
    wanted = sklearn_metrics.roc_curve(labels, joined, drop_intermediate=False)
    assert torch.allclose(fpr.double(), torch.from_numpy(wanted[0]), atol=1e-6)


def test_auc_of_perfect_and_of_equal_scores():
    assert detection.roc_auc(torch.tensor([0.0, 1.0]), torch.tensor([2.0])) == 1
    assert detection.roc_auc(torch.zeros(5), torch.zeros(3)) == 0.5


def test_fraction_of_max():
    assert detection.threshold_fraction_of_max(torch.tensor([1.0, 4.0, 2.0]), 0.56) == pytest.approx(2.24)


def test_quantile_keeps_its_promise_on_new_images():
    """P(flag) <= rate over calibration sets and new images together; the bound is tight to 1 / (n + 1)."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(4000, 40, generator=generator)  # 39 calibrate, one is new
    flagged = [row[-1].item() > detection.threshold_quantile(row[:-1], 0.1) for row in draws]
    share, error = sum(flagged) / 4000, math.sqrt(0.1 * 0.9 / 4000)
    assert 0.1 - 1 / 40 - 4 * error < share < 0.1 + 4 * error


def test_quantile_of_too_few_images_is_refused():
    assert detection.threshold_quantile(torch.arange(19.0), 0.05) == 18
    with pytest.raises(InputError, match="needs at least 19 normal validation images, found 18"):
        detection.threshold_quantile(torch.arange(18.0), 0.05)


def test_youden_is_the_best_of_all_thresholds():
    normal, anomalous = scores(60, 30, 1.0, ties=True)
    j = lambda t: sum(detection.rates(normal, anomalous, t)[:2]).item()
    assert j(detection.threshold_youden(normal, anomalous)) == max(
        j(t) for t in torch.cat([normal, anomalous]).tolist()
    )


@pytest.mark.parametrize(
    "choose",
    [
        detection.threshold_fraction_of_max,
        detection.threshold_quantile,
        lambda empty: detection.threshold_youden(torch.ones(3), empty),
    ],
)
def test_no_images_to_choose_from(choose):
    with pytest.raises(InputError, match=r"no (normal|anomalous) validation images"):
        choose(torch.empty(0))
    with pytest.raises(InputError, match="not finite"):
        choose(torch.tensor([1.0, float("nan")]))


def test_bootstrap_intervals_cover_the_truth():
    """AUC of N(0, 1) against N(1, 1) is Phi(1 / sqrt 2): 95 % intervals cover it 190 times in 200."""
    truth = 0.5 * (1 + math.erf(0.5))
    covered = 0
    for seed in range(200):
        normal, anomalous = scores(80, 80, 1.0, seed)
        low, high = detection.bootstrap_interval(normal, anomalous, 0.5, repeats=300, seed=seed)["auc"]
        covered += low <= truth <= high
    assert 178 <= covered <= 200  # 190 - 4 standard deviations


def test_bootstrap_matches_resampling_by_hand():
    normal, anomalous = scores(20, 12, 0.7, ties=True)
    generator = torch.Generator().manual_seed(3)
    weights = [detection._resample(n, 5, generator) for n in (20, 12)]
    fast = detection._weighted_auc(normal, anomalous, *weights)
    for row in range(5):
        repeated = [
            values.repeat_interleave(w[row].long()) for values, w in zip((normal, anomalous), weights)
        ]
        assert fast[row].item() == pytest.approx(detection.roc_auc(*repeated), abs=1e-12)
