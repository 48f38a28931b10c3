"""Read NVIDIA's StyleGAN2-ADA pickles as data, and convert them to safetensors once.

python hw3_stylegan_sampling/nvidia_pickle.py ffhq.pkl      # writes ffhq.safetensors beside it

A pickle is a program, and these carry their networks' source text to be compiled.  Here nothing of them is
executed: of the names in the file only the few that such a file needs are admitted, each stands for a small
function of ours that keeps what it is given, and the source text is left alone.  Everything else is refused.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from common import command_line
from common.errors import InputError
from common.flags import Flags
from common.resampling import taps

import torch
import tyro
from torch import Tensor

from hw3_stylegan_sampling import weights
from hw3_stylegan_sampling.networks import Architecture, Generator

DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""Names of torch's storages."""
SCALARS = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i", "b1": "<?"}
"""Formats of NumPy's numbers."""


class Refused(Exception):
    """Something that no such file holds; the text says what."""


# ---- What the admitted names stand for.  A pickle may call what it names and may set attributes of what it
# ---- holds: the functions keep what they are given, and tuples, dicts and sets have no attributes to set.


class Module(NamedTuple):
    """One of NVIDIA's modules: the name of its class and what it held."""

    kind: str
    state: dict[str, Any]

    def child(self, name: str) -> Module:
        found = self.part("_modules").get(name)
        if not isinstance(found, Module):
            raise Refused(f"{self.kind} without {name}")
        return found

    def part(self, name: str) -> dict[str, Any]:
        found = self.state.get(name)
        if not isinstance(found, dict):
            raise Refused(f"{self.kind} without {name}")
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Its own parameters and buffers."""
        own = {**self.part("_parameters"), **self.part("_buffers")}
        return {name: value.tensor() for name, value in own.items() if isinstance(value, Array)}


class Storage(NamedTuple):
    """A row of numbers."""

    values: Tensor


class Array(NamedTuple):
    """A tensor as pickles have it: part of a storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def tensor(self) -> Tensor:
        """Refused where it reaches beyond its storage or is larger."""
        values, count = self.storage.values, math.prod(self.size)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        outside = count > len(values) or (count and last >= len(values))
        if outside or min(0, self.offset, *self.size, *self.stride) < 0:
            raise Refused(f"a tensor of {self.size} in a storage of {len(values)} numbers")
        return torch.as_strided(values, self.size, self.stride, self.offset)


class DType(NamedTuple):
    """NumPy's kind of number."""

    code: str

    def __setstate__(self, state: tuple) -> None:
        """Byte order and alignment, of which only the order matters."""
        if state[1] not in ("<", "|", "="):
            raise Refused(f"numbers in byte order {state[1]!r}")


def keep_module(meta: dict) -> Module:
    """The class's name and the state; the source text is dropped."""
    return Module(str(meta["class_name"]), meta["state"])


def keep_storage(content: bytes) -> Storage:
    """What torch.save made of one storage before it wrote zip files: three small pickles about itself, one
    that describes the storage, one with its name; then how many numbers, and the numbers."""
    stream = io.BytesIO(content)
    magic, version, _, (dtype, name, count), names = (_Storages(stream).load() for _ in range(5))
    if (magic, version, names) != (0x1950A86A20F9469CFC6C, 1001, [name]):
        raise Refused("a storage in an unknown format")
    if stream.read(8) != struct.pack("<q", count) or len(content) - stream.tell() != count * dtype.itemsize:
        raise Refused(f"a storage that does not hold the {count} numbers it announces")
    values = bytearray(content[stream.tell() :])
    return Storage(torch.frombuffer(values, dtype=dtype) if values else torch.empty(0, dtype=dtype))


def keep_scalar(dtype: DType, content: bytes) -> float | int | bool:
    """One of NumPy's numbers, as Python's."""
    return struct.unpack(SCALARS[dtype.code], content)[0]


