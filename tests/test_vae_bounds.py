"""Bounds of a VAE and where its KL goes: models whose ln p(x) is known, and closed forms."""

import math
from itertools import pairwise
from types import SimpleNamespace

from common import latent_space

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from hw1_bayes_and_autoencoders import vae, vae_bounds


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class LinearGaussian(vae.VAE):
    """p(z) = N(0, I), p(x | z) = N(W z, s^2 I), q as given: ln p(x) is known."""

    def __init__(self, weight, variance, scale):
        super().__init__(
            nn.Identity(), nn.Identity(), weight.shape[1], likelihood="gaussian", sigma=variance**0.5
        )
        self.weight, self.variance, self.scale = weight, variance, scale

    def encode(self, x, labels=None):
        """The true posterior, its standard deviation stretched by `scale` (exact where W'W is diagonal)."""
        precision = torch.eye(self.latent, dtype=x.dtype) + self.weight.T @ self.weight / self.variance
        covariance = precision.inverse()
        mu = x.flatten(1) @ self.weight @ covariance / self.variance
        return mu, (covariance.diagonal() * self.scale**2).log().expand_as(mu)

    def decode(self, z, labels=None):
        return (z @ self.weight.T).unflatten(1, (1, 2, 3))

    def log_likelihood(self, x, logits):
        return vae.gaussian_log_likelihood(x, logits, self.variance)

    def log_marginal(self, x):
        covariance = self.weight @ self.weight.T + self.variance * torch.eye(6, dtype=x.dtype)
        return MultivariateNormal(torch.zeros(6, dtype=x.dtype), covariance).log_prob(x.flatten(1))


def linear_gaussian(scale):
    orthogonal = torch.linalg.qr(torch.randn(6, 2, dtype=torch.float64)).Q
    return LinearGaussian(orthogonal * torch.tensor([2.0, 0.7]), 0.3, scale), torch.randn(4, 1, 2, 3).double()


def test_with_the_true_posterior_every_bound_is_log_p():
    model, x = linear_gaussian(scale=1.0)
    for samples in (1, 7):
        bound = vae_bounds.importance_bound(model, x, None, samples, chunk=3)
        assert (bound - model.log_marginal(x)).abs().max() < 1e-11
    mu, log_variance = model.encode(x)
    likelihood = torch.stack(
        [
            model.log_likelihood(x, model.decode(latent_space.reparameterise(mu, log_variance)))
            for _ in range(20_000)
        ]
    )
    elbo = vae.elbo(likelihood.mean(0), latent_space.kl_to_standard_normal(mu, log_variance))
    assert ((elbo - model.log_marginal(x)).abs() < 5 * likelihood.std(0) / 20_000**0.5).all()


def test_the_importance_bound_grows_with_k_and_tends_to_log_p():
    model, x = linear_gaussian(scale=1.6)
    weights = vae_bounds.log_weights(model, x, None, 64_000)  # (K, B)
    means = [
        vae_bounds.log_mean_weight(weights.reshape(size, -1, len(x)).flatten(1))
        .unflatten(0, (-1, len(x)))
        .mean(0)
        for size in (1, 4, 16, 256, 64_000)
    ]
    assert all((after > before).all() for before, after in pairwise(means[:4]))
    assert (means[-1] - model.log_marginal(x)).abs().max() < 0.02


def test_the_kl_splits_into_information_and_the_marginal():
    mu = torch.tensor([[-8.0], [8.0]]).repeat(500, 1)  # two clusters far apart, 1000 images
    log_variance = torch.full_like(mu, math.log(1e-4))
    parts = vae_bounds.split_kl(mu, log_variance)
    total = latent_space.kl_to_standard_normal(mu, log_variance).sum(1).mean().item()
    assert parts.index_information == pytest.approx(math.log(2), abs=1e-3)  # only the cluster can be told
    assert parts.index_information + parts.marginal == pytest.approx(total, rel=1e-6)
    same = vae_bounds.split_kl(torch.zeros(100, 2), torch.zeros(100, 2))
    assert same == pytest.approx((0, 0), abs=1e-5)
    apart = vae_bounds.split_kl(torch.arange(50.0)[:, None] * 100, torch.zeros(50, 1))
    assert apart.index_information == pytest.approx(math.log(50), abs=1e-4)  # the most it can be
    few = vae_bounds.split_kl(torch.arange(50.0)[:, None] * 100, torch.zeros(50, 1), draws=10)
    assert few.index_information == pytest.approx(math.log(50), abs=1e-4)  # of all images, from ten draws


def test_every_draw_is_decoded_as_the_class_of_its_image():
    asked, labels = [], torch.tensor([3, 0, 2])
    model = SimpleNamespace(
        encode=lambda x, labels: (torch.zeros(len(x), 2), torch.zeros(len(x), 2)),
        decode=lambda z, labels: asked.append(labels) or z,
        log_likelihood=lambda x, decoded: x.flatten(1)[:, 0],
    )
    x = torch.arange(3.0).view(3, 1, 1, 1)
    weights = vae_bounds.log_weights(model, x, labels, samples=4)  # of equal prior and posterior
    assert torch.equal(asked[0].view(4, 3), labels.expand(4, 3))
    assert torch.allclose(weights, torch.arange(3.0).expand(4, 3), atol=1e-5)


def test_a_linear_vae_keeps_the_directions_above_the_noise():
    """Trained by gradient on its exact objective, as many columns of W survive as the eigenvalues say."""
    scales = torch.tensor([3.0, 1.5, 0.8, 0.3, 0.2, 0.1], dtype=torch.float64)
    x = torch.randn(5000, 6, dtype=torch.float64) * scales
    covariance = x.T.cov()
    assert vae_bounds.linear_vae_dimensions(x.reshape(5000, 1, 2, 3), 0.5) == 3
    assert vae_bounds.linear_vae_dimensions(x.reshape(5000, 1, 2, 3), 0.5, beta=2.0) == 2
    weight = (0.1 * torch.randn(6, 5, dtype=torch.float64)).requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=0.05)
    for _ in range(600):
        model = weight @ weight.T + 0.5 * torch.eye(6, dtype=torch.float64)
        loss = torch.logdet(model) + (torch.linalg.solve(model, covariance)).trace()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (torch.linalg.svdvals(weight.detach()) > 1e-2).sum() == 3
