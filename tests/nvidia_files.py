"""Files as NVIDIA publishes them, made here: modules that pickle under its names, with weights of ours."""

import pickle
import sys
import types

from common.errors import InputError
from common.resampling import taps

import pytest
import torch

from hw3_stylegan_sampling import nvidia_pickle
from hw3_stylegan_sampling.networks import Architecture, Generator

SHAPES = {
    "plain": Architecture(size=16, channels=(8, 6, 4), z_dim=5, w_dim=7, mapping_layers=3, mapping_width=7),
    "classes": Architecture(
        size=8, channels=(8, 6), z_dim=5, w_dim=7, classes=3, embedding=4, mapping_layers=2, mapping_width=6,
        mapping_rate=0.1, clamp=256,
    ),
    "grey": Architecture(
        size=8, channels=(4, 4), z_dim=6, w_dim=6, mapping_layers=2, mapping_width=6, image_channels=1,
        noise=False,
    ),
}  # fmt: skip
SOURCE = "import os\nos.environ['NVIDIA_SOURCE_RAN'] = 'yes'\nraise SystemExit('compiled')\n"
"""Stands where NVIDIA's source text is; it must never run."""


def modules_of_nvidia(monkeypatch) -> types.SimpleNamespace:
    """Modules of NVIDIA's names, for as long as files are written."""
    package = types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("NVIDIA's function was called")

    class EasyDict(dict):
        pass

    class Network:
        pass

    for thing, place in (
        (_reconstruct_persistent_obj, package),
        (EasyDict, util := types.ModuleType("dnnlib.util")),
        (Network, tflib := types.ModuleType("dnnlib.tflib.network")),
    ):
        thing.__module__, thing.__qualname__ = place.__name__, thing.__name__
        setattr(place, thing.__name__, thing)
    for place in (package, util, tflib):
        monkeypatch.setitem(sys.modules, place.__name__, place)
    for parent in ("torch_utils", "dnnlib", "dnnlib.tflib"):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    return types.SimpleNamespace(rebuild=_reconstruct_persistent_obj, EasyDict=EasyDict, Network=Network)


class Persistent:
    """One of NVIDIA's modules as it is pickled."""

    def __init__(self, rebuild, kind, tensors=(), modules=(), **state):
        parameters = {name: value for name, value in dict(tensors).items() if "noise_const" not in name}
        self.rebuild, self.kind, self.modules, self.parameters = rebuild, kind, dict(modules), parameters
        buffers = {name: value for name, value in dict(tensors).items() if "noise_const" in name}
        self.state = {"_parameters": parameters, "_buffers": buffers, "_modules": self.modules, **state}

    def __reduce__(self):
        meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": self.kind,
            "state": self.state,
        }
        return self.rebuild, (meta,)


def as_nvidia_has_it(generator: Generator, nvidia, **changes) -> Persistent:
    """A generator of ours under NVIDIA's names; `changes` to the attributes of its blocks."""
    make = lambda kind, *parts, **state: Persistent(nvidia.rebuild, kind, *parts, **state)
    own = lambda module: {name: torch.nn.Parameter(p) for name, p in module.named_parameters(recurse=False)}
    import numpy as np  # its numbers are among the attributes

    linear = lambda layer: make("FullyConnectedLayer", own(layer), weight_gain=np.float64(layer.scale),
                                bias_gain=layer.rate, activation="lrelu")  # fmt: skip
    blocks = {}
    for k, block in enumerate(generator.synthesis.blocks):
        layers = {}
        for name, layer in (("conv0", block.first), ("conv1", block.second), ("torgb", block.to_image)):
            if layer is None:
                continue
            tensors = own(layer)
            if name != "torgb":
                tensors["resample_filter"] = changes.get("filter", taps(layer.weight)[0, 0])
                if layer.noise is not None:
                    tensors["noise_const"] = layer.noise
            clamp = generator.shape.clamp or None
            kind = "ToRGBLayer" if name == "torgb" else "SynthesisLayer"
            state = {"conv_clamp": clamp, "activation": changes.get("activation", "lrelu")}
            layers[name] = make(kind, tensors, {"affine": linear(layer.affine)}, **state)
        const = {"const": torch.nn.Parameter(generator.synthesis.const[0])} if k == 0 else {}
        architecture = changes.get("architecture", "skip")
        blocks[f"b{4 << k}"] = make("SynthesisBlock", const, layers, architecture=architecture)
    mapping = {f"fc{k}": linear(layer) for k, layer in enumerate(generator.mapping.layers)}
    if generator.mapping.embed is not None:
        mapping["embed"] = linear(generator.mapping.embed)
    parts = {
        "synthesis": make("SynthesisNetwork", {}, blocks),
        "mapping": make("MappingNetwork", {"w_avg": generator.w_mean}, mapping),
    }
    return make("Generator", {}, parts, z_dim=generator.z_dim, img_resolution=generator.shape.size)


def generator_of(name: str) -> Generator:
    generator = Generator(SHAPES[name])
    for value in generator.state_dict().values():
        value.copy_(torch.randn_like(value))
    return generator.eval()


def write(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def refusal(path) -> str:
    """What is said of a file that is refused: one line that names it."""
    with pytest.raises(InputError) as caught:
        nvidia_pickle.read(path)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text and len(text) < 400
    return text
