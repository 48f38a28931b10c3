"""The lab's scripts: training and resuming, samples, interpolations, and what users get wrong."""

import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

from common import checkpoints, command_line, runs
from common.data import creatures
from common.errors import InputError, Stopped
from common.metrics import samples

import imageio.v3 as imageio
import pytest
import torch

from lab8_generative import (
    generate,
    interpolate,
    lab_images,
    reconstruction,
    train_autoencoder,
    train_gan,
    trained,
)

FOLDER = Path(__file__).resolve().parent.parent / "lab8_generative"
SMALL = {"width": 4, "latent": 6, "size": 48, "device": "cpu", "precision": "fp32", "checkpoint_seconds": 1e9}


@pytest.fixture(scope="module")
def sprites(tmp_path_factory) -> Path:
    """A folder of 70 pictures that are no squares, 2 of them transparent."""
    folder = tmp_path_factory.mktemp("data") / "sprites"
    images = creatures.draw_set("train", 48, 70).images
    for number, image in enumerate(images):
        picture = image.permute(1, 2, 0)[:, 4:-4]  # 48 x 40
        if number < 2:
            alpha = torch.full((48, 40, 1), 255 * number, dtype=torch.uint8)
            picture = torch.cat([picture, alpha], 2)
        (folder / "images").mkdir(parents=True, exist_ok=True)
        imageio.imwrite(folder / "images" / f"{number:04d}.png", picture.numpy())
    return folder


@pytest.fixture(scope="module")
def outdir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def vae_run(sprites, outdir) -> Path:
    flags = {**SMALL, "data": str(sprites), "batch_size": 8, "outdir": outdir}
    return train_autoencoder.main(train_autoencoder.Config(model="vae", epochs=3, mirror=True, **flags))


@pytest.fixture(scope="module")
def gan_run(sprites, outdir) -> Path:
    return train_gan.main(gan_config(sprites, outdir))


def gan_config(sprites: Path, outdir: Path, **more) -> train_gan.Config:
    flags = {**SMALL, "data": str(sprites), "batch_size": 8, "outdir": outdir, "ema": 0.5}
    return train_gan.Config(**{**flags, "steps": 6, "measure_every": 3, "penalty_every": 2, **more})


def summary(run_dir: Path) -> dict:
    return json.loads((run_dir / "summary.json").read_text())


# ---- images


def test_pictures_of_a_folder_are_padded_with_white_and_split_by_name(sprites):
    images = lab_images.load_split(str(sprites), "all", 48)
    assert images.shape == (3, 48, 48) and len(images) == 70
    assert (images.images[..., :4] == 255).all() and (images.images[..., -4:] == 255).all()
    assert (images.images[0] == 255).all()  # entirely transparent
    parts = [lab_images.load_split(str(sprites), split, 48).file_names for split in ("train", "val", "test")]
    assert sorted(sum(parts, ())) == sorted(images.file_names)


# ---- training


def test_a_vae_leaves_numbers_pictures_and_a_model(vae_run):
    known = summary(vae_run)
    assert known["metrics"].keys() >= {"val/loss", "val/error", "val/mse", "val/kl_nats", "epoch"}
    assert all((vae_run / name).stat().st_size > 500 for name in known["figures"])
    assert list((vae_run / "samples").glob("reconstructions-*.png")) and list((vae_run / "tb").iterdir())
    lines = runs.read_metrics(vae_run)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert known["metrics"]["val/loss"] == min(line["val/loss"] for line in lines)


def test_a_gan_leaves_numbers_pictures_and_a_model(gan_run):
    known = summary(gan_run)
    lines = runs.read_metrics(gan_run)
    assert [line["step"] for line in lines] == [3, 6]
    name = f"val/ema_fd_creatures_{known['n_val']}"
    assert known["metrics"][name] == min(line[name] for line in lines)
    assert "val/overfitting" in lines[0] and 0 < lines[0]["train/d_real"] < 1
    assert all((gan_run / name).stat().st_size > 500 for name in known["figures"])


def stopping_at(step: int):
    def save_if_due(saver, now, loss):
        if now == step:
            saver.save(now)
            raise Stopped(15, "stopped")

    return save_if_due


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_stopped_and_resumed_it_ends_with_the_same_bits(kind, request, sprites, tmp_path, monkeypatch):
    whole = request.getfixturevalue(f"{kind}_run")
    script = train_gan if kind == "gan" else train_autoencoder
    config = command_line.config_from_run(script.Config, whole)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "save_if_due", stopping_at(4))
        with pytest.raises(Stopped):
            script.main(type(config)(**{**vars(config), "outdir": tmp_path}))
    (run_dir,) = (tmp_path / "lab8").iterdir()
    script.main(type(config)(**{**vars(config), "outdir": tmp_path, "resume": run_dir}))
    one, two = (checkpoints.read(run / "checkpoints" / "last.pt")["parts"] for run in (run_dir, whole))
    for part in ("ema", "discriminator") if kind == "gan" else ("model",):
        assert all(torch.equal(one[part][name], two[part][name]) for name in one[part])
    strip = lambda run: [{k: v for k, v in line.items() if k != "seconds"} for line in runs.read_metrics(run)]
    assert strip(run_dir) == strip(whole)


