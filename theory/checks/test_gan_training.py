"""Checks of theory/{en,ru}/gan.md: the Dirac-GAN, what makes training converge, what a generator covers.

The Dirac-GAN of hw2_gan/dirac_gan.py, smoothed labels, noise, augmentation, averaged weights, diversity.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn

from common import adversarial, augmentation
from common.averaged_weights import averaged
from common.metrics import samples
from hw2_gan import dirac_gan
from theory.checks.finite_games import LN2, WORLDS, assert_minimum, distribution, expected, normal
from theory.printed import printed
from theory.tags import verifies

# ---- the Dirac-GAN

CONFIG = dirac_gan.Config()
GAMES = dirac_gan.games(CONFIG)
MINIMAX = GAMES["minimax"]


def with_gamma(name: str, gamma: float) -> dirac_gan.Game:
    game = GAMES[name]
    return dirac_gan.Game(game.discriminator_loss, game.generator_loss, gamma=gamma)


@verifies("gan.11")
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.5])
@pytest.mark.parametrize(("name", "slope"), [("minimax", 0.5), ("non-saturating", 0.5), ("Wasserstein", 1)])
def test_field_and_eigenvalues(name, slope, gamma):
    of_theta, of_psi, roots = printed(r"""
        \dot\theta = «of_theta» ,
        \qquad
        \dot\psi = «of_psi» ,
        \qquad
        J = \begin{pmatrix} 0 & f'(0) \\ - f'(0) & - \gamma \end{pmatrix} ,
        \qquad
        \lambda_{1, 2} = «roots»
        \tag{gan.11}
    """)
    game = with_gamma(name, gamma)
    root = np.sqrt(complex(gamma**2 / 4 - slope**2))
    found = np.sort_complex(dirac_gan.eigenvalues(game).astype(complex))
    np.testing.assert_allclose(found, np.sort_complex([-gamma / 2 - root, -gamma / 2 + root]), atol=1e-7)
    theta, psi = 2 * normal(20), 2 * normal(20, seed=1)
    to_theta, to_psi = dirac_gan.vector_field(game, theta, psi)
    fake_slope = torch.ones(20) if name == "Wasserstein" else (psi * theta).sigmoid()
    torch.testing.assert_close(to_psi, -theta * fake_slope - gamma * psi)
    own = 1 - fake_slope if name == "non-saturating" else fake_slope
    torch.testing.assert_close(to_theta, psi * own)
    if gamma == 0:
        inwards = theta * to_theta + psi * to_psi
        u = psi * theta
        expected_drift = -u * (u / 2).tanh() if name == "non-saturating" else torch.zeros(20).double()
        torch.testing.assert_close(inwards, expected_drift)
    f_prime = torch.ones_like if name == "Wasserstein" else torch.sigmoid
    symbols = {"theta": theta, "psi": psi, "gamma": gamma, "fprime": f_prime}
    torch.testing.assert_close(to_psi, of_psi(**symbols))
    if name != "non-saturating":
        torch.testing.assert_close(to_theta, of_theta(**symbols))
    if gamma >= 2 * slope:  # real
        both = [roots(pm=sign, **symbols).item() for sign in (-1, 1)]
        np.testing.assert_allclose(found, both, atol=1e-7)


@verifies("gan.11")
def test_discrete_steps():
    def growth(game: dirac_gan.Game, step: float, alternating: bool) -> float:
        """Factor of the distance per step near the equilibrium."""
        config = dirac_gan.Config(step=step, steps=600, start=(1e-4, 0.0))
        distance = np.linalg.norm(dirac_gan.train(game, config, alternating), axis=1)
        return (distance[300:].max() / distance[:300].max()) ** (1 / 300)

    assert growth(MINIMAX, 0.2, False) == pytest.approx(math.sqrt(1 + 0.1**2), rel=1e-4)
    assert growth(MINIMAX, 0.2, True) == pytest.approx(1, abs=1e-4)
    for gamma in (0.04, 0.06):  # gamma > h f'(0)^2 = 0.05
        factor = math.sqrt(1 - 0.2 * gamma + 0.2**2 / 4)
        assert growth(with_gamma("minimax", gamma), 0.2, False) == pytest.approx(factor, rel=1e-4)
        assert (factor < 1) == (gamma > 0.05)
    radius = np.linalg.norm(dirac_gan.train(GAMES["non-saturating"], CONFIG, False)[-1])
    assert radius == pytest.approx(math.sqrt(2 * CONFIG.step), rel=0.03)
    slow = dirac_gan.Config(step=0.05, steps=4000, start=(0.5, 0.0))  # 1 / r^2 grows by t / 8
    squares = np.square(dirac_gan.train(GAMES["non-saturating"], slow, True)).sum(1)
    assert 1 / squares[-1] - 1 / squares[0] == pytest.approx(4000 * 0.05 / 8, rel=0.05)


@verifies("gan.11", "gan.14")
def test_instance_noise_is_r1_near_the_equilibrium_and_a_gradient_penalty_does_not_converge():
    for noise in (0.5, 1.0):
        noisy = dirac_gan.Game(MINIMAX.discriminator_loss, MINIMAX.generator_loss, noise=noise)
        one, other = dirac_gan.eigenvalues(noisy), dirac_gan.eigenvalues(with_gamma("minimax", noise**2 / 2))
        np.testing.assert_allclose(np.sort_complex(one), np.sort_complex(other), atol=1e-7)
    path = dirac_gan.train(GAMES["Wasserstein + gradient penalty"], CONFIG, alternating=True)
    assert np.linalg.norm(path[200:], axis=1).min() > 1


# ---- label smoothing, noise, augmentation


@verifies("gan.13")
@pytest.mark.parametrize(("a", "b"), [(0.9, 0.0), (0.9, 0.1), (0.8, 0.05)])
def test_the_best_discriminator_for_smoothed_labels(a, b):
    share, moved = printed(r"D_* = «share» = «moved» \tag{gan.13}")

    def loss(real, fake):
        return adversarial.cross_entropy_discriminator(real, fake, a, b)

    for p, q in WORLDS:
        best = ((a * p + b * q) / (p + q)).logit().requires_grad_()
        torch.testing.assert_close(best.sigmoid(), b + (a - b) * p / (p + q))
        assert torch.autograd.grad(expected(loss, best, p, q), best)[0].abs().max() < 1e-12
        assert_minimum(loss, best.detach(), p, q)
        assert best.max() < math.log(a / (1 - a))
    middle = torch.tensor([(a + b) / 2], dtype=torch.float64)
    entropy = -(middle * middle.log() + (1 - middle) * (1 - middle).log())
    torch.testing.assert_close(loss(middle.logit(), middle.logit()), 2 * entropy)
    for side in (share, moved):
        torch.testing.assert_close(best.detach().sigmoid(), side(a=a, b=b, p=p, q=q))


@verifies("gan.13")
def test_numbers_of_label_smoothing():
    at = lambda d, a, b: adversarial.cross_entropy_discriminator(
        *[torch.tensor([d]).logit()] * 2, a, b
    ).item()
    assert at(0.45, 0.9, 0.0) == pytest.approx(1.376, abs=5e-4)
    assert at(0.5, 0.9, 0.1) == pytest.approx(2 * LN2)
    logits, targets = normal(1).expand(50), torch.linspace(0.8, 1, 50, dtype=torch.float64)
    drawn = adversarial.cross_entropy_discriminator(
        logits, logits, targets, targets - 0.85
    )  # linear in targets
    mean = adversarial.cross_entropy_discriminator(logits[:1], logits[:1], 0.9, 0.05)
    torch.testing.assert_close(drawn.mean(), mean[0])
    ratio = torch.tensor([0.5, 0.01], dtype=torch.float64, requires_grad=True)  # p / (p + q)

    def push(a: float, b: float) -> Tensor:
        smoothed = adversarial.non_saturating_generator((b + (a - b) * ratio).logit()).sum()
        return torch.autograd.grad(smoothed, ratio)[0]

    torch.testing.assert_close(push(0.9, 0.0), push(1.0, 0.0))
    assert (push(0.9, 0.1) / push(1.0, 0.0)).tolist() == pytest.approx([0.8, 0.074], abs=5e-4)


def jsd_of_densities(p: Callable, q: Callable, low: float, high: float) -> float:
    """What the discriminator's loss at its best logit is short of 2 ln 2, halved, eq. (gan.3)."""
    x = torch.linspace(low, high, 4001, dtype=torch.float64)
    of_p, of_q = (torch.from_numpy(density(x.numpy())) for density in (p, q))
    logit, sure = (of_p / of_q).log(), torch.full_like(x, 1000.0)  # a sure logit costs nothing
    on_real = adversarial.cross_entropy_discriminator(logit, -sure)
    on_fake = adversarial.cross_entropy_discriminator(sure, logit)
    return LN2 - torch.trapezoid(of_p * on_real + of_q * on_fake, x).item() / 2


