"""Generators by name, file or run directory; what cannot be read, in one line."""

import os

from common.errors import InputError

import pytest
import torch

from hw3_stylegan_sampling import models, nvidia_pickle, weights
from hw3_stylegan_sampling.networks import Architecture, Generator

SMALL = Architecture(size=8, channels=(6, 5), z_dim=6, w_dim=7, mapping_layers=2, options=(2, 3))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def same(one: Generator, other: Generator) -> bool:
    z = torch.randn(2, one.z_dim)
    return torch.equal(one(z), other(z))


def test_what_was_saved_is_read_with_everything_it_needs(tmp_path):
    generator = Generator(SMALL)
    generator.w_mean.normal_()
    weights.save(tmp_path / "a.safetensors", generator, "a test")
    read = weights.read(tmp_path / "a.safetensors")
    assert read.shape == SMALL and not read.training
    assert not any(parameter.requires_grad for parameter in read.parameters())
    assert torch.equal(read.w_mean, generator.w_mean) and same(read, generator)


def test_the_door_takes_names_runs_and_files(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "PRETRAINED", tmp_path)
    generator = Generator(SMALL)
    run = tmp_path / "0001-stylegan-avatars"
    for path in (tmp_path / "stylegan-faces.safetensors", run / "generator.safetensors"):
        weights.save(path, generator, "a test")
    for network in ("faces", run, str(run), tmp_path / "stylegan-faces.safetensors"):
        assert same(models.load(network), generator)
    assert models.names() == ["faces"]


def test_a_converted_pickle_is_read_from_the_file_beside_it_unless_that_is_older(tmp_path, monkeypatch):
    pickled, converted = Generator(SMALL), Generator(SMALL)
    path = tmp_path / "net.pkl"
    path.write_bytes(b"")
    monkeypatch.setattr(nvidia_pickle, "read", lambda path: pickled)
    assert same(models.load(path), pickled)
    weights.save(tmp_path / "net.safetensors", converted, "a test")
    assert same(models.load(path), converted)
    os.utime(tmp_path / "net.safetensors", (1, 1))
    assert same(models.load(path), pickled)


def test_mistakes_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "PRETRAINED", tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "other.safetensors").write_bytes(b"\x00" * 64)
    torch.save({"g_ema": torch.zeros(3)}, tmp_path / "rosinality.pt")
    for network, said in (
        ("faces", r"--network faces: neither a file nor a shipped generator \(none yet\)"),
        (tmp_path, "no generator.safetensors there"),
        ("https://example.org/ffhq.pkl", "fetch the file"),
        (tmp_path / "notes.txt", "notes.txt: holds no generator"),
        (tmp_path / "other.safetensors", "other.safetensors: holds no generator"),
        (tmp_path / "rosinality.pt", "rosinality.pt: holds no generator"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            models.load(network)
        assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_their_architecture_are_refused(tmp_path):
    generator = Generator(SMALL)
    generator.shape = Architecture(**{**vars(SMALL), "w_dim": 9})
    weights.save(tmp_path / "a.safetensors", generator, "a test")
    with pytest.raises(InputError, match="holds no generator"):
        weights.read(tmp_path / "a.safetensors")


def test_class_labels():
    plain, classes = Generator(SMALL), Generator(Architecture(**{**vars(SMALL), "options": (), "classes": 3}))
    assert models.class_labels(plain, None) is None
    assert models.class_labels(classes, 2).tolist() == [[0, 0, 1]]
    for generator, index, said in (
        (plain, 0, "--class 0: this generator has no classes"),
        (classes, None, "one of 3 classes; give a number from 0 to 2"),
        (classes, 3, "--class 3: there are 3 classes"),
        (classes, -1, "--class -1"),
    ):
        with pytest.raises(InputError, match=said):
            models.class_labels(generator, index)
