"""Checks of theory/{en,ru}/vae.md, bounds and draws, against hw1_bayes_and_autoencoders.

Identities and gradients in float64; the KL symbolically; bounds on a linear-Gaussian VAE, where ln p(x) and
the posterior are known.  Monte Carlo by z-scores, |z| < 4.5, with fixed seeds.
"""

import itertools
import math

from common import latent_space

import pytest
import sympy
import torch
from scipy import stats
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from hw1_bayes_and_autoencoders import autoencoders, vae, vae_bounds
from theory.checks.draws import Z, normal, z_score
from theory.printed import printed
from theory.tags import verifies

# ---- a VAE with linear encoder and decoder: x ~ N(W z + b, sigma^2 I), orthogonal columns of W

SHAPE, LATENT, SIGMA = (1, 2, 3), 2, 0.2
W = torch.linalg.qr(normal(6, LATENT)).Q * torch.tensor([0.5, 0.3])  # (6, 2)
OFFSET = torch.full((6,), 0.5, dtype=torch.float64)
COVARIANCE = torch.linalg.inv(torch.eye(LATENT) + W.T @ W / SIGMA**2)  # of the posterior: diagonal
PIXELS = OFFSET + 0.4 * normal(6, seed=5)  # one image


class Decoder(nn.Module):
    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        return (z.double() @ W.T + OFFSET).unflatten(1, SHAPE)


class Encoder(nn.Module):
    """The exact posterior, moved and widened."""

    def __init__(self, shift: float, log_width: float):
        super().__init__()
        self.shift, self.log_width = shift, log_width

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        pixels = (x.flatten(1).double() + 1) / 2
        mean = (pixels - OFFSET) @ W @ COVARIANCE / SIGMA**2
        log_variance = COVARIANCE.diagonal().log() + 2 * self.log_width
        return torch.cat([mean + self.shift, log_variance.expand(len(x), -1)], 1)


def linear_vae(shift: float = 0, log_width: float = 0) -> vae.VAE:
    return vae.VAE(Encoder(shift, log_width), Decoder(), LATENT, likelihood="gaussian", sigma=SIGMA)


def copies(count: int) -> Tensor:
    return (2 * PIXELS - 1).reshape(1, *SHAPE).expand(count, *SHAPE)


def log_p() -> float:
    return MultivariateNormal(OFFSET, W @ W.T + SIGMA**2 * torch.eye(6)).log_prob(PIXELS).item()


def gap(model: vae.VAE) -> float:
    """KL(q(z | x) || p(z | x)) of the one image."""
    mean, log_variance = linear_vae().encode(copies(1))
    q_mean, q_log_variance = model.encode(copies(1))
    q = Normal(q_mean, (q_log_variance / 2).exp())
    return kl_divergence(q, Normal(mean, (log_variance / 2).exp())).sum().item()


# ---- the bound


@verifies("vae.1", "vae.3")
def test_every_weight_of_the_exact_posterior_is_the_marginal_likelihood():
    printed(r"p(x) = \int p(x \mid z) \, p(z) \, dz \tag{vae.1}")
    printed(r"\ln p(x) = \mathcal{L}(x) + \mathrm{KL}(q(z \mid x) \,\Vert\, p(z \mid x)) \tag{vae.3}")
    torch.manual_seed(0)
    weights = vae_bounds.log_weights(linear_vae(), copies(50), None, samples=4)
    assert (weights - log_p()).abs().max() < 1e-4  # the networks' outputs are float32
    assert (vae_bounds.log_mean_weight(weights) - log_p()).abs().max() < 1e-4
    z = normal(200_000, LATENT)  # p(x) = E_p(z) p(x | z)
    likelihood = vae.gaussian_log_likelihood(PIXELS.expand(len(z), 6), z @ W.T + OFFSET, SIGMA**2).exp()
    assert abs(z_score(likelihood, math.exp(log_p()))) < Z


