"""The people whom homework 3 edits: drawn ones nobody saw in training, and folders of photographs."""

from __future__ import annotations

import json
import os
import shutil

from common import figures
from common.data import avatars
from common.errors import InputError

import numpy as np
import pytest
import torch
from PIL import Image
from small_edits import make_generator, make_trio

from hw3_stylegan_sampling import people, projected


def test_six_persons_look_ahead_and_to_the_side():
    six = people.load("drawn", 32)
    assert six.images.shape == (12, 3, 32, 32) and six.persons.tolist() == [k // 2 for k in range(12)]
    assert six.names[:2] == ["person1", "person1-turned"]
    frontal, turned = six.rows(), six.rows(turned=True)
    assert frontal.tolist() == [0, 2, 4, 6, 8, 10] and turned.tolist() == [1, 3, 5, 7, 9, 11]
    assert (six.attributes["yaw"][frontal] == 0).all()
    yaw = six.attributes["yaw"][turned]
    assert yaw.abs().min() >= 15 and yaw.abs().max() <= 25 and yaw.sign().unique().tolist() == [-1, 1]
    for name, values in six.attributes.items():
        if name != "yaw":
            assert torch.equal(values[frontal], values[turned]), name
    assert torch.equal(six.images, avatars.draw(six.attributes, 32))


def test_nobody_in_training_or_validation_is_one_of_them():
    six = people.load("drawn", 16)
    ids = six.attributes["person"][six.rows()]
    assert len(ids.unique()) == 6 and all(int(one) in avatars.PEOPLE["test"] for one in ids)
    assert not (six.attributes["accessory"] == 2).any() and (six.attributes["expression"] == 0).all()


def test_the_hundred_begins_with_the_six_and_repeats_nobody():
    hundred = people.others(100)
    assert torch.equal(hundred[:6], people.load("drawn", 16).attributes["person"][::2])
    assert len(hundred.unique()) == 100
    assert not torch.equal(people.others(100, seed=1), hundred)
    with pytest.raises(InputError, match="--people: there are 1 to 400 test persons"):
        people.others(401)


def test_another_seed_draws_others_who_look_otherwise():
    first, second = people.drawn(6, 16), people.drawn(6, 16, seed=1)
    assert torch.equal(second.attributes["person"][::2], people.others(6, seed=1))
    for name in ("hair", "clothes", "background", "yaw"):
        assert not torch.equal(first.attributes[name], second.attributes[name]), name


def test_a_folder_names_its_persons(tmp_path):
    for name in ("anna", "anna-turned", "bob-sad", "bob-smiling", "bob-smiling-turned", "carl"):
        figures.save_png(tmp_path / f"{name}.png", torch.randint(256, (3, 20, 16), dtype=torch.uint8))
    found = people.load(str(tmp_path), 16, at_least=3)
    names = ["anna-turned", "anna", "bob-sad", "bob-smiling-turned", "bob-smiling", "carl"]
    assert found.names == names  # - comes before .
    assert found.persons.tolist() == [0, 0, 1, 1, 1, 2] and found.attributes == {}
    assert found.rows().tolist() == [1, 2, 5] and found.rows(turned=True).tolist() == [0, 3]
    with pytest.raises(InputError, match=r"pictures of 3 person\(s\), 4 are needed"):
        people.load(str(tmp_path), 16, at_least=4)


def test_names_that_are_no_text_can_be_printed_and_saved(tmp_path):
    figures.save_png(tmp_path / "a.png", torch.zeros(3, 16, 16, dtype=torch.uint8))
    os.rename(os.fsencode(tmp_path / "a.png"), os.fsencode(tmp_path) + b"/caf\xe9.png")
    assert people.load(str(tmp_path), 16).names == ["caf\\xe9"]


def test_two_photographs_of_one_name_are_refused(tmp_path):
    for ending in ("png", "bmp"):
        Image.new("RGB", (16, 16)).save(tmp_path / f"anna.{ending}")
    with pytest.raises(InputError, match="anna is the name of two images; rename one of them"):
        people.load(str(tmp_path), 16)


def test_photographs_too_small_or_broken_are_named_and_grey_ones_mentioned(tmp_path, capsys):
    Image.new("RGB", (40, 31)).save(tmp_path / "small.png")
    with pytest.raises(InputError, match=r"small\.png: 31 pixels, too small for a generator of 64"):
        people.read([tmp_path / "small.png"], 64)
    assert people.read([tmp_path / "small.png"], 62).shape == (1, 3, 62, 62)
    Image.new("L", (64, 64), 99).save(tmp_path / "grey.png")
    assert (people.read([tmp_path / "grey.png"], 64) == 99).all()
    assert "grey.png: a grey picture" in capsys.readouterr().err
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"broken\.png: not a picture"):
        people.read([tmp_path / "broken.png"], 64)


def test_persons_are_numbered_anew_where_pictures_were_removed(tmp_path):
    """The second of three persons is gone; the third is still who it was."""
    generator = make_generator()
    make_trio(generator, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    numbers = {"names": names, "persons": [0, 0, 1, 1, 2, 2], "attributes": {}}
    (tmp_path / projected.FILE).write_text(json.dumps(numbers))
    assert projected.load(tmp_path, generator).persons.tolist() == [0, 0, 1, 1, 2, 2]
    for name in names[2:4]:
        shutil.rmtree(tmp_path / name)
    left = projected.load(tmp_path, generator)
    assert left.persons.tolist() == [0, 0, 1, 1] and left.names == names[:2] + names[4:]
    assert left.count == 2 and left.first().tolist() == [0, 2]


def test_how_16_bits_of_grey_are_read_is_said(tmp_path, capsys):
    Image.fromarray(np.full((64, 64), 257 * 99, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert (people.read([tmp_path / "deep.png"], 64) == 99).all()
    said = capsys.readouterr().err
    assert "deep.png: a grey picture" in said and "deep.png: 16 bits of grey from 0, black, to 65535" in said
