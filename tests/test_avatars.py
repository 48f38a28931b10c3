"""Avatars: the same attributes give the same picture, and no attribute can change without its being seen."""

import itertools

from common.data import avatars
from common.errors import InputError

import pytest
import torch
from torch.nn import functional as F

SEEN = 24
"""Grey levels by which a pixel has to change in some channel to count as changed."""


def some(count, seed=0, **fixed):
    """Attributes of `count` portraits, some of them fixed."""
    attributes = avatars.sample_attributes(count, torch.Generator().manual_seed(seed))
    for name, value in fixed.items():
        attributes[name] = torch.full_like(attributes[name], value)
    return attributes


def first(attributes, count):
    return {name: values[:count] for name, values in attributes.items()}


def changed_pixels(one, two):
    """(N,): how many pixels differ visibly between two batches of pictures."""
    return ((one.int() - two.int()).abs().amax(1) > SEEN).sum((1, 2))


@pytest.mark.parametrize("name", list(avatars.CHOICES))
def test_every_pair_of_options_can_be_told_apart(name):
    # every hair style and accessory occurs: hair colour is asked of bald heads, expression behind sunglasses
    people = 21
    base = some(people, seed=3)
    base["hair"], base["accessory"] = torch.arange(people) % 7, torch.arange(people) % 3
    base["clothes"] = base["hair"] % 4
    options = avatars.CHOICES[name]
    every = {key: values.repeat(len(options)) for key, values in base.items()}
    every[name] = torch.arange(len(options)).repeat_interleave(people)
    drawn = avatars.draw(every, 64).split(people)
    for a, b in itertools.combinations(range(len(options)), 2):
        fewest = int(changed_pixels(drawn[a], drawn[b]).min())
        assert fewest >= 20, f"{name}: {options[a]} and {options[b]} differ in {fewest} pixels of 64 x 64"


def test_brows_show_the_hair_color_of_a_bald_head():
    bald = some(12, seed=1, hair=avatars.STYLE_OPTIONS["hair"].index("none"))
    black, red = (avatars.draw({**bald, "hair_color": torch.full((12,), k)}, 64) for k in (0, 4))
    rows = (changed_pixels(black, red) > 0).all() and (black != red).any(1).any(2)  # (N, H)
    assert rows[:, :16].sum() == 0 and rows[:, 40:].sum() == 0  # the brows alone


def test_head_turn_moves_the_face():
    straight = some(6, seed=2, yaw=0, tilt=0)
    for name in avatars.TURNS:
        turned = avatars.draw({**straight, name: torch.full((6,), 15.0)}, 64)
        back = avatars.draw({**straight, name: torch.full((6,), -15.0)}, 64)
        assert changed_pixels(turned, back).min() > 150


def test_people_differ_and_are_a_pure_function_of_their_number():
    people = torch.tensor([5, 1_000_000, 5, 7])
    traits = avatars.identity(people)
    assert traits.shape == (4, len(avatars.TRAITS)) and torch.equal(traits[0], traits[2])
    assert torch.equal(avatars.identity(people.flip(0)).flip(0), traits)
    same = {**some(1), "person": torch.tensor([5])}
    other = {**same, "person": torch.tensor([7])}
    assert changed_pixels(avatars.draw(same), avatars.draw(other)).min() > 150


def test_traits_are_uniform_and_uncorrelated():
    traits = avatars.identity(torch.arange(20_000))
    standard_error = (1 / 12 / 20_000) ** 0.5
    assert (traits.mean(0) - 0.5).abs().max() < 5 * standard_error
    correlation = torch.corrcoef(traits.T) - torch.eye(len(avatars.TRAITS))
    assert correlation.abs().max() < 5 / 20_000**0.5


def test_a_portrait_does_not_depend_on_its_batch():
    attributes = some(60, seed=4)
    together = avatars.draw(attributes, 50)
    assert torch.equal(avatars.draw(first(attributes, 3), 50), together[:3])
    assert torch.equal(avatars.draw(first(attributes, 1), 50), together[:1])


