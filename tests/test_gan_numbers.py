"""eval_gan.py: which way round its numbers are, and which images and orders they are of."""

from pathlib import Path

from common.data import avatars
from common.metrics import samples

import pytest
from small_gans import config

from hw2_gan import eval_gan, gan_data


@pytest.fixture(scope="module")
def people():
    return {split: avatars.draw_set(split, 64, 40, 0) for split in ("train", "test")}


@pytest.fixture(scope="module")
def real(people) -> samples.Reference:
    return samples.reference_of(people["test"])


def test_few_images_over_and_over_are_precise_and_recall_little(people, real):
    few = eval_gan.distances(real.features[:4].repeat(10, 1), real, people["train"])
    assert few["precision"] == 1 and few["recall"] < 0.5
    train = eval_gan.distances(real.features_of(people["train"].images), real, people["train"])
    assert few["kid_avatars_40"] > 5 * abs(train["kid_avatars_40"])
    assert few["nearest_training_ratio"] > 0.5 and train["nearest_training_ratio"] == 0


def test_images_that_were_drawn_to_order_obey(people, real):
    told = config("avatars", Path(), conditional=True, size=64)
    labels = gan_data.labels(told, people["test"])
    found = eval_gan.measure(told, people["test"].images, labels, real, people["train"])
    assert found["obeyed_all"] > 0.9 and found["fd_avatars_40"] < 1e-3
    others = eval_gan.measure(told, people["test"].images, labels.flip(0), real, people["train"])
    assert others["obeyed_all"] < 0.1
