"""The chain of pixels: its probabilities against a naive count, totals of 1, limiting cases, samples."""

import math
from collections import Counter
from dataclasses import replace

from common.data import avatars

import pytest
import torch
from pixel_blocks import blocks, generator

from hw1_bayes_and_autoencoders import bayes_pixels
from hw1_bayes_and_autoencoders.pixel_chain import ABOVE, LEFT, NEW, PixelChain, toss
from hw1_bayes_and_autoencoders.pixel_models import (
    PixelTables,
    bits_per_pixel,
    neighbour_difference,
)


@pytest.fixture(scope="module")
def faces():
    return avatars.draw_set("train", 48, 11, 0).images, avatars.draw_set("val", 48, 4, 0).images


def naive_probability(train, image, row, column, value, *, bits, cell, alpha, beta):
    """p(value at (row, column) | neighbours) from dictionaries, straight from the definition, one channel."""
    at = lambda x, i, j: int(x[i, j]) if i >= 0 and j >= 0 else 255
    shift = 8 - bits

    def contexts(x, i, j):
        colors = [at(x, i, j - 1) >> shift, at(x, i - 1, j) >> shift, at(x, i - 1, j - 1) >> shift]
        whole = ((i // cell, j // cell), *colors)
        return [whole[:k] for k in range(5)]

    def symbol(x, i, j):
        v = at(x, i, j)
        return LEFT if v == at(x, i, j - 1) else ABOVE if v == at(x, i - 1, j) else NEW + (v >> shift)

    n, n_exact, n_cell = Counter(), Counter(), Counter()
    for x in train[:, 0]:
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                s = symbol(x, i, j)
                for c in contexts(x, i, j):
                    n[c, s] += 1
                    n[c] += 1
                if s >= NEW:
                    n_exact[at(x, i, j)] += 1
                    n_cell[s] += 1

    def p(s):
        result = (n[(), s] + (alpha * 2**shift if s >= NEW else 0)) / (n[()] + 256 * alpha)
        for c in contexts(image, row, column)[1:]:
            result = (n[c, s] + beta * result) / (n[c] + beta)
        return result

    s = NEW + (value >> shift)
    within = (n_exact[value] + alpha) / (n_cell[s] + alpha * 2**shift)
    left, above = at(image, row, column - 1), at(image, row - 1, column)
    return p(s) * within + p(LEFT) * (value == left) + p(ABOVE) * (value == above)


def test_chain_probabilities_agree_with_a_naive_count():
    options = {"bits": 3, "cell": 2, "alpha": 0.01, "beta": 0.5}
    train, asked = blocks(4), torch.cat([blocks(2, seed=1), blocks(1, levels=256, seed=2)])
    log2_p = PixelChain.fit(train, **options).log2_probability(asked)
    for k, (i, j) in enumerate([(0, 0), (0, 3), (2, 0), (4, 6), (3, 2), (1, 5)]):
        image = asked[k % 3, 0]
        expected = naive_probability(train, image, i, j, int(image[i, j]), **options)
        assert float(log2_p[k % 3, i, j]) == pytest.approx(math.log2(expected), abs=1e-10)


@pytest.mark.parametrize("options", [{}, {"bits": 8, "beta": 3}, {"bits": 1, "cell": 4}, {"beta": 0}])
@pytest.mark.parametrize("seed", range(3))
def test_chain_sums_to_1_over_all_values_after_random_contexts(options, seed):
    model = PixelChain.fit(blocks(6), **options)
    image = blocks(1, levels=3 if seed else 5, seed=seed)
    for i, j in [(4, 6), (0, 0), (2, 3), (0, 6), (4, 0)]:
        every = image.repeat(256, 1, 1, 1)
        every[:, 0, i, j] = torch.arange(256, dtype=torch.uint8)
        assert float(model.log2_probability(every)[:, i, j].exp2().sum()) == pytest.approx(1, abs=1e-12)


def test_pixels_depend_on_the_left_and_above_only():
    model, images = PixelChain.fit(blocks(6), beta=1), blocks(2, seed=5)
    before = model.log2_probability(images)
    images[:, :, 3, 4:] += 30
    images[:, :, 4] += 30
    after = model.log2_probability(images)
    assert torch.equal(before[:, :3], after[:, :3])
    assert torch.equal(before[:, 3, :4], after[:, 3, :4])
    assert not torch.equal(before, after)


def test_chain_without_weight_on_data_is_uniform():
    images = blocks(3, channels=3)
    log2_p = PixelChain.fit(images, alpha=1e18, beta=1e18).log2_probability(images)
    assert torch.allclose(log2_p, torch.full_like(log2_p, -24), atol=1e-6)


@pytest.mark.parametrize("size", [(5, 7), (6, 3)])
def test_one_image_without_smoothing_is_reproduced(size):
    image = torch.randint(256, (1, 3, *size), generator=generator(3), dtype=torch.uint8)
    model = PixelChain.fit(image, bits=8, alpha=0, beta=0)
    assert torch.equal(model.sample(3, generator()), image.repeat(3, 1, 1, 1))


def test_a_white_image_costs_nothing_and_gives_white():
    white = torch.full((2, 3, 4, 5), 255, dtype=torch.uint8)
    model = PixelChain.fit(white, alpha=0)
    assert bits_per_pixel(model.log2_probability(white)).tolist() == [0, 0]
    assert torch.equal(model.sample(2, generator()), white)


@pytest.mark.parametrize("beta", [0.05, 2.0])
def test_the_wavefront_draws_from_the_distribution_whose_likelihood_it_reports(beta):
    """How often each 2 x 2 image is drawn, against its probability."""
    train = blocks(6, height=2, width=2, levels=2)
    model = PixelChain.fit(train, bits=1, alpha=0, beta=beta)  # alpha 0: seen colours only
    count = 40_000
    drawn = model.sample(count, generator(4)).flatten(1)
    every, n = drawn.unique(dim=0, return_counts=True)
    p = model.log2_probability(every.view(-1, 1, 2, 2)).sum((1, 2)).exp2()
    assert float(p.sum()) == pytest.approx(1, abs=1e-2)  # nearly everything possible was drawn
    assert ((n - count * p).abs() <= 5 * (count * p).sqrt() + 5).all()  # + 5: images expected about once


@pytest.mark.parametrize("channels", [1, 3])
def test_without_any_observation_all_colours_together_weigh_as_much_as_one(channels):
    """The root of the chain: at a place and among neighbours never seen, beta being huge."""
    train = torch.full((4, channels, 1, 1), 128, dtype=torch.uint8)
    asked = torch.full((1, channels, 1, 1), 9, dtype=torch.uint8)  # of a coarse colour that never was
    model = PixelChain.fit(train, bits=4, beta=1e12)
    coarse = 2 ** (-4 * channels)  # one observation, shared by all coarse colours, then by the exact ones
    assert float(model.log2_probability(asked).exp2()) == pytest.approx(coarse / 5 * coarse, rel=1e-6)


def test_samples_of_one_pixel_have_the_probabilities_of_the_root():
    """Every length of context falls back on the shorter one with a weight that matters."""
    train = torch.tensor([10, 10, 10, 200, 201], dtype=torch.uint8).view(5, 1, 1, 1)
    model, count = PixelChain.fit(train, bits=4, alpha=0.02, beta=50.0), 100_000
    every = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)
    p = model.log2_probability(every).flatten().exp2()
    share = torch.bincount(model.sample(count, generator(6)).flatten().long(), minlength=256) / count
    assert ((share - p).abs() <= 5 * (p * (1 - p) / count).sqrt()).all()  # 256 values: chance 1.5e-4


@pytest.mark.parametrize("channels", [1, 3])
def test_one_pseudo_observation_is_one_over_all_options(channels):
    config = bayes_pixels.Config(alpha=3.0)
    models = bayes_pixels.fit_models(blocks(7, channels), config)
    assert models["channels_smoothed"].alpha == 3.0
    for name, model in models.items():
        if name.endswith("one_pseudo_observation"):
            assert model.alpha * model.options == 1
            assert model.weight_of_data == 7 / 8
    assert ("colors_one_pseudo_observation" in models) == (channels == 3)
    assert models["channels_one_pseudo_observation"].options == 256


def test_tossing_follows_the_weights():
    ones = torch.ones(20_000, dtype=torch.int64)
    share = toss(3 * ones, 1.0, ones, 0 * ones, generator()).double().mean()
    assert abs(float(share) - 0.75) < 5 * math.sqrt(0.75 * 0.25 / 20_000)
    assert toss(0 * ones, 0.0, ones, 0 * ones, generator()).sum() == 0


def test_dependence_beats_independence_on_other_people_and_mends_the_grain(faces):
    train, held_out = faces
    chain, table = PixelChain.fit(train), PixelTables(train, joint=True, alpha=2.0**-24)
    bits = [float(bits_per_pixel(model.log2_probability(held_out)).mean()) for model in (chain, table)]
    assert bits[0] < bits[1] < 24
    assert PixelTables(train, joint=True).log2_probability(held_out).isinf().any()
    rough = neighbour_difference(table.sample(5, generator()))
    assert abs(neighbour_difference(chain.sample(5, generator())) - neighbour_difference(train)) < rough / 2


def test_beta_is_not_part_of_the_counts(faces):
    train, held_out = faces
    changed = replace(PixelChain.fit(train), beta=4.0).log2_probability(held_out)
    assert torch.equal(changed, PixelChain.fit(train, beta=4.0).log2_probability(held_out))


@pytest.mark.parametrize("bits", [1, 4, 7])
def test_a_new_colour_is_one_of_its_coarse_one(bits):
    """Of three channels, also where no image had an exact colour of it."""
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model = PixelChain.fit(images, bits=bits, alpha=1000.0)
    cell = torch.randint(2 ** (3 * bits), (500,), generator=torch.Generator().manual_seed(1))
    color = model._draw_color(NEW + cell, torch.Generator().manual_seed(2))
    assert torch.equal(model.coarse(color), cell) and color.max() < 2**24
    assert len(color.unique()) > 400, "exact colours are drawn from all that the coarse one has"
