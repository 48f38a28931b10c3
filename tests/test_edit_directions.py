"""Subspaces of W: their parts are measured where everything else is held, on latents that belong together."""

from types import SimpleNamespace

import pytest
import torch
from small_edits import OPTIONS, make_generator

from hw3_stylegan_sampling import directions


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
