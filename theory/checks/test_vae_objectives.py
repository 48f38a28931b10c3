"""Checks of theory/{en,ru}/vae.md, likelihoods of pixels and what is minimised, in float64."""

import math

from common import latent_space

import pytest
import torch
from scipy import integrate
from torch import Tensor
from torch.distributions import ContinuousBernoulli, Normal

from hw1_bayes_and_autoencoders import vae
from theory.checks.draws import Z, normal, z_score
from theory.printed import printed
from theory.tags import verifies

# ---- likelihoods


@verifies("vae.7")
def test_bernoulli_log_likelihood_its_gradient_and_what_it_is_for_grey_levels():
    log_likelihood, slope = printed(r"""
        \ln p(x \mid z) = «log_likelihood» ,
        \qquad
        \frac{\partial \ln p(x \mid z)}{\partial \ell_i} = «slope»
        \tag{vae.7}
    """)
    logits = (2 * normal(2, 1, 3, 5)).requires_grad_()
    grey = normal(2, 1, 3, 5, seed=1).sigmoid()
    value = vae.bernoulli_log_likelihood(grey, logits)
    gradient = torch.autograd.grad(value.sum(), logits)[0]
    torch.testing.assert_close(gradient, grey - logits.sigmoid())
    ink = torch.bernoulli(
        grey[0].expand(50_000, 1, 3, 5), generator=torch.Generator().manual_seed(0)
    )  # black and white with these probabilities
    drawn = torch.distributions.Bernoulli(logits=logits[0].detach()).log_prob(ink).flatten(1).sum(1)
    assert abs(z_score(drawn, value[0].item())) < Z
    best = vae.bernoulli_log_likelihood(grey, grey.logit())  # minus the entropy: below 0 for grey
    assert (best > value).all() and (best < 0).all()
    half = torch.full((1, 1, 1, 1), 0.5)
    assert vae.bernoulli_log_likelihood(half, half.logit()).item() == pytest.approx(-math.log(2))
    symbols = {"P": 15, "x": grey.flatten(1), "pi": logits.sigmoid().flatten(1)}
    torch.testing.assert_close(value, log_likelihood(**symbols))
    symbols = {"x_i": grey, "pi_i": logits.sigmoid()}
    torch.testing.assert_close(gradient, slope(**symbols).detach())


@verifies("vae.7")
@pytest.mark.parametrize(("p", "mass"), [(0.5, 0.5), (0.1, 0.364), (0.01, 0.213)])
def test_bernoulli_over_grey_levels_lacks_mass_and_the_continuous_bernoulli_restores_it(p, mass):
    logit = torch.tensor([[[[p]]]], dtype=torch.float64).logit()
    density = lambda x: vae.bernoulli_log_likelihood(torch.full_like(logit, x), logit).exp().item()
    total = integrate.quad(density, 0, 1)[0]
    assert total == pytest.approx(mass, abs=5e-4)
    closed = (1 - 2 * p) / (2 * math.atanh(1 - 2 * p)) if p != 0.5 else 0.5
    assert total == pytest.approx(closed, rel=1e-9)
    reference = ContinuousBernoulli(logits=logit[0, 0, 0, 0]).log_prob(torch.tensor(0.3)).exp().item()
    assert density(0.3) / total == pytest.approx(reference, rel=1e-6)
    if p == 0.1:  # where the continuous Bernoulli has its mean, which is not p
        mean = integrate.quad(lambda x: x * density(x), 0, 1)[0] / total
        assert mean == pytest.approx(0.33, abs=5e-3)


@verifies("vae.8")
def test_gaussian_log_likelihood_and_its_best_variance():
    (log_likelihood,) = printed(r"""
        \ln p(x \mid z) = «log_likelihood» ,
        \qquad
        \sigma_*^2 = \frac{1}{P} \, \mathbb{E} \lVert x - g(z) \rVert^2 = \mathrm{MSE}
        \tag{vae.8}
    """)
    pixels, mean = normal(4, 1, 3, 5), normal(4, 1, 3, 5, seed=1).requires_grad_()
    value = vae.gaussian_log_likelihood(pixels, mean, 0.09)
    torch.testing.assert_close(value, Normal(mean, 0.3).log_prob(pixels).flatten(1).sum(1))
    best = vae.optimal_variance(pixels, mean)
    torch.testing.assert_close(best, (pixels - mean).square().mean().detach())
    log_variance = best.log().requires_grad_()
    total = vae.gaussian_log_likelihood(pixels, mean, log_variance.exp()).sum()
    slope, by_mean = torch.autograd.grad(total, (log_variance, mean))
    assert abs(slope) < 1e-10
    # the optimum in place: N P / 2 (1 + ln 2 pi MSE), whose gradient is that of the logarithm of the MSE
    profiled = -60 / 2 * (1 + (2 * math.pi * (pixels - mean).square().mean()).log())
    torch.testing.assert_close(total, profiled)
    torch.testing.assert_close(torch.autograd.grad(profiled, mean)[0], by_mean)
    flat = lambda images: images.flatten(1).T
    torch.testing.assert_close(
        value, log_likelihood(P=15, x=flat(pixels), g=lambda z: flat(mean), z=0, sigma=0.3)
    )


