"""Fréchet distance between two sets of features, eqs. (metrics.7)-(metrics.11) of theory/en/metrics.md.

    real = frechet.Statistics.of(extractor(images) for images in real_batches)
    fake = frechet.Statistics.of(extractor(images) for images in fake_batches)
    frechet.distance(real, fake)

`Statistics` takes features of any extractor, batch by batch, in constant memory.  With FID's Inception
(common/metrics/inception.py) the distance is FID; with any other extractor it is not, and must not be called
so.

2,048 dimensions take less than a tenth of the time of the square root of the matrix product, with fewer
images than dimensions a thirtieth (benchmarks/frechet_distance.py), and singular covariances lose no digits.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError

import numpy as np
import torch
from scipy import linalg
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of a set of features: what a Fréchet distance needs, and what an .npz holds."""

    mu: Tensor
    """float64 (D,)."""
    sigma: Tensor
    """float64 (D, D), with divisor N - 1."""
    count: int | None = None
    """N, or None where the file does not say (pytorch-fid's do not)."""
    features: str = ""
    """Which extractor made them, `inception-2048` for example; empty where unknown."""

    @property
    def dimension(self) -> int:
        """D."""
        return len(self.mu)

    def save(self, path: Path) -> None:
        """Write `mu`, `sigma` as pytorch-fid reads them, with `count` and `features` beside."""
        if path.suffix != ".npz":
            raise InputError(f"{path}: statistics are written to .npz files; name one")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{path.stem}.partial.npz")
            known = {} if self.count is None else {"count": np.int64(self.count)}
            np.savez_compressed(
                beside, mu=self.mu.numpy(), sigma=self.sigma.numpy(), features=self.features, **known
            )
            beside.replace(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error}); choose another place") from error

    @staticmethod
    def load(path: Path) -> Moments:
        """The statistics in an .npz file of ours or of pytorch-fid.  InputError where they are not there."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; make it with --save-stats") from None
        except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path}: not an .npz file of numbers ({error}); make it with --save-stats"
            ) from error
        missing = [name for name in ("mu", "sigma") if name not in arrays]
        if missing:
            raise InputError(
                f"{path}: no {' and no '.join(missing)} in it (it holds: {', '.join(arrays) or 'nothing'}); "
                "make it with --save-stats"
            )
        mu, sigma = _checked(arrays["mu"], arrays["sigma"], str(path))
        count = int(arrays["count"]) if "count" in arrays else None
        return Moments(mu, sigma, count, str(arrays.get("features", "")))


class Statistics:
    """Mean and covariance of features that arrive in batches, eq. (metrics.10).  Memory: D x D, not N x D.

    Sums run in float64 around the first row seen, so that a common offset of the features, however large,
    costs no digits.  On a GPU the sums stay there.
    """

    def __init__(self, dimension: int, *, features: str = "", device: torch.device | str = "cpu"):
        self.count, self.features = 0, features
        self.origin = torch.zeros(dimension, dtype=torch.float64, device=device)
        self.mean = torch.zeros_like(self.origin)  # of the rows minus origin
        self.scatter = torch.zeros(dimension, dimension, dtype=torch.float64, device=device)

    @classmethod
    def of(cls, batches: Tensor | Iterable[Tensor], *, features: str = "") -> Statistics:
        """Statistics of an (N, D) tensor, or of an iterable of (B, D) tensors."""
        statistics = None
        for batch in [batches] if isinstance(batches, Tensor) else batches:
            if statistics is None:
                where = batch.device if batch.device.type == "cuda" else "cpu"
                statistics = cls(batch.shape[-1], features=features, device=where)
            statistics.update(batch)
        if statistics is None:
            raise InputError("features: no batch at all; give at least two rows")
        return statistics

    @classmethod
    def merged(cls, parts: Iterable[Statistics]) -> Statistics:
        """One Statistics of all the rows that `parts` saw; the parts stay as they are."""
        parts = list(parts)
        whole = cls(len(parts[0].origin), features=parts[0].features, device=parts[0].origin.device)
        for part in parts:
            whole.merge(part)
        return whole

    def update(self, batch: Tensor) -> Statistics:
        """Take in the rows of `batch` (B, D).  InputError for NaN or infinite features."""
        if batch.ndim != 2 or batch.shape[1] != len(self.origin):
            raise ValueError(f"expected features (B, {len(self.origin)}), got {tuple(batch.shape)}")
        if len(batch) == 0:
            return self
        rows = batch.detach().to(self.origin)
        bad = ~rows.isfinite().all(1)
        if bad.any():
            raise InputError(
                f"features: {int(bad.sum())} of {len(rows)} rows have NaN or infinite values; "
                "look at the images and at the extractor's weights"
            )
        if self.count == 0:
            self.origin = rows[0].clone()
        rows = rows - self.origin
        mean = rows.mean(0)
        rows -= mean
        self._combine(len(rows), mean, rows.T @ rows)
        return self

    def merge(self, other: Statistics) -> Statistics:
        """Take in everything `other` saw."""
        if other.origin.shape != self.origin.shape or other.features != self.features:
            raise ValueError(f"cannot merge {other} into {self}")
        if other.count == 0:
            return self
        if self.count == 0:
            self.origin = other.origin.clone()
        self._combine(other.count, other.mean + (other.origin - self.origin), other.scatter)
        return self

    def _combine(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        """The pairwise update of Chan, Golub and LeVeque (1979), eq. (metrics.10)."""
        total = self.count + count
        delta = mean - self.mean
        self.scatter += scatter
        self.scatter.addr_(delta, delta, alpha=self.count * count / total)
        self.mean += delta * (count / total)
        self.count = total

    @property
    def dimension(self) -> int:
        """D."""
        return len(self.origin)

    @property
    def mu(self) -> Tensor:
        """float64 (D,), on the CPU."""
        return (self.origin + self.mean).cpu()

    @property
    def sigma(self) -> Tensor:
        """float64 (D, D) with divisor N - 1, on the CPU.  InputError for fewer than two rows."""
        if self.count < 2:
            raise InputError(f"a covariance needs at least two images, found {self.count}; add images")
        return (self.scatter / (self.count - 1)).cpu()

    def moments(self) -> Moments:
        """What is needed from here on."""
        return Moments(self.mu, self.sigma, self.count, self.features)

    def __repr__(self) -> str:
        return f"Statistics({self.features or 'features'}, D={len(self.origin)}, N={self.count})"


def distance(first: Statistics | Moments, second: Statistics | Moments) -> float:
    """Fréchet distance between two sets, eq. (metrics.7), in squared units of the features.

    Warns where N is too small.
    """
    check_comparable(first, second)
    return frechet_distance(first.mu, first.sigma, second.mu, second.sigma)


def check_comparable(first: Statistics | Moments, second: Statistics | Moments) -> None:
    """InputError for features of two extractors; a warning for a set with no more images than dimensions."""
    if first.features and second.features and first.features != second.features:
        raise InputError(
            f"statistics of {first.features} and of {second.features} cannot be compared; "
            "compute both with the same extractor"
        )
    for which, statistics in (("first", first), ("second", second)):
        N, D = statistics.count, statistics.dimension
        if N is not None and N <= D:
            warnings.warn(
                f"the {which} set has N = {N} images for D = {D} dimensions: its covariance has rank at most "
                f"{N - 1}, and the distance is mostly bias; compare only at equal N, or use KID",
                stacklevel=3,
            )


def frechet_distance(mu1, sigma1, mu2, sigma2) -> float:
    """||mu1 - mu2||^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), eq. (metrics.7); singular covariances are welcome.

    mu (D,), sigma (D, D): tensors or arrays; computed in float64.  Never negative: rounding is cut off at 0.
    """
    (mu1, sigma1), (mu2, sigma2) = _checked(mu1, sigma1, "first set"), _checked(mu2, sigma2, "second set")
    if len(mu1) != len(mu2):
        raise InputError(
            f"statistics of {len(mu1)} and of {len(mu2)} dimensions cannot be compared; "
            "compute both with the same --dims"
        )
    root = _trace_of_root(sigma1, sigma2)
    value = (mu1 - mu2).square().sum() + sigma1.trace() + sigma2.trace() - 2 * root
    return max(float(value), 0.0)


def frechet_distance_from_features(x: Tensor, y: Tensor) -> float:
    """The same distance straight from features (N, D) and (M, D), without a covariance, eq. (metrics.9).

    Nothing is squared, so small directions keep their digits; with N and M below D it is also much faster
    than any D x D decomposition.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"expected features (N, D) and (M, D), got {tuple(x.shape)} and {tuple(y.shape)}")
    means, factors, traces = [], [], []
    for features in (x, y):
        if len(features) < 2:
            raise InputError(f"a covariance needs at least two images, found {len(features)}; add images")
        if not features.isfinite().all():
            raise InputError(
                "features: NaN or infinite values; look at the images and the extractor's weights"
            )
        rows = features.detach().double().cpu()
        means.append(rows.mean(0))
        centred = (rows - means[-1]) / (len(rows) - 1) ** 0.5  # (N, D): centred' centred = sigma
        traces.append(centred.square().sum())
        tall = centred.shape[0] > centred.shape[1]
        factors.append(torch.linalg.qr(centred, mode="r").R.T if tall else centred.T)  # (D, min(N, D))
    value = (means[0] - means[1]).square().sum() + traces[0] + traces[1] - 2 * trace_of_root(*factors)
    return max(float(value), 0.0)


