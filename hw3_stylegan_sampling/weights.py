"""Generators on disk: weights as safetensors, the architecture beside them as text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from common import command_line, tensor_files
from common.errors import InputError

import torch
from safetensors import SafetensorError, safe_open

from hw3_stylegan_sampling.networks import Architecture, Generator


def save(path: Path, generator: Generator, source: str) -> None:
    """Write a generator; `source` says where it comes from.  InputError when the disk is full."""
    known = {
        "architecture": json.dumps(dataclasses.asdict(generator.shape)),
        "source": source,
    }
    tensors = {name: value.detach().contiguous() for name, value in generator.state_dict().items()}
    tensor_files.write(path, tensors, known, advice="free some space or name another file")


def read(path: Path) -> Generator:
    """The generator in a file that `save` wrote, in evaluation mode; InputError for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            known = json.loads(metadata["architecture"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        shape = command_line.checked(Architecture(**{name: _tuple(value) for name, value in known.items()}))
        generator = assembled(shape, tensors)
        generator.source = metadata.get("source", "")
        return generator
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name a generator's .safetensors or .pkl file") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: holds no generator of this course ({reason}); train or convert one"
        ) from error


def assembled(shape: Architecture, tensors: dict[str, torch.Tensor]) -> Generator:
    """A generator of these tensors, in evaluation mode.  RuntimeError where they do not fit its shape."""
    with torch.device("meta"):  # no memory for initial values that nobody sees
        generator = Generator(shape)
    generator.load_state_dict(tensors, assign=True)
    return generator.requires_grad_(False).eval()


def _tuple(value):
    return tuple(value) if isinstance(value, list) else value
