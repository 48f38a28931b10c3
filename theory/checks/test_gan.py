"""Checks of theory/{en,ru}/gan.md: the game, its losses and penalties.

Finite worlds in float64, gradients by automatic differentiation, Wasserstein by linear programmes, against
common/adversarial.py.
"""

import itertools
from collections.abc import Callable

from common import adversarial

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, stats
from torch import Tensor

from theory.checks.draws import normal
from theory.checks.finite_games import (
    LN2,
    WORLDS,
    P,
    Q,
    assert_minimum,
    chi_squared,
    distribution,
    expected,
    jsd,
    kl,
)
from theory.printed import printed
from theory.tags import verifies

worlds = pytest.mark.parametrize(("p", "q"), WORLDS)


# ---- the game and its solution


@verifies("gan.1")
def test_minus_the_value_is_the_discriminators_cross_entropy():
    printed(r"""
        V(D, G) = \mathbb{E}_{x \sim p} \ln D(x) + \mathbb{E}_{z} \ln \bigl( 1 - D(G(z)) \bigr)
        \tag{gan.1}
    """)
    d_real, d_fake = normal(9).sigmoid(), normal(9, seed=1).sigmoid()
    loss = adversarial.cross_entropy_discriminator(d_real.logit(), d_fake.logit())
    torch.testing.assert_close(loss, -d_real.log() - (1 - d_fake).log())
    example = torch.tensor([0.8]).logit(), torch.tensor([0.3]).logit()
    assert adversarial.cross_entropy_discriminator(*example).item() == pytest.approx(0.580, abs=5e-4)
    assert adversarial.cross_entropy_discriminator(-torch.tensor([900.0]), torch.zeros(1)).isfinite()


@verifies("gan.2", "gan.3")
@worlds
def test_the_best_logit_is_the_log_ratio_and_leaves_the_jensen_shannon_divergence(p, q):
    best, best_logit = printed(r"D_*(x) = «best» , \qquad \ell_*(x) = «best_logit» \tag{gan.2}")
    printed(r"""
        V(D_*, G) = \mathbb{E}_p \ln \frac{p}{2 m} + \mathbb{E}_q \ln \frac{q}{2 m}
        = 2 \, \mathrm{JSD}(p \,\Vert\, q) - 2 \ln 2
        \tag{gan.3}
    """)
    logit = (p / q).log().requires_grad_()
    value = expected(adversarial.cross_entropy_discriminator, logit, p, q)
    assert torch.autograd.grad(value, logit)[0].abs().max() < 1e-12
    assert_minimum(adversarial.cross_entropy_discriminator, logit.detach(), p, q)
    torch.testing.assert_close(logit.sigmoid(), p / (p + q))
    assert value.item() == pytest.approx(2 * LN2 - 2 * jsd(p, q).item(), abs=1e-12)
    densities = {"p": lambda x: p, "q": lambda x: q, "x": 0}
    torch.testing.assert_close(logit.detach(), best_logit(**densities))
    torch.testing.assert_close(logit.detach().sigmoid(), best(**densities))


@verifies("gan.2", "gan.3")
def test_numbers_of_the_example_and_of_the_equilibrium():
    assert (P / (P + Q)).tolist() == pytest.approx([0.357, 0.833], abs=5e-4)
    assert jsd(P, Q).item() == pytest.approx(0.102, abs=5e-4)
    loss = lambda p, q: expected(adversarial.cross_entropy_discriminator, (p / q).log(), p, q).item()
    assert loss(P, Q) == pytest.approx(1.183, abs=5e-4)
    assert loss(P, P) == pytest.approx(2 * LN2)
    apart = torch.tensor([1 - 1e-9, 1e-9], dtype=torch.float64)
    assert loss(apart, apart.flip(0)) < 1e-6  # always winning: not the equilibrium


