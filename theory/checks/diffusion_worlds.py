"""Two worlds of images in which the best denoiser is known, for the checks of theory/{en,ru}/diffusion.md."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hw4_diffusion import samplers
from hw4_diffusion.diffusion import Denoise, guided, image_and_noise, noise_in
from hw4_diffusion.schedule import Schedule

EARLY, LATE = (0.8, 0.6), (0.6, 0.8)
"""alpha and sigma of the page's example, of step s and of step t."""
STD = 0.5
"""Standard deviation s of the Gaussian world."""


def variance(alpha: float | Tensor, sigma: float | Tensor, std: float = STD) -> float | Tensor:
    """Var x_t in the Gaussian world x_0 ~ N(0, std^2)."""
    return alpha**2 * std**2 + sigma**2


def gaussian_image(x: Tensor, alpha: float | Tensor, sigma: float | Tensor, std: float = STD) -> Tensor:
    """E [x_0 | x_t] in the Gaussian world."""
    return alpha * std**2 / variance(alpha, sigma, std) * x


def two_point_image(x: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
    """E [x_0 | x_t] in the two-point world x_0 = -1 or 1."""
    return torch.tanh(alpha * x / sigma**2)


def denoiser(schedule: Schedule, image: Callable = gaussian_image) -> Denoise:
    """The exact denoiser as the samplers call it."""

    def denoise(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        x0 = image(x, *schedule.pair(t))
        return x0, noise_in(x, x0, *schedule.pair(t))

    return denoise


def at_equal_steps(steps: int, low: float = -4.0, high: float = 4.0) -> Schedule:
    """Times 1, ..., steps + 1 at equal distances of lambda = ln(alpha / sigma), from high to low."""
    half_log_snr = torch.linspace(high, low, steps + 1, dtype=torch.float64)
    alpha, sigma = (2 * half_log_snr).sigmoid().sqrt(), (-2 * half_log_snr).sigmoid().sqrt()
    return Schedule(torch.cat([torch.ones_like(alpha[:1]), alpha]), torch.cat([0 * sigma[:1], sigma]))


def std_of(schedule: Schedule, t: int) -> float:
    """Standard deviation of x_t in the Gaussian world."""
    return math.sqrt(variance(*schedule.pair(t)))


def noise_only(steps: int) -> Schedule:
    """From alpha = 0 to 1, in equal angles, without schedule.build's lower end."""
    phi = torch.linspace(0, math.pi / 2, steps + 1, dtype=torch.float64)
    return Schedule(phi.cos(), phi.sin())


def guided_world(weight: float, of_class: Callable, of_all: Callable) -> tuple[Schedule, Denoise]:
    """A denoiser as the samplers call it, guided, from two exact ones."""
    steps = noise_only(4000)

    def denoise(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        alpha, sigma = max(steps.pair(t)[0], 1e-9), steps.pair(t)[1]
        noises = [noise_in(x, image(x, alpha, sigma), alpha, sigma) for image in (of_class, of_all)]
        eps = guided(*noises, weight)
        return image_and_noise("epsilon", eps, x, alpha, sigma)

    return steps, denoise


def sampled(weight: float, of_class: Callable, of_all: Callable, start: Tensor) -> Tensor:
    """Where the guided ODE leads from `start`, by 4000 steps of DDIM."""
    steps, denoise = guided_world(weight, of_class, of_all)
    return samplers.last(
        samplers.ddim(denoise, steps, list(range(4000, -1, -1)), start, 0.0, torch.zeros_like)
    )
