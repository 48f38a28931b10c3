"""LoRA: the layer against peft's, its gradients, what trains, and the file that diffusers opens."""

import json
import subprocess
import sys
from pathlib import Path

from common import checkpoints
from common.errors import InputError

import peft
import pytest
import torch
from diffusers import DDPMScheduler
from small_text_to_image import SMALL, folder, pipeline, tuning
from torch import nn

from hw4_diffusion import drawing, lora, pipelines, subjects, train_lora, tuned
from hw4_diffusion.small_pipeline import Description

ROOT = Path(__file__).resolve().parent.parent


def config(model: str, outdir: Path, **changes) -> train_lora.Config:
    return train_lora.Config(**tuning(model, outdir, **({"rank": (2,)} | changes)))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return folder(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory) -> Path:
    """A run of rank 2 with alpha 6."""
    (run_dir,) = train_lora.main(config(model, tmp_path_factory.mktemp("runs"), lora_alpha=6.0))
    return run_dir


def weights_of(run_dir: Path) -> dict[str, torch.Tensor]:
    (newest, *_) = sorted((run_dir / "checkpoints").glob("*.pt"), key=lambda path: -int(path.stem[11:]))
    return checkpoints.read(newest)["parts"]["lora"]


# ---- the layer


def test_the_layer_is_that_of_peft():
    torch.manual_seed(0)
    plain = nn.Sequential()
    plain.add_module("to_q", nn.Linear(7, 5))
    ours = lora.LoRALinear(nn.Linear(7, 5), rank=3, alpha=12)
    ours.frozen.load_state_dict(plain.to_q.state_dict())
    theirs = peft.get_peft_model(plain, peft.LoraConfig(r=3, lora_alpha=12, target_modules=["to_q"]))
    layer = theirs.base_model.model.to_q
    with torch.no_grad():
        layer.lora_A["default"].weight.copy_(ours.down)
        ours.up.normal_()
        layer.lora_B["default"].weight.copy_(ours.up)
    x = torch.randn(2, 4, 7)
    assert (ours(x) - layer(x)).abs().max() < 1e-5
    (ours(x).square().sum()).backward()
    (layer(x).square().sum()).backward()
    assert (ours.down.grad - layer.lora_A["default"].weight.grad).abs().max() < 1e-3
    assert (ours.up.grad - layer.lora_B["default"].weight.grad).abs().max() < 1e-3
    assert (ours.merged()(x) - theirs.merge_and_unload().to_q(x)).abs().max() < 1e-5


def test_it_begins_without_effect_and_only_b_has_a_gradient():
    """Eq. (latent_diffusion.8): dL/dB = (alpha / r) G (A x)^T, dL/dA = 0."""
    torch.manual_seed(0)
    frozen = nn.Linear(6, 4).double()
    layer = lora.LoRALinear(frozen, rank=2, alpha=5).double()
    x, wanted = torch.randn(3, 6).double(), torch.randn(3, 4).double()
    assert torch.equal(layer(x), frozen(x))
    output = layer(x)
    output.retain_grad()
    (output - wanted).square().sum().backward()
    expected = 5 / 2 * output.grad.T @ (x @ layer.down.T)
    assert (layer.up.grad - expected).abs().max() < 1e-12 and layer.up.grad.abs().max() > 0
    assert (layer.down.grad == 0).all()
    assert frozen.weight.grad is None and frozen.bias.grad is None


def test_rank_and_alpha_scale_the_update():
    layer = lora.LoRALinear(nn.Linear(4, 4, bias=False), rank=2, alpha=1)
    nn.init.zeros_(layer.frozen.weight)
    nn.init.ones_(layer.up)
    nn.init.ones_(layer.down)
    x = torch.ones(1, 4)
    assert layer(x).tolist() == [[4.0] * 4]  # (alpha / r) r (1 + 1 + 1 + 1)
    layer.alpha = 6
    assert layer(x).tolist() == [[24.0] * 4]


def test_trained_numbers_stay_float32_beside_half_weights():
    layer = lora.LoRALinear(nn.Linear(4, 4).to(torch.bfloat16), rank=2, alpha=2)
    nn.init.normal_(layer.up)
    x = torch.randn(3, 4, dtype=torch.bfloat16)
    assert layer(x).dtype == torch.bfloat16
    assert layer.down.dtype == layer.up.dtype == torch.float32
    layer(x).float().sum().backward()
    assert layer.up.grad.dtype == torch.float32