@verifies("gan.14")
@pytest.mark.parametrize(("d", "value"), [(0.5, 0.0303), (1, 0.111), (2, 0.337), (4, 0.633), (8, 0.6931)])
def test_noise_makes_the_divergence_of_two_points_continuous(d, value):
    found = jsd_of_densities(stats.norm.pdf, lambda x: stats.norm.pdf(x - d), -9, 9 + d)
    assert found == pytest.approx(value, abs=6e-5 if d in (0.5, 8) else 5e-4)
    assert found < d**2 / 8 < d**2 / 4 and found < LN2
    if d == 0.5:
        assert found == pytest.approx(d**2 / 8, rel=0.04)
    x = torch.linspace(-3, 3, 5, dtype=torch.float64, requires_grad=True)
    unit = torch.distributions.Normal(0.0, 0.7)
    logit = unit.log_prob(x) - unit.log_prob(x - d)
    torch.testing.assert_close(torch.autograd.grad(logit.sum(), x)[0], torch.full_like(x, -d / 0.49))


@verifies("gan.14")
def test_both_points_of_the_dirac_gan_get_independent_noise_of_that_variance():
    game = dirac_gan.Game(MINIMAX.discriminator_loss, MINIMAX.generator_loss, noise=0.7)
    theta, psi = torch.tensor([1.1]).double(), torch.tensor([-0.8]).double()
    exact = dirac_gan.losses(game, theta, psi)
    real, fake = 0.7 * normal(200_000, seed=0), theta + 0.7 * normal(200_000, seed=1)
    drawn = game.discriminator_loss(psi * real, psi * fake), game.generator_loss(psi * fake)
    for expectation, values in zip(exact, drawn):
        assert abs(values.mean() - expectation) < 4.5 * values.std() / math.sqrt(len(values))