@verifies("vae.2", "vae.3")
@pytest.mark.parametrize(("shift", "log_width"), [(0, 0), (0.5, 0), (0, 0.4), (-0.3, -0.5)])
def test_the_elbo_is_ln_p_minus_the_kl_to_the_posterior(shift, log_width):
    printed(r"""
        \ln p(x) = \ln \mathbb{E}_{q(z \mid x)} \frac{p(x \mid z) \, p(z)}{q(z \mid x)}
        \ge \mathbb{E}_{q(z \mid x)} \ln \frac{p(x \mid z) \, p(z)}{q(z \mid x)}
        = \mathbb{E}_{q(z \mid x)} \ln p(x \mid z) - \mathrm{KL}(q(z \mid x) \,\Vert\, p(z)) =
        \mathcal{L}(x)
        \tag{vae.2}
    """)
    torch.manual_seed(1)
    model = linear_vae(shift, log_width)
    terms = model(copies(40_000))
    bounds = vae.elbo(-terms["reconstruction"], terms["kl"]).double()
    assert gap(model) == pytest.approx(0, abs=1e-6) if shift == log_width == 0 else gap(model) > 0.1
    assert abs(z_score(bounds, log_p() - gap(model))) < Z


@verifies("vae.2", "vae.3")
def test_the_example_of_one_dimension():
    kl = lambda q, p: kl_divergence(q, p).item()
    p_x, prior = Normal(0.0, 1.0), Normal(0.0, 1.0)
    posterior, x = Normal(0.6, 0.8), torch.tensor(1.0)
    expected = lambda m, s2: -0.5 * math.log(2 * math.pi * 0.64) - ((1 - 0.6 * m) ** 2 + 0.36 * s2) / 1.28
    assert expected(0.6, 0.64) - kl(posterior, prior) == pytest.approx(p_x.log_prob(x).item(), abs=1e-6)
    assert expected(0, 1) - kl(prior, prior) == pytest.approx(-1.758, abs=5e-4)
    assert kl(prior, posterior) == pytest.approx(0.339, abs=5e-4)
    biased, fair = torch.tensor([0.9, 0.1]), torch.tensor([0.5, 0.5])
    assert (fair * (fair / biased).log()).sum().item() == pytest.approx(0.511, abs=5e-4)
    assert (biased * (biased / fair).log()).sum().item() == pytest.approx(0.368, abs=5e-4)


# ---- reparameterisation


@verifies("vae.4")
def test_reparameterised_draws_have_the_wanted_mean_and_variance():
    (draw,) = printed(r"z = «draw» , \qquad \varepsilon \sim \mathcal{N}(0, I) \tag{vae.4}")
    mu, log_variance = normal(5), normal(5, seed=1)
    z = latent_space.reparameterise(mu.expand(100_000, 5), log_variance, normal(100_000, 5, seed=2))
    assert z_score(z, mu).abs().max() < Z
    assert z_score((z - mu).square(), log_variance.exp()).abs().max() < Z
    noise = normal(100_000, 5, seed=2)
    torch.testing.assert_close(z, draw(mu=mu, s=(log_variance / 2).exp(), varepsilon=noise))


@verifies("vae.4", "vae.6", "vae.8")
def test_the_anomaly_detectors_vae_minimises_the_elbo_in_the_unit_of_the_squared_error():
    torch.manual_seed(3)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(6, 4)).double()
    decoder = nn.Sequential(nn.Linear(2, 6), nn.Unflatten(1, SHAPE)).double()
    model, x = autoencoders.VariationalAutoencoder(encoder, decoder, 0.1), normal(7, *SHAPE)
    torch.manual_seed(4)
    loss = sum(model(x, x).values()) * 6 / (2 * 0.1**2)  # back to nats
    torch.manual_seed(4)
    mean, log_s2 = model.encoder(x).chunk(2, 1)
    decoded = model.decoder(latent_space.reparameterise(mean, log_s2))
    pixels = lambda image: (image + 1) / 2
    constant = vae.gaussian_log_likelihood(pixels(x), pixels(x), 0.1**2)
    bound = vae.elbo(
        vae.gaussian_log_likelihood(pixels(x), pixels(decoded), 0.1**2),
        latent_space.kl_to_standard_normal(mean, log_s2),
    )
    torch.testing.assert_close(loss, constant - bound, rtol=1e-12, atol=1e-12)


