"""Training text to image: the steps of both stages, what they leave, resume after kill -9, two processes."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from common import checkpoints, command_line

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from safetensors.torch import load_file
from small_portraits import FIRST, SECOND, config, logged, parts, second_stage, words
from two_processes import start

from hw4_diffusion import captioned_latents, small_pipeline
from hw4_diffusion import train_text_to_image as training
from hw4_diffusion.small_pipeline import Autoencoder, Denoiser

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    """Where drawn sets are kept between the tests of this file."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory) -> Path:
    """Folder of the run directories of both stages."""
    return training.main(config(data_dir, tmp_path_factory.mktemp("runs"))).parent


# ---- what is left


def test_both_stages_leave_numbers_pictures_and_folders(trained):
    assert sorted(path.name for path in trained.iterdir()) == [FIRST, SECOND]
    first, second = logged(trained / FIRST), logged(trained / SECOND)
    assert [line["step"] for line in first] == [line["step"] for line in second] == [3, 6]
    assert {
        "train/error",
        "train/nats",
        "val/psnr_db",
        "val/read_expression_percent",
        "val/fd_avatars_12",
    } < (first[0].keys())
    assert {
        "train/loss",
        "val/obeyed_expression_percent",
        "val/obeyed_attributes_percent",
        "val/fd_avatars_12",
    } < (second[0].keys())
    for name, run_dir in (("reconstructions", trained / FIRST), ("samples", trained / SECOND)):
        shown = sorted(path.name for path in (run_dir / "samples").iterdir())
        assert shown == [f"{name}-000003.png", f"{name}-000006.png"]
        summary = json.loads((run_dir / "summary.json").read_text())
        assert summary["steps"] == 6 and summary["n_val"] == 12 and summary["parameters"] > 1000


def test_the_averages_are_what_is_kept(trained):
    """Both folders hold the averaged weights, which are not the last ones."""
    ema, last = parts(trained / FIRST)["ema"], parts(trained / FIRST)["network"]
    kept = AutoencoderKL.from_pretrained(trained / FIRST / "autoencoder").state_dict()
    assert all(torch.equal(ema[f"module.both.{name}"], value) for name, value in kept.items())
    assert any(not torch.equal(last[f"both.{name}"], value) for name, value in kept.items())
    pipeline = StableDiffusionPipeline.from_pretrained(trained / SECOND / "pipeline")
    ema, last = parts(trained / SECOND)["ema"], parts(trained / SECOND)["network"]
    for name in ("unet", "text_encoder"):
        kept = getattr(pipeline, name).state_dict()
        assert all(
            torch.equal(ema[f"module.{name}.{key}"].half().float(), value) for key, value in kept.items()
        )
        assert any(
            not torch.equal(last[f"{name}.{key}"].half().float(), value) for key, value in kept.items()
        )


def test_every_parameter_is_trained(trained, data_dir):
    one = second_stage(trained, data_dir, Path())
    torch.manual_seed(0)
    before = Autoencoder(small_pipeline.build_autoencoder(one.description)).state_dict()
    after = parts(trained / FIRST)["network"]
    assert all(not torch.equal(value, after[name]) for name, value in before.items())
    torch.manual_seed(0)
    tokenizer = small_pipeline.build_tokenizer(one.description)
    autoencoder = small_pipeline.read_autoencoder(one.autoencoder)
    before = small_pipeline.build_denoiser(one.description, autoencoder, tokenizer).state_dict()
    after = parts(trained / SECOND)["network"]
    assert all(not torch.equal(value, after[name]) for name, value in before.items() if "ids" not in name)


def test_latents_are_means_and_the_pipeline_divides_by_what_training_multiplied_with(trained, data_dir):
    run_dir = trained / SECOND
    known = load_file(run_dir / "latents.safetensors")
    images = training.load(second_stage(trained, data_dir, Path()), "train", 40)
    autoencoder = small_pipeline.read_autoencoder(trained / FIRST)
    with torch.inference_mode():
        wanted = autoencoder.encode(images.images.float() / 127.5 - 1).latent_dist.mean
    assert (known["latents"] - wanted).abs().max() < 1e-5
    factor = StableDiffusionPipeline.from_pretrained(run_dir / "pipeline").vae.config.scaling_factor
    assert factor == pytest.approx(1 / wanted.std().item(), rel=1e-5) and factor != 1
    assert known["tokens"].shape == (3, 40, 48)
    assert len({tuple(row.tolist()) for row in known["tokens"][:, 0]}) == 3  # three wordings of one portrait


# ---- the steps


