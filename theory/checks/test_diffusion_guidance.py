"""Checks of theory/{en,ru}/diffusion.md against hw4_diffusion: schedules, guidance, straight paths, bits."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from hw4_diffusion import diffusion, samplers, schedule
from theory.checks.diffusion_worlds import (
    denoiser,
    gaussian_image,
    guided_world,
    noise_only,
    sampled,
    two_point_image,
    variance,
)
from theory.checks.draws import Z, normal, z_score
from theory.printed import printed
from theory.tags import verifies

# ---- schedules


@verifies("diffusion.3", "diffusion.20")
def test_the_two_schedules_and_what_they_leave_of_the_image():
    linear, cosine = printed(r"""
        \beta_t = «linear» ,
        \qquad
        \alpha_t^2 = \frac{f(t)}{f(0)} , \quad f(t) = «cosine»
        \tag{diffusion.20}
    """)
    betas = schedule.linear_betas(1000)
    for t in (1, 2, 500, 1000):
        assert betas[t - 1].item() == pytest.approx(linear(t=t, T=1000, beta_1=1e-4, beta_T=0.02).item())
    torch.testing.assert_close(schedule.linear_betas(200)[[0, -1]], 5 * betas[[0, -1]])
    f = lambda t: cosine(t=t, T=1000, kappa=0.008).item()
    alpha_bar = (1 - schedule.cosine_betas(1000)).cumprod(0)
    for t in (1, 250, 900, 990):
        assert alpha_bar[t - 1].item() == pytest.approx(f(t) / f(0), rel=1e-9)
    assert schedule.cosine_betas(1000).max().item() == 0.999
    for name, weaker, hopeless in (("linear", 74, 33), ("cosine", 50, 6)):
        log_snr = schedule.build(name, 1000).log_snr[1:]
        assert round(100 * (log_snr < 0).double().mean().item()) == weaker
        assert round(100 * (log_snr < math.log(0.01)).double().mean().item()) == hopeless


@verifies("diffusion.3", "diffusion.21")
def test_shares_are_stretched_until_nothing_is_left_at_the_end():
    (stretched,) = printed(r"\alpha'_t = «stretched» \tag{diffusion.21}")
    before, after = (schedule.build("linear", 1000, zero_terminal_snr=on) for on in (False, True))
    assert before.alpha[-1].item() == pytest.approx(0.0064, abs=5e-5)
    shares = {"alpha_1": before.alpha[1], "alpha_T": before.alpha[-1]}
    for t in (1, 2, 500, 1000):
        assert after.alpha[t].item() == pytest.approx(
            stretched(alpha_t=before.alpha[t], **shares).item(), abs=1e-9
        )
    alpha_bar = schedule.with_zero_terminal_snr(before.alpha.square())
    torch.testing.assert_close(alpha_bar, after.alpha.square())
    assert after.log_snr[-1].item() == -math.inf
    assert diffusion.prior_kl(normal(1, 1, 2, 2), *after.pair(1000)).item() == 0
    roots = torch.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000, dtype=torch.float64)
    assert (1 - roots**2).prod().sqrt().item() == pytest.approx(0.068, abs=5e-4)  # Stable Diffusion's


# ---- guidance


@verifies("diffusion.22")
def test_guidance_goes_beyond_the_prediction_with_the_class():
    (formula,) = printed(r"""
        \hat\varepsilon_w = «formula» ,
        \qquad
        \nabla \ln q_t(x) + w \, \nabla \ln q_t(c \mid x) = \nabla \ln \bigl[ q_t(x)^{1 - w} \,
        q_t(x \mid c)^w \bigr]
        \tag{diffusion.22}
    """)
    told, untold = normal(5), normal(5, seed=1)
    for weight in (0.0, 1.0, 3.5):
        expected = formula(varepsilonhat=untold, varepsilonhatc=told, w=weight)
        torch.testing.assert_close(diffusion.guided(told, untold, weight), expected)
    torch.testing.assert_close(diffusion.guided(told, untold, 1.0), told)
    torch.testing.assert_close(diffusion.guided(told, untold, 0.0), untold)
    alpha, sigma, weight = 0.6, 0.8, 3.0  # two points, the class is 1: the score of the product of powers
    x = torch.linspace(-2, 2, 7, dtype=torch.float64, requires_grad=True)
    of_class = Normal(alpha * torch.ones_like(x), sigma).log_prob(x)
    of_all = torch.logaddexp(of_class, Normal(-alpha * torch.ones_like(x), sigma).log_prob(x)) - math.log(2)
    of_label = of_class - math.log(2) - of_all  # ln q(c | x), by Bayes
    powers = (1 - weight) * of_all + weight * of_class
    gradients = [
        torch.autograd.grad(value.sum(), x, retain_graph=True)[0] for value in (powers, of_label, of_all)
    ]
    x = x.detach()
    noises = [diffusion.noise_in(x, image, alpha, sigma)
              for image in (torch.ones_like(x), two_point_image(x, alpha, sigma))]  # fmt: skip
    score = diffusion.score(diffusion.guided(*noises, weight), sigma)
    torch.testing.assert_close(score, gradients[0])
    torch.testing.assert_close(gradients[2] + weight * gradients[1], gradients[0])


@verifies("diffusion.23")
@pytest.mark.parametrize(
    ("of_class", "of_all", "weight", "example"),
    [
        (0.5, 1.0, 1.0, (0.5, 0.5)),
        (0.5, 1.0, 2.0, (0.25, 0.378)),
        (0.5, 1.0, 5.0, (0.031, 0.25)),
        (0.4, 0.8, 3.0, (0.1, 0.253)),
    ],
)
def test_guidance_samples_neither_the_class_nor_its_power(of_class, of_all, weight, example):
    guided, power = printed(r"""
        \mathrm{std}_{\text{}} = «guided» ,
        \qquad
        \mathrm{std}_{\text{}} = «power»
        \tag{diffusion.23}
    """)
    expected = [value(s=of_class, tau=of_all, w=weight).item() for value in (guided, power)]
    assert expected == pytest.approx(list(example), abs=5e-4)
    image = lambda std: lambda x, alpha, sigma: gaussian_image(x, alpha, sigma, std)
    end = sampled(weight, image(of_class), image(of_all), torch.ones(1, dtype=torch.float64))
    assert end.item() == pytest.approx(expected[0], rel=5e-3)
    grid = torch.linspace(-4, 4, 40_001, dtype=torch.float64)
    log_power = weight * Normal(0.0, of_class).log_prob(grid) + (1 - weight) * Normal(0.0, of_all).log_prob(
        grid
    )
    assert (log_power.softmax(0) * grid**2).sum().sqrt().item() == pytest.approx(expected[1], rel=1e-6)
    if weight > 1:  # nor is the power of noisy densities the noisy power
        precision = weight / variance(0.6, 0.8, of_class) + (1 - weight) / variance(0.6, 0.8, of_all)
        assert 1 / precision < 0.95 * variance(0.6, 0.8, expected[1])


@verifies("diffusion.22", "diffusion.23")
def test_guidance_with_equal_variances_and_between_two_points():
    shifted = lambda x, alpha, sigma: 1 + gaussian_image(x - alpha, alpha, sigma)  # N(1, 0.25)
    ends = sampled(3.0, shifted, gaussian_image, torch.tensor([0.0, 1.0]).double())
    assert ends[0].item() == pytest.approx(3, abs=0.01)
    assert (ends[1] - ends[0]).item() == pytest.approx(0.5, abs=0.01)
    one = lambda x, alpha, sigma: torch.ones_like(x)
    start = torch.tensor([-2.0, -0.1, 1.5]).double()
    assert sampled(3.0, one, two_point_image, start).tolist() == pytest.approx([1, 1, 1], abs=0.01)
    _, denoise = guided_world(3.0, one, two_point_image)
    aims = [denoise(start, t)[0] for t in range(100, 4000, 100)]
    assert torch.stack(aims).min().item() > 1 - 1e-9 and 3 < torch.stack(aims).max().item() < 5 + 1e-9


# ---- straight paths


@verifies("diffusion.24", "diffusion.26")
def test_the_straight_path_its_velocity_and_eulers_steps():
    path, velocity = printed(r"""
        x_t = «path» ,
        \qquad
        u = \frac{d x_t}{d t} = «velocity» ,
        \qquad
        L = \mathbb{E} \, \lVert u - \hat u(x_t, t) \rVert^2 ,
        \qquad
        t \in [0, 1]
        \tag{diffusion.24}
    """)
    (euler,) = printed(r"x_s = «euler» \tag{diffusion.26}")
    steps, x0, eps = schedule.straight(10), normal(4), normal(4, seed=1)
    pair = {"x_0": x0, "varepsilon": eps}
    for t in range(11):
        torch.testing.assert_close(diffusion.noised(x0, eps, *steps.pair(t)), path(t=t / 10, **pair))
    torch.testing.assert_close(diffusion.target("flow", x0, eps, *steps.pair(3)), velocity(**pair))
    torch.testing.assert_close((path(t=0.6, **pair) - path(t=0.2, **pair)) / 0.4, velocity(**pair))
    x = normal(4, seed=2)
    image, noise = denoiser(steps, two_point_image)(x, 8)
    (_, found), *_ = samplers.euler(denoiser(steps, two_point_image), steps, [8, 5], x)
    torch.testing.assert_close(found, euler(x_t=x, t=0.8, s=0.5, uhat=noise - image))
    ddim = samplers.ddim(denoiser(steps, two_point_image), steps, [8, 5], x, 0.0, torch.zeros_like)
    torch.testing.assert_close(found, samplers.last(ddim))


@verifies("diffusion.24", "diffusion.25", "diffusion.26")
def test_the_mean_velocity_carries_the_distributions_and_is_the_flow_of_any_other_path():
    steps = schedule.straight(2000)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    ends = samplers.last(samplers.euler(denoiser(steps), steps, list(range(2000, -1, -1)), x))
    torch.testing.assert_close(ends, 0.5 * x, rtol=0, atol=2e-3)  # N(0, 1) to N(0, 0.25)
    curved = noise_only(2000)
    of_ddim = samplers.last(
        samplers.ddim(denoiser(curved), curved, list(range(2000, -1, -1)), x, 0.0, torch.zeros_like)
    )
    torch.testing.assert_close(ends, of_ddim, rtol=0, atol=2e-3)
    alpha, sigma = 0.8, 0.6  # a denoiser of the straight path, asked at the same signal-to-noise ratio
    tau = sigma / (alpha + sigma)
    elsewhere = gaussian_image(x / (alpha + sigma), 1 - tau, tau)
    torch.testing.assert_close(elsewhere, gaussian_image(x, alpha, sigma))
    loss = lambda factor: diffusion.squared_error(factor * straight_velocity()[0], straight_velocity()[1])
    assert z_score(loss(1.1) - loss(1.0), 0) > Z and z_score(loss(0.9) - loss(1.0), 0) > Z


def straight_velocity() -> tuple[Tensor, Tensor]:
    """The mean velocity at t = 0.6 of the Gaussian world, and what the network is trained on."""
    x0, eps = 0.5 * normal(50_000, 1, 1, 1), normal(50_000, 1, 1, 1, seed=1)
    x_t = diffusion.noised(x0, eps, 0.4, 0.6)
    image = gaussian_image(x_t, 0.4, 0.6)
    mean = diffusion.noise_in(x_t, image, 0.4, 0.6) - image
    return mean, diffusion.target("flow", x0, eps, 0.4, 0.6)


# ---- bits

LEVELS = torch.linspace(-1, 1, 256, dtype=torch.float64)


@verifies("diffusion.27")
def test_the_last_step_gives_every_level_the_mass_of_its_interval():
    upper, lower = printed(r"""
        p(x_0 \mid x_1) = \prod_{i=1}^{P} \bigl[ \Phi(b_i) - \Phi(a_i) \bigr] ,
        \qquad
        b_i = «upper» ,
        \qquad
        a_i = «lower»
        \tag{diffusion.27}
    """)
    alpha, sigma = 0.98, 0.2
    levels = LEVELS
    mean = torch.tensor(0.31, dtype=torch.float64)
    values = {"alpha_1": alpha, "sigma_1": sigma, "x_i": levels, "xhati": mean}
    b, a = upper(**values), lower(**values)
    b[-1], a[0] = math.inf, -math.inf
    mass = torch.special.ndtr(b) - torch.special.ndtr(a)
    assert mass.sum().item() == pytest.approx(1, abs=1e-12)
    nats = diffusion.decoder_nats(levels[:, None, None, None], mean.expand(256, 1, 1, 1), sigma / alpha)
    torch.testing.assert_close(nats, -mass.log(), rtol=1e-6, atol=1e-6)
    two = torch.stack([levels[3], levels[200]]).view(1, 2, 1, 1)
    both = diffusion.decoder_nats(two, mean.expand(1, 2, 1, 1), sigma / alpha)
    torch.testing.assert_close(both[0], nats[3] + nats[200])


def best_of_levels(x: Tensor, alpha: float, sigma: float) -> Tensor:
    """E [x_0 | x_t] of a pixel whose 256 levels are equally likely."""
    share = (-((x[..., None] - alpha * LEVELS) ** 2) / (2 * sigma**2)).softmax(-1)
    return (share * LEVELS).sum(-1)


@verifies("diffusion.5", "diffusion.28")
def test_bits_per_dimension_of_pixels_that_carry_eight_bits():
    (bits,) = printed(r"""
        \text{} = «bits»
        \tag{diffusion.28}
    """)
    generator, found = torch.Generator().manual_seed(1), []
    randn = lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)
    for count in (20, 200):
        steps = schedule.build("cosine", count)
        x0 = LEVELS.repeat(8).view(-1, 1, 2, 4)
        terms = diffusion.bound_terms(
            denoiser(steps, best_of_levels), steps, x0, list(range(count, -1, -1)), randn
        )
        per_number = diffusion.bits_per_dimension(terms.sum(1), 8)
        by_the_page = bits(L=lambda k, terms=terms: terms[:, int(k)], T=count, P=8)
        torch.testing.assert_close(per_number, by_the_page)
        found.append(per_number.mean().item())
    assert 8 < found[1] < 9 < found[0]
