"""Memory of fine-tuning: counted from shapes as autograd keeps it, presets, and what is said of too much."""

from common import command_line
from common.devices import Device
from common.errors import InputError

import pytest
import sd15_layout
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from small_text_to_image import folder, pipeline, tuning
from torch import nn

from hw4_diffusion import dreambooth, lora, memory, train_controlnet, train_lora

CPU = Device(torch.device("cpu"))
SCRIPTS = {"lora": train_lora, "dreambooth": dreambooth, "controlnet": train_controlnet}


def test_a_layer_keeps_its_input_once_and_weights_never():
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    x = torch.randn(5, 8, device="meta", requires_grad=True)
    network.to("meta")
    inside, outside, inputs = memory.kept_bytes(lambda: network(x), network, (nn.ReLU,))
    assert inside == [4 * 5 * 16]  # ReLU keeps its output, which the next layer reads too
    assert outside == 4 * 5 * 8 and inputs == 4 * 5 * 16


def test_on_the_meta_device_the_count_is_that_of_a_real_pass():
    pipe = pipeline()
    z, words = torch.randn(2, 4, 8, 8), torch.randn(2, 48, 16).requires_grad_()
    run = lambda: pipe.unet.train()(z, torch.zeros(2), words)
    inside, outside, _ = memory.kept_bytes(run, pipe.unet, ())
    kept = memory.activations_of(pipe, 2, 32, half=False, checkpointing=False)
    assert inside == [] and kept == pytest.approx(outside, rel=0.15)


def test_checkpointing_and_half_precision_keep_less():
    pipe = pipeline()
    count = lambda batch=4, **more: memory.activations_of(
        pipe, batch, 32, **({"half": False, "checkpointing": False} | more)
    )  # fmt: skip
    assert count(half=True) == count() // 2
    assert count(checkpointing=True) < 0.7 * count()
    assert count(batch=8) == pytest.approx(2 * count(), rel=0.02)
    assert all(not p.is_meta for p in pipe.unet.parameters())


def test_weights_gradients_and_moments_are_counted():
    """Eq. (latent_diffusion.14)."""
    pipe = pipeline()
    every = sum(p.numel() for part in (pipe.unet, pipe.vae, pipe.text_encoder) for p in part.parameters())
    unet = list(pipe.unet.parameters())
    trained = sum(p.numel() for p in unet)
    whole = memory.estimate(pipe, unet, 100, optimizer="adamw", half=False)
    assert whole == memory.Bytes(4 * (every - trained), 4 * trained, 4 * trained, 8 * trained, 100)
    half = memory.estimate(pipe, unet, 100, optimizer="adafactor", half=True)
    assert half.frozen == 2 * (every - trained) and half.trained == 6 * trained and half.optimizer < trained
    layers = lora.insert(pipe.unet, 2, 2)
    thin = [p for p in pipe.unet.parameters() if p.requires_grad]
    small = memory.estimate(pipe, thin, 100, optimizer="adamw", half=False)
    assert small.optimizer == 8 * lora.parameters(layers) and small.frozen == 4 * every
    assert small.total == memory.OVERHEAD + 4 * every + 16 * lora.parameters(layers) + 100


def real_sd15() -> StableDiffusionPipeline:
    """Stable Diffusion 1.5 at its real width, without weights."""
    narrow = sd15_layout.pipeline()
    with torch.device("meta"):
        wide = {
            **narrow.unet.config,
            "block_out_channels": (320, 640, 1280, 1280),
            "cross_attention_dim": 768,
        }
        narrow.unet = UNet2DConditionModel.from_config(wide)
        narrow.text_encoder = type(narrow.text_encoder)(
            type(narrow.text_encoder.config)(**{
                **narrow.text_encoder.config.to_dict(), "hidden_size": 768, "intermediate_size": 3072,
                "num_attention_heads": 12, "vocab_size": 49408,
            })
        )  # fmt: skip
        vae = {**narrow.vae.config, "block_out_channels": (128, 256, 512, 512)}
        narrow.vae = type(narrow.vae).from_config(vae)
    return narrow


@pytest.mark.parametrize("vram", [8, 12, 16, 24])
@pytest.mark.parametrize("kind", ["lora", "controlnet", "dreambooth"])
def test_presets_fit_stable_diffusion(kind, vram):
    """At 512 pixels, with images of the class; all weights of the U-Net are too much for 8 GB."""
    pipe, flags = real_sd15(), memory.PRESETS[kind][vram]
    prior = {} if kind == "controlnet" else {"with_prior_preservation": True}
    batch = SCRIPTS[kind].Config(train_batch_size=flags["train_batch_size"], **prior).images_of_a_pass
    assert batch == flags["train_batch_size"] * (1 + len(prior))
    assert sum(p.numel() for p in pipe.unet.parameters()) == 859_520_964
    kept = memory.activations_of(pipe, batch, 512, half=True, checkpointing=flags["gradient_checkpointing"])
    more = []
    if kind == "lora":
        lora.insert(pipe.unet, 32, 32)
    elif kind == "controlnet":
        pipe.unet.requires_grad_(False)
        more = [meta_controlnet(pipe.unet)]
    trained = [p for network in (pipe.unet, *more) for p in network.parameters() if p.requires_grad]
    optimizer = flags.get("optimizer", "adamw")
    needed = memory.estimate(pipe, trained, kept, optimizer=optimizer, half=True, more=more)
    if (kind, vram) == ("dreambooth", 8):
        with pytest.raises(InputError, match=r"--vram 8: .* GB are needed .* train_lora.py"):
            memory.advise(needed, kind, vram, CPU)
    else:
        assert f"{needed.total / 2**30:.2f} GB" in memory.advise(needed, kind, vram, CPU)
    passes = flags["train_batch_size"] * flags["gradient_accumulation_steps"]
    assert passes == 4


def meta_controlnet(unet) -> nn.Module:
    from diffusers import ControlNetModel

    with torch.device("meta"):
        return ControlNetModel.from_unet(unet, load_weights_from_unet=False)


def test_presets_are_defaults_that_flags_win_over():
    words = ["--vram", "16", "--train_batch_size", "3"]
    one = command_line.parse(train_controlnet.Config, words)
    assert one.train_batch_size == 3 and one.gradient_checkpointing and one.mixed_precision == "bf16"
    for script in (train_lora, dreambooth, train_controlnet):
        assert script.Config.kind in memory.PRESETS and script.Config().vram is None


def test_too_much_for_the_gpu_is_said_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "GIGABYTE", 2**30 // 100)  # 8 "GB" of 10 MB
    model = folder(tmp_path / "model")
    one = dreambooth.Config(**tuning(model, tmp_path, vram=8))
    with pytest.raises(
        InputError, match=r"--vram 8: .* GB are needed \(memory, estimated: .*\), 8 GB are there"
    ):
        dreambooth.main(one)
    assert not (tmp_path / "hw4").exists()


def test_images_of_the_class_are_counted_too(tmp_path, monkeypatch):
    counted = []
    monkeypatch.setattr(memory, "activations_of", lambda pipe, batch, *_, **__: counted.append(batch) or 0)
    model = folder(tmp_path / "model")
    for prior in (False, True):
        more = {"with_prior_preservation": prior, "num_class_images": 4, "class_data_dir": tmp_path / "class"}
        train_lora.main(train_lora.Config(**tuning(model, tmp_path, max_train_steps=1, rank=(2,), **more)))
    assert counted == [4, 8]
