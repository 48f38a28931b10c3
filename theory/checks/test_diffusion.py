"""Checks of theory/{en,ru}/diffusion.md against hw4_diffusion: noising, bound, losses.

In float64; in worlds where the truth is known, by z-scores, |z| < 4.5, with fixed seeds.
"""

import math
from itertools import pairwise

from common import latent_space

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from hw4_diffusion import diffusion, schedule
from hw4_diffusion.schedule import Schedule
from theory.checks.diffusion_worlds import (
    EARLY,
    LATE,
    STD,
    denoiser,
    gaussian_image,
    two_point_image,
    variance,
)
from theory.checks.draws import Z, normal, z_score
from theory.printed import printed
from theory.tags import verifies

LEVELS = torch.linspace(-1, 1, 256, dtype=torch.float64)


def images(count: int, seed: int = 0) -> Tensor:
    """The Gaussian world as images (count, 1, 1, 1)."""
    return STD * normal(count, 1, 1, 1, seed=seed)


# ---- the forward process


@verifies("diffusion.1", "diffusion.3")
def test_steps_of_noise_add_up_to_the_shares_of_the_schedule():
    step, product, rest = printed(r"""
        x_t = «step» ,
        \qquad
        \alpha_t^2 = «product» ,
        \qquad
        \sigma_t^2 = «rest»
        \tag{diffusion.1}
    """)
    ratio, half_log = printed(r"""
        \mathrm{SNR}(t) = «ratio» = e^{2 \lambda_t} ,
        \qquad
        \lambda_t = «half_log»
        \tag{diffusion.3}
    """)
    steps = schedule.build("linear", 20)
    previous = (1.0, 0.0)
    at = lambda value, time: lambda k: value if k == time else math.nan
    for t in range(1, 21):
        alpha, sigma = steps.pair(t)
        one = lambda x, eps, t=t: step(beta=steps.beta, t=t, x=at(x, t - 1), varepsilon=at(eps, t)).item()
        image, noise = one(1.0, 0.0), one(0.0, 1.0)
        assert noise > 0
        assert alpha == pytest.approx(image * previous[0], rel=1e-12)
        assert sigma**2 == pytest.approx(image**2 * previous[1] ** 2 + noise**2, rel=1e-9)
        assert alpha**2 == pytest.approx(product(beta=steps.beta, t=t).item(), rel=1e-12)
        assert sigma**2 == pytest.approx(rest(alpha_t=alpha).item(), rel=1e-9)
        beta = diffusion.step_variance(alpha, sigma, *previous)
        assert beta == pytest.approx(steps.beta[t - 1].item(), rel=1e-9)
        now = {"alpha_t": alpha, "sigma_t": sigma}
        assert steps.log_snr[t].exp().item() == pytest.approx(ratio(**now).item(), rel=1e-9)
        assert steps.log_snr[t].item() / 2 == pytest.approx(half_log(**now).item(), abs=1e-9)
        assert alpha**2 == pytest.approx(1 / (1 + math.exp(-2 * half_log(**now).item())), rel=1e-9)
        previous = alpha, sigma
    examples = [(alpha / sigma) ** 2 for alpha, sigma in (LATE, EARLY)]
    assert examples == pytest.approx([0.5625, 1.778], abs=5e-4)


@verifies("diffusion.2")
def test_noise_in_one_go_is_distributed_as_noise_in_steps():
    (draw,) = printed(r"""
        x_t = «draw» ,
        \qquad
        q(x_t \mid x_0) = \mathcal{N}(\alpha_t x_0, \, \sigma_t^2 I)
        \tag{diffusion.2}
    """)
    steps, x0 = schedule.build("linear", 6), torch.full((200_000,), 0.7, dtype=torch.float64)
    alpha, sigma = steps.pair(6)
    walked = x0
    for t, beta in enumerate(steps.beta):
        walked = (1 - beta).sqrt() * walked + beta.sqrt() * normal(len(x0), seed=t)
    at_once = diffusion.noised(x0, normal(len(x0), seed=9), alpha, sigma)
    for x in (walked, at_once):
        assert abs(z_score(x, alpha * 0.7)) < Z
        assert abs(z_score((x - alpha * 0.7).square(), sigma**2)) < Z
    noise = {"x_0": x0, "varepsilon": normal(len(x0), seed=9)}
    torch.testing.assert_close(at_once, draw(alpha_t=alpha, sigma_t=sigma, **noise))
    step = diffusion.step_variance(*LATE, *EARLY)  # from s to t
    assert (0.75**2 * 0.6**2 + step, 0.75 * 0.8) == pytest.approx((0.8**2, 0.6))


