"""Small random images for the tests of the models of pixels."""

import torch


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def blocks(count, channels=1, height=5, width=7, levels=4, seed=0):
    """Random images of few levels with runs of equal pixels, so that contexts repeat and copying happens."""
    levels = (
        torch.randint(levels, (count, channels, height, -(-width // 2)), generator=generator(seed)) * 60 + 5
    )
    return levels.repeat_interleave(2, 3)[..., :width].to(torch.uint8)
