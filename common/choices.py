"""Attributes with a few options each, as normal numbers that choose them and as vectors of zeros and ones.

Theory: theory/en/layers.md, eq. (gan.22).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def chosen(z: Tensor, options: tuple[int, ...]) -> Tensor:  # (B, A) -> int64 (B, A)
    """The options that normal numbers choose, one number for each of A attributes with so many options.

    Phi(z_a) is uniform on (0, 1) and is cut into equal parts, eq. (gan.22)."""
    counts = torch.tensor(options, device=z.device)
    return (torch.special.ndtr(z.float()) * counts).long().minimum(counts - 1)  # a large z has a share of 1


def one_hot(choices: Tensor, options: tuple[int, ...]) -> Tensor:
    """int64 (B, A) -> float32 (B, sum of options)."""
    columns = zip(choices.unbind(1), options, strict=True)
    return torch.cat([F.one_hot(choice, count) for choice, count in columns], 1).float()
