"""The linear denoiser: least squares against brute force over all noise, and against Gaussians by hand."""

from itertools import islice

from common.errors import InputError

import pytest
import torch
from linear_worlds import LEVELS, D, K, randn, two_classes

from hw4_diffusion import linear_measures
from hw4_diffusion.diffusion import noise_in, score
from hw4_diffusion.linear_denoiser import (
    LinearDenoiser,
    Moments,
    OneRegression,
    descend,
    features,
    gradient_descent,
    ridge,
)


@pytest.fixture(scope="module")
def world():
    return two_classes()


def every_noise(latents, captions, alpha, sigma):
    """Noisy latents whose noise has mean 0 and covariance I exactly: sqrt(D) times each unit vector and its
    opposite, added to every latent.  Averages over them are averages over all noise."""
    noise = D**0.5 * torch.cat([torch.eye(D), -torch.eye(D)]).double()
    x = alpha * latents[:, None] + sigma * noise  # (N, 2 D, D)
    repeat = lambda values: values.repeat_interleave(len(noise), 0)
    return x.flatten(0, 1), repeat(latents), repeat(captions)


def posterior_mean(x, mean, covariance, alpha, sigma):
    """E[z | x] of z ~ N(mean, covariance) and x = alpha z + sigma eps, from the sum of precisions."""
    precision = torch.linalg.inv(covariance)
    total = precision + (alpha / sigma) ** 2 * torch.eye(len(mean), dtype=mean.dtype)
    return torch.linalg.solve(total, (precision @ mean + alpha / sigma**2 * x).T).T


# ---- the regression


def test_features_by_hand():
    x, captions = torch.tensor([[2.0, 3.0]]), torch.tensor([[0.0, 1.0]])
    assert features(x, captions, products=False).tolist() == [[0, 1, 2, 3]]
    assert features(x, captions, products=True).tolist() == [[0, 1, 2, 3, 0, 0, 2, 3]]
    assert features(x, captions[:, :0], products=True).tolist() == [[2, 3]]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("products", [False, True])
def test_normal_equations_are_the_mean_over_images_and_all_noise(world, level, products):
    latents, captions, _ = world
    x, z, c = every_noise(latents, captions, *level)
    phi = features(x, c, products)
    left, right = Moments(latents, captions, products).normal_equations(*level)
    assert torch.allclose(left, phi.T @ phi / len(x), atol=1e-12)
    assert torch.allclose(right, phi.T @ z / len(x), atol=1e-12)


@pytest.mark.parametrize("products", [False, True])
def test_the_error_is_the_mean_over_images_and_all_noise(world, products):
    latents, captions, _ = world
    x, z, c = every_noise(latents, captions, 0.6, 0.7)
    weights = randn(features(x, c, products).shape[1], D, seed=5)
    expected = (features(x, c, products) @ weights - z).square().mean().item()
    assert Moments(latents, captions, products).error(weights, 0.6, 0.7) == pytest.approx(expected)


def test_moments_of_many_images_are_those_of_their_parts(world, monkeypatch):
    latents, captions, _ = world
    whole = Moments(latents, captions, True)
    monkeypatch.setattr("hw4_diffusion.linear_denoiser.CHUNK", 7)
    parts = Moments(latents, captions, True)
    assert torch.allclose(whole.of_features, parts.of_features, atol=1e-12)
    assert torch.allclose(whole.of_multipliers, parts.of_multipliers, atol=1e-12)
    denoiser = LinearDenoiser(latents, captions)
    chunked = denoiser(latents, captions, 0.5, 0.5)
    monkeypatch.setattr("hw4_diffusion.linear_denoiser.CHUNK", 1000)
    assert torch.allclose(chunked, denoiser(latents, captions, 0.5, 0.5), atol=1e-12)


@pytest.mark.parametrize("penalty", [1e-4, 0.3])
def test_ridge_minimises_error_and_weights(world, penalty):
    latents, captions, _ = world
    moments = Moments(latents, captions, products=True)
    best = ridge(*moments.normal_equations(0.6, 0.7), penalty)
    objective = lambda weights: D * moments.error(weights, 0.6, 0.7) + penalty * weights.square().sum().item()
    for seed in range(5):
        step = 1e-3 * randn(*best.shape, seed=seed)
        assert objective(best) < min(objective(best + step), objective(best - step))


def test_a_penalty_too_small_for_features_that_depend_on_one_another_is_named(world):
    latents, captions, _ = world
    left, right = Moments(latents, captions, products=True).normal_equations(0.6, 0.7)
    with pytest.raises(InputError, match="--ridge 0: too small"):
        ridge(left - 1e-12 * torch.eye(len(left)), right, 0)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("products", [False, True])
def test_gradient_descent_comes_to_the_weights_of_the_closed_form(world, level, products):
    latents, captions, _ = world
    equations = Moments(latents, captions, products).normal_equations(*level)
    closed = ridge(*equations, 1e-3)
    far = [(weights - closed).abs().max().item()
           for weights in islice(gradient_descent(*equations, 1e-3), 1500)]  # fmt: skip
    assert far[-1] < 1e-9
    assert far[10] > 1e-4  # it is a way, no second closed form
    assert max(far[400:]) < far[0] / 100
    assert torch.allclose(descend(*equations, 1e-3, iterations=1500), closed, atol=1e-9)


