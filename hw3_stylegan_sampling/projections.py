"""Styles of photographs as files: `projected_w.npz` with `w` (1, L, D), as NVIDIA's projector writes it.

Ours also says which generator they belong to, since styles mean nothing to another one."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from common.errors import InputError

import numpy as np
import torch
from torch import Tensor

from hw3_stylegan_sampling.networks import Generator


def write(path: Path, ws: Tensor, generator: Generator) -> None:
    """Styles (1, L, D) and the generator's fingerprint."""
    np.savez(path, w=ws.cpu().float().numpy(), network=np.array(fingerprint(generator)))


def fingerprint(generator: Generator) -> str:
    """The same for generators of equal weights."""
    digest = hashlib.sha256()
    for name, values in sorted(generator.synthesis.state_dict().items()):
        if not name.endswith(".noise"):  # projection gives every image noise of its own
            digest.update(values.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def read(path: Path, generator: Generator) -> Tensor:  # -> (1, L, D)
    """The styles in a file, on the generator's device; InputError where it holds none for this generator."""
    needed = (1, generator.layers, generator.w_dim)
    try:
        with np.load(path, allow_pickle=False) as file:
            w, network = file["w"], str(file["network"]) if "network" in file else None
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
    if network is not None and network != fingerprint(generator):
        raise InputError(
            f"--projected-w {path}: projected into another generator than --network; give that one, or "
            "project again"
        )
    return torch.from_numpy(w).float().to(generator.w_mean.device)