def test_a_turning_validation_loss_is_announced_once(tmp_path, sprites):
    said = []
    run = runs.Run(tmp_path, train_gan.devices.Device(torch.device("cpu")))
    run.say = said.append
    for epoch in range(1, 16):
        run.log(epoch, {"epoch": epoch, "val/loss": abs(epoch - 3) + 1.0, "train/loss": 1 / epoch})
        train_autoencoder.warn_of_overfitting(run, epoch)
    run.close()
    (line,) = said
    assert "epoch 13: over-fitting" in line and "lowest at epoch 3" in line


def test_a_loss_that_is_no_number_stops_the_run(sprites, tmp_path, monkeypatch):
    broken = lambda images, others: (images - others).mean((1, 2, 3)) * math.nan
    monkeypatch.setattr(reconstruction, "error_of", lambda *_: broken)
    flags = {**SMALL, "data": str(sprites), "batch_size": 8, "outdir": tmp_path}
    with pytest.raises(InputError, match="loss became nan at step"):
        train_autoencoder.main(train_autoencoder.Config(epochs=1, **flags))


# ---- samples


def test_samples_of_an_encoder_come_from_the_prior_and_from_a_mixture(vae_run, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "FEWEST", 3)
    monkeypatch.setattr(samples.Reference, "estimate", first_digits)
    folder = generate.main(generate.Config(vae_run, count=12, outdir=tmp_path))
    known = summary(folder)
    N = known["n_real"]
    for source in ("prior", "mixture"):
        assert known["metrics"][f"eval/fd_creatures_{N}_{source}"] >= 0
        assert known["standard_errors"][f"eval/fd_creatures_{N}_{source}"] >= 0
    assert known["metrics"]["eval/mixture_components"] >= 1
    assert {"prior.png", "mixture.png", "neighbours-prior.png"} <= set(known["figures"])
    assert imageio.imread(folder / "prior.png").shape[:2] == (2 * 48 + 2, 10 * 50 - 2)


def first_digits(real, features):
    """A distance for fewer images than a jackknife takes."""
    return generate.Estimate(real.distance(features), 0.0, (len(features), real.count))


def test_samples_of_a_gan_repeat_with_their_seed(gan_run, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "FEWEST", 10_000)
    flags = {"count": 10, "real_images": 10_000, "outdir": tmp_path}
    draw = lambda seed: generate.main(generate.Config(gan_run, seed=seed, **flags))
    one, two, other = (imageio.imread(draw(seed) / "prior.png") for seed in (1, 1, 2))
    assert (one == two).all() and (one != other).any()


# ---- interpolation


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_interpolation_makes_a_looping_gif_and_a_strip(kind, request, tmp_path, capsys):
    run_dir = request.getfixturevalue(f"{kind}_run")
    config = interpolate.Config(
        run_dir, "0", "0007", split="train", frames=20, restarts=2, inversion_steps=3, outdir=tmp_path
    )
    names = trained.load(run_dir).images("train").file_names
    if kind == "vae":  # 0007 may have fallen into another split
        config = interpolate.Config(**{**vars(config), "second": Path(names[5]).name})
    else:
        config = interpolate.Config(**{**vars(config), "second": "5", "way": "spherical"})
    folder = interpolate.main(config)
    assert f"from {names[0]} to {names[5]} of the train split" in capsys.readouterr().out
    known = summary(folder)
    frames = imageio.imread(folder / "interpolation.gif")
    assert frames.shape[0] == 20 and frames.shape[1:3] == (96, 192)
    meta = imageio.immeta(folder / "interpolation.gif")
    assert meta["loop"] == 0 and meta["duration"] == 80
    metrics = known["metrics"]
    assert metrics["eval/largest_step"] >= 1 and metrics["eval/detour"] >= 0.99  # rounding to grey levels
    assert metrics["eval/largest_step"] == metrics[f"eval/{config.way}_largest_step"]
    assert (
        metrics["eval/mse_first"] > 0
        and 0 < metrics["eval/mse_of_mean_image"] < 0.25
        and (folder / "strip.png").stat().st_size > 1000
    )


