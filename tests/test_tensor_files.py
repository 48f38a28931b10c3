"""Files of tensors: the same bytes for the same content, and readable by the library itself."""

import hashlib

from common import tensor_files
from common.errors import InputError

import pytest
import torch
from safetensors import safe_open

METADATA = {f"name {i}": f"имя «{i}»" for i in range(20)} | {"architecture": '{"size": 64}'}
TENSORS = {"b": torch.arange(7.0), "a": torch.arange(12, dtype=torch.int16).view(3, 4), "c": torch.ones(())}


def test_the_same_content_gives_the_same_bytes(tmp_path):
    orders = [METADATA, dict(reversed(METADATA.items()))] * 5
    for number, metadata in enumerate(orders):
        tensor_files.write(tmp_path / f"{number}", TENSORS, metadata, advice="free some space")
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in tmp_path.iterdir()}) == 1


def test_the_library_reads_what_was_written(tmp_path):
    path = tmp_path / "net.safetensors"
    tensor_files.write(path, TENSORS, METADATA, advice="free some space")
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == METADATA
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in TENSORS.items())
        assert file.get_tensor("a").dtype == torch.int16
    tensor_files.write(path, TENSORS, advice="free some space")
    with safe_open(path, framework="pt") as file:
        assert not file.metadata() and sorted(file.keys()) == ["a", "b", "c"]


def test_a_place_that_cannot_be_written_is_named_and_the_old_file_stays(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(InputError, match=r"net\.safetensors: .*; free some space"):
        tensor_files.write(tmp_path / "file" / "net.safetensors", TENSORS, advice="free some space")
    assert (tmp_path / "file").read_text() == "old"
