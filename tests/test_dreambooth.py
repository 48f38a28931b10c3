"""DreamBooth: two means in its loss, what trains, class images, exact resume after kill -9, a full disk."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

from common import checkpoints, command_line, devices
from common.data import ImageSet
from common.errors import InputError

import numpy as np
import pytest
import torch
from PIL import Image
from small_text_to_image import folder, pipeline, tuning

from hw4_diffusion import (
    class_images,
    drawing,
    dreambooth,
    instance_prompts,
    pipelines,
    small_pipeline,
    subjects,
)
from hw4_diffusion.numbered_checkpoints import NumberedCheckpoints

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return folder(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def of_class(tmp_path_factory) -> Path:
    """Six images of the class, drawn portraits of others."""
    place = tmp_path_factory.mktemp("class")
    from common import figures

    for i, image in enumerate(subjects.load("drawn2", 32).images[:6]):
        figures.save_png(place / f"{i}.png", image)
    return place


def config(model: str, outdir: Path, of_class: Path | None = None, **changes) -> dreambooth.Config:
    prior = {} if of_class is None else {
        "with_prior_preservation": True, "class_data_dir": of_class, "num_class_images": 6,
    }  # fmt: skip
    return dreambooth.Config(**tuning(model, outdir, **(prior | changes)))


def words(one: dreambooth.Config) -> list[str]:
    """A configuration as flags of the command line."""
    flags = []
    for field in dataclasses.fields(one):
        value = getattr(one, field.name)
        if isinstance(value, bool):
            flags += [f"--{'' if value else 'no-'}{field.name}"]
        elif value != field.default:
            flags += [f"--{field.name}", str(value)]
    return flags


def content(run_dir: Path, step: int = 6) -> dict:
    return checkpoints.read(run_dir / "checkpoints" / f"checkpoint-{step}.pt")["parts"]


def logged(run_dir: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def trained(model, of_class, tmp_path_factory) -> Path:
    return dreambooth.main(config(model, tmp_path_factory.mktemp("runs"), of_class, train_text_encoder=True))


# ---- the loss, and what it trains


def test_prior_preservation_is_a_second_mean_with_its_weight():
    errors = torch.tensor([1.0, 3.0, 10.0, 20.0])
    assert dreambooth.dreambooth_loss(errors, 0.5).item() == 2 + 0.5 * 15
    assert dreambooth.dreambooth_loss(errors, 0.0).item() == 2
    assert dreambooth.dreambooth_loss(errors, None).item() == 8.5


@pytest.mark.parametrize("captions", [True, False])
def test_a_batch_is_pictures_with_their_prompts_and_the_class_with_its_own(
    captions, model, of_class, tmp_path, monkeypatch
):
    seen = {}
    original, encode = dreambooth.NoisePredictor.forward, dreambooth.latents_of

    def spy(self, z_t, t, ids):
        seen["ids"] = ids
        return original(self, z_t, t, ids)

    def spy_images(vae, images, noise):
        seen["images"] = images
        return encode(vae, images, noise)

    monkeypatch.setattr(dreambooth.NoisePredictor, "forward", spy)
    monkeypatch.setattr(dreambooth, "latents_of", spy_images)
    one = config(model, tmp_path, of_class, max_train_steps=1, instance_captions=captions)
    run_dir = dreambooth.main(one)
    pipe = pipelines.load(model)
    subject, others = (subjects.load(name, 32) for name in ("drawn1", "drawn2"))
    own = instance_prompts.captions_of_drawn(subject, "sks")
    for i, (image, ids) in enumerate(zip(seen["images"], seen["ids"])):
        pictures = (subject if i < 4 else others).images.float() / 127.5 - 1
        difference, row = (pictures - image).abs().flatten(1).amax(1).min(0)
        assert difference < 1e-5
        said = one.class_prompt if i >= 4 else own[row] if captions else one.instance_prompt
        assert torch.equal(ids, pipelines.token_ids(pipe, [said])[0])
    line = logged(run_dir)[0]
    assert line["train/loss"] > 0 and line["train/class_loss"] > 0


def test_the_weight_reaches_the_gradient(model, of_class, tmp_path):
    one = config(model, tmp_path, of_class, max_train_steps=1)
    runs = [dreambooth.main(dataclasses.replace(one, prior_loss_weight=weight)) for weight in (0, 1, 100)]
    first, second, third = (logged(run_dir)[0]["train/gradient_norm"] for run_dir in runs)
    assert first != second and third > 10 * second


def test_the_class_keeps_nothing_to_the_subject_without_prior_preservation(model, tmp_path):
    run_dir = dreambooth.main(config(model, tmp_path, max_train_steps=1))
    assert "train/class_loss" not in logged(run_dir)[0]


def test_the_unet_trains_in_float32_and_the_text_encoder_only_when_asked(model, trained, tmp_path):
    weights, base = content(trained)["weights"], pipelines.load(model)
    for part, network in (("unet", base.unet), ("text_encoder", base.text_encoder)):
        moved = [
            not torch.equal(weights[f"{part}.{name}"], value) for name, value in network.named_parameters()
        ]
        assert all(moved) if part == "unet" else sum(moved) > 0.8 * len(moved)
    assert all(value.dtype == torch.float32 for value in weights.values())
    alone = content(dreambooth.main(config(model, tmp_path, mixed_precision="bf16")))["weights"]
    assert {name.split(".")[0] for name in alone} == {"unet"}
    assert all(value.dtype == torch.float32 for value in alone.values())


def test_what_is_left_is_a_pipeline_with_the_trained_weights(model, trained):
    kept, weights, base = (
        pipelines.load(str(trained / "pipeline")),
        content(trained)["weights"],
        pipelines.load(model),
    )
    for name, value in kept.unet.named_parameters():
        assert (value - weights[f"unet.{name}"]).abs().max() < 1e-3  # float16
    for name, value in kept.vae.named_parameters():
        assert (value - dict(base.vae.named_parameters())[name]).abs().max() < 1e-3
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["metrics"]["trained_parameters"] == sum(value.numel() for value in weights.values())
    assert summary["n_class_images"] == 6
    assert [path.name for path in (trained / "samples").iterdir()] == ["validation-000006.png"]


def test_it_learns_its_subject(tmp_path):
    """100 steps at an autoencoder whose latents are the pictures' alone: the loss falls far."""
    pipe = pipeline()
    with torch.no_grad():  # the encoder's Gaussian has no width
        pipe.vae.quant_conv.weight[4:] = 0
        pipe.vae.quant_conv.bias[4:] = -30
        images = subjects.load("drawn1", 32).images.float() / 127.5 - 1
        spread = pipe.vae.encode(images).latent_dist.mean.std().item()
    pipe.vae.register_to_config(scaling_factor=1 / spread)
    small_pipeline.save(pipe, tmp_path / "model")
    run_dir = dreambooth.main(config(str(tmp_path / "model"), tmp_path, max_train_steps=100,
                                     learning_rate=3e-3, checkpointing_steps=1000))  # fmt: skip
    losses = [line["train/loss"] for line in logged(run_dir)]
    assert losses[-1] < 0.75 * losses[0]


