"""KID, the kernel Inception distance: eqs. (metrics.12)-(metrics.13) of theory/en/metrics.md.

    kernel_distance(real_features, fake_features)        # Estimate: value, standard error, N of both

Bińkowski et al. (2018).  Unlike the Fréchet distance its expectation does not depend on N, and is 0 for two
sets of one distribution, so values below 0 are possible and mean "no difference seen".
"""

from __future__ import annotations

import math

from common.errors import InputError
from common.metrics.spread import Estimate

import torch
from torch import Tensor


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy of x (n, D) and y (m, D), eq. (metrics.12).

    The kernel is (a'b / D + 1)^3; pairs of a row with itself are left out.
    """
    n, m = len(x), len(y)
    kernel = lambda a, b: (a @ b.T / a.shape[1] + 1).pow_(3)
    within = lambda k: (k.sum() - k.trace()) / (len(k) * (len(k) - 1))
    return within(kernel(x, x)) + within(kernel(y, y)) - 2 * kernel(x, y).sum() / (n * m)


def kernel_distance(x: Tensor, y: Tensor, *, subset_size: int = 1000, seed: int = 0) -> Estimate:
    """KID of features x (N, D) and y (M, D): mean over disjoint subsets, eq. (metrics.13).

    There are min(N, M) // subset_size subsets, never fewer than ten: smaller ones are taken where needed.
    DIFFERS from torch-fidelity, which draws 100 overlapping subsets: those are not independent, and their
    spread over the root of their number is no standard error.  Computed in float64 on the features' device.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"expected features (N, D) and (M, D), got {tuple(x.shape)} and {tuple(y.shape)}")
    count = min(len(x), len(y))
    if count < 20:
        raise InputError(f"KID needs at least 20 images in each set, found {len(x)} and {len(y)}; add images")
    if not (x.isfinite().all() and y.isfinite().all()):
        raise InputError("features: NaN or infinite values; look at the images and the extractor's weights")
    size = min(subset_size, count // 10)
    subsets = count // size
    generator = torch.Generator().manual_seed(seed)
    choose = lambda rows: rows[
        torch.randperm(len(rows), generator=generator)[: subsets * size].to(rows.device)
    ]
    pairs = zip(choose(x).split(size), choose(y).split(size))
    values = torch.stack([squared_mmd(a.double(), b.double()) for a, b in pairs])  # (subsets,)
    error = float(values.std()) / math.sqrt(subsets)
    return Estimate(float(values.mean()), error, (len(x), len(y)))
