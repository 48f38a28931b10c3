"""Checks of theory/{en,ru}/diffusion.md against hw4_diffusion.diffusion: what the network predicts.

In float64; Monte Carlo by z-scores, |z| < 4.5, with fixed seeds.
"""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from hw4_diffusion import diffusion
from theory.checks.diffusion_worlds import EARLY, LATE, STD, gaussian_image, two_point_image, variance
from theory.checks.draws import Z, normal, z_score
from theory.printed import printed
from theory.tags import verifies


@verifies("diffusion.8", "diffusion.9", "diffusion.25")
@pytest.mark.parametrize("shares", [LATE, EARLY, (0.7, 0.3)])
def test_every_prediction_gives_back_the_image_and_the_noise(shares):
    image, noise = printed(r"""
        \hat x = «image» ,
        \qquad
        \hat\varepsilon = «noise»
        \tag{diffusion.8}
    """)
    v, image_of_v, noise_of_v = printed(r"""
        v = «v» ,
        \qquad
        \hat x = «image_of_v» ,
        \qquad
        \hat\varepsilon = «noise_of_v»
        \tag{diffusion.9}
    """)
    image_of_u, noise_of_u, straight, time = printed(r"""
        \hat x = «image_of_u» ,
        \qquad
        \hat\varepsilon = «noise_of_u» ,
        \qquad
        \frac{x_t}{\alpha_t + \sigma_t} = «straight» , \quad \tau = «time»
        \tag{diffusion.25}
    """)
    x0, eps, now = normal(3, 2), normal(3, 2, seed=1), dict(zip(("alpha_t", "sigma_t"), shares))
    x_t = diffusion.noised(x0, eps, *shares)
    for name in diffusion.PREDICTIONS:
        output = diffusion.target(name, x0, eps, *shares)
        for found, true in zip(diffusion.image_and_noise(name, output, x_t, *shares), (x0, eps)):
            torch.testing.assert_close(found, true)
    torch.testing.assert_close(image(x_t=x_t, varepsilonhat=eps, **now), x0)
    torch.testing.assert_close(noise(x_t=x_t, xhat=x0, **now), eps)
    torch.testing.assert_close(diffusion.noise_in(x_t, x0, *shares), eps)
    u = diffusion.target("flow", x0, eps, *shares)
    torch.testing.assert_close(image_of_u(x_t=x_t, uhat=u, **now), x0)
    torch.testing.assert_close(noise_of_u(x_t=x_t, uhat=u, **now), eps)
    tau = time(**now)
    torch.testing.assert_close(x_t / sum(shares), straight(tau=tau, x_0=x0, varepsilon=eps))
    assert (shares[0] / shares[1]) ** 2 == pytest.approx(((1 - tau) ** 2 / tau**2).item())
    if shares in (LATE, EARLY):
        expected = v(x_0=x0, varepsilon=eps, **now)
        torch.testing.assert_close(diffusion.target("v", x0, eps, *shares), expected)
        torch.testing.assert_close(image_of_v(x_t=x_t, vhat=expected, **now), x0)
        torch.testing.assert_close(noise_of_v(x_t=x_t, vhat=expected, **now), eps)


def log_density(world: str, x: Tensor) -> Tensor:
    """ln q_t(x) at the example's t."""
    alpha, sigma = LATE
    if world == "gaussian":
        return Normal(torch.zeros_like(x), math.sqrt(variance(alpha, sigma))).log_prob(x)
    both = [Normal(sign * alpha * torch.ones_like(x), sigma).log_prob(x) for sign in (-1, 1)]
    return torch.logaddexp(*both) - math.log(2)


@verifies("diffusion.10")
@pytest.mark.parametrize("world", ["gaussian", "two points"])
def test_the_mean_noise_is_the_score(world):
    printed(r"""
        \nabla \ln q_t(x_t) = - \frac{\mathbb{E} [\varepsilon \mid x_t]}{\sigma_t} ,
        \qquad
        \mathbb{E} [x_0 \mid x_t] = \frac{x_t + \sigma_t^2 \, \nabla \ln q_t(x_t)}{\alpha_t}
        \tag{diffusion.10}
    """)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(log_density(world, x).sum(), x)
    x = x.detach()
    image = {"gaussian": gaussian_image, "two points": two_point_image}[world](x, *LATE)
    torch.testing.assert_close(diffusion.score(diffusion.noise_in(x, image, *LATE), 0.8), gradient)
    torch.testing.assert_close((x + 0.64 * gradient) / 0.6, image)


