"""Shipped identity networks: their cards, and persons they never saw."""

import re

from common.data import avatars
from common.metrics import extractors, identity

import pytest
import torch

AMONG = 100


@pytest.mark.parametrize("name", identity.names())
def test_shipped_networks_recognise_persons_never_seen(name):
    path = identity.FOLDER / f"identity-{name}.safetensors"
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert f"SHA-256: `{extractors.file_sha256(path)}`" in card and path.stat().st_size <= 1_300_000
    assert not re.search(r"(^|[\s`])/\w|[A-Z]:\\", card), "a path of some machine"
    net, persons = identity.load(name), torch.tensor(avatars.people_of("test", 1))[:AMONG]
    attributes = avatars.sample_attributes(2 * AMONG, torch.Generator().manual_seed(1))
    attributes["person"] = persons.repeat(2)
    pictures = identity.embed(net, avatars.draw(attributes, 64))
    found = identity.nearest(pictures, identity.gallery(net, persons, 4))
    assert (persons[found] == attributes["person"]).double().mean() >= 0.98
    first, second = pictures.chunk(2)
    assert (identity.similarity(first, second) >= net.threshold).double().mean() >= 0.98
    assert (identity.similarity(first, second.roll(1, 0)) < net.threshold).double().mean() >= 0.98