@verifies("gan.4", "gan.5")
def test_slopes_of_the_generators_losses():
    (vanishing,) = printed(r"\frac{d}{d \ell} \ln (1 - \sigma(\ell)) = «vanishing» \tag{gan.4}")
    (lasting,) = printed(r"""
        \frac{d}{d \ell} \bigl( - \ln \sigma(\ell) \bigr) = «lasting» ,
        \qquad
        \nabla_\theta \, \mathbb{E}_z \bigl[ - \ln D_*(G(z)) \bigr]
        = \nabla_\theta \bigl[ \mathrm{KL}(q_\theta \,\Vert\, p) - 2 \, \mathrm{JSD}(p \,\Vert\, q_\theta)
        \bigr]
        \tag{gan.5}
    """)
    logit = torch.tensor([-10.0, -6, -2, 0, 3], dtype=torch.float64, requires_grad=True)
    slope = lambda loss: torch.autograd.grad(loss(logit).sum(), logit)[0]
    torch.testing.assert_close(adversarial.minimax_generator(logit), (1 - logit.sigmoid()).log())
    torch.testing.assert_close(slope(adversarial.minimax_generator), -logit.sigmoid())
    assert slope(adversarial.minimax_generator)[:2].tolist() == pytest.approx([-0.000045, -0.0025], abs=5e-5)
    torch.testing.assert_close(adversarial.non_saturating_generator(logit), -logit.sigmoid().log())
    torch.testing.assert_close(slope(adversarial.non_saturating_generator), logit.sigmoid() - 1)
    assert slope(adversarial.non_saturating_generator)[1].item() == pytest.approx(-0.998, abs=5e-4)
    assert adversarial.non_saturating_generator(logit)[3].item() == pytest.approx(LN2)
    symbols = {"sigma": torch.sigmoid, "ell": logit.detach()}
    torch.testing.assert_close(slope(adversarial.minimax_generator), vanishing(**symbols))
    torch.testing.assert_close(slope(adversarial.non_saturating_generator), lasting(**symbols))


def step_and_divergence(loss: Callable, output: Callable, divergence: Callable) -> tuple[Tensor, Tensor]:
    """Gradients at q_theta of E_q loss(output*) with output* held, and of a divergence of p and q_theta."""
    p, theta = distribution(6, 3), normal(6, seed=4).requires_grad_()
    q = theta.softmax(0)
    held = output(p, q).detach()
    return (
        torch.autograd.grad((q * loss(held)).sum(), theta, retain_graph=True)[0],
        torch.autograd.grad(divergence(p, q), theta)[0],
    )


@verifies("gan.5")
def test_the_non_saturating_step_follows_kl_minus_twice_jsd_and_the_minimax_step_twice_jsd():
    log_ratio = lambda p, q: (p / q).log()
    reverse = lambda p, q: kl(q, p) - 2 * jsd(p, q)
    torch.testing.assert_close(*step_and_divergence(adversarial.non_saturating_generator, log_ratio, reverse))
    twice = lambda p, q: 2 * jsd(p, q)
    torch.testing.assert_close(*step_and_divergence(adversarial.minimax_generator, log_ratio, twice))
    wrong_order = lambda p, q: kl(p, q) - 2 * jsd(p, q)
    one, other = step_and_divergence(adversarial.non_saturating_generator, log_ratio, wrong_order)
    assert (one - other).abs().max() > 0.01
    assert kl(Q, P).item() == pytest.approx(0.368, abs=5e-4)
    assert reverse(P, Q).item() == pytest.approx(0.165, abs=5e-4)


@verifies("gan.6")
@worlds
def test_least_squares_finds_the_same_ratio_and_leaves_a_chi_squared(p, q):
    (best,) = printed(r"""
        D_* = «best» ,
        \qquad
        \min_D \mathcal{L}_D = \frac{1}{2} \int \frac{p \, q}{p + q} = \frac{1}{4} \bigl( 1 - \chi^2(q
        \,\Vert\, m) \bigr) ,
        \qquad
        \chi^2(q \,\Vert\, m) = \int \frac{(q - m)^2}{m} = \frac{1}{2} \int \frac{(p - q)^2}{p + q}
        \tag{gan.6}
    """)
    ratio = (p / (p + q)).requires_grad_()
    value = expected(adversarial.least_squares_discriminator, ratio, p, q)
    assert torch.autograd.grad(value, ratio)[0].abs().max() < 1e-12
    assert_minimum(adversarial.least_squares_discriminator, ratio.detach(), p, q)
    m = (p + q) / 2
    assert value.item() == pytest.approx(0.5 * (p * q / (p + q)).sum().item())
    assert value.item() == pytest.approx((1 - ((q - m).square() / m).sum().item()) / 4)
    torch.testing.assert_close(chi_squared(q, p), ((q - m).square() / m).sum())
    sum_01 = ((p + q) * (ratio - 1).square()).sum()  # the paper's theorem with both coding schemes
    assert sum_01.item() == pytest.approx((1 + chi_squared(q, p).item()) / 2)
    a, b, c = -1, 1, 0
    coded = (b * p + a * q) / (p + q)
    assert ((p + q) * (coded - c).square()).sum().item() == pytest.approx(2 * chi_squared(q, p).item())
    torch.testing.assert_close(ratio.detach(), best(p=p, q=q))


