"""Training StyleGAN2: adaptive augmentation, artefacts, exact resume after kill -9, two processes."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

from common import augmentation, checkpoints, command_line, devices, figures
from common.data import creatures
from common.errors import InputError

import pytest
import torch
import two_processes
from small_gans import logged, parts, save_pets, words
from small_stylegans import config

from hw3_stylegan_sampling import models, train_stylegan

ROOT = Path(__file__).resolve().parent.parent
HERE = devices.Device(torch.device("cpu"))


@pytest.fixture(scope="module")
def pets(tmp_path_factory) -> Path:
    return save_pets(tmp_path_factory.mktemp("data") / "pets", {"train": 48, "val": 12})


# ---- the script


@pytest.fixture(scope="module")
def trained(pets, tmp_path_factory) -> Path:
    return train_stylegan.main(config(pets, tmp_path_factory.mktemp("runs")))


def test_training_leaves_numbers_pictures_and_a_generator(trained, pets):
    assert trained.name == "0001-stylegan-pets" and trained.parent.name == "hw3"
    lines = logged(trained)
    assert [line["step"] for line in lines] == [3, 6]
    names = {"discriminator_loss", "generator_loss", "d_real", "d_fake", "path_length"}
    measured = {f"val/{weights}_{what}" for weights in ("raw", "ema") for what in ("diversity", "grid")}
    expected = {f"train/{name}" for name in names} | measured | {"step"}
    assert all(line.keys() == expected for line in lines)
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["steps"] == 6 and summary["n_val"] == 8
    assert {path.name for path in (trained / "samples").iterdir()} == {
        f"{version}-{step:06d}.png" for version in ("raw", "ema") for step in (3, 6)
    }
    generator, averaged = models.load(trained), parts(trained)["ema"]
    for name, value in generator.synthesis.state_dict().items():
        assert torch.equal(value, averaged[f"module.synthesis.{name}"])
    w = generator.mapping(torch.randn(10_000, generator.z_dim))
    assert (generator.w_mean - w.mean(0)).abs().max() < 0.1 * w.std()


def test_every_parameter_of_both_networks_is_trained(trained, pets, tmp_path):
    torch.manual_seed(0)
    one = config(pets, tmp_path)
    fresh = train_stylegan.build(one, ())
    for name, network in zip(("generator", "discriminator"), fresh):
        before, after = network.state_dict(), parts(trained)[name]
        for key, _ in network.named_parameters():
            assert after[key].isfinite().all() and not torch.equal(before[key], after[key]), key


KILLED_IN_STEP_5 = """
import os, signal, sys
from common import command_line
from hw3_stylegan_sampling import train_stylegan

original = train_stylegan.set_learning_rates

def killed(config, step, *optimizers):
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    original(config, step, *optimizers)

train_stylegan.set_learning_rates = killed
command_line.run(train_stylegan.main, train_stylegan.Config)
"""


def test_killed_and_resumed_it_ends_with_the_same_bits(pets, trained, tmp_path):
    command = [sys.executable, "-c", KILLED_IN_STEP_5, *words(config(pets, tmp_path, checkpoint_seconds=0))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (run_dir,) = (tmp_path / "hw3").iterdir()
    assert checkpoints.read(run_dir / "checkpoints" / "last.pt")["step"] == 4
    train_stylegan.main(command_line.parse(train_stylegan.Config, ["--resume", str(run_dir)]))
    killed, whole = parts(run_dir), parts(trained)
    for name in ("generator", "discriminator", "ema", "paths"):
        assert all(torch.equal(killed[name][key], value) for key, value in whole[name].items())
    for name in ("for_generator", "for_discriminator"):
        for key, slots in whole[name]["state"].items():
            assert all(torch.equal(killed[name]["state"][key][slot], slots[slot]) for slot in slots)
    assert logged(run_dir) == logged(trained)


WITHOUT_WHAT_DIFFERS = """
import torch
from common import command_line, layers
from hw3_stylegan_sampling import train_stylegan

