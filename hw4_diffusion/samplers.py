"""From noise to images: samplers, each written as its paper's algorithm, and what can be done with them.

Theory: theory/en/diffusion.md, eqs. (diffusion.13)-(diffusion.19), (diffusion.26).

    times = sampling_times(schedule, 50)
    images = last(ddim(denoise, schedule, times, x_T))

A sampler yields (s, x_s) after each of its steps from t to s < t; the last has s = 0.  `denoise(x_t, t)` is
the mean image and the mean noise in x_t.  A step calls it once, and one of `heun` twice, but for the last.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise

from common.errors import InputError

import torch
from torch import Tensor

from hw4_diffusion.diffusion import Denoise, noised, posterior, step_variance
from hw4_diffusion.schedule import Schedule

Randn = Callable[[Tensor], Tensor]
"""Images -> N(0, 1) of their shape."""
Steps = Iterator[tuple[int, Tensor]]
NAMES = ("ancestral", "ddim", "dpm-solver++", "sde-dpm-solver++", "heun", "euler")
NOISY = ("ancestral", "sde-dpm-solver++")
"""Those that add new noise on the way; DDIM does with an eta."""


def sample(
    name: str,
    denoise: Denoise,
    schedule: Schedule,
    times: list[int],
    x: Tensor,
    *,
    eta: float = 0.0,
    randn: Randn = torch.randn_like,
) -> Steps:
    """The sampler called `name` from x_T on; `eta` is DDIM's, `randn` for those that add noise."""
    match name:
        case "ancestral":
            return ancestral(denoise, schedule, times, x, randn)
        case "ddim":
            return ddim(denoise, schedule, times, x, eta, randn)
        case "dpm-solver++":
            return dpm_solver(denoise, schedule, times, x)
        case "sde-dpm-solver++":
            return sde_dpm_solver(denoise, schedule, times, x, randn)
        case "heun":
            return heun(denoise, schedule, times, x)
        case "euler":
            return euler(denoise, schedule, times, x)
    raise ValueError(f"sampler {name!r}: there are {', '.join(NAMES)}")


def check(name: str, schedule: Schedule, eta: float = 0.0) -> None:
    """InputError where a sampler cannot be used with a schedule or with this eta."""
    if name == "euler" and not schedule.is_straight:
        raise InputError(
            "--sampler euler: follows straight paths, and this model was trained on a curved one; use heun, "
            "ddim or dpm-solver++, or a model trained with --schedule flow"
        )
    if eta and name != "ddim":
        raise InputError(f"--eta {eta:g}: only --sampler ddim has it; leave it out")


def last(steps: Steps) -> Tensor:
    """The images at the end."""
    return deque(steps, maxlen=1)[0][1]


def evaluations(name: str, steps: int) -> int:
    """How often `denoise` is called for `steps` steps."""
    return 2 * steps - 1 if name == "heun" else steps


# ---- samplers


def ancestral(denoise: Denoise, schedule: Schedule, times: list[int], x: Tensor, randn: Randn) -> Steps:
    """Draws of the posterior at the guessed image (Ho et al. 2020, Alg. 2, for any part of the times), eq.
    (diffusion.13): steps of the reverse SDE, eq. (diffusion.14)."""
    # task hw4.c: draws of the posterior, without noise at the end
    for t, s in pairwise(times):
        x0, _ = denoise(x, t)
        x, variance = posterior(x, x0, *schedule.pair(t), *schedule.pair(s))
        if s > 0:
            x = x + math.sqrt(variance) * randn(x)
        yield s, x
    # end task


def ddim(
    denoise: Denoise, schedule: Schedule, times: list[int], x: Tensor, eta: float, randn: Randn
) -> Steps:
    """DDIM: the guessed image, with its own noise again (Song et al. 2021a, eq. 12),
    eq. (diffusion.16).

    `eta`: how much of that noise is new: 0 none, 1 as much as in ancestral sampling."""
    # task hw4.c: from time to time, with a part of the noise new
    for t, s in pairwise(times):
        x0, eps = denoise(x, t)
        std = eta * math.sqrt(posterior(x, x0, *schedule.pair(t), *schedule.pair(s))[1])
        x = ddim_step(x0, eps, *schedule.pair(s), std)
        if std > 0:
            x = x + std * randn(x)
        yield s, x
    # end task


def ddim_step(x0: Tensor, eps: Tensor, alpha_s: float, sigma_s: float, std: float = 0.0) -> Tensor:
    """Mean of x_s whose noise is that of x_t but for a part of variance std^2, eq. (diffusion.16)."""
    # task hw4.c: the image with its own noise again
    return alpha_s * x0 + math.sqrt(max(sigma_s**2 - std**2, 0)) * eps
    # end task


def dpm_solver(denoise: Denoise, schedule: Schedule, times: list[int], x: Tensor) -> Steps:
    """DPM-Solver++(2M): steps with the image as it will be halfway (Lu et al. 2022, Alg. 2), eq.
    (diffusion.19).  First and last step are those of DDIM."""
    # task hw4.c: each step by the image halfway
    half_log_snr, before = (schedule.log_snr / 2).tolist(), None
    for t, s in pairwise(times):
        x0, _ = denoise(x, t)
        guess = halfway(half_log_snr, x0, t, s, before)
        h = half_log_snr[s] - half_log_snr[t]
        x = dpm_solver_step(x, guess, schedule.sigma[t].item(), *schedule.pair(s), h)
        before = t, x0
        yield s, x
    # end task