@verifies("gan.6")
def test_what_a_least_squares_step_follows():
    ratio = lambda p, q: p / (p + q)
    mixture = lambda p, q: kl(p, (p + q) / 2) - chi_squared(q, p) / 4
    torch.testing.assert_close(*step_and_divergence(adversarial.least_squares_generator, ratio, mixture))
    against = lambda output: -0.5 * output.square()  # minus the discriminator's loss
    quarter = lambda p, q: chi_squared(q, p) / 4
    torch.testing.assert_close(*step_and_divergence(against, ratio, quarter))
    t = torch.linspace(0.01, 5, 500, dtype=torch.float64)
    assert ((t / (1 + t)).square().diff() > 0).all()
    slope = ((1 - t) / (1 + t)).square().diff()
    assert (slope[t[1:] < 1] < 0).all() and (slope[t[:-1] > 1] > 0).all()
    numbers = [chi_squared(Q, P), expected(adversarial.least_squares_discriminator, P / (P + Q), P, Q)]
    assert [n.item() for n in numbers] == pytest.approx([0.190, 0.202], abs=5e-4)
    half = torch.tensor([0.5])
    assert adversarial.least_squares_discriminator(half, half).item() == 1 / 4
    assert adversarial.least_squares_generator(half).item() == 1 / 8


@verifies("gan.7")
@worlds
def test_the_best_hinge_output_is_a_sign_and_leaves_the_total_variation(p, q):
    printed(r"""
        D_* = \mathrm{sign}(p - q) ,
        \qquad
        \min_D \mathcal{L}_D = 2 \int \min(p, q) = 2 - 2 \, \mathrm{TV}(p, q) ,
        \qquad
        \mathrm{TV}(p, q) = \frac{1}{2} \int \lvert p - q \rvert
        \tag{gan.7}
    """)
    sign = (p - q).sign()
    variation = (p - q).abs().sum() / 2
    value = expected(adversarial.hinge_discriminator, sign, p, q)
    assert value.item() == pytest.approx(2 - 2 * variation.item())
    assert value.item() == pytest.approx(2 * torch.minimum(p, q).sum().item())
    assert_minimum(adversarial.hinge_discriminator, sign, p, q, low=-1e-12)
    anything = normal(len(p)).clamp(-1, 1)  # p = q: every output in [-1, 1] is as good
    assert expected(adversarial.hinge_discriminator, anything, p, p).item() == pytest.approx(2)
    twice = lambda p, q: (p - q).abs().sum()
    sign_of = lambda p, q: (p - q).sign()
    torch.testing.assert_close(*step_and_divergence(adversarial.linear_generator, sign_of, twice))
    assert 2 - 2 * (P - Q).abs().sum().item() / 2 == pytest.approx(1.2)


# ---- Wasserstein and penalties


def transport(real: Tensor, fake: Tensor) -> tuple[float, np.ndarray, float, np.ndarray]:
    """(cost, plan) of the cheapest transport, (gap, values) of the best 1-Lipschitz function: two LPs."""
    points = torch.cat([real, fake])
    distances = torch.cdist(points, points).numpy()
    n, m = len(real), len(fake)
    costs = distances[:n, n:]
    margins = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    primal = optimize.linprog(costs.ravel(), A_eq=margins, b_eq=[1 / n] * n + [1 / m] * m)
    pairs = list(itertools.permutations(range(n + m), 2))
    rows = np.zeros((len(pairs), n + m))
    for row, (i, j) in zip(rows, pairs):
        row[i], row[j] = 1, -1
    gap = np.array([-1 / n] * n + [1 / m] * m)
    dual = optimize.linprog(gap, A_ub=rows, b_ub=[distances[pair] for pair in pairs], bounds=(-50, 50))
    return primal.fun, primal.x.reshape(n, m), -dual.fun, dual.x


