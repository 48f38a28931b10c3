"""Models on disk, what they say of noisy images, sample_ddpm.py, mistakes in one line."""

import dataclasses
import re
from pathlib import Path

from common import checkpoints, command_line, data, devices, runs
from common.averaged_weights import averaged
from common.errors import InputError

import imageio.v3 as imageio
import pytest
import torch
from small_diffusion import untrained

from hw4_diffusion import diffusion, models, sample_ddpm, samplers
from hw4_diffusion.schedule import sampling_times


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def file(tmp_path) -> Path:
    models.save(tmp_path / "net.safetensors", untrained(), "a test")
    return tmp_path / "net.safetensors"


# ---- what a model says


@pytest.mark.parametrize("prediction", diffusion.PREDICTIONS)
def test_the_denoiser_turns_outputs_into_images_and_noise(prediction):
    model, x, labels = untrained(prediction=prediction), torch.randn(3, 1, 16, 16), torch.tensor([4, 0, 9])
    image, noise = model.denoiser(labels, clip=False)(x, 13)
    output = model.network(x, torch.full((3,), 13 / 40), labels)
    expected = diffusion.image_and_noise(prediction, output, x, *model.schedule.pair(13))
    assert torch.equal(image, expected[0]) and torch.equal(noise, expected[1])
    assert (diffusion.noised(image, noise, *model.schedule.pair(13)) - x).abs().max() < 1e-5


def test_clipped_images_stay_in_their_range_and_their_noise_fits():
    model, x = untrained(), 3 * torch.randn(3, 1, 16, 16)
    image, noise = model.denoiser(torch.tensor([4, 0, 9]))(x, 13)
    loose, _ = model.denoiser(torch.tensor([4, 0, 9]), clip=False)(x, 13)
    assert torch.equal(image, loose.clamp(-1, 1)) and loose.abs().max() > 1
    assert (diffusion.noised(image, noise, *model.schedule.pair(13)) - x).abs().max() < 1e-5


def test_guidance_enlarges_what_the_class_changes():
    model, x, labels = untrained(), torch.randn(2, 1, 16, 16), torch.tensor([4, 7])
    say = lambda told, guidance=1.0: model.denoiser(told, guidance, clip=False)(x, 20)
    with_class, without = say(labels), say(torch.tensor([10, 10]))
    for got, one, other in zip(say(labels, 2.5), with_class, without):
        assert (got - (other + 2.5 * (one - other))).abs().max() < 1e-5
    for got, other in zip(say(None), without):  # no class: drawn from all of them
        assert torch.equal(got, other)
    plain = untrained(classes=0)
    assert plain.denoiser()(x, 20)[0].shape == x.shape


def test_images_do_not_depend_on_how_many_are_drawn_at_once(monkeypatch):
    model, noise, labels = untrained(), torch.randn(7, 1, 16, 16), torch.arange(7)
    times = sampling_times(model.schedule, 5)
    draw = lambda x, told: samplers.last(samplers.dpm_solver(model.denoiser(told), model.schedule, times, x))
    whole = models.in_chunks(draw, noise, labels)
    monkeypatch.setattr(models, "CHUNK", 3)
    parts = models.in_chunks(draw, noise, labels)
    assert whole.dtype == torch.uint8 and (whole.int() - parts.int()).abs().max() <= 1


# ---- models on disk


def test_a_kept_model_is_the_same_to_float16(file):
    model, kept = untrained(), models.load(file)
    assert kept.known == model.known and kept.classes == 10 and kept.image_shape == (1, 16, 16)
    for name, value in model.network.state_dict().items():
        assert torch.equal(kept.network.state_dict()[name], value.half().float())


def test_a_run_is_drawn_from_while_it_trains(tmp_path):
    """From the last checkpoint, and from the one before, by the averaged weights."""
    found = {}
    runs.write_json(tmp_path / "model.json", dataclasses.asdict(untrained().known))
    for name, seed in (("last", 1), ("previous", 2)):
        ema = averaged(untrained(seed).network, 0.9)
        found[name] = ema.module.state_dict()
        parts = {"ema": ema.state_dict(), "network": untrained(3).network.state_dict()}
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        checkpoints.write(tmp_path / "checkpoints" / f"{name}.pt", {"step": 1, "parts": parts})
    models.save(tmp_path / "model.safetensors", untrained(4), "the last measurement, which may be long ago")
    for name, state in found.items():
        model = models.load(tmp_path, name)
        assert all(torch.equal(model.network.state_dict()[key], value) for key, value in state.items())
        assert model.known == untrained().known


