"""A standard error for any metric of two sets: leave out one tenth of the images at a time.

A bootstrap would draw the same image twice, which makes a set look less varied than it is and moves Fréchet
distances, precision and recall by more than their spread.  The delete-a-group jackknife (Efron and Tibshirani
1993, ch. 11) draws nothing twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from common.errors import InputError

import torch
from torch import Tensor

Part = TypeVar("Part")


class Estimate(NamedTuple):
    """A value with its spread and the numbers of images behind it."""

    value: float
    standard_error: float
    count: tuple[int, int]
    """Images in the first and in the second set."""

    def __str__(self) -> str:
        return f"{self.value:.6g} ± {self.standard_error:.2g} (N = {self.count[0]} and {self.count[1]})"


def jackknife(metric: Callable[[Tensor, Tensor], float], x: Tensor, y: Tensor, groups: int = 10) -> Estimate:
    """metric(x, y) of features (N, D) and (M, D) with its standard error; calls `metric` groups + 1 times.

    Row i belongs to group i mod `groups`: rows in the order of a generator or of a shuffled set.
    """
    if min(len(x), len(y)) < 2 * groups or groups < 2:
        raise InputError(f"{groups} groups need at least {2 * groups} images, found {len(x)} and {len(y)}")
    split = lambda rows: [rows[group::groups] for group in range(groups)]
    value, error = jackknife_of_groups(metric, split(x), split(y), torch.cat)
    return Estimate(value, error, (len(x), len(y)))


def jackknife_of_groups(
    metric: Callable[[Part, Part], float],
    first: Sequence[Part],
    second: Sequence[Part],
    combine: Callable[[Sequence[Part]], Part],
) -> tuple[float, float]:
    """metric(all of `first`, all of `second`) and its standard error, leaving out one group of each at a
    time.

    `combine` joins groups: torch.cat for features, Statistics.merged for streamed statistics.  A set of one
    group (published statistics, say) is never left out: the spread is then that of the other set alone.
    """
    without = lambda parts, group: (
        parts if len(parts) == 1 else [part for i, part in enumerate(parts) if i != group]
    )
    groups = max(len(first), len(second))
    if groups < 2 or len({len(first), len(second)} - {1}) > 1:
        raise ValueError(f"cannot pair {len(first)} groups with {len(second)}")
    value = metric(combine(first), combine(second))
    left_out = [
        metric(combine(without(first, group)), combine(without(second, group))) for group in range(groups)
    ]
    mean = sum(left_out) / groups
    return value, math.sqrt((groups - 1) / groups * sum((each - mean) ** 2 for each in left_out))
