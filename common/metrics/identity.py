"""Who is in a picture: a small network whose embeddings of one person point the same way.

    net = identity.load("avatars")
    similarity = identity.similarity(net(images), net(others))        # (B,): cosine, 1 is the same person
    people = identity.gallery(net, torch.arange(2_000_000, 2_000_100))    # drawn persons -> (100, E)
    identity.nearest(identity.embed(net, images), people)             # which of them each picture shows

Trained with the margin of ArcFace (Deng et al. 2019) by pretrained/train_identity.py; its card,
pretrained/identity-avatars.md, says what it reaches on persons it never saw.  It knows drawn people only: for
photographs name a .py file of your own whose `load(device)` gives a function of images (B, 3, H, W) in
[-1, 1] that returns vectors (B, E).
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from common import tensor_files
from common.data import avatars, to_model_range
from common.errors import InputError
from common.flags import shipped_or_place

import torch
import torch.nn.functional as F
from pydantic import AfterValidator
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parents[2] / "pretrained"
PREFIX = "identity-"
"""Shipped networks are pretrained/identity-NAME.safetensors."""
BATCH_SIZE = 256
Embedding = Callable[[Tensor], Tensor]
"""Images (B, 3, H, W) in [-1, 1] -> vectors (B, E)."""


@dataclass(frozen=True)
class Architecture:
    """What a weight file says about its network."""

    size: int = 64
    """Side of the images; others are resized to it."""
    layers: tuple[tuple[int, int], ...] = ((32, 2), (64, 1), (64, 2), (96, 1), (128, 2), (128, 1), (64, 2))
    """Channels and stride of each 3 x 3 convolution."""
    embedding: int = 128
    """E."""

    @staticmethod
    def from_json(text: str) -> Architecture:
        """The inverse of json.dumps(asdict(architecture))."""
        known = json.loads(text)
        layers = tuple((int(channels), int(stride)) for channels, stride in known["layers"])
        return Architecture(int(known["size"]), layers, int(known["embedding"]))


class IdentityNetwork(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> (B, E) of length 1."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture = architecture
        channels, side, layers = 3, architecture.size, []
        for out, stride in architecture.layers:
            convolution = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(out), nn.PReLU(out)]
            channels, side = out, -(-side // stride)
        dense = nn.Linear(channels * side**2, architecture.embedding, bias=False)
        centred = nn.BatchNorm1d(architecture.embedding, affine=False)  # else all directions are nearly one
        self.body = nn.Sequential(*layers, nn.Flatten(), dense, centred)

    def forward(self, images: Tensor) -> Tensor:
        size = (self.architecture.size,) * 2
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        return F.normalize(self.body(images).float(), dim=1)


class Identity:
    """A network ready for use: images -> directions, with gradients by the images, none for its weights."""

    def __init__(self, name: str, function: Embedding, device: torch.device, threshold: float | None = None):
        self.name, self.function, self.device = name, function, device
        self.threshold = threshold
        """Cosine from which two pictures are taken for one person; None for networks of others."""

    def __call__(self, images: Tensor) -> Tensor:
        """float (B, 3, H, W), about in [-1, 1] -> float32 (B, E) of length 1."""
        vectors = self.function(images)
        if not isinstance(vectors, Tensor) or vectors.ndim != 2 or len(vectors) != len(images):
            found = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise InputError(
                f"--identity {self.name}: gave {found} for images {tuple(images.shape)}; what its "
                "load(device) returns must give one vector for each image"
            )
        return F.normalize(vectors.float(), dim=1)


# ---- pictures and persons


def similarity(embeddings: Tensor, others: Tensor) -> Tensor:  # (..., E) twice -> (...)
    """Cosine of directions of length 1, eq. (stylegan.32)."""
    return (embeddings * others).sum(-1)


@torch.no_grad()
def embed(net: Identity, images: Tensor) -> Tensor:
    """uint8, or float in [-1, 1], (N, 3, H, W) -> (N, E) on the CPU."""
    found = []
    for batch in images.split(BATCH_SIZE):
        part = batch.to(net.device)
        found.append(net(to_model_range(part) if part.dtype == torch.uint8 else part).cpu())
    return torch.cat(found)


def nearest(embeddings: Tensor, gallery: Tensor) -> Tensor:  # (N, E), (P, E) -> int64 (N,)
    """The row of the gallery that each direction is nearest to."""
    return (embeddings @ gallery.T).argmax(1)


def gallery(net: Identity, persons: Tensor, pictures: int = 8, *, size: int = 64, seed: int = 0) -> Tensor:
    """How the network knows drawn persons, ids (P,): the mean direction of pictures of each, (P, E).

    Styles, expressions, turns and backgrounds are drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    attributes = avatars.sample_attributes(len(persons) * pictures, generator)
    attributes["person"] = persons.repeat_interleave(pictures)
    directions = embed(net, avatars.draw(attributes, size))
    return F.normalize(directions.unflatten(0, (len(persons), pictures)).mean(1), dim=1)


# ---- files


def names() -> list[str]:
    """Of the shipped networks."""
    return sorted(path.stem.removeprefix(PREFIX) for path in FOLDER.glob(f"{PREFIX}*.safetensors"))


IdentityName = Annotated[str, AfterValidator(lambda name: shipped_or_place(name, names))]
"""A shipped network by name, or where the file of another one is."""


def load(network: str | Path, device: torch.device | str = "cpu") -> Identity:
    """A shipped network by name, a file of train_identity.py, or a user's .py file with `load(device)`."""
    path, device = Path(os.path.expanduser(network)), torch.device(device)
    if str(network) in names():
        path = FOLDER / f"{PREFIX}{network}.safetensors"
    if not path.is_file():
        shipped = ", ".join(names()) or "none"
        raise InputError(f"--identity {network}: no such file; shipped networks: {shipped}")
    return _own(path, device) if path.suffix == ".py" else read(path, device)


def _own(path: Path, device: torch.device) -> Identity:
    """What the function `load` of a user's file gives."""
    spec = importlib.util.spec_from_file_location("identity_of_the_user", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        function = module.load(device)
    except Exception as error:  # the user's code may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"--identity {path}: {reason}; the file must have a function load(device) that returns a network"
        ) from error
    return Identity(path.name, function, device)


def save(path: Path, network: IdentityNetwork, threshold: float) -> None:
    """Write a network: matrices in float16, everything else as it is."""
    known = {"architecture": json.dumps(asdict(network.architecture)), "threshold": repr(threshold)}
    halved = lambda tensor: tensor.half() if tensor.ndim > 1 else tensor
    tensors = {name: halved(tensor).cpu().contiguous() for name, tensor in network.state_dict().items()}
    tensor_files.write(path, tensors, known, advice="free some space or choose another place")


def read(path: Path, device: torch.device | str = "cpu") -> Identity:
    """The network in a file of `save`: numbers, never code."""
    try:
        with safe_open(path, framework="pt") as file:
            architecture = Architecture.from_json(file.metadata()["architecture"])
            threshold = float(file.metadata()["threshold"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        network = IdentityNetwork(architecture)
        network.load_state_dict(tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: not the weights of an identity network ({reason}); train one with python "
            "pretrained/train_identity.py"
        ) from error
    network = network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    return Identity(path.stem.removeprefix(PREFIX), network, torch.device(device), threshold)
