"""Layers that networks of several weeks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MinibatchDeviation(nn.Module):
    """(B, C, H, W) -> (B, C + 1, H, W): the new channel holds, for a group of images, how much they differ.

    The standard deviation over four images (over all, where four do not divide B), averaged over channels
    and places (Karras et al. 2018)."""

    def forward(self, x: Tensor) -> Tensor:
        count, _, height, width = x.shape
        group = 4 if count % 4 == 0 else count
        apart = x.float().unflatten(0, (group, count // group))  # (4, B / 4, C, H, W)
        deviation = (apart.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))  # (B / 4,)
        channel = deviation.repeat(group)[:, None, None, None].expand(-1, 1, height, width)
        return torch.cat([x, channel.to(x.dtype)], 1)