def test_the_first_step_of_gradient_descent_goes_down_the_gradient(world):
    latents, captions, _ = world
    moments = Moments(latents, captions, True)
    left, right = moments.normal_equations(0.6, 0.7)
    first, second = islice(gradient_descent(left, right, 0.01), 2)
    weights = torch.zeros_like(right, requires_grad=True)
    half = 0.5 * (weights * (left @ weights + 0.01 * weights)).sum() - (weights * right).sum()
    half.backward()
    largest = torch.linalg.eigvalsh(left)[-1] + 0.01
    assert torch.allclose(first, -weights.grad / largest, atol=1e-12)
    assert not torch.allclose(second, first)


# ---- the best linear denoiser is that of a Gaussian


@pytest.mark.parametrize("level", LEVELS)
def test_with_products_every_class_has_the_posterior_mean_of_its_own_gaussian(world, level):
    latents, captions, labels = world
    x = 2 * randn(len(latents), D, seed=3)
    found = LinearDenoiser(latents, captions, penalty=1e-10)(x, captions, *level)
    for label in range(K):
        own = latents[labels == label]
        exact = posterior_mean(x[labels == label], own.mean(0), torch.cov(own.T, correction=0), *level)
        assert torch.allclose(found[labels == label], exact, atol=1e-6)


@pytest.mark.parametrize("level", LEVELS)
def test_without_products_the_classes_share_the_covariance_within_them(world, level):
    latents, captions, labels = world
    x = 2 * randn(len(latents), D, seed=3)
    means = torch.stack([latents[labels == label].mean(0) for label in range(K)])
    within = torch.cov((latents - means[labels]).T, correction=0)
    found = LinearDenoiser(latents, captions, products=False, penalty=1e-10)(x, captions, *level)
    for label in range(K):
        exact = posterior_mean(x[labels == label], means[label], within, *level)
        assert torch.allclose(found[labels == label], exact, atol=1e-6)
    with_products = LinearDenoiser(latents, captions, penalty=1e-10)(x, captions, *level)
    assert not torch.allclose(found, with_products, atol=1e-2)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("products", [False, True])
def test_without_captions_there_is_one_gaussian(world, level, products):
    latents = world[0] - world[0].mean(0)  # as those of the encoder are
    x, nothing = 2 * randn(7, D, seed=3), torch.empty(7, 0)
    denoiser = LinearDenoiser(latents, latents[:, :0], products=products, penalty=1e-10)
    exact = posterior_mean(x, latents.mean(0), torch.cov(latents.T, correction=0), *level)
    assert torch.allclose(denoiser(x, nothing, *level), exact, atol=1e-6)


def test_the_noise_that_it_finds_is_the_score_of_the_noisy_gaussian(world):
    latents, captions, labels = world
    alpha, sigma = 0.6, 0.7
    own = latents[labels == 1]
    covariance = alpha**2 * torch.cov(own.T, correction=0) + sigma**2 * torch.eye(D)
    noisy = torch.distributions.MultivariateNormal(alpha * own.mean(0), covariance)
    x = randn(9, D, seed=4).requires_grad_()
    (gradient,) = torch.autograd.grad(noisy.log_prob(x).sum(), x)
    z = LinearDenoiser(latents, captions, penalty=1e-10)(x.detach(), captions[-9:], alpha, sigma)
    assert torch.allclose(score(noise_in(x.detach(), z, alpha, sigma), sigma), gradient, atol=1e-6)


def test_ridge_pulls_the_classes_together(world):
    """Products cost weights that the shared part does not need: a large penalty spends none on them."""
    latents, captions, _ = world
    x = randn(len(latents), D, seed=3)
    apart = lambda penalty: (
        LinearDenoiser(latents, captions, penalty=penalty)(x, captions, 0.6, 0.7)
        - LinearDenoiser(latents, captions, products=False, penalty=penalty)(x, captions, 0.6, 0.7)
    ).norm()
    assert apart(10.0) < apart(0.1) / 2


# ---- one regression for all levels


def test_one_regression_of_a_single_level_is_the_regression_of_that_level(world):
    latents, captions, _ = world
    x = randn(len(latents), D, seed=3)
    one = OneRegression(latents, captions, [(0.6, 0.7)], penalty=1e-10)
    own = LinearDenoiser(latents, captions, penalty=1e-10)
    assert torch.allclose(one(x, captions, 0.6, 0.7), own(x, captions, 0.6, 0.7), atol=1e-6)


def test_one_regression_is_the_best_that_is_a_straight_line_in_sigma(world):
    latents, captions, _ = world
    told = torch.cat([
        torch.cat([phi, sigma * phi], 1)
        for alpha, sigma in LEVELS
        for phi in [features(every_noise(latents, captions, alpha, sigma)[0],
                             every_noise(latents, captions, alpha, sigma)[2], True)]
    ])  # fmt: skip
    z = every_noise(latents, captions, *LEVELS[0])[1].repeat(len(LEVELS), 1)
    count = len(told)
    expected = torch.linalg.solve(told.T @ told / count + 1e-3 * torch.eye(told.shape[1]), told.T @ z / count)
    one = OneRegression(latents, captions, LEVELS, penalty=1e-3)
    for alpha, sigma in LEVELS:
        weights = expected[: len(expected) // 2] + sigma * expected[len(expected) // 2 :]
        assert torch.allclose(one.weights(alpha, sigma), weights, atol=1e-9)


def test_a_regression_for_each_level_is_nearer_to_the_latents(world):
    latents, captions, _ = world
    one = OneRegression(latents, captions, LEVELS, penalty=1e-8)
    each = LinearDenoiser(latents, captions, penalty=1e-8)
    errors = [
        linear_measures.denoising_error(denoiser, latents, captions, LEVELS) for denoiser in (each, one)
    ]
    assert errors[0] < errors[1] - 1e-3
