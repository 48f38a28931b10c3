"""Small worlds for the tests of linear diffusion: latents of two classes, random pictures, captioned toys."""

from common.data import ImageSet

import torch

D, K = 3, 2
LEVELS = [(0.9, 0.3), (0.5, 0.8), (0.05, 1.0)]
"""(alpha, sigma) with little, middling and much noise; alpha^2 + sigma^2 need not be 1."""


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def two_classes():
    """Latents (N, D) of two classes with other means, covariances and sizes, their captions (N, K), the
    classes."""
    parts = []
    for label, count in enumerate((40, 60)):
        mixing = randn(D, D, seed=label) * (1 + label)
        parts.append(randn(count, D, seed=10 + label) @ mixing + 2 * randn(D, seed=20 + label))
    labels = torch.tensor([0] * 40 + [1] * 60)
    return torch.cat(parts), torch.eye(K, dtype=torch.float64)[labels], labels


def pictures(count=30, channels=3, height=5, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, channels, height, width), generator=generator).to(torch.uint8)


def image_set(labels=None, attributes=None, options=None, count=4):
    return ImageSet(
        torch.zeros(count, 1, 4, 4, dtype=torch.uint8),
        "toys",
        "train",
        "made here",
        labels=labels,
        class_names=("a", "b", "c") if labels is not None else (),
        attributes=attributes or {},
        options=options or {},
    )


COLOURS = {"colour": torch.tensor([0, 1, 1, 0]), "shape": torch.tensor([2, 0, 1, 2])}
OPTIONS = {"colour": ("red", "blue"), "shape": ("a", "b", "c")}
