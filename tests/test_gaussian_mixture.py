"""A mixture of Gaussians fitted to latents: its density, smoothing and size, and what it is fitted to."""

import types

from common import gaussian_mixture
from common.errors import InputError

import pytest
import torch
from torch.distributions import (
    Categorical,
    MixtureSameFamily,
    MultivariateNormal,
)

from hw1_bayes_and_autoencoders import vae_measures


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def some_mixture(dimension: int = 2) -> gaussian_mixture.GaussianMixture:
    means = torch.tensor([[-3.0, 0.0], [3.0, 1.0], [0.0, 5.0]]).double()
    covariances = torch.tensor([[[1, 0.6], [0.6, 1]], [[0.3, 0], [0, 2]], [[0.5, 0.1], [0.1, 0.4]]]).double()
    return gaussian_mixture.GaussianMixture(
        torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), means, covariances
    )


def test_the_mixtures_density_equals_torchs():
    mixture, z = some_mixture(), 3 * torch.randn(50, 2).double()
    components = MultivariateNormal(mixture.means, mixture.covariances)
    expected = MixtureSameFamily(Categorical(mixture.weights), components).log_prob(z)
    assert (mixture.log_density(z) - expected).abs().max() < 1e-11


def test_one_gaussian_is_smoothed_by_that_of_all_points_and_a_ridge():
    """N points, one component: (N S + S N / (N - 1) + ridge) / (N + 1) + ridge for their covariance S."""
    z = torch.randn(10, 2).double()
    found = gaussian_mixture.fit(z, 1, ridge=0.3)
    S, eye = torch.cov(z.T, correction=0), torch.eye(2).double()
    expected = (10 * S + S * 10 / 9 + 0.3 * eye) / 11 + 0.3 * eye
    assert (found.covariances[0] - expected).abs().max() < 1e-5
    assert (found.means[0] - z.mean(0)).abs().max() < 1e-6
    far = gaussian_mixture.fit(z + 1e6, 1, ridge=0.3)
    assert (far.covariances - found.covariances).abs().max() < 1e-8


def test_fitting_recovers_a_mixture_from_its_samples():
    truth = some_mixture()
    z, held_out = truth.sample(6000), truth.sample(2000)
    fitted, scores = gaussian_mixture.fit_best(z, held_out, (1, 3))
    assert len(fitted.weights) == 3 and scores[3] > scores[1]
    nearest = torch.cdist(truth.means, fitted.means).argmin(1)
    assert (fitted.means[nearest] - truth.means).abs().max() < 0.15
    assert (fitted.covariances[nearest] - truth.covariances).abs().max() < 0.2
    assert (fitted.weights[nearest] - truth.weights).abs().max() < 0.03
    again = fitted.sample(20_000).double()
    assert (again.mean(0) - z.double().mean(0)).abs().max() < 0.1


def test_more_components_than_clusters_stay_gaussians():
    z = torch.cat([torch.zeros(50, 3), torch.ones(50, 3)]) + 1e-4 * torch.randn(100, 3)
    fitted = gaussian_mixture.fit(z, 20)
    assert torch.linalg.eigvalsh(fitted.covariances).min() > 0 and fitted.log_density(z).isfinite().all()


def clusters(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and log-variances of q for images in ten far clusters."""
    centres = 10 * torch.randn(10, 2, generator=torch.Generator().manual_seed(7))
    mu = centres[torch.arange(count) % 10] + 0.01 * torch.randn(count, 2)
    return mu, torch.full_like(mu, -12.0)


def test_the_size_of_the_mixture_is_chosen_on_validation_latents():
    """Training and test latents fall into ten clusters, validation latents into none."""
    broad = 8 * torch.randn(300, 2), torch.zeros(300, 2)
    latents = {"train": clusters(300), "val": broad, "test": clusters(300)}
    sets = {split: types.SimpleNamespace(labels=None) for split in latents}
    model = types.SimpleNamespace(latent=2, classes=0)
    _, numbers = vae_measures.latents_to_decode(model, latents, sets, None, 5, (1, 10))
    assert numbers["eval/mixture_components"] == 1
    _, numbers = vae_measures.latents_to_decode(
        model, latents | {"val": clusters(300)}, sets, None, 5, (1, 10)
    )
    assert numbers["eval/mixture_components"] == 10


def test_the_mixture_is_fitted_to_training_latents():
    mu, log_variance = clusters(300)
    latents = {"train": (mu, log_variance), "val": (mu + 100, log_variance), "test": (mu - 100, log_variance)}
    sets = {split: types.SimpleNamespace(labels=None) for split in latents}
    drawn, _ = vae_measures.latents_to_decode(
        types.SimpleNamespace(latent=2, classes=0), latents, sets, None, 200, (1, 10)
    )
    assert (drawn["mixture"].mean(0) - mu.mean(0)).abs().max() < 10
    assert drawn["prior"].mean(0).abs().max() < 0.5


def test_more_components_than_images_are_one_line():
    latents = dict.fromkeys(("train", "val", "test"), clusters(20))
    sets = {split: types.SimpleNamespace(labels=None) for split in latents}
    model = types.SimpleNamespace(latent=2, classes=0)
    with pytest.raises(
        InputError, match=r"--components 20 50: .* fewer components than the 20 training images"
    ):
        vae_measures.latents_to_decode(model, latents, sets, None, 5, (20, 50))