def trace_of_root(factor1: Tensor, factor2: Tensor) -> Tensor:
    """Tr (S1 S2)^(1/2) = sum of the singular values of A' B, for S1 = A A', S2 = B B', eq. (metrics.8).

    A (D, r), B (D, s).
    """
    product = factor1.T @ factor2
    product = product if product.shape[0] <= product.shape[1] else product.T
    if product.numel() == 0:
        return product.new_zeros(())
    total = _sum_of_roots(torch.linalg.eigvalsh(product @ product.T))
    return torch.linalg.svdvals(product.T).sum() if total is None else total


def _trace_of_root(sigma1: Tensor, sigma2: Tensor) -> Tensor:
    """The same from covariances; where they are singular, from factors as wide as their ranks.

    LAPACK finds the eigenvalues of S1 S2 in one call, in half the time that B' S1 B and its eigenvalues take.
    """
    try:
        eigenvalues = linalg.eigh(
            sigma1.numpy(), sigma2.numpy(), type=2, eigvals_only=True, driver="gv", check_finite=False
        )
    except linalg.LinAlgError:  # S2 has no Cholesky factor
        total = None
    else:
        total = _sum_of_roots(torch.from_numpy(eigenvalues))
    return trace_of_root(_factor(sigma1), _factor(sigma2)) if total is None else total


