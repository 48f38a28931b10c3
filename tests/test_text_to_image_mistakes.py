"""Mistakes in training text to image: each is one line, and nothing is lost."""

import dataclasses
import shutil
from pathlib import Path

from common import checkpoints, command_line
from common.errors import InputError

import pytest
from small_portraits import FIRST, SECOND, config, logged, second_stage

from hw4_diffusion import train_text_to_image as training


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    """Where drawn sets are kept between the tests of this file."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory) -> Path:
    """Folder of the run directories of both stages."""
    return training.main(
        config(data_dir, tmp_path_factory.mktemp("runs"), steps=3, autoencoder_steps=3)
    ).parent


@pytest.mark.parametrize(
    ("stage", "part"), [("autoencoder", "reconstruction_error"), ("denoiser", "squared_error")]
)
def test_a_loss_that_is_not_finite_stops_the_run(stage, part, trained, data_dir, tmp_path, monkeypatch):
    original, calls = getattr(training, part), []

    def broken(*inputs):
        calls.append(1)
        return original(*inputs) * (float("nan") if len(calls) == 3 else 1)

    monkeypatch.setattr(training, part, broken)
    changes = {"checkpoint_seconds": 0, "measure_every": 100}
    one = config(data_dir, tmp_path, **changes)
    if stage == "denoiser":
        one = second_stage(trained, data_dir, tmp_path, **changes)
    with pytest.raises(InputError, match=r"loss became nan at step 3; .* keeps last.pt"):
        training.main(one)
    (run_dir,) = (tmp_path / "hw4").iterdir()
    assert checkpoints.read(run_dir / "checkpoints" / "last.pt")["step"] == 2


@pytest.mark.parametrize(("changes", "message"), [
    ({"stage": "denoiser"}, "--stage denoiser: needs an autoencoder"),
    ({"autoencoder": Path("runs")}, "--autoencoder .*: --stage both trains one itself"),
    ({"stage": "denoiser", "autoencoder": Path("nowhere")}, "--autoencoder nowhere: no autoencoder/config"),
    ({"size": 36}, "--size 36: must be a multiple of 8"),
    ({"autoencoder_channels": (8, 12)}, "--autoencoder-channels 12: must be a multiple of 8"),
    ({"unet_channels": (24, 32)}, "--unet-channels 24: must be a multiple of 16"),
    ({"text_width": 18}, "--text-width 18: must be a multiple of 4"),
    ({"batch_size": 64}, "--batch-size 64: there are only 40 images"),
    ({"autoencoder_batch_size": 64}, "--autoencoder-batch-size 64: there are only 40 images"),
])  # fmt: skip
def test_mistakes_are_said_before_a_run_begins(changes, message, data_dir, tmp_path):
    with pytest.raises(InputError, match=message):
        training.main(config(data_dir, tmp_path, **changes))
    assert not (tmp_path / "hw4").exists()


def test_an_autoencoder_of_other_latents_or_damaged_is_refused(trained, data_dir, tmp_path):
    other = second_stage(trained, data_dir, tmp_path, latent_channels=8)
    with pytest.raises(InputError, match=r"--autoencoder: makes 4 x 8 x 8 latents .* ask for 8 x 8 x 8"):
        training.main(other)
    shutil.copytree(trained / FIRST / "autoencoder", tmp_path / "run" / "autoencoder")
    weights = tmp_path / "run" / "autoencoder" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="no autoencoder of diffusers"):
        training.main(dataclasses.replace(other, latent_channels=4, autoencoder=tmp_path / "run"))


def test_damaged_latents_are_named(trained, data_dir, tmp_path):
    shutil.copytree(trained / SECOND, tmp_path / SECOND)
    (tmp_path / SECOND / "latents.safetensors").write_bytes(b"no tensors")
    flags = command_line.parse(training.Config, ["--resume", str(tmp_path / SECOND), "--steps", "5"])
    with pytest.raises(InputError, match=r"latents.safetensors: damaged; delete it"):
        training.main(flags)
    (tmp_path / SECOND / "latents.safetensors").unlink()
    training.main(flags)
    assert logged(tmp_path / SECOND)[-1]["step"] == 5
