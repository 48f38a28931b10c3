"""The lab: networks, losses, training and resuming, samples, interpolations, and what users get wrong."""

import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import imageio.v3 as imageio
import pytest
import torch
from torch import nn

from common import checkpoints, command_line, runs
from common.data import ImageSet, creatures, to_model_range
from common.errors import InputError
from lab8_generative import (
    generate,
    interpolate,
    lab_images,
    lab_measures,
    networks,
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


# ---- networks and losses


@pytest.mark.parametrize("size", networks.SIZES)
def test_the_ways_up_and_down_fit_each_other(size):
    x = torch.rand(3, 3, size, size) * 2 - 1
    for kind in (networks.Autoencoder, networks.VAE):
        model = kind(size, 4, 5)
        images, kl = model(x)
        assert images.shape == x.shape and kl.shape == (3,) and model.encode(x).shape == (3, 5)
        assert images.abs().max() <= 1
    assert networks.Discriminator(size, 4)(x).shape == (3,)


def test_an_autoencoder_learns_one_batch_by_heart():
    torch.manual_seed(0)
    x = to_model_range(creatures.draw_set("train", 48, 4).images)
    model = networks.Autoencoder(48, 8, 8)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    first = None
    for _ in range(150):
        error = reconstruction.error("l1", x, model(x)[0]).mean()
        first = first or error.item()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert error.item() < 0.3 * first


def test_errors_of_known_images():
    black, half = -torch.ones(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)
    assert reconstruction.error("l1", black, half).tolist() == [0.5, 0.5]
    assert reconstruction.error("mse", black, half).tolist() == [0.25, 0.25]


def test_the_perceptual_error_is_zero_for_equal_images_and_sees_a_shift_of_the_outline():
    images = to_model_range(creatures.draw_set("val", 48, 3).images)
    perceptual = reconstruction.Perceptual()
    assert perceptual(images, images).abs().max() < 1e-6
    x = images.clone().requires_grad_()
    perceptual(images.roll(3, 3), x).sum().backward()
    assert x.grad.abs().sum((1, 2, 3)).min() > 0
    assert not any(p.requires_grad for p in perceptual.parameters())


@pytest.mark.parametrize(("loss", "share"), [("l1", 1.0), ("mse", 0.5), ("perceptual", 1.0)])
def test_nats_are_the_likelihood_at_the_best_scale_with_its_gradient(loss, share):
    errors = torch.tensor([0.1, 0.3, 0.2], dtype=torch.float64, requires_grad=True)
    value = reconstruction.nats(loss, errors, 100).mean()
    assert value.item() == pytest.approx(share * 100 * math.log(0.2))
    (gradient,) = torch.autograd.grad(value, errors)
    (expected,) = torch.autograd.grad(share * 100 * errors.mean().log(), errors)
    assert (gradient - expected).abs().max() < 1e-12


def test_overfitting_is_0_for_like_images_and_1_for_held_out_ones_judged_as_generated():
    judge = lambda images: images.flatten(1).mean(1)  # a discriminator that likes bright images
    train, fake = torch.ones(3, 3, 4, 4), -torch.ones(3, 3, 4, 4)
    assert train_gan.overfitting(judge, train, train, fake) == 0
    assert train_gan.overfitting(judge, train, fake, fake) == pytest.approx(1)
    assert train_gan.overfitting(judge, train, torch.zeros(3, 3, 4, 4), fake) == pytest.approx(0.5)


def test_the_penalty_joins_the_discriminators_loss_every_so_many_steps():
    class Linear(nn.Module):  # its gradient is its weight: R1 = |w|^2
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.full((3, 4, 5), 0.1))

        def forward(self, images):
            return (images * self.weight).flatten(1).sum(1)

    real, fake = torch.rand(3, 3, 4, 5), torch.rand(3, 3, 4, 5)
    gradients = []
    for step in (1, 2):
        judge = Linear()
        config = train_gan.Config(augment=(), r1_gamma=0.6, penalty_every=2)
        device = train_gan.devices.Device(torch.device("cpu"))
        train_gan.update_discriminator(config, judge, real, fake, step, device)
        gradients.append(judge.weight.grad)
    expected = 2 * 0.6 / 2 * 2 * 0.1  # every * gamma / 2 * d |w|^2 / d w
    assert (gradients[1] - gradients[0] - expected).abs().max() < 1e-6  # float32 sums


# ---- images


def test_pictures_of_a_folder_are_padded_with_white_and_split_by_name(sprites):
    images = lab_images.load_split(str(sprites), "all", 48)
    assert images.shape == (3, 48, 48) and len(images) == 70
    assert (images.images[..., :4] == 255).all() and (images.images[..., -4:] == 255).all()
    assert (images.images[0] == 255).all()  # entirely transparent
    parts = [lab_images.load_split(str(sprites), split, 48).file_names for split in ("train", "val", "test")]
    assert sorted(sum(parts, ())) == sorted(images.file_names)


