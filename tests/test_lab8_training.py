"""What the lab's trainings do with their parts: which images, which weights, which side, which sign."""

import copy
import json
import math
from pathlib import Path

from common import checkpoints, command_line, devices, runs
from common.data import creatures
from common.devices import Device
from common.metrics import samples

import pytest
import torch
from torch import nn

from lab8_generative import generate, interpolate, monitor, networks, train_autoencoder, train_gan, trained

CPU = Device(torch.device("cpu"))
SMALL = {"width": 4, "latent": 6, "size": 48, "device": "cpu", "precision": "fp32", "checkpoint_seconds": 1e9}


@pytest.fixture(scope="module", autouse=True)
def few_creatures():
    """64 creatures to learn from instead of 1,200."""
    few = {"train": 64, "val": 20, "test": 24}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(creatures, "DEFAULT_COUNTS", few)
        patch.setattr(train_gan, "MEASURED_DRAWN", 20)
        yield


def gan_config(outdir: Path, **flags) -> train_gan.Config:
    flags = {"steps": 4, "measure_every": 2, "penalty_every": 2, "batch_size": 8, "ema": 0.5, **flags}
    return train_gan.Config(**SMALL, outdir=outdir, **flags)


def equal(one: nn.Module | dict, other: nn.Module | dict) -> bool:
    one, other = (part.state_dict() if isinstance(part, nn.Module) else part for part in (one, other))
    return all(torch.equal(one[name], other[name]) for name in one)


# ---- the GAN's step


