"""The encoder: its network and file, what it is told, and its training: losses, resume, two processes."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import types
from pathlib import Path

from common import command_line, data, devices, runs
from common.data import avatars
from common.errors import InputError
from common.metrics import extractors, identity
from common.noise import BatchNoise

import pytest
import torch
from small_gans import logged, parts, save_pets, words

from hw3_stylegan_sampling import encoder as encoders
from hw3_stylegan_sampling import models, projection, train_encoder, weights
from hw3_stylegan_sampling.networks import Architecture, Generator

ROOT = Path(__file__).resolve().parent.parent
SMALL = Architecture(size=16, channels=(8, 8, 8), z_dim=6, w_dim=8, noise=False)
HERE = devices.Device(torch.device("cpu"))


def make(shape: Architecture = SMALL, seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    generator = Generator(shape).requires_grad_(False).eval()
    generator.estimate_w_mean(500)
    return generator


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A generator's file beside pictures."""
    root = tmp_path_factory.mktemp("data")
    save_pets(root / "pets", {"train": 24, "val": 6})
    weights.save(root / "net.safetensors", make(), "a test")
    return root


def config(folder: Path, outdir: Path, **changes) -> train_encoder.Config:
    small = {"steps": 6, "batch_size": 4, "measure_every": 3, "measure_images": 4, "device": "cpu",
             "perceptual": "small", "checkpoint_seconds": 1e9}  # fmt: skip
    return train_encoder.Config(
        network=str(folder / "net.safetensors"),
        data=str(folder / "pets"),
        outdir=outdir,
        **{**small, **changes},
    )


# ---- the network and its file


def test_untrained_it_answers_with_one_style_for_all_layers_about_the_mean():
    generator = make()
    encoder = train_encoder.build(generator)
    ws = encoder(torch.rand(3, 3, 16, 16) * 2 - 1)
    assert ws.shape == (3, generator.layers, 8) and torch.equal(ws[:, 0], ws[:, -1])
    mean, spread = projection.statistics_of_w(generator)
    assert torch.equal(encoder.w_mean, generator.w_mean)
    assert encoder.spread.item() == pytest.approx(spread / 8**0.5)
    assert (ws - mean).square().sum(2).mean().sqrt() < 3 * spread


def test_each_image_is_encoded_as_alone_whatever_its_size():
    encoder = train_encoder.build(make()).eval()
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    together = encoder(images)
    assert torch.allclose(together[1], encoder(images[1:2])[0], atol=1e-6)
    smaller = torch.nn.functional.interpolate(images, 16, mode="bilinear", antialias=True)
    assert torch.allclose(encoder(smaller), together, atol=1e-6)


def test_its_file_comes_back_for_its_generator_and_for_no_other(tmp_path):
    generator = make()
    encoder = train_encoder.build(generator)
    torch.nn.init.normal_(encoder.own.weight)
    encoders.save(tmp_path / "encoder.safetensors", encoder)
    images = torch.rand(2, 3, 16, 16)
    read = encoders.load(tmp_path, generator)
    # float16 weights: half a unit in the 11th bit, over hundreds of terms
    assert (read(images) - encoder(images)).abs().max() < 0.02 * encoder(images).std()
    assert torch.equal(read.w_mean, generator.w_mean)
    rounded = make()
    for parameter in rounded.parameters():
        parameter.copy_(parameter.half().float())
    rounded.estimate_w_mean(500)
    encoders.load(tmp_path, rounded)
    wider = Architecture(size=16, channels=(8, 8, 8), z_dim=6, w_dim=9, noise=False)
    for other in (make(seed=1), make(wider)):
        with pytest.raises(InputError, match=r"--encoder .*: trained for another generator"):
            encoders.load(tmp_path, other)


