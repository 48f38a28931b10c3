"""What an edit changed and what it left alone: identity, turn of the head, clothes, background, expression.

Drawn people have a truth, so that everything is measured against it: who the person is, what the picture was
drawn with.  Photographs have none; for them only the identity network is asked, against their own pictures.

Sizes: N images, P persons of the gallery, E numbers in an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.data import avatars
from common.metrics import identity, portraits
from common.text_table import Column

import torch
import torch.nn.functional as F
from torch import Tensor

STYLE = tuple(avatars.STYLE_OPTIONS)
"""Attributes that are style; the person, the expression, the turn and the background are not."""
AMONG = 100
"""Persons among whom a drawn one is recognised."""
SHARE = ".0%"
COLUMNS = (
    Column("reached", "reached", SHARE),
    Column("similarity to the person", "similarity", ".2f"),
    Column("of the original's own", "ratio", SHARE),
    Column("person first", "recognised", SHARE),
    Column("person first, by traits", "recognised_traits", SHARE),
    Column("yaw off, degrees", "yaw_off", ".1f"),
    Column("tilt off, degrees", "tilt_off", ".1f"),
    Column("expression stays", "expression", SHARE),
    Column("clothes stay", "clothes", SHARE),
    Column("background stays", "background", SHARE),
)
"""Of tables; a column that no row has a value for is left out."""


@dataclass(frozen=True)
class Wanted:
    """What N edited images should show."""

    persons: Tensor
    """int64 (N,): rows of the gallery."""
    attributes: dict[str, Tensor]
    """Choices int64 (N,), yaw and tilt float (N,) in degrees; {} where there is no truth."""
    own_similarity: Tensor
    """(N,): how similar an unedited picture of the person is to the gallery's."""


def wanted(
    persons: Tensor, attributes: dict[str, Tensor], own: Tensor, rows: Tensor, faces: Tensor | None = None,
    **changed: Tensor,
) -> Wanted:  # fmt: skip
    """Of edits of the pictures `rows`: the persons of the pictures `faces` (their own, if None), and what the
    pictures showed, but for what has `changed`."""
    shown = rows if faces is None else faces
    truth = {name: values[rows] for name, values in attributes.items()}
    return Wanted(persons[shown], truth | changed if truth else {}, own[shown])


class Judges:
    """Whom edits are shown to: the identity network, and the reader of drawn portraits."""

    def __init__(
        self,
        net: identity.Identity,
        gallery: Tensor,
        people: Tensor | None = None,
        reader: portraits.Reader | None = None,
    ):
        """gallery (P, E): how the network knows each person; people int64 (P,): ids of drawn ones."""
        self.net, self.gallery, self.people, self.reader = net, gallery, people, reader

    def measure(self, images: Tensor, wanted: Wanted) -> dict[str, Tensor]:
        """uint8 (N, 3, S, S) -> numbers of each image, (N,), by name; shares are 0 or 1.

        `similarity` is the cosine to the wanted person, `ratio` that as a share of an unedited picture's."""
        embeddings = identity.embed(self.net, images)
        similarity = identity.similarity(embeddings, self.gallery[wanted.persons])
        numbers = {
            "similarity": similarity,
            "ratio": similarity / wanted.own_similarity,
            "recognised": identity.nearest(embeddings, self.gallery) == wanted.persons,
        }
        if self.reader is not None and wanted.attributes:
            numbers |= self._read(images, wanted)
        return {name: values.double() for name, values in numbers.items()}

    def _read(self, images: Tensor, wanted: Wanted) -> dict[str, Tensor]:
        reading, expected = self.reader.read(images), wanted.attributes
        off = (reading.turn - torch.stack([expected[name] for name in portraits.TURNS], 1)).abs()
        found = self.reader.nearest_person(reading.traits, self.people)
        right = {name: reading.answers[name] == expected[name] for name in avatars.CHOICES}
        return {
            "recognised_traits": found == wanted.persons,
            "yaw_off": off[:, 0],
            "tilt_off": off[:, 1],
            **right,
            "clothes": right["clothes"] & right["clothes_color"],
            "style": torch.stack([right[name] for name in STYLE]).double().mean(0),
        }


def judges_of(
    net: identity.Identity, images: Tensor, persons: Tensor, attributes: dict[str, Tensor]
) -> tuple[Judges, Tensor]:
    """The judges of these pictures, and how similar each is to its person, (N,).

    Drawn persons are recognised among AMONG, the others being test people too, photographed ones among
    themselves."""
    if not attributes:
        judges = Judges(net, own_gallery(net, images, persons))
    else:
        first = [int((persons == person).nonzero()[0]) for person in persons.unique()]
        ids = attributes["person"][first]
        test = torch.tensor(avatars.people_of("test", 0))
        others = test[~torch.isin(test, ids)]
        ids = torch.cat([ids, others[: max(0, AMONG - len(ids))]])
        gallery = identity.gallery(net, ids, size=images.shape[-1])
        judges = Judges(net, gallery, ids, portraits.load_reader(net.device))
    return judges, identity.similarity(identity.embed(net, images), judges.gallery[persons])


def own_gallery(net: identity.Identity, images: Tensor, persons: Tensor) -> Tensor:
    """Of photographs: the mean direction of each person's pictures, (P, E)."""
    embeddings = identity.embed(net, images)
    sums = torch.zeros(int(persons.max()) + 1, embeddings.shape[1]).index_add(0, persons, embeddings)
    return F.normalize(sums, dim=1)


def row(numbers: dict[str, Tensor], reached: str | None, **names) -> dict:
    """Means over images; `reached` is the number that the edit was to move."""
    means = {name: values.mean().item() for name, values in numbers.items()}
    if reached in means:
        means["reached"] = means.pop(reached)
    return {**names, **means}


def joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The numbers of several measurements as those of one."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
