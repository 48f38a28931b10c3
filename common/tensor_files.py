"""Writing .safetensors files: whole or not there, and the same bytes for the same content."""

from __future__ import annotations

import json
import os
from pathlib import Path

from common import atomic

import torch
from safetensors.torch import save_file


def write(
    path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None, *, advice: str
) -> None:
    """Write contiguous tensors; InputError with `advice` where the disk refuses.

    The library writes the metadata in an order that changes from call to call.  Here it is that of the
    names, so that a command given twice leaves files of one SHA-256.
    """
    with atomic.replacing(path, advice=advice) as beside:
        save_file(tensors, beside, metadata)
        if metadata:
            _sort_metadata(beside)


def _sort_metadata(path: Path) -> None:
    """Header: its length in 8 bytes, then JSON filled up with spaces (the format's specification)."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        file.seek(8, os.SEEK_SET)
        file.write(text.ljust(size))