def test_other_files_are_named(tmp_path):
    (tmp_path / "some.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"some\.safetensors: holds no encoder"):
        encoders.load(tmp_path / "some.safetensors", make())
    with pytest.raises(InputError, match="--encoder nobody: neither a file nor a shipped encoder"):
        encoders.load("nobody", make())


# ---- what it learns from


def test_known_styles_are_of_one_latent_or_of_two_with_a_border():
    generator = make()
    ws = train_encoder.known_styles(
        generator, *train_encoder.latents(generator, BatchNoise(400, HERE, seed=0))
    )
    assert ws.shape == (400, generator.layers, 8)
    changes = (ws[:, 1:] != ws[:, :-1]).any(2)  # (400, L - 1)
    assert set(changes.sum(1).tolist()) == {0, 1}
    assert 0.3 < changes.any(1).float().mean() < 0.6 and (changes.float().mean(0) > 0.03).all()
    z = BatchNoise(400, HERE, seed=0).normal(2, 6)
    assert torch.allclose(ws[:, -1][~changes.any(1)], generator.mapping(z[:, 0])[~changes.any(1)], atol=1e-6)


def test_generators_with_classes_draw_all_of_them():
    shape = Architecture(size=8, channels=(6, 6), z_dim=6, w_dim=8, classes=3, noise=False)
    generator = Generator(shape).requires_grad_(False)
    *drawn, labels = train_encoder.latents(generator, BatchNoise(60, HERE, seed=0))
    assert labels.shape == (60, 3) and (labels.sum(1) == 1).all() and (labels.sum(0) > 5).all()
    ws, (z, other, cut) = train_encoder.known_styles(generator, *drawn, labels), drawn
    of_z, of_other = generator.styles(z, labels), generator.styles(other, labels)  # both of the image's class
    assert torch.allclose(ws[:, 0], of_z[:, 0]) and (cut < generator.layers).any()
    last = torch.where((cut < generator.layers)[:, None], of_other[:, -1], of_z[:, -1])
    assert torch.allclose(ws[:, -1], last, atol=1e-6)


def test_a_measurement_draws_every_class_and_shows_images_above_their_projections(folder, tmp_path):
    shape = Architecture(size=16, channels=(6, 6, 6), z_dim=6, w_dim=8, classes=3, noise=False)
    generator = Generator(shape).requires_grad_(False).eval()
    told, styles = [], generator.styles
    generator.styles = lambda z, labels=None: (told.append(labels), styles(z, labels))[1]
    losses = train_encoder.Losses(config(folder, tmp_path), generator, HERE.torch)
    encoder = train_encoder.build(generator)
    for parameter in encoder.parameters():  # answers that differ from image to image
        torch.nn.init.normal_(parameter, std=0.3)
    val = data.ImageSet(torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8), "pets", "val", "a test")
    sheets = []
    run = types.SimpleNamespace(
        device=HERE, folder=tmp_path, log=lambda *_: None, say=lambda *_: None,
        save_samples=lambda name, step, images, columns: sheets.append(images.unflatten(0, (-1, columns))),
    )  # fmt: skip
    train_encoder.report(run, 1, {}, encoder, losses, val)
    assert told[-1].argmax(1).tolist() == [i % 3 for i in range(20)]
    with torch.no_grad():
        again = generator.synthesis(encoder.eval()(data.to_model_range(val.images)), "const")
    ((originals, projections),) = sheets
    assert torch.equal(originals, val.images[:16])
    assert (projections.int() - data.to_uint8(again)[:16].int()).abs().max() <= 1
    assert len(projections.unique(dim=0)) == 16


def test_losses_are_zero_where_the_answer_is_right_and_weighted_where_not(folder, tmp_path):
    generator = make()
    losses_of = train_encoder.Losses(config(folder, tmp_path, offsets=2.0, pixels=5.0), generator, HERE.torch)
    ws, spread = generator.styles(torch.randn(2, 6)), torch.tensor(0.3)
    images = generator.synthesis(ws, "const")
    right = losses_of(images, ws, spread)
    assert train_encoder.styles_error(ws, ws, spread).abs().max() == 0
    assert max(loss.abs().max() for loss in right.values()) < 1e-6
    moved = ws.clone()
    moved[:, 0] += 2 * spread  # one of L layers, by two standard deviations
    losses, layers = losses_of(images, moved, spread), generator.layers
    assert torch.allclose(train_encoder.styles_error(moved, ws, spread), torch.full((2,), 4 / layers))
    assert torch.allclose(losses["offsets"], torch.full((2,), 2 * (4 / layers - 4 / layers**2)), rtol=1e-4)
    drawn = generator.synthesis(moved, "const")
    assert torch.allclose(losses["pixels"], 5 * (drawn - images).abs().mean((1, 2, 3)) / 2)
    assert torch.allclose(losses["perceptual"], losses_of.distance(images, drawn))
    assert "likeness" not in losses  # pets are nobody


