"""Pickles under NVIDIA's names that would run code, reach out of their storages or fill the memory."""

import builtins
import io
import os
import pickle
import subprocess
import sys
import types

import pytest
import torch
from nvidia_files import as_nvidia_has_it, generator_of, modules_of_nvidia, refusal, write

from hw3_stylegan_sampling import nvidia_pickle


@pytest.fixture(autouse=True)
def nvidia(monkeypatch):
    torch.manual_seed(0)
    return modules_of_nvidia(monkeypatch)


class Calls:
    """Pickles as a call of `function` with `arguments`, and `state` for what it returns."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


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