def _sum_of_roots(eigenvalues: Tensor) -> Tensor | None:
    """Sum of the roots of ascending eigenvalues, eight times faster than singular values of A' B.

    None where they come near zero: there a root turns rounding of 1e-16 into 1e-8.
    """
    # above the bound, roots are good to 1e-10 of the largest
    return eigenvalues.sqrt().sum() if eigenvalues[0] > 1e-11 * eigenvalues[-1] else None


def expected_bias(sigma: Tensor, count1: int, count2: int) -> float:
    """Expected distance between two samples of one Gaussian, eq. (metrics.11), to first order in 1/N.

    sigma (D, D) of that Gaussian.  A perfect generator scores about this much, and no less.
    """
    eigenvalues = torch.linalg.eigvalsh(sigma.double()).clamp(min=0)
    harmonic = eigenvalues[:, None] * eigenvalues / (eigenvalues[:, None] + eigenvalues).clamp(min=1e-300)
    return (1 / count1 + 1 / count2) * float(1.25 * eigenvalues.sum() + 0.5 * harmonic.sum())


def _factor(sigma: Tensor) -> Tensor:
    """A (D, r) with A A' = sigma: Cholesky with pivoting, stopped at the numerical rank r."""
    packed, pivots, rank, _ = linalg.lapack.dpstrf(sigma.numpy(), lower=1)
    factor = np.zeros((len(sigma), rank))
    factor[pivots - 1] = np.tril(packed)[:, :rank]
    factor = torch.from_numpy(factor)
    diagonal = sigma.diagonal()
    if rank == 0 or (diagonal - factor.square().sum(1)).abs().max() > 1e-5 * diagonal.abs().max():
        if not sigma.any():
            return factor  # all images alike: no spread at all
        raise InputError(
            "sigma: has negative eigenvalues, so it is no covariance; compute the statistics again"
        )
    return factor


def _checked(mu, sigma, where: str) -> tuple[Tensor, Tensor]:
    """float64 tensors (D,), (D, D) on the CPU; InputError for shapes that do not fit and for NaN."""
    mu = torch.as_tensor(mu, dtype=torch.float64).cpu().reshape(-1)
    sigma = torch.as_tensor(sigma, dtype=torch.float64).cpu()
    sigma = sigma.reshape(1, 1) if sigma.numel() == 1 else sigma
    if sigma.shape != (len(mu), len(mu)):
        raise InputError(
            f"{where}: mu has {len(mu)} values and sigma is {tuple(sigma.shape)}; expected (D,) and (D, D)"
        )
    if not (mu.isfinite().all() and (largest := _largest(sigma)).isfinite()):
        raise InputError(f"{where}: NaN or infinite values in mu or sigma; compute the statistics again")
    turned = sigma.T.clone(memory_format=torch.contiguous_format)
    if _largest(turned.sub_(sigma)) > 1e-6 * largest:
        raise InputError(f"{where}: sigma is not symmetric; compute the statistics again")
    return mu, sigma


def _largest(values: Tensor) -> Tensor:
    """Largest absolute value, NaN where there is one, without a copy of `values`."""
    low, high = torch.aminmax(values)
    return torch.maximum(-low, high)
