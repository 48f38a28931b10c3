"""Directions and subspaces of W: what they move is measured where everything else is held, on latents that
belong together, from one end to the other."""

from types import SimpleNamespace

from common.data import avatars
from common.metrics.portraits import Reading

import pytest
import torch
from small_edits import OPTIONS, make_generator

from hw3_stylegan_sampling import directions, find_directions


@pytest.fixture
def known():
    """A generator whose w is the sum of an effect of each option and of what the rest of z moves."""
    generator, draws = make_generator(), torch.Generator().manual_seed(1)
    effects, mixing = torch.randn(sum(OPTIONS), 40, generator=draws), torch.randn(5, 40, generator=draws)

    def mapping(z, labels=None):
        labels = generator.mapping.labels(z) if labels is None else labels
        return labels @ effects + 0.3 * z[:, :5] @ mixing

    generator.mapping.forward = mapping
    return generator, 0.3 * mixing


def test_what_varies_besides_and_what_a_number_moves_do_not_hold_the_options(known):
    generator, mixing = known
    z = directions.ways.normal(generator, directions.SAMPLES, torch.Generator().manual_seed(0))
    found = directions.subspaces(generator, {"turn": z[:2000, 0]})
    torch.testing.assert_close(found.within, mixing.T @ mixing, rtol=0, atol=0.1)
    torch.testing.assert_close(found.bases["turn"][0], mixing[0], rtol=0, atol=0.1)


def test_turns_are_read_in_images_of_the_same_latents(known, monkeypatch):
    generator, _ = known
    monkeypatch.setattr(directions, "READ", 500)
    monkeypatch.setattr(directions.ways, "images_of", lambda generator, w: w)
    reader = SimpleNamespace(read=lambda images: SimpleNamespace(turn=images[:, :2]))
    found = directions.subspaces_of_avatars(generator, reader)
    z = directions.ways.normal(generator, directions.SAMPLES, torch.Generator().manual_seed(0))[:500]
    yaw, tilt = generator.mapping(z)[:, :2].T
    expected = directions.subspaces(generator, {"yaw": yaw, "tilt": tilt})
    for name in ("yaw", "tilt"):
        torch.testing.assert_close(found.bases[name], expected.bases[name])


# ---- what a direction moves


def reading(count: int) -> Reading:
    """Of portraits that look ahead, all options 0."""
    answers = {name: torch.zeros(count, dtype=torch.int64) for name in avatars.CHOICES}
    return Reading(answers, torch.zeros(count, 2), torch.zeros(count, len(avatars.TRAITS)))


def test_changes_are_shares_of_images_and_of_ranges():
    before, after = reading(4), reading(4)
    after.answers["hair"][2] = 1
    after.turn[:] = torch.tensor([[6.0, -8.0], [6.0, -8.0], [12.0, -8.0], [0.0, -8.0]])
    after.traits[:, 5], after.traits[:, 7] = -0.3, torch.tensor([0.2, -0.2, 0.2, -0.2])
    expected = {"hair": 0.25, "yaw": 6 / 60, "tilt": 8 / 20, avatars.TRAITS[5]: 0.3}
    changes = find_directions.change(before, after)
    assert changes.keys() == {*avatars.CHOICES, *avatars.TURNS, *avatars.TRAITS}
    assert {name: share for name, share in changes.items() if share > 1e-6} == pytest.approx(expected)


def test_the_two_that_change_most_are_read_at_both_ends_of_a_move_in_its_layers(monkeypatch):
    monkeypatch.setattr(find_directions.edits, "images_of", lambda generator, ws: ws)
    read = []

    def reader(ws):
        read.append(ws)
        found = reading(len(ws))
        found.turn[:, 0], found.traits[:, 1] = 30 * ws[:, 2, 0], 0.8 * ws[:, 2, 0]
        return found

    ws, move = torch.zeros(3, 4, 5), torch.full((5,), 0.4)
    found = find_directions.most_moved(None, SimpleNamespace(read=reader), ws, move, [2, 3])
    for end, side in zip(read, (-1, 1)):
        assert (end[:, :2] == 0).all() and torch.equal(end[:, 2:], side * move.expand(3, 2, 5))
    assert (found["moves"], found["then"]) == (avatars.TRAITS[1], "yaw")
    assert (found["by"], found["then_by"]) == pytest.approx((0.64, 0.4))
