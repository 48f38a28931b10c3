"""Diffusion models, one function an equation: noising, what a network may predict, losses, bound, guidance.

x_t = alpha x_0 + sigma eps.  alpha and sigma are plain numbers of one time, or tensors that multiply a batch
of images (B, C, H, W), each at its own time; schedule.py has them.  Steps towards the image: samplers.py.

Theory: theory/en/diffusion.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from hw4_diffusion.schedule import Schedule

Prediction = Literal["epsilon", "x0", "v", "flow"]
PREDICTIONS: tuple[str, ...] = get_args(Prediction)
Numbers = float | Tensor
"""alpha, sigma: of one time, or of each image of a batch."""


# ---- towards noise


def noised(x0: Tensor, eps: Tensor, alpha: Numbers, sigma: Numbers) -> Tensor:
    """A draw of q(x_t | x_0) = N(alpha x_0, sigma^2 I) (Ho et al. 2020, eq. 4), eq. (diffusion.2)."""
    # task hw4.b: any time in one step
    return alpha * x0 + sigma * eps
    # end task


def step_variance(alpha_t: Numbers, sigma_t: Numbers, alpha_s: Numbers, sigma_s: Numbers) -> Numbers:
    """Variance of q(x_t | x_s) for s < t, beta_t of eq. (diffusion.1) where s = t - 1."""
    return sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2


def posterior(
    x_t: Tensor, x0: Tensor, alpha_t: Numbers, sigma_t: Numbers, alpha_s: Numbers, sigma_s: Numbers
) -> tuple[Tensor, Numbers]:
    """Mean and variance of q(x_s | x_t, x_0) for s < t (Ho et al. 2020, eqs. 6, 7), eq. (diffusion.4)."""
    # task hw4.b: one step back, the image known
    variance = step_variance(alpha_t, sigma_t, alpha_s, sigma_s)
    mean = alpha_t / alpha_s * sigma_s**2 / sigma_t**2 * x_t + alpha_s * variance / sigma_t**2 * x0
    return mean, variance * sigma_s**2 / sigma_t**2
    # end task


# ---- what the network predicts


def target(prediction: Prediction, x0: Tensor, eps: Tensor, alpha: Numbers, sigma: Numbers) -> Tensor:
    """What the network should say: the noise, the image, v, eq. (diffusion.9), or the velocity of straight
    paths, eq. (diffusion.24)."""
    # task hw4.b: what the network should say
    match prediction:
        case "epsilon":
            return eps
        case "x0":
            return x0
        case "v":
            return alpha * eps - sigma * x0
        case "flow":
            return eps - x0
    raise ValueError(f"prediction {prediction!r}: there are {', '.join(PREDICTIONS)}")
    # end task


def image_and_noise(
    prediction: Prediction, output: Tensor, x_t: Tensor, alpha: Numbers, sigma: Numbers
) -> tuple[Tensor, Tensor]:
    """x_0 and eps that an output of the network means, eqs. (diffusion.8), (diffusion.9), (diffusion.25).

    From eps no image can be had where alpha = 0, and from x_0 no noise where sigma = 0."""
    # task hw4.b: image and noise, from what the network says
    match prediction:
        case "epsilon":
            return (x_t - sigma * output) / alpha, output
        case "x0":
            return output, noise_in(x_t, output, alpha, sigma)
        case "v":
            energy = alpha**2 + sigma**2
            return (alpha * x_t - sigma * output) / energy, (sigma * x_t + alpha * output) / energy
        case "flow":
            total = alpha + sigma
            return (x_t - sigma * output) / total, (x_t + alpha * output) / total
    raise ValueError(f"prediction {prediction!r}: there are {', '.join(PREDICTIONS)}")
    # end task


def noise_in(x_t: Tensor, x0: Tensor, alpha: Numbers, sigma: Numbers) -> Tensor:
    """eps, given the image in x_t, eq. (diffusion.8)."""
    return (x_t - alpha * x0) / sigma


def score(eps: Tensor, sigma: Numbers) -> Tensor:
    """Gradient of ln p(x_t) when eps is the mean noise in x_t, eq. (diffusion.10); of a single
    image with its noise, what denoising score matching compares with, eq. (diffusion.11)."""
    return -eps / sigma


# ---- losses


def squared_error(output: Tensor, wanted: Tensor) -> Tensor:  # 2 x (B, C, H, W) -> (B,)
    """The simple loss: mean over pixels and channels (Ho et al. 2020, eq. 14), eq. (diffusion.7)."""
    # task hw4.b: the simple loss
    return (output - wanted).square().flatten(1).mean(1)
    # end task


def error_scale(prediction: Prediction, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Squared error of the network's output as a multiple of that of the x_0 it means, eq. (diffusion.12)."""
    return {
        "epsilon": (alpha / sigma) ** 2,
        "x0": torch.ones_like(alpha),
        "v": ((alpha**2 + sigma**2) / sigma) ** 2,
        "flow": ((alpha + sigma) / sigma) ** 2,
    }[prediction]