@verifies("diffusion.9", "diffusion.10")
def test_the_examples_of_one_prediction():
    one = torch.ones((), dtype=torch.float64)
    image = gaussian_image(one, *LATE)
    eps = diffusion.noise_in(one, image, *LATE)
    found = [diffusion.score(eps, 0.8), eps, image, diffusion.target("v", image, eps, *LATE)]
    assert [value.item() for value in found] == pytest.approx([-1.370, 1.096, 0.205, 0.493], abs=6e-4)
    assert two_point_image(one, *LATE).item() == pytest.approx(0.734, abs=5e-4)
    x = normal(5)  # the best prediction of a set of images is their mean, weighted by how near they are
    both = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    weights = (-((x[:, None] - 0.6 * both) ** 2) / (2 * 0.8**2)).softmax(1)
    torch.testing.assert_close(two_point_image(x, *LATE), weights @ both)
    x0, noise, phi = normal(5), normal(5, seed=1), torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    x = lambda phi: diffusion.noised(x0, noise, phi.cos(), phi.sin())
    slope = torch.autograd.functional.jacobian(x, phi.detach())
    torch.testing.assert_close(slope, diffusion.target("v", x0, noise, phi.cos(), phi.sin()).detach())


@verifies("diffusion.11")
@pytest.mark.parametrize("factor", [1.0, 0.7])
def test_denoising_score_matching_differs_from_score_matching_by_a_constant(factor):
    printed(r"""
        \mathbb{E} \, \bigl\lVert \hat s(x_t) - \nabla \ln q(x_t \mid x_0) \bigr\rVert^2
        = \mathbb{E} \, \bigl\lVert \hat s(x_t) - \nabla \ln q_t(x_t) \bigr\rVert^2 + C_t ,
        \qquad
        \nabla \ln q(x_t \mid x_0) = - \frac{\varepsilon}{\sigma_t}
        \tag{diffusion.11}
    """)
    x0, eps = STD * normal(400_000), normal(400_000, seed=1)
    x_t = diffusion.noised(x0, eps, *LATE)
    true = -x_t / variance(*LATE)
    guess = factor * true + 0.1 * x_t**2
    denoising = (guess - diffusion.score(eps, 0.8)).square()
    constant = 1 / 0.8**2 - 1 / variance(*LATE)
    assert constant == pytest.approx(0.193, abs=5e-4)
    assert abs(z_score(denoising - (guess - true).square(), constant)) < Z
    one = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    conditional = Normal(0.6 * 0.5, 0.8).log_prob(one)
    (gradient,) = torch.autograd.grad(conditional, one)
    noise = diffusion.noise_in(one.detach(), torch.tensor(0.5).double(), *LATE)
    torch.testing.assert_close(gradient, diffusion.score(noise, 0.8))


@verifies("diffusion.12")
def test_errors_of_predictions_in_one_currency():
    of_noise, of_v, for_noise, for_v = printed(r"""
        \lVert \varepsilon - \hat\varepsilon \rVert^2 = «of_noise» \, \delta ,
        \qquad
        \lVert v - \hat v \rVert^2 = «of_v» \, \delta ,
        \qquad
        w_\varepsilon = «for_noise» ,
        \qquad
        w_v = «for_v»
        \tag{diffusion.12}
    """)
    x0, guess, x_t = normal(1), normal(1, seed=1), normal(1, seed=2)
    for shares in (LATE, EARLY, (0.98, math.sqrt(1 - 0.98**2))):
        alpha, sigma = (torch.tensor(share, dtype=torch.float64) for share in shares)
        ratio = {"S": lambda t, r=(alpha / sigma) ** 2: r if t == 3 else math.nan * r, "t": 3}
        error = (x0 - guess).square()
        for name in diffusion.PREDICTIONS:
            outputs = [diffusion.target(name, image, diffusion.noise_in(x_t, image, *shares), *shares)
                       for image in (x0, guess)]  # fmt: skip
            scale = diffusion.error_scale(name, alpha, sigma)
            torch.testing.assert_close((outputs[0] - outputs[1]).square(), scale * error)
            weighted = diffusion.min_snr_weight(name, alpha, sigma, 5.0) * scale
            torch.testing.assert_close(weighted, ratio["S"](3).clamp(max=5))
        torch.testing.assert_close(diffusion.error_scale("epsilon", alpha, sigma), of_noise(**ratio))
        torch.testing.assert_close(diffusion.error_scale("v", alpha, sigma), of_v(**ratio))
        for name, weight in (("epsilon", for_noise), ("v", for_v)):
            found = diffusion.min_snr_weight(name, alpha, sigma, 5.0)
            torch.testing.assert_close(found, weight(gamma=5, **ratio))
    straight = diffusion.error_scale("flow", torch.tensor(0.75), torch.tensor(0.25))
    assert straight.item() == pytest.approx(1 / 0.25**2)
