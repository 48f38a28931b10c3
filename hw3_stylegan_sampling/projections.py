"""Styles of photographs as files: `projected_w.npz` with `w` (1, L, D), as NVIDIA's projector writes it."""

from __future__ import annotations

import zipfile
from pathlib import Path

from common.errors import InputError

import numpy as np
import torch
from torch import Tensor

from hw3_stylegan_sampling.networks import Generator


def read(path: Path, generator: Generator) -> Tensor:  # -> (1, L, D)
    """The styles in a file, on the generator's device; InputError where it holds none for this generator."""
    needed = (1, generator.layers, generator.w_dim)
    try:
        with np.load(path, allow_pickle=False) as file:
            w = file["w"]
    except FileNotFoundError:
        raise InputError(f"--projected-w {path}: no such file; name a .npz file of a projection") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        raise InputError(
            f"--projected-w {path}: no .npz file with an array w; name one that a projection wrote"
        ) from None
    if w.shape != needed or w.dtype.kind != "f" or not np.isfinite(w).all():
        raise InputError(
            f"--projected-w {path}: its w is {w.dtype} of {w.shape}; this generator needs finite numbers of "
            f"{needed}; project with the same --network"
        )
    return torch.from_numpy(w).float().to(generator.w_mean.device)