def sde_dpm_solver(denoise: Denoise, schedule: Schedule, times: list[int], x: Tensor, randn: Randn) -> Steps:
    """SDE-DPM-Solver++(2M): ancestral sampling with the image as it will be halfway (Lu et al. 2022), eqs.
    (diffusion.13), (diffusion.19).  First and last step are those of ancestral sampling."""
    half_log_snr, before = (schedule.log_snr / 2).tolist(), None
    for t, s in pairwise(times):
        x0, _ = denoise(x, t)
        guess = halfway(half_log_snr, x0, t, s, before)
        x, variance = posterior(x, guess, *schedule.pair(t), *schedule.pair(s))
        if s > 0:
            x = x + math.sqrt(variance) * randn(x)
        before = t, x0
        yield s, x


def halfway(
    half_log_snr: list[float], x0: Tensor, t: int, s: int, before: tuple[int, Tensor] | None
) -> Tensor:
    """The image in the middle of a step from t to s, on the line over lambda = ln(alpha / sigma) through the
    guess x0 at t and the one `before`, (r, its guess), eq. (diffusion.19); x0 where no line can be drawn."""
    # task hw4.c: two guesses make a line
    if before is None or s == 0:
        return x0
    r, x0_before = before
    h, h_before = half_log_snr[s] - half_log_snr[t], half_log_snr[t] - half_log_snr[r]
    return x0 + h / (2 * h_before) * (x0 - x0_before)
    # end task


def dpm_solver_step(
    x: Tensor, guess: Tensor, sigma_t: float, alpha_s: float, sigma_s: float, h: float
) -> Tensor:
    """The solution a step of h in lambda further, for an image that is `guess` throughout, eqs.
    (diffusion.18), (diffusion.19)."""
    # task hw4.c: one step in lambda
    return sigma_s / sigma_t * x - alpha_s * math.expm1(-h) * guess
    # end task


def heun(denoise: Denoise, schedule: Schedule, times: list[int], x: Tensor) -> Steps:
    """Heun's method: a step of DDIM, then the same step by the mean of the slopes at both ends, eq.
    (diffusion.17).

    # DIFFERS: Karras et al. (2022, Alg. 1) take x / alpha over sigma / alpha; the angle below has no
    # infinite noise where alpha = 0.
    """
    for t, s in pairwise(times):
        x0, eps = denoise(x, t)
        start, length = x / math.hypot(*schedule.pair(t)), math.hypot(*schedule.pair(s))
        x = ddim_step(x0, eps, *schedule.pair(s))
        if s > 0:
            slopes = slope(x0, eps, angle(schedule, t)), slope(*denoise(x, s), angle(schedule, s))
            x = length * (start + (angle(schedule, s) - angle(schedule, t)) * (slopes[0] + slopes[1]) / 2)
        yield s, x


def angle(schedule: Schedule, t: int) -> float:
    """phi of alpha : sigma = cos phi : sin phi."""
    alpha, sigma = schedule.pair(t)
    return math.atan2(sigma, alpha)


def slope(x0: Tensor, eps: Tensor, phi: float) -> Tensor:
    """d/d phi of cos(phi) x_0 + sin(phi) eps: the probability-flow ODE, eq. (diffusion.15), of
    x / |(alpha, sigma)|."""
    return math.cos(phi) * eps - math.sin(phi) * x0


def euler(denoise: Denoise, schedule: Schedule, times: list[int], x: Tensor) -> Steps:
    """Euler's method along the velocity eps - x_0 of straight paths (Liu et al. 2023), eq. (diffusion.26)."""
    for t, s in pairwise(times):
        x0, eps = denoise(x, t)
        x = x + (schedule.sigma[s] - schedule.sigma[t]).item() * (eps - x0)
        yield s, x


# ---- images to noise, and images of which a part is known


def encode(denoise: Denoise, schedule: Schedule, times: list[int], x0: Tensor) -> Tensor:
    """The noise from which DDIM draws x0: its steps backwards, eq. (diffusion.16).

    `times` rise from 0 to T.  The image has no noise to speak of: the first step takes that of t = 1."""
    x = x0
    for s, t in pairwise(times):
        guess, eps = denoise(x, max(s, 1))
        x = ddim_step(guess, eps, *schedule.pair(t))
    return x


def inpaint(
    denoise: Denoise,
    schedule: Schedule,
    times: list[int],
    known: Tensor,
    mask: Tensor,
    randn: Randn = torch.randn_like,
    *,
    repeats: int = 10,
) -> Tensor:
    """Images that are `known` where `mask` (broadcast to (B, C, H, W)) is 1 and drawn where it is 0.

    Ancestral sampling in which the known part is always noised from the truth; every step is taken `repeats`
    times, so that both parts come to fit (Lugmayr et al. 2022, Alg. 1)."""
    x = randn(known)
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.pair(t), schedule.pair(s)
        for repeat in range(repeats if s > 0 else 1):
            x0, _ = denoise(x, t)
            mean, variance = posterior(x, x0, alpha_t, sigma_t, alpha_s, sigma_s)
            drawn = mean + math.sqrt(variance) * randn(mean)
            x_s = mask * noised(known, randn(known), alpha_s, sigma_s) + (1 - mask) * drawn
            if repeat < repeats - 1 and s > 0:  # back to t
                again = step_variance(alpha_t, sigma_t, alpha_s, sigma_s)
                x = alpha_t / alpha_s * x_s + math.sqrt(again) * randn(x_s)
        x = x_s
    return x
