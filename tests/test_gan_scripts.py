"""Training and evaluating GANs: artefacts, exact resume after kill -9, two processes, mistakes."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

from common import checkpoints, command_line, devices, figures
from common.data import Batches
from common.errors import InputError
from common.metrics import samples
from common.shapes import parameters

import imageio.v3 as imageio
import pytest
import torch
import torch.distributed as dist
import two_processes
from small_gans import COUNTS, EVERYTHING, SCRIPTS, config, logged, parts, save_pets, words

from hw2_gan import eval_gan, gan_data, networks, players, train_gan


@pytest.fixture(scope="module")
def pets(tmp_path_factory) -> Path:
    return save_pets(tmp_path_factory.mktemp("data") / "pets")


@pytest.fixture(scope="module")
def trained(pets, tmp_path_factory) -> Path:
    return train_gan.main(config(pets, tmp_path_factory.mktemp("runs"), **EVERYTHING))


def test_training_leaves_its_numbers_and_pictures(trained):
    assert trained.name == "0001-gan-base-pets"
    lines = logged(trained)
    assert [line["step"] for line in lines] == [2, 4, 6]
    both = ("loss", "gradient_norm")
    names = {f"train/{side}_{what}" for side in ("discriminator", "generator") for what in both}
    names |= {"train/d_real", "train/d_fake", "val/raw_diversity", "val/ema_diversity"}
    names |= {"val/raw_grid", "val/ema_grid"}
    assert all(line.keys() == names | {"step"} for line in lines)
    assert 0 < lines[0]["train/d_real"] < 1 and 1 < lines[0]["train/discriminator_loss"] < 3
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["steps"] == 6 and summary["n_val"] == 8 and summary["collapsed_at_steps"]
    generator = networks.CSPupGenerator(32, 0.125, normalisation="batch")
    assert summary["generator_parameters"] == parameters(generator)
    assert {path.name for path in (trained / "samples").iterdir()} == {
        f"{version}-{step:06d}.png" for version in ("raw", "ema") for step in (2, 4, 6)
    }
    assert imageio.imread(trained / "training.png").shape[0] > 300 and list((trained / "tb").iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        *({"loss": loss} for loss in train_gan.GENERATOR_LOSSES),
        {"discriminator_normalisation": "spectral", "loss": "hinge"},
        {"discriminator_normalisation": "none", "r1_gamma": 1.0, "penalty_every": 1},
        {"discriminator_normalisation": "none", "loss": "wasserstein", "gradient_penalty": 10.0},
        {"discriminator_steps": 2, "real_label": (0.9, 0.9), "weight_decay": 1e-3},
        {"generator": "dcgan", "output": "tanh", "precision": "bf16"},
        {"upsampling": "nearest", "activation": "leaky_relu", "augment": ("color",), "batch_size": 20},
        {
            "refined": True,
            "output": "tanh",
            "discriminator_width": 2.0,
            "minibatch_deviation": True,
            "batch_size": 6,
        },
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_every_option_trains_both_networks(pets, tmp_path, changes):
    one = config(pets, tmp_path, **changes)
    torch.manual_seed(0)
    fresh = {"generator": players.build_generator(one), "discriminator": players.build_discriminator(one)}
    run_dir = train_gan.main(one)
    state = parts(run_dir)
    for name, network in fresh.items():
        before = network.state_dict()
        for key, value in state[name].items():
            assert value.isfinite().all(), key
        names = [key for key, _ in network.named_parameters()]
        still = {key for key in names if torch.equal(before[key], state[name][key])}
        # a constant added to every logit cancels in hinge and Wasserstein losses
        assert still <= ({f"layers.{len(network.layers) - 1}.bias"} if name == "discriminator" else set())
    (line,) = logged(run_dir)
    batches = COUNTS["train"] // one.batch_size
    assert line["step"] == batches // one.discriminator_steps
    assert state["batches"]["position"] == line["step"] * one.discriminator_steps
    updates = {
        name: max(int(slot["step"]) for slot in state[name]["state"].values())
        for name in ("for_generator", "for_discriminator")
    }
    assert updates["for_generator"] == line["step"]
    assert updates["for_discriminator"] == line["step"] * one.discriminator_steps


def test_a_small_gan_learns_the_colours_of_its_images(tmp_path):
    """Orange pictures, some dark, some bright: samples end up near them, and are not all alike."""
    shades = torch.linspace(0.5, 1, 160)[:, None] * torch.tensor([250.0, 130.0, 20.0])  # (N, 3)
    images = shades.round().byte()[:, :, None, None].expand(-1, -1, 32, 32)
    for split, some in (("train", images), ("val", images[::8])):
        for i, image in enumerate(some):
            figures.save_png(tmp_path / "orange" / split / f"{i}.png", image)
    stable = {"discriminator_normalisation": "none", "r1_gamma": 5.0, "penalty_every": 1, "ema": 0.9}
    fast = {"lr_generator": 1e-3, "lr_discriminator": 1e-3, "beta1": 0.0, "beta2": 0.99}
    shown = {"normalisation": "batch", "output": "tanh", "measure_images": 20}
    one = config(tmp_path / "orange", tmp_path, epochs=4, batch_size=8, **stable, **fast, **shown)
    run_dir = train_gan.main(one)
    generator, _ = eval_gan.load_networks(one, run_dir)
    drawn = samples.decode(generator, samples.latents(64, generator.latent, seed=0)).float()
    error = (drawn.mean((0, 2, 3)) - images.float().mean((0, 2, 3))).abs()
    assert error.max() < 40  # grey levels; an untrained generator is 112 away in blue
    assert logged(run_dir)[-1]["val/ema_diversity"] > 0.1


# ---- resume and two processes


KILLED_IN_STEP_4 = """
import os, signal
from common import command_line
from hw2_gan import train_gan

