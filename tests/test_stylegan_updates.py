"""A step of StyleGAN2's training: which images and labels each player sees, and what is measured and kept."""

from pathlib import Path

from common import augmentation, checkpoints, runs
from common.data import to_model_range

import pytest
import torch
from small_stylegans import config

from hw3_stylegan_sampling import models, monitor, train_stylegan
from hw3_stylegan_sampling.discriminator import Discriminator
from hw3_stylegan_sampling.networks import Generator


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


def creatures(data_dir: Path, outdir: Path, **changes) -> train_stylegan.Config:
    """The smallest conditional training."""
    small = {"data_dir": data_dir, "train_images": 24, "size": 32, "channels": (6, 6, 6, 6), "steps": 2,
             "measure_every": 2, "r1_every": 1, "path_every": 1, "augment": ("color",)}  # fmt: skip
    return config("creatures", outdir, **{**small, **changes})


@pytest.fixture
def judged(monkeypatch) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images and labels of every call of the discriminator; augmentation adds 5, so that it shows."""
    calls, forward = [], Discriminator.forward

    def spy(self, images, labels):
        calls.append((images.detach().clone(), labels.detach().clone()))
        return forward(self, images, labels)

    monkeypatch.setattr(Discriminator, "forward", spy)
    monkeypatch.setattr(augmentation.Augmentation, "forward", lambda self, images: images + 5)
    return calls


def test_who_sees_what(judged, data_dir, tmp_path):
    """In each step real and generated images, real ones again for R1, generated ones for the generator: all
    of them augmented, all with the labels that belong to them."""
    one = creatures(data_dir, tmp_path)
    train_stylegan.main(one)
    train = train_stylegan.load(one, "train", one.train_images)
    known, (labels, _) = to_model_range(train.images), train_stylegan.labels_of(one, train)
    assert len(judged) == 8
    for step in (judged[:4], judged[4:]):
        (real, told), (fake, ordered), (penalised, told_again), (shown, ordered_again) = step
        assert torch.equal(real, penalised) and torch.equal(told, told_again)
        assert torch.equal(fake, shown) and torch.equal(ordered, ordered_again)
        apart = torch.cdist((real - 5).flatten(1), known.flatten(1))
        assert apart.min(1).values.max() < 1e-3, "real images, augmented"
        assert torch.equal(told, labels[apart.argmin(1)])
        assert fake.mean() > 3 and not torch.equal(told, ordered)


def test_labels_of_generated_images_are_those_that_z_chooses(judged, data_dir, tmp_path, monkeypatch):
    drawn, styles = [], Generator.styles
    monkeypatch.setattr(
        Generator, "styles", lambda self, z, *more, **named: drawn.append((self, z)) or styles(self, z, *more)
    )
    train_stylegan.main(creatures(data_dir, tmp_path, steps=1, path_weight=0))
    generator, z = drawn[0]
    assert torch.equal(judged[1][1], generator.mapping.labels(z))


def test_the_memory_of_the_average_counts_images(data_dir, tmp_path, monkeypatch):
    """After so many images as --ema-images says half of it is left, whatever the batch."""
    decays, averaged = [], train_stylegan.averaged
    monkeypatch.setattr(
        train_stylegan, "averaged", lambda *given, **more: decays.append(given[1]) or averaged(*given, **more)
    )
    train_stylegan.main(creatures(data_dir, tmp_path, steps=1, batch_size=8, ema_images=400))
    assert decays[0] ** (400 / 8) == pytest.approx(0.5)


def test_the_mean_path_length_moves_by_a_hundredth(data_dir, tmp_path, monkeypatch):
    seen, path_lengths = [], train_stylegan.path_lengths
    monkeypatch.setattr(
        train_stylegan, "path_lengths", lambda *given: seen.append(path_lengths(*given)) or seen[-1]
    )
    run_dir = train_stylegan.main(creatures(data_dir, tmp_path, steps=1, batch_size=8))
    (lengths,) = seen
    assert len(lengths) == 4, "half of the batch"
    kept = checkpoints.read(run_dir / "checkpoints" / "last.pt")["parts"]["paths"]["mean"]
    assert kept.item() == pytest.approx(lengths.mean().item() / 100, rel=1e-5)
    assert runs.read_metrics(run_dir)[-1]["train/path_length"] == pytest.approx(kept.item())


def test_adaptive_augmentation_watches_real_images(data_dir, tmp_path, monkeypatch):
    given, logits = [], []
    monkeypatch.setattr(augmentation.Augmentation, "update", lambda self, real: given.append(real))
    forward = train_stylegan.Pair.forward
    monkeypatch.setattr(
        train_stylegan.Pair, "forward", lambda self, *both: logits.append(forward(self, *both)) or logits[-1]
    )
    train_stylegan.main(creatures(data_dir, tmp_path, augment=("color", "adaptive")))
    assert [real is of_real for real, (of_real, _) in zip(given, logits, strict=True)] == [True, True]


def test_both_versions_are_measured_under_their_names_and_the_average_is_kept(
    data_dir, tmp_path, monkeypatch
):
    measured = []
    measure_versions = monitor.samples.measure_versions

    def spy(versions, *more):
        states = {name: [p.clone() for p in network.parameters()] for name, network in versions.items()}
        measured.append(states)
        return measure_versions(versions, *more)

    monkeypatch.setattr(monitor.samples, "measure_versions", spy)
    run_dir = train_stylegan.main(creatures(data_dir, tmp_path, steps=3, measure_every=3, cooldown=0))
    parts = checkpoints.read(run_dir / "checkpoints" / "last.pt")["parts"]
    kept = models.load(run_dir)
    assert any(not torch.equal(*both) for both in zip(*measured[-1].values(), strict=True))
    for (name, value), raw, ema in zip(kept.named_parameters(), *measured[-1].values(), strict=True):
        assert torch.equal(raw, parts["generator"][name])
        assert torch.equal(ema, parts["ema"][f"module.{name}"]) and torch.equal(value, ema)
    assert list(measured[-1]) == ["raw", "ema"]
    before = kept.w_mean.clone()
    kept.estimate_w_mean()
    assert torch.allclose(kept.w_mean, before, atol=1e-5), "the mean w of these very weights"
