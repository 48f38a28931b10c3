"""Drawn moulds: deterministic, apart between splits, and a spill is all that a spill changes."""

from common.data import wells
from common.data.wells_picture import COLUMNS, PITCH, ROWS, draw, project

import pytest
import torch
import torch.nn.functional as F


def rows(scenes, count):
    return {name: value[:count] for name, value in scenes.items()}


@pytest.fixture(scope="module")
def twins():
    """32 spills, their cover, and the same moulds without them."""
    scenes = rows(wells.sample_scenes("proliv", 0, seed=3), 32)
    spilled, cover = draw(scenes, 64, 64)
    clean, nothing = draw(scenes | {"label": torch.zeros_like(scenes["label"])}, 64, 64)
    assert nothing.count_nonzero() == 0
    return spilled, cover, clean


def test_what_a_set_holds():
    moulds = wells.draw_set("test", 48, 20, seed=1)
    assert moulds.images.shape == (20, 3, 48, 48) and moulds.images.dtype == torch.uint8
    assert moulds.labels.dtype == torch.int64 and moulds.class_names == ("normal", "spill")
    assert moulds.attributes["spill_area"].dtype == torch.float32
    assert moulds.split == "test" and "seed 1" in moulds.source


def test_same_arguments_draw_the_same_images_and_another_seed_does_not():
    first, again = (wells.draw_set("test", 32, 12, seed=5).images for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, wells.draw_set("test", 32, 12, seed=6).images)


def test_first_images_do_not_depend_on_the_count():
    few, many = wells.draw_set("test", 32, 7, seed=0), wells.draw_set("test", 32, wells.CHUNK + 3, seed=0)
    assert len(few) == 7 and len(many) == wells.CHUNK + 3
    assert torch.equal(few.images, many.images[:7]) and torch.equal(few.labels, many.labels[:7])
    assert torch.equal(few.attributes["spill_area"], many.attributes["spill_area"][:7])


def test_splits_and_chunks_share_no_scene():
    scenes = [
        wells.sample_scenes(split, chunk, seed=0) for split in wells.DEFAULT_COUNTS for chunk in range(3)
    ]
    textures = torch.cat([scene["noise_9"].flatten(1) for scene in scenes])
    assert len(textures.unique(dim=0)) == len(textures) == 12 * wells.CHUNK
    assert len(torch.cat([scene["grain_seed"] for scene in scenes]).unique()) == 12 * wells.CHUNK


def test_train_and_val_hold_no_spill_and_proliv_nothing_else():
    for split in ("train", "val"):
        moulds = wells.draw_set(split, 32, 60, seed=0)
        assert moulds.labels.count_nonzero() == 0 and moulds.attributes["spill_area"].count_nonzero() == 0
    moulds = wells.draw_set("proliv", 32, 60, seed=0)
    assert moulds.labels.all() and moulds.attributes["spill_area"].min() > 0.005
    assert moulds.attributes["spill_area"].max() < 0.08


@pytest.mark.parametrize("count", [1, 9, 50])
def test_test_split_holds_as_many_spills_as_normals(count):
    moulds = wells.draw_set("test", 16, count, seed=2)
    assert abs(2 * int(moulds.labels.sum()) - count) == count % 2
    assert torch.equal(moulds.attributes["spill_area"] > 0, moulds.labels == 1)


def test_a_spill_changes_the_picture_only_where_it_lies_and_around(twins):
    spilled, cover, clean = twins
    changed = (spilled.int() - clean.int()).abs().amax(1) > 1
    near = F.max_pool2d(cover[:, None], 7, 1, 3)[:, 0] > 0  # 3 pixels: the shadow of its edge
    assert not (changed & ~near).any()
    assert (changed & (cover > 0.5)).sum() > 0.9 * (cover > 0.5).sum()


def test_spills_are_brighter_than_what_they_cover_yet_not_the_brightest(twins):
    spilled, cover, clean = (values.float() for values in twins)
    inside = cover > 0.9
    assert (spilled.mean(1)[inside].mean() - clean.mean(1)[inside].mean()) > 30
    top = clean.mean(1).flatten(1).amax(1)  # each mould's brightest glint
    level = (spilled.mean(1) * inside).flatten(1).sum(1) / inside.flatten(1).sum(1)
    assert (level < top).float().mean() > 0.9


def test_spills_lie_over_a_rim(twins):
    """Under each spill there is iron between wells, not only the metal of one well."""
    scenes = rows(wells.sample_scenes("proliv", 0, seed=3), 32)
    x = ((torch.arange(64) + 0.5) / 32 - 1).expand(32, 64, 64)
    on_x, on_y, _, _ = project(scenes, x * scenes["aspect"][:, None, None], x.transpose(1, 2))
    cells_x, cells_y = on_x / PITCH[0] + COLUMNS / 2, on_y / PITCH[1] + ROWS / 2
    off_x, off_y = (cells_x - cells_x.round()).abs() * PITCH[0], (cells_y - cells_y.round()).abs() * PITCH[1]
    wall = torch.minimum(off_x, off_y) < scenes["wall"][:, None, None] / 2
    assert ((twins[1] > 0.5) & wall).flatten(1).any(1).all()


@pytest.mark.parametrize(("height", "width"), [(33, 57), (17, 16), (96, 64)])
def test_any_height_and_width_shows_the_same_scene(height, width):
    scenes = rows(wells.sample_scenes("proliv", 0, seed=0), 3)
    images, cover = draw(scenes, height, width)
    assert images.shape == (3, 3, height, width) and cover.shape == (3, height, width)
    reference, _ = draw(scenes, 64, 64)
    shrink = lambda pictures: F.interpolate(pictures.float(), (8, 8), mode="bilinear", antialias=True)
    small = [shrink(images), shrink(reference)]
    difference = (small[0] - small[1]).abs().mean()
    other = (small[0] - small[1].roll(1, 0)).abs().mean()
    assert difference < 0.5 * other


def test_normal_moulds_differ_in_light_colour_and_geometry():
    images = wells.draw_set("train", 64, 100, seed=0).images.float()
    assert images.mean((1, 2, 3)).std() > 3  # grey levels
    assert (images.mean((2, 3))[:, 0] - images.mean((2, 3))[:, 2]).std() > 3
    assert images.std(0).mean() > 20
    assert images.amax((1, 2, 3)).min() > 180  # every normal mould has something bright in it


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="proliv"):
        wells.draw_set("validation", 16, 1, seed=0)
