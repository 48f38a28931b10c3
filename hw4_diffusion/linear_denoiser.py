"""A denoiser that is linear in a caption, a noisy latent and their products, and solved in closed form.

What a network learns in DDPM step by step has a formula here.  At a level with signal alpha and noise sigma
the noisy latent is x = alpha z + sigma eps, and the denoiser is

    z_hat = phi(x, c) W,    phi = (c, x, c_1 x, ..., c_E x),

with W minimising E |z_hat - z|^2 + penalty |W|^2 over images and noise.  No noise is drawn for that: phi is
linear in eps, so its mean products over all noise follow from those of the clean latents.  A regression of
eps instead of z is the same one written differently, as eps = (x - alpha z) / sigma is linear in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from common.errors import InputError

import torch
from torch import Tensor

CHUNK = 5000
"""Images whose features are held at once."""


def features(x: Tensor, captions: Tensor, products: bool) -> Tensor:  # (N, D), (N, E) -> (N, F)
    """phi: the caption, the latent, and with products the latent times each entry of the caption, which give
    each class a denoiser of its own, eq. (diffusion.31)."""
    # task hw4.a: what the denoiser is linear in
    multiplied = multipliers(captions, products)[:, :, None] * x[:, None]  # (N, M, D)
    return torch.cat([captions, multiplied.flatten(1)], 1)
    # end task


def multipliers(captions: Tensor, products: bool) -> Tensor:  # (N, E) -> (N, M)
    """What the latent is multiplied with: 1, and with products each entry of the caption."""
    ones = captions.new_ones(len(captions), 1)
    return torch.cat([ones, captions], 1) if products else ones


class Moments:
    """Mean products of the features of clean latents: all that least squares needs to know of the images."""

    def __init__(self, latents: Tensor, captions: Tensor, products: bool):  # (N, D), (N, E)
        self.dimension, self.entries, self.products = latents.shape[1], captions.shape[1], products
        self.of_features, self.of_multipliers, count = 0.0, 0.0, len(latents)
        for z, c in zip(latents.double().split(CHUNK), captions.double().split(CHUNK)):
            phi, m = features(z, c, products), multipliers(c, products)
            self.of_features = self.of_features + phi.T @ phi / count  # (F, F)
            self.of_multipliers = self.of_multipliers + m.T @ m / count  # (M, M)
        self.of_latents = self.of_features[:, self.entries :][:, : self.dimension]  # E phi z', (F, D)

    def normal_equations(self, alpha: float, sigma: float) -> tuple[Tensor, Tensor]:
        """A = E phi phi' (F, F) and B = E phi z' (F, D) of noisy latents, the mean over images and all noise,
        from which the best linear denoiser follows, eq. (diffusion.30).

        What is linear in the latent is scaled by alpha; the noise adds sigma^2 I, as a ridge would."""
        # task hw4.a: both sides of the normal equations, without drawing noise
        scale = self.of_features.new_full((len(self.of_features),), alpha)
        scale[: self.entries] = 1
        identity = torch.eye(self.dimension, dtype=scale.dtype)
        left = scale[:, None] * self.of_features * scale
        left[self.entries :, self.entries :] += sigma**2 * torch.kron(self.of_multipliers, identity)
        return left, scale[:, None] * self.of_latents
        # end task

    def error(self, weights: Tensor, alpha: float, sigma: float) -> float:
        """E |z_hat - z|^2 / D of any weights (F, D), the mean over these images and all noise."""
        left, right = self.normal_equations(alpha, sigma)
        of_z = self.of_latents[self.entries :][: self.dimension]  # E z z'
        total = of_z.trace() - 2 * (weights * right).sum() + (weights * (left @ weights)).sum()
        return total.item() / self.dimension


Solver = Callable[[Tensor, Tensor, float], Tensor]
"""A (F, F), B (F, D), penalty -> W (F, D)."""


def ridge(left: Tensor, right: Tensor, penalty: float) -> Tensor:
    """The minimum of E |phi W - z|^2 + penalty |W|^2: (A + penalty I) W = B, eq. (diffusion.29)."""
    # task hw4.a: ridge regression in closed form
    factor, failed = torch.linalg.cholesky_ex(left + penalty * torch.eye(len(left), dtype=left.dtype))
    if failed:
        raise InputError(
            f"--ridge {penalty:g}: too small, many weights are equally good; a larger one chooses among them"
        )
    return torch.cholesky_solve(right, factor)
    # end task


def gradient_descent(left: Tensor, right: Tensor, penalty: float) -> Iterator[Tensor]:
    """W after 1, 2, ... steps down the gradient of the same objective, from 0, without end,
    eq. (diffusion.29).

    A step is as long as the largest curvature allows; the momentum is Nesterov's and starts anew where it
    leads uphill (O'Donoghue and Candès 2015)."""
    step = 1 / (torch.linalg.eigvalsh(left)[-1].item() + penalty)
    weights = ahead = torch.zeros_like(right)
    age = 0
    while True:
        gradient = left @ ahead + penalty * ahead - right  # of half the objective
        before, weights = weights, ahead - step * gradient
        moved = weights - before
        age = 0 if (gradient * moved).sum() > 0 else age + 1
        ahead = weights + age / (age + 3) * moved
        yield weights


def descend(left: Tensor, right: Tensor, penalty: float, iterations: int) -> Tensor:
    """W after so many steps of gradient descent."""
    return next(islice(gradient_descent(left, right, penalty), iterations - 1, None))


class LinearDenoiser:
    """z_hat at any noise level; every level has a regression of its own."""

    def __init__(
        self,
        latents: Tensor,
        captions: Tensor,
        *,
        products: bool = True,
        penalty: float = 1e-4,
        solve: Solver = ridge,
    ):
        self.moments = Moments(latents, captions, products)  # of (N, D) and (N, E)
        self.products, self.penalty, self.solve = products, penalty, solve
        self.solved: dict[tuple[float, float], Tensor] = {}

    def weights(self, alpha: float, sigma: float) -> Tensor:
        """W (F, D) of one level, solved when it is first asked for."""
        if (alpha, sigma) not in self.solved:
            equations = self.moments.normal_equations(alpha, sigma)
            self.solved[alpha, sigma] = self.solve(*equations, self.penalty)
        return self.solved[alpha, sigma]

    def __call__(self, x: Tensor, captions: Tensor, alpha: float, sigma: float) -> Tensor:
        """z_hat (N, D) in noisy latents (N, D) with captions (N, E)."""
        weights = self.weights(alpha, sigma).to(x.dtype)
        parts = zip(x.split(CHUNK), captions.to(x.dtype).split(CHUNK))
        return torch.cat([features(one, caption, self.products) @ weights for one, caption in parts])


class OneRegression(LinearDenoiser):
    """One regression for all noise levels, which is told sigma as a feature: (phi, sigma phi) W.

    The best weights are no straight line in sigma, which is what this costs."""

    def __init__(self, latents: Tensor, captions: Tensor, levels: list[tuple[float, float]], **options):
        super().__init__(latents, captions, **options)
        left, right = 0.0, 0.0
        for alpha, sigma in levels:
            told = torch.tensor([[1.0], [sigma]], dtype=torch.float64)
            of_level = self.moments.normal_equations(alpha, sigma)
            left = left + torch.kron(told @ told.T, of_level[0]) / len(levels)
            right = right + torch.kron(told, of_level[1]) / len(levels)
        self.base, self.slope = self.solve(left, right, self.penalty).chunk(2)

    def weights(self, alpha: float, sigma: float) -> Tensor:
        """W (F, D) of one level."""
        return self.base + sigma * self.slope
