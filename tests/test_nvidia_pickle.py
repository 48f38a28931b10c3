"""NVIDIA's pickles, as data: what their generators become, and everything that is refused.

The files are made here: modules that pickle under NVIDIA's names, with weights of a generator of ours, so
that what was read can be compared with what was written."""

import os
import pickle
import subprocess
import sys
from itertools import pairwise

from common.errors import InputError

import pytest
import torch
from nvidia_files import SHAPES, as_nvidia_has_it, generator_of, modules_of_nvidia, refusal, write

from hw3_stylegan_sampling import nvidia_pickle, weights


@pytest.fixture(autouse=True)
def nvidia(monkeypatch):
    torch.manual_seed(0)
    return modules_of_nvidia(monkeypatch)


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
