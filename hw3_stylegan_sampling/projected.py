"""People as project.py left them: pictures, styles, who is who, and for drawn ones the truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from common import runs
from common.data import avatars
from common.data.decoding import read_images
from common.errors import InputError

import torch
from torch import Tensor

from hw3_stylegan_sampling import people, projections
from hw3_stylegan_sampling.networks import Generator

FILE = "people.json"
"""Beside the pictures' folders: names, the number of each picture's person, and what drawn ones show."""


@dataclass(frozen=True)
class Projected:
    """N pictures of P persons."""

    names: list[str]
    """Of the pictures: anna, anna-turned, bob."""
    persons: Tensor
    """int64 (N,): 0 to P - 1."""
    images: Tensor
    """uint8 (N, 3, S, S)."""
    ws: Tensor
    """(N, L, D)."""
    attributes: dict[str, Tensor]
    """What drawn pictures show (common.data.avatars); {} for photographs."""

    @property
    def count(self) -> int:
        """P."""
        return int(self.persons.max()) + 1

    def first(self) -> Tensor:
        """int64 (P,): the first picture of each person."""
        return torch.stack([(self.persons == p).nonzero()[0, 0] for p in range(self.count)])

    def last(self) -> Tensor:
        """int64 (P,): the last one, which may be the same."""
        return torch.stack([(self.persons == p).nonzero()[-1, 0] for p in range(self.count)])


def write_people(folder: Path, sitters: people.People) -> None:
    """Say in a run directory whom its pictures show."""
    known = {
        "names": list(sitters.names),
        "persons": sitters.persons.tolist(),
        "attributes": {name: values.tolist() for name, values in sitters.attributes.items()},
    }
    runs.write_json(folder / FILE, known)


def load(folder: Path, generator: Generator, at_least: int = 1) -> Projected:
    """The projections in a run directory of project.py; InputError where there are none, where they are of
    another generator, or of fewer than `at_least` persons."""
    paths = sorted(folder.glob("*/projected_w.npz")) if folder.is_dir() else []
    if not paths:
        raise InputError(f"{folder}: no projections there; name the run directory of a project.py")
    names = [path.parent.name for path in paths]
    known = people_of(folder, names)
    pictures = read_images([path.parent / "target.png" for path in paths], generator.shape.size)
    if pictures.skipped:
        raise InputError(f"{folder}: {pictures.skipped[0]}; project again")
    _, persons = torch.tensor(known["persons"]).unique(return_inverse=True)  # 0 to P - 1 without gaps
    found = Projected(
        names,
        persons,
        pictures.images,
        torch.cat([projections.read(path, generator) for path in paths]),
        {name: torch.tensor(values) for name, values in known["attributes"].items()},
    )
    if found.count < at_least:
        raise InputError(
            f"{folder}: pictures of {found.count} person ({', '.join(names[:3])}); this needs {at_least} or "
            "more: name the files of each person anna.png, anna-turned.png, bob.png, and project all together"
        )
    return found


def people_of(folder: Path, names: list[str]) -> dict:
    """`persons` and `attributes` of these pictures: from people.json, or from names up to the first dash."""
    path = folder / FILE
    if not path.is_file():
        order = list(dict.fromkeys(name.split("-")[0] for name in names))
        return {"persons": [order.index(name.split("-")[0]) for name in names], "attributes": {}}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        places = [known["names"].index(name) for name in names]
        attributes = {name: [values[i] for i in places] for name, values in known["attributes"].items()}
        wrong = attributes and not {*avatars.CHOICES, *avatars.TURNS, "person"} <= attributes.keys()
        return {
            "persons": [int(known["persons"][i]) for i in places],
            "attributes": attributes if not wrong else {},
        }
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise InputError(f"{path}: not what project.py writes there; project again") from None
