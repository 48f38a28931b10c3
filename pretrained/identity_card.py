"""The page beside the weights of the identity network: what they were made from, how, and what they reach."""

from __future__ import annotations

from pathlib import Path

from common import shapes
from common.data import ImageSet
from common.metrics import extractors
from common.metrics.identity import Identity

from pretrained.card_command import command_of
from pretrained.extractor_card import wilson_interval

CARD = """# {name}.safetensors

A small network that tells drawn people apart: pictures of one person become directions near to one another,
whatever they wear, feel or look at. Loaded by `common.metrics.identity.load("{called}")`.

- Images: 3 × {size} × {size} in [-1, 1]; others are resized. Embedding: {embedding} numbers of length 1
- Data: {source}: {images:,} pictures of {persons:,} persons
- Loss: ArcFace, scale {scale:g}, margin {margin:g} (Deng et al. 2019)
- Command: `{command}`
- Training: seed {seed}, {minutes:.1f} min, {device}
- Weights: step {step:,} of {steps:,}, the first of those that recognised most validation pictures
- Size: {parameters:,} parameters, matrices in float16, {bytes:,} bytes
- SHA-256: `{sha256}`

| on persons never seen | validation | test (95 % interval) |
|---|---|---|
| nearest to its own person among 100, % | {val_first:.2f} | {first:.2f} ({first_interval}) |
| pairs of one person taken for two, % | {val_refused:.2f} | {refused:.2f} |
| pairs of two persons taken for one, % | {val_accepted:.2f} | {accepted:.2f} |

{n_val:,} validation pictures of 200 persons, {n_test:,} test pictures of 400. A person among the 100 is
the mean direction of eight other pictures. The threshold on the cosine, {threshold:.3f}, is where both kinds
of errors are equally frequent on the validation people; the test people were looked at once. The interval is
Wilson's and takes pictures for independent.

It never saw a photograph and says nothing about real faces.
"""


def write(config, net: Identity, weights: Path, train: ImageSet, summary: dict) -> str:
    """What a user of the weights must know, with the numbers as measured."""
    numbers, architecture = summary["metrics"], net.function.architecture
    percent = lambda name: 100 * numbers[name]
    low, high = wilson_interval(numbers["test/first_among_100"], summary["n_test"])
    return CARD.format(
        name=weights.stem,
        called=config.name,
        size=architecture.size,
        embedding=architecture.embedding,
        source=train.source,
        images=len(train),
        persons=len(train.attributes["person"].unique()),
        scale=config.scale,
        margin=config.margin,
        command=command_of("pretrained/train_identity.py", config),
        seed=config.seed,
        minutes=summary["minutes"],
        device=summary["device"],
        step=summary["step"],
        steps=config.steps,
        parameters=shapes.parameters(net.function),
        bytes=weights.stat().st_size,
        sha256=extractors.file_sha256(weights),
        val_first=percent("val/first_among_100"),
        first=percent("test/first_among_100"),
        first_interval=f"{100 * low:.2f}–{100 * high:.2f}",
        val_refused=percent("val/refused"),
        refused=percent("test/refused"),
        val_accepted=percent("val/accepted"),
        accepted=percent("test/accepted"),
        threshold=net.threshold,
        n_val=summary["n_val"],
        n_test=summary["n_test"],
    )