layers.MinibatchDeviation.forward = lambda self, x: torch.cat([x, 0 * x[:, :1]], 1)
command_line.run(train_stylegan.main, train_stylegan.Config)
"""


def test_two_processes_with_half_the_batch_follow_one_with_the_whole(pets, tmp_path):
    """Latents, mixing, R1 and both updates.  What is random in a process or counts the images of its batch is
    left out: noise, path lengths, augmentation, minibatch deviation."""
    script = tmp_path / "train.py"
    script.write_text(WITHOUT_WHAT_DIFFERS)
    same = {"augment": (), "path_weight": 0, "measure_every": 1, "noise": False}
    flags = lambda outdir: [*words(config(pets, outdir, **same)), "--augment"]
    alone, together = two_processes.logs_alone_and_together(script, flags, tmp_path)
    assert len(alone) == 6
    for line, other in zip(alone, together):
        for name, value in line.items():
            if name.startswith("train/"):
                assert other[name] == pytest.approx(value, rel=1e-3), (line["step"], name)


def test_attributes_are_told_where_the_set_has_them(tmp_path):
    one = config("creatures", tmp_path, data_dir=tmp_path / "data", train_images=24, size=32, steps=1,
                 channels=(6, 6, 6, 6), measure_every=1)  # fmt: skip
    run_dir = train_stylegan.main(one)
    options = tuple(map(len, creatures.OPTIONS.values()))
    generator = models.load(run_dir)
    assert generator.shape.options == options and generator.z_dim == 6 + len(options)
    assert "out.weight" in parts(run_dir)["discriminator"]
    assert len(parts(run_dir)["discriminator"]["out.weight"]) == 1 + sum(options)
    images = train_stylegan.load(one, "train", 24)
    labels, counts = train_stylegan.labels_of(one, images)
    assert counts == options and labels.sum(1).tolist() == [len(options)] * 24
    start = 0
    for name, count in zip(creatures.OPTIONS, options):
        assert torch.equal(labels[:, start : start + count].argmax(1), images.attributes[name])
        start += count
    assert train_stylegan.labels_of(dataclasses.replace(one, conditional=False), images)[1] == ()


def test_a_generator_learns_the_one_image_there_is(tmp_path):
    """300 steps on copies of one image, two colours and an edge: closer to it than its mean colour is."""
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    image[0, :, :4], image[2, :, 4:] = 255, 255
    for i in range(16):
        figures.save_png(tmp_path / "one" / "train" / f"{i}.png", image)
        figures.save_png(tmp_path / "one" / "val" / f"{i}.png", image // (i + 1))
    flags = {
        "steps": 300,
        "batch_size": 16,
        "augment": (),
        "r1_gamma": 1.0,
        "r1_every": 4,
        "path_weight": 0.0,
    }
    run_dir = train_stylegan.main(
        config(tmp_path / "one", tmp_path, measure_every=300, ema_images=500, **flags)
    )
    drawn = models.load(run_dir)(torch.randn(16, 6))
    target = image.float() / 127.5 - 1
    assert (drawn - target).square().mean() < 0.3 * (
        target - target.mean((1, 2), keepdim=True)
    ).square().mean()


def test_changes_come_as_often_as_keeps_the_discriminator_unsure():
    """Probabilities move by 256 images in 500,000 at a time, down to 0 and up to the largest."""
    seen = augmentation.Augmentation(("color", "adaptive"), HERE)
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(seen(images), images) and seen.numbers() == {"train/augment_probability": 0.0}
    sure, unsure = torch.ones(64), torch.tensor([1.0, 1, 1, -1] * 16)  # mean signs 1 and 0.5
    for _ in range(3):
        seen.update(sure)
    assert seen.probability == 0  # not looked at yet
    seen.update(sure)
    assert seen.probability.item() == pytest.approx(256 / 500_000)
    for _ in range(4):
        seen.update(unsure)
    assert seen.probability == 0
    for _ in range(4):
        seen.update(unsure)
    assert seen.probability == 0
    seen.probability.fill_(0.79999)
    for _ in range(4):
        seen.update(sure)
    assert seen.probability.item() == pytest.approx(0.8)
    many = torch.randn(2000, 3, 4, 4)
    changed = (seen(many) != many).flatten(1).any(1).double().mean().item()
    assert changed == pytest.approx(0.8, abs=0.04)
    always = augmentation.Augmentation(("color",), HERE)
    assert (always(many) != many).flatten(1).any(1).all()
    assert always.state_dict() == {} and always.numbers() == {}


def test_an_adaptive_probability_is_part_of_the_run(pets, tmp_path, monkeypatch):
    for name, value in (("LOOKED_AT", 8), ("RISE", 100), ("TARGET", -2.0)):
        monkeypatch.setattr(augmentation, name, value)
    one = config(pets, tmp_path, augment=("color", "translation", "adaptive"), measure_every=1)
    whole = train_stylegan.main(one)
    probabilities = [line["train/augment_probability"] for line in logged(whole)]
    assert probabilities[:2] == pytest.approx([0.08, 0.16]) and len(set(probabilities)) == 6
    half = train_stylegan.main(dataclasses.replace(one, steps=3, cooldown=0.0))
    half = train_stylegan.main(dataclasses.replace(one, cooldown=0.0, resume=half))
    again = train_stylegan.main(dataclasses.replace(one, cooldown=0.0))
    for name in ("augmentation", "generator", "discriminator"):
        for key, value in parts(again)[name].items():
            assert torch.equal(parts(half)[name][key], value), (name, key)


# ---- mistakes


def test_adaptive_augmentation_needs_something_to_change():
    with pytest.raises(InputError, match="--augment adaptive: name the changes too"):
        train_stylegan.check(train_stylegan.Config(augment=("adaptive",)))


def test_a_gradient_that_is_not_finite_stops_the_run(pets, tmp_path, monkeypatch):
    calls = []

    def loss(fake):
        calls.append(fake)
        return torch.sqrt(fake - fake.detach()) * fake if len(calls) == 3 else fake.square()

    monkeypatch.setattr(train_stylegan.adversarial, "non_saturating_generator", loss)
    with pytest.raises(InputError, match="loss became nan at step 3"):
        train_stylegan.main(config(pets, tmp_path, measure_every=100, checkpoint_seconds=0))
    (run_dir,) = (tmp_path / "hw3").iterdir()
    assert checkpoints.read(run_dir / "checkpoints" / "last.pt")["step"] == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--size", "48"], "--size 48"),
        (["--size", "32"], "--channels"),
        (["--cooldown", "2"], "--cooldown 2"),
        (["--batch-size", "64"], "--batch-size 64"),
        (["--data", "digits", "--size", "16", "--channels", "8", "6", "6"], "grey images"),
        (["--data", "SAME"], "no two that differ"),
    ],
)
def test_a_mistake_is_one_line(flags, said, pets, tmp_path, capsys):
    for i in range(8):
        for split in ("train", "val"):
            figures.save_png(tmp_path / "same" / split / f"{i}.png", torch.zeros(3, 8, 8, dtype=torch.uint8))
    flags = [str(tmp_path / "same") if flag == "SAME" else flag for flag in flags]
    with pytest.raises(SystemExit) as stopped:
        command_line.run(train_stylegan.main, train_stylegan.Config, [*words(config(pets, tmp_path)), *flags])
    text = str(stopped.value.code)
    assert said in text and text.startswith("error: ") and "\n" not in text
    assert not (tmp_path / "hw3").exists()