@verifies("diffusion.4")
def test_the_way_back_to_a_known_image_is_bayes_rule():
    mean, spread = printed(r"""
        q(x_s \mid x_t, x_0) = \mathcal{N}(\tilde\mu, \, \tilde\sigma^2 I) ,
        \qquad
        \tilde\mu = «mean» ,
        \qquad
        \tilde\sigma^2 = «spread»
        \tag{diffusion.4}
    """)
    x_t, x0 = torch.tensor(0.4, dtype=torch.float64), torch.tensor(-0.9, dtype=torch.float64)
    found = diffusion.posterior(x_t, x0, *LATE, *EARLY)
    grid = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    step = math.sqrt(diffusion.step_variance(*LATE, *EARLY))
    log_density = Normal(0.75 * grid, step).log_prob(x_t) + Normal(0.8 * x0, 0.6).log_prob(grid)
    weights = log_density.softmax(0)
    by_bayes = (weights * grid).sum()
    assert found[0].item() == pytest.approx(by_bayes.item(), abs=1e-9)
    assert found[1] == pytest.approx((weights * (grid - by_bayes) ** 2).sum().item(), abs=1e-9)
    shares = {"alpha_t": 0.6, "sigma_t": 0.8, "alpha_s": 0.8, "sigma_s": 0.6}
    assert found[0].item() == pytest.approx(mean(x_t=x_t, x_0=x0, **shares).item(), abs=1e-12)
    assert found[1] == pytest.approx(spread(**shares).item(), abs=1e-12)
    example = [mean(x_t=1, x_0=0, **shares).item(), mean(x_t=0, x_0=1, **shares).item()]
    assert example == pytest.approx([0.4219, 0.5469], abs=5e-5)
    assert math.sqrt(found[1]) == pytest.approx(0.4961, abs=5e-5)
    steps = schedule.build("cosine", 10)  # Ho et al.'s beta tilde
    (alpha, sigma), (_, before) = steps.pair(4), steps.pair(3)
    ho = steps.beta[3].item() * before**2 / sigma**2
    assert diffusion.posterior(x_t, x0, alpha, sigma, *steps.pair(3))[1] == pytest.approx(ho, rel=1e-9)


# ---- the bound


def chain(x0: Tensor, steps: Schedule, seed: int) -> Tensor:
    """ln q(x_1, ..., x_T | x_0) - ln p(x_0, ..., x_T) of one walk for each image (B, 1, 1, 1)."""
    walk, denoise = [x0], denoiser(steps)
    for t, beta in enumerate(steps.beta.tolist()):
        walk.append(math.sqrt(1 - beta) * walk[-1] + math.sqrt(beta) * normal(*x0.shape, seed=seed + t))
    total = -Normal(0.0, 1.0).log_prob(walk[-1])
    for t, beta in enumerate(steps.beta.tolist(), start=1):
        total = total + Normal(math.sqrt(1 - beta) * walk[t - 1], math.sqrt(beta)).log_prob(walk[t])
        guess, _ = denoise(walk[t], t)
        if t > 1:
            mean, spread = diffusion.posterior(walk[t], guess, *steps.pair(t), *steps.pair(t - 1))
            total = total - Normal(mean, math.sqrt(spread)).log_prob(walk[t - 1])
        else:
            total = (
                total
                + diffusion.decoder_nats(x0, guess, steps.sigma[1] / steps.alpha[1])[:, None, None, None]
            )
    return total.flatten()


def exact_nats(x0: Tensor, steps: Schedule) -> Tensor:
    """-ln p(x_0) of the model: in the Gaussian world its chain is linear."""
    spread = 1.0
    for t, s in pairwise(range(steps.steps, 0, -1)):
        one = torch.ones((), dtype=torch.float64)
        guess = gaussian_image(one, *steps.pair(t))
        slope, added = diffusion.posterior(one, guess, *steps.pair(t), *steps.pair(s))
        spread = slope.item() ** 2 * spread + added
    alpha, sigma = steps.pair(1)
    slope = gaussian_image(torch.ones(()), alpha, sigma).item()
    return diffusion.decoder_nats(x0, 0 * x0, math.sqrt(slope**2 * spread + (sigma / alpha) ** 2))