def test_whatever_the_discriminator_learns_from_is_augmented_in_both_halves(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(train_gan, "augment", lambda images, policies: images + 100)
    forward = networks.Discriminator.forward

    def note(discriminator, images):
        if not torch.is_inference_mode_enabled():  # the monitor asks about images as they are
            seen.append((images.mean().item() > 50, discriminator.layers[0].weight.requires_grad))
        return forward(discriminator, images)

    monkeypatch.setattr(networks.Discriminator, "forward", note)
    train_gan.main(gan_config(tmp_path))
    assert all(augmented for augmented, _ in seen)
    first, second = [True, True, False], [True, True, True, False]  # the penalty looks once more
    assert [trains for _, trains in seen] == (first + second) * 2


def test_the_policies_are_those_of_the_flag(tmp_path, monkeypatch):
    asked = set()
    monkeypatch.setattr(train_gan, "augment", lambda images, policies: asked.add(policies) or images)
    train_gan.main(gan_config(tmp_path, augment=("cutout",), steps=1))
    assert asked == {("cutout",)}


def test_the_penalty_has_its_weight_every_so_many_steps(tmp_path, monkeypatch):
    """A discriminator with the gradient w everywhere: R1 is |w|^2, its weight every * gamma / 2."""

    class Linear(nn.Module):
        def __init__(self, size, width):
            super().__init__()
            self.weight = nn.Parameter(torch.full((3, size, size), 0.01))

        def forward(self, images):
            return (images * self.weight).flatten(1).sum(1)

    gradients = {}
    monkeypatch.setattr(networks, "Discriminator", Linear)
    monkeypatch.setattr(train_gan.adversarial, "cross_entropy_discriminator", lambda real, fake: 0 * real)
    step = torch.optim.Adam.step

    def note(adam, closure=None):
        weight = adam.param_groups[0]["params"][0]
        if weight.shape == (3, 48, 48):
            gradients[len(gradients) + 1] = weight.grad.clone()
            return None  # the weight stays as it is
        return step(adam, closure)

    monkeypatch.setattr(torch.optim.Adam, "step", note)
    train_gan.main(gan_config(tmp_path, r1_gamma=0.6, penalty_every=3, steps=6, measure_every=6))
    expected = 3 * 0.6 / 2 * 2 * 0.01  # every * gamma / 2 * d |w|^2 / d w
    assert [round(gradient.mean().item() / expected, 4) for gradient in gradients.values()] == [0, 0, 1] * 2


def test_as_many_training_as_held_out_images_are_compared_from_the_whole_set():
    train = torch.arange(64, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 48, 48)
    watching = monitor.Monitor(train, creatures.draw_set("val", 48, 20).images, 6, CPU)
    compared = watching.train[:, 0, 0, 0].tolist()
    assert len(set(compared)) == len(compared) == 20
    assert max(compared) >= 40  # all below it by chance: 1 in 50,000


def test_a_step_logs_what_d_said_of_real_and_of_generated_images_before_it(tmp_path):
    torch.manual_seed(0)
    config = gan_config(tmp_path, augment=())
    both = train_gan.build(config)
    adams = (torch.optim.Adam(network.parameters(), lr=0.1) for network in both)
    real, z = torch.rand(8, 3, 48, 48) * 2 - 1, torch.randn(8, 6)
    generator, discriminator = map(copy.deepcopy, both)
    logged = train_gan.update(config, CPU, train_gan.Players(*both, *adams), real, z, penalised=False)
    torch.testing.assert_close(logged["d_real"], discriminator(real).sigmoid())
    torch.testing.assert_close(logged["d_fake"], discriminator(generator(z)).sigmoid())
    assert (logged["d_real"] - logged["d_fake"]).abs().max() > 1e-3


# ---- which weights


def test_a_gan_keeps_and_loads_the_averaged_weights_of_its_best_measurement(tmp_path, monkeypatch):
    distances, known, raw = iter([7.0, 5.0, 6.0]), [], []
    monkeypatch.setattr(samples.Reference, "distance", lambda real, features: next(distances))
    monkeypatch.setattr(samples, "measure_versions", only_ema(samples.measure_versions, raw))
    keep = checkpoints.Checkpoints.save_if_best

    def note(saver, step, value):
        known.append(
            {name: part.state_dict() for name, part in saver.parts.items() if name in ("generator", "ema")}
        )
        known[-1] = {name: {k: v.clone() for k, v in state.items()} for name, state in known[-1].items()}
        keep(saver, step, value)

    monkeypatch.setattr(checkpoints.Checkpoints, "save_if_best", note)
    folder = train_gan.main(gan_config(tmp_path, steps=6))
    assert json.loads((folder / "summary.json").read_text())["steps"] == 4
    loaded = {f"module.{name}": value for name, value in trained.load(folder).decoder.state_dict().items()}
    assert equal(loaded, known[1]["ema"])
    assert not equal(loaded, {f"module.{name}": value for name, value in known[1]["generator"].items()})
    assert not equal(loaded, known[2]["ema"])
    assert all(equal(one, parts["generator"]) for one, parts in zip(raw, known, strict=True))
    mean = known[1]["ema"]["module.2.running_mean"]  # statistics of batch normalisation are averaged too
    assert not torch.equal(mean, known[1]["generator"]["2.running_mean"])


def only_ema(measure_versions, raw: list):
    """Raw weights are noted and decoded but have no distance: a run that is chosen by theirs fails."""

    def measure(versions, z, real, device):
        numbers, images = measure_versions({"ema": versions["ema"]}, z, real, device)
        images["raw"] = samples.decode(versions["raw"], z)
        raw.append({name: value.clone() for name, value in versions["raw"].state_dict().items()})
        return numbers | {"val/raw_diversity": 1.0, f"val/raw_{real.name}": math.nan}, images

    return measure


def test_an_autoencoder_keeps_and_loads_its_best_epoch(tmp_path, monkeypatch):
    losses, states = iter([3.0, 1.0, 2.0]), []

    def validate(config, model, error_of, batches):
        assert torch.equal(batches.images, creatures.draw_set("val", 48, 20).images)
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"val/loss": next(losses), "val/error": 0.1, "val/mse": 0.1}

    monkeypatch.setattr(train_autoencoder, "validate", validate)
    config = train_autoencoder.Config(**SMALL, outdir=tmp_path, epochs=3, batch_size=8)
    folder = train_autoencoder.main(config)
    known = json.loads((folder / "summary.json").read_text())
    assert (known["metrics"]["epoch"], known["best_step"], known["steps"]) == (2, 16, 24)
    assert equal(trained.load(folder).model, states[1]) and not equal(states[1], states[2])


def test_mirrored_images_double_an_epoch(tmp_path):
    config = train_autoencoder.Config(**SMALL, outdir=tmp_path, epochs=1, batch_size=8, mirror=True)
    folder = train_autoencoder.main(config)
    assert runs.read_metrics(folder)[-1]["step"] == 2 * 64 // 8


def test_a_gan_learns_from_mirrored_training_images_and_is_measured_on_validation_ones(tmp_path):
    train, val = train_gan.load(gan_config(tmp_path, mirror=True))
    assert torch.equal(train.images[:64], creatures.draw_set("train", 48, 64).images)
    assert torch.equal(train.images[64:], train.images[:64].flip(-1))
    assert torch.equal(val.images, creatures.draw_set("val", 48, 20).images)