def min_snr_weight(prediction: Prediction, alpha: Tensor, sigma: Tensor, gamma: float = 5.0) -> Tensor:
    """Weight of `squared_error` that makes it min(SNR, gamma) |x_0 error|^2 (Hang et al. 2023),
    eq. (diffusion.12)."""
    return (alpha / sigma).square().clamp_max(gamma) / error_scale(prediction, alpha, sigma)


# ---- the variational bound, in nats per image


def prior_kl(x0: Tensor, alpha: float, sigma: float) -> Tensor:  # (B, C, H, W) -> (B,)
    """KL(q(x_T | x_0) || N(0, I)), L_T of eq. (diffusion.5)."""
    return 0.5 * ((alpha * x0) ** 2 + sigma**2 - 1 - 2 * math.log(sigma)).flatten(1).sum(1)


def denoising_kl(x0: Tensor, guess: Tensor, snr_s: float, snr_t: float) -> Tensor:  # 2 x (B, C, H, W) -> (B,)
    """KL(q(x_s | x_t, x_0) || q(x_s | x_t, x_0 = guess)), L_s of eq. (diffusion.6)."""
    return 0.5 * (snr_s - snr_t) * (x0 - guess).square().flatten(1).sum(1)


def decoder_nats(x0: Tensor, mean: Tensor, std: float) -> Tensor:  # 2 x (B, C, H, W) -> (B,)
    """-ln p(x_0 | x_1), L_0: N(mean, std^2) integrated over the grey level that x_0 is; the darkest and the
    brightest reach to infinity (Ho et al. 2020, eq. 13), eq. (diffusion.27)."""
    upper = torch.where(x0 > 0.999, torch.inf, (x0 - mean + 1 / 255) / std)
    lower = torch.where(x0 < -0.999, -torch.inf, (x0 - mean - 1 / 255) / std)
    below = upper + lower < 0  # the same mass in the lower tail, where a logarithm resolves it
    low = torch.special.log_ndtr(torch.where(below, lower, -upper))
    high = torch.special.log_ndtr(torch.where(below, upper, -lower))
    return -(high + torch.log1p(-(low - high).exp())).flatten(1).sum(1)


Denoise = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""x_t (B, C, H, W), t -> the mean image and the mean noise in it."""


def bound_terms(
    denoise: Denoise, schedule: Schedule, x0: Tensor, times: list[int], randn: Callable[[Tensor], Tensor]
) -> Tensor:  # -> (B, len(times))
    """L_0, L_{s}, ..., L_T of -ln p(x_0) for the chain that visits `times`, T first and 0 last,
    eq. (diffusion.5)."""
    terms = [prior_kl(x0, *schedule.pair(times[0]))]
    for t, s in pairwise(times):
        alpha, sigma = schedule.pair(t)
        guess, _ = denoise(noised(x0, randn(x0), alpha, sigma), t)
        if s == 0:
            terms.append(decoder_nats(x0, guess, sigma / alpha))
        else:
            snr = lambda time: (schedule.alpha[time] / schedule.sigma[time]).square().item()
            terms.append(denoising_kl(x0, guess, snr(s), snr(t)))
    return torch.stack(terms[::-1], 1)


def bits_per_dimension(nats: Tensor, dimensions: int) -> Tensor:
    """Nats of an image -> bits for each of its C H W numbers, eq. (diffusion.28)."""
    return nats / (dimensions * math.log(2))


# ---- guidance


def without_class(labels: Tensor, chance: Tensor, share: float, classes: int) -> Tensor:  # int64 (B,) -> (B,)
    """Labels of which `share` become `classes`, the number that stands for no class; chance ~ U[0, 1)
    (Ho and Salimans 2022, Alg. 1)."""
    # task hw4.c: some classes forgotten
    return torch.where(chance < share, classes, labels)
    # end task


def guided(with_class: Tensor, without: Tensor, scale: float) -> Tensor:
    """Output of the network, its change by the class enlarged; 1 leaves it (Ho and Salimans 2022, where
    w is scale - 1), eqs. (diffusion.22), (diffusion.23)."""
    # task hw4.c: the change by the class, enlarged
    return without + scale * (with_class - without)
    # end task