@pytest.mark.parametrize("training", [False, True])
def test_a_run_without_checkpoints_has_the_model_it_kept(training, tmp_path):
    """It came here without them, or was measured before the first was due."""
    if training:
        (tmp_path / "checkpoints").mkdir()
    runs.write_json(tmp_path / "model.json", dataclasses.asdict(untrained().known))
    models.save(tmp_path / "model.safetensors", untrained(4), "a test")
    found = models.load(tmp_path).network.state_dict()
    for key, value in untrained(4).network.state_dict().items():
        assert torch.equal(found[key], value.half().float())


def test_what_is_no_model(tmp_path, file):
    with pytest.raises(InputError, match=r"--model nothing: neither .* shipped"):
        models.load("nothing")
    (tmp_path / "other.safetensors").write_bytes(b"12345678")
    with pytest.raises(InputError, match=r"other.safetensors: holds no diffusion model"):
        models.load(tmp_path / "other.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"net.safetensors: holds no diffusion model"):
        models.load(file)
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match=r"model.json: no such file"):
        models.load(tmp_path / "run")
    runs.write_json(tmp_path / "run" / "model.json", {"schedule": "cosine"})
    with pytest.raises(InputError, match=r"model.json: not written by train_ddpm.py"):
        models.load(tmp_path / "run")


@pytest.mark.parametrize("name", models.names())
def test_a_shipped_model_is_small_and_draws(name):
    path = models.PRETRAINED / f"{models.PREFIX}{name}.safetensors"
    assert path.stat().st_size <= 4_000_000
    model = models.load(name)
    x0, _ = model.denoiser()(torch.randn(1, *model.image_shape), model.schedule.steps)
    assert x0.isfinite().all()


# ---- sample_ddpm.py


def run(file, tmp_path, *flags: str) -> None:
    """The script, in three steps."""
    words = ["--model", str(file), "--device", "cpu", "--outdir", str(tmp_path / "out"), "--steps", "3"]
    words += flags
    command_line.run(sample_ddpm.main, sample_ddpm.Config, words)


def kept_grids(monkeypatch) -> dict[str, torch.Tensor]:
    """The images of each figure instead of the figure, by its name."""
    grids = {}
    keep = lambda path, images, *_, **__: grids.update({path.stem: images})
    monkeypatch.setattr(sample_ddpm.figures, "save_grid", keep)
    return grids


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpm-solver++", "sde-dpm-solver++", "heun"])
def test_samples_of_classes(file, tmp_path, sampler, capsys):
    run(file, tmp_path, "--sampler", sampler, "--classes", "3", "7", "--count", "2", "--guidance", "2")
    assert "samples.png" in capsys.readouterr().out
    assert imageio.imread(tmp_path / "out" / "samples.png").ndim == 3


def test_bfloat16_draws_nearly_the_same(file, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda: True)
    grids, drawn = kept_grids(monkeypatch), {}
    for precision in ("fp32", "bf16"):
        run(file, tmp_path, "--precision", precision)
        drawn[precision] = grids["samples"].float()
    assert 0 < (drawn["fp32"] - drawn["bf16"]).abs().mean() < 3


def test_the_same_seed_draws_the_same(file, tmp_path):
    found = []
    for seed in ("0", "0", "1"):
        run(file, tmp_path, "--sampler", "ddim", "--eta", "1", "--count", "2", "--seed", seed)
        found.append((tmp_path / "out" / "samples.png").read_bytes())
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(("show", "frames"), [("process", 3 + 1 + 10), ("interpolation", 17 + 15)])
def test_ways_are_strips_and_gifs(file, tmp_path, show, frames):
    run(file, tmp_path, "--show", show, "--classes", "3", "7")
    assert (tmp_path / "out" / f"{show}.png").is_file()
    assert len(imageio.imread(tmp_path / "out" / f"{show}.gif", index=None)) == frames


def test_a_process_begins_with_noise_and_ends_with_the_sample(file, tmp_path, monkeypatch):
    grids = kept_grids(monkeypatch)
    run(file, tmp_path, "--show", "process", "--classes", "3", "7")
    run(file, tmp_path, "--show", "samples", "--classes", "3", "7", "--count", "1")
    rows = grids["process"].unflatten(0, (2, 4))
    torch.manual_seed(0)
    assert (rows[:, 0].float() / 127.5 - 1 - torch.randn(2, 1, 16, 16).clamp(-1, 1)).abs().max() < 0.01
    assert (rows[:, -1].int() - grids["samples"].int()).abs().max() <= 1


def test_an_interpolation_ends_where_its_noises_are_drawn(file, tmp_path, monkeypatch):
    grids = kept_grids(monkeypatch)
    run(file, tmp_path, "--show", "interpolation", "--classes", "3", "7")
    torch.manual_seed(0)
    noise = torch.randn(2, 2, 1, 16, 16)
    model, times = models.load(file), [40, 27, 13, 0]
    rows = grids["interpolation"].unflatten(0, (2, 9))
    for end, x in ((0, noise[0]), (-1, noise[1])):
        drawn = samplers.last(
            samplers.dpm_solver(model.denoiser(torch.tensor([3, 7])), model.schedule, times, x)
        )
        assert (rows[:, end].int() - data.to_uint8(drawn).int()).abs().max() <= 1


