"""Whom homework 3 edits: drawn persons whom no network here saw in training, or a folder of photographs.

    sitters = people.load("drawn", 64)           # six persons, each frontal and turned
    sitters = people.load("path/to/folder", 64)  # anna.png, anna-turned.png, bob.png: two persons
    sitters.images[sitters.rows(turned=True)]

Of drawn persons everything is known; photographs are to be aligned first (align.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common.data import avatars
from common.data.decoding import DEEP_GREY, printable, read_images, words_for
from common.data.folder import list_images
from common.errors import InputError, warn

import torch
from PIL import Image
from torch import Tensor

COUNT = 6
YAW = (15.0, 25.0)
"""Degrees by which turned heads are turned, to either side."""
GREY = ("1", "L", "LA")
ENLARGED = 2
"""How many times a photograph may be enlarged."""


class People(NamedTuple):
    """N pictures of P persons; of photographs a person is what stands before the first - of a name."""

    names: list[str]
    """Of the pictures: person1, person1-turned, or those of the files."""
    images: Tensor
    """uint8 (N, 3, S, S)."""
    persons: Tensor
    """int64 (N,): 0 ... P - 1."""
    attributes: dict[str, Tensor]
    """What common/data/avatars.py drew, (N,) each; nothing is known of photographs."""

    def rows(self, *, turned: bool = False) -> Tensor:
        """Rows of each person's first frontal (turned) picture, in the order of the persons; photographs are
        turned if their names say so."""
        found = {}
        for row, name in enumerate(self.names):
            if name.endswith("-turned") == turned:
                found.setdefault(int(self.persons[row]), row)
        return torch.tensor([found[person] for person in sorted(found)], dtype=torch.int64)


def load(source: str, size: int, *, count: int = COUNT, seed: int = 0, at_least: int = 1) -> People:
    """`drawn`, or the photographs of a folder, all of them.  InputError where they show fewer than `at_least`
    persons."""
    people = drawn(count, size, seed) if source == "drawn" else photographed(Path(source), size)
    found = len(people.persons.unique())
    if found < at_least:
        raise InputError(
            f"--people {source}: pictures of {found} person(s), {at_least} are needed; add files named after "
            "others: anna.png, bob.png"
        )
    return people


def drawn(count: int, size: int, seed: int = 0) -> People:
    """Persons of the test people with neutral faces, each once looking ahead and once turned; nobody wears
    sunglasses, behind which edits would be hidden."""
    generator = torch.Generator().manual_seed(seed)
    ids = others(count, seed)
    attributes = avatars.sample_attributes(count, generator)
    attributes |= {"person": ids, "expression": torch.zeros(count, dtype=torch.int64)}
    attributes["accessory"] = attributes["accessory"] % 2
    attributes = {name: values.repeat_interleave(2) for name, values in attributes.items()}  # (2 P,)
    low, high = YAW
    yaw = low + (high - low) * torch.rand(count, generator=generator)
    side = 1 - 2 * (torch.arange(count) % 2)
    attributes["yaw"] = torch.stack([torch.zeros(count), side * yaw], 1).flatten()
    attributes["tilt"] = torch.zeros(2 * count)
    names = [f"person{k + 1}{ending}" for k in range(count) for ending in ("", "-turned")]
    persons = torch.arange(count).repeat_interleave(2)
    return People(names, avatars.draw(attributes, size), persons, attributes)


def others(count: int, seed: int = 0) -> Tensor:
    """Ids of so many test persons, int64 (count,); the first ones are those of `drawn`."""
    people = avatars.people_of("test", seed)
    if not 1 <= count <= len(people):
        raise InputError(f"--people: there are 1 to {len(people)} test persons, not {count}")
    order = torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))
    return people.start + order[:count]


def photographed(folder: Path, size: int) -> People:
    """The pictures of a folder, each of the person that its name begins with."""
    paths = list_images(folder)
    names = [printable(path.stem) for path in paths]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{folder}: {repeated[0]} is the name of two images; rename one of them")
    who = [name.split("-")[0] for name in names]
    order = list(dict.fromkeys(who))
    persons = torch.tensor([order.index(name) for name in who])
    return People(names, read(paths, size), persons, {})


def read(paths: Sequence[Path], size: int) -> Tensor:
    """Photographs cut to squares, uint8 (N, 3, size, size).  InputError for one that cannot be read or is too
    small; a word about grey ones."""
    for path in paths:
        try:
            with Image.open(path) as image:
                side, mode = min(image.size), image.mode
        except Exception:  # named below
            continue
        if side * ENLARGED < size:
            raise InputError(
                f"{printable(path.name)}: {side} pixels, too small for a generator of {size}; take a larger "
                "picture"
            )
        if mode in GREY or mode in DEEP_GREY:
            warn(f"{printable(path.name)}: a grey picture; its projection will be grey too")
        if mode in DEEP_GREY:
            warn(f"{printable(path.name)}: {words_for(mode)}")
    pictures = read_images(paths, size)
    if pictures.skipped:
        raise InputError(f"--images: {pictures.skipped[0]}; take it out, or mend it")
    return pictures.images
