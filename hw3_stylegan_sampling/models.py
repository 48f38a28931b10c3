"""One door to generators: ours by name or run directory, anyone's by file, NVIDIA's pickles as they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from common.environment import ROOT
from common.errors import InputError
from common.flags import shipped_or_place

import torch
from pydantic import AfterValidator
from torch import Tensor

from hw3_stylegan_sampling import nvidia_pickle, weights
from hw3_stylegan_sampling.networks import Generator

PRETRAINED = ROOT / "pretrained"
PREFIX = "stylegan-"
"""Shipped generators are pretrained/stylegan-NAME.safetensors."""


def names() -> list[str]:
    """Of the shipped generators."""
    return sorted(path.stem.removeprefix(PREFIX) for path in PRETRAINED.glob(f"{PREFIX}*.safetensors"))


Network = Annotated[str, AfterValidator(lambda name: shipped_or_place(name, names))]
"""A shipped generator by name, or where another one is."""


def load(network: str | Path, device: torch.device | str = "cpu") -> Generator:
    """The generator called `network`, in evaluation mode: a shipped one's name, a run directory of
    train_stylegan.py, a .safetensors file of this course, or a .pkl file of NVIDIA's StyleGAN2-ADA.

    A pickle that nvidia_pickle.py has converted is read from the file beside it.  InputError names what
    cannot be read.
    """
    text, path = str(network), Path(os.path.expanduser(network))
    if text in names():
        path = PRETRAINED / f"{PREFIX}{text}.safetensors"
    elif path.is_dir():
        path = path / "generator.safetensors"
        if not path.is_file():
            raise InputError(
                f"--network {network}: no generator.safetensors there; name a run that has measured"
            )
    elif text.startswith(("http://", "https://")):
        raise InputError(f"--network {network}: nothing is downloaded; fetch the file and name it")
    elif not path.exists():
        shipped = ", ".join(names()) or "none yet"
        raise InputError(f"--network {network}: neither a file nor a shipped generator ({shipped})")
    if path.suffix != ".pkl":
        return weights.read(path).to(device)
    converted = path.with_suffix(".safetensors")
    fresh = converted.is_file() and converted.stat().st_mtime >= path.stat().st_mtime
    return (weights.read(converted) if fresh else nvidia_pickle.read(path)).to(device)


def class_labels(generator: Generator, index: int | None) -> Tensor | None:  # -> (1, K)
    """The label vector of a class for `Generator.styles`; None for a generator without classes.

    InputError where a class is given and there are none, and the other way round."""
    count = generator.shape.classes
    if (index is None) != (count == 0):
        raise InputError(
            f"--class {index}: this generator has no classes; leave the flag out"
            if count == 0
            else f"--class: this generator draws one of {count} classes; give a number from 0 to {count - 1}"
        )
    if index is None:
        return None
    if not 0 <= index < count:
        raise InputError(f"--class {index}: there are {count} classes, 0 to {count - 1}")
    label = torch.zeros(1, count, device=generator.w_mean.device)
    label[0, index] = 1
    return label