def test_images_are_encoded_and_decoded(file, tmp_path, data_dir, monkeypatch):
    grids, titles = {}, {}

    def keep(path, images, *_, title, **__):
        grids[path.stem], titles[path.stem] = images, title

    monkeypatch.setattr(sample_ddpm.figures, "save_grid", keep)
    for steps in ("10", "40"):
        run(file, tmp_path, "--show", "reconstruction", "--steps", steps, "--data-dir", str(data_dir))
        rows = grids["reconstruction"].float().unflatten(0, (3, 9)) / 255
        said = float(titles["reconstruction"].split("RMSE ")[1].split()[0])
        assert (rows[2] - rows[0]).square().mean().sqrt().item() == pytest.approx(said, abs=0.02)
    assert said < 0.1  # forty steps there and back


def test_the_schedule_is_drawn_with_its_end(file, tmp_path, monkeypatch):
    titles = []
    note = lambda figure, path: titles.append(figure.get_suptitle())
    monkeypatch.setattr(sample_ddpm.ddpm_figures.figures, "save_figure", note)
    run(file, tmp_path, "--show", "schedule")
    models.save(tmp_path / "zero.safetensors", untrained(zero_terminal_snr=True), "a test")
    run(tmp_path / "zero.safetensors", tmp_path, "--show", "schedule")
    left = untrained().schedule.log_snr[-1].exp().item()
    assert titles == [f"cosine, T = 40: the SNR at the end is {left:.2g}",
                      "cosine, zero at the end, T = 40: the SNR at the end is 0"]  # fmt: skip


def test_what_is_known_is_kept_in_inpainting(file, tmp_path, data_dir, monkeypatch):
    grids = kept_grids(monkeypatch)
    run(
        file,
        tmp_path,
        "--show",
        "inpainting",
        "--repeats",
        "2",
        "--data-dir",
        str(data_dir),
        "--classes",
        "4",
    )
    rows = grids["inpainting"].unflatten(0, (5, 9))
    real = data.load("digits", "test", size=16, data_dir=data_dir)
    assert torch.equal(rows[0], real.images[(real.labels == 4).nonzero()[:9, 0]])
    for drawn in rows[2:]:
        assert torch.equal(drawn[:, :, :8], rows[0][:, :, :8])
        assert (drawn[:, :, 8:] != rows[0][:, :, 8:]).any()
    assert not torch.equal(rows[2], rows[3])


@pytest.mark.parametrize(("flags", "message"), [
    (["--steps", "41"], "--steps 41: .* 40 times"),
    (["--sampler", "euler"], "--sampler euler: .* --schedule flow"),
    (["--sampler", "heun", "--eta", "0.5"], "--eta 0.5: only --sampler ddim"),
    (["--classes", "3", "10"], "--classes 10: there are 10 classes: 0 0, 1 1"),
    (["--show", "interpolation", "--sampler", "ancestral"], "--show interpolation: needs a sampler"),
    (["--show", "interpolation", "--sampler", "sde-dpm-solver++"], "--show interpolation: needs a sampler"),
    (["--model", "runs/nothing"], "--model runs/nothing: neither a run directory"),
])  # fmt: skip
def test_mistakes_in_one_line(flags, message, file, tmp_path):
    with pytest.raises(SystemExit) as stop:
        run(file, tmp_path, *flags)
    assert re.match(f"error: {message}", str(stop.value)) and "\n" not in str(stop.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags", [["--guidance", "2"], ["--classes", "0"]])
def test_guidance_and_classes_of_a_model_without(flags, tmp_path):
    models.save(tmp_path / "plain.safetensors", untrained(classes=0), "a test")
    with pytest.raises(
        SystemExit, match=f"error: {flags[0]} {flags[1]}: this model was trained without classes"
    ):
        run(tmp_path / "plain.safetensors", tmp_path, *flags)
    run(tmp_path / "plain.safetensors", tmp_path, "--count", "3")


def test_guidance_of_a_model_that_always_knew_the_class(tmp_path):
    models.save(tmp_path / "told.safetensors", untrained(guidable=False), "a test")
    with pytest.raises(SystemExit, match=r"error: --guidance 2: this model was trained with --drop-class 0"):
        run(tmp_path / "told.safetensors", tmp_path, "--guidance", "2")
    run(tmp_path / "told.safetensors", tmp_path, "--classes", "0", "--count", "1")