@verifies("diffusion.5")
def test_the_terms_add_up_to_the_expected_log_ratio_and_bound_the_likelihood():
    printed(r"""
        - \ln p(x_0) \le \mathbb{E}_q \ln \frac{q(x_1, \dots, x_T \mid x_0)}{p(x_0, x_1, \dots, x_T)}
        = \underbrace{\mathrm{KL}(q(x_T \mid x_0) \,\Vert\, p(x_T))}_{L_T}
        + \sum_{t=2}^{T} \underbrace{\mathbb{E}_q \, \mathrm{KL}(q(x_{t-1} \mid x_t, x_0) \,\Vert\,
        p(x_{t-1} \mid x_t))}_{L_{t-1}}
        + \underbrace{\mathbb{E}_q \bigl[ - \ln p(x_0 \mid x_1) \bigr]}_{L_0}
        \tag{diffusion.5}
    """)
    steps = schedule.build("cosine", 5)
    x0 = LEVELS[[40, 128, 200]].repeat(60_000)[:, None, None, None]
    generator = torch.Generator().manual_seed(1)
    randn = lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)
    terms = diffusion.bound_terms(denoiser(steps), steps, x0, [5, 4, 3, 2, 1, 0], randn)
    exact = exact_nats(x0[:3], steps)
    for level in range(3):
        walked = chain(x0, steps, seed=20)[level::3]
        summed = terms.sum(1)[level::3]
        error = math.hypot(walked.std().item(), summed.std().item()) / math.sqrt(len(walked))
        assert abs(walked.mean() - summed.mean()) < Z * error
        assert z_score(summed, exact[level].item()) > Z  # never below


@verifies("diffusion.5")
def test_the_first_term_is_the_kl_of_gaussians():
    alpha, sigma = 0.3, 0.9
    x0 = normal(4, 2, 3, 1)
    found = diffusion.prior_kl(x0, alpha, sigma)
    expected = latent_space.kl_to_standard_normal(
        alpha * x0.flatten(1), torch.full((4, 6), math.log(sigma**2), dtype=torch.float64)
    )
    torch.testing.assert_close(found, expected.sum(1))
    printed_form = (alpha**2 * x0.square().flatten(1).sum(1) + 6 * (sigma**2 - 1 - math.log(sigma**2))) / 2
    torch.testing.assert_close(found, printed_form)


@verifies("diffusion.6")
def test_a_step_of_the_bound_is_a_weighted_squared_error():
    of_image, of_noise = printed(r"""
        L_{t-1} = \mathbb{E} \, \frac{\lVert \tilde\mu - \hat\mu \rVert^2}{2 \, \tilde\sigma^2}
        = «of_image» \; \mathbb{E} \lVert x_0 - \hat x \rVert^2
        = «of_noise» \, \mathbb{E} \lVert \varepsilon - \hat\varepsilon \rVert^2
        \tag{diffusion.6}
    """)
    ratio = lambda t: {0: 1.0, 1: 0.64 / 0.36, 2: 0.36 / 0.64}[round(float(t))]
    weights = {"S": lambda t: torch.tensor(ratio(t), dtype=torch.float64), "t": 2}
    x0, guess, x_t = normal(3, 2, 2, 1), normal(3, 2, 2, 1, seed=1), normal(3, 2, 2, 1, seed=2)
    found = diffusion.denoising_kl(x0, guess, ratio(1), ratio(2))
    mean, spread = diffusion.posterior(x_t, x0, *LATE, *EARLY)
    other, _ = diffusion.posterior(x_t, guess, *LATE, *EARLY)
    of_torch = kl_divergence(Normal(mean, math.sqrt(spread)), Normal(other, math.sqrt(spread)))
    torch.testing.assert_close(found, of_torch.flatten(1).sum(1))
    torch.testing.assert_close(found, ((mean - other) ** 2 / (2 * spread)).flatten(1).sum(1))
    torch.testing.assert_close(found, of_image(**weights) * (x0 - guess).square().flatten(1).sum(1))
    noises = [diffusion.noise_in(x_t, image, *LATE) for image in (x0, guess)]
    torch.testing.assert_close(
        found, of_noise(**weights) * (noises[0] - noises[1]).square().flatten(1).sum(1)
    )
    assert [of_image(**weights).item(), of_noise(**weights).item()] == pytest.approx([0.608, 1.080], abs=5e-4)