ADMITTED = {
    "torch_utils.persistence._reconstruct_persistent_obj": keep_module,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_tensor_v2": lambda *parts: Array(*parts[:4]),
    "torch.storage._load_from_bytes": keep_storage,
    "numpy.core.multiarray.scalar": keep_scalar,
    "numpy._core.multiarray.scalar": keep_scalar,
    "numpy.dtype": lambda code, *_: DType(code),
    "collections.OrderedDict": dict,
    "dnnlib.util.EasyDict": dict,
    "builtins.set": set,
}
"""All names that a file may use, and what each does here."""


class Call:
    """A function that a pickle can call and cannot change."""

    __slots__ = ("function",)

    def __init__(self, function: Callable):
        object.__setattr__(self, "function", function)

    def __setattr__(self, name: str, value: Any) -> None:
        raise Refused(f"an attempt to set {name}")

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class _Networks(pickle.Unpickler):
    """Reads the file: names outside ADMITTED are refused before anything is done with them."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("dnnlib.tflib"):
            raise Refused("networks of TensorFlow")
        if f"{module}.{name}" not in ADMITTED:
            raise Refused(f"the name {module}.{name}, which no StyleGAN2 network needs")
        known = ADMITTED[f"{module}.{name}"]
        return known if known in (dict, set) else Call(known)

    def persistent_load(self, identity: Any) -> Any:
        raise Refused("a reference to something outside the file")


class _Storages(pickle.Unpickler):
    """Reads the small pickles around a storage, which name nothing but its kind."""

    def find_class(self, module: str, name: str) -> Any:
        if module != "torch" or name not in DTYPES:
            raise Refused(f"the name {module}.{name} in place of a storage")
        return DTYPES[name]

    def persistent_load(self, identity: Any) -> tuple[torch.dtype, str, int]:
        what, dtype, name, _, count, view = identity  # the fourth is the device it was on
        if what != "storage" or view is not None:
            raise Refused("a storage that is part of another")
        return dtype, name, count


def read_networks(path: Path) -> dict[str, Any]:
    """What the file holds, by name: `G_ema`, `D` and so on.  InputError for everything but such a file."""
    convert = f"python legacy.py --source={path.name} --dest=converted.pkl"
    try:
        content = path.read_bytes()
        for place, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if "PUT" in opcode.name and argument > place:  # would be a table as long as the number says
                raise Refused(f"a table of {argument} entries")
            if opcode.name == "FRAME" and argument > len(content):
                raise EOFError(f"{len(content)} bytes, of which one part should have {argument}")
        networks = _Networks(io.BytesIO(content)).load()
        if not isinstance(networks, dict) or not isinstance(networks.get("G_ema"), Module):
            raise Refused("no generator called G_ema")
        return networks
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name a pickle of StyleGAN2-ADA's PyTorch version") from None
    except Refused as refusal:
        what = f"holds {refusal}" if str(refusal) != "no generator called G_ema" else f"has {refusal}"
        hint = (
            f"convert it with NVIDIA's stylegan2-ada-pytorch: {convert}"
            if "TensorFlow" in str(refusal)
            else "it is not read; use the file as NVIDIA's code or publisher made it"
        )
        raise InputError(f"{path}: {what}; {hint}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name another file") from error
    except Exception as error:  # whatever a damaged pickle makes of the unpickler
        raise InputError(
            f"{path}: not a pickle, or one that is cut off or damaged; download it again"
        ) from error


# ---- from NVIDIA's names to ours


def generator_of(network: Module) -> Generator:
    """NVIDIA's generator as ours.  Refused where it is of another kind."""
    synthesis, mapping = network.child("synthesis"), network.child("mapping")
    sides = [4 << k for k in range(len(synthesis.part("_modules")))]
    if set(synthesis.part("_modules")) != {f"b{side}" for side in sides}:
        raise Refused(f"a {network.kind} whose layers are not StyleGAN2's")
    blocks = [synthesis.child(f"b{side}") for side in sides]
    tensors = dict(_mapping(mapping))
    for k, block in enumerate(blocks):
        tensors |= {f"synthesis.{'' if name == 'const' else f'blocks.{k}.'}{name}": value
                    for name, value in _block(block)}  # fmt: skip
    return weights.assembled(_architecture(network, blocks, tensors), tensors)


