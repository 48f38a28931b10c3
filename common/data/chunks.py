"""Drawn sets are drawn chunk by chunk, so that image n does not depend on how many images are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

CHUNK = 500
"""Images drawn from one generator."""


def chunk_generator(name: str, split: str, chunk: int, seed: int) -> torch.Generator:
    """The generator of one chunk of one split; a hash keeps the streams of all their combinations apart."""
    digest = hashlib.sha256(f"{name}/{split}/{chunk}/{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def draw_in_chunks(
    name: str,
    split: str,
    count: int,
    seed: int,
    draw_chunk: Callable[[int, torch.Generator], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """`count` rows of each of the tensors that `draw_chunk(CHUNK, generator)` gives CHUNK rows of.

    Every chunk is drawn whole, also the last, so that count = 7 gives the first seven of count = 20,000.
    """
    chunks = range(max(1, -(-count // CHUNK)))
    drawn = [draw_chunk(CHUNK, chunk_generator(name, split, chunk, seed)) for chunk in chunks]
    return {key: torch.cat([part[key] for part in drawn])[:count] for key in drawn[0]}
