"""Edges of pictures (Canny 1986), for a whole batch at once, and how well those of two pictures agree."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STRONG, WEAK = 0.30, 0.12
"""Gradients, as shares of the step from black to white: an edge has a strong pixel, and weak ones."""
MOST_STEPS = 64
"""Pixels that an edge is followed for."""


def canny(images: Tensor, strong: float = STRONG, weak: float = WEAK) -> Tensor:
    """uint8 (N, 3, H, W) -> uint8 (N, 3, H, W): white lines on black, as ControlNet reads them."""
    return torch.cat([_canny(part.float() / 255, strong, weak) for part in images.split(512)])


def _canny(images: Tensor, strong: float, weak: float) -> Tensor:
    grey = F.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")  # (N, 1, H + 2, W + 2)
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
    dx, dy = F.conv2d(grey, torch.stack([sobel, sobel.T])[:, None]).unbind(1)  # (N, H, W) each
    slope = torch.hypot(dx, dy)
    ridge = slope * _is_highest(slope, dx, dy)
    found, candidates = ridge > strong, ridge > weak
    for _ in range(MOST_STEPS):  # weak pixels beside an edge belong to it
        grown = (F.max_pool2d(found.float()[:, None], 3, 1, 1)[:, 0] > 0) & candidates
        if torch.equal(grown, found):
            break
        found = grown
    return (255 * found[:, None].to(torch.uint8)).expand(-1, 3, -1, -1).contiguous()


def _is_highest(slope: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Where the slope is larger than that of its two neighbours across the edge; of a plateau the first."""
    around = F.pad(slope[:, None], (1, 1, 1, 1))[:, 0]
    height, width = slope.shape[-2:]
    shifted = lambda y, x: around[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width]
    direction = torch.round(torch.atan2(dy, dx) / (torch.pi / 4)).long() % 4  # 0: the edge is vertical
    highest = torch.zeros_like(slope, dtype=torch.bool)
    for number, (y, x) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        here = (slope > shifted(-y, -x)) & (slope >= shifted(y, x))
        highest |= (direction == number) & here
    return highest


def agreement(found: Tensor, wanted: Tensor, within: int = 1) -> Tensor:
    """F1 of edges uint8 (N, 3, H, W) against those of the condition, (N,): a pixel is right when the other
    picture has one at most `within` pixels away.  Two pictures without edges agree."""
    # task hw4.f: whether an image follows its edges
    one, other = (edges[:, :1].float() / 255 for edges in (found, wanted))
    near = lambda edges: F.max_pool2d(edges, 2 * within + 1, 1, within)
    total = lambda values: values.flatten(1).sum(1)
    precision = total(one * near(other)) / total(one).clamp(min=1)
    recall = total(other * near(one)) / total(other).clamp(min=1)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-9)
    return torch.where(total(one) + total(other) == 0, torch.ones_like(f1), f1)
    # end task
