"""Random numbers of the checks, the same every time, and how far a mean is from what it should be."""

import math

import torch
from torch import Tensor

Z = 4.5
"""Standard errors that a mean may be off: a right formula is that far off once in 150,000 seeds."""


def normal(*shape: int, seed: int = 0) -> Tensor:
    """N(0, 1) in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def z_score(sample: Tensor, expected: float) -> Tensor:
    """(mean - expected) / standard error."""
    return (sample.mean(0) - expected) / (sample.std(0) / math.sqrt(len(sample)))