def test_mirrored_images_come_after_the_others():
    images = creatures.draw_set("val", 48, 3)
    both = lab_images.with_mirrored(images)
    assert torch.equal(both.images[3:].flip(-1), images.images) and torch.equal(
        both.images[:3], images.images
    )
    assert both.labels.tolist() == images.labels.tolist() * 2


def test_images_are_found_by_number_and_by_name():
    images = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    named = ImageSet(
        images, "sprites", "train", "", file_names=("images/0025.png", "images/7.png", "a/x.png")
    )
    found = {
        wanted: lab_images.find_image(named, wanted) for wanted in ("0", "2", "7", "0025", "x", "a/x.png")
    }
    assert found == {"0": 0, "2": 2, "7": 1, "0025": 0, "x": 2, "a/x.png": 2}
    for wanted in ("-1", "99", "missing"):
        with pytest.raises(InputError, match="0 to 2") as caught:
            lab_images.find_image(named, wanted)
        assert wanted in str(caught.value) and "\n" not in str(caught.value)


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
            raise checkpoints.Stopped(15, "stopped")

    return save_if_due


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_stopped_and_resumed_it_ends_with_the_same_bits(kind, request, sprites, tmp_path, monkeypatch):
    whole = request.getfixturevalue(f"{kind}_run")
    script = train_gan if kind == "gan" else train_autoencoder
    config = command_line.config_from_run(script.Config, whole)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "save_if_due", stopping_at(4))
        with pytest.raises(checkpoints.Stopped):
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
    model, val = networks.Autoencoder(48, 4, 4), creatures.draw_set("val", 48, 8)
    for epoch in range(1, 16):
        run.log(epoch, {"epoch": epoch, "val/loss": abs(epoch - 3) + 1.0, "train/loss": 1 / epoch})
        train_autoencoder.watch(run, model, val, epoch, epoch, epochs=1000)
    run.close()
    (line,) = said
    assert "epoch 13: over-fitting" in line and "lowest at epoch 3" in line


def test_a_loss_that_is_no_number_stops_the_run(sprites, tmp_path, monkeypatch):
    broken = lambda *arguments: train_autoencoder.reconstruction.error("l1", *arguments) * math.nan
    monkeypatch.setattr(reconstruction, "measure", lambda *_: broken)
    flags = {**SMALL, "data": str(sprites), "batch_size": 8, "outdir": tmp_path}
    with pytest.raises(InputError, match="loss became nan at step"):
        train_autoencoder.main(train_autoencoder.Config(epochs=1, **flags))


# ---- samples


def test_samples_of_an_encoder_come_from_the_prior_and_from_a_mixture(vae_run, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "FEWEST", 3)
    monkeypatch.setattr(lab_measures.Reference, "estimate", first_digits)
    folder = generate.main(generate.Config(vae_run, count=12, outdir=tmp_path))
    known = summary(folder)
    N = known["n_real"]
    for source in ("prior", "mixture"):
        assert known["metrics"][f"eval/fd_creatures_{N}_{source}"] >= 0
        assert known["standard_errors"][f"eval/fd_creatures_{N}_{source}"] >= 0
    assert known["metrics"]["eval/mixture_components"] >= 1
    assert {"prior.png", "mixture.png", "neighbours-prior.png"} <= set(known["figures"])
    assert imageio.imread(folder / "prior.png").shape[:2] == (2 * 48 + 2, 10 * 50 - 2)


def first_digits(reference, images):
    """A distance for fewer images than a jackknife takes."""
    return generate.Estimate(reference.distance(images), 0.0, (len(images), reference.count))


def test_samples_of_a_gan_repeat_with_their_seed(gan_run, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "FEWEST", 10_000)
    flags = {"count": 10, "real_images": 10_000, "outdir": tmp_path}
    draw = lambda seed: generate.main(generate.Config(gan_run, seed=seed, **flags))
    one, two, other = (imageio.imread(draw(seed) / "prior.png") for seed in (1, 1, 2))
    assert (one == two).all() and (one != other).any()


def test_truncation_moves_latents_to_their_mean():
    z = torch.randn(50, 3)
    assert torch.equal(trained.truncated(z, 1.0), z.mean(0) + (z - z.mean(0)))
    assert trained.truncated(z, 0.0).std(0).max() == 0
    assert (trained.truncated(z, 0.5).var(0) / z.var(0) - 0.25).abs().max() < 1e-5


def test_the_nearest_image_of_a_training_image_is_itself():
    train = creatures.draw_set("train", 48, 30).images
    distance, row = generate.nearest(train[[7, 3]], train)
    assert row.tolist() == [7, 3] and distance.max() < 1e-3  # cdist by products of matrices
    grey = torch.full((1, 3, 48, 48), 100, dtype=torch.uint8)
    assert generate.nearest(grey, grey + 51)[0].item() == pytest.approx(0.2, abs=1e-4)


