"""What is measured of samples while a generator trains, and averaged weights with statistics of their own."""

import copy
import dataclasses
import math

from common.averaged_weights import averaged, recompute_batch_statistics
from common.data import avatars
from common.metrics import extractors, nearest, samples

import pytest
import torch
from torch import nn


@pytest.fixture(scope="module")
def people():
    """240 avatars of 64 pixels, which the shipped extractor reads."""
    return avatars.draw_set("val", 64, 240, 0)


@pytest.fixture(scope="module")
def real(people):
    return samples.reference_of(people)


# ---- numbers of samples


def test_real_images_against_themselves_are_perfect(people, real):
    numbers = real.measure(people.images)
    assert numbers.keys() == {"diversity", "grid", "fd_avatars_240", "valid", "coverage", "evenness"}
    assert numbers.pop("fd_avatars_240") == pytest.approx(0, abs=1e-3)
    assert numbers.pop("valid") > 0.98
    assert all(value == pytest.approx(1, abs=1e-6) for value in numbers.values())


def test_features_that_are_known_already_give_the_same_numbers(people, real):
    some = people.images.flip(0)[:100]
    assert real.measure(some, real.features_of(some)) == real.measure(some)


def test_the_distance_is_the_extractors(real):
    other = avatars.draw_set("test", 64, 240, 0)
    reference = extractors.frechet(real.extractor, other, avatars.draw_set("val", 64, 240, 0))
    assert real.measure(other.images)["fd_avatars_240"] == pytest.approx(reference, rel=1e-6)
    estimate = real.estimate(real.features_of(other.images))
    assert estimate.value == pytest.approx(reference, rel=1e-6)
    assert 0 < estimate.standard_error < reference


def test_styles_are_those_the_avatars_were_drawn_with(people, real):
    drawn = samples.styles(people.attributes, real.extractor)
    recognised = real.styles >= 0
    assert (drawn[recognised] == real.styles[recognised]).double().mean() > 0.98
    sizes = [len(options) for options in samples.style_options(real.extractor).values()]
    assert math.prod(sizes) == 4032
    assert drawn.min() >= 0
    assert drawn.max() < 4032
    attributes = [people.attributes[name].tolist() for name in samples.style_options(real.extractor)]
    assert len(drawn.unique()) == len(set(zip(*attributes)))  # no two styles under one number


def test_one_face_for_all_is_seen_by_every_number(people, real):
    numbers = real.measure(people.images[:1].expand(240, -1, -1, -1).contiguous())
    distinct = len(real.styles[real.styles >= 0].unique())
    assert numbers["diversity"] == 0
    assert numbers["evenness"] == 0
    assert numbers["valid"] == 1
    assert numbers["coverage"] == pytest.approx(1 / distinct)
    assert numbers["fd_avatars_240"] > 100


def test_noise_is_no_style(real):
    seeded = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (240, 3, 64, 64), dtype=torch.uint8, generator=seeded)
    numbers = real.measure(noise)
    assert numbers["valid"] < 0.05
    assert numbers["coverage"] < 0.05
    grey = real.measure(torch.full_like(noise, 128))
    assert grey["valid"] == grey["coverage"] == grey["evenness"] == 0


def test_half_the_modes_keep_half_of_the_coverage_and_most_of_the_diversity(people, real):
    numbers = real.measure(people.images[:120].repeat(2, 1, 1, 1))
    distinct = lambda found: len(found[found >= 0].unique())
    assert numbers["coverage"] == pytest.approx(distinct(real.styles[:120]) / distinct(real.styles))
    assert numbers["diversity"] == pytest.approx(1, abs=0.1)
    assert 0.7 < numbers["evenness"] < 0.95


def test_entropy_is_that_of_the_recognised_alone():
    assert samples.entropy(torch.tensor([3, 3, 7, 7, -1])) == pytest.approx(math.log(2))
    uneven = samples.entropy(torch.tensor([5] * 9 + [6]))
    assert uneven == pytest.approx(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))


def test_where_no_extractor_reads_the_images_diversity_and_grid_are_all(people):
    small = avatars.draw_set("val", 32, 20, 0)
    assert samples.reference_of(small).measure(small.images).keys() == {"diversity", "grid"}
    assert samples.reference_of(small, any_side=True).name == "fd_avatars_20"
    folder = dataclasses.replace(small, file_names=tuple("x" * 20))  # a user's folder called avatars
    grey = dataclasses.replace(small, images=small.images[:, :1])
    toys = dataclasses.replace(small, name="toys")
    for other in (folder, grey, toys):
        assert samples.reference_of(other, any_side=True).extractor is None


def test_images_of_another_side_are_brought_to_the_extractors(people, real):
    large = people.images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    brought = samples.resized(large, 64)
    assert brought.shape == people.images.shape
    assert brought.dtype == torch.uint8
    assert (brought.float() - people.images.float()).abs().mean() < 4  # grey levels: edges get softer
    assert samples.resized(people.images, 64) is people.images
    found = samples.Reference(large, real.extractor)
    assert torch.equal(found.features, real.features_of(brought))


