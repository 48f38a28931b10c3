"""Training a diffusion model: its steps, what it leaves, resume after kill -9, two processes, mistakes."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

from common import checkpoints, command_line, devices, figures
from common.data import ImageSet
from common.errors import InputError

import pytest
import torch
import two_processes
from small_diffusion import config

from hw4_diffusion import eval_ddpm, models, samplers, schedule, train_ddpm
from hw4_diffusion.unet import UNet

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    """Where drawn sets are kept between the tests of this file."""
    return tmp_path_factory.mktemp("data")


def words(one: train_ddpm.Config) -> list[str]:
    """A configuration as flags of the command line."""
    flags = []
    for field in dataclasses.fields(one):
        value = getattr(one, field.name)
        if isinstance(value, bool):
            flags += [f"--{'' if value else 'no-'}{field.name}"]
        elif value != field.default:
            values = value if isinstance(value, tuple) else (value,)
            flags += [f"--{field.name.replace('_', '-')}", *map(str, values)]
    return flags


def logged(run_dir: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def parts(run_dir: Path) -> dict:
    return checkpoints.read(run_dir / "checkpoints" / "last.pt")["parts"]


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory) -> Path:
    return train_ddpm.main(config(data_dir, tmp_path_factory.mktemp("runs")))


# ---- the loop


def test_training_leaves_numbers_pictures_and_a_model(trained):
    assert trained.name == "0001-ddpm-digits" and trained.parent.name == "hw4"
    lines = logged(trained)
    assert [line["step"] for line in lines] == [3, 6]
    measured = {f"val/{name}" for name in ("loss", "diversity", "grid", "fd_digits_12")}
    expected = {"step", "train/loss", "train/gradient_norm"} | measured
    assert all(line.keys() == expected for line in lines)
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["steps"] == 6 and summary["n_val"] == 12
    assert sorted(path.name for path in (trained / "samples").iterdir()) == [
        "samples-000003.png", "samples-000006.png"
    ]  # fmt: skip
    kept, state = models.read(trained / "model.safetensors"), parts(trained)["ema"]
    for name, value in kept.network.state_dict().items():
        assert (value - state[f"module.{name}"]).abs().max() < 1e-3  # float16
    assert kept.known == models.load(trained).known
    assert kept.known.class_names == tuple("0123456789") and kept.known.train_images == 40


def test_the_average_is_what_is_measured_and_kept(trained):
    """The averaged weights differ from the last ones, and are those of from_run."""
    last, ema = parts(trained)["network"], models.load(trained).network.state_dict()
    assert any(not torch.equal(ema[name], value) for name, value in last.items())
    for name, value in parts(trained)["ema"].items():
        if name.startswith("module."):
            assert torch.equal(ema[name.removeprefix("module.")], value)


def test_every_parameter_is_trained(trained, data_dir, tmp_path):
    torch.manual_seed(0)
    before, after = UNet(models.load(trained).known.architecture).state_dict(), parts(trained)["network"]
    assert all(not torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("changes", [
    {"schedule": "flow", "prediction": "flow"}, {"prediction": "epsilon", "weight": "min-snr"},
    {"prediction": "x0", "zero_terminal_snr": True, "schedule": "linear"}, {"told": "nothing"},
    {"drop_class": 0.0},
])  # fmt: skip
def test_every_recipe_trains_and_is_drawn_from(changes, data_dir, tmp_path):
    run_dir = train_ddpm.main(config(data_dir, tmp_path, steps=2, measure_every=2, **changes))
    model = models.load(run_dir)
    assert model.known.guidable == ("drop_class" not in changes)
    assert model.schedule.ends_in_noise == ("flow" in changes.values() or "zero_terminal_snr" in changes)
    times = schedule.sampling_times(model.schedule, 4)
    noise = torch.randn(3, *model.image_shape)
    labels = torch.tensor([1, 2, 3]) if model.classes else None
    for name in samplers.NAMES:
        if name == "euler" and not model.schedule.is_straight:
            continue
        images = samplers.last(samplers.sample(name, model.denoiser(labels), model.schedule, times, noise))
        assert images.shape == noise.shape and images.isfinite().all()
        assert images.abs().max() <= 1 + 1e-6  # the last step is a clipped image


def test_the_loss_is_the_papers(data_dir, tmp_path, monkeypatch):
    """The first step's loss by hand: alpha x_0 + sigma eps in, v wanted, times and classes as drawn."""
    seen = {}
    forward = UNet.forward

    def spy(self, x, share, labels=None):
        if torch.is_grad_enabled() and not seen:
            seen.update(x=x, share=share, labels=labels)
        return forward(self, x, share, labels)

    monkeypatch.setattr(UNet, "forward", spy)
    one = config(data_dir, tmp_path, steps=1, measure_every=1, batch_size=40, drop_class=0.3)
    run_dir = train_ddpm.main(one)
    images = train_ddpm.load(one, "train", 40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    time, chance = torch.rand(40, 2, generator=generator).unbind(1)
    eps = torch.randn(40, 1, 16, 16, generator=generator)
    t = 1 + (20 * time).long()
    assert t.min() >= 1 and t.max() <= 20 and torch.equal(seen["share"], t / 20)
    path = schedule.build("cosine", 20)
    alpha, sigma = (values[t].float()[:, None, None, None] for values in (path.alpha, path.sigma))
    x0 = images.images[order].float() / 127.5 - 1
    assert (seen["x"] - alpha * x0 - sigma * eps).abs().max() < 1e-5
    assert torch.equal(seen["labels"], torch.where(chance < 0.3, 10, images.labels[order]))
    assert 0 < (seen["labels"] == 10).sum() < 40
    # the untrained network says 0: the loss is the mean square of what is wanted
    wanted = (alpha * eps - sigma * x0).square().mean().item()
    assert logged(run_dir)[0]["train/loss"] == pytest.approx(wanted, rel=1e-5)


def test_min_snr_weights_what_is_minimised_and_not_what_is_logged(data_dir, tmp_path):
    runs = [train_ddpm.main(config(data_dir, tmp_path, steps=2, measure_every=1, weight=weight))
            for weight in ("simple", "min-snr")]  # fmt: skip
    simple, weighted = map(logged, runs)
    assert simple[0]["train/loss"] == weighted[0]["train/loss"]
    assert simple[0]["train/gradient_norm"] != weighted[0]["train/gradient_norm"]


def test_the_learning_rate_rises_stays_and_falls():
    one = config(Path(), Path(), steps=2000, cooldown=0.25)
    steps = (1, 100, 200, 1000, 1500, 1750, 2000)
    rates = {step: train_ddpm.learning_rate(one, step) / 1e-3 for step in steps}
    assert rates == pytest.approx(
        {1: 0.005, 100: 0.5, 200: 1, 1000: 1, 1500: 1, 1750: 0.5, 2000: 0}, abs=1e-9
    )


def test_a_model_learns_the_images_there_are(tmp_path):
    """300 steps on two images, black and white halves: samples are nearer to the one of their class."""
    left = torch.full((1, 8, 8), -1.0)
    left[:, :, :4] = 1
    two = torch.stack([left, -left])
    images = ImageSet(((two + 1) * 127.5).byte().repeat(16, 1, 1, 1), "two", "train", "here",
                      labels=torch.arange(2).repeat(16), class_names=("left", "right"))  # fmt: skip
    train_ddpm_load = train_ddpm.load
    try:
        train_ddpm.load = lambda *_: images
        run_dir = train_ddpm.main(config(tmp_path, tmp_path, steps=300, batch_size=32, measure_every=300,
                                         learning_rate=5e-3, ema_decay=0.9, channels=(8, 16)))  # fmt: skip
    finally:
        train_ddpm.load = train_ddpm_load
    model, labels = models.load(run_dir), torch.arange(2).repeat(8)
    noise, times = torch.randn(16, 1, 8, 8), schedule.sampling_times(model.schedule, 10)
    for name in ("ancestral", "ddim", "dpm-solver++", "sde-dpm-solver++", "heun"):
        drawn = samplers.last(samplers.sample(name, model.denoiser(labels), model.schedule, times, noise))
        assert (drawn - two[labels]).square().mean().sqrt() < 0.25, name


def test_an_evaluation_shows_what_each_hour_gave(trained, data_dir, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(eval_ddpm.ddpm_figures.figures, "save_figure",
                        lambda figure, path: seen.update({path.stem: figure}))  # fmt: skip
    eval_ddpm.main(eval_ddpm.Config(
        (str(trained),), steps=2, samples=20, curve_samples=0, bound_images=0, device="cpu",
        data_dir=data_dir, outdir=tmp_path,
    ))  # fmt: skip
    curve, lines = seen["training"].axes[0].lines[0], logged(trained)
    assert curve.get_ydata().tolist() == [line["val/fd_digits_12"] for line in lines]
    assert f"{lines[-1]['val/fd_digits_12']:.3g} after 6" in seen["training"].get_suptitle()


# ---- killed, resumed, shared


KILLED_IN_STEP_5 = """
import os, signal, sys
from common import command_line
from hw4_diffusion import train_ddpm

original = train_ddpm.learning_rate

def killed(config, step):
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(config, step)

train_ddpm.learning_rate = killed
command_line.run(train_ddpm.main, train_ddpm.Config)
"""


def test_killed_and_resumed_it_ends_with_the_same_bits(data_dir, trained, tmp_path):
    command = [
        sys.executable,
        "-c",
        KILLED_IN_STEP_5,
        *words(config(data_dir, tmp_path, checkpoint_seconds=0)),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (run_dir,) = (tmp_path / "hw4").iterdir()
    assert checkpoints.read(run_dir / "checkpoints" / "last.pt")["step"] == 4
    assert models.load(run_dir).known.class_names  # it can be drawn from
    train_ddpm.main(command_line.parse(train_ddpm.Config, ["--resume", str(run_dir)]))
    killed, whole = parts(run_dir), parts(trained)
    for name in ("network", "ema"):
        assert all(torch.equal(killed[name][key], value) for key, value in whole[name].items())
    for key, slots in whole["optimizer"]["state"].items():
        assert all(torch.equal(killed["optimizer"]["state"][key][slot], slots[slot]) for slot in slots)
    assert logged(run_dir) == logged(trained)


def test_two_processes_with_half_the_batch_follow_one_with_the_whole(data_dir, tmp_path):
    flags = lambda outdir: words(config(data_dir, outdir, measure_every=1))
    script = "hw4_diffusion/train_ddpm.py"
    alone, together = two_processes.logs_alone_and_together(script, flags, tmp_path)
    assert len(alone) == 6
    for line, other in zip(alone, together):
        for name in ("train/loss", "train/gradient_norm", "val/loss"):
            assert other[name] == pytest.approx(line[name], rel=1e-3), (line["step"], name)


def test_bf16_follows_fp32(data_dir, trained, tmp_path):
    run_dir = train_ddpm.main(config(data_dir, tmp_path, precision="bf16"))
    assert logged(run_dir)[-1]["train/loss"] == pytest.approx(logged(trained)[-1]["train/loss"], rel=0.02)
    assert all(value.dtype == torch.float32 for value in parts(run_dir)["network"].values())


# ---- other sets


def test_a_compiled_network_takes_every_step_and_the_plain_one_draws(
    data_dir, trained, tmp_path, monkeypatch
):
    """torch.compile itself takes a minute on a CPU; tests/test_cuda.py lets it work."""
    calls = []

    class Compiled(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, *inputs):
            calls.append(self.training)
            return self.network(*inputs)

    monkeypatch.setattr(devices.Device, "compiled", lambda device, network: Compiled(network))
    run_dir = train_ddpm.main(config(data_dir, tmp_path, compile=True))
    assert len(calls) == 6
    one, other = (models.from_run(folder).network.state_dict() for folder in (run_dir, trained))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    longer = ["--resume", str(run_dir), "--no-compile", "--steps", "8"]
    command_line.run(train_ddpm.main, train_ddpm.Config, longer)
    assert len(calls) == 6 and checkpoints.read(run_dir / "checkpoints" / "last.pt")["step"] == 8


def test_what_torch_compiled_is_used(monkeypatch):
    monkeypatch.setattr(
        torch, "compile", lambda one: one if not isinstance(one, torch.nn.Module) else "faster"
    )
    assert devices.Device(torch.device("cpu")).compiled(torch.nn.Linear(1, 1)) == "faster"


def test_a_machine_that_cannot_compile_says_so_before_a_run_begins(data_dir, tmp_path, monkeypatch):
    def no_compiler(function):
        def call(x):
            raise RuntimeError("No working C++ compiler found\nmore of it")

        return call

    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.raises(InputError, match=r"^--compile: No working C\+\+ compiler found; install .*out$"):
        train_ddpm.main(config(data_dir, tmp_path, compile=True))
    assert not (tmp_path / "hw4").exists()


def test_an_attribute_can_be_the_class(data_dir, tmp_path):
    one = config(data_dir, tmp_path, data="avatars", told="hair", size=32, steps=1, measure_every=1,
                 channels=(8, 8, 8), train_images=16, batch_size=4)  # fmt: skip
    model = models.load(train_ddpm.main(one))
    assert model.image_shape == (3, 32, 32) and "long straight" in model.known.class_names
    with pytest.raises(InputError, match=r"--told eyes: .* hair"):
        train_ddpm.main(dataclasses.replace(one, told="eyes"))


def test_a_folder_has_no_classes(tmp_path):
    for i in range(24):
        figures.save_png(tmp_path / "pets" / f"{i}.png", torch.full((3, 16, 16), 10 * i, dtype=torch.uint8))
    one = config(tmp_path, tmp_path, data=str(tmp_path / "pets"), size=16, steps=1, measure_every=1,
                 measure_images=2, batch_size=2)  # fmt: skip
    run_dir = train_ddpm.main(one)
    assert models.load(run_dir).classes == 0
    assert "val/diversity" in logged(run_dir)[0]


# ---- mistakes


def test_a_loss_that_is_not_finite_stops_the_run(data_dir, tmp_path, monkeypatch):
    calls = []

    def loss(output, wanted):
        calls.append(1)
        return (output - wanted).square().flatten(1).mean(1) * (float("nan") if len(calls) == 3 else 1)

    monkeypatch.setattr(train_ddpm, "squared_error", loss)
    with pytest.raises(InputError, match=r"loss became nan at step 3; .* keeps last.pt"):
        train_ddpm.main(config(data_dir, tmp_path, measure_every=100, checkpoint_seconds=0))
    (run_dir,) = (tmp_path / "hw4").iterdir()
    assert checkpoints.read(run_dir / "checkpoints" / "last.pt")["step"] == 2


@pytest.mark.parametrize(("changes", "message"), [
    ({"prediction": "epsilon", "schedule": "flow"}, "--prediction epsilon: with --schedule flow"),
    ({"prediction": "epsilon", "zero_terminal_snr": True}, "--prediction epsilon: with --zero-terminal-snr"),
    ({"size": 17}, "--size 17: .* multiple of 2"),
    ({"channels": (8, 12)}, "--channels 12"),
    ({"told": "colour"}, "--told colour: .* label"),
])  # fmt: skip
def test_mistakes_are_said_before_a_run_begins(changes, message, data_dir, tmp_path):
    with pytest.raises(InputError, match=message):
        train_ddpm.main(config(data_dir, tmp_path, **changes))
    assert not (tmp_path / "hw4").exists()
