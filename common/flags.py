"""Kinds of flags, each with the range it may have, and the flags that every training script has.

    epochs: Count = 20
    \"\"\"Passes over the training images.\"\"\"

A range stands once, where the flag is declared; `command_line.parse` checks all of them (pydantic reads the
annotations) and names the flag that is out of its range.  Not-a-number and infinity are never accepted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from common.errors import warn

from annotated_types import Interval
from pydantic import AfterValidator, ConfigDict

Count = Annotated[int, Interval(ge=1, le=10**9)]
"""How many: at least one."""
CountOrZero = Annotated[int, Interval(ge=0, le=10**9)]
Images = Annotated[int, Interval(ge=1, le=10**6)]
"""Images to draw, to learn from or to measure; as many as ImageNet has."""
SeveralImages = Annotated[int, Interval(ge=2, le=10**6)]
"""Images whose spread is measured."""
Pixels = Annotated[int, Interval(ge=1, le=4096)]
"""Side of an image."""
Channels = Annotated[int, Interval(ge=1, le=1024)]
"""Feature maps of a layer; the widest of StyleGAN3 has so many."""
Dimensions = Annotated[int, Interval(ge=1, le=4096)]
"""Numbers in a latent vector or in a vector of features; Inception's has 2048."""
Layers = Annotated[int, Interval(ge=1, le=64)]
WidthFactor = Annotated[float, Interval(gt=0, le=16)]
"""What all channels of a network are multiplied by."""
Seed = Annotated[int, Interval(ge=0, lt=2**63)]
Processes = Annotated[int, Interval(ge=0, le=1024)]
"""Of this machine."""
Number = Annotated[float, Interval(ge=-1e9, le=1e9)]
Positive = Annotated[float, Interval(gt=0, le=1e9)]
LearningRate = Annotated[float, Interval(gt=0, le=1)]
"""Of Adam, which moves every weight by about as much a step."""
NonNegative = Annotated[float, Interval(ge=0, le=1e9)]
Precision = Literal["fp32", "bf16"]
"""Number format of forward passes."""
Share = Annotated[float, Interval(ge=0, le=1)]
Decay = Annotated[float, Interval(ge=0, lt=1)]
"""What an average keeps of its past at every step."""


def _set_or_folder(value: str) -> str:
    """A set's name as it is, a folder as an absolute path: a run can be resumed from anywhere."""
    from common.data import NAMES  # brings torch, which not every script needs

    if not value.strip():
        raise ValueError("name an image set or a folder of images")
    folder = expanded(Path(value))
    return str(folder.absolute()) if value not in NAMES and folder.is_dir() else value


def shipped_or_place(value: str, shipped: Callable[[], Collection[str]]) -> str:
    """The name of something that comes with the course as it is, and a file or folder as an absolute path: a
    run can be resumed from anywhere."""
    path = expanded(Path(value))
    if value not in shipped():
        return str(path.absolute()) if path.exists() else value
    if path.exists():
        warn(f"{value}: taken for what comes with the course; give ./{value} for the one called so here")
    return value


def _file_name(value: str) -> str:
    """As it is where it can be a file beside others, whatever comes before or after it."""
    if not re.fullmatch(r"\w[\w.+-]{0,99}", value):
        raise ValueError("a file is called so; give up to 100 letters, digits, - and _, and no folder")
    return value


def expanded(path: Path) -> Path:
    """`~` is the home folder; that of a user who does not exist stays as it is written."""
    if not str(path).strip():
        raise ValueError("no name of a file or folder; give one, or . for this folder")
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):  # bytes that are no text
        raise ValueError("a name that is no UTF-8, which config.json and TensorBoard need; rename it")
    return Path(os.path.expanduser(path))


Data = Annotated[str, AfterValidator(_set_or_folder)]
"""An image set by name, or a folder."""
Name = Annotated[str, AfterValidator(_file_name)]
"""What a file or folder will be called, in the folder that another flag names."""
Folder = Annotated[Path, AfterValidator(lambda path: expanded(path).absolute())]
"""A place that stays what it is when a run is resumed from another working folder."""


@dataclass(frozen=True)
class Flags:
    """The base of every script's Config."""

    __pydantic_config__ = ConfigDict(allow_inf_nan=False)


@dataclass(frozen=True)
class TrainingFlags(Flags):
    """The flags that every training script has; a script's Config adds its own, which --help shows first."""

    seed: Seed = 0
    """Seed of weights, order and noise."""
    device: str = "auto"
    """Device to train on: auto, cpu, mps, cuda or cuda:N."""
    precision: Precision = "fp32"
    """Number format of the forward pass while training; losses, weights and evaluation stay float32."""
    checkpoint_seconds: NonNegative = 60
    """Seconds between checkpoints."""
    wandb: Literal["off", "offline", "online"] = "off"
    """Log to Weights & Biases too."""
    data_dir: Folder | None = None
    """Folder of the image sets; default: data/ in the repository."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""
    resume: Path | None = None
    """Run directory to continue; its config.json then gives the other flags' defaults."""
