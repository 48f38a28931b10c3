"""A mixture of Gaussians for the aggregate posterior, to sample a trained VAE from.

Prior samples are poor where q(z) = 1/N sum_n q(z | x_n) differs from N(0, I): eq. (vae.12) of
theory/en/vae.md counts that difference in nats, and the decoder has never seen the places between.  Fitting a
density to q(z) after training and drawing z from it mends that without touching the model (Ghosh et al. 2020,
"From variational to deterministic autoencoders").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 4096
"""Points whose products z z' are held at once."""


class GaussianMixture(NamedTuple):
    """sum_k weight_k N(mean_k, covariance_k), in float64."""

    weights: Tensor
    """(K,), positive, of sum 1."""
    means: Tensor
    """(K, D)."""
    covariances: Tensor
    """(K, D, D)."""

    def log_density(self, z: Tensor) -> Tensor:  # (N, D) -> (N,)
        """ln sum_k weight_k N(z; mean_k, covariance_k)."""
        terms = self.quadratic_terms()
        return torch.cat([log_joint(part, *terms).logsumexp(1) for part in z.double().split(CHUNK)])

    def quadratic_terms(self) -> tuple[Tensor, Tensor, Tensor]:
        """A (K, D, D), b (K, D), c (K,): ln weight_k + ln N(z; mean_k, covariance_k) = z'A z + b'z + c."""
        factors = torch.linalg.cholesky(self.covariances)
        precisions = torch.cholesky_inverse(factors)
        linear = (precisions @ self.means[..., None]).squeeze(-1)
        constant = (
            self.weights.log()
            - factors.diagonal(dim1=1, dim2=2).log().sum(1)
            - 0.5 * (linear * self.means).sum(1)
            - self.means.shape[1] / 2 * math.log(2 * math.pi)
        )
        return -0.5 * precisions, linear, constant

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """float32 (count, D)."""
        component = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], 1, generator=generator, dtype=torch.float64)
        factors = torch.linalg.cholesky(self.covariances)
        return (self.means[component] + (factors[component] @ noise).squeeze(-1)).float()


def log_joint(z: Tensor, quadratic: Tensor, linear: Tensor, constant: Tensor) -> Tensor:
    """z'A_k z + b_k'z + c_k for points (N, D) -> (N, K), as one product of matrices."""
    return products(z) @ quadratic.flatten(1).T + z @ linear.T + constant


def products(z: Tensor) -> Tensor:  # (N, D) -> (N, D D)
    """z z' of each point, flattened."""
    return (z[:, :, None] * z[:, None]).flatten(1)


def fit(
    z: Tensor,
    components: int,
    *,
    iterations: int = 30,
    ridge: float = 1e-4,
    generator: torch.Generator | None = None,
) -> GaussianMixture:
    """Expectation maximisation with full covariances on z (N, D), started from `components` of its points.

    Each covariance is averaged with that of all points at the weight of one point, plus `ridge`: a component
    that loses its points stays a Gaussian.
    """
    centre = z.double().mean(0)
    z = z.double() - centre  # the smaller the numbers, the less is lost in E[z z'] - E[z] E[z]'
    count, dimension = z.shape
    spread = torch.cov(z.T) + ridge * torch.eye(dimension, dtype=z.dtype)
    mixture = GaussianMixture(
        torch.full((components,), 1 / components, dtype=z.dtype),
        z[torch.randperm(count, generator=generator)[:components]],
        (spread / components ** (2 / dimension)).repeat(components, 1, 1),
    )
    for _ in range(iterations):
        terms = mixture.quadratic_terms()
        sizes, sums, squares = 0.0, 0.0, 0.0
        for part in z.split(CHUNK):
            share = log_joint(part, *terms).softmax(1)  # (n, K): which component made each point
            sizes = sizes + share.sum(0)
            sums = sums + share.T @ part
            squares = squares + share.T @ products(part)
        sizes = sizes + 1e-6  # (K,)
        means = sums / sizes[:, None]
        moments = (squares / sizes[:, None]).unflatten(1, (dimension, dimension))
        covariances = moments - means[:, :, None] * means[:, None]
        smoothed = (sizes[:, None, None] * covariances + spread) / (sizes[:, None, None] + 1)
        smoothed = smoothed + ridge * torch.eye(dimension, dtype=z.dtype)
        mixture = GaussianMixture(sizes / sizes.sum(), means, smoothed)
    return mixture._replace(means=mixture.means + centre)


def fit_best(
    z: Tensor, held_out: Tensor, sizes: Sequence[int], generator: torch.Generator | None = None
) -> tuple[GaussianMixture, dict[int, float]]:
    """The mixture, of the given numbers of components, under which held-out latents are likeliest.

    It stands in for q(z) of eq. (vae.12).

    Also returns each size's mean log-density of `held_out` (N, D) in nats.
    """
    fitted = {size: fit(z, size, generator=generator) for size in sizes if size < len(z)}
    scores = {size: mixture.log_density(held_out).mean().item() for size, mixture in fitted.items()}
    return fitted[max(scores, key=scores.get)], scores
