"""Learning rates over a run."""

from __future__ import annotations

import math

import torch


def half_cosine(share_done: float) -> float:
    """Factor of the learning rate, from 1 at the beginning to 0 at the end of the run (Loshchilov and Hutter
    2017)."""
    return 0.5 * (1 + math.cos(math.pi * share_done))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of all groups, in place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
