"""A model by name: folders, hub ids, single files, the layout of SD 1.5, and what is said of none."""

import json
import shutil
from pathlib import Path

from common import command_line
from common.errors import InputError

import pytest
import sd15_layout
import torch
from small_text_to_image import folder, pipeline, tuning

from hw4_diffusion import (
    compare,
    drawing,
    dreambooth,
    lora,
    pipelines,
    prompts,
    train_controlnet,
    train_lora,
    tuned,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return folder(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def sd15(tmp_path_factory) -> Path:
    """A folder of SD 1.5's layout, narrow."""
    place = tmp_path_factory.mktemp("models") / "sd15"
    sd15_layout.pipeline().save_pretrained(place)
    return place


# ---- Stable Diffusion 1.5's layout


def test_the_layout_of_sd15_is_fine_tuned_with_lora_and_compared(sd15, tmp_path):
    """64 pixels in place of 512: the commands, files and shapes are those of SD 1.5."""
    words = ["--pretrained_model_name_or_path", str(sd15), "--instance_prompt", "a photo of sks woman face",
             "--rank", "4", "--lora_layers", "attention", "--resolution", "64", "--max_train_steps", "2",
             "--num_inference_steps", "2", "--train_batch_size", "2", "--device", "cpu",
             "--outdir", str(tmp_path)]  # fmt: skip
    (run_dir,) = train_lora.main(command_line.parse(train_lora.Config, words))
    weights = tuned.LoRA(run_dir)
    with weights.inside(pipelines.load(str(sd15))) as changed:
        assert len(changed.unet.peft_config) == 1
        image = drawing.draw(
            changed, ["a photo of sks woman face"], [0], resolution=64, steps=2, guidance=7.5
        )
    assert image.shape == (1, 3, 64, 64)
    # 16 transformer blocks with two attentions of four projections each, as in SD 1.5
    from safetensors import safe_open

    with safe_open(run_dir / lora.FILE, framework="pt") as file:
        assert len(list(file.keys())) == 16 * 2 * 4 * 2


def test_the_layout_of_sd15_takes_dreambooth_and_controlnet(sd15, tmp_path):
    small = tuning(str(sd15), tmp_path, resolution=64, max_train_steps=1, train_batch_size=2)
    run_dir = dreambooth.main(dreambooth.Config(
        **small, instance_prompt="a photo of sks woman face", train_text_encoder=True,
        gradient_checkpointing=True,
    ))  # fmt: skip
    assert pipelines.load(str(run_dir / "pipeline")).unet.config.block_out_channels[0] == sd15_layout.WIDTH
    control = train_controlnet.main(train_controlnet.Config(
        **small, train_images=4, validation_images=2, data_dir=tmp_path / "data",
    ))  # fmt: skip
    run = compare.main(compare.Config(
        pretrained_model_name_or_path=str(sd15), unet=run_dir, controlnet=str(control), resolution=64,
        prompts=("a photo of sks woman face in snow",), class_prompt="a photo of woman face", seeds=1,
        class_images=0, num_inference_steps=1, subject="drawn1", identity=str(identity_net(tmp_path)),
        device="cpu", outdir=tmp_path, data_dir=tmp_path / "data",
    ))  # fmt: skip
    rows = json.loads((run / "summary.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["base", "base + ControlNet", "U-Net", "U-Net + ControlNet"]


def identity_net(place: Path) -> Path:
    from common.metrics import identity

    path = place / "identity.safetensors"
    identity.save(path, identity.IdentityNetwork(identity.Architecture()), 0.5)
    return path


def test_large_models_have_defaults_of_their_own(sd15, model, tmp_path):
    small = command_line.parse(dreambooth.Config, ["--pretrained_model_name_or_path", model])
    assert small.instance_prompt == "a portrait of a sks person" and small.resolution is None
    hub = ["--pretrained_model_name_or_path", "stable-diffusion-v1-5/stable-diffusion-v1-5"]
    large = command_line.parse(dreambooth.Config, hub)
    assert (large.instance_prompt, large.class_prompt) == (
        "a photo of sks woman face",
        "a photo of woman face",
    )
    assert large.resolution == 512 and large.learning_rate == 5e-6 and large.guidance_scale == 7.5
    mine = command_line.parse(dreambooth.Config, [*hub, "--learning_rate", "1e-6", "--vram", "12"])
    assert mine.learning_rate == 1e-6 and mine.optimizer == "adafactor" and mine.gradient_checkpointing


# ---- single files


def test_a_single_file_is_converted_once_and_has_the_same_weights(sd15, tmp_path, capsys):
    file = tmp_path / "from-a-site.safetensors"
    sd15_layout.single_file(sd15_layout.pipeline(), file)
    config = shutil.copytree(sd15, tmp_path / "from-a-site-config")
    for weights in config.rglob("*.safetensors"):
        weights.unlink()
    converted = pipelines.load(str(file))
    assert "converted once" in capsys.readouterr().out
    whole = pipelines.load(str(sd15))
    for part in ("unet", "vae", "text_encoder"):
        ours, theirs = (getattr(pipe, part).state_dict() for pipe in (converted, whole))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], value) for name, value in theirs.items()), part
    pipelines.load(str(file))
    assert "converted" not in capsys.readouterr().out


def test_a_file_that_is_no_checkpoint_is_named(tmp_path):
    bad = tmp_path / "model.safetensors"
    bad.write_bytes(b"no weights")
    shutil.copytree(folder_of_nothing(tmp_path), tmp_path / "model-config")
    with pytest.raises(InputError, match=r"model.safetensors: cannot be converted .* named model-config"):
        pipelines.load(str(bad))
    assert not list(tmp_path.glob(".model-diffusers*"))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"notes.txt: a file, but no .safetensors or .ckpt"):
        pipelines.load(str(tmp_path / "notes.txt"))


