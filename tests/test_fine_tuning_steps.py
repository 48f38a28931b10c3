"""A step of each fine-tuning: what the network is given, what flags reach, what is drawn and logged."""

import json
from pathlib import Path
from types import SimpleNamespace

from common.errors import InputError
from common.noise import BatchNoise

import pytest
import torch
from diffusers import DDPMScheduler
from small_text_to_image import folder, tuning
from torch import nn

from hw4_diffusion import (
    drawing,
    dreambooth,
    edges,
    fine_tuning,
    instance_prompts,
    latents,
    pipelines,
    subjects,
    train_controlnet,
    train_lora,
)

SCRIPTS = {"lora": train_lora, "dreambooth": dreambooth, "controlnet": train_controlnet}
OWN = {
    "lora": {"rank": (2,), "instance_captions": False},
    "dreambooth": {"instance_captions": False},
    "controlnet": {"train_images": 8, "validation_images": 2, "proportion_empty_prompts": 1.0},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return folder(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


def config(name: str, model: str, outdir: Path, **changes) -> fine_tuning.FineTuning:
    return SCRIPTS[name].Config(**tuning(model, outdir, **(OWN[name] | changes)))


def run(name: str, model: str, outdir: Path, **changes) -> Path:
    done = SCRIPTS[name].main(config(name, model, outdir, **changes))
    return done[0] if isinstance(done, list) else done


def logged(run_dir: Path) -> dict:
    """All numbers of metrics.jsonl, the last of each name."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {name: value for line in lines for name, value in line.items()}


@pytest.fixture
def draws(monkeypatch) -> list[SimpleNamespace]:
    """Every call of drawing.draw, which gives a noise of its own for each image."""
    calls = []

    def draw(pipeline, prompts, seeds, **more):
        calls.append(SimpleNamespace(prompts=list(prompts), seeds=list(seeds), **more))
        shape = (len(calls[-1].prompts), 3, more["resolution"], more["resolution"])
        calls[-1].images = torch.randint(0, 256, shape, dtype=torch.uint8)
        return calls[-1].images

    monkeypatch.setattr(drawing, "draw", draw)
    return calls


# ---- what the network is given


@pytest.mark.parametrize("captions, prior", [(True, False), (False, True)])
def test_lora_sees_noised_latents_and_whole_prompts_and_the_class_behind_the_subject(
    captions, prior, model, draws, tmp_path, monkeypatch
):
    seen = {}
    encode, loss_of = train_lora.latents_of, train_lora.dreambooth_loss

    def spy_images(vae, images, noise):
        seen.update(images=images, z0=encode(vae, images, noise))
        return seen["z0"]

    monkeypatch.setattr(train_lora, "latents_of", spy_images)
    note = lambda weight: seen.setdefault("weight", weight)
    monkeypatch.setattr(train_lora, "dreambooth_loss", lambda errors, weight: loss_of(errors, note(weight)))
    network = type(pipelines.load(model).unet)
    forward = network.forward

    def spy(self, z, t, words, **more):
        if not z.is_meta:  # where memory is counted nothing is computed
            seen.update(z=z, t=t, words=words)
        return forward(self, z, t, words, **more)

    monkeypatch.setattr(network, "forward", spy)
    run("lora", model, tmp_path, max_train_steps=1, instance_prompt="a sad sks person",
        instance_captions=captions, with_prior_preservation=prior, class_data_dir=tmp_path / "class",
        num_class_images=4, class_prompt="a happy person", prior_loss_weight=0.25)  # fmt: skip
    pipe = pipelines.load(model)
    noise = torch.Generator().manual_seed(0)
    torch.randn(seen["z0"].shape, generator=noise)  # of the latents
    t = (torch.rand(len(seen["z0"]), generator=noise) * 1000).long()
    eps = torch.randn(seen["z0"].shape, generator=noise)
    assert torch.equal(seen["t"], t)
    reference = DDPMScheduler.from_config(pipe.scheduler.config)
    assert torch.allclose(seen["z"], reference.add_noise(seen["z0"], eps, t), atol=1e-5)
    subject, images = subjects.load("drawn1", 32), seen["images"].flatten(1)
    distances = torch.cdist(images, (subject.images / 127.5 - 1).flatten(1))
    own = instance_prompts.captions_of_drawn(subject, "sks")
    said = [own[row] for row in distances.argmin(1)] if captions else ["a sad sks person"] * 4
    if prior:
        said = [*said[:4], *["a happy person"] * 4]
        distances = torch.cdist(images[4:], (draws[0].images / 127.5 - 1).flatten(1))
        assert distances.min(1).values.max() < 1e-3 and len(distances.argmin(1).unique()) == 4
    assert len(images) == len(said) and seen["weight"] == (0.25 if prior else None)
    assert torch.allclose(seen["words"], pipelines.words(pipe, said), atol=1e-5)


@pytest.mark.parametrize("name", SCRIPTS)
def test_several_passes_are_a_mean_and_long_gradients_shortened(
    name, model, draws, data_dir, tmp_path, monkeypatch
):
    """Where every pass has the same latents, times and noise, two of them have the gradient of one."""
    lengths, shorten = [], nn.utils.clip_grad_norm_
    monkeypatch.setattr(
        nn.utils,
        "clip_grad_norm_",
        lambda trained, longest: lengths.append(longest) or shorten(trained, longest),
    )
    torch.manual_seed(3)
    z0, eps = torch.randn(2, 2, 4, 8, 8)
    monkeypatch.setattr(SCRIPTS[name], "latents_of", lambda *_: z0)
    monkeypatch.setattr(BatchNoise, "normal", lambda self, *shape: eps)
    monkeypatch.setattr(BatchNoise, "uniform", lambda self: torch.tensor([0.2, 0.7]))
    gradients = [
        logged(run(name, model, tmp_path, train_batch_size=2, max_train_steps=1, max_grad_norm=0.125,
                   data_dir=data_dir, gradient_accumulation_steps=passes))["train/gradient_norm"]
        for passes in (1, 3)
    ]  # fmt: skip
    assert lengths == [0.125, 0.125]
    assert gradients[1] == pytest.approx(gradients[0], rel=1e-3)


def test_subject_and_class_are_logged_under_their_names():
    errors, gradient = torch.tensor([1.0, 3.0, 10.0, 20.0]), torch.tensor(7.0)
    values = dreambooth.logged(errors, gradient, True)
    assert values["loss"].tolist() == [1, 3] and values["class_loss"].tolist() == [10, 20]
    assert values["gradient_norm"].tolist() == [7, 7]
    assert dreambooth.logged(errors, gradient, False)["loss"].tolist() == [1, 3, 10, 20]


def test_class_images_are_drawn_as_the_flags_say(model, draws, tmp_path):
    run("dreambooth", model, tmp_path, max_train_steps=1, with_prior_preservation=True, num_class_images=5,
        class_data_dir=tmp_path / "class", class_prompt="a happy person", class_negative_prompt="a sad face",
        sample_batch_size=3, num_inference_steps=7, class_guidance_scale=2.5, train_batch_size=2)  # fmt: skip
    asked = [call for call in draws if call.prompts[0] == "a happy person"]
    assert [call.seeds for call in asked] == [[0, 1, 2], [3, 4]]
    for call in asked:
        assert set(call.prompts) == {"a happy person"} and call.negative_prompt == "a sad face"
        assert (call.steps, call.guidance, call.batch_size, call.resolution) == (7, 2.5, 3, 32)


def test_latents_are_drawn_from_the_encoders_gaussian_and_scaled(model):
    pipe, images = pipelines.load(model), torch.rand(2, 3, 32, 32) * 2 - 1
    pipe.vae.register_to_config(scaling_factor=0.3)
    eps = torch.randn(2, 4, 8, 8)
    found = latents.latents_of(pipe.vae, images, SimpleNamespace(normal=lambda *shape: eps))
    with torch.no_grad():
        gaussian = pipe.vae.encode(images).latent_dist
    assert torch.allclose(found, 0.3 * (gaussian.mean + gaussian.std * eps), atol=1e-6)


def test_only_what_is_trained_is_in_training_mode(model):
    pipe, device = pipelines.load(model), fine_tuning.devices.Device(torch.device("cpu"))
    trained = fine_tuning.prepare(fine_tuning.FineTuning(), pipe, device, 32, pipe.unet)
    assert pipe.unet.training and not pipe.vae.training and not pipe.text_encoder.training
    assert len(trained) == len(list(pipe.unet.parameters()))
    frozen = [*pipe.vae.parameters(), *pipe.text_encoder.parameters()]
    assert not any(parameter.requires_grad for parameter in frozen)


# ---- flags of the optimiser


def test_decay_and_warm_up_reach_the_optimiser():
    weight = nn.Parameter(torch.ones(2))
    rates = {}
    for name in ("constant_with_warmup", "linear", "constant"):
        one = fine_tuning.FineTuning(lr_scheduler=name, lr_warmup_steps=4, adam_weight_decay=0.25,
                                     learning_rate=0.5, max_train_steps=12)  # fmt: skip
        optimizer, scheduler, scaler = fine_tuning.optimiser(one, [weight])
        assert optimizer.param_groups[0]["weight_decay"] == 0.25 and not scaler.is_enabled()
        rates[name] = []
        for _ in range(12):
            rates[name].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    rising = [0.0, 0.125, 0.25, 0.375]
    assert rates["constant_with_warmup"] == pytest.approx([*rising, *[0.5] * 8])
    assert rates["linear"] == pytest.approx([*rising, *(0.5 * (1 - k / 8) for k in range(8))])
    assert rates["constant"] == [0.5] * 12


def test_a_step_that_overflows_in_float16_is_no_diverged_loss():
    """The scaler leaves such a step out and scales less: it goes on, and no infinite length is logged."""
    weight = nn.Parameter(torch.ones(2))
    optimizer, scaler = torch.optim.SGD([weight], 0.1), torch.amp.GradScaler("cpu", init_scale=4.0)
    lengths = []
    for gradient in (torch.inf, 3.0):
        optimizer.zero_grad()
        scaler.scale((weight * gradient).sum() / 2**0.5).backward()
        scaler.unscale_(optimizer)
        lengths.append(fine_tuning.length_taken(nn.utils.clip_grad_norm_([weight], 1.0), scaler).item())
        scaler.step(optimizer)
        scaler.update()
    assert lengths == pytest.approx([0, 3]) and scaler.get_scale() == 2
    assert (weight < 1).all(), "the second step was taken"
    plain, inf = torch.amp.GradScaler("cpu", enabled=False), torch.tensor(torch.inf)
    assert fine_tuning.length_taken(inf, plain).isinf(), "in other formats it stops the run"


def test_steps_that_all_overflow_in_float16_stop_the_run():
    config = fine_tuning.FineTuning(mixed_precision="fp16")
    device = fine_tuning.devices.Device(torch.device("cpu"))
    report = fine_tuning.Report(config, device, None, "a person", 32)
    lines = []
    known = (
        SimpleNamespace(log=lambda step, means: lines.append(means)),
        SimpleNamespace(require_finite=lambda *_: None),
    )
    for step in range(1, 11):
        report.step(*known, step, {"loss": torch.ones(2), "gradient_norm": torch.full((2,), step == 4)})
    assert lines[0]["train/gradient_norm"] == pytest.approx(0.1)
    for step in range(11, 20):
        report.step(*known, step, {"loss": torch.ones(2), "gradient_norm": torch.zeros(2)})
    with pytest.raises(InputError, match="gradients overflow in float16: no step was taken before step 20"):
        report.step(*known, 20, {"loss": torch.ones(2), "gradient_norm": torch.zeros(2)})


# ---- what is drawn on the way


@pytest.mark.parametrize("prompt", [None, "a sad sks person"])
def test_validation_images_are_of_the_prompt_as_the_flags_say(prompt, model, draws, tmp_path):
    run("lora", model, tmp_path, max_train_steps=2, validation_steps=1, validation_prompt=prompt,
        num_validation_images=3, guidance_scale=2.5, num_inference_steps=7)  # fmt: skip
    assert len(draws) == 2
    for call in draws:
        assert call.prompts == [prompt or "a portrait of a sks person"] * 3 and call.seeds == [0, 1, 2]
        assert (call.guidance, call.steps, call.resolution) == (2.5, 7, 32)


def test_the_f1_is_that_of_drawn_images_and_the_edges_they_were_led_by(
    model, draws, data_dir, tmp_path, monkeypatch
):
    one = config("controlnet", model, tmp_path, data_dir=data_dir, max_train_steps=1, validation_images=3,
                 guidance_scale=2.5, num_inference_steps=7)  # fmt: skip
    line = logged(train_controlnet.main(one))
    (call,) = draws
    validation = train_controlnet.load(one, "val", 32)
    lines = edges.canny(validation.images)
    assert torch.equal(call.edges, lines) and call.controlnet is not None
    assert call.prompts == train_controlnet.captions(validation, 0) and call.seeds == [0, 1, 2]
    assert (call.guidance, call.steps, call.resolution) == (2.5, 7, 32)
    wanted = edges.agreement(edges.canny(call.images), lines).mean().item()
    assert line["val/edges_f1"] == pytest.approx(wanted) and 0 < wanted < 0.95
