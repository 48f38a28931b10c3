"""How much image and how much noise there is at a time t = 0, ..., T: x_t = alpha_t x_0 + sigma_t eps.

At t = 0 there is the image alone.  `linear` and `cosine` keep alpha^2 + sigma^2 = 1, `flow` goes straight
from the image to the noise.  Steps of a sampler are a part of these times.

Theory: theory/en/diffusion.md, eqs. (diffusion.1)-(diffusion.3), (diffusion.20)-(diffusion.21),
(diffusion.24).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from common.errors import InputError

import torch
from torch import Tensor

ScheduleName = Literal["linear", "cosine", "flow"]
Spacing = Literal["time", "log-snr"]
LARGEST_BETA = 0.999
"""No step of a variance-preserving schedule replaces more of the image's energy than that."""
WIDEST_LOG_SNR = 10.0
"""Times at equal steps of log-SNR lie between -10 and 10: beyond there is only noise, or only image."""


@dataclass(frozen=True)
class Schedule:
    """alpha and sigma of T + 1 times, float64."""

    alpha: Tensor
    """(T + 1,): what is left of the image, 1 at t = 0, never rising."""
    sigma: Tensor
    """(T + 1,): standard deviation of the noise, 0 at t = 0, never falling."""

    @property
    def steps(self) -> int:
        """T."""
        return len(self.alpha) - 1

    @property
    def log_snr(self) -> Tensor:
        """(T + 1,): ln(alpha^2 / sigma^2), eq. (diffusion.3); infinite at t = 0, and where x_T is noise alone
        at t = T."""
        return 2 * (self.alpha.log() - self.sigma.log())

    @property
    def beta(self) -> Tensor:
        """(T,): share of the energy that step t = 1, ..., T replaces, of a variance-preserving schedule,
        eq. (diffusion.1)."""
        return 1 - (self.alpha[1:] / self.alpha[:-1]).square()

    @property
    def preserves_variance(self) -> bool:
        """Whether alpha^2 + sigma^2 = 1 at all times."""
        return bool(((self.alpha.square() + self.sigma.square() - 1).abs() < 1e-6).all())

    @property
    def is_straight(self) -> bool:
        """Whether alpha + sigma = 1 at all times: x_t lies on the line from the image to the noise."""
        return bool(((self.alpha + self.sigma - 1).abs() < 1e-6).all())

    @property
    def ends_in_noise(self) -> bool:
        """Whether nothing of the image is left at t = T: a terminal SNR of zero."""
        return self.alpha[-1].item() == 0

    def at(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:  # int64 (B,) -> 2 x (B, 1, 1, 1)
        """alpha_t and sigma_t, to multiply images `like` (B, C, H, W) with."""
        shape = (-1, *[1] * (like.ndim - 1))
        alpha, sigma = self.alpha[t.cpu()], self.sigma[t.cpu()]
        return alpha.to(like).view(shape), sigma.to(like).view(shape)

    def pair(self, t: int) -> tuple[float, float]:
        """alpha_t and sigma_t of one time as plain numbers."""
        return self.alpha[t].item(), self.sigma[t].item()


def build(name: ScheduleName, steps: int = 1000, *, zero_terminal_snr: bool = False) -> Schedule:
    """The schedule called `name` with T = `steps`; with `zero_terminal_snr` x_T is noise alone."""
    if name == "flow":
        return straight(steps)
    betas = {"linear": linear_betas, "cosine": cosine_betas}[name](steps)
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])
    if zero_terminal_snr:
        alpha_bar = with_zero_terminal_snr(alpha_bar)
    return Schedule(alpha_bar.sqrt(), (1 - alpha_bar).sqrt())


NAMES: tuple[str, ...] = get_args(ScheduleName)


def linear_betas(steps: int) -> Tensor:  # -> (T,)
    """beta_1, ..., beta_T from 1e-4 to 0.02 for T = 1000 (Ho et al. 2020, sec. 4), eq. (diffusion.20).

    # DIFFERS: for another T they are scaled by 1000 / T, so that x_T is as noisy (Nichol and Dhariwal 2021).
    """
    # task hw4.b: betas on a line
    scale = 1000 / steps
    betas = torch.linspace(scale * 1e-4, scale * 0.02, steps, dtype=torch.float64)
    return betas.clamp_max(LARGEST_BETA)
    # end task


def cosine_betas(steps: int) -> Tensor:  # -> (T,)
    """alpha_bar_t follows cos^2 of a time from 0.008 on (Nichol and Dhariwal 2021), eq. (diffusion.20)."""
    # task hw4.b: betas of a cosine
    share = torch.arange(steps + 1, dtype=torch.float64) / steps
    alpha_bar = ((share + 0.008) / 1.008 * torch.pi / 2).cos().square()
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp_max(LARGEST_BETA)
    # end task


def with_zero_terminal_snr(alpha_bar: Tensor) -> Tensor:  # (T + 1,) -> (T + 1,)
    """sqrt(alpha_bar) of t = 1, ..., T shifted to end at 0 and scaled to begin as before (Lin et al. 2024,
    Alg. 1), eq. (diffusion.21)."""
    alpha = alpha_bar[1:].sqrt()
    alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    return torch.cat([alpha_bar[:1], alpha.square()])


def straight(steps: int) -> Schedule:
    """alpha = 1 - t / T, sigma = t / T with the noise at the end (Liu et al. 2023), eq. (diffusion.24)."""
    share = torch.arange(steps + 1, dtype=torch.float64) / steps
    return Schedule(1 - share, share)


def sampling_times(schedule: Schedule, steps: int, spacing: Spacing = "time") -> list[int]:
    """T = t_0 > t_1 > ... > t_steps = 0: the times that a sampler of so many steps visits.

    At equal distances of time, the last one kept (Lin et al. 2024, sec. 3.3: "trailing"), or of log-SNR
    (Lu et al. 2022), the last step being from t = 1 to 0.
    """
    T = schedule.steps
    if not 1 <= steps <= T:
        raise InputError(
            f"--steps {steps}: the model was trained with {T} times; give a number from 1 to {T}"
        )
    count = torch.arange(steps, dtype=torch.float64)
    if spacing == "time":
        times = (T - count * T / steps).round().long()
    else:
        log_snr = schedule.log_snr[1:].clamp(-WIDEST_LOG_SNR, WIDEST_LOG_SNR)
        wanted = torch.lerp(log_snr[0], log_snr[-1], 1 - count / max(steps - 1, 1))
        times = 1 + (log_snr - wanted[:, None]).abs().argmin(1)
        times[0] = T
    # rounded times may coincide: each is at least one below the time before, and as many as steps are left
    times = torch.maximum((times + torch.arange(steps)).cummin(0).values - torch.arange(steps),
                          torch.arange(steps, 0, -1))  # fmt: skip
    return [*times.tolist(), 0]