@verifies("vae.5")
def test_the_gradient_through_the_draw_is_the_derived_one_and_is_unbiased():
    printed(r"""
        \frac{\partial}{\partial \mu} \mathbb{E} f(z) = \mathbb{E} f'(z) ,
        \qquad
        \frac{\partial}{\partial s} \mathbb{E} f(z) = \mathbb{E} \bigl[ f'(z) \, \varepsilon \bigr] ,
        \qquad
        \frac{\partial}{\partial \ln s^2} \mathbb{E} f(z) = \frac{s}{2} \, \mathbb{E} \bigl[ f'(z) \,
        \varepsilon \bigr]
        \tag{vae.5}
    """)
    n = 200_000
    mu = torch.full((n,), 0.7, dtype=torch.float64, requires_grad=True)
    log_variance = torch.full((n,), -0.5, dtype=torch.float64, requires_grad=True)
    noise, sigma = normal(n), math.exp(-0.25)
    z = latent_space.reparameterise(mu, log_variance, noise)
    by_mu, by_log_variance = torch.autograd.grad((z**3).sum(), (mu, log_variance))
    slope = 3 * z.detach() ** 2
    torch.testing.assert_close(by_mu, slope, rtol=1e-12, atol=0)
    torch.testing.assert_close(by_log_variance, slope * noise * sigma / 2, rtol=1e-12, atol=1e-12)
    # E z^3 = mu^3 + 3 mu sigma^2
    assert abs(z_score(by_mu, 3 * 0.7**2 + 3 * sigma**2)) < Z
    assert abs(z_score(by_log_variance, 3 * 0.7 * sigma**2)) < Z


@verifies("vae.5")
@pytest.mark.parametrize("sigma", [1.0, 0.1])
def test_variances_of_the_two_gradient_estimates_for_a_square(sigma):
    noise = normal(400_000)
    z = 1 + sigma * noise
    path, score = 2 * z, z**2 * noise / sigma
    with_baseline = (z**2 - 1 - sigma**2) * noise / sigma
    s2 = sigma**2
    for estimate, variance in ((path, 4 * s2), (score, 1 / s2 + 14 + 15 * s2), (with_baseline, 8 + 10 * s2)):
        assert abs(z_score(estimate, 2)) < Z
        assert abs(z_score((estimate - 2).square(), variance)) < Z
    quick = (-10 * (10 * (1 + noise)).sin()).var(), ((10 * (1 + noise)).cos() * noise).var()
    assert quick[0] > 90 * quick[1]  # f(z) = cos 10 z, sigma = 1: here the score function is the better one


# ---- the KL


@verifies("vae.6")
def test_kl_of_gaussians_symbolically():
    e, mu = sympy.symbols("e mu", real=True)
    s, t = sympy.symbols("s t", positive=True)
    z = mu + s * e  # z ~ q
    log_ratio = sympy.log(t / s) - e**2 / 2 + z**2 / (2 * t**2)
    density = sympy.exp(-(e**2) / 2) / sympy.sqrt(2 * sympy.pi)
    kl = sympy.integrate(sympy.expand(density * log_ratio), (e, -sympy.oo, sympy.oo))
    closed = (mu**2 + s**2 - 1 - sympy.log(s**2)) / 2
    assert sympy.simplify(sympy.expand_log(kl.subs(t, 1) - closed, force=True)) == 0
    wrong = mu**2 + s**2 - sympy.log(s) - sympy.Rational(1, 2)  # circulates; it is the KL to N(0, 1/2)
    difference = wrong - kl.subs(t, 1 / sympy.sqrt(2))
    assert sympy.simplify(sympy.expand_log(difference, force=True) - sympy.log(2) / 2) == 0
    assert sympy.solve(sympy.diff(wrong, s), s) == [sympy.sqrt(2) / 2]