@verifies("gan.14")
def test_the_bound_by_the_squared_transport_cost():
    (bound,) = printed(r"""
        \mathrm{JSD}(p_s \,\Vert\, q_s)
        \le \frac{1}{4} \bigl( \mathrm{KL}(p_s \,\Vert\, q_s) + \mathrm{KL}(q_s \,\Vert\, p_s) \bigr)
        \le «bound»
        \tag{gan.14}
    """)
    real, fake, s = (
        np.array([-1.0, 0.2, 2.0]),
        np.array([-0.6, 0.9, 1.9]),
        0.8,
    )  # coupled in order: optimal in 1-D
    mixture = lambda points: lambda x: stats.norm.pdf(np.expand_dims(x, -1), points, s).mean(-1)
    p, q = mixture(real), mixture(fake)
    kl_of = lambda a, b: integrate.quad(lambda x: a(x) * math.log(a(x) / b(x)), -7, 8)[0]
    middle = (kl_of(p, q) + kl_of(q, p)) / 4
    assert jsd_of_densities(p, q, -7, 8) < middle < np.square(real - fake).mean() / (4 * s**2)
    cost = math.sqrt(np.square(real - fake).mean())
    assert middle < bound(W_2=lambda p, q: torch.tensor(cost), p=0, q=0, s=s)


def best_generator(p_seen: Tensor, change: Tensor) -> Tensor:
    """The q with the smallest JSD of p_seen and change @ q: the game with the best discriminator."""
    theta = normal(len(p_seen), seed=8).requires_grad_()
    optimiser = torch.optim.LBFGS([theta], max_iter=500, tolerance_grad=1e-13, tolerance_change=0)

    def loss() -> Tensor:  # minus the discriminator's, eq. (gan.3) up to a constant
        optimiser.zero_grad()
        q_seen = change @ theta.softmax(0)
        discriminator = adversarial.cross_entropy_discriminator
        value = -expected(discriminator, (p_seen / q_seen).log(), p_seen, q_seen)
        value.backward()
        return value

    optimiser.step(loss)
    return theta.detach().softmax(0)


