"""Checks of theory/{en,ru}/vae.md, where latents lie, against hw1_bayes_and_autoencoders.

The aggregate posterior by quadrature, collapse by training linear VAEs to the optimum in float64; Monte Carlo
by z-scores, |z| < 4.5, with fixed seeds.
"""

import math

from common import gaussian_mixture, latent_space

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor
from torch.distributions import MultivariateNormal

from hw1_bayes_and_autoencoders import vae, vae_bounds
from theory.checks.draws import Z, normal, z_score
from theory.printed import printed
from theory.tags import verifies

# ---- the aggregate posterior


def by_quadrature(mu: Tensor, log_variance: Tensor) -> tuple[float, float, float]:
    """I(n; z), the standard deviation of its integrand, KL(q(z) || p(z)) for one-dimensional q(z | n)."""
    grid = torch.linspace(-15, 15, 30_001, dtype=torch.float64)
    log_q = vae_bounds.log_normal(grid[:, None, None], mu, log_variance)  # (G, N)
    log_mixture = log_q.logsumexp(1) - math.log(len(mu))
    ratio = log_q - log_mixture[:, None]
    mean = lambda values: torch.trapezoid((log_q.exp() * values).mean(1), grid).item()
    information = mean(ratio)
    log_prior = vae_bounds.log_normal(grid[:, None], 0.0, torch.zeros(1))
    marginal = torch.trapezoid(log_mixture.exp() * (log_mixture - log_prior), grid).item()
    return information, math.sqrt(mean(ratio**2) - information**2), marginal


@verifies("vae.12")
def test_the_mean_kl_is_information_plus_the_kl_of_the_aggregate_posterior():
    printed(r"""
        \frac{1}{N} \sum_{n=1}^{N} \mathrm{KL}(q(z \mid x_n) \,\Vert\, p(z)) = I(n; z) + \mathrm{KL}(q(z)
        \,\Vert\, p(z)) ,
        \qquad
        I(n; z) = \frac{1}{N} \sum_{n=1}^{N} \mathrm{KL}(q(z \mid x_n) \,\Vert\, q(z)) \le \ln N
        \tag{vae.12}
    """)
    mu = torch.tensor([-2.0, -0.5, 0.0, 0.4, 3.0], dtype=torch.float64)[:, None]
    log_variance = torch.tensor([0.1, 0.5, 0.9, 0.2, 0.3], dtype=torch.float64)[:, None].log()
    information, spread, marginal = by_quadrature(mu, log_variance)
    total = latent_space.kl_to_standard_normal(mu, log_variance).sum(1).mean().item()
    assert information + marginal == pytest.approx(total, abs=1e-9)
    assert 0 < information < math.log(5)
    torch.manual_seed(0)  # the same five images over and over: neither part changes
    parts = vae_bounds.split_kl(mu.repeat(400, 1), log_variance.repeat(400, 1), draws=2000)
    error = Z * spread / math.sqrt(2000)
    assert abs(parts.index_information - information) < error
    assert abs(parts.marginal - marginal) < error
    apart = vae_bounds.split_kl(100 * torch.arange(7.0)[:, None], torch.zeros(7, 1))
    assert apart.index_information == pytest.approx(math.log(7), abs=1e-4)


@verifies("vae.12")
def test_held_out_latents_under_a_fitted_mixture_find_that_kl_from_below():
    mu, log_variance = torch.tensor([[-1.5], [1.5]]).double(), torch.full((2, 1), 2 * math.log(0.3))
    exact = by_quadrature(mu, log_variance)[2]
    draw = lambda count, seed: latent_space.reparameterise(mu.repeat(count, 1), log_variance.repeat(count, 1),
                                                  normal(2 * count, 1, seed=seed))  # fmt: skip
    mixture, _ = gaussian_mixture.fit_best(
        draw(2000, 0), draw(500, 1), (1, 2, 4), generator=torch.Generator().manual_seed(0)
    )
    test = draw(10_000, 2)
    gain = mixture.log_density(test) - vae_bounds.log_normal(test, 0.0, torch.zeros(1))
    assert z_score(gain, exact) < Z
    assert gain.mean() > exact - 0.02


# ---- collapse

EIGENVALUES = torch.tensor([4, 1, 0.25, 0.05, 0.01], dtype=torch.float64)


def data_with_these_eigenvalues() -> tuple[Tensor, Tensor]:
    """(400, 5) of mean 0 with exactly these principal variances, and the axes as columns."""
    x = normal(400, 5, seed=7)
    x = torch.linalg.qr(x - x.mean(0)).Q * math.sqrt(400)
    axes = torch.linalg.qr(normal(5, 5, seed=8)).Q
    return x * EIGENVALUES.sqrt() @ axes.T, axes


