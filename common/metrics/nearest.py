"""The nearest training images: whoever repeats the training set is found out here, not by a distance of
distributions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from common.errors import InputError

import torch
from torch import Tensor


class Nearest(NamedTuple):
    """Of each of N points, the nearest of the known ones."""

    distance: Tensor
    """(N, count), the nearest first."""
    row: Tensor
    """int64 (N, count): rows of the known points."""


def nearest(points: Tensor, known: Iterable[Tensor], count: int = 1, chunk: int = 250) -> Nearest:
    """The `count` nearest by Euclidean distance of each point (N, D) among `known`: parts (M, D), one after
    another, so that they need never be in memory together.  A copy is at distance 0."""
    distance = points.new_empty(len(points), 0)
    row = torch.empty(len(points), 0, dtype=torch.int64)
    before = 0
    for part in known:
        found = [_nearest_of_part(some, part, min(count, len(part))) for some in points.split(chunk)]
        row = torch.cat([row, torch.cat([one.row for one in found]) + before], 1)
        distance = torch.cat([distance, torch.cat([one.distance for one in found])], 1)
        distance, order = distance.sort(dim=1, stable=True)
        distance, row = distance[:, :count], row.gather(1, order)[:, :count]
        before += len(part)
    return Nearest(distance, row)


def _nearest_of_part(points: Tensor, part: Tensor, count: int) -> Nearest:
    """cdist multiplies matrices, which is fast and finds them, but its distances are off by 1e-3 near 0."""
    row = torch.cdist(points, part).topk(count, largest=False).indices  # (N, count)
    return Nearest((points[:, None] - part[row]).norm(dim=2), row)


def training_ratio(samples: Tensor, held_out: Tensor, known: Tensor) -> float:
    """Median distance of a sample (N, D) to the nearest training image (M, D), as a share of the same for
    images that were held out (K, D): far below 1, the model copies.

    InputError where most of those are training images themselves."""
    median = lambda points: nearest(points, [known]).distance.median().item()
    usual = median(held_out)
    if usual == 0:
        raise InputError(
            "test images: most of them are among the training images; hold out images that training has not"
        )
    return median(samples) / usual


def pixels(images: Tensor) -> Tensor:
    """uint8 images (N, C, H, W) as points (N, C H W) whose Euclidean distance is the root mean squared
    difference of two images, in [0, 1]."""
    flat = images.flatten(1).float()
    return flat / (255 * flat.shape[1] ** 0.5)
