"""The noise that a diffusion model is trained and measured with is that of its own schedule and weights."""

from pathlib import Path

from common import checkpoints, data, runs
from common.metrics import samples

import pytest
import torch
from small_diffusion import config

from hw4_diffusion import diffusion, models, train_ddpm


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": "linear", "zero_terminal_snr": True},
        {"schedule": "flow", "prediction": "flow"},
        {"timesteps": 12},
    ],
)
def test_training_visits_the_times_that_sampling_starts_from(changes, data_dir, tmp_path, monkeypatch):
    """All of 1, ..., T, the last one too, with the alpha and sigma that samplers read from the run."""
    pairs = set()

    def spy(x0, eps, alpha, sigma):
        pairs.update(zip(alpha.flatten().tolist(), sigma.flatten().tolist()))
        return diffusion.noised(x0, eps, alpha, sigma)

    monkeypatch.setattr(train_ddpm, "noised", spy)
    run_dir = train_ddpm.main(config(data_dir, tmp_path, **{"timesteps": 10, "steps": 12, **changes}))
    schedule = models.load(run_dir).schedule
    known = [tuple(torch.tensor(schedule.pair(t)).tolist()) for t in range(1, schedule.steps + 1)]
    assert sorted(pairs) == sorted(known)


def test_the_validation_loss_is_the_mean_over_images_however_many_go_at_once(data_dir, tmp_path, monkeypatch):
    losses = []
    for chunk in (250, 5):
        monkeypatch.setattr(models, "CHUNK", chunk)
        run_dir = train_ddpm.main(config(data_dir, tmp_path, steps=1, measure_every=1))
        losses.append(runs.read_metrics(run_dir)[0]["val/loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_min_snr_takes_its_gamma_from_the_flags():
    alpha, sigma = torch.tensor([0.999, 0.9]).view(2, 1, 1, 1), torch.tensor([0.04, 0.43]).view(2, 1, 1, 1)
    for gamma in (2.0, 9.0):
        one = config(Path(), Path(), weight="min-snr", min_snr_gamma=gamma)
        wanted = diffusion.min_snr_weight("v", alpha, sigma, gamma).flatten()
        assert torch.equal(train_ddpm.weight(one, alpha, sigma), wanted)


def test_the_validation_loss_is_that_of_the_averaged_weights_under_one_noise(data_dir, tmp_path):
    one = config(data_dir, tmp_path, steps=2, measure_every=2)
    run_dir = train_ddpm.main(one)
    images, model = train_ddpm.load(one, "val", 12), models.load(run_dir)  # a run's averaged weights
    draws = torch.Generator().manual_seed(1)
    noise = torch.randn(12, 1, 16, 16, generator=draws)
    times = 1 + torch.randint(20, (12,), generator=draws)
    x0 = data.to_model_range(images.images)
    alpha, sigma = model.schedule.at(times, x0)
    output = model.network(alpha * x0 + sigma * noise, times / 20, images.labels)
    wanted = (output - (alpha * noise - sigma * x0)).square().mean().item()
    assert runs.read_metrics(run_dir)[0]["val/loss"] == pytest.approx(wanted, rel=1e-5)


def test_long_gradients_are_shortened(data_dir, tmp_path, monkeypatch):
    """Down to next to nothing, so that Adam's steps are next to nothing too."""
    monkeypatch.setattr(train_ddpm, "LARGEST_GRADIENT", 1e-14)
    weights = []
    for steps in (1, 4):
        run_dir = train_ddpm.main(config(data_dir, tmp_path, steps=steps, measure_every=9))
        weights.append(checkpoints.read(run_dir / "checkpoints" / "last.pt")["parts"]["network"])
    assert all((value - weights[1][name]).abs().max() < 1e-6 for name, value in weights[0].items())


def test_the_average_follows_the_step(data_dir, tmp_path):
    """It begins as the weights after the first step, not as those before it."""
    run_dir = train_ddpm.main(config(data_dir, tmp_path, steps=1, measure_every=1))
    parts = checkpoints.read(run_dir / "checkpoints" / "last.pt")["parts"]
    assert all(torch.equal(parts["ema"][f"module.{name}"], value) for name, value in parts["network"].items())


def test_samples_of_a_measurement_have_the_classes_of_validation_images(data_dir, tmp_path, monkeypatch):
    """Each is drawn as an even grey of its class; the picture has up to eight of each class, in order."""
    grey = lambda labels: (25 * labels[:, None, None, None] / 127.5 - 1).expand(-1, 1, 16, 16)
    pictures, measured = [], []
    monkeypatch.setattr(train_ddpm.Report, "draw", lambda report, noise, labels: grey(labels))
    monkeypatch.setattr(
        runs.Run, "save_samples", lambda run, name, step, images, columns: pictures.append(images)
    )
    monkeypatch.setattr(samples.Reference, "measure", lambda real, images: measured.append(images) or {})
    one = config(data_dir, tmp_path, steps=1, measure_every=1, measure_images=120)
    train_ddpm.main(one)
    labels = train_ddpm.load(one, "val", 120).labels
    shown = torch.cat([labels[labels == k][:8] for k in range(10)])
    for images, wanted in ((measured[0], labels), (pictures[0], shown)):
        assert torch.equal(images, data.to_uint8(grey(wanted)))
