"""Checks of theory/{en,ru}/gan.md: smoothed labels, noise, augmentation, averaged weights, diversity."""

import math
from collections.abc import Callable

from common import adversarial, augmentation
from common.averaged_weights import averaged
from common.metrics import samples

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn

from hw2_gan import dirac_gan
from theory.checks.draws import normal
from theory.checks.finite_games import LN2, WORLDS, assert_minimum, distribution, expected
from theory.printed import printed
from theory.tags import verifies

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
    as_printed = bound(W_2=lambda p, q: torch.tensor(cost), p=0, q=0, s=s).item()
    assert middle < as_printed == pytest.approx(np.square(real - fake).mean() / (4 * s**2))


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