@verifies("gan.15")
@pytest.mark.parametrize("share", [0.3, 0.5])
def test_changing_both_finds_the_data_and_changing_one_finds_the_changed_data(share):
    printed(r"""
        V(D_*, G) = 2 \, \mathrm{JSD}(p_T \,\Vert\, q_T) - 2 \ln 2 ,
        \qquad
        \bigl( p_T = q_T \Rightarrow q = p \bigr) \iff \text{the linear map } p \mapsto p_T \text{ is
        injective on distributions}
        \tag{gan.15}
    """)
    p, same = distribution(4, 5), torch.eye(4, dtype=torch.float64)
    change = (1 - share) * same + share * same.flip(0)  # images 0 and 3, 1 and 2 are mirror images
    pair = change[[0, 3]][:, [0, 3]]
    assert torch.det(pair).item() == pytest.approx(1 - 2 * share)
    both = best_generator(change @ p, change)
    torch.testing.assert_close(change @ both, change @ p, rtol=0, atol=1e-5)
    assert ((both - p).abs().max() < 1e-4) == (share < 0.5)
    real_alone = best_generator(change @ p, same)
    torch.testing.assert_close(real_alone, change @ p, rtol=0, atol=1e-5)


@verifies("gan.15")
def test_gradients_pass_every_change_and_each_image_is_changed_by_itself():
    for policy in augmentation.POLICIES:
        images = normal(6, 3, 8, 8).clamp(-1, 1).requires_grad_()
        torch.manual_seed(1)
        changed = augmentation.augment(images, (policy,))
        gradient = torch.autograd.grad(changed.square().sum(), images)[0]
        assert (gradient.flatten(1).abs().sum(1) > 0).all()
        torch.manual_seed(1)
        other = images.detach().clone()
        other[1:] = 0
        torch.testing.assert_close(augmentation.augment(other, (policy,))[0], changed[0].detach())
    assert torch.equal(augmentation.augment(images, ()), images)


@verifies("gan.15")
def test_shifts_are_equally_likely_and_two_distributions_look_the_same_after_them():
    """Images 8 x 8 of one bright pixel, shifted by up to one: nine shifts; what leaves the image is gone."""
    torch.manual_seed(0)
    pixels, draws = torch.eye(64).view(64, 1, 8, 8), 5000
    shifted = augmentation.translation(pixels.repeat_interleave(draws, 0)).flatten(1)
    found = shifted.view(64, draws, 64).double().mean(1).T  # (after, before)
    line = torch.eye(8) + torch.eye(8).roll(1, 0).tril() + torch.eye(8).roll(-1, 0).triu()
    expected_map = torch.kron(line, line).double() / 9
    deviation = (found - expected_map).abs() / (1 / 9 * 8 / 9 / draws) ** 0.5
    assert deviation.max() < 5 and (found[expected_map == 0] == 0).all()
    one, other = (
        torch.zeros(8).double().index_fill(0, torch.tensor(at), 1 / 3) for at in ([0, 3, 6], [1, 4, 7])
    )
    torch.testing.assert_close(line.double() @ one, line.double() @ other)  # the page's columns


@verifies("gan.15")
def test_erasing_a_square_hides_the_parity_of_all_pixels():
    torch.manual_seed(0)
    masks = augmentation.cutout(torch.ones(2000, 1, 4, 4)).flatten(1).bool().unique(dim=0)
    assert len(masks) == 25 and not masks.all(1).any()  # nothing is ever seen whole
    images = torch.arange(2**16)
    bits = (images[:, None] >> torch.arange(16)) & 1
    even = bits.sum(1) % 2 == 0
    for mask in masks[::5]:
        seen = (bits * mask * 2 ** torch.arange(16)).sum(1)
        of_even, of_odd = (torch.bincount(seen[chosen], minlength=2**16) for chosen in (even, ~even))
        assert torch.equal(of_even, of_odd)


# ---- averaged weights, diversity


@verifies("gan.16")
def test_the_average_of_weights_as_a_recursion_as_a_sum_and_in_torch():
    (unrolled,) = printed(r"""
        \bar\theta_t = \beta \, \bar\theta_{t-1} + (1 - \beta) \, \theta_t
        = «unrolled»
        \tag{gan.16}
    """)
    beta, path = 0.9, normal(30, 2).numpy()
    means = dirac_gan.averaged(path, beta)
    ages = np.arange(29)
    closed = beta**29 * path[0] + (1 - beta) * (beta ** ages[:, None] * path[29 - ages]).sum(0)
    np.testing.assert_allclose(means[29], closed, rtol=1e-12)
    as_printed = unrolled(beta=beta, t=29, theta=lambda step: torch.from_numpy(path[step]))
    np.testing.assert_allclose(means[29], as_printed, rtol=1e-12)


