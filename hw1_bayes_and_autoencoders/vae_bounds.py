"""What is asked of a trained VAE: tighter bounds of ln p(x), and where its KL goes.

Theory: theory/en/vae.md, eqs. (vae.1), (vae.11)-(vae.13).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from common.latent_space import kl_to_standard_normal, reparameterise

import torch
from torch import Tensor

from hw1_bayes_and_autoencoders.vae import VAE


def importance_bound(model: VAE, x: Tensor, labels: Tensor | None, samples: int, chunk: int = 10) -> Tensor:
    """The bound of eq. (vae.11) for each image (B,), in memory for `chunk` draws at a time."""
    sizes = [chunk] * (samples // chunk) + [samples % chunk] * (samples % chunk > 0)
    return log_mean_weight(torch.cat([log_weights(model, x, labels, size) for size in sizes]))


def log_weights(model: VAE, x: Tensor, labels: Tensor | None, samples: int) -> Tensor:  # -> (samples, B)
    """ln p(x | z) + ln p(z) - ln q(z | x) for `samples` draws of z per image, eq. (vae.11)."""
    mu, log_variance = model.encode(x, labels)  # (B, D) each
    mu, log_variance = mu.repeat(samples, 1), log_variance.repeat(samples, 1)  # (samples B, D)
    z = reparameterise(mu, log_variance)
    decoded = model.decode(z, None if labels is None else labels.repeat(samples))  # (samples B, C, H, W)
    log_likelihood = model.log_likelihood(x.repeat(samples, 1, 1, 1), decoded)  # (samples B,)
    log_ratio = log_normal(z, 0.0, torch.zeros_like(z)) - log_normal(z, mu, log_variance)
    return (log_likelihood + log_ratio).unflatten(0, (samples, -1))


def log_mean_weight(log_weights: Tensor) -> Tensor:  # (K, B) -> (B,)
    """ln 1/K sum_k w_k, w_k = p(x | z_k) p(z_k) / q(z_k | x), z_k ~ q: the bound of eq. (vae.11).

    K = 1 gives the ELBO; larger K is never lower in expectation and tends to ln p(x), the logarithm of the
    integral of eq. (vae.1).  Burda, Grosse and Salakhutdinov 2016, "Importance weighted autoencoders".
    """
    return log_weights.logsumexp(0) - math.log(len(log_weights))


class KLParts(NamedTuple):
    """The mean KL of an encoder, split by eq. (vae.12), in nats."""

    index_information: float
    """I(n; z): how well z tells which of the N images it came from; at most ln N."""
    marginal: float
    """KL(q(z) || p(z)) of the aggregate posterior q(z) = 1/N sum_n q(z | x_n): what prior samples miss."""


def split_kl(mu: Tensor, log_variance: Tensor, draws: int = 1000) -> KLParts:  # (N, D), (N, D)
    """mean KL = I(n; z) + KL(q(z) || p(z)), eq. (vae.12), with q(z) summed over all N images exactly.

    The expectation over z is a mean over one draw for each of the first `draws` images.  Hoffman and Johnson
    2016, "ELBO surgery".
    """
    z = reparameterise(mu[:draws], log_variance[:draws])  # (M, D)
    log_q = log_normal(z[:, None], mu, log_variance)  # (M, N): ln q(z_m | x_n)
    own = log_q[:, : len(z)].diagonal()
    information = (own - (log_q.logsumexp(1) - math.log(len(mu)))).mean().item()
    return KLParts(information, kl_to_standard_normal(mu, log_variance).sum(1).mean().item() - information)


def linear_vae_dimensions(
    images: Tensor, variance: float, beta: float = 1.0
) -> int:  # (N, C, H, W) of [0, 1]
    """How many latent dimensions a linear VAE would use: eigenvalues of the data's covariance above
    beta * variance, eq. (vae.13).  All other dimensions collapse to the prior at the optimum.

    Lucas et al. 2019, "Don't blame the ELBO!".
    """
    return int((torch.linalg.eigvalsh(images.flatten(1).double().T.cov()) > beta * variance).sum())


def log_normal(z: Tensor, mu: Tensor | float, log_variance: Tensor) -> Tensor:  # (..., D) -> (...)
    """ln N(z; mu, diag exp(log_variance))."""
    squared = (z - mu).square() * (-log_variance).exp()
    return -0.5 * (squared + log_variance + math.log(2 * math.pi)).sum(-1)
