"""What is measured of samples while a generator trains: styles as numbers."""

import itertools
import types

import torch

from common.metrics import samples


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
