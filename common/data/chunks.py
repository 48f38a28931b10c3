"""Drawn sets are drawn chunk by chunk, so that image n does not depend on how many images are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

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

    Each core draws chunks of its own on one thread.  Drawing is thousands of small operations; to split each
    of them over the cores costs a wait each time, and a long one where the cores are shared with other work.
    """
    threads = torch.get_num_threads()
    draw = lambda chunk: draw_chunk(CHUNK, chunk_generator(name, split, chunk, seed))
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        drawn = list(pool.map(draw, range(max(1, -(-count // CHUNK)))))
    torch.set_num_threads(threads)  # what a thread sets is also what later threads begin with
    return {key: torch.cat([part[key] for part in drawn])[:count] for key in drawn[0]}