@pytest.mark.parametrize("kind", lora.TARGETS)
def test_every_projection_of_attention_gets_one_or_every_linear_layer_of_the_blocks(kind):
    unet = pipeline().unet
    linear = {name for name, layer in unet.named_modules() if isinstance(layer, nn.Linear)}
    expected = {name for name in linear if not name.startswith("time_embedding.")}
    if kind == "attention":
        expected = {name for name in linear if name.endswith(("to_q", "to_k", "to_v", "to_out.0"))}
    before = {name: p.clone() for name, p in unet.named_parameters()}
    layers = lora.insert(unet, 3, 3, kind)
    assert layers.keys() == expected and len(expected) >= 8
    trained = [p for p in unet.parameters() if p.requires_grad]
    # eq. (latent_diffusion.9): r (d + k) a layer
    counted = sum(3 * sum(before[f"{name}.weight"].shape) for name in layers)
    assert sum(p.numel() for p in trained) == lora.parameters(layers) == counted


# ---- training


def test_only_lora_trains_and_all_of_it_moves(model, trained):
    weights = weights_of(trained)
    assert all(name.endswith((".down", ".up")) for name in weights)
    assert all(value.dtype == torch.float32 for value in weights.values())
    assert all(value.abs().max() > 0 for value in weights.values())  # B began at zero
    torch.manual_seed(0)
    unet = pipelines.load(model).unet
    layers = lora.insert(unet, 2, 6)
    assert all(not torch.equal(weights[f"{name}.down"], layer.down) for name, layer in layers.items())
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["rank"] == 2 and summary["lora_alpha"] == 6 and summary["steps"] == 6
    size = (trained / lora.FILE).stat().st_size
    assert summary["metrics"]["megabytes"] == pytest.approx(size / 1e6)
    assert summary["metrics"]["trained_parameters"] == sum(value.numel() for value in weights.values())


def test_the_loss_is_that_of_the_noised_latents(model, tmp_path, monkeypatch):
    """The first step by hand: latents of the pictures, noise and times as drawn, v wanted."""
    seen = {}
    original = train_lora.squared_error

    def spy(output, wanted):
        seen.setdefault("wanted", wanted)
        return original(output, wanted)

    monkeypatch.setattr(train_lora, "squared_error", spy)
    train_lora.main(config(model, tmp_path, max_train_steps=1))
    images = subjects.load("drawn1", 32).images
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:4]
    generator = torch.Generator().manual_seed(0)
    pipe = pipelines.load(model)
    with torch.no_grad():
        gaussian = pipe.vae.encode(images[order].float() / 127.5 - 1).latent_dist
    z0 = gaussian.mean + gaussian.std * torch.randn(gaussian.mean.shape, generator=generator)
    z0 = z0 * pipe.vae.config.scaling_factor
    t = (torch.rand(4, generator=generator) * 1000).long()
    eps = torch.randn(z0.shape, generator=generator)
    reference = DDPMScheduler.from_config(pipe.scheduler.config)
    assert (seen["wanted"] - reference.get_velocity(z0, eps, t)).abs().max() < 1e-4


def test_more_passes_an_update_and_less_memory_give_the_same_kind_of_run(model, tmp_path):
    one = config(model, tmp_path, max_train_steps=2, gradient_accumulation_steps=2, train_batch_size=2,
                 gradient_checkpointing=True, mixed_precision="bf16", lr_scheduler="cosine",
                 optimizer="adafactor")  # fmt: skip
    (run_dir,) = train_lora.main(one)
    assert all(value.dtype == torch.float32 for value in weights_of(run_dir).values())


def test_three_ranks_by_default(model, tmp_path, monkeypatch):
    assert train_lora.Config().rank == (2, 8, 32)
    runs = train_lora.main(config(model, tmp_path, rank=(1, 2), max_train_steps=1))
    assert [path.name for path in runs] == ["0001-lora-drawn1-rank1", "0002-lora-drawn1-rank2"]


# ---- the file


