"""Checks of theory/{en,ru}/diffusion.md, the equations behind the samplers, against hw4_diffusion.samplers.

In float64, in worlds where the trajectories are known.
"""

import itertools
import math
from collections.abc import Callable

import pytest
import sympy
import torch
from torch import Tensor

from hw4_diffusion import diffusion, samplers, schedule
from hw4_diffusion.schedule import Schedule
from theory.checks.diffusion_worlds import (
    STD,
    at_equal_steps,
    denoiser,
    gaussian_image,
    std_of,
    two_point_image,
    variance,
)
from theory.checks.draws import normal
from theory.printed import printed
from theory.tags import verifies

EXAMPLE = Schedule(torch.tensor([1, 0.8, 0.6]).double(), torch.tensor([0, 0.6, 0.8]).double())
"""The example's steps: s = 1, t = 2."""
SHARES = {"alpha_s": 0.8, "sigma_s": 0.6, "alpha_t": 0.6, "sigma_t": 0.8}


def no_noise(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


def one_step(
    name: str, x: Tensor, steps: Schedule = EXAMPLE, image: Callable = gaussian_image, **options
) -> Tensor:
    """x_{T-1} from x_T."""
    times = [steps.steps, steps.steps - 1]
    return samplers.last(samplers.sample(name, denoiser(steps, image), steps, times, x, **options))


# ---- ancestral sampling and the stochastic equation


@verifies("diffusion.13")
def test_an_ancestral_step_is_the_posterior_at_the_predicted_image_and_algorithm_2():
    from_image, from_noise = printed(r"""
        x_s = «from_image» + \tilde\sigma z ,
        \qquad
        \text{} s = t - 1 : \quad
        x_{t-1} = «from_noise» + \tilde\sigma z
        \tag{diffusion.13}
    """)
    x = normal(7)
    image = two_point_image(x, 0.6, 0.8)
    mean = one_step("ancestral", x, image=two_point_image, randn=no_noise)
    torch.testing.assert_close(mean, from_image(x_t=x, xhat=image, **SHARES))
    beta = EXAMPLE.beta[1].item()
    eps = diffusion.noise_in(x, image, 0.6, 0.8)
    torch.testing.assert_close(
        mean, from_noise(beta_t=beta, sigma_t=0.8, x_t=x, varepsilonhat=eps), rtol=1e-6, atol=1e-6
    )
    shaken = one_step("ancestral", x, image=two_point_image, randn=torch.ones_like)
    torch.testing.assert_close(shaken - mean, torch.full_like(x, 0.4961), rtol=0, atol=5e-5)
    steps = schedule.build("linear", 5)  # no noise in the last step
    last = samplers.last(
        samplers.sample("ancestral", denoiser(steps), steps, [1, 0], x, randn=torch.ones_like)
    )
    torch.testing.assert_close(last, gaussian_image(x, *steps.pair(1)))


@verifies("diffusion.14")
def test_ancestral_sampling_is_the_reverse_equation_in_small_steps():
    printed(r"""
        d x = - \frac{\beta(t)}{2} \, x \, dt + \sqrt{\beta(t)} \, d w ,
        \qquad
        d x = \Bigl[ - \frac{\beta(t)}{2} \, x - \beta(t) \, \nabla \ln q_t(x) \Bigr] dt
        + \sqrt{\beta(t)} \, d \bar w
        \tag{diffusion.14}
    """)
    one, errors = torch.ones(1, dtype=torch.float64), []
    for beta in (0.02, 0.01, 0.005):  # one step to alpha = 0.6
        before = 0.6 / math.sqrt(1 - beta)
        steps = Schedule(
            torch.tensor([1, before, 0.6]).double(),
            torch.tensor([0, math.sqrt(1 - before**2), 0.8]).double(),
        )
        score = diffusion.score(diffusion.noise_in(one, two_point_image(one, 0.6, 0.8), 0.6, 0.8), 0.8)
        euler = one + beta / 2 * one + beta * score  # dt is negative
        mean = one_step("ancestral", one, steps, two_point_image, randn=no_noise)
        spread = (one_step("ancestral", one, steps, two_point_image, randn=torch.ones_like) - mean) ** 2
        errors.append([abs((mean - euler).item()), abs(spread.item() - beta)])
    for coarse, fine in itertools.pairwise(errors):
        assert [a / b for a, b in zip(coarse, fine)] == pytest.approx([4, 4], rel=0.1)  # of second order


@verifies("diffusion.14", "diffusion.15")
def test_both_reverse_equations_undo_the_forward_one():
    x, t = sympy.symbols("x t", real=True)
    beta, spread = sympy.Function("beta")(t), sympy.Function("V")(t)
    q = sympy.exp(-(x**2) / (2 * spread)) / sympy.sqrt(2 * sympy.pi * spread)
    score = sympy.diff(sympy.log(q), x)
    forward = lambda drift, noise: -sympy.diff(drift * q, x) + noise * sympy.diff(q, x, 2) / 2
    change = forward(-beta / 2 * x, beta)  # Fokker-Planck
    reverse = -forward(beta / 2 * x + beta * score, beta)  # time runs backwards
    flow = forward(-beta / 2 * (x + score), 0)
    assert sympy.simplify(change - reverse) == 0
    assert sympy.simplify(change - flow) == 0
    of_variance = sympy.diff(q, spread) * beta * (1 - spread)  # dV/dt = beta (1 - V)
    assert sympy.simplify(change - of_variance) == 0


# ---- the probability-flow ODE


@verifies("diffusion.15")
@pytest.mark.parametrize("image", [gaussian_image, two_point_image])
def test_three_forms_of_one_ordinary_equation(image):
    (velocity,) = printed(r"""
        \frac{d x}{d t} = - \frac{\beta(t)}{2} \bigl[ x + \nabla \ln q_t(x) \bigr] ,
        \qquad
        \frac{d}{d t} \frac{x}{\alpha_t} = \hat\varepsilon(x, t) \, \frac{d}{d t} \frac{\sigma_t}{\alpha_t} ,
        \qquad
        \frac{d x}{d \phi} = «velocity»
        \tag{diffusion.15}
    """)
    x, phi = normal(6), 0.7
    alpha, sigma = math.cos(phi), math.sin(phi)
    x0 = image(x, alpha, sigma)
    eps = diffusion.noise_in(x, x0, alpha, sigma)
    slope = samplers.slope(x0, eps, phi)
    torch.testing.assert_close(slope, velocity(phi=phi, varepsilonhat=eps, xhat=x0))
    torch.testing.assert_close(slope, diffusion.target("v", x0, eps, alpha, sigma))
    beta = 2 * math.tan(phi)  # with t = phi: d ln alpha / dt = -tan phi = -beta / 2
    torch.testing.assert_close(slope, -beta / 2 * (x + diffusion.score(eps, sigma)))
    of_y = slope / alpha + x * sigma / alpha**2  # d/dphi (x / cos phi)
    torch.testing.assert_close(of_y, eps / alpha**2)  # d/dphi tan phi = 1 / cos^2 phi


@verifies("diffusion.15")
def test_trajectories_of_the_two_worlds():
    steps = at_equal_steps(2000)
    times = list(range(2001, 0, -1))
    for start in (0.3, -1.7):
        x = torch.full((1,), start, dtype=torch.float64)
        end = samplers.last(samplers.dpm_solver(denoiser(steps), steps, times, x))
        place = end.item() / std_of(steps, 1)
        assert place == pytest.approx(start / std_of(steps, 2001), rel=1e-4)
        end = samplers.last(samplers.dpm_solver(denoiser(steps, two_point_image), steps, times, x))
        assert end.item() == pytest.approx(math.copysign(1, start), abs=0.1)


# ---- DDIM, Heun, DPM-Solver++


@verifies("diffusion.16")
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_a_step_of_ddim_and_its_two_ends(eta):
    (kept,) = printed(r"""
        x_s = \alpha_s \, \hat x + «kept» \; \hat\varepsilon + \eta \, \tilde\sigma z
        \tag{diffusion.16}
    """)
    x, z = normal(5), normal(5, seed=1)
    image = two_point_image(x, 0.6, 0.8)
    eps = diffusion.noise_in(x, image, 0.6, 0.8)
    spread = math.sqrt(diffusion.posterior(x, image, 0.6, 0.8, 0.8, 0.6)[1])
    share = kept(sigma_s=0.6, eta=eta, sigmawave=spread).item()
    found = one_step("ddim", x, image=two_point_image, eta=eta, randn=lambda _: z)
    torch.testing.assert_close(found, 0.8 * image + share * eps + eta * spread * z)
    torch.testing.assert_close(
        samplers.ddim_step(image, eps, 0.8, 0.6, eta * spread), 0.8 * image + share * eps
    )
    assert share**2 + (eta * spread) ** 2 == pytest.approx(0.6**2)
    if eta == 1:
        torch.testing.assert_close(found, one_step("ancestral", x, image=two_point_image, randn=lambda _: z))
    if eta == 0:  # Euler's step in y = x / alpha over rho = sigma / alpha
        torch.testing.assert_close(found, 0.8 * (x / 0.6 + (0.6 / 0.8 - 0.8 / 0.6) * eps))


@verifies("diffusion.16")
def test_ddim_up_and_down_again_gives_the_image_back():
    x0, errors = STD * normal(20), []
    for count in (50, 100, 200):
        steps = schedule.build("cosine", count)
        up = samplers.encode(denoiser(steps), steps, list(range(count + 1)), x0)
        down = samplers.last(samplers.sample("ddim", denoiser(steps), steps, list(range(count, -1, -1)), up))
        errors.append((down - x0).abs().max().item())
    assert errors[0] < 0.2
    assert errors[0] > 1.5 * errors[1] > 2.25 * errors[2]


@verifies("diffusion.17")
def test_a_step_of_heun_uses_the_slopes_at_both_ends():
    ahead, corrected = printed(r"""
        x'_s = «ahead» ,
        \qquad
        x_s = «corrected»
        \tag{diffusion.17}
    """)
    x = normal(5)
    image = two_point_image(x, 0.6, 0.8)
    eps = diffusion.noise_in(x, image, 0.6, 0.8)
    guess = ahead(alpha_s=0.8, sigma_s=0.6, xhatt=image, varepsilonhatt=eps)
    torch.testing.assert_close(guess, samplers.ddim_step(image, eps, 0.8, 0.6))
    image_s = two_point_image(guess, 0.8, 0.6)
    v = [
        diffusion.target("v", image, eps, 0.6, 0.8),
        diffusion.target("v", image_s, diffusion.noise_in(guess, image_s, 0.8, 0.6), 0.8, 0.6),
    ]
    angles = {"phi_t": math.atan2(0.8, 0.6), "phi_s": math.atan2(0.6, 0.8)}
    expected = corrected(x_t=x, vhatt=v[0], vhats=v[1], **angles)
    torch.testing.assert_close(one_step("heun", x, image=two_point_image), expected)


def gaussian_path(x: Tensor, lambda_t: float, steps: Tensor) -> tuple[Tensor, Tensor]:
    """The trajectory of the Gaussian world through x at lambda_t, and the image predicted on it."""
    shares = lambda half: ((2 * half).sigmoid().sqrt(), (-2 * half).sigmoid().sqrt())
    place = x / variance(*shares(torch.tensor(lambda_t, dtype=torch.float64))).sqrt()
    alpha, sigma = shares(steps)
    path = place * variance(alpha, sigma).sqrt()
    return path, gaussian_image(path, alpha, sigma)


@verifies("diffusion.18")
def test_the_exact_solution_is_an_exponentially_weighted_integral_of_the_image():
    printed(r"""
        x_s = \frac{\sigma_s}{\sigma_t} \, x_t + \sigma_s \int_{\lambda_t}^{\lambda_s} e^{\lambda} \,
        \hat x(\lambda) \, d \lambda
        \tag{diffusion.18}
    """)
    start, end = math.log(0.6 / 0.8), math.log(0.8 / 0.6)
    grid = torch.linspace(start, end, 20_001, dtype=torch.float64)
    x = torch.tensor(0.9, dtype=torch.float64)
    path, image = gaussian_path(x, start, grid)
    integral = torch.trapezoid(grid.exp() * image, grid)
    torch.testing.assert_close(path[-1], 0.6 / 0.8 * x + 0.6 * integral)
    small = torch.trapezoid(grid.exp() * torch.ones_like(grid), grid)  # of an image that is 1 throughout
    step = samplers.dpm_solver_step(x, torch.tensor(1.0).double(), 0.8, 0.8, 0.6, end - start)
    torch.testing.assert_close(step, 0.6 / 0.8 * x + 0.6 * small)
    torch.testing.assert_close(step, samplers.ddim_step(1.0, (x - 0.6) / 0.8, 0.8, 0.6))
    h, slope = end - start, torch.trapezoid(grid.exp() * (grid - start), grid)
    assert 0.6 * slope.item() == pytest.approx(0.8 * (h - 1 + math.exp(-h)), abs=1e-8)
    third = lambda h: (h - 1 + math.exp(-h)) - (1 - math.exp(-h)) * h / 2
    assert third(0.02) / third(0.01) == pytest.approx(8, rel=0.02)


@verifies("diffusion.19")
def test_a_step_of_dpm_solver_extrapolates_the_image_to_the_middle():
    step, h, before = printed(r"""
        x_s = «step» ,
        \qquad
        h = «h» ,
        \qquad
        h' = «before»
        \tag{diffusion.19}
    """)
    steps = Schedule(
        torch.tensor([1, 0.95, 0.8, 0.6]).double(),
        torch.tensor([0, math.sqrt(1 - 0.95**2), 0.6, 0.8]).double(),
    )
    x = normal(4)
    image_r = two_point_image(x, 0.6, 0.8)
    x_t = samplers.ddim_step(image_r, diffusion.noise_in(x, image_r, 0.6, 0.8), 0.8, 0.6)
    half_log = {f"lambda_{name}": math.log(a / b) for name, (a, b) in
                {"r": (0.6, 0.8), "t": (0.8, 0.6), "s": steps.pair(1)}.items()}  # fmt: skip
    expected = step(
        x_t=x_t, xhatt=two_point_image(x_t, 0.8, 0.6), xhatr=image_r, alpha_s=0.95,
        sigma_s=steps.pair(1)[1], sigma_t=0.6, h=h(**half_log), hprime=before(**half_log),
    )  # fmt: skip
    walk = list(samplers.dpm_solver(denoiser(steps, two_point_image), steps, [3, 2, 1], x))
    torch.testing.assert_close(walk[0][1], x_t)  # the first step is DDIM's
    torch.testing.assert_close(walk[1][1], expected)
    end = samplers.last(samplers.dpm_solver(denoiser(steps, two_point_image), steps, [3, 2, 1, 0], x))
    torch.testing.assert_close(end, two_point_image(expected, *steps.pair(1)))


@verifies("diffusion.13", "diffusion.19")
def test_with_noise_a_step_of_dpm_solver_is_ancestral_from_the_image_halfway():
    steps, draws = at_equal_steps(3), [normal(4, seed=1), normal(4, seed=2)]
    noise, lengths = iter(draws), [math.log(a / b) for a, b in map(steps.pair, (4, 3, 2))]
    walk = samplers.sde_dpm_solver(
        denoiser(steps, two_point_image), steps, [4, 3, 2], normal(4), lambda _: next(noise)
    )
    (_, x_t), (_, got) = walk
    image_r, image_t = (two_point_image(x, *steps.pair(t)) for x, t in ((normal(4), 4), (x_t, 3)))
    first, variance = diffusion.posterior(normal(4), image_r, *steps.pair(4), *steps.pair(3))
    torch.testing.assert_close(x_t, first + math.sqrt(variance) * draws[0])
    slope = (image_t - image_r) / (lengths[1] - lengths[0])
    halfway = image_t + slope * (lengths[2] - lengths[1]) / 2
    mean, variance = diffusion.posterior(x_t, halfway, *steps.pair(3), *steps.pair(2))
    torch.testing.assert_close(got, mean + math.sqrt(variance) * draws[1])


@verifies("diffusion.13", "diffusion.16", "diffusion.17", "diffusion.19")
@pytest.mark.parametrize(
    ("name", "percent"),
    [
        ("ancestral", [-43.9, -29.3, -17.0, -9.2, -4.8]),
        ("ddim", [-32.4, -18.1, -9.5, -4.9, -2.5]),
        ("heun", [15.6, 4.2, 1.0, 0.26, 0.06]),
        ("dpm-solver++", [-1.9, 2.6, 0.92, 0.24, 0.06]),
        ("sde-dpm-solver++", [-8.6, 3.8, 2.3, 0.64, 0.16]),
    ],
)
def test_the_table_of_errors_in_the_gaussian_world(name, percent):
    for count, expected in zip((5, 10, 20, 40, 80), percent):
        steps, times = at_equal_steps(count), list(range(count + 1, 0, -1))
        found = std_of_draws(name, steps, times)
        error = 100 * (found / std_of(steps, 1) - 1)
        assert error == pytest.approx(expected, abs=0.05 if abs(expected) > 0.95 else 0.005)


def std_of_draws(name: str, steps: Schedule, times: list[int]) -> float:
    """Standard deviation of what a sampler draws in the Gaussian world, where each step is linear: row 0
    follows x_T, row k the k-th noise."""
    x, rows = torch.zeros(len(times), dtype=torch.float64), iter(range(1, len(times)))
    x[0] = std_of(steps, times[0])

    def one_by_one(like: Tensor) -> Tensor:
        noise = torch.zeros_like(like)
        noise[next(rows)] = 1
        return noise

    walk = samplers.sample(name, denoiser(steps), steps, times, x, randn=one_by_one)
    return samplers.last(walk).norm().item()