def test_a_step_of_the_autoencoder_is_the_papers(data_dir, tmp_path, monkeypatch):
    """Its first step by hand: mean + deviation * eps is decoded; the two parts of the loss."""
    seen = {}
    forward = Autoencoder.forward

    def spy(self, images, eps):
        if seen or not torch.is_grad_enabled():
            return forward(self, images, eps)
        decoded, parameters = forward(self, images, eps)
        mean, logvar = parameters.chunk(2, 1)
        wanted = self.both.decode(mean + (logvar / 2).exp() * eps).sample
        seen.update(images=images, decoded=decoded.detach(), mean=mean.detach(), logvar=logvar.detach(),
                    wrong=(wanted - decoded).abs().max().item())  # fmt: skip
        return decoded, parameters

    monkeypatch.setattr(Autoencoder, "forward", spy)
    one = config(
        data_dir, tmp_path, stage="autoencoder", autoencoder_steps=1, measure_every=1, edge_weight=0.5
    )
    line = logged(training.main(one))[0]
    assert seen["wrong"] < 1e-5
    wrong = (seen["decoded"] - seen["images"]).double()
    down, across = wrong[:, :, 1:] - wrong[:, :, :-1], wrong[..., 1:] - wrong[..., :-1]
    error = wrong.square().mean() + 0.5 * (down.square().mean() + across.square().mean())
    assert line["train/error"] == pytest.approx(error.item(), rel=1e-5)
    posterior = torch.distributions.Normal(seen["mean"], (seen["logvar"] / 2).exp())
    nats = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0, 1)).mean().item()
    assert line["train/nats"] == pytest.approx(nats, rel=1e-4, abs=1e-6)


def test_a_lost_mouth_costs_more_than_its_pixels():
    """A dark square of 4 x 4 that is left out, beside a faint error everywhere of the same mean square."""
    face = torch.zeros(2, 3, 32, 32)
    face[:, :, 10:14, 10:14] = -1
    lost, faint = torch.zeros_like(face), face + 4 / 32
    pixels = [training.reconstruction_error(face, other, 0.0) for other in (lost, faint)]
    assert torch.allclose(pixels[0], pixels[1]) and pixels[0].shape == (2,)
    edges = [training.reconstruction_error(face, other, 1.0) for other in (lost, faint)]
    assert (edges[0] - pixels[0]).allclose(torch.tensor(2 * 8 / (31 * 32)), rtol=1e-4)  # 8 edges a direction
    assert torch.allclose(edges[1], pixels[1], atol=1e-6)


def test_kl_weight_and_edge_weight_reach_the_gradient(data_dir, tmp_path):
    changes = {}, {"kl_weight": 1.0}, {"edge_weight": 0.0}
    steps = [logged(training.main(config(data_dir, tmp_path, stage="autoencoder", autoencoder_steps=2,
                                         measure_every=2, **change)))[0] for change in changes]  # fmt: skip
    gradients = [line["train/gradient_norm"] for line in steps]
    assert len(set(gradients)) == 3
    assert steps[1]["train/nats"] < steps[0]["train/nats"]


def test_a_step_of_the_denoiser_is_the_papers(trained, data_dir, tmp_path, monkeypatch):
    """Its first step by hand: scaled latents, the scheduler's noise, captions of the images or none, v."""
    seen = {}
    forward = Denoiser.forward

    def spy(self, x_t, t, tokens):
        output = forward(self, x_t, t, tokens)
        if torch.is_grad_enabled() and not seen:
            seen.update(x_t=x_t, t=t, tokens=tokens, output=output.detach())
        return output

    monkeypatch.setattr(Denoiser, "forward", spy)
    one = second_stage(trained, data_dir, tmp_path, steps=1, measure_every=1, batch_size=40, drop_caption=0.3)
    run_dir = training.main(one)
    known = load_file(run_dir / "latents.safetensors")
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    time, wording, chance = torch.rand(40, 3, generator=generator).unbind(1)
    eps = torch.randn(40, 4, 8, 8, generator=generator)
    t = (1000 * time).long()
    assert torch.equal(seen["t"], t)
    alpha_bar = small_pipeline.build_scheduler().alphas_cumprod[t][:, None, None, None]
    x0 = known["latents"][order] / known["latents"].std()
    assert (seen["x_t"] - alpha_bar.sqrt() * x0 - (1 - alpha_bar).sqrt() * eps).abs().max() < 1e-4
    v = alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x0
    wanted = (seen["output"] - v).square().mean().item()
    assert logged(run_dir)[0]["train/loss"] == pytest.approx(wanted, rel=1e-4)
    tokenizer = small_pipeline.build_tokenizer(one.description)
    empty = torch.tensor(tokenizer("", padding="max_length").input_ids)
    told = known["tokens"][(3 * wording).long(), order].long()
    assert torch.equal(seen["tokens"], torch.where(chance[:, None] < 0.3, empty, told))
    assert 4 <= (seen["tokens"] == empty).all(1).sum() <= 20


