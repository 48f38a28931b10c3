"""Checks of theory/{en,ru}/diffusion.md, linear diffusion, against hw4_diffusion.linear_denoiser."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hw4_diffusion import diffusion, linear_denoiser
from hw4_diffusion.linear_denoiser import LinearDenoiser, Moments
from theory.checks.draws import Z, normal, z_score
from theory.printed import printed
from theory.tags import verifies

ALPHA, SIGMA = 0.6, 0.8
CLASSES = 3


def latents_and_classes(count: int = 600) -> tuple[Tensor, Tensor]:
    """(N, 4) whose classes differ in mean and covariance, with their numbers (N,)."""
    labels = torch.arange(count) % CLASSES
    mixing = normal(CLASSES, 4, 4, seed=1)
    z = torch.einsum("nd,nde->ne", normal(count, 4), mixing[labels]) + 2 * normal(CLASSES, 4, seed=2)[labels]
    return z - z.mean(0), labels


def moments_of(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of rows."""
    return z.mean(0), torch.cov(z.T, correction=0)


def by_the_page(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """The prediction for rows of noisy latents that (diffusion.30) prints."""
    identity = torch.eye(len(mean), dtype=torch.float64)
    gain = ALPHA * covariance @ torch.linalg.inv(ALPHA**2 * covariance + SIGMA**2 * identity)
    return mean + (x - ALPHA * mean) @ gain.T


@verifies("diffusion.29")
def test_the_ridge_solution_is_where_gradient_descent_ends():
    printed(r"""
        W = \arg\min_W \, \mathbb{E} \, \lVert \phi^\top W - x_0^\top \rVert^2 + \kappa \, \lVert W \rVert^2
        = (A + \kappa I)^{-1} B ,
        \qquad
        A = \mathbb{E} \, \phi \, \phi^\top ,
        \qquad
        B = \mathbb{E} \, \phi \, x_0^\top
        \tag{diffusion.29}
    """)
    phi, z, kappa = normal(50, 6), normal(50, 3, seed=1), 0.3
    left, right = phi.T @ phi / 50, phi.T @ z / 50
    found = linear_denoiser.ridge(left, right, kappa)
    identity = torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(found, torch.linalg.inv(left + kappa * identity) @ right)
    weights = found.clone().requires_grad_()
    loss = (phi @ weights - z).square().sum() / 50 + kappa * weights.square().sum()
    (gradient,) = torch.autograd.grad(loss, weights)
    assert gradient.abs().max().item() < 1e-12
    steps = linear_denoiser.gradient_descent(left, right, kappa)
    torch.testing.assert_close(next(itertools.islice(steps, 500, None)), found, rtol=0, atol=1e-9)


@verifies("diffusion.29", "diffusion.30")
def test_no_noise_needs_to_be_drawn():
    z, labels = latents_and_classes()
    captions = F.one_hot(labels).double()
    for products in (False, True):
        left, right = Moments(z, captions, products).normal_equations(ALPHA, SIGMA)
        copies = 200
        repeated = z.repeat(copies, 1), captions.repeat(copies, 1)
        x = diffusion.noised(repeated[0], normal(*repeated[0].shape, seed=3), ALPHA, SIGMA)
        phi = linear_denoiser.features(x, repeated[1], products)
        for drawn, expected in ((phi, left), (repeated[0], right)):
            entries = torch.einsum("nf,ng->nfg", phi, drawn)
            whole = entries.view(copies, len(z), *entries.shape[1:]).mean(1)  # independent copies
            error = whole.std(0) / copies**0.5
            off = (whole.mean(0) - expected).abs()
            assert (off <= Z * error + 1e-9).all()
    left, _ = Moments(z, z.new_empty(len(z), 0), False).normal_equations(ALPHA, SIGMA)
    torch.testing.assert_close(left, ALPHA**2 * z.T @ z / len(z) + SIGMA**2 * torch.eye(4).double())


@verifies("diffusion.30")
def test_the_best_linear_denoiser_is_the_score_of_a_gaussian():
    printed(r"""
        \hat x = m + \alpha_t \, \Sigma \, (\alpha_t^2 \Sigma + \sigma_t^2 I)^{-1} (x_t - \alpha_t m)
        \tag{diffusion.30}
    """)
    z, _ = latents_and_classes()
    mean, covariance = moments_of(z + 1.5)
    one = torch.ones(len(z), 1, dtype=torch.float64)  # the same caption for all
    denoiser = LinearDenoiser(z + 1.5, one, products=False, penalty=1e-13)
    x = 2 * normal(7, 4, seed=5)
    found = denoiser(x, one[:7], ALPHA, SIGMA)
    torch.testing.assert_close(found, by_the_page(x, mean, covariance), rtol=0, atol=1e-6)
    noisy = torch.distributions.MultivariateNormal(
        ALPHA * mean, ALPHA**2 * covariance + SIGMA**2 * torch.eye(4).double()
    )
    x.requires_grad_()
    (score,) = torch.autograd.grad(noisy.log_prob(x).sum(), x)
    noise = diffusion.noise_in(x.detach(), found, ALPHA, SIGMA)
    torch.testing.assert_close(diffusion.score(noise, SIGMA), score, rtol=0, atol=1e-6)
    variances, axes = torch.linalg.eigh(covariance)  # each component by itself
    shrunk = (x.detach() - ALPHA * mean) @ axes * ALPHA * variances / (ALPHA**2 * variances + SIGMA**2)
    torch.testing.assert_close(found, mean + shrunk @ axes.T, rtol=0, atol=1e-6)


@verifies("diffusion.31")
@pytest.mark.parametrize("products", [True, False])
def test_products_give_each_class_a_gaussian_of_its_own(products):
    printed(r"""
        \hat x = m_c + \alpha_t \, \Sigma_c \, (\alpha_t^2 \Sigma_c + \sigma_t^2 I)^{-1} (x_t - \alpha_t m_c)
        \tag{diffusion.31}
    """)
    z, labels = latents_and_classes()
    denoiser = LinearDenoiser(z, F.one_hot(labels).double(), products=products, penalty=1e-11)
    phi = linear_denoiser.features(z[:1], F.one_hot(labels[:1], CLASSES).double(), products)
    assert phi.shape[1] == CLASSES + 4 * (1 + CLASSES * products)
    x = 2 * normal(7, 4, seed=5)
    within = sum(moments_of(z[labels == c])[1] for c in range(CLASSES)) / CLASSES
    for c in range(CLASSES):
        mean, own = moments_of(z[labels == c])
        caption = F.one_hot(torch.full((7,), c), CLASSES).double()
        expected = by_the_page(x, mean, own if products else within)
        torch.testing.assert_close(denoiser(x, caption, ALPHA, SIGMA), expected, rtol=0, atol=1e-5)


@verifies("diffusion.30", "diffusion.31")
def test_a_linear_denoiser_beats_every_other_linear_one():
    z, labels = latents_and_classes(90_000)
    captions = F.one_hot(labels).double()
    denoiser = LinearDenoiser(z, captions, products=True, penalty=1e-11)
    x = diffusion.noised(z, normal(*z.shape, seed=9), ALPHA, SIGMA)
    best = (denoiser(x, captions, ALPHA, SIGMA) - z).square().sum(1)
    without = LinearDenoiser(z, captions, products=False, penalty=1e-11)
    assert z_score((without(x, captions, ALPHA, SIGMA) - z).square().sum(1) - best, 0) > Z
    phi = linear_denoiser.features(x, captions, True)
    weights = denoiser.weights(ALPHA, SIGMA)
    for seed in range(3):
        other = weights + 0.03 * normal(*weights.shape, seed=seed)
        assert z_score((phi @ other - z).square().sum(1) - best, 0) > Z
