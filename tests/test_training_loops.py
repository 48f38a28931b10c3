"""What the loops of all training scripts share: each update follows the gradient of its own step, and what
is validated are held-out images, all of them."""

import math
from dataclasses import fields
from pathlib import Path

from common import command_line, data, runs
from common.data import creatures, to_model_range
from common.data.wells_layout import write_layout
from common.errors import InputError
from common.latent_space import kl_to_standard_normal

import pytest
import torch
from small_gans import save_pets
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from hw1_bayes_and_autoencoders import anomaly_data, train_autoencoder, train_vae
from hw2_gan import train_gan
from hw3_stylegan_sampling import networks, train_encoder, train_stylegan
from hw3_stylegan_sampling import weights as stylegan_weights
from hw4_diffusion import train_ddpm
from lab8_generative import train_autoencoder as lab_autoencoder
from lab8_generative import train_gan as lab_gan

STEPS = 4
SCRIPTS = {
    "hw1 autoencoder": (train_autoencoder, {"data": "moulds", "batch_size": 8}),
    "hw1 vae": (train_vae, {"data": "pets", "batch_size": 24, "size": 16}),
    "hw2 gan": (train_gan, {"data": "pets", "batch_size": 24, "size": 32, "width": 0.125}),
    "hw3 stylegan": (
        train_stylegan,
        {"data": "pets", "batch_size": 8, "size": 8, "channels": (8, 6), "steps": STEPS, "path_every": 2},
    ),
    "hw3 encoder": (
        train_encoder,
        {"data": "pets", "network": "generator.safetensors", "batch_size": 8, "steps": STEPS},
    ),
    "hw4 ddpm": (
        train_ddpm,
        {"data": "pets", "batch_size": 8, "size": 16, "channels": (8, 8), "steps": STEPS},
    ),
    "lab autoencoder": (lab_autoencoder, {"data": "creatures", "batch_size": 8, "width": 4}),
    "lab gan": (lab_gan, {"data": "creatures", "batch_size": 8, "width": 4, "steps": STEPS}),
}
ONE_EPOCH = {"epochs": 1, "measure_images": 8, "latent": 4, "precision": "fp32", "device": "cpu"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Small sets, pictures with splits and moulds, and a generator."""
    root = tmp_path_factory.mktemp("data")
    shape = networks.Architecture(size=8, channels=(8, 6), z_dim=6, w_dim=7, noise=False)
    stylegan_weights.save(root / "generator.safetensors", networks.Generator(shape), "a test")
    save_pets(root / "pets")
    write_layout(root / "moulds", {"train": 40, "proliv": 2, "test": 4})
    return root


@pytest.fixture
def train(folders, tmp_path, monkeypatch):
    """Run the named script for a few steps."""
    monkeypatch.setattr(creatures, "DEFAULT_COUNTS", {"train": 64, "val": 20, "test": 20})

    def run(name: str, **more) -> Path:
        script, flags = SCRIPTS[name][0], SCRIPTS[name][1] | more
        known = {field.name for field in fields(script.Config)}
        flags = {key: value for key, value in ONE_EPOCH.items() if key in known} | flags
        for flag in ("data", "network"):
            if (folders / flags.get(flag, "nothing")).exists():
                flags[flag] = str(folders / flags[flag])
        return script.main(script.Config(outdir=tmp_path, checkpoint_seconds=1e9, **flags))

    return run


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_update_contains_the_gradient_of_an_earlier_one(name, train):
    """After every update a million is left in the gradients, which the next one must not contain."""
    largest: dict[int, list[float]] = {}

    def gradients(optimizer):
        return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]

    def note(optimizer, *_):
        found = max(gradient.abs().max().item() for gradient in gradients(optimizer))
        largest.setdefault(id(optimizer), []).append(found)

    def leave_a_million(optimizer, *_):
        for gradient in gradients(optimizer):
            gradient.fill_(1e6)

    hooks = register_optimizer_step_pre_hook(note), register_optimizer_step_post_hook(leave_a_million)
    try:
        train(name)
    finally:
        for hook in hooks:
            hook.remove()
    assert len(largest) == (2 if "gan" in name else 1)
    assert all(len(of_one) >= STEPS and 0 < max(of_one) < 1e5 for of_one in largest.values())


LOGGED = {
    "hw1 autoencoder": {"train/mse", "val/mse"},
    "hw1 vae": {"train/reconstruction_nats", "train/kl_nats", "val/loss_nats", "val/mse"},
    "hw2 gan": {"train/discriminator_loss", "train/generator_loss", "train/d_real", "val/raw_diversity"},
    "hw3 stylegan": {"train/discriminator_loss", "train/generator_loss", "train/d_real", "train/path_length"},
    "hw3 encoder": {"train/styles", "train/perceptual", "val/set_psnr_db"},
    "hw4 ddpm": {"train/loss", "train/gradient_norm", "val/loss", "val/diversity"},
    "lab autoencoder": {"train/loss", "train/error", "val/loss", "val/error"},
    "lab gan": {"train/discriminator_loss", "train/generator_loss", "train/d_real", "val/raw_diversity"},
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_losses_are_logged(name, train):
    last = runs.read_metrics(train(name))[-1]
    assert last.keys() >= LOGGED[name]
    assert all(math.isfinite(last[key]) for key in LOGGED[name])


def test_a_vae_logs_means_over_its_images(train):
    """At a learning rate that moves nothing, what is logged is what the last weights measure."""
    folder = train("hw1 vae", lr=1e-12, beta=3.0, free_bits=0.01)
    config = command_line.config_from_run(train_vae.Config, folder)
    (line,) = runs.read_metrics(folder)
    sets = {split: train_vae.load_split(config, split) for split in ("train", "val")}
    model = train_vae.load_best(config, folder, sets["val"])
    for split, images in sets.items():
        x = to_model_range(images.images)
        with torch.inference_mode():
            kl = kl_to_standard_normal(*model.encode(x)).mean(0)  # (D,)
            nats = torch.stack([model(x)["reconstruction"] for _ in range(5)]).mean()
            squared = ((model.reconstruct(x) - x) / 2).square().mean()
        assert line[f"{split}/kl_nats"] == pytest.approx(kl.sum().item(), rel=1e-4)
        assert line[f"{split}/reconstruction_nats"] == pytest.approx(nats.item(), rel=5e-3)
    assert line["val/mse"] == pytest.approx(squared.item(), rel=1e-4)
    assert line["val/kl_per_dimension_nats"] == pytest.approx(kl.tolist(), rel=1e-4)
    loss = line["val/reconstruction_nats"] + 3 * kl.clamp_min(0.01).sum().item()
    assert line["val/loss_nats"] == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_run_goes_on_with_other_held_out_images(name, train, monkeypatch):
    folder = train(name)
    train(name, resume=folder)  # the same ones

    def without_the_first(load):
        def load_others(data_or_folder, split, *arguments, **more):
            images = load(data_or_folder, split, *arguments, **more)
            return images if split == "train" else images.take(slice(1, None))

        return load_others

    monkeypatch.setattr(data, "load", without_the_first(data.load))
    monkeypatch.setattr(anomaly_data, "read_layout", without_the_first(anomaly_data.read_layout))
    with pytest.raises(InputError, match=r"--data: these are other images .* of the val split of "):
        train(name, resume=folder)


@pytest.mark.parametrize("name", ["hw1 autoencoder", "hw1 vae", "lab autoencoder"])
def test_training_images_are_shuffled_and_every_held_out_one_is_validated(name, train, monkeypatch):
    script, made = SCRIPTS[name][0], []

    class Noting(script.Batches):
        def __init__(self, image_set, *arguments, shuffle=True, drop_last=False, **more):
            made.append((image_set.split, shuffle, drop_last))
            super().__init__(image_set, *arguments, shuffle=shuffle, drop_last=drop_last, **more)

    monkeypatch.setattr(script, "Batches", Noting)
    train(name)
    assert made[:2] == [("train", True, True), ("val", False, False)]
