"""What a small network reads off a drawn portrait: the turn of the head, the person's traits, every choice.

    reader = portraits.load_reader()
    reading = reader.read(images)            # of uint8 or float images (N, 3, 64, 64)
    reading.turn[:, 0]                       # yaw in degrees
    reader.nearest_person(reading.traits, people)

It judges edited portraits, so no edit may use it as a loss: what pleases a network on purpose says little.
`pretrained/portraits.md` says how it was trained and how far it errs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from common import tensor_files
from common.data import avatars
from common.errors import InputError
from common.metrics import extractors
from common.metrics.extractors import Architecture, Extractor, Network

import torch
from safetensors import safe_open
from torch import Tensor

TURNS = tuple(avatars.TURNS)
"""yaw and tilt."""
HEADS = {"turn": TURNS, "traits": avatars.TRAITS, **avatars.CHOICES}
"""What the network answers: numbers for the first two, and an option of each choice."""
BATCH_SIZE = 500


@dataclass(frozen=True)
class Reading:
    """Of N portraits, on the CPU."""

    answers: dict[str, Tensor]
    """The likeliest option of each of avatars.CHOICES, int64 (N,)."""
    turn: Tensor
    """(N, 2): yaw and tilt in degrees."""
    traits: Tensor
    """(N, len(avatars.TRAITS)), about in [0, 1]."""


class Reader:
    """The trained network and how far it errs on portraits of people it was not trained on."""

    def __init__(self, extractor: Extractor, errors: dict[str, list[float]]):
        self.extractor = extractor
        self.turn_error = torch.tensor(errors["turn"])
        """Root mean square error of yaw and tilt in degrees, (2,)."""
        self.trait_error = torch.tensor(errors["traits"])
        """That of each trait."""

    def read(self, images: Tensor) -> Reading:
        """uint8 or float [-1, 1] (N, 3, 64, 64); InputError for others."""
        parts = [self._logits(part) for part in images.split(BATCH_SIZE)]
        logits = {name: torch.cat([part[name].cpu() for part in parts]) for name in HEADS}
        numbers = numbers_of(logits)
        return Reading({name: logits[name].argmax(1) for name in avatars.CHOICES}, **numbers)

    @torch.inference_mode()
    def _logits(self, images: Tensor) -> dict[str, Tensor]:
        return self.extractor.network.logits(self.extractor.features(images))

    def nearest_person(self, traits: Tensor, people: Tensor) -> Tensor:  # (N, traits), (P,) ids -> (N,)
        """For each reading the place in `people` of the person whose true traits are likeliest: errors are
        taken as normal and independent, each trait's as large as it was measured."""
        true = avatars.identity(people).to(traits) / self.trait_error
        return torch.cdist(traits / self.trait_error, true).argmin(1)


def numbers_of(logits: dict[str, Tensor]) -> dict[str, Tensor]:
    """Degrees and traits from what the network puts out, which is about in [-1, 1]."""
    largest = logits["turn"].new_tensor(list(avatars.TURNS.values()))
    return {"turn": logits["turn"].float() * largest, "traits": (logits["traits"].float() + 1) / 2}


def load_reader(device: torch.device | str = "cpu", path: Path | None = None) -> Reader:
    """The shipped reader."""
    path = extractors.FOLDER / "portraits.safetensors" if path is None else path
    extractor = extractors.read_extractor(path, device)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    if "errors" not in metadata:
        raise InputError(f"{path}: not a reader of portraits; make one with pretrained/train_portraits.py")
    return Reader(extractor, json.loads(metadata["errors"]))


def write_reader(path: Path, network: Network, errors: dict[str, list[float]]) -> None:
    """Fold the normalisation away and write float16 weights, the architecture and the errors."""
    plain = network.folded()
    tensors = {name: tensor.half().cpu().contiguous() for name, tensor in plain.state_dict().items()}
    metadata = {"architecture": json.dumps(asdict(plain.architecture)), "errors": json.dumps(errors)}
    tensor_files.write(path, tensors, metadata, advice="free some space or choose another place")


def architecture(size: int = 64, features: int = 192) -> Architecture:
    """Of the network, for images of `size` pixels."""
    layers = ((24, 2), (48, 1), (48, 2), (96, 1), (96, 2), (64, 2))
    return Architecture((3, size, size), layers, features, HEADS)