# ---- checkpoints


KILLED_IN_STEP_5 = """
import os, signal
from common import command_line
from hw4_diffusion import dreambooth

original, calls = dreambooth.dreambooth_loss, []

def killed(errors, weight):
    calls.append(1)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(errors, weight)

dreambooth.dreambooth_loss = killed
command_line.run(dreambooth.main, dreambooth.Config)
"""


def test_killed_and_resumed_it_ends_with_the_same_bits(model, of_class, trained, tmp_path):
    one = config(model, tmp_path, of_class, train_text_encoder=True)
    command = [sys.executable, "-c", KILLED_IN_STEP_5, *words(one)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (run_dir,) = (tmp_path / "hw4").iterdir()
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == [
        "checkpoint-2.pt", "checkpoint-4.pt"
    ]  # fmt: skip
    again = command_line.parse(dreambooth.Config, [*words(one), "--resume_from_checkpoint", "latest"])
    assert dreambooth.main(again) == run_dir
    killed, whole = content(run_dir), content(trained)
    assert all(torch.equal(killed["weights"][name], value) for name, value in whole["weights"].items())
    for key, slots in whole["optimizer"]["state"].items():
        assert all(torch.equal(killed["optimizer"]["state"][key][slot], slots[slot]) for slot in slots)
    assert logged(run_dir) == logged(trained)
    for part in ("unet", "text_encoder"):
        files = [next((place / "pipeline" / part).glob("*.safetensors")) for place in (run_dir, trained)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_the_oldest_checkpoints_go_and_any_can_be_gone_on_from(model, tmp_path):
    run_dir = dreambooth.main(config(model, tmp_path, checkpoints_total_limit=3))
    names = lambda: sorted(path.stem for path in (run_dir / "checkpoints").iterdir())
    assert names() == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    before = content(run_dir)["weights"]
    dreambooth.main(config(model, tmp_path, checkpoints_total_limit=2, resume=run_dir,
                           resume_from_checkpoint="checkpoint-2"))  # fmt: skip
    assert names() == ["checkpoint-4", "checkpoint-6"]
    assert all(torch.equal(value, before[name]) for name, value in content(run_dir)["weights"].items())
    kept = json.loads((run_dir / "config.json").read_text())
    assert kept["resume_from_checkpoint"] is None  # the next --resume goes on from the newest one
    with pytest.raises(InputError, match=r"no checkpoint-5 in .*; there: checkpoint-6, checkpoint-4"):
        dreambooth.main(config(model, tmp_path, resume=run_dir, resume_from_checkpoint="checkpoint-5"))


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(model, tmp_path, capsys):
    run_dir = dreambooth.main(config(model, tmp_path))
    before = content(run_dir)["weights"]
    newest = run_dir / "checkpoints" / "checkpoint-6.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    dreambooth.main(config(model, tmp_path, resume=run_dir))
    assert "checkpoint-6.pt: damaged checkpoint" in (said := capsys.readouterr().err)
    assert "checkpoint-4.pt is used instead" in said
    assert all(torch.equal(value, before[name]) for name, value in content(run_dir)["weights"].items())


def test_the_command_given_again_goes_on_and_another_one_does_not(model, tmp_path, capsys):
    first = config(model, tmp_path, resume_from_checkpoint="latest")
    run_dir = dreambooth.main(first)  # there was none: a new run
    assert "a new one begins" in capsys.readouterr().out
    longer = dataclasses.replace(first, max_train_steps=8)
    assert dreambooth.main(longer) == run_dir and content(run_dir, 8)
    with pytest.raises(InputError, match=r"--learning-rate: .*-drawn1 was started with 0.00025"):
        dreambooth.main(dataclasses.replace(longer, learning_rate=1e-3))


def test_a_full_disk_keeps_the_checkpoint_before(model, tmp_path, monkeypatch):
    real = torch.save

    def full(content, file):
        if content["step"] == 4:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        real(content, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match=r"checkpoint-4.pt: No space left on device; free some space"):
        dreambooth.main(config(model, tmp_path))
    (run_dir,) = (tmp_path / "hw4").iterdir()
    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == ["checkpoint-2.pt"]
    monkeypatch.undo()
    dreambooth.main(config(model, tmp_path, resume=run_dir))
    assert content(run_dir)


def test_a_loss_that_is_not_finite_stops_the_run(model, tmp_path, monkeypatch):
    calls, real = [], dreambooth.dreambooth_loss

    def loss(errors, weight):
        calls.append(1)
        return real(errors, weight) * (float("nan") if len(calls) == 4 else 1)

    monkeypatch.setattr(dreambooth, "dreambooth_loss", loss)
    with pytest.raises(InputError, match=r"loss became nan at step 4; .* keeps checkpoint-2.pt"):
        dreambooth.main(config(model, tmp_path))


# ---- class images


def test_class_images_are_counted_reused_and_drawn_where_some_are_missing(model, tmp_path, capsys):
    prior = {"with_prior_preservation": True, "sample_batch_size": 3, "max_train_steps": 1,
             "data_dir": tmp_path / "data", "train_batch_size": 2}  # fmt: skip
    dreambooth.main(config(model, tmp_path, num_class_images=4, **prior))
    assert "0 of 4 are in" in (said := capsys.readouterr().out) and "drawing 4" in said
    (place,) = (tmp_path / "data" / "class_images").iterdir()
    first = {path.name: path.read_bytes() for path in place.glob("*.png")}
    assert sorted(first) == [f"seed{i:06d}.png" for i in range(4)]
    dreambooth.main(config(model, tmp_path, num_class_images=4, **prior))
    assert "4 of" in (said := capsys.readouterr().out) and "are used again" in said
    dreambooth.main(config(model, tmp_path, num_class_images=6, **prior))
    assert "drawing 2" in capsys.readouterr().out
    assert len(list(place.glob("*.png"))) == 6
    assert all((place / name).read_bytes() == content for name, content in first.items())
    other = config(model, tmp_path, num_class_images=4, class_data_dir=place, class_prompt="a face", **prior)
    with pytest.raises(InputError, match=r"--class_data_dir .* with prompt 'a portrait of a person'"):
        dreambooth.main(other)


def test_what_a_file_manager_or_a_killed_run_left_is_no_class_image(tmp_path):
    for name in (".DS_Store", ".seed000000.png.7.partial"):
        (tmp_path / name).write_bytes(b"half")
    assert class_images._read(tmp_path, 16) == (None, ())


def test_how_deep_greys_of_the_class_are_read_is_said(tmp_path, capsys):
    levels = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    Image.fromarray((levels // 257).astype(np.uint8)).save(tmp_path / "plain.png")
    images, names = class_images._read(tmp_path, 16)
    assert names == ("deep.png", "plain.png") and torch.equal(*images)
    words = "1 of 2 images have 16 bits of grey from 0, black, to 65535, white"
    assert f"{tmp_path}: {words}" in capsys.readouterr().err


def test_a_users_copy_of_a_checkpoint_is_left_alone(tmp_path):
    for name in ("checkpoint-4", "checkpoint-12", "checkpoint-4 copy", "checkpoint-8-best"):
        (tmp_path / f"{name}.pt").touch()
    saver = NumberedCheckpoints(tmp_path, devices.Device(torch.device("cpu")), every_steps=1, limit=1)
    assert [path.stem for path in saver.found()] == ["checkpoint-12", "checkpoint-4"]


def test_blank_images_are_no_class_images(model, tmp_path, monkeypatch, capsys):
    drawn, real = [], drawing.draw

    def blackened(pipeline, prompts, seeds, **more):
        images = real(pipeline, prompts, seeds, **more).clone()
        for row, seed in enumerate(seeds):
            drawn.append(seed)
            if seed % 2 == 0:
                images[row] = 0
        return images

    monkeypatch.setattr(drawing, "draw", blackened)
    prior = {"with_prior_preservation": True, "num_class_images": 4, "max_train_steps": 1,
             "class_data_dir": tmp_path / "class"}  # fmt: skip
    dreambooth.main(config(model, tmp_path, **prior))
    names = sorted(path.name for path in (tmp_path / "class").glob("*.png"))
    assert names == ["seed000001.png", "seed000003.png", "seed000005.png", "seed000007.png"]
    assert "4 blank ones left out" in capsys.readouterr().out
    monkeypatch.setattr(drawing, "draw", lambda pipeline, prompts, seeds, **more: torch.zeros(
        len(seeds), 3, 32, 32, dtype=torch.uint8))  # fmt: skip
    with pytest.raises(InputError, match=r"--class_prompt .*: .* images are blank"):
        dreambooth.main(config(model, tmp_path, **(prior | {"num_class_images": 9})))


# ---- mistakes


@pytest.mark.parametrize(("changes", "message"), [
    ({"instance_prompt": "a portrait of a person"}, r"--instance_prompt .* the token sks"),
    ({"class_prompt": "a portrait of a sks person"}, r"--class_prompt .*: has the subject's token sks"),
    ({"class_prompt": "a portrait of a knight"}, r"--class_prompt .*: .* not know the word knight"),
    ({"num_class_images": 3}, "--num_class_images 3: fewer than --train_batch_size 4"),
    ({"pretrained_model_name_or_path": "nowhere"}, "nowhere: no such folder or file, and no hub id"),
])  # fmt: skip
def test_mistakes_are_said_before_a_run_begins(changes, message, model, of_class, tmp_path):
    one = dataclasses.replace(config(model, tmp_path, of_class), **changes)
    with pytest.raises(InputError, match=message):
        dreambooth.main(one)
    assert not (tmp_path / "hw4").exists()


def test_the_same_pictures_are_needed_to_go_on(model, tmp_path, monkeypatch):
    run_dir = dreambooth.main(config(model, tmp_path, max_train_steps=2))
    real = subjects.load

    def other(name: str, side: int, **more) -> ImageSet:
        return dataclasses.replace(real("drawn2", side, **more), name="drawn1")

    monkeypatch.setattr(subjects, "load", other)
    with pytest.raises(InputError, match="other images than the run began with"):
        dreambooth.main(config(model, tmp_path, resume=run_dir))