ALONE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("operators", sys.argv[4])
operators = importlib.util.module_from_spec(spec)
spec.loader.exec_module(operators)
import torch
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained(sys.argv[1], safety_checker=None)
pipe.set_progress_bar_config(disable=True)
pipe.load_lora_weights(sys.argv[2])
assert not any(name.startswith("hw4") for name in sys.modules)
latents = torch.load(sys.argv[3])
image = pipe("a portrait of a sks person", latents=latents, num_inference_steps=2, guidance_scale=4.0,
             output_type="pt", height=32, width=32).images
torch.save(image, sys.argv[3])
"""


def images_of(pipe) -> torch.Tensor:
    prompts = ["a portrait of a sks person"] * 2
    return drawing.draw(pipe, prompts, [0, 1], resolution=32, steps=2, guidance=4.0).int()


def ours_inside(model: str, trained: Path):
    """A pipeline with our own layers, of the checkpoint."""
    pipe, weights = pipelines.load(model), weights_of(trained)
    layers = lora.insert(pipe.unet, 2, 6, "blocks")
    with torch.no_grad():
        for name, layer in layers.items():
            layer.down.copy_(weights[f"{name}.down"])
            layer.up.copy_(50 * weights[f"{name}.up"])  # large enough to be seen
    return pipe, layers


def test_a_process_without_this_course_draws_the_same(model, trained, tmp_path):
    pipe, layers = ours_inside(model, trained)
    lora.save(tmp_path, layers)
    latents = drawing.first_latents(pipe, [0], 32)
    torch.save(latents, tmp_path / "latents.pt")
    command = [sys.executable, "-c", ALONE, model, str(tmp_path), str(tmp_path / "latents.pt"),
               str(ROOT / "common" / "torchvision_operators.py")]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = torch.load(tmp_path / "latents.pt").mul(255).round().int()
    ours, base = images_of(pipe)[:1], images_of(pipelines.load(model))[:1]
    assert (ours - theirs).abs().max() <= 1
    assert (ours - base).abs().max() > 5  # and the weights do something


def test_merged_and_unmerged_draw_the_same(model, trained, tmp_path):
    pipe, layers = ours_inside(model, trained)
    lora.save(tmp_path, layers)
    apart = images_of(pipe)
    lora.merge(pipe.unet)
    assert not any(isinstance(layer, lora.LoRALinear) for layer in pipe.unet.modules())
    assert (images_of(pipe) - apart).abs().max() <= 1
    theirs = pipelines.load(model)
    theirs.load_lora_weights(tmp_path, weight_name=lora.FILE)
    theirs.fuse_lora()
    theirs.unload_lora_weights()
    assert (images_of(theirs) - apart).abs().max() <= 1


def test_a_lora_of_another_model_is_named(trained, tmp_path):
    other = pipeline(Description(**{**vars(SMALL), "unet_channels": (16, 48)}))
    with (
        pytest.raises(
            InputError, match=r"--lora .*: made for another model \(.*reads 32 numbers, there it is 48"
        ),
        tuned.LoRA(trained).inside(other),
    ):
        pass
    with pytest.raises(InputError, match=r"--lora .*: no pytorch_lora_weights\.safetensors there"):
        tuned.LoRA(tmp_path)


# ---- mistakes


def test_out_of_memory_is_said_with_what_helps(model, tmp_path, monkeypatch):
    def full(output, wanted):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(train_lora, "squared_error", full)
    with pytest.raises(InputError, match=r"out of memory; --vram 8, .* --gradient_checkpointing"):
        train_lora.main(config(model, tmp_path))


@pytest.mark.parametrize(("changes", "message"), [
    ({"instance_prompt": "a portrait of a person"}, r"--instance_prompt .* the token sks"),
    ({"instance_prompt": "a sks wizard"}, r"--instance_prompt .*: the model does not know the word wizard"),
    ({"instance_data_dir": "nowhere"}, "--instance_data_dir nowhere: no such folder"),
    ({"resolution": 36}, r"--resolution 36: .* multiple of 8"),
    ({"train_batch_size": 64}, r"64: .* only 20 images"),
    ({"mixed_precision": "fp16"}, "--mixed_precision fp16: needs a GPU"),
])  # fmt: skip
def test_mistakes_are_said_before_a_run_begins(changes, message, model, tmp_path):
    with pytest.raises(InputError, match=message):
        train_lora.main(config(model, tmp_path, **changes))
    assert not (tmp_path / "hw4").exists()
