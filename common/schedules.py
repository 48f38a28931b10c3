"""Learning rates over a run."""

from __future__ import annotations

import math


def half_cosine(share_done: float) -> float:
    """Factor of the learning rate, from 1 at the beginning to 0 at the end of the run (Loshchilov and Hutter
    2017)."""
    return 0.5 * (1 + math.cos(math.pi * share_done))