def test_each_player_has_its_learning_rate_and_alarms_wait_for_a_quarter_of_the_run(tmp_path, monkeypatch):
    made, beginnings = [], []
    adam = devices.Device.adam
    monkeypatch.setattr(
        devices.Device,
        "adam",
        lambda self, weights, rate, betas: made.append((rate, betas)) or adam(self, weights, rate, betas),
    )
    monkeypatch.setattr(
        monitor.Monitor, "warn", lambda self, run, step, numbers, beginning: beginnings.append(beginning)
    )
    rates = {"lr_generator": 1e-4, "lr_discriminator": 3e-4, "beta1": 0.3}
    train_gan.main(gan_config(tmp_path, steps=8, measure_every=1, **rates))
    assert made == [(1e-4, (0.3, 0.99)), (3e-4, (0.3, 0.99))]
    assert beginnings == [True] + [False] * 7


# ---- which loss


def test_the_vae_pays_nats_for_all_values_of_an_image_and_beta_for_its_kl():
    errors, kl = torch.full((4,), 0.1, dtype=torch.float64), torch.tensor([1.0, 2.0, 3.0, 4.0]).double()
    config = train_autoencoder.Config(model="vae", size=48, beta=2.0)
    expected = 3 * 48 * 48 * math.log(0.1) + 2 * kl
    assert (train_autoencoder.losses_of(config, errors, kl) - expected).abs().max() < 1e-9
    config = train_autoencoder.Config(model="ae", size=48, beta=2.0)
    assert torch.equal(train_autoencoder.losses_of(config, errors, kl), errors)


def mse_of_validation(loss: str) -> float:
    """`val/mse` of an untrained autoencoder with seeded weights, whatever it is trained on."""
    torch.manual_seed(0)
    config = train_autoencoder.Config(**SMALL, loss=loss)
    batches = train_autoencoder.Batches(creatures.draw_set("val", 48, 20), 8, shuffle=False)
    error_of = train_autoencoder.reconstruction.error_of(loss)
    return train_autoencoder.validate(config, train_autoencoder.build(config), error_of, batches)["val/mse"]


def test_validation_measures_held_out_images_without_moving_anything(tmp_path):
    assert mse_of_validation("l1") == pytest.approx(mse_of_validation("mse"), rel=1e-6)
    config = train_autoencoder.Config(**SMALL, model="vae", loss="mse")
    model = train_autoencoder.build(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    val = creatures.draw_set("val", 48, 20)
    error_of = train_autoencoder.reconstruction.error_of("mse")
    batches = train_autoencoder.Batches(val, 8, shuffle=False)
    numbers = train_autoencoder.validate(config, model, error_of, batches)
    assert equal(model, before) and model.training
    assert numbers["val/error"] == numbers["val/mse"] > 0 and numbers["val/kl_nats"] > 0
    nats = 3 * 48 * 48 / 2 * math.log(numbers["val/mse"]) + numbers["val/kl_nats"]
    assert numbers["val/loss"] == pytest.approx(nats, rel=1e-5)


# ---- samples and walks: which images


@pytest.fixture(scope="module")
def vae_run(tmp_path_factory, few_creatures) -> Path:
    config = train_autoencoder.Config(
        **SMALL, model="vae", epochs=1, batch_size=8, outdir=tmp_path_factory.mktemp("runs")
    )
    return train_autoencoder.main(config)


def test_neighbours_are_looked_for_among_the_training_images(vae_run, tmp_path, monkeypatch):
    known = []
    find = generate.nearest_training_images
    monkeypatch.setattr(
        generate, "nearest_training_images", lambda images, train: known.append(train) or find(images, train)
    )
    folder = generate.main(generate.Config(vae_run, count=12, real_images=24, outdir=tmp_path))
    train = trained.load(vae_run).images("train").images
    assert len(known) == 6 and all(torch.equal(one, train) for one in known)
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["n_train"], summary["n_real"], summary["n_floor"]) == (64, 24, 24)
    held_out = find(trained.load(vae_run).images("test").images[:24], train).distance.median().item()
    assert summary["metrics"]["eval/nearest_training_image_of_held_out"] == held_out
    assert summary["metrics"]["eval/diversity_training_images"] == pytest.approx(1, abs=0.3)
    assert summary["metrics"][summary["floor"]] > 1  # other images, not the same ones


