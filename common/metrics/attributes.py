"""Validity, coverage and orders obeyed where attributes can be recognised, eq. (metrics.15).

Attributes are those of an image set (`ImageSet.attributes`, `ImageSet.options`), recognised in generated
images by a classifier that may abstain: int64 (N,) for each attribute, -1 where it recognises no option."""

from __future__ import annotations

from common.errors import InputError

import torch
from torch import Tensor


def validity(predicted: dict[str, Tensor]) -> float:
    """Share of the images in which every attribute is recognised, in [0, 1], eq. (metrics.15)."""
    return float(_recognised(predicted).double().mean())


def coverage(predicted: dict[str, Tensor], options: dict[str, tuple[str, ...]]) -> float:
    """Share of all combinations of options that occur among the valid images, in [0, 1], eq. (metrics.15).

    It grows with N: compare it with `expected_coverage` of as many real images.
    """
    valid, combination, total = _recognised(predicted), 0, 1
    for name, names in options.items():
        if name not in predicted:
            raise ValueError(f"no predictions for the attribute {name}; there are {sorted(predicted)}")
        values = predicted[name]
        if int(values.max()) >= len(names):
            raise InputError(
                f"{name}: predicted option {int(values.max())}, but there are only {len(names)}; "
                "use a classifier trained on the same options"
            )
        combination = combination * len(names) + values  # mixed-radix number of the combination
        total *= len(names)
    return len(combination[valid].unique()) / total


def expected_coverage(count: int, probabilities: Tensor | int) -> float:
    """Mean coverage of `count` independent draws, eq. (metrics.15).

    probabilities (K,) of the combinations, or K for uniform ones.
    """
    if isinstance(probabilities, int):
        probabilities = torch.full((probabilities,), 1 / probabilities, dtype=torch.float64)
    return float(-torch.expm1(count * torch.log1p(-probabilities.double())).mean())


def obeyed(ordered: dict[str, Tensor], found: dict[str, Tensor]) -> dict[str, float]:
    """Share of images that show what was ordered, called obeyed_NAME for each attribute, int64 (N,), that is
    in both, and obeyed_all for all of these at once.

    `found`: what a classifier sees in images that were drawn to order; -1, nothing, is not what was ordered.
    """
    right = {name: found[name].cpu() == options.cpu() for name, options in ordered.items() if name in found}
    if not right:
        raise ValueError(f"none of {sorted(ordered)} is among what the classifier sees: {sorted(found)}")
    right["all"] = torch.stack(list(right.values())).all(0)
    return {f"obeyed_{name}": hits.double().mean().item() for name, hits in right.items()}


def _recognised(predicted: dict[str, Tensor]) -> Tensor:
    """bool (N,)."""
    if (
        not predicted
        or len({len(values) for values in predicted.values()}) != 1
        or not len(next(iter(predicted.values())))
    ):
        raise ValueError("expected int64 (N,) for each attribute, of one N above 0")
    return torch.stack([values >= 0 for values in predicted.values()]).all(0)