def test_threads_change_nothing():
    attributes, threads = some(20, seed=5), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = avatars.draw(attributes, 32)
        torch.set_num_threads(2)
        assert torch.equal(avatars.draw(attributes, 32), alone)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_every_size_shows_the_same_picture():
    attributes = some(3, seed=6)
    large = avatars.draw(attributes, 512).float()
    for size in (32, 33, 50, 64, 256):
        images = avatars.draw(attributes, size)
        assert images.shape == (3, 3, size, size) and images.dtype == torch.uint8
        shrunk = F.interpolate(large, size, mode="bilinear", antialias=True)
        difference = (images.float() - shrunk).abs().mean((1, 2, 3))  # grey levels
        another = (images.float() - shrunk.roll(1, 0)).abs().mean((1, 2, 3))
        assert difference.max() < 0.15 * another.min()


def test_edges_are_smooth():
    """A pixel is the mean of what lies under it: a larger picture shrunk, not one with pixels left out."""
    attributes = some(4, seed=7)
    image, large = avatars.draw(attributes, 64).float(), avatars.draw(attributes, 512).float()
    averaged, picked = F.avg_pool2d(large, 8), large[..., 4::8, 4::8]
    error, rough = ((image - other).square().mean() for other in (averaged, picked))
    assert error < 0.25 * rough


def test_set_is_deterministic_and_its_beginning_does_not_depend_on_the_count():
    whole, part = avatars.draw_set("val", 32, 510, 0), avatars.draw_set("val", 32, 10, 0)
    assert torch.equal(whole.images[:10], part.images)
    assert all(torch.equal(whole.attributes[name][:10], part.attributes[name]) for name in part.attributes)
    assert whole.captions[:10] == part.captions
    assert not torch.equal(avatars.draw_set("val", 32, 10, 1).images, part.images)
    assert torch.equal(part.labels, part.attributes["expression"]) and part.class_names == avatars.EXPRESSIONS


def test_splits_share_nobody_whatever_the_seed():
    met = {}
    for split in avatars.DEFAULT_COUNTS:
        for seed in (0, 1, 99, 12_345):
            for person in avatars.people_of(split, seed):
                assert met.setdefault(person, split) == split
        shown = avatars.draw_set(split, 16, 12, 1).attributes["person"].tolist()
        assert set(shown) <= set(avatars.people_of(split, 1))
    assert not set(avatars.people_of("train", 0)) & set(avatars.people_of("train", 1))


def test_caption_names_everything():
    attributes = some(200, seed=8)
    for i, sentence in enumerate(avatars.caption(attributes)):
        style = {name: options[attributes[name][i]] for name, options in avatars.CHOICES.items()}
        hair = "bald" if style["hair"] == "none" else style["hair"].split()[-1]
        for word in (hair, style["hair_color"], style["accessory"], style["clothes"], style["background"]):
            assert word in sentence
        assert f"{style['clothes_color']} {style['clothes']}" in sentence
        assert avatars.EXPRESSION_WORDS[style["expression"]] in sentence
    assert avatars.caption(
        {"hair": torch.tensor([6]), "hair_color": torch.tensor([4]), "accessory": torch.tensor([1]),
         "clothes_color": torch.tensor([3]), "expression": torch.tensor([1]), "yaw": torch.tensor([-20.0])}
    ) == [
        "a portrait of a smiling person with short curly red hair, round glasses and a green hoodie, "
        "head turned left, sky blue background"
    ]  # fmt: skip


def test_styles_are_those_of_the_table():
    options = avatars.STYLE_OPTIONS
    assert [len(names) for names in options.values()] == [7, 6, 3, 4, 8]
    assert {name: tuple(aliases) for name, aliases in avatars.RUSSIAN_NAMES.items()} == options


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"hair": torch.tensor([7])}, "'hair': there is no option 7"),
        ({"expression": torch.tensor([-1])}, "'expression': there is no option -1"),
        ({"hat": torch.tensor([0])}, "'hat'"),
        ({"hair": torch.tensor([0, 1]), "yaw": torch.tensor([0.0])}, "lengths"),
        ({"yaw": torch.tensor([90.0])}, "'yaw'"),
        ({"tilt": torch.tensor([float("nan")])}, "'tilt'"),
    ],
)
def test_a_wrong_attribute_is_named(wrong, says):
    with pytest.raises(InputError, match=says):
        avatars.draw(wrong, 64)


def test_a_wrong_size_or_split_is_named():
    with pytest.raises(InputError, match="size 4"):
        avatars.draw(some(1), 4)
    with pytest.raises(InputError, match="'validation'"):
        avatars.draw_set("validation", 64, 1, 0)
