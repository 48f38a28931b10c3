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
    shares = torch.special.ndtr(z.float()).unbind(1)  # 1 for a large z
    return torch.stack(
        [(share * count).long().clamp(max=count - 1) for share, count in zip(shares, options, strict=True)], 1
    )


def one_hot(choices: Tensor, options: tuple[int, ...]) -> Tensor:
    """int64 (B, A) -> float32 (B, sum of options)."""
    columns = zip(choices.unbind(1), options, strict=True)
    return torch.cat([F.one_hot(choice, count) for choice, count in columns], 1).float()