def test_the_identity_loss_is_that_of_the_named_network(folder, tmp_path):
    (tmp_path / "mean.py").write_text("def load(device):\n    return lambda images: images.mean((2, 3))\n")
    one = config(folder, tmp_path, identity=str(tmp_path / "mean.py"), likeness=2.0)
    generator = make()
    losses = train_encoder.Losses(one, generator, HERE.torch)
    ws, images = generator.styles(torch.randn(2, 6)).clone().requires_grad_(), torch.rand(2, 3, 16, 16)
    found = losses(images, ws, torch.ones(()))["likeness"]
    cosine = torch.cosine_similarity(images.mean((2, 3)), generator.synthesis(ws, "const").mean((2, 3)))
    assert torch.allclose(found, 2 * (1 - cosine), atol=1e-6)
    found.sum().backward()
    assert ws.grad.abs().sum() > 0


# ---- training


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory) -> Path:
    return train_encoder.main(config(folder, tmp_path_factory.mktemp("runs")))


def test_a_run_leaves_its_files(folder, trained):
    summary = runs.read_json(trained / "summary.json")
    assert summary["steps"] == 6 and summary["n_val"] == 4
    assert summary["metrics"].keys() == {"val/set_psnr_db", "val/generated_psnr_db"}
    names = {path.name for path in (trained / "samples").iterdir()}
    assert names == {"projected-000003.png", "projected-000006.png"}
    generator = weights.read(folder / "net.safetensors")
    state = encoders.load(trained, generator).state_dict()
    for name, value in parts(trained)["encoder"].items():
        assert torch.allclose(state[name], value, rtol=1e-3, atol=1e-4), name
    fresh = train_encoder.build(generator).state_dict()
    torch.manual_seed(0)
    for name, value in train_encoder.build(generator).named_parameters():
        assert not torch.equal(parts(trained)["encoder"][name], value), name
    assert torch.equal(fresh["w_mean"], state["w_mean"])


class Stop(Exception):
    pass


def test_stopped_and_resumed_it_ends_with_the_same_bits(folder, trained, tmp_path, monkeypatch):
    original, calls = train_encoder.known_styles, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise Stop
        return original(*arguments)

    monkeypatch.setattr(train_encoder, "known_styles", stopping)
    with pytest.raises(Stop):
        train_encoder.main(config(folder, tmp_path, checkpoint_seconds=0))
    monkeypatch.undo()
    (half,) = (tmp_path / "hw3").iterdir()
    train_encoder.main(command_line.parse(train_encoder.Config, ["--resume", str(half)]))
    whole, resumed = parts(trained), parts(half)
    assert all(torch.equal(resumed["encoder"][key], value) for key, value in whole["encoder"].items())
    for key, slots in whole["optimizer"]["state"].items():
        assert all(torch.equal(resumed["optimizer"]["state"][key][slot], slots[slot]) for slot in slots)
    assert logged(half) == logged(trained)
    weights.save(folder / "other.safetensors", make(seed=1), "a test")
    weights.save(folder / "moved.safetensors", make(), "a test")
    with_network = lambda name: command_line.parse(
        train_encoder.Config, ["--resume", str(half), "--network", str(folder / f"{name}.safetensors")]
    )
    with pytest.raises(InputError, match="trained for another generator"):
        train_encoder.main(with_network("other"))
    assert train_encoder.main(with_network("moved")) == half


def test_it_can_begin_with_the_encoder_of_an_earlier_generator(folder, trained, tmp_path):
    later = make()
    later.mapping.layers[-1].bias += 0.1
    later.estimate_w_mean(500)
    begun = train_encoder.build(later, trained / "encoder.safetensors")
    for name, value in encoders.read(trained / "encoder.safetensors").named_parameters():
        assert torch.equal(dict(begun.named_parameters())[name], value)
    assert torch.equal(begun.w_mean, later.w_mean) and begun.spread > 0
    wider = make(Architecture(size=16, channels=(8, 8, 8), z_dim=6, w_dim=9, noise=False))
    with pytest.raises(
        InputError, match=r"--start .*: trained for another generator, of 6 style layers of 8"
    ):
        train_encoder.build(wider, trained / "encoder.safetensors")