@verifies("vae.7", "vae.8")
def test_the_best_image_for_a_latent_is_the_posterior_mean_of_the_images_sharing_it():
    images = normal(9, 1, 2, 2).sigmoid()
    shares = normal(9, seed=1).softmax(0)  # q(z | x_n) / sum_m q(z | x_m)
    average = (shares[:, None, None, None] * images).sum(0, keepdim=True)
    for likelihood, best in (
        (lambda mean: vae.gaussian_log_likelihood(images, mean.expand_as(images), 0.01), average),
        (lambda logit: vae.bernoulli_log_likelihood(images, logit.expand_as(images)), average.logit()),
    ):
        parameter = best.clone().requires_grad_()
        value = (shares * likelihood(parameter)).sum()
        assert torch.autograd.grad(value, parameter)[0].abs().max() < 1e-12
        assert all((shares * likelihood(best + 0.1 * normal(1, 1, 2, 2, seed=s))).sum() < value
                   for s in range(20))  # fmt: skip


# ---- objectives


def terms_of(mu: Tensor, log_variance: Tensor, mean: Tensor, pixels: Tensor, variance: float) -> dict:
    return {
        "reconstruction": -vae.gaussian_log_likelihood(pixels, mean, variance),
        "kl": latent_space.kl_to_standard_normal(mu, log_variance),
    }


@verifies("vae.9")
@pytest.mark.parametrize("beta", [0.3, 1.0, 5.0])
def test_beta_is_a_choice_of_the_pixels_sigma(beta):
    printed(r"""
        J_\beta = \mathbb{E}_{q(z \mid x)} \bigl[ - \ln p(x \mid z) \bigr] + \beta \, \mathrm{KL}(q(z \mid
        x) \,\Vert\, p(z))
        \tag{vae.9}
    """)
    mu, log_variance = normal(4, 2).requires_grad_(), normal(4, 2, seed=1).requires_grad_()
    pixels, weight, variance = normal(4, 6, seed=2), normal(2, 6, seed=3).requires_grad_(), 0.01

    def gradients(variance: float, beta: float) -> tuple[Tensor, ...]:
        z = latent_space.reparameterise(mu, log_variance, normal(4, 2, seed=4))
        loss = vae.objective(terms_of(mu, log_variance, z @ weight, pixels, variance), beta)
        return torch.autograd.grad(loss, (mu, log_variance, weight))

    for one, other in zip(gradients(variance, beta), gradients(beta * variance, 1.0)):
        torch.testing.assert_close(one, beta * other, rtol=1e-10, atol=1e-10)
    terms = terms_of(mu, log_variance, pixels, pixels, variance)
    bound = vae.elbo(-terms["reconstruction"], terms["kl"]).mean()
    assert (-vae.objective(terms, beta) <= bound) == (beta >= 1)  # only then still a lower bound of ln p(x)


@verifies("vae.10")
def test_free_bits_leave_poor_dimensions_alone():
    printed(r"\sum_{d=1}^{D} \max \bigl( \lambda , \; \mathbb{E}_x \, \mathrm{KL}_d(x) \bigr) \tag{vae.10}")
    mu = torch.stack([torch.full((8,), m, dtype=torch.float64) for m in (0.2, 0.6**0.5, 2)], 1)
    mu.requires_grad_()
    kl = latent_space.kl_to_standard_normal(mu, torch.zeros_like(mu))
    torch.testing.assert_close(kl.mean(0).detach(), torch.tensor([0.02, 0.3, 2.0], dtype=torch.float64))
    assert vae.free_bits(kl, 0).item() == pytest.approx(2.32)
    bound = vae.free_bits(kl, 0.5)
    assert bound.item() == pytest.approx(0.5 + 0.5 + 2)
    gradient = torch.autograd.grad(bound, mu)[0]
    assert (gradient[:, :2] == 0).all() and (gradient[:, 2] > 0).all()
    spread = torch.tensor([[0.0, 3.0], [1.0, 3.0]])  # the mean over the batch counts, not each image
    assert vae.free_bits(spread, 0.4).item() == pytest.approx(0.5 + 3)
