"""For every model with a latent vector: draws with gradients, the KL to the prior, truncation, interpolation.

Theory: theory/en/vae.md, eqs. (vae.4)-(vae.6), (vae.14).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def reparameterise(
    mu: Tensor, log_variance: Tensor, noise: Tensor | None = None
) -> Tensor:  # (B, D) -> (B, D)
    """z = mu + sigma * noise with noise ~ N(0, I), eq. (vae.4).

    z is N(mu, sigma^2), and gradients reach mu and sigma through it, eq. (vae.5): d/d mu E f(z) = E f'(z) and
    d/d sigma E f(z) = E f'(z) noise.
    """
    # task hw1.d: a draw through which gradients flow
    noise = torch.randn_like(mu) if noise is None else noise
    return mu + (log_variance / 2).exp() * noise
    # end task


def kl_to_standard_normal(mu: Tensor, log_variance: Tensor) -> Tensor:  # (B, D), (B, D) -> (B, D)
    """KL(N(mu, exp(log_variance)) || N(0, 1)) of each dimension in nats, eq. (vae.6)."""
    # task hw1.d: the KL divergence of every dimension
    return 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance)
    # end task


def truncated(latents: Tensor, psi: float, mean: Tensor | None = None) -> Tensor:  # (N, D), (D,) -> (N, D)
    """Latents moved towards a mean, their own by default: psi = 1 leaves them, 0 makes all of them alike.

    Less diverse and more typical samples (Brock et al. 2019, Karras et al. 2019).
    """
    mean = latents.mean(0) if mean is None else mean
    return mean + psi * (latents - mean)


def slerp(start: Tensor, end: Tensor, share: float | Tensor) -> Tensor:  # (..., D), (..., D) -> (..., D)
    """Spherical interpolation, eq. (vae.14): along the great arc, so that the length stays typical of N(0,
    I).

    A straight line between two latents passes closer to 0 than all but rare samples of N(0, I) lie.  Parallel
    vectors are interpolated linearly.
    """
    # task lab8.c: along the great arc
    cosine = F.cosine_similarity(start, end, dim=-1).clamp(-1, 1)[..., None]
    angle = cosine.acos()
    sine = angle.sin()
    arc = (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / sine.clamp_min(1e-12)
    return torch.where(sine < 1e-4, torch.lerp(start, end, torch.as_tensor(share).to(start)), arc)
    # end task
