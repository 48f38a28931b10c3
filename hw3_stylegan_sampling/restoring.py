"""Bring persons back into edited pictures: an edit's last step, if one asks for it."""

from __future__ import annotations

from collections.abc import Callable

from common.metrics import identity

import torch
from torch import Tensor

from hw3_stylegan_sampling import directions, edits, project
from hw3_stylegan_sampling.edits import SwapRecipe
from hw3_stylegan_sampling.networks import Generator

Restore = Callable[[Tensor, Tensor], Tensor]
"""Edited ws (B, L, D) and the rows (B,) of the original pictures -> ws (B, L, D)."""


def restorer(steps: int, network: str, generator: Generator, images: Tensor) -> Restore:
    """What makes edited pictures show the persons of the originals, uint8 (N, 3, S, S), again, eq.
    (stylegan.40); with 0 steps it leaves edits as they are."""
    if not steps:
        return lambda ws, rows: ws
    device = generator.w_mean.device
    net, distance = identity.load(network, device), project.perceptual("small", device)[0]
    owners = identity.embed(net, images).to(device)
    spaces = directions.subspaces(generator) if directions.attributes_of(generator) else None
    recipe = SwapRecipe(steps)

    def restore(ws: Tensor, rows: Tensor) -> Tensor:
        parts = zip(ws.split(edits.CHUNK), owners[rows].split(edits.CHUNK))
        return torch.cat([edits.restored(generator, *part, net, distance, recipe, spaces) for part in parts])

    return restore