def test_captions_are_of_their_images_in_words_that_measurements_do_not_use(trained, data_dir):
    from common.data import avatar_captions

    images = training.load(second_stage(trained, data_dir, Path()), "train", 40)
    tokenizer = small_pipeline.build_tokenizer(config(data_dir, Path()).description)
    known = load_file(trained / SECOND / "latents.safetensors")
    for seed in range(3):
        texts = avatar_captions.varied(images.attributes, seed).texts
        assert torch.equal(known["tokens"][seed], captioned_latents.tokens_of(tokenizer, texts))
    assert torch.equal(known["empty"], captioned_latents.tokens_of(tokenizer, ("",))[0])


def test_the_learning_rate_rises_stays_and_falls(data_dir):
    one = config(data_dir, Path(), warm_up=100, cooldown=0.25)
    rates = {step: training.learning_rate(one, step, 2000) / 1e-3 for step in (1, 50, 100, 1500, 1750, 2000)}
    wanted = {1: 0.01, 50: 0.5, 100: 1, 1500: 1, 1750: 0.5, 2000: 0}
    assert rates == pytest.approx(wanted, abs=1e-9)


def test_bf16_follows_fp32(trained, data_dir, tmp_path):
    run_dir = training.main(config(data_dir, tmp_path, precision="bf16"))
    for name, key in ((FIRST, "train/error"), (SECOND, "train/loss")):
        both = [logged(folder / name)[-1][key] for folder in (run_dir.parent, trained)]
        assert both[0] == pytest.approx(both[1], rel=0.03)
    assert all(value.dtype == torch.float32 for value in parts(run_dir)["network"].values()
               if value.is_floating_point())  # fmt: skip


# ---- killed, resumed, shared


KILLED = """
import os, signal, sys
from common import command_line
from hw4_diffusion import train_text_to_image as training

stage, original = sys.argv.pop(1), training.learning_rate

def killed(config, step, steps):
    if step == 5 and steps == {"autoencoder": config.autoencoder_steps, "denoiser": config.steps}[stage]:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(config, step, steps)

training.learning_rate = killed
command_line.run(training.main, training.Config)
"""


def same_bits(one: Path, other: Path) -> None:
    """Two runs whose checkpoints and numbers are equal."""
    killed, whole = parts(one), parts(other)
    for name in ("network", "ema"):
        assert all(torch.equal(killed[name][key], value) for key, value in whole[name].items())
    for key, slots in whole["optimizer"]["state"].items():
        assert all(torch.equal(killed["optimizer"]["state"][key][slot], slots[slot]) for slot in slots)
    assert logged(one) == logged(other)


@pytest.mark.parametrize("stage", ["autoencoder", "denoiser"])
def test_killed_and_resumed_a_stage_ends_with_the_same_bits(stage, trained, data_dir, tmp_path):
    if stage == "autoencoder":
        one, name = config(data_dir, tmp_path, stage=stage, checkpoint_seconds=0), FIRST
    else:
        one, name = second_stage(trained, data_dir, tmp_path, checkpoint_seconds=0), SECOND
    command = [sys.executable, "-c", KILLED, stage, *words(one)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (run_dir,) = (tmp_path / "hw4").iterdir()
    assert checkpoints.read(run_dir / "checkpoints" / "last.pt")["step"] == 4
    training.main(command_line.parse(training.Config, ["--resume", str(run_dir)]))
    same_bits(run_dir, trained / name)


def test_a_resumed_first_stage_goes_on_to_the_second(trained, data_dir, tmp_path):
    """As a run of both stages that was stopped between them."""
    first = tmp_path / "hw4" / FIRST
    shutil.copytree(trained / FIRST, first)
    text = (first / "config.json").read_text().replace(str(trained.parent), str(tmp_path))
    (first / "config.json").write_text(text)
    last = training.main(command_line.parse(training.Config, ["--resume", str(first)]))
    assert last == tmp_path / "hw4" / SECOND
    same_bits(last, trained / SECOND)


def test_two_processes_with_half_the_batch_follow_one_with_the_whole(trained, data_dir, tmp_path):
    start("hw4_diffusion/train_text_to_image.py", *words(config(data_dir, tmp_path)))
    for name, keys in ((FIRST, ("train/error", "val/psnr_db")), (SECOND, ("train/loss",))):
        for line, other in zip(logged(trained / name), logged(tmp_path / "hw4" / name), strict=True):
            for key in keys:
                assert other[key] == pytest.approx(line[key], rel=1e-3), (line["step"], key)