@verifies("vae.6")
def test_kl_in_code_is_the_kl_its_gradient_and_the_mean_log_ratio():
    (nats,) = printed(r"""
        \mathrm{KL}\bigl( \mathcal{N}(\mu, \mathrm{diag}(s^2)) \,\Vert\, \mathcal{N}(0, I) \bigr)
        = «nats»
        \tag{vae.6}
    """)
    mu, log_variance = normal(3, 4).requires_grad_(), normal(3, 4, seed=1).requires_grad_()
    kl = latent_space.kl_to_standard_normal(mu, log_variance)
    reference = kl_divergence(Normal(mu, (log_variance / 2).exp()), Normal(0, 1))
    torch.testing.assert_close(kl, reference, rtol=1e-12, atol=1e-14)
    by_mu, by_log_variance = torch.autograd.grad(kl.sum(), (mu, log_variance))
    torch.testing.assert_close(by_mu, mu, rtol=1e-12, atol=0)
    torch.testing.assert_close(by_log_variance, (log_variance.exp() - 1) / 2, rtol=1e-12, atol=1e-14)
    m, v = mu[0].detach(), log_variance[0].detach()
    z = latent_space.reparameterise(m, v, normal(100_000, 4, seed=2))
    ratio = vae_bounds.log_normal(z, m, v) - vae_bounds.log_normal(z, 0.0, torch.zeros_like(v))
    assert abs(z_score(ratio, kl[0].sum().item())) < Z
    example = latent_space.kl_to_standard_normal(torch.tensor(1.0), torch.tensor(2 * math.log(0.5)))
    assert example.item() == pytest.approx(0.818, abs=5e-4)
    torch.testing.assert_close(kl.sum(1), nats(D=4, mu=mu, s=(log_variance / 2).exp()))


# ---- the importance-weighted bound


@verifies("vae.11")
def test_more_weights_never_lower_the_bound():
    printed(r"""
        \mathcal{L}_K(x) = \mathbb{E}_{z_1, \dots, z_K \sim q(z \mid x)} \ln \frac{1}{K} \sum_{k=1}^{K} w_k
        ,
        \qquad
        w_k = \frac{p(x \mid z_k) \, p(z_k)}{q(z_k \mid x)} ,
        \qquad
        \mathcal{L} = \mathcal{L}_1 \le \mathcal{L}_K \le \mathcal{L}_{K+1} \le \ln p(x)
        \tag{vae.11}
    """)
    weights = 2 * normal(6, 5)  # six draws for five images: the mean over subsets is an exact inequality
    subsets = lambda k: [list(rows) for rows in itertools.combinations(range(6), k)]
    mean = lambda k: torch.stack([vae_bounds.log_mean_weight(weights[rows]) for rows in subsets(k)]).mean(0)
    levels = [mean(k) for k in range(1, 7)]
    assert all((larger > smaller).all() for smaller, larger in itertools.pairwise(levels))
    torch.testing.assert_close(levels[0], weights.mean(0))


@verifies("vae.11")
def test_the_bound_of_a_poor_encoder_climbs_to_ln_p():
    torch.manual_seed(2)
    model = linear_vae(0.5, 0.2)
    weights = vae_bounds.log_weights(model, copies(4000), None, samples=64).double()
    bounds = {k: vae_bounds.log_mean_weight(weights[:k]) for k in (1, 4, 16, 64)}
    assert abs(z_score(bounds[1], log_p() - gap(model))) < Z
    for smaller, larger in itertools.pairwise(bounds.values()):
        assert z_score(larger - smaller, 0) > Z
        assert z_score(larger, log_p()) < Z  # never above
    whole = vae_bounds.importance_bound(model, copies(50), None, samples=4000, chunk=999)
    assert (whole - log_p()).abs().max() < 0.1


@verifies("vae.11")
def test_the_example_and_the_gap_of_large_k():
    z = normal(50_000, 100)  # q = prior, x = 1, p(x | z) = N(0.6 z, 0.64): the page's example
    weights = vae_bounds.log_normal(torch.ones(1), 0.6 * z[..., None], torch.full((1,), math.log(0.64)))
    for k, expected in {1: -1.758, 2: -1.553, 5: -1.463, 10: -1.440, 100: -1.421}.items():
        bound = vae_bounds.log_mean_weight(weights[:, :k].T)
        assert abs(bound.mean() - expected) < 5e-4 + Z * bound.std() / math.sqrt(len(bound))
    squares = stats.norm.pdf(1, 0, math.sqrt(0.68)) / (2 * math.sqrt(math.pi) * 0.8)  # E w^2
    relative_variance = squares / stats.norm.pdf(1) ** 2 - 1
    assert relative_variance == pytest.approx(0.397, abs=5e-4)
    shortfall = stats.norm.logpdf(1) - vae_bounds.log_mean_weight(weights.T)
    assert abs(z_score(shortfall, relative_variance / 200)) < Z