# ---- interpolation


def test_walks_begin_and_end_at_the_latents_and_the_arc_keeps_the_length():
    start, end = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    for way in ("linear", "spherical"):
        z = interpolate.walk(start, end, 5, way)
        assert (z[0] - start).abs().max() < 1e-6 and (z[-1] - end).abs().max() < 1e-6
    assert (z.norm(dim=1) - 3).abs().max() < 1e-5
    assert interpolate.walk(start, end, 5, "linear")[2].tolist() == [1.5, 1.5]


def test_smoothness_of_a_cross_fade_is_1_and_of_one_jump_the_number_of_steps():
    first = torch.zeros(3, 4, 5, dtype=torch.uint8)
    last = torch.full_like(first, 200)
    fade = interpolate.cross_fade(first, last, 11)
    assert interpolate.smoothness(fade) == pytest.approx({"eval/largest_step": 1, "eval/detour": 1})
    jump = torch.stack([first] * 6 + [last] * 5)
    assert interpolate.smoothness(jump) == pytest.approx({"eval/largest_step": 10, "eval/detour": 1})
    back = torch.stack([first, last, first, last])  # twice too far and home again
    assert interpolate.smoothness(back)["eval/detour"] == pytest.approx(3)
    with pytest.raises(InputError, match="look the same"):
        interpolate.smoothness(torch.stack([first] * 3))


def test_a_loop_shows_no_end_twice():
    assert interpolate.there_and_back(torch.arange(4)).tolist() == [0, 1, 2, 3, 2, 1]


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_interpolation_makes_a_looping_gif_and_a_strip(kind, request, tmp_path):
    run_dir = request.getfixturevalue(f"{kind}_run")
    config = interpolate.Config(
        run_dir, "0", "0007", split="train", frames=20, restarts=2, inversion_steps=3, outdir=tmp_path
    )
    if kind == "vae":  # 0007 may have fallen into another split
        names = trained.load(run_dir).images("train").file_names
        config = interpolate.Config(**{**vars(config), "second": Path(names[5]).name})
    else:
        config = interpolate.Config(**{**vars(config), "second": "5", "way": "spherical"})
    folder = interpolate.main(config)
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


def test_inversion_finds_the_image_of_a_known_latent():
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(2, 3 * 48 * 48), nn.Unflatten(1, (3, 48, 48)), nn.Tanh())
    true = torch.tensor([[1.0, -0.5], [-0.7, 0.4]])
    images = lab_measures.decode(decoder, true)
    generator = torch.Generator().manual_seed(0)
    z, errors = trained.invert(decoder, images, 2, steps=60, restarts=6, lr=0.1, generator=generator)
    away = reconstruction.error("mse", to_model_range(images), to_model_range(images).flip(0))
    assert z.shape == (2, 2) and (errors < 0.05 * away).all()


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
    assert "image 5000" in line and "use 0 to" in line
    line = start("train_gan.py", "--data", "nowhere", "--outdir", tmp_path)
    assert "--data nowhere: neither a data set" in line


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"frames": 19}, "--frames 19: the lab asks for 20 to 50"),
        ({"frames": 51}, "--frames 51"),
        ({"frames": 21}, "even number"),
        ({"second": "0"}, "are the same one"),
        ({"second": "missing.png"}, "no file is called so"),
        ({"frame_ms": 5}, "--frame-ms 5"),
        ({"restarts": 0}, "--restarts 0"),
    ],
)
def test_interpolations_that_cannot_be(gan_run, tmp_path, flags, message):
    config = {"run_dir": gan_run, "first": "0", "second": "1", "outdir": tmp_path, **flags}
    with pytest.raises(InputError, match=message) as caught:
        interpolate.main(interpolate.Config(**config))
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
        generate.main(generate.Config(gan_run, outdir=tmp_path, **flags))


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
        (train_gan, {"batch_size": 1}, "--batch-size 1"),
        (train_gan, {"size": 50}, "--size 50: the networks draw 48 or 64"),
        (train_autoencoder, {"lr": 0.0}, "--lr 0.0"),
        (train_autoencoder, {"beta": -1.0}, "--beta -1.0"),
        (train_autoencoder, {"latent": 0}, "--latent 0"),
    ],
)
def test_impossible_flags(script, flags, message, tmp_path):
    with pytest.raises(InputError, match=message):
        script.main(script.Config(outdir=tmp_path, device="cpu", **flags))


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
    config = command_line.parse(SCRIPTS[script.removesuffix(".py")].Config, flags)
    SCRIPTS[script.removesuffix(".py")].check(config)


def test_grey_images_are_refused(real_data):
    with pytest.raises(InputError, match="images of 1x28x28; the lab's networks draw 3x28x28"):
        lab_images.load_split("mnist", "test", 28, real_data)