def test_as_many_samples_as_held_out_images_are_compared_with_these(vae_run, tmp_path, monkeypatch):
    compared, compare = {}, generate.compare

    def note(run, numbers, source, images, train, real):
        compared[source] = images
        compare(run, numbers, source, images, train, real)

    monkeypatch.setattr(generate, "compare", note)
    folder = generate.main(generate.Config(vae_run, count=40, real_images=24, outdir=tmp_path))
    metrics = json.loads((folder / "summary.json").read_text())["metrics"]
    held_out = trained.load(vae_run).images("test").images[:24]
    assert compared.keys() == {"prior", "mixture"}
    for source, images in compared.items():
        assert len(images) == 24
        ratio = samples.diversity(images) / samples.diversity(held_out)
        assert metrics[f"eval/diversity_{source}"] == pytest.approx(ratio)


def test_truncation_0_draws_one_image_from_every_source(vae_run):
    model = trained.load(vae_run)
    for source in ("prior", "mixture"):
        config = generate.Config(vae_run, trunc=0.0)
        z, _ = generate.draw(config, model, source, 30)
        assert z.shape == (30, 6) and z.std(0).max() < 1e-6
        z, _ = generate.draw(generate.Config(vae_run), model, source, 30)
        assert z.std(0).min() > 0


def test_the_mixture_is_fitted_to_training_latents_and_chosen_by_validation_ones(vae_run, monkeypatch):
    asked = []
    fit = trained.gaussian_mixture.fit_best
    monkeypatch.setattr(
        trained.gaussian_mixture, "fit_best", lambda *arguments: asked.append(arguments) or fit(*arguments)
    )
    trained.fit_latents(trained.load(vae_run), torch.Generator().manual_seed(0))
    ((train, val, sizes, _),) = asked
    assert (train.shape, val.shape) == ((64, 6), (20, 6))
    model = trained.load(vae_run)
    assert not torch.equal(train, model.latents(model.images("train").images))  # drawn, not the means
    assert sizes == [1, 2, 5, 10]  # a component for every 6 latents at most


@pytest.mark.parametrize("way", ["linear", "spherical"])
def test_a_walk_leads_from_the_first_image_to_the_second(vae_run, tmp_path, monkeypatch, way):
    drawn, model = [], trained.load(vae_run)
    save = interpolate.save_figures
    monkeypatch.setattr(
        interpolate, "save_figures", lambda *arguments: drawn.append(arguments) or save(*arguments)
    )
    wanted = model.images("test").images[[3, 9]]
    z = torch.tensor([[-2.0, -1, 0, 1, 2, 3], [3, -1, 4, -1, 5, -9]]) * 20  # far from each other

    def latents(self, images):
        assert torch.equal(images, wanted)
        return z

    monkeypatch.setattr(trained.Trained, "latents", latents)
    config = interpolate.Config(vae_run, "3", "9", split="test", frames=20, way=way, outdir=tmp_path)
    folder = interpolate.main(config)
    ((_, pair, images, fade, _),) = drawn
    decoded = samples.decode(model.decoder, z).int()
    assert torch.equal(pair, wanted) and (decoded[0] - decoded[1]).abs().max() > 20
    for frames in (images, fade):
        assert len(frames) == 11
        assert (frames[[0, -1]].int() - decoded).abs().max() <= 1  # rounding of slerp
    assert not torch.equal(images[5], fade[5])
    metrics = json.loads((folder / "summary.json").read_text())["metrics"]
    assert metrics["eval/detour"] == metrics[f"eval/{way}_detour"]
    errors = ((wanted.double() - decoded) / 255).square().mean((1, 2, 3))
    assert [metrics["eval/mse_first"], metrics["eval/mse_second"]] == pytest.approx(errors.tolist(), rel=1e-4)
    mean = model.images("test").images.double().mean(0)
    unknown = ((wanted - mean) / 255).square().mean().item()
    assert metrics["eval/mse_of_mean_image"] == pytest.approx(unknown, rel=1e-4)


def test_flags_of_a_run_reach_the_networks(vae_run):
    config = command_line.config_from_run(train_autoencoder.Config, vae_run)
    model = train_autoencoder.build(config)
    assert isinstance(model, networks.VAE)
    assert model.decoder[0].in_features == config.latent and model.encoder[0].out_channels == config.width