@verifies("gan.16")
def test_the_memory_of_a_growing_average_grows_with_the_run():
    """Decay min(beta, (1 + t) / (10 + t)); torch copies the weights at the first update."""
    beta, path = 0.8, normal(60, 2).numpy()  # 0.8 from t = 35 on
    model = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    average = averaged(model, beta, growing=True)
    mean, decays = path[0], [min(beta, (1 + t) / (10 + t)) for t in range(60)]
    assert decays[34] < beta == decays[35]
    for t, point in enumerate(path):
        model.weight.data = torch.from_numpy(point)[None]
        average.update_parameters(model)
        mean = decays[t] * mean + (1 - decays[t]) * point if t else point
        np.testing.assert_allclose(average.module.weight.detach().numpy()[0], mean, rtol=1e-12)


@verifies("gan.16")
def test_what_a_growing_memory_remembers():
    decays = (1 + np.arange(20_001)) / (10 + np.arange(20_001))
    assert np.prod(decays[10_000:]) == pytest.approx(0.5**9, rel=2e-2)
    weights = (1 - decays) * np.append(np.cumprod(decays[:0:-1])[::-1], 1)  # of each step, at the last
    assert (weights * np.arange(20_000, -1, -1)).sum() / 20_000 == pytest.approx(0.1, rel=1e-2)


@verifies("gan.16")
def test_memory_noise_and_circles():
    assert math.log(2) / -math.log(0.999) == pytest.approx(693, abs=0.5)
    assert pytest.approx(0.37, abs=5e-3) == 0.999**1000
    beta, ages = 0.98, np.arange(3000)
    weights = (1 - beta) * beta**ages
    assert (weights * ages).sum() == pytest.approx(beta / (1 - beta))
    assert np.square(weights).sum() == pytest.approx((1 - beta) / (1 + beta))  # of independent noise
    angles = 0.1 * np.arange(2000)
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    radius = np.linalg.norm(dirac_gan.averaged(circle, beta)[-1])
    assert radius == pytest.approx((1 - beta) / abs(1 - beta * np.exp(0.1j)), rel=1e-9)
    assert 0.001 / abs(1 - 0.999 * np.exp(0.1j)) == pytest.approx(0.01, abs=5e-5)


@verifies("gan.17")
def test_diversity_is_the_mean_over_pairs_and_twice_the_trace_of_the_covariance():
    printed(r"""
        \delta(q) = \frac{1}{P} \, \mathbb{E}_{x, x' \sim q} \lVert x - x' \rVert^2 = \frac{2}{P} \,
        \mathrm{tr} \, \mathrm{Cov}_q(x) ,
        \qquad
        \mathrm{diversity} = \frac{\delta(q)}{\delta(p)} ,
        \qquad
        \mathrm{evenness} = \frac{\mathrm{H}(\hat q)}{\mathrm{H}(\hat p)}
        \tag{gan.17}
    """)
    images = torch.randint(256, (9, 3, 2, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    values = images.flatten(1).double() / 127.5 - 1
    found = samples.diversity(images)
    assert found == pytest.approx((torch.pdist(values).square().mean() / 30).item(), rel=1e-5)
    assert found == pytest.approx(2 / 30 * torch.cov(values.T).trace().item(), rel=1e-5)


@verifies("gan.17")
def test_diversity_overlooks_lost_modes_and_evenness_sees_them():
    angle = torch.arange(8) * math.pi / 4
    circle = (128 + 100 * torch.stack([angle.cos(), angle.sin()], 1)).round().byte().view(8, 1, 1, 2)
    real, collapsed = circle.repeat(1000, 1, 1, 1), circle[[0, 4]].repeat(4000, 1, 1, 1)
    assert samples.diversity(collapsed) / samples.diversity(real) == pytest.approx(1, abs=0.01)
    assert samples.diversity(real) == pytest.approx((100 / 127.5) ** 2, rel=0.01)  # 2 r^2 over two values
    evenness = samples.entropy(torch.tensor([0, 4] * 40)) / samples.entropy(torch.arange(8).repeat(10))
    assert evenness == pytest.approx(1 / 3)


@verifies("gan.17")
def test_the_entropy_of_a_histogram_is_too_small():
    draws = torch.randint(50, (2000, 1000), generator=torch.Generator().manual_seed(0))
    shortfall = np.array([math.log(50) - samples.entropy(row) for row in draws])
    assert shortfall.mean() == pytest.approx(49 / 2000, rel=0.05)
