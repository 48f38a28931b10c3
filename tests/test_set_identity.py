"""What makes two sets of images the same set: pixels, order, names and labels, not where they lie."""

import unicodedata
from dataclasses import replace

from common import figures
from common.data.folder import load_folder
from common.data.image_set import DIGESTED, ImageSet

import torch


def some_set(**changes) -> ImageSet:
    images = torch.arange(4 * 3 * 4 * 4, dtype=torch.int64).remainder(251).to(torch.uint8).view(4, 3, 4, 4)
    known = {"labels": torch.tensor([0, 1, 0, 1]), "class_names": ("a", "b"), "file_names": tuple("wxyz")}
    return replace(ImageSet(images, "set", "train", "here", **known), **changes)


def test_the_same_images_elsewhere_are_the_same_set(tmp_path):
    images = torch.randint(256, (13, 3, 8, 8), dtype=torch.uint8)
    for i, image in enumerate(images[:12]):
        for where in ("here", "moved/there"):
            figures.save_png(tmp_path / where / f"{i}.png", image)
    here, there = (load_folder(tmp_path / where, 8) for where in ("here", "moved/there"))
    assert here.source != there.source and here.identity == there.identity
    figures.save_png(tmp_path / "here" / "12.png", images[12])
    assert load_folder(tmp_path / "here", 8).identity != there.identity


def test_everything_that_training_sees_changes_the_identity():
    base = some_set()
    one_pixel = base.images.clone()
    one_pixel[3, 2, 3, 3] ^= 1
    others = [
        some_set(images=one_pixel),
        some_set(images=base.images.flip(0)),
        some_set(labels=torch.tensor([0, 1, 1, 0])),
        some_set(labels=None),
        some_set(file_names=("w", "x", "y", "q")),
        some_set(attributes={"hair": torch.tensor([1, 1, 0, 0])}),
        some_set(attributes={"hat": torch.tensor([1, 1, 0, 0])}),
        some_set(split="val"),
        some_set(images=base.images.view(4, 3, 8, 2)),
        base.take(slice(0, 3)),
    ]
    identities = {each.identity for each in (base, *others)}
    assert len(identities) == len(others) + 1 and base.identity == some_set(source="there").identity
    assert unicodedata_pair("й")[0] == unicodedata_pair("й")[1]


def unicodedata_pair(letter):
    forms = (unicodedata.normalize(form, letter) for form in ("NFC", "NFD"))
    return [some_set(file_names=("w", "x", "y", form)).identity for form in forms]


def test_the_identity_of_a_large_set_reads_images_spread_over_it():
    count = 4 * DIGESTED // (3 * 512 * 512)
    large = ImageSet(
        torch.zeros(1, 3, 512, 512, dtype=torch.uint8).expand(count, -1, -1, -1), "x", "train", ""
    )
    assert large.images.numel() > 3 * DIGESTED
    assert large.identity != large.take(slice(0, count - 1)).identity


def test_a_drawn_set_is_known_by_its_recipe_and_not_by_how_a_processor_rounds():
    drawn = some_set(source="drawn by common/data/x.py, version 1, seed 0")
    rounded = drawn.images.clone()
    rounded[0, 0, 0, 0] += 1
    assert replace(drawn, images=rounded).identity == drawn.identity
    assert replace(drawn, source="drawn by common/data/x.py, version 1, seed 1").identity != drawn.identity
    assert drawn.take(torch.tensor([0, 2])).identity != drawn.take(torch.tensor([1, 3])).identity