def gaussian_bound(steps: Schedule, best_variance: bool) -> float:
    """The bound of densities in nats in the Gaussian world with the exact denoiser, by closed forms."""
    alpha, sigma = steps.pair(steps.steps)
    total = 0.5 * (alpha**2 * STD**2 + sigma**2 - 1 - 2 * math.log(sigma))
    for t, s in pairwise(range(steps.steps, 0, -1)):
        (alpha, sigma), (before, less) = steps.pair(t), steps.pair(s)
        unknown = STD**2 * sigma**2 / variance(alpha, sigma)  # Var(x_0 | x_t)
        share = (alpha * less / (before * sigma)) ** 2
        known = less**2 * (1 - share)
        off = (before * (1 - share)) ** 2 * unknown  # E (mu - mu hat)^2
        chosen = known + off if best_variance else known
        total += 0.5 * ((known + off) / chosen - 1 - math.log(known / chosen))
    alpha, sigma = steps.pair(1)
    return total + 0.5 * math.log(2 * math.pi * math.e * STD**2 * sigma**2 / variance(alpha, sigma))


@verifies("diffusion.6")
def test_a_learned_variance_closes_the_gap_in_the_gaussian_world():
    entropy = 0.5 * math.log(2 * math.pi * math.e * STD**2)
    assert entropy == pytest.approx(0.726, abs=5e-4)
    for count, expected in {10: 6.116, 100: 1.976, 1000: 1.182}.items():
        steps = schedule.build("linear", count)
        assert gaussian_bound(steps, best_variance=False) == pytest.approx(expected, abs=5e-4)
        assert gaussian_bound(steps, best_variance=True) == pytest.approx(entropy, abs=1e-4)
    for std, end in ((1.0, diffusion.step_variance(*LATE, *EARLY)), (0.0, 0.4961**2)):
        share = (0.6 * 0.6 / (0.8 * 0.8)) ** 2
        unknown = std**2 * 0.8**2 / variance(*LATE, std)
        assert 0.6**2 * (1 - share) + (0.8 * (1 - share)) ** 2 * unknown == pytest.approx(end, abs=1e-4)


# ---- losses


@verifies("diffusion.7")
@pytest.mark.parametrize("world", ["gaussian", "two points"])
def test_the_simple_loss_is_least_at_the_mean_noise_whatever_its_weight(world):
    printed(r"""
        L_{\mathrm{simple}} = \mathbb{E}_{x_0, \, \varepsilon, \, t} \, \lVert \varepsilon -
        \hat\varepsilon(\alpha_t x_0 + \sigma_t \varepsilon, \, t) \rVert^2
        \tag{diffusion.7}
    """)
    count = 100_000
    x0 = images(count) if world == "gaussian" else images(count).sign()
    eps = normal(count, 1, 1, 1, seed=1)
    x_t = diffusion.noised(x0, eps, *LATE)
    image = {"gaussian": gaussian_image, "two points": two_point_image}[world]
    best = diffusion.noise_in(x_t, image(x_t, *LATE), *LATE)
    loss = diffusion.squared_error(best, eps)
    for other in (1.05 * best, best + 0.05, best + 0.05 * x_t**3, 0 * best):
        assert z_score(diffusion.squared_error(other, eps) - loss, 0) > Z
    assert abs(z_score(diffusion.squared_error(0 * best, eps), 1)) < Z  # a network that says 0
    mean_of = diffusion.squared_error(torch.zeros(1, 2, 1, 1), torch.tensor([3.0, 1.0]).view(1, 2, 1, 1))
    assert mean_of.item() == 5


@verifies("diffusion.6", "diffusion.7")
def test_the_weights_that_the_simple_loss_leaves_out():
    log_snr = schedule.build("linear", 1000).log_snr
    zero, one = torch.zeros(1, 1, 1, 1).double(), torch.ones(1, 1, 1, 1).double()

    def weight(t: int) -> float:
        snr = [log_snr[k].exp().item() for k in (t - 1, t)]
        error = one / math.sqrt(snr[1])  # of the image, for an error 1 of the noise
        return diffusion.denoising_kl(zero, error, *snr).item()

    for t, expected in {2: 0.60, 10: 0.086, 100: 0.010, 500: 0.006}.items():
        assert weight(t) == pytest.approx(expected, abs=5e-4 + expected / 99)
    later = [round(weight(t), 3) for t in range(100, 1001, 10)]  # the page of the exam: 0.005 to 0.010
    assert (min(later), max(later)) == (0.005, 0.010)