def folder_of_nothing(place: Path) -> Path:
    empty = place / "nothing"
    empty.mkdir()
    (empty / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return empty


# ---- mistakes


def test_a_name_that_is_nothing_is_said(tmp_path):
    with pytest.raises(
        InputError, match=r"--pretrained_model_name_or_path .*nowhere: no such folder or file"
    ):
        pipelines.load(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no model_index.json there"):
        pipelines.load(str(tmp_path / "empty"))


def test_a_folder_of_another_pipeline_is_said(model, tmp_path):
    other = shutil.copytree(model, tmp_path / "other")
    index = json.loads((other / "model_index.json").read_text())
    (other / "model_index.json").write_text(json.dumps(index | {"_class_name": "StableDiffusionXLPipeline"}))
    with pytest.raises(InputError, match="a StableDiffusionXLPipeline; the fine-tunings here are of a"):
        pipelines.load(str(other))
    (other / "model_index.json").write_text("{")
    with pytest.raises(InputError, match=r"model_index.json: cannot be read"):
        pipelines.load(str(other))


@pytest.mark.parametrize("damage", ["missing", "cut", "another"])
def test_a_damaged_part_is_said(damage, model, tmp_path):
    broken = shutil.copytree(model, tmp_path / "broken")
    (weights,) = (broken / "unet").glob("*.safetensors")
    if damage == "missing":
        weights.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:5000])
    else:  # diffusers alone would leave the missing weights without values, and say nothing
        pipe = pipeline()
        lora.insert(pipe.unet, 1, 1)
        pipe.unet.save_pretrained(broken / "unet")
    with pytest.raises(InputError, match=r"broken: a part of the pipeline is missing or damaged"):
        pipelines.load(str(broken))


def test_a_hub_id_offline_is_said(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError, match=r"some-one/some-model: HF_HUB_OFFLINE is set and the model is not in"
    ):
        pipelines.load("some-one/some-model")


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch):
    from diffusers import StableDiffusionPipeline

    def unreachable(*_, **__):
        raise OSError("We couldn't connect to the hub to load this model")

    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", unreachable)
    with pytest.raises(
        InputError, match=r"some-one/some-model: the hub cannot be reached .* connect once, or"
    ):
        pipelines.load("some-one/some-model")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such.pem")
    with pytest.raises(InputError, match=r"some-model: REQUESTS_CA_BUNDLE=/no/such\.pem: no such file"):
        pipelines.load("some-one/some-model")


def test_a_hub_without_such_a_model_is_said(monkeypatch):
    from diffusers import StableDiffusionPipeline
    from huggingface_hub.errors import RepositoryNotFoundError

    def unknown(*_, **__):
        class Answer:
            headers, request, status_code, text = {}, None, 404, ""

        try:
            raise RepositoryNotFoundError.__new__(RepositoryNotFoundError)
        except RepositoryNotFoundError as error:
            raise OSError("some-one/some-model is not a local folder") from error

    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", unknown)
    with pytest.raises(InputError, match="the hub has no such model; check the spelling"):
        pipelines.load("some-one/some-model")


def test_tokens_are_words_and_not_parts_of_words(model):
    pipe = pipelines.load(model)
    prompts.check_instance(pipe, "a portrait of a sks person, smiling", "sks")
    with pytest.raises(InputError, match="the token sks"):
        prompts.check_instance(pipe, "a portrait of a sksx person", "sks")
    with pytest.raises(InputError, match="--class_prompt: say what the subject is one of"):
        prompts.check_class(pipe, "", "sks")
