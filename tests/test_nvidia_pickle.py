"""NVIDIA's pickles, as data: what their generators become, and everything that is refused.

The files are made here: modules that pickle under NVIDIA's names, with weights of a generator of ours, so
that what was read can be compared with what was written."""

import builtins
import io
import os
import pickle
import subprocess
import sys
import types
from itertools import pairwise

from common.errors import InputError

import pytest
import torch

from hw3_stylegan_sampling import nvidia_pickle, weights
from hw3_stylegan_sampling.networks import Architecture, Generator, taps

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


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def nvidia(monkeypatch):
    """Modules of NVIDIA's names while a file is written."""
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


@pytest.mark.parametrize("protocol", [3, 4])  # published ones have 3, those of today 4
@pytest.mark.parametrize("name", SHAPES)
def test_what_was_written_is_read(name, protocol, nvidia, tmp_path):
    generator = generator_of(name)
    content = {
        "G": None, "D": None, "G_ema": as_nvidia_has_it(generator, nvidia),
        "training_set_kwargs": nvidia.EasyDict(path="images.zip"), "augment_pipe": None,
    }  # fmt: skip
    read = nvidia_pickle.read(write(tmp_path / "net.pkl", content, protocol))
    assert read.shape == generator.shape and not read.training
    assert read.state_dict().keys() == generator.state_dict().keys()
    for key, value in generator.state_dict().items():
        assert torch.equal(read.state_dict()[key], value), key
    z = torch.randn(3, generator.z_dim)
    labels = torch.eye(3) if generator.shape.classes else None
    draw = lambda network: network(z, labels, psi=0.7, noise_mode="const")
    assert torch.equal(draw(read), draw(generator))
    assert "NVIDIA_SOURCE_RAN" not in os.environ


