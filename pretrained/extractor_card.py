"""The page beside the weights of an extractor: what they were made from, how, and what they reach."""

from __future__ import annotations

import math
from pathlib import Path

from common import data, shapes
from common.data import ImageSet
from common.metrics import extractors
from common.metrics.extractors import Extractor

from pretrained.card_command import command_of

CARD = """# {name}.safetensors

A small convolutional classifier of {name}. Its {dimension} penultimate activations, after the ReLU, are the
features of `{metric}`.

- Images: {shape}, uint8 or float in [-1, 1]
- Data: {data}
- Command: `{command}`
- Training: {training}
- Weights: epoch {epoch}, the first of those with the fewest errors on the validation split
- Size: {size}; features are computed in float32
- SHA-256: `{sha256}`

| question | options | validation accuracy, % | test accuracy, % (95 % interval) |
|---|---|---|---|
{accuracies}

The test split, N = {N}, was looked at once; the interval is Wilson's.

| distance of real images | value |
|---|---|
{floors}

`_train`: training images against as many test images, the floor of a generator's distance. `_halves`: two
random halves of the test split against each other.

The convention: N generated images against the N test images. The unit is that of these features: the values
compare models by this network at the same N, and cannot be compared with published FID.
"""


def write(config, extractor: Extractor, weights: Path, sets: tuple[ImageSet, ...], summary: dict) -> str:
    """What a user of the weights must know, with the numbers as measured."""
    train, val, test = sets
    numbers, name = summary["metrics"], config.data
    source = train.source if name in data.DRAWN else "from its published files"
    parameters = shapes.parameters(extractor.network)
    counts = f"{len(train):,} training, {len(val):,} validation and {len(test):,} test images"
    return CARD.format(
        name=name,
        dimension=extractor.dimension,
        metric=extractors.metric_name(name, len(test)),
        shape=" × ".join(map(str, extractor.shape)),
        data=f"{name}, {source}: {counts}",
        command=command_of("pretrained/train_extractor.py", config),
        training=f"seed {config.seed}, {summary['minutes']:.1f} min on a shared machine, {summary['device']}",
        epoch=f"{summary['epoch']} of {config.epochs}",
        size=f"{parameters:,} parameters in float16, {weights.stat().st_size:,} bytes",
        sha256=extractors.file_sha256(weights),
        accuracies="\n".join(_accuracy_rows(extractor, numbers, len(test))),
        N=f"{len(test):,}",
        floors="\n".join(f"| {key} | {value:.4g} |" for key, value in numbers.items() if "/fd_" in key),
    )


def _accuracy_rows(extractor: Extractor, numbers: dict[str, float], N: int) -> list[str]:
    """Lines of the table of accuracies."""
    rows = []
    for head, options in extractor.options.items():
        val, test = numbers[f"val/accuracy_{head}"], numbers[f"test/accuracy_{head}"]
        low, high = wilson_interval(test, N)
        interval = f"{100 * low:.2f}–{100 * high:.2f}"
        rows.append(f"| {head} | {len(options)} | {100 * val:.2f} | {100 * test:.2f} ({interval}) |")
    return rows


def wilson_interval(share: float, N: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a probability seen as `share` of N draws (Wilson 1927): sound at shares of 0 and 1."""
    centre = (share + z**2 / (2 * N)) / (1 + z**2 / N)
    half = z / (1 + z**2 / N) * math.sqrt(share * (1 - share) / N + z**2 / (4 * N**2))
    return centre - half, centre + half
