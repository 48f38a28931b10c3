"""Drawn creatures: deterministic, apart between splits, mirrored, every option visible, exact in any size."""

from common.data import creature_parts, creatures
from common.data.creature_parts import GRID, OPTIONS
from common.errors import InputError

import numpy as np
import pytest
import torch
from scipy import ndimage


@pytest.fixture(scope="module")
def train():
    return creatures.draw_set("train", 32, 1000, 0)  # one pixel a cell


def test_what_a_set_holds(train):
    assert train.images.shape == (1000, 3, 32, 32) and train.images.dtype == torch.uint8
    assert train.options == OPTIONS and train.class_names == OPTIONS["body"]
    assert torch.equal(train.labels, train.attributes["body"])
    for name, options in OPTIONS.items():
        values = train.attributes[name]
        assert values.dtype == torch.int64 and len(values.unique()) == len(options)
        share = values.bincount() * len(options) / 1000
        assert share.min() > 0.6 and share.max() < 1.4  # five standard deviations of the rarest option
    hue = train.attributes["hue"]
    assert hue.dtype == torch.float32 and hue.min() >= 0 and hue.max() < 1 and hue.std() > 0.25


def test_the_same_arguments_give_the_same_set(train):
    again = creatures.draw_set("train", 32, 1000, 0)
    assert torch.equal(again.images, train.images)
    assert all(torch.equal(again.attributes[name], values) for name, values in train.attributes.items())
    assert not torch.equal(creatures.draw_set("train", 32, 5, 1).images, train.images[:5])


@pytest.mark.parametrize("count", [1, 7, 501])
def test_fewer_creatures_are_the_first_of_more(train, count):
    fewer = creatures.draw_set("train", 32, count, 0)
    assert torch.equal(fewer.images, train.images[:count])
    assert torch.equal(fewer.attributes["legs"], train.attributes["legs"][:count])


def test_no_image_twice_within_or_across_splits(train):
    others = [creatures.draw_set(split, 32, 500, 0) for split in ("val", "test")]
    images = [image.numpy().tobytes() for part in (train, *others) for image in part.images]
    assert len(set(images)) == 2000


def test_silhouettes_are_mirrored_but_for_the_tail(train):
    drawn = (train.images < 255).any(1)
    same = (drawn == drawn.flip(-1)).all(-1).all(-1)
    tailless = train.attributes["tail"] == 0
    assert same[tailless].all()
    assert (~same[~tailless]).double().mean() > 0.9  # a small tail may hide behind a wing


def test_a_creature_is_one_piece_of_a_fair_size_on_white(train):
    drawn = (train.images < 255).any(1).numpy()
    pieces = [ndimage.label(silhouette, np.ones((3, 3)))[1] for silhouette in drawn]
    assert max(pieces) == 1
    cover = drawn.mean((1, 2))
    assert cover.min() > 0.15 and cover.max() < 0.8
    assert (train.images[:, :, :, 0] == 255).double().mean() > 0.9  # only wide wings reach the border


@pytest.mark.parametrize(("name", "option"), [(n, i) for n, o in OPTIONS.items() for i in range(1, len(o))])
def test_every_option_is_visible(name, option):
    """Changing one choice and nothing else changes at least four cells of the creature."""
    count = 40
    generator = torch.Generator().manual_seed(1)
    choices = {n: torch.randint(len(o), (count,), generator=generator) for n, o in OPTIONS.items()}
    draw = lambda value: creatures.draw_cells(
        {**choices, name: torch.full((count,), value)}, torch.Generator().manual_seed(2)
    )
    changed = (draw(option) != draw(0)).flatten(1).sum(1)
    assert changed.min() >= 4


@pytest.fixture(scope="module")
def few():
    drawn = creatures.draw_chunk(5, torch.Generator().manual_seed(3))
    return drawn["cells"], drawn["palette"]


def test_cells_are_whole_pixels_where_32_divides_the_size(few, train):
    cells = creatures.resize(*few, GRID)
    for times in (2, 3):
        large = creatures.resize(*few, times * GRID)
        assert torch.equal(large, cells.repeat_interleave(times, -1).repeat_interleave(times, -2))
    assert torch.equal(creatures.draw_set("train", 64, 5, 0).images[:, :, ::2, ::2], train.images[:5])


@pytest.mark.parametrize("size", [16, 31, 48, 75])
def test_other_sizes_average_over_area(few, size):
    """Against repeating every cell `size` times and averaging blocks of 32: half a level is rounding."""
    images = creatures.resize(*few, size)
    assert images.shape == (5, 3, size, size)
    fine = creatures.resize(*few, GRID).double().repeat_interleave(size, -1).repeat_interleave(size, -2)
    expected = fine.unflatten(-1, (size, GRID)).mean(-1).unflatten(-2, (size, GRID)).mean(-2)
    assert (images - expected).abs().max() < 0.51


def test_colors_come_from_the_hue():
    """The middle tone of the body has the hue that the attribute names."""
    generator = torch.Generator().manual_seed(0)
    hue = torch.rand(200, generator=generator)
    red, green, blue = creatures.make_palette(hue, generator)[:, creature_parts.BODY + 1].double().unbind(-1)
    angle = torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue) / (2 * torch.pi)
    apart = (angle - hue + 0.5) % 1 - 0.5
    assert apart.abs().max() < 0.02  # the hexagon of HSV against the circle


@pytest.mark.parametrize(
    ("split", "size", "says"), [("all", 64, "'all'"), ("train", 8, "--size 8"), ("val", 600, "600")]
)
def test_what_cannot_be_drawn_is_named(split, size, says):
    with pytest.raises(InputError, match=says):
        creatures.draw_set(split, size, 5, 0)


def test_threads_change_nothing_and_are_given_back(train):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        again = creatures.draw_set("train", 32, 1000, 0)
        assert torch.get_num_threads() == 3
        assert torch.equal(again.images, train.images)
    finally:
        torch.set_num_threads(before)