calls, loss = [], train_gan.GENERATOR_LOSSES["non-saturating"]

def killing_loss(logits):
    calls.append(logits)
    if len(calls) == 4:  # between the updates of D and of G
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(logits)

train_gan.GENERATOR_LOSSES["non-saturating"] = killing_loss
command_line.run(train_gan.main, train_gan.Config)
"""


def test_killed_and_resumed_it_ends_with_the_same_bits(pets, trained, tmp_path):
    one = config(pets, tmp_path, **{**EVERYTHING, "checkpoint_seconds": 0})
    command = [sys.executable, "-c", KILLED_IN_STEP_4, *words(one)]
    done = subprocess.run(command, cwd=SCRIPTS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (run_dir,) = (tmp_path / "hw2").iterdir()
    assert checkpoints.read(run_dir / "checkpoints" / "last.pt")["step"] == 3
    resumed = command_line.parse(train_gan.Config, ["--resume", str(run_dir)])
    assert train_gan.main(resumed) == run_dir
    killed, whole = parts(run_dir), parts(trained)
    for name in ("generator", "discriminator", "ema"):
        assert all(torch.equal(killed[name][key], value) for key, value in whole[name].items())
    for name in ("for_generator", "for_discriminator"):
        for key, slots in whole[name]["state"].items():
            assert all(torch.equal(killed[name]["state"][key][slot], slots[slot]) for slot in slots)
    assert logged(run_dir) == logged(trained)


def test_two_processes_with_half_the_batch_follow_one_with_the_whole(pets, tmp_path):
    """20 steps, an epoch each, R1 included, without batch normalisation.

    Float32 sums in another order differ by 1e-7; unstable settings (large steps) would amplify even that."""
    stable = {"discriminator_normalisation": "none", "output": "tanh", "r1_gamma": 1.0, "penalty_every": 2}
    flags = {"epochs": 20, "batch_size": 96, "measure_images": 2, **stable}
    alone = train_gan.main(config(pets, tmp_path / "one", **flags))
    command = words(config(pets, tmp_path / "two", **flags))
    done = two_processes.start(SCRIPTS / "train_gan.py", *command)
    assert "batch normalisation" not in done.stderr and done.stdout.count("run directory") == 1
    (together,) = (tmp_path / "two" / "hw2").iterdir()
    assert len(logged(alone)) == 20
    for line, other in zip(logged(alone), logged(together), strict=True):
        for name, value in line.items():
            if name.startswith("train/"):
                assert other[name] == pytest.approx(value, rel=1e-4), (line["step"], name)


def test_batch_normalisation_on_two_processes_says_that_results_differ(capsys):
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        place = devices.Device(torch.device("cpu"), "fp32", 0, 2)
        for name, warned in (("3", True), ("5", False)):
            preset = dataclasses.replace(train_gan.Config(hypothesis=name).preset(), size=32, width=0.125)
            place.parallel(players.RealAndFake(players.build_discriminator(preset)))
            assert ("results differ from a single process" in capsys.readouterr().err) == warned
    finally:
        dist.destroy_process_group()


# ---- mistakes


def test_a_nan_stops_the_run_and_the_last_good_checkpoint_stays(pets, tmp_path, monkeypatch):
    """A loss of G that is finite with a gradient that is not: the root of 0, in step 3."""
    calls = []

    def loss(fake):
        calls.append(fake)
        return torch.sqrt(fake - fake.detach()) * fake if len(calls) == 3 else fake.square()

    monkeypatch.setitem(train_gan.GENERATOR_LOSSES, "non-saturating", loss)
    with pytest.raises(InputError, match=r"loss became nan at step 3; .* keeps last.pt, previous.pt; try"):
        train_gan.main(config(pets, tmp_path, epochs=2, checkpoint_seconds=0))
    (run_dir,) = (tmp_path / "hw2").iterdir()
    assert checkpoints.read(run_dir / "checkpoints" / "last.pt")["step"] == 2
    assert all(value.isfinite().all() for value in parts(run_dir)["generator"].values())
    monkeypatch.undo()
    train_gan.main(command_line.parse(train_gan.Config, ["--resume", str(run_dir)]))
    assert len(logged(run_dir)) == 2


def test_grey_and_odd_sized_pictures_are_brought_to_one_form(tmp_path):
    for split in ("train", "val"):
        for i in range(8):
            grey = torch.randint(256, (1, 20 + i, 50 - 3 * i), dtype=torch.uint8)
            figures.save_png(tmp_path / "grey" / split / f"{i}.png", grey)
    run_dir = train_gan.main(config(tmp_path / "grey", tmp_path, batch_size=4, width=0.0625))
    assert logged(run_dir)[-1]["step"] == 2


def test_a_mistake_on_the_command_line_is_one_line():
    command = [sys.executable, SCRIPTS / "train_gan.py", "--hypothesis", "99"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    known = "base, 0, 1, 2, 3, 4, 5, 6, 7"
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: --hypothesis 99: unknown; there are {known}")
    assert done.stderr.count("\n") == 1


def test_data_that_cannot_be_used(pets, tmp_path):
    with pytest.raises(InputError, match="--batch-size 48 --discriminator-steps 3: only 96 training images"):
        train_gan.main(config(pets, tmp_path, discriminator_steps=3))
    two = devices.Device(torch.device("cpu"), "fp32", 0, 2)
    with pytest.raises(InputError, match="--batch-size 9: cannot be shared by 2 processes"):
        Batches(gan_data.training_images(config(pets, tmp_path, batch_size=9)), 9, two)
    with pytest.raises(InputError, match="--data nowhere: neither a data set"):
        train_gan.main(config(Path("nowhere"), tmp_path))
    for i in range(6):
        for split in ("train", "val"):
            figures.save_png(tmp_path / "same" / split / f"{i}.png", torch.zeros(3, 9, 9, dtype=torch.uint8))
    with pytest.raises(InputError, match="6 validation images and no two that differ"):
        train_gan.main(config(tmp_path / "same", tmp_path, batch_size=2))
    assert not (tmp_path / "hw2").exists()  # all before a run directory is made


# ---- evaluation


def test_evaluation_measures_and_draws(trained, tmp_path):
    run_dir = eval_gan.main(eval_gan.Config(trained, frames=8, samples=20, device="cpu", outdir=tmp_path))
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["n_test"] == summary["n_generated"] == 20 and summary["weights"] == "ema"
    assert summary["metrics"].keys() == {
        "eval/diversity",
        "eval/grid",
        *(f"eval/d_{name}_mean_logit" for name in ("training", "test", "generated")),
    }
    assert all((run_dir / name).stat().st_size > 500 for name in summary["figures"])
    assert imageio.immeta(run_dir / "interpolation.gif")["loop"] == 0
    one = config(Path(), tmp_path, **EVERYTHING)
    raw, ema = (eval_gan.load_networks(one, trained, weights)[0] for weights in ("raw", "ema"))
    assert not torch.equal(raw.end[0].weight, ema.end[0].weight)
    with pytest.raises(InputError, match=r"best.pt: no such checkpoint"):
        eval_gan.load_networks(one, trained, checkpoint="best")