def test_two_processes_with_half_the_batch_follow_one_with_the_whole(folder, tmp_path):
    results = []
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = str(ROOT / "hw3_stylegan_sampling" / "train_encoder.py")
    for name, launcher in (("one", []), ("two", torchrun)):
        flags = words(config(folder, tmp_path / name, measure_every=1))
        done = subprocess.run(
            [sys.executable, *launcher, script, *flags], cwd=ROOT, capture_output=True, text=True,
            check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("run directory") == 1
        (run_dir,) = (tmp_path / name / "hw3").iterdir()
        results.append(logged(run_dir))
    for line, other in zip(*results, strict=True):
        for name, value in line.items():
            if name.startswith("train/"):
                assert other[name] == pytest.approx(value, rel=2e-3), (line["step"], name)


def test_it_learns_to_find_the_styles_of_what_the_generator_draws(folder, tmp_path):
    one = config(folder, tmp_path, steps=100, batch_size=6, measure_every=50, offsets=0, learning_rate=3e-3)
    error = runs.read_metrics(train_encoder.main(one))[-1]["train/styles"]
    assert error < 0.7 * one.styles  # in variances of w: the mean w has 1


def test_it_learns_to_draw_images_again_without_knowing_their_styles(folder, tmp_path):
    one = config(folder, tmp_path, steps=80, batch_size=6, measure_every=40, styles=0, learning_rate=3e-3)
    first, last = runs.read_metrics(train_encoder.main(one))
    assert last["train/perceptual"] < 0.95 * first["train/perceptual"]


def test_persons_of_avatars_are_recognised_among_a_hundred(folder, tmp_path, monkeypatch):
    """Every picture is taken for the first of the hundred: right for those that show it, among pictures of
    the hundred."""
    monkeypatch.setattr(
        identity, "nearest", lambda found, gallery: torch.zeros(len(found), dtype=torch.int64)
    )
    monkeypatch.setattr(identity, "gallery", lambda net, persons, **_: seen.append(persons))
    seen, persons = [], avatars.PEOPLE["val"].start + torch.tensor([1, 0, 0, 2])
    pictures = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    val = data.ImageSet(pictures, "avatars", "val", "a test", attributes={"person": persons})
    (tmp_path / "mean.py").write_text("def load(device):\n    return lambda images: images.mean((2, 3))\n")
    one = config(folder, tmp_path, identity=str(tmp_path / "mean.py"))
    generator = make()
    losses = train_encoder.Losses(one, generator, HERE.torch)
    numbers, images = train_encoder.measure(train_encoder.build(generator), losses, val)
    assert numbers["set_first_among_100"] == 0.5 and len(seen[0]) == 3
    assert images.shape == (8, 3, 16, 16) and -1 <= numbers["set_identity"] <= 1
    persons = avatars.PEOPLE["val"].start + torch.arange(120)
    pictures = torch.zeros(120, 3, 16, 16, dtype=torch.uint8)
    more = data.ImageSet(pictures, "avatars", "val", "a test", attributes={"person": persons})
    numbers, _ = train_encoder.measure(train_encoder.build(generator), losses, more)
    assert numbers["set_first_among_100"] == pytest.approx(0.01) and len(seen[1]) == 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "nobody"}, "--network nobody"),
        ({"identity": "nobody"}, "--identity nobody"),
        ({"batch_size": 400}, "--batch-size 400"),
    ],
)
def test_mistakes_in_one_line(folder, tmp_path, changes, message):
    one = dataclasses.replace(config(folder, tmp_path), **changes)
    with pytest.raises(InputError, match=message):
        train_encoder.main(one)


@pytest.mark.parametrize("name", encoders.shipped())
def test_shipped_encoders_belong_to_the_shipped_generators(name):
    path = encoders.PRETRAINED / f"encoder-{name}.safetensors"
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert f"SHA-256: `{extractors.file_sha256(path)}`" in card and path.stat().st_size <= 4_000_000
    generator = models.load(name)
    encoder = encoders.load(name, generator)
    z = torch.randn(8, generator.z_dim, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        ws = generator.styles(z)
        images = generator.synthesis(ws, "const").clamp(-1, 1)
        again, mean = generator.synthesis(encoder(images), "const"), generator.w_mean.expand_as(ws)
        typical = generator.synthesis(mean, "const")
    assert projection.psnr(images, again).mean() > projection.psnr(images, typical).mean() + 5