def _mapping(mapping: Module):
    """Names and tensors of the mapping network."""
    for name, layer in mapping.part("_modules").items():
        place = "embed" if name == "embed" else f"layers.{int(name.removeprefix('fc'))}"
        for kind, value in layer.tensors().items():
            yield f"mapping.{place}.{kind}", value
    yield "w_mean", mapping.tensors()["w_avg"]


LAYERS = {"conv0": "first", "conv1": "second", "torgb": "to_image"}
"""What a block's layers are called there and here."""


def _is_ours(used: Tensor) -> bool:
    """Whether a filter is [1, 3, 3, 1] in both directions."""
    return used.shape == (4, 4) and torch.allclose(used, taps(used)[0, 0])


def _block(block: Module):
    """Names and tensors of one block of the synthesis."""
    if block.state.get("architecture") != "skip":
        raise Refused(f"a generator of architecture {block.state.get('architecture')}, not skip")
    own = block.tensors()
    if "const" in own:
        yield "const", own["const"][None]
    for name, layer in block.part("_modules").items():
        place = LAYERS[name]
        tensors = layer.tensors()
        filters = [tensors.pop("resample_filter", None), own.get("resample_filter")]
        if not all(used is None or _is_ours(used) for used in filters):
            raise Refused("a resampling filter other than 1, 3, 3, 1")
        if layer.state.get("activation", "lrelu") != "lrelu":
            raise Refused(f"the activation {layer.state['activation']}")
        for kind, value in tensors.items():
            yield f"{place}.{'noise' if kind == 'noise_const' else kind}", value
        for kind, value in layer.child("affine").tensors().items():
            yield f"{place}.affine.{kind}", value


def _architecture(network: Module, blocks: list[Module], tensors: dict[str, Tensor]) -> Architecture:
    """Read off the tensors, so that no size is larger than what the file holds."""
    layers = sum(name.startswith("mapping.layers.") and name.endswith(".weight") for name in tensors)
    hidden, inputs = tensors["mapping.layers.0.weight"].shape
    embedding, classes = tensors.get("mapping.embed.weight", torch.empty(0, 0)).shape
    return Architecture(
        size=2 << len(blocks),
        channels=tuple(len(tensors[f"synthesis.blocks.{k}.second.weight"]) for k in range(len(blocks))),
        z_dim=inputs - embedding,
        w_dim=len(tensors["w_mean"]),
        classes=classes,
        mapping_layers=layers,
        mapping_rate=float(network.child("mapping").child("fc0").state["bias_gain"]),
        mapping_width=hidden,
        embedding=embedding,
        image_channels=len(tensors["synthesis.blocks.0.to_image.weight"]),
        noise="synthesis.blocks.0.second.noise" in tensors,
        clamp=float(blocks[0].child("conv1").state.get("conv_clamp") or 0),
    )


def read(path: Path) -> Generator:
    """The averaged generator of a StyleGAN2-ADA pickle, in evaluation mode; InputError for other files."""
    networks = read_networks(path)
    try:
        return generator_of(networks["G_ema"])
    except Refused as refusal:
        raise InputError(f"{path}: holds {refusal}; only StyleGAN2 generators are read") from None
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: its generator is not StyleGAN2's ({reason}); use another file") from error


@dataclass(frozen=True)
class Config(Flags):
    """Flags of nvidia_pickle.py."""

    network: Annotated[Path, tyro.conf.Positional]
    """A .pkl file of NVIDIA's StyleGAN2-ADA, PyTorch version."""


def main(config: Config) -> None:
    generator = read(config.network)
    target = config.network.with_suffix(".safetensors")
    weights.save(target, generator, config.network.name)
    shape = generator.shape
    labels = f"{shape.classes} classes" if shape.classes else "no classes"
    print(f"{target}: {shape.size}x{shape.size} pixels, z {shape.z_dim}, w {shape.w_dim}, {labels}")


if __name__ == "__main__":
    command_line.run(main, Config)
