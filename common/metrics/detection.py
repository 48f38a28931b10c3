"""Detection: rates, thresholds chosen on validation data, ROC AUC, bootstrap intervals.  Theory:
theory/en/metrics.md.

A score is a number per image, larger for more anomalous; an image is flagged when its score is above the
threshold. Anomalies (spills) are the positive class.
"""

from __future__ import annotations

from typing import NamedTuple

from common.errors import InputError

import torch
from torch import Tensor


class Rates(NamedTuple):
    """Shares in [0, 1]; NaN where nothing was there to share."""

    tpr: Tensor
    """Share of anomalies that were flagged: sensitivity, recall."""
    tnr: Tensor
    """Share of normal images that were not flagged: specificity."""
    precision: Tensor
    """Share of flagged images that are anomalies; it depends on how many anomalies the set has."""


def rates(normal: Tensor, anomalous: Tensor, threshold: float) -> Rates:  # (N0,), (N1,) -> three scalars
    """True-positive rate, true-negative rate and precision at one threshold, eq. (metrics.1)."""
    return _rates((normal > threshold).double(), (anomalous > threshold).double())


def _rates(false_alarms: Tensor, hits: Tensor) -> Rates:  # (..., N0), (..., N1) counts -> (...,)
    # task hw1.c: true-positive rate, true-negative rate and precision
    flagged_normal, flagged_anomalous = false_alarms.sum(-1), hits.sum(-1)
    return Rates(
        flagged_anomalous / hits.shape[-1],
        1 - flagged_normal / false_alarms.shape[-1],
        flagged_anomalous / (flagged_anomalous + flagged_normal),
    )
    # end task


# ---- thresholds, from validation scores only


def threshold_fraction_of_max(anomalous: Tensor, fraction: float = 0.56) -> float:
    """`fraction` of the largest score among known anomalies, eq. (metrics.2): the class-room rule."""
    _require(anomalous, "anomalous validation images")
    # task hw1.c: the class-room rule
    return fraction * anomalous.max().item()
    # end task


def threshold_quantile(normal: Tensor, false_alarm_rate: float = 0.05) -> float:
    """The k-th smallest normal score, k = ceil((n + 1)(1 - rate)), eq. (metrics.3); needs no anomalies.

    A new normal image is then flagged with probability at most `false_alarm_rate`.  InputError when n is too
    small for that promise (n + 1 < 1 / rate).
    """
    _require(normal, "normal validation images")
    count = len(normal)
    k = -(-(count + 1) * (1 - false_alarm_rate) // 1)
    if k > count:
        raise InputError(
            f"a false-alarm rate of {false_alarm_rate} needs at least {int(-(-1 // false_alarm_rate)) - 1} "
            f"normal validation images, found {count}; add images or allow more false alarms"
        )
    return normal.kthvalue(int(k)).values.item()


def threshold_youden(normal: Tensor, anomalous: Tensor) -> float:
    """The threshold that maximises TPR + TNR - 1, eq. (metrics.4) (Youden 1950), midway to the next score
    above."""
    _require(normal, "normal validation images")
    _require(anomalous, "anomalous validation images")
    scores = torch.cat([normal, anomalous]).unique()  # sorted
    tpr = 1 - torch.searchsorted(anomalous.sort().values, scores, right=True) / len(anomalous)
    fpr = 1 - torch.searchsorted(normal.sort().values, scores, right=True) / len(normal)
    best = int((tpr - fpr).argmax())
    above = scores[min(best + 1, len(scores) - 1)]
    return ((scores[best] + above) / 2).item()


def _require(scores: Tensor, what: str) -> None:
    if len(scores) == 0:
        raise InputError(f"no {what} to choose a threshold from; add some or use another rule")
    if not scores.isfinite().all():
        raise InputError(
            f"{(~scores.isfinite()).sum()} of the scores of {what} are not finite; train the model again"
        )


# ---- curves and intervals


def roc_auc(normal: Tensor, anomalous: Tensor) -> float:
    """P(anomalous score > normal score) + P(equal) / 2, eq. (metrics.5): area under the ROC curve."""
    ones = lambda scores: torch.ones(1, len(scores), dtype=torch.float64)
    return _weighted_auc(normal, anomalous, ones(normal), ones(anomalous)).item()


def roc_curve(normal: Tensor, anomalous: Tensor) -> tuple[Tensor, Tensor]:
    """False- and true-positive rate for every threshold, (0, 0) to (1, 1); the area is eq. (metrics.5)."""
    thresholds = torch.cat([normal, anomalous]).unique().flip(0)
    above = lambda scores: 1 - torch.searchsorted(scores.sort().values, thresholds) / len(scores)
    corner = torch.zeros(1)
    return torch.cat([corner, above(normal)]), torch.cat([corner, above(anomalous)])


def bootstrap_interval(
    normal: Tensor,
    anomalous: Tensor,
    threshold: float,
    *,
    repeats: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of tpr, tnr, precision and auc, eq. (metrics.6) (Efron 1979).

    Normal and anomalous images are resampled apart, so each resample has as many of each as the set.  The
    threshold stays: the interval says what other test images would have given.
    """
    generator = torch.Generator().manual_seed(seed)
    weights0, weights1 = (_resample(len(scores), repeats, generator) for scores in (normal, anomalous))
    values = _rates(weights0 * (normal > threshold), weights1 * (anomalous > threshold))._asdict()
    values["auc"] = _weighted_auc(normal, anomalous, weights0, weights1)
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    return {name: tuple(value.nanquantile(tails).tolist()) for name, value in values.items()}


def _resample(count: int, repeats: int, generator: torch.Generator) -> Tensor:
    """(repeats, count): how often each of `count` images is drawn when `count` are drawn with replacement."""
    drawn = torch.randint(count, (repeats, count), generator=generator)
    counts = torch.zeros(repeats, count, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones_like(counts))


def _weighted_auc(normal: Tensor, anomalous: Tensor, weights0: Tensor, weights1: Tensor) -> Tensor:
    """AUC when image i counts weights[:, i] times: (R, N0), (R, N1) -> (R,)."""
    ordered, order = normal.sort()
    below = torch.nn.functional.pad(weights0[:, order].cumsum(1), (1, 0))  # (R, N0 + 1): of the k smallest
    less = below[:, torch.searchsorted(ordered, anomalous)]
    less_or_equal = below[:, torch.searchsorted(ordered, anomalous, right=True)]
    wins = (weights1 * (less + less_or_equal) / 2).sum(1)
    return wins / (weights0.sum(1) * weights1.sum(1))
