"""Shipping a trained generator: its weights as they are, and a card with what its runs say."""

import dataclasses
import json
import re
import shutil

from common import command_line
from common.errors import InputError

import pytest
import torch

from hw3_stylegan_sampling import networks, project, train_encoder, train_stylegan, weights
from hw4_diffusion import models, train_ddpm, train_text_to_image
from pretrained import card_command, publish


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("shipped")
    config = train_ddpm.Config(
        train_images=40, steps=2, batch_size=8, channels=(8, 16), measure_every=2, measure_images=20, seed=5,
        device="cpu", data_dir=root / "data", outdir=root / "runs",
    )  # fmt: skip
    return train_ddpm.main(config)


@pytest.fixture
def evaluation(run_dir, tmp_path):
    folder = tmp_path / "0002-eval-ddpm-digits"
    folder.mkdir()
    contents = {
        "config": {"models": [str(run_dir)], "sampler": "heun", "steps": 7, "precision": "bf16"},
        "env": {"command": "python hw4_diffusion/eval_ddpm.py runs/hw4/0001"},
        "summary": {
            "metrics": {"eval/fd_digits_10k": 1.25, "eval/seconds_an_image": 0.5},
            "n_test": 10_000,
            "chosen_guidance": 1.5,
        },
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_the_card_says_how_the_weights_were_made_and_what_was_measured(run_dir, evaluation, tmp_path):
    path = publish.main(publish.Config("ddpm-digits", run_dir, evaluation=evaluation, outdir=tmp_path))
    assert path.read_bytes() == (run_dir / "model.safetensors").read_bytes()
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert (
        "sample_ddpm.py --model digits" in card
        and "digits, drawn by common/data/digits.py: 40 images" in card
    )
    command = re.search(r"Command: `python hw4_diffusion/train_ddpm\.py (.*)`", card)[1]
    assert "--seed 5" in command and "--channels 8 16" in command and "--batch-size 8" in command
    assert str(tmp_path) not in card and "outdir" not in command and "device" not in command
    parameters = sum(weight.numel() for weight in models.read(path).network.parameters())
    assert "seed 5, 2 steps of 8 images" in card and f"{parameters:,} parameters in float16" in card
    assert "Drawn by heun in 7 steps with guidance 1.5, in bf16." in card
    assert "| eval/fd_digits_10k | 1.25 |" in card and "seconds" not in card and "10,000 test images" in card


def test_an_encoder_is_shipped_with_what_a_projection_measured(tmp_path):
    generator = networks.Generator(
        networks.Architecture(size=16, channels=(8, 8, 6), z_dim=6, w_dim=7, noise=False)
    ).requires_grad_(False)
    generator.estimate_w_mean(100)
    weights.save(tmp_path / "net.safetensors", generator, "a test")
    given = {"network": str(tmp_path / "net.safetensors"), "outdir": tmp_path / "runs", "device": "cpu"}
    trained = train_encoder.main(
        train_encoder.Config(**given, steps=2, batch_size=4, train_images=8, measure_images=4, likeness=0,
                             data_dir=tmp_path / "data")
    )  # fmt: skip
    measured = project.main(
        project.Config(**given, encoder=str(trained), seeds="0-1", how=("encoder", "encoder+w+"), steps=2)
    )
    encoder = publish.main(publish.Config("encoder-avatars", trained, evaluation=measured, outdir=tmp_path))
    assert encoder.read_bytes() == (trained / "encoder.safetensors").read_bytes()
    card = encoder.with_suffix(".md").read_text(encoding="utf-8")
    assert "`project.py --encoder avatars`" in card and "`stylegan-avatars.safetensors`" in card
    assert "| encoder_psnr_db |" in card and "| encoder_wplus_psnr_db |" in card and "2 test images" in card


def test_shipped_weights_are_the_averaged_ones(run_dir, evaluation, tmp_path):
    path = publish.main(publish.Config("ddpm-digits", run_dir, evaluation=evaluation, outdir=tmp_path))
    averaged, shipped = models.from_run(run_dir).network, models.read(path).network
    for one, other in zip(averaged.parameters(), shipped.parameters(), strict=True):
        assert torch.equal(one.half(), other.half())


def test_the_command_of_a_card_can_be_given_and_names_no_folder_of_the_machine():
    config = dataclasses.replace(
        train_ddpm.Config(), data="mnist", data_dir="somewhere", precision="bf16", channels=(8, 16),
        zero_terminal_snr=True, compile=True, device="cuda",
    )  # fmt: skip
    command = card_command.command_of("hw4_diffusion/train_ddpm.py", config)
    script, *flags = command.removeprefix("python ").split()
    given = command_line.parse(train_ddpm.Config, flags)
    same = {"data_dir": None, "compile": False, "device": "auto"}
    assert script == "hw4_diffusion/train_ddpm.py" and flags[-2:] == ["--data-dir", "DIR"]
    assert dataclasses.replace(given, data_dir=None) == dataclasses.replace(config, **same)
    unconditional = dataclasses.replace(train_stylegan.Config(), conditional=False)
    assert card_command.command_of("x.py", unconditional).endswith(" --no-conditional")
    stage = dataclasses.replace(train_text_to_image.Config(), autoencoder="/home/anna/runs/1")
    assert "--autoencoder RUN_DIR" in card_command.command_of("x.py", stage, autoencoder="RUN_DIR")
    assert publish.source(config).startswith("mnist, from its published files")


def test_what_cannot_be_shipped(run_dir, evaluation, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"no generator\.safetensors or model\.safetensors or encoder\.safetensors there"
    ):
        publish.main(
            publish.Config("ddpm-digits", tmp_path / "empty", evaluation=evaluation, outdir=tmp_path)
        )
    (evaluation / "config.json").write_text('{"models": ["runs/hw4/0077-ddpm-other"]}', encoding="utf-8")
    with pytest.raises(InputError, match=r"not an evaluation of"):
        publish.main(publish.Config("ddpm-digits", run_dir, evaluation=evaluation, outdir=tmp_path))
    own = dataclasses.replace(train_ddpm.Config(), data="my/photos")
    with pytest.raises(InputError, match=r"my/photos: only models of the course's image sets are shipped"):
        publish.source(own)
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize(
    "spoil, said",
    [
        (
            lambda run, evaluation: (run / "model.safetensors").write_bytes(b"cut"),
            "model.safetensors: not readable",
        ),
        (lambda run, evaluation: (evaluation / "config.json").unlink(), "config.json: no such file"),
        (lambda run, evaluation: (evaluation / "summary.json").write_text("{}"), "summary.json: no eval/"),
        (lambda run, evaluation: (run / "env.json").unlink(), "env.json: no such file"),
    ],
)
def test_without_a_card_nothing_is_shipped(run_dir, evaluation, tmp_path, spoil, said):
    """What was shipped before stays, and so does its card."""
    run = tmp_path / run_dir.name
    shutil.copytree(run_dir, run)
    for name in ("ddpm-digits.safetensors", "ddpm-digits.md"):
        (tmp_path / name).write_text("of last year")
    spoil(run, evaluation)
    with pytest.raises(InputError, match=said):
        publish.main(publish.Config("ddpm-digits", run, evaluation=evaluation, outdir=tmp_path))
    assert {path.read_text() for path in tmp_path.glob("ddpm-*")} == {"of last year"}


def test_the_name_is_one_that_scripts_look_for(run_dir, evaluation, tmp_path):
    with pytest.raises(InputError, match=r"^digits: scripts look for ddpm-\.\.\.; give a name"):
        publish.main(publish.Config("digits", run_dir, evaluation=evaluation, outdir=tmp_path))