@verifies("gan.8", "gan.9")
def test_duality_and_the_slope_along_transport():
    printed(r"""
        W_1(p, q) = \min_{\pi} \, \mathbb{E}_{(x, y) \sim \pi} \lVert x - y \rVert
        = \max_{\lVert D \rVert_{\mathrm{L}} \le 1} \, \mathbb{E}_p D - \mathbb{E}_q D
        \tag{gan.8}
    """)
    real, fake = normal(7, 2), normal(5, 2, seed=1) + 1
    cost, plan, gap, values = transport(real, fake)
    assert cost == pytest.approx(gap, abs=1e-8)
    support, at = torch.cat([real, fake]), torch.from_numpy(values)
    critic = lambda x: (at - (x[:, None] - support).norm(dim=-1)).amax(1)  # a 1-Lipschitz extension
    torch.testing.assert_close(critic(support), at)
    weights = torch.full((7, 5), 1 / 35, dtype=torch.float64)
    loss = adversarial.wasserstein_discriminator(
        *torch.broadcast_tensors(critic(real)[:, None], critic(fake))
    )
    assert (weights * loss).sum().item() == pytest.approx(-cost, abs=1e-8)
    i, j = np.nonzero(plan > 1e-9)
    torch.manual_seed(0)
    assert (
        adversarial.gradient_penalty(critic, real[i], fake[j]).max() < 1e-8
    )  # slope 1 between coupled pairs
    lazy = lambda x: critic(x) / 2
    assert (lazy(real).mean() - lazy(fake).mean()).item() == pytest.approx(cost / 2, abs=1e-8)


@verifies("gan.8")
def test_wasserstein_of_shifted_normals_and_of_points():
    area = integrate.quad(lambda x: abs(stats.norm.cdf(x) - stats.norm.cdf(x - 1.7)), -9, 11)[0]
    assert area == pytest.approx(1.7)
    grid = torch.linspace(-3, 3, 7, dtype=torch.float64)[1:, None]
    for theta in grid[grid != 0]:
        assert transport(torch.zeros(1, 1).double(), theta[None, None])[0] == pytest.approx(abs(theta.item()))
    assert adversarial.linear_generator(grid).tolist() == (-grid).tolist()


@verifies("gan.9")
def test_the_gradient_penalty_of_a_line_and_of_a_bowl():
    (between,) = printed(r"""
        \mathbb{E}_{u, x, z} \bigl( \lVert \nabla D(y) \rVert - 1 \bigr)^2 ,
        \qquad
        y = «between» ,
        \qquad
        u \sim \mathcal{U}[0, 1]
        \tag{gan.9}
    """)
    w = torch.tensor([0.3, -0.4], dtype=torch.float64)
    real, fake = normal(6, 2), normal(6, 2, seed=1)
    penalty = adversarial.gradient_penalty(lambda x: x @ w, real, fake)
    torch.testing.assert_close(penalty, torch.full_like(penalty, 0.25))  # (0.5 - 1)^2
    torch.manual_seed(3)
    bowl = adversarial.gradient_penalty(lambda x: x.square().sum(1) / 2, real, fake)
    torch.manual_seed(3)
    share = torch.rand(6, 1, dtype=torch.float64)
    torch.testing.assert_close(bowl, (((1 - share) * real + share * fake).norm(dim=1) - 1).square())
    y = between(u=share, x=real, G=lambda z: fake, z=0)
    torch.testing.assert_close(bowl, (y.norm(dim=1) - 1).square())


@verifies("gan.10")
def test_r1_of_a_line_and_its_scale():
    printed(r"R_1 = \frac{\gamma}{2} \, \mathbb{E}_{x \sim p} \lVert \nabla \ell(x) \rVert^2 \tag{gan.10}")
    psi = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    real, gamma = normal(5, 1, 3, 3), 4.0
    penalty = gamma / 2 * adversarial.r1_penalty(lambda x: psi * x[:, 0, 1, 2], real)
    torch.testing.assert_close(penalty, (gamma / 2 * psi.square()).expand(5))
    torch.testing.assert_close(torch.autograd.grad(penalty.mean(), psi)[0], (gamma * psi).detach())
    logit = lambda x: x.pow(3).sum((1, 2, 3)) / 3
    torch.testing.assert_close(
        adversarial.r1_penalty(logit, real), real.pow(4).sum((1, 2, 3))
    )  # over the pixels of an image
    doubled = adversarial.r1_penalty(lambda x: logit(x / 2), 2 * real)  # the same network on twice the range
    torch.testing.assert_close(doubled, adversarial.r1_penalty(logit, real) / 4)
