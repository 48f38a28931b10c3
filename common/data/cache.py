"""Drawn sets on disk: one safetensors file each, memory-mapped when loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from common import tensor_files
from common.data.image_set import ImageSet

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor


def save(path: Path, image_set: ImageSet) -> None:
    """Write a set as one file, beside its place and renamed.  InputError when the disk is full."""
    tensors = {
        "images": image_set.images,
        **{f"attribute.{name}": value for name, value in image_set.attributes.items()},
    }
    if image_set.labels is not None:
        tensors["labels"] = image_set.labels.clone()  # labels may be one of the attributes, seen twice
    for name in ("captions", "file_names"):
        if getattr(image_set, name):
            tensors[name] = _pack(getattr(image_set, name))
    known = {
        "name": image_set.name,
        "split": image_set.split,
        "source": image_set.source,
        "class_names": image_set.class_names,
        "options": image_set.options,
        "skipped": image_set.skipped,
    }
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    tensor_files.write(
        path, tensors, {"known": json.dumps(known)}, advice="free some space or choose another --data-dir"
    )


def load(path: Path) -> ImageSet | None:
    """The set in `path`, its images memory-mapped; None when there is no such file or it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            known = json.loads(file.metadata()["known"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        print(f"warning: {path} is damaged ({error}) and is drawn again", file=sys.stderr)
        return None
    return ImageSet(
        tensors["images"],
        known["name"],
        known["split"],
        known["source"],
        labels=tensors.get("labels"),
        class_names=tuple(known["class_names"]),
        attributes={
            name.removeprefix("attribute."): value
            for name, value in tensors.items()
            if name.startswith("attribute.")
        },
        options={name: tuple(values) for name, values in known["options"].items()},
        captions=_unpack(tensors.get("captions")),
        file_names=_unpack(tensors.get("file_names")),
        skipped=tuple(known["skipped"]),
    )


def _pack(texts: tuple[str, ...]) -> Tensor:
    return torch.frombuffer(bytearray("\n".join(texts).encode()), dtype=torch.uint8)


def _unpack(packed: Tensor | None) -> tuple[str, ...]:
    return () if packed is None else tuple(packed.numpy().tobytes().decode().split("\n"))
