"""Improved precision and recall of generated images, eq. (metrics.14) of theory/en/metrics.md.

Kynkäänniemi et al. (2019).  The set of images that count as real is the union of balls around the real
features, each reaching to its k-th neighbour among them.  Precision: the share of generated images inside;
recall: the share of real images inside the same union around the generated ones.

Compare only at equal N and k: the balls shrink as N grows.  `spread.jackknife` gives a standard error.
"""

from __future__ import annotations

from typing import NamedTuple

from common.errors import InputError

import torch
from torch import Tensor

ROUNDING = 1e-9
"""Relative slack of squared distances, so that points on a ball's edge are inside."""


class PrecisionRecall(NamedTuple):
    precision: float
    """Share of the generated images that look real, in [0, 1]."""
    recall: float
    """Share of the real images that the generator reaches, in [0, 1]."""
    count: tuple[int, int]
    """N of the real and of the generated images."""


def precision_recall(real: Tensor, fake: Tensor, *, k: int = 3, chunk: int = 2048) -> PrecisionRecall:
    """Both shares from features real (N, D) and fake (M, D), eq. (metrics.14).

    At most chunk x max(N, M) distances are held at a time.  float64, on the features' device.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(f"expected features (N, D), (M, D), got {tuple(real.shape)}, {tuple(fake.shape)}")
    if min(len(real), len(fake)) <= k:
        raise InputError(f"precision and recall at k = {k} need more than {k} images in each set, found "
                         f"{len(real)} and {len(fake)}; add images or lower k")  # fmt: skip
    if not (real.isfinite().all() and fake.isfinite().all()):
        raise InputError("features: NaN or infinite values; look at the images and the extractor's weights")
    center = real.double().mean(0)  # distances stay; their rounding shrinks
    real, fake = real.double() - center, fake.double() - center
    inside_real = covered(fake, real, squared_radii(real, k, chunk), chunk)
    inside_fake = covered(real, fake, squared_radii(fake, k, chunk), chunk)
    count = (len(real), len(fake))
    return PrecisionRecall(float(inside_real.double().mean()), float(inside_fake.double().mean()), count)


def squared_radii(points: Tensor, k: int, chunk: int = 2048) -> Tensor:
    """(N, D) -> (N,): squared distance of each point to its k-th nearest other point."""
    # the point itself is the first of k + 1
    return torch.cat(
        [_squared_distances(rows, points).kthvalue(k + 1).values for rows in points.split(chunk)]
    )


def covered(points: Tensor, centers: Tensor, radii: Tensor, chunk: int = 2048) -> Tensor:
    """bool (M,): which of `points` (M, D) lie in a ball around a center (N, D), of squared radius (N,)."""
    edge = radii * (1 + ROUNDING)
    return torch.cat([(_squared_distances(rows, centers) <= edge).any(1) for rows in points.split(chunk)])


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:  # (A, D), (B, D) -> (A, B)
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_(min=0)
