"""An encoder: images -> the styles, W+, of one generator that draw them.  Theory: theory/en/stylegan.md.

Convolutions see the image once; what they found gives one style for all layers and, for each layer, how far
its own lies from that, as in Tov et al. (2021).  An encoder answers at once where an optimiser needs hundreds
of steps, and its answers stay where training images have their styles.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from common import tensor_files
from common.environment import ROOT
from common.errors import InputError
from common.flags import shipped_or_place

import torch
import torch.nn.functional as F
from pydantic import AfterValidator
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from hw3_stylegan_sampling.networks import Generator

PRETRAINED = ROOT / "pretrained"
PREFIX = "encoder-"
"""Shipped encoders are pretrained/encoder-NAME.safetensors, for the generator stylegan-NAME."""
GROUPS = 8
"""Of channels that are normalised together."""


@dataclass(frozen=True)
class Architecture:
    """What a weight file says about its encoder."""

    layers: int
    """L, style layers of the generator."""
    w_dim: int
    """D."""
    size: int = 64
    """Side of the images; others are resized to it."""
    channels: tuple[int, ...] = (48, 96, 128, 192, 128)
    """Of the convolutions: the first keeps the side, every other one halves it."""
    features: int = 320
    """Numbers between the convolutions and the styles."""


class Encoder(nn.Module):
    """Images (B, 3, S, S) in [-1, 1] -> ws (B, L, D)."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture = architecture
        channels, side, layers = 3, architecture.size, []
        for stride, out in zip((1, 2, 2, 2, 2, 2, 2), architecture.channels):
            layers += [nn.Conv2d(channels, out, 3, stride, padding=1), nn.GroupNorm(GROUPS, out), nn.SiLU()]
            channels, side = out, -(-side // stride)
        dense = nn.Linear(channels * side**2, architecture.features)
        self.body = nn.Sequential(*layers, nn.Flatten(), dense, nn.SiLU())
        self.common = nn.Linear(architecture.features, architecture.w_dim)
        self.own = nn.Linear(architecture.features, architecture.layers * architecture.w_dim)
        nn.init.zeros_(self.own.weight)  # it begins in W
        nn.init.zeros_(self.own.bias)
        self.register_buffer("w_mean", torch.zeros(architecture.w_dim))
        self.register_buffer("spread", torch.ones(()))
        """Of w, root mean square in one dimension: the unit of what the layers give."""

    def forward(self, images: Tensor) -> Tensor:
        size = (self.architecture.size,) * 2
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        features = self.body(images)  # (B, F)
        own = self.own(features).unflatten(1, (self.architecture.layers, -1))  # (B, L, D)
        return self.w_mean + self.spread * (self.common(features)[:, None] + own).float()


def shipped() -> list[str]:
    """Names of the shipped encoders."""
    return sorted(path.stem.removeprefix(PREFIX) for path in PRETRAINED.glob(f"{PREFIX}*.safetensors"))


def save(path: Path, encoder: Encoder) -> None:
    """Write an encoder: weights in float16, the mean w and its spread as they are."""
    kept = ("w_mean", "spread")
    tensors = {
        name: tensor.detach().cpu().contiguous()
        if name in kept
        else tensor.detach().half().cpu().contiguous()
        for name, tensor in encoder.state_dict().items()
    }
    tensor_files.write(
        path,
        tensors,
        {"architecture": json.dumps(asdict(encoder.architecture))},
        advice="free some space or choose another place",
    )


Network = Annotated[str, AfterValidator(lambda name: shipped_or_place(name, shipped))]
"""A shipped encoder by name, or where another one is."""


def load(name: str | Path, generator: Generator) -> Encoder:
    """The encoder of this generator, on its device: a shipped one's name, a run directory of train_encoder.py
    or a .safetensors file.  InputError where it was trained for another generator."""
    path = Path(os.path.expanduser(name))
    if str(name) in shipped():
        path = PRETRAINED / f"{PREFIX}{name}.safetensors"
    path = path / "encoder.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise InputError(
            f"--encoder {name}: neither a file nor a shipped encoder ({', '.join(shipped()) or 'none yet'}); "
            "train one with train_encoder.py"
        )
    encoder = read(path)
    check_generator(encoder, generator, f"--encoder {name}")
    return encoder.requires_grad_(False).eval().to(generator.w_mean.device, memory_format=torch.channels_last)


def check_generator(encoder: Encoder, generator: Generator, where: str) -> None:
    """InputError where the encoder's styles are those of another generator: its mean w tells."""
    check_shape(encoder, generator, where)
    mean = generator.w_mean.to(encoder.w_mean.device)
    # weights rounded to float16 move the mean by thousandths of a w's spread
    if (mean - encoder.w_mean).square().mean().sqrt() > 0.05 * encoder.spread:
        raise InputError(f"{where}: trained for another generator; name its own --network, or train one")


def check_shape(encoder: Encoder, generator: Generator, where: str) -> None:
    """InputError where the encoder's answers are no styles of this generator."""
    shape = encoder.architecture
    if (shape.layers, shape.w_dim) != (generator.layers, generator.w_dim):
        raise InputError(
            f"{where}: trained for another generator, of {shape.layers} style layers of {shape.w_dim}; this "
            f"one has {generator.layers} of {generator.w_dim}"
        )


def read(path: Path) -> Encoder:
    """The encoder in a file of `save`; InputError for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            known = json.loads(file.metadata()["architecture"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        encoder = Encoder(Architecture(**{**known, "channels": tuple(known["channels"])}))
        encoder.load_state_dict(tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: holds no encoder ({reason}); train one with train_encoder.py") from error
    return encoder