@verifies("vae.13")
@pytest.mark.parametrize(("beta", "active"), [(1.0, 2), (0.5, 3), (5.0, 1), (20.0, 0)])
def test_a_linear_vae_keeps_the_eigenvalues_above_beta_sigma_squared(beta, active):
    kept, spent = printed(r"w_i^2 = «kept» , \qquad \mathrm{KL}_i = «spent» \tag{vae.13}")
    x, axes = data_with_these_eigenvalues()
    latent, variance = 4, 0.3
    decoder = (0.5 * normal(5, latent, seed=9)).requires_grad_()
    encoder = (0.5 * normal(latent, 5, seed=10)).requires_grad_()
    log_variance = torch.zeros(latent, dtype=torch.float64, requires_grad=True)
    parameters = [decoder, encoder, log_variance]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=3000, history_size=30, line_search_fn="strong_wolfe",
        tolerance_grad=1e-10, tolerance_change=1e-16,
    )  # fmt: skip

    def terms() -> dict[str, Tensor]:
        mu = x @ encoder.T
        noise = (decoder.square() @ log_variance.exp()).sum() / (2 * variance)  # the mean over z, exactly
        return {
            "reconstruction": noise - vae.gaussian_log_likelihood(x, mu @ decoder.T, variance),
            "kl": latent_space.kl_to_standard_normal(mu, log_variance.expand_as(mu)),
        }

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = vae.objective(terms(), beta)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert vae_bounds.linear_vae_dimensions(x[:, None, None], variance, beta) == active
    threshold = beta * variance
    squares, order = decoder.detach().square().sum(0).sort(descending=True)
    torch.testing.assert_close(squares, (EIGENVALUES[:latent] - threshold).clamp_min(0), rtol=0, atol=1e-4)
    nats = terms()["kl"].mean(0).detach()[order]
    expected = 0.5 * (EIGENVALUES[:latent] / threshold).log().clamp_min(0)
    torch.testing.assert_close(nats, expected, rtol=0, atol=1e-4)
    # the axes themselves, unlike the linear autoencoder
    columns = F.normalize(decoder.detach()[:, order[:active]], dim=0)
    torch.testing.assert_close((columns * axes[:, :active]).sum(0).abs(), torch.ones(active).double())
    if beta == 1:
        exact = MultivariateNormal(torch.zeros(5).double(), decoder.detach() @ decoder.detach().T
                                   + variance * torch.eye(5)).log_prob(x).mean()  # fmt: skip
        assert -closure().item() == pytest.approx(exact.item(), abs=1e-6)  # the ELBO is ln p here
    symbols = {"lambda_i": EIGENVALUES[:latent], "beta": beta, "sigma": math.sqrt(variance)}
    torch.testing.assert_close(squares, kept(**symbols), rtol=0, atol=1e-4)
    torch.testing.assert_close(nats, spent(**symbols), rtol=0, atol=1e-4)


# ---- interpolation


@verifies("vae.14")
def test_slerp_turns_evenly_and_keeps_the_length():
    (arc,) = printed(r"""
        z(t) = «arc» ,
        \qquad
        \cos \theta = \frac{z_0^\top z_1}{\lVert z_0 \rVert \lVert z_1 \rVert}
        \tag{vae.14}
    """)
    start, end = normal(3, 20), normal(3, 20, seed=1)
    end = end * start.norm(dim=1, keepdim=True) / end.norm(dim=1, keepdim=True)
    angle = F.cosine_similarity(start, end).acos()
    for share in (0.0, 0.25, 0.5, 1.0):
        point = latent_space.slerp(start, end, share)
        torch.testing.assert_close(point.norm(dim=1), start.norm(dim=1))
        cosine = F.cosine_similarity(start, point).clamp(-1, 1)
        torch.testing.assert_close(cosine, (share * angle).cos())
        flat = torch.stack([start, end, point], 1)  # in the plane of the ends
        assert torch.linalg.svdvals(flat)[:, 2].max() < 1e-10
    torch.testing.assert_close(latent_space.slerp(start, end, 0.0), start)
    torch.testing.assert_close(latent_space.slerp(start, end, 1.0), end)
    between = arc(t=0.3, theta=angle[:, None], z_0=start, z_1=end)
    torch.testing.assert_close(latent_space.slerp(start, end, 0.3), between)


@verifies("vae.14")
def test_midpoints_of_straight_lines_are_too_short_and_of_arcs_are_not():
    one, other = normal(20_000, 20), normal(20_000, 20, seed=1)
    straight, arc = torch.lerp(one, other, 0.5), latent_space.slerp(one, other, 0.5)
    assert abs(z_score(one.square().sum(1), 20)) < Z
    assert abs(z_score(straight.square().sum(1), 10)) < Z
    assert arc.square().sum(1).mean().item() == pytest.approx(20, abs=0.2)  # exact at 90 degrees only
    for dimension, share in {2: 0.39, 20: 0.032, 100: 7e-6}.items():
        assert stats.chi2.cdf(dimension / 2, dimension) == pytest.approx(share, rel=0.02)
    assert stats.chi(20).mean() == pytest.approx(4.42, abs=5e-3)
    assert stats.chi(20).std() == pytest.approx(0.70, abs=5e-3)
