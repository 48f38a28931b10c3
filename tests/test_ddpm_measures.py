"""What is measured of a diffusion model: which noise, which classes, which images, which way round."""

import math
from pathlib import Path

from common import data
from common.metrics import samples

import pytest
import torch
from small_diffusion import untrained

from hw4_diffusion import ddpm_measures, eval_ddpm, samplers
from hw4_diffusion.ddpm_measures import Way

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> data.ImageSet:
    folder = tmp_path_factory.mktemp("data")
    return data.load("digits", "test", size=16, data_dir=folder).take(slice(0, 60))


@pytest.fixture(scope="module")
def real(digits) -> samples.Reference:
    return samples.reference_of(digits.take(slice(0, 40)), any_side=True)


# ---- drawing


@pytest.fixture
def handed(monkeypatch) -> list[dict]:
    """What samplers are given, and noise that they draw; they return x as it is."""
    calls = []

    def sample(name, denoise, schedule, times, x, *, randn):
        calls.append({"name": name, "denoise": denoise, "times": times, "x": x, "fresh": randn(x)})
        yield 0, x

    monkeypatch.setattr(samplers, "sample", sample)
    return calls


def test_all_noise_is_that_of_the_seed_and_drawn_once(handed):
    model, way = untrained(), Way("ancestral", 3)
    for seed in (5, 5, 6):
        torch.randn(7)  # whatever was drawn before
        ddpm_measures.draw(model, way, 4, None, seed, CPU)
    one, again, other = handed
    assert torch.equal(one["x"], torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(5)))
    for noise in ("x", "fresh"):
        assert torch.equal(one[noise], again[noise]) and not torch.equal(one[noise], other[noise])
    assert not torch.equal(one["fresh"], one["x"]), "new noise is independent of x_T"


def test_classes_guidance_and_times_are_those_of_the_way(handed):
    model, labels = untrained(), torch.tensor([3, 1, 4, 1])
    ddpm_measures.draw(model, Way("ddim", 5, "log-snr", 2.5), 4, labels, 0, CPU)
    (call,) = handed
    assert call["name"] == "ddim"
    assert call["times"] == ddpm_measures.sampling_times(model.schedule, 5, "log-snr")
    for got, wanted in zip(call["denoise"](call["x"], 9), model.denoiser(labels, 2.5)(call["x"], 9)):
        assert torch.allclose(got, wanted, atol=1e-6)


def test_seconds_are_those_of_one_image(handed, monkeypatch):
    clock = iter((3.0, 11.0))
    monkeypatch.setattr(ddpm_measures.time, "process_time", lambda: next(clock))
    assert ddpm_measures.draw(untrained(), Way("ddim", 2), 4, None, 0, CPU).seconds == 2


# ---- quality


def test_a_tenth_of_the_images_over_and_over_is_precise_and_recalls_little(digits, real):
    found = ddpm_measures.quality(untrained(), digits.images[:4].repeat(10, 1, 1, 1), None, real)
    assert found["precision"] == 1 and found["recall"] < 0.5


def test_copies_are_near_to_training_images(digits, real):
    """Samples that are training images but for a grey level, and the distance of training images."""
    train = digits.take(slice(40, 60))
    copied = real.features_of((train.images.int() - 1).clamp(0, 255).to(torch.uint8).repeat(2, 1, 1, 1))
    found = ddpm_measures.thorough(copied, real, real.features_of(train.images))
    assert 0 < found["nearest_training_ratio"] < 0.5
    known = real.features_of(train.images)
    assert found["fd_digits_40_of_training_images"] == pytest.approx(real.distance(known))


def test_the_distance_of_training_images_is_of_all_parts_of_their_set(real, tmp_path):
    """A folder of classes comes in their order: the first images would be of a few classes."""
    train = data.load("digits", "train", size=16, count=80, data_dir=tmp_path)
    train = train.take(train.labels.argsort())
    found = ddpm_measures.thorough(real.features, real, real.features_of(train.images))[
        "fd_digits_40_of_training_images"
    ]
    distance = lambda images: real.distance(real.features_of(images))
    assert found == pytest.approx(distance(train.few(40).images))
    assert found < 0.9 * distance(train.images[:40])


# ---- the bound


def test_the_bound_takes_every_time_and_the_classes(monkeypatch, digits):
    model, images = untrained(), digits.take(slice(0, 3))
    asked, terms = [], torch.arange(3 * 41.0).view(3, 41).square()

    def bound_terms(denoise, schedule, x0, times, randn):
        asked.append((denoise, times, x0))
        return terms

    monkeypatch.setattr(ddpm_measures, "bound_terms", bound_terms)
    found = ddpm_measures.bits(model, images, images.labels, CPU)
    ((denoise, times, x0),) = asked
    assert times == list(range(40, -1, -1))
    for got, wanted in zip(denoise(x0, 9), model.denoiser(images.labels)(x0, 9)):
        assert torch.equal(got, wanted)
    bits = terms / (256 * math.log(2))
    total = bits.sum(1)
    assert found == {
        "bits_per_dimension": pytest.approx(total.mean().item()),
        "bits_per_dimension_standard_error": pytest.approx(total.std().item() / 3**0.5),
        "bits_per_dimension_first": pytest.approx(bits[:, 0].mean().item()),
        "bits_per_dimension_last": pytest.approx(bits[:, 40].mean().item()),
    }


def test_an_evaluation_takes_the_bound_of_a_few_images_with_their_classes(monkeypatch, digits, real):
    taken = []
    monkeypatch.setattr(ddpm_measures, "bits", lambda model, images, labels, device: taken.append(
        (images.labels, labels)) or {})  # fmt: skip
    config, way = eval_ddpm.Config(("a",), bound_images=6, outdir=Path()), Way("dpm-solver++", 2)
    test, place = digits.take(slice(0, 40)), eval_ddpm.devices.Device(CPU)
    train = digits.take(slice(40, 60))
    eval_ddpm.measure(config, untrained(), way, test, real, real.features_of(train.images), place)
    ((of_images, told),) = taken
    assert torch.equal(told, of_images) and torch.equal(told, test.few(6).labels)