# ---- mistakes: one line each


def start(script: str, *arguments) -> str:
    done = subprocess.run(
        [sys.executable, FOLDER / script, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_mistakes_on_the_command_line_are_one_line(gan_run, tmp_path):
    line = start("interpolate.py", gan_run, "0", "5000", "--outdir", tmp_path)
    assert "image 5000" in line and "0 to" in line
    line = start("train_gan.py", "--data", "nowhere", "--outdir", tmp_path)
    assert "--data nowhere: neither a data set" in line


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"frames": 19}, "--frames 19: must be greater than or equal to 20"),
        ({"frames": 51}, "--frames 51"),
        ({"frames": 21}, "even number"),
        ({"second": "0"}, "are the same one"),
        ({"second": "missing.png"}, "no file is called so"),
        ({"frame_ms": 5}, "--frame-ms 5"),
        ({"restarts": 0}, "--restarts 0"),
        ({"inversion_lr": math.nan}, "--inversion-lr nan"),
    ],
)
def test_interpolations_that_cannot_be(gan_run, tmp_path, flags, message):
    config = {"run_dir": gan_run, "first": "0", "second": "1", "outdir": tmp_path, **flags}
    with pytest.raises(InputError, match=message) as caught:
        interpolate.main(command_line.checked(interpolate.Config(**config)))
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"source": "mixture"}, "no encoder"),
        ({"count": 0}, "--count 0"),
        ({"trunc": 2.0}, "--trunc 2.0"),
        ({"real_images": 5}, "--real-images 5"),
    ],
)
def test_samples_that_cannot_be(gan_run, tmp_path, flags, message):
    with pytest.raises(InputError, match=message):
        generate.main(command_line.checked(generate.Config(gan_run, outdir=tmp_path, **flags)))


def test_runs_of_other_scripts_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        trained.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"arch": "mlp", "latent": 20}))
    with pytest.raises(InputError, match="not a run of the lab; give one that"):
        trained.load(tmp_path)


def test_few_images_are_warned_of_and_too_few_refused(sprites, tmp_path, capsys):
    lab_images.load_for_training(str(sprites), 48, 8, None)
    assert "the lab asks for 1,000" in capsys.readouterr().err
    with pytest.raises(InputError, match="make no batch of 64; collect about 1,000"):
        lab_images.load_for_training(str(sprites), 48, 64, None)


@pytest.mark.parametrize(
    ("script", "flags", "message"),
    [
        (train_gan, {"steps": 0}, "--steps 0"),
        (train_gan, {"ema": 1.0}, "--ema 1.0"),
        (train_gan, {"r1_gamma": -1.0}, "--r1-gamma -1.0"),
        (train_gan, {"r1_gamma": math.inf}, "--r1-gamma inf"),
        (train_gan, {"batch_size": 1}, "--batch-size 1"),
        (train_gan, {"size": 50}, "--size 50: the networks draw 48 or 64"),
        (train_gan, {"seed": 2**64}, "--seed 18446744073709551616"),
        (train_gan, {"data": ""}, "--data : name an image set or a folder"),
        (train_autoencoder, {"lr": 0.0}, "--lr 0.0"),
        (train_autoencoder, {"lr": math.nan}, "--lr nan"),
        (train_autoencoder, {"beta": -1.0}, "--beta -1.0"),
        (train_autoencoder, {"latent": 0}, "--latent 0"),
    ],
)
def test_impossible_flags(script, flags, message):
    with pytest.raises(InputError, match=message):
        command_line.checked(script.Config(**flags))


SCRIPTS = {
    module.__name__.split(".")[1]: module for module in (generate, interpolate, train_autoencoder, train_gan)
}


def commands() -> list[str]:
    """Every command of the pages and docstrings that starts one of the four scripts anew."""
    texts = [(FOLDER / name).read_text(encoding="utf-8") for name in ("README.md", "README.ru.md")]
    texts += [module.__doc__ for module in SCRIPTS.values()]
    found = re.findall(
        rf"^python lab8_generative/((?:{'|'.join(SCRIPTS)})\.py.*?)\s*(?:#.*)?$", "\n".join(texts), re.M
    )
    return sorted({command for command in found if "--resume" not in command})


@pytest.mark.parametrize("command", commands())
def test_commands_of_the_pages_can_be_given(command):
    script, *flags = shlex.split(command)
    command_line.parse(SCRIPTS[script.removesuffix(".py")].Config, flags)


def test_grey_images_are_refused(real_data):
    with pytest.raises(InputError, match="images of 1x28x28; the lab's networks draw 3x28x28"):
        lab_images.load_split("mnist", "test", 28, real_data)
