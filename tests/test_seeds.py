"""Means and spreads over seeds, and what is said to differ."""

import math

from common import seeds
from common.errors import InputError

import pytest

ROWS = [
    {"model": "b", "seed": 0, "loss": 1.0, "count": 2, "name": "first", "done": True},
    {"model": "a", "seed": 0, "loss": 7.0, "count": 5, "name": "other", "done": False},
    {"model": "b", "seed": 1, "loss": 2.0, "count": 4, "name": "second", "done": False},
    {"model": "b", "seed": 2, "loss": 6.0, "count": 6, "name": "third", "done": False},
]


def test_rows_of_one_model_become_their_mean_with_the_sample_standard_deviation():
    b, a = seeds.over_seeds(ROWS, by=("model",))
    assert b == {
        "model": "b",
        "seeds": 3,
        "loss": 3.0,
        "loss_sd": pytest.approx(math.sqrt((4 + 1 + 9) / 2)),
        "count": 4.0,
        "count_sd": 2.0,
        "name": "first",
        "done": True,
    }
    assert a == {"model": "a", "seeds": 1, "loss": 7.0, "count": 5.0, "name": "other", "done": False}


def test_two_seeds_have_a_spread():
    (row,) = seeds.over_seeds(ROWS[2:], by=("model",))
    assert (row["seeds"], row["loss"], row["count_sd"]) == (2, 4.0, pytest.approx(math.sqrt(2)))


def test_what_one_seed_lacks_is_left_out():
    rows = [{"model": "a", "seed": seed, "auc": 1.0, **({"drift": 2.0} if seed else {})} for seed in (0, 1)]
    for given in (rows, rows[::-1]):
        (row,) = seeds.over_seeds(given, by=("model",))
        assert row["auc"] == 1 and "drift" not in row


def test_rows_are_told_apart_by_all_the_names_given():
    rows = [{"model": m, "score": s, "seed": 0, "auc": 1.0} for m in "ab" for s in "xy"]
    merged = seeds.over_seeds(rows, by=("model", "score"))
    assert [(row["model"], row["score"], row["seeds"]) for row in merged] == [
        ("a", "x", 1), ("a", "y", 1), ("b", "x", 1), ("b", "y", 1),
    ]  # fmt: skip


def test_a_seed_that_occurs_twice_is_named():
    rows = [{"model": "a", "seed": seed, "auc": 1.0} for seed in (3, 5, 5)]
    with pytest.raises(InputError, match=r"^a: two runs of seed 5; name only one of them$"):
        seeds.over_seeds(rows, by=("model",))


@pytest.mark.parametrize(("distance", "apart"), [(4.99, False), (5.01, True), (-4.99, False), (-5.01, True)])
def test_means_differ_from_two_standard_errors_of_their_difference_on(distance, apart):
    """Standard errors 3 / sqrt(4) = 1.5 and 4 / sqrt(4) = 2: of the difference 2.5."""
    one = {"seeds": 4, "loss": 10.0, "loss_sd": 3.0}
    other = {"seeds": 4, "loss": 10.0 + distance, "loss_sd": 4.0}
    assert seeds.differ(one, "loss", other) is apart
    under_another_name = {"seeds": 4, "error": 10.0 + distance, "error_sd": 4.0, "loss": 10.0, "loss_sd": 4.0}
    assert seeds.differ(one, "loss", under_another_name, "error") is apart


def test_a_single_seed_is_no_finding():
    single, several = {"seeds": 1, "loss": 0.0}, {"seeds": 2, "loss": 100.0, "loss_sd": 1.0}
    assert seeds.differ(single, "loss", several) is None
    assert seeds.differ(several, "loss", single) is None
    far = {"seeds": 2, "loss": 0.0, "loss_sd": 1.0}
    assert seeds.differ(several, "loss", far) is True