def test_the_script_converts_a_file_once(nvidia, tmp_path):
    generator = generator_of("classes")
    path = write(tmp_path / "net.pkl", {"G_ema": as_nvidia_has_it(generator, nvidia)})
    script = nvidia_pickle.__file__
    done = subprocess.run([sys.executable, script, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'net.safetensors'}: 8x8 pixels, z 5, w 7, 3 classes\n"
    read = weights.read(tmp_path / "net.safetensors")
    z = torch.randn(3, 5)
    draw = lambda network: network(z, torch.eye(3), noise_mode="const")
    assert torch.equal(draw(read), draw(generator))


# ---- hostile files


class Calls:
    """Pickles as a call of `function` with `arguments`, and `state` for what it returns."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        nvidia_pickle.read(path)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text and len(text) < 400
    return text


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("touch {marker}",)),
        (builtins.eval, ("open({marker!r}, 'w')",)),
        (builtins.exec, ("open({marker!r}, 'w')",)),
        (builtins.getattr, (dict, "fromkeys")),
        (builtins.__import__, ("os",)),
        (subprocess.check_call, ("touch {marker}",)),
        (torch.load, ("{marker}",)),
        (torch.utils.collect_env.run, ("touch {marker}",)),
        (io.open, ("{marker}", "w")),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused_by_its_name_and_does_not_run(function, arguments, protocol, nvidia, tmp_path):
    marker = tmp_path / "ran"
    call = Calls(function, *(part.format(marker=str(marker)) if isinstance(part, str) else part
                             for part in arguments))  # fmt: skip
    path = write(
        tmp_path / "net.pkl", {"G": call, "G_ema": as_nvidia_has_it(generator_of("plain"), nvidia)}, protocol
    )
    assert function.__name__ in refusal(path)
    assert not marker.exists()


def test_code_in_a_storage_is_refused_too(nvidia, tmp_path):
    marker = tmp_path / "ran"
    inner = pickle.dumps(Calls(os.system, f"touch {marker}"))
    path = write(tmp_path / "net.pkl", {"G_ema": Calls(torch.storage._load_from_bytes, inner)})
    assert "system" in refusal(path) and not marker.exists()


def test_unknown_names_of_nvidias_packages_are_refused(nvidia, tmp_path, monkeypatch):
    misc = types.ModuleType("torch_utils.misc")

    def open_url(url):
        return url

    open_url.__module__, open_url.__qualname__, misc.open_url = "torch_utils.misc", "open_url", open_url
    monkeypatch.setitem(sys.modules, "torch_utils.misc", misc)
    path = write(tmp_path / "net.pkl", {"G_ema": Calls(open_url, "https://example.org")})
    assert "the name torch_utils.misc.open_url" in refusal(path)


@pytest.mark.parametrize("state", [{"function": None}, (None, {"function": None}), (None, {"__slots__": ()})])
@pytest.mark.parametrize("name", ["torch_utils.persistence\n_reconstruct_persistent_obj", "numpy\ndtype"])
def test_a_file_cannot_change_what_its_names_stand_for(state, name, tmp_path):
    """pickle's BUILD sets attributes of whatever is on its stack, here of an admitted function itself: a dict
    goes into its __dict__, the second part of a pair is set one by one."""
    stream = io.BytesIO()
    pickler = pickle._Pickler(stream, 2)
    stream.write(pickle.PROTO + b"\x02" + pickle.GLOBAL + name.encode() + b"\n")
    pickler.save(state)
    stream.write(pickle.BUILD + pickle.STOP)
    content = stream.getvalue()
    with pytest.raises((nvidia_pickle.Refused, AttributeError)):
        nvidia_pickle._Networks(io.BytesIO(content)).load()
    (tmp_path / "net.pkl").write_bytes(content)
    refusal(tmp_path / "net.pkl")


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((10**6, 10**6), (0, 0), 0),
        ((10**12,), (1,), 0),
        ((3,), (1,), 2),
        ((2, 2), (3, 1), 0),
        ((2,), (-1,), 1),
        ((2,), (1,), -1),
    ],
)
def test_tensors_stay_inside_their_storage(size, stride, offset, nvidia, tmp_path):
    storage = torch.zeros(4).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    tensor = Calls(torch._utils._rebuild_tensor_v2, typed, offset, size, stride, False, {})
    network = as_nvidia_has_it(generator_of("plain"), nvidia)
    network.modules["mapping"].parameters["w_avg"] = tensor
    assert "in a storage of 4 numbers" in refusal(write(tmp_path / "net.pkl", {"G_ema": network}))


@pytest.mark.parametrize(
    "content",
    [
        pickle.PROTO + b"\x04" + pickle.BINBYTES8 + (2**60).to_bytes(8, "little") + b"x.",
        pickle.PROTO + b"\x04" + pickle.BINUNICODE8 + (2**60).to_bytes(8, "little") + b"x.",
        pickle.PROTO + b"\x04" + pickle.FRAME + (2**60).to_bytes(8, "little") + b"N.",
        pickle.NONE + pickle.LONG_BINPUT + (2**31 - 1).to_bytes(4, "little") + pickle.STOP,
        pickle.NONE + pickle.PUT + b"1152921504606846976\n" + pickle.STOP,
        pickle.LONG4 + (2**31 - 1).to_bytes(4, "little") + b"1.",
    ],
)
def test_announced_sizes_are_not_believed(content, tmp_path, monkeypatch):
    """All are refused before the unpickler, which would reserve such memory, has seen them."""

    def reached(stream):
        raise BaseException("the unpickler was called")

    monkeypatch.setattr(nvidia_pickle, "_Networks", reached)
    (tmp_path / "net.pkl").write_bytes(content)
    text = refusal(tmp_path / "net.pkl")
    assert "cut off" in text or "holds a table of" in text


def test_a_storage_holds_what_it_announces(nvidia, tmp_path):
    stream = io.BytesIO()
    torch.save(torch.zeros(4).untyped_storage(), stream, _use_new_zipfile_serialization=False)
    typed = torch.storage.TypedStorage(
        wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
    )
    stream = io.BytesIO()
    torch.save(typed, stream, _use_new_zipfile_serialization=False)
    whole = stream.getvalue()
    assert torch.equal(nvidia_pickle.keep_storage(whole).values, torch.zeros(4))
    for damaged in (whole[:-1], whole + b"x", whole[:-24] + (5).to_bytes(8, "little") + whole[-16:]):
        path = write(tmp_path / "net.pkl", {"G_ema": Calls(torch.storage._load_from_bytes, damaged)})
        refusal(path)


# ---- files of other kinds


def test_a_pickle_of_tensorflow_says_how_to_convert_it(nvidia, tmp_path):
    networks = tuple(nvidia.Network() for _ in range(3))
    text = refusal(write(tmp_path / "ffhq.pkl", networks))
    assert "TensorFlow" in text and "legacy.py --source=ffhq.pkl" in text


def test_files_that_are_cut_off_or_no_pickles(nvidia, tmp_path):
    path = write(tmp_path / "net.pkl", {"G_ema": as_nvidia_has_it(generator_of("plain"), nvidia)})
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "cut off" in refusal(path)
    for content in (b"<!DOCTYPE html><html>not found</html>", b"PK\x03\x04" + bytes(100), os.urandom(1000)):
        path.write_bytes(content)
        refusal(path)
    assert "no such file" in refusal(tmp_path / "missing.pkl")
    refusal(tmp_path)


def test_one_wrong_byte_never_ends_in_a_traceback(nvidia, tmp_path):
    path = write(tmp_path / "net.pkl", {"G_ema": as_nvidia_has_it(generator_of("grey"), nvidia)})
    whole = path.read_bytes()
    places = torch.randperm(len(whole), generator=torch.Generator().manual_seed(1))[:200].tolist()
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            nvidia_pickle.read(path)  # a byte of a weight: nobody can tell
        except InputError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "resnet"}, "architecture resnet"),
        ({"filter": torch.full((2, 2), 0.25)}, "resampling filter"),
        ({"activation": "relu"}, "activation relu"),
    ],
)
def test_generators_of_another_kind_are_refused(changes, said, nvidia, tmp_path):
    network = as_nvidia_has_it(generator_of("plain"), nvidia, **changes)
    assert said in refusal(write(tmp_path / "net.pkl", {"G_ema": network}))


def test_layers_of_another_network_are_refused(nvidia, tmp_path):
    network = as_nvidia_has_it(generator_of("plain"), nvidia)
    blocks = network.modules["synthesis"].modules
    blocks["L0_36_512"] = blocks.pop("b16")  # as in StyleGAN3
    assert "not StyleGAN2" in refusal(write(tmp_path / "net.pkl", {"G_ema": network}))
    for content in ({}, {"G_ema": None}, {"G": network}, [1, 2], {"G_ema": {"state": 1}}):
        assert "G_ema" in refusal(write(tmp_path / "net.pkl", content))


@pytest.mark.parametrize("lost", ["mapping", "synthesis"])
def test_missing_parts_are_named(lost, nvidia, tmp_path):
    network = as_nvidia_has_it(generator_of("plain"), nvidia)
    del network.modules[lost]
    assert lost in refusal(write(tmp_path / "net.pkl", {"G_ema": network}))


def test_weights_of_sizes_that_do_not_fit_are_refused(nvidia, tmp_path):
    network = as_nvidia_has_it(generator_of("plain"), nvidia)
    first = network.modules["mapping"].modules["fc1"]
    first.parameters["weight"] = torch.nn.Parameter(torch.zeros(3, 3))
    assert "not StyleGAN2's" in refusal(write(tmp_path / "net.pkl", {"G_ema": network}))


def test_the_written_files_have_the_names_of_published_ones(nvidia, tmp_path):
    """So that the tests above try what is in real files: the names that StyleGAN2-ADA's own pickles use."""
    content = {"G_ema": as_nvidia_has_it(generator_of("plain"), nvidia), "kwargs": nvidia.EasyDict(a=1)}
    opcodes = list(nvidia_pickle.pickletools.genops(pickle.dumps(content, 3)))
    names = {argument for opcode, argument, _ in opcodes if opcode.name == "GLOBAL"}
    assert {name.replace("numpy._core", "numpy.core").replace(" ", ".") for name in names} == {
        "torch_utils.persistence._reconstruct_persistent_obj",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor_v2",
        "torch.storage._load_from_bytes",
        "collections.OrderedDict",
        "numpy.core.multiarray.scalar",
        "numpy.dtype",
        "dnnlib.util.EasyDict",
    }
    assert all(one <= other for one, other in pairwise(place for _, _, place in opcodes))
