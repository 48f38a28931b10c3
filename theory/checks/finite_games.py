"""Worlds of a few images with known probabilities, where games and divergences are computed exactly."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from theory.checks.draws import normal

P = torch.tensor([0.5, 0.5], dtype=torch.float64)
Q = torch.tensor([0.9, 0.1], dtype=torch.float64)  # the page's example
LN2 = math.log(2)


def distribution(size: int, seed: int) -> Tensor:
    return normal(size, seed=seed).softmax(0)


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum()


def jsd(p: Tensor, q: Tensor) -> Tensor:
    return (kl(p, (p + q) / 2) + kl(q, (p + q) / 2)) / 2


def chi_squared(q: Tensor, p: Tensor) -> Tensor:
    """chi^2(q || m) with the mixture m."""
    return 0.5 * ((p - q).square() / (p + q)).sum()


def expected(loss: Callable, output: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """E_p E_q of the discriminator's loss in a finite world, where `output` (n,) is its output per image."""
    pairs = loss(output[:, None].expand(len(p), len(p)), output.expand(len(p), len(p)))
    return (p[:, None] * q * pairs).sum()


def assert_minimum(loss: Callable, output: Tensor, p: Tensor, q: Tensor, low: float = -math.inf) -> None:
    best = expected(loss, output, p, q)
    for seed in range(50):
        assert expected(loss, output + normal(len(p), seed=seed), p, q) > best + low


WORLDS = [(P, Q), (distribution(7, 1), distribution(7, 2))]
