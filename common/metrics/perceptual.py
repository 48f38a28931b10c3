"""Errors of pictures: of their pixels, and of what a small network sees in them.

The network is the shipped extractor of *avatars*, which was trained on drawn portraits.  A model trained on
it should be measured by another one: on the features of its judge it would only learn to please the judge.
"""

from __future__ import annotations

from typing import Literal

from common.metrics import extractors

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = (3, 7)
"""Layers of the network whose activations are compared: after the second and the fourth ReLU."""


def pixel_error(kind: Literal["l1", "mse"], images: Tensor, others: Tensor) -> Tensor:
    """Mean |x - y| (l1) or (x - y)^2 (mse) over the values of each pair of images (B, C, H, W) in [-1, 1], in
    units of [0, 1]: (B,)."""
    difference = (images - others) / 2
    return (difference.abs() if kind == "l1" else difference.square()).mean((1, 2, 3))


class Perceptual(nn.Module):
    """mean |x - y| plus the distance of activations, eq. (stylegan.33): images in [-1, 1] twice -> (B,).

    DIFFERS from LPIPS (Zhang et al. 2018): a smaller network, no weights learned from people's judgements.
    Activations are divided by their length over channels at each place, so that every layer counts alike.
    """

    def __init__(self):
        super().__init__()
        body = extractors.load_extractor("avatars").network.body
        ends = [tap + 1 for tap in TAPS]
        self.stages = nn.ModuleList(body[start:end] for start, end in zip([0, *ends], ends))

    def activations(self, images: Tensor) -> list[Tensor]:
        found = []
        for stage in self.stages:
            images = stage(images)
            found.append(F.normalize(images.float(), dim=1))
        return found

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """No gradient reaches `images`, the first of the two."""
        with torch.no_grad():
            wanted = self.activations(images)
        pairs = zip(wanted, self.activations(others))
        distances = [(a - b).square().sum(1).mean((1, 2)) for a, b in pairs]
        return pixel_error("l1", images, others) + sum(distances)
