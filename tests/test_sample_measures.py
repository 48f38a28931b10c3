"""What is measured of samples while a generator trains: styles as numbers."""

import itertools
import math
import types

from common.metrics import samples

import pytest
import torch


def test_every_combination_of_options_is_a_style_of_its_own():
    """2 x 3 x 4 options of style, and an expression that is none: 24 numbers from 0 to 23."""
    options = {"hair": "ab", "glasses": "abc", "expression": "abcde", "clothes": "abcd"}
    extractor = types.SimpleNamespace(options={name: tuple(words) for name, words in options.items()})
    every = list(itertools.product(*(range(len(words)) for words in options.values())))
    predicted = dict(zip(options, torch.tensor(every).T))
    found = samples.styles(predicted, extractor)
    assert sorted(found.unique().tolist()) == list(range(24))
    assert all(count == 5 for count in found.unique(return_counts=True)[1])  # expressions of each style


def test_a_style_with_an_attribute_that_is_not_recognised_is_none():
    extractor = types.SimpleNamespace(options={"hair": ("a", "b"), "glasses": ("a", "b")})
    predicted = {"hair": torch.tensor([0, -1, 1]), "glasses": torch.tensor([-1, 1, 1])}
    assert samples.styles(predicted, extractor).tolist() == [-1, -1, 3]


def test_shares_of_styles_by_hand(monkeypatch):
    """An extractor that reads hair and glasses from two numbers of an image; 255 is not recognised."""
    monkeypatch.setattr(
        samples.extractors, "features_of", lambda images, _: images.flatten(1)[:, :2].double()
    )
    read = lambda column: torch.where(column == 255, -1, column.long())
    extractor = types.SimpleNamespace(
        name="avatars",
        shape=(3, 4, 4),
        options={"hair": ("a", "b"), "glasses": ("a", "b", "c")},
        answers=lambda features, _: {"hair": read(features[:, 0]), "glasses": read(features[:, 1])},
    )

    def images(*answers):
        noise = torch.randint(0, 256, (len(answers), 3, 4, 4), dtype=torch.uint8)
        noise.view(len(answers), -1)[:, :2] = torch.tensor(answers, dtype=torch.uint8)
        return noise

    real = samples.Reference(images((0, 0), (0, 1), (1, 2), (1, 0)), extractor, styled=True)
    found = real.measure(images((0, 0), (0, 0), (1, 2), (255, 1)))
    assert found["valid"] == 3 / 4
    assert found["coverage"] == 2 / 4
    third = 1 / 3
    entropy = -(third * math.log(third) + 2 * third * math.log(2 * third))
    assert found["evenness"] == pytest.approx(entropy / math.log(4))
    nothing = real.measure(images((255, 0), (0, 255), (255, 2), (255, 1)))
    assert (nothing["valid"], nothing["coverage"], nothing["evenness"]) == (0, 0, 0)
