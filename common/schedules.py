"""Learning rates over a run."""

from __future__ import annotations

import math

import torch


def half_cosine(share_done: float) -> float:
    """Factor of the learning rate, from 1 at the beginning to 0 at the end of the run (Loshchilov and Hutter
    2017)."""
    return 0.5 * (1 + math.cos(math.pi * share_done))


def one_cycle(
    optimizer: torch.optim.Optimizer, peak: float, steps: int
) -> torch.optim.lr_scheduler.OneCycleLR:
    """Learning rates that rise to `peak` over a fifth of the steps and fall to almost 0 (Smith and Topin
    2017)."""
    rise = 0.2 if steps != 5 else 0.3  # torch divides by the length of a rise, less one step
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, pct_start=rise)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of all groups, in place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