@pytest.mark.parametrize(
    ("diversities", "collapsed"),
    [
        ([0.1, 0.3, 0.6, 0.9], [False, False, False, False]),
        ([0.1, 0.6, 0.4, 0.7], [False, False, True, False]),
        ([0.1, 0.3, 0.2], [True, True, True]),
        ([0.8, 0.2], [False, True]),
        ([], []),
    ],
)
def test_a_measurement_is_a_collapse_only_after_the_generator_was_diverse(diversities, collapsed):
    assert samples.collapsed(diversities) == collapsed


# ---- drawing


def network() -> nn.Sequential:
    """z (B, 5) -> images (B, 3, 4, 4), with batch normalisation."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 48), nn.BatchNorm1d(48), nn.Tanh(), nn.Unflatten(1, (3, 4, 4)))


def test_samples_repeat_and_leave_the_generator_as_it_was():
    generator = network()
    state = {name: value.clone() for name, value in generator.state_dict().items()}
    one, two, other = (samples.decode(generator, samples.latents(600, 5, seed)) for seed in (1, 1, 2))
    assert one.shape == (600, 3, 4, 4)
    assert one.dtype == torch.uint8
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert generator.training
    assert all(torch.equal(state[name], value) for name, value in generator.state_dict().items())
    assert not generator.eval().training and not samples.decode(generator, samples.latents(3, 5, 0)).is_cuda
    assert not generator.training


def test_every_version_draws_from_the_same_latents_under_its_own_name():
    raw = network()
    ema = copy.deepcopy(raw)
    nn.init.zeros_(ema[0].weight)  # all images alike
    real = samples.Reference(samples.decode(raw, samples.latents(200, 5, 3)))
    z = samples.latents(200, 5, 4)
    numbers, images = samples.measure_versions({"raw": raw, "ema": ema}, z, real)
    measured = ("diversity", "grid")
    assert numbers.keys() == {f"val/{version}_{name}" for version in ("raw", "ema") for name in measured}
    assert numbers["val/raw_diversity"] == pytest.approx(1, abs=0.3)
    assert numbers["val/ema_diversity"] == pytest.approx(0, abs=1e-6)
    assert torch.equal(images["raw"], samples.decode(raw, z))
    assert torch.equal(images["ema"], samples.decode(ema, z))


# ---- nearest images


def test_the_nearest_of_parts_are_the_nearest_of_all():
    torch.manual_seed(0)
    points, known = torch.randn(30, 4), torch.randn(50, 4)
    found = nearest.nearest(points, known.split(7), count=3, chunk=8)
    by_hand = torch.cdist(points, known).sort(dim=1)
    assert torch.equal(found.row, by_hand.indices[:, :3])
    torch.testing.assert_close(found.distance, by_hand.values[:, :3])


def test_the_distance_of_pixels_is_a_root_mean_square():
    black, white = (torch.full((1, 3, 4, 5), value, dtype=torch.uint8) for value in (0, 255))
    assert torch.cdist(nearest.pixels(black), nearest.pixels(white)).item() == pytest.approx(1, rel=1e-6)


# ---- averaged weights


def test_averaged_weights_get_statistics_of_their_own():
    generator = network()
    alike = copy.deepcopy(generator)
    alike[1].running_mean.fill_(3.0)  # what copies of other weights' statistics may be
    z = torch.randn(500, 5)
    with torch.inference_mode():
        batch_statistics = copy.deepcopy(generator)(z)
        before = alike.eval()(z)
        recompute_batch_statistics(alike, z.split(100))
        after = alike(z)
    assert not alike.training
    assert alike[1].momentum == 0.1
    assert (after - batch_statistics).abs().mean() < 0.05 * (before - batch_statistics).abs().mean()
    again = copy.deepcopy(alike)
    recompute_batch_statistics(again, z.split(100))
    assert all(torch.equal(one, other) for one, other in zip(again.buffers(), alike.buffers()))


def test_without_batch_normalisation_no_inputs_are_drawn():
    def inputs():
        raise AssertionError("drawn")
        yield

    recompute_batch_statistics(nn.Linear(2, 2), inputs())


@pytest.mark.parametrize(("growing", "decays"), [(False, [0.5, 0.5]), (True, [2 / 11, 3 / 12])])
def test_an_average_remembers_what_its_decay_says(growing, decays):
    model = nn.Linear(1, 1, bias=False)
    average, expected = averaged(model, 0.5, growing=growing), 1.0
    for value, decay in zip((1.0, 3.0, -2.0), [0.0, *decays]):  # the first update copies
        nn.init.constant_(model.weight, value)
        average.update_parameters(model)
        expected = decay * expected + (1 - decay) * value
        assert average.module.weight.item() == pytest.approx(expected, rel=1e-6)


def test_statistics_are_averaged_only_where_asked():
    for flags in ({}, {"buffers": False}, {"buffers": True}):
        model = network()
        average = averaged(model, 0.5, **flags)
        for _ in range(3):
            model(torch.randn(64, 5) + 2)
            average.update_parameters(model)
        as_the_last = torch.equal(average.module[1].running_mean, model[1].running_mean)
        assert as_the_last != flags.get("buffers", False)


def test_a_growing_average_forgets_the_first_weights_soon():
    """It begins with the weights and not with chance."""
    layer = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(layer.weight, 5.0)
    ema = averaged(layer, 0.999, growing=True)
    for _ in range(100):
        torch.nn.init.constant_(layer.weight, 1.0)
        ema.update_parameters(layer)
    assert ema.module.weight.item() == pytest.approx(1, abs=0.05)
