"""A caption as a vector of zeros and ones: the text encoder of latent diffusion, for a tiny language."""

from __future__ import annotations

from dataclasses import dataclass

from common import choices
from common.data import ImageSet
from common.errors import InputError

import torch
from torch import Tensor


@dataclass(frozen=True)
class Captions:
    """The captions of N images: an option for each attribute.  A class is a single attribute, `label`."""

    count: int
    """N."""
    chosen: dict[str, Tensor]
    """int64 (N,) for each attribute."""
    options: dict[str, tuple[str, ...]]
    """Names of the options of each attribute."""

    @property
    def of_classes(self) -> bool:
        """Whether a caption is one option of a single attribute."""
        return len(self.chosen) == 1

    @property
    def embedded(self) -> Tensor:
        """float32 (N, E): a one for the option of each attribute, zeros elsewhere; E = 0 without any."""
        if not self.chosen:
            return torch.empty(self.count, 0)
        chosen = torch.stack(list(self.chosen.values()), 1)
        return choices.one_hot(chosen, tuple(map(len, self.options.values())))

    def take(self, index: Tensor) -> Captions:
        """Those of the images at `index`."""
        return Captions(
            len(index), {name: option[index] for name, option in self.chosen.items()}, self.options
        )

    def with_option(self, name: str, option: int) -> Captions:
        """The same captions, but for one attribute that has one option in all of them."""
        return Captions(
            self.count,
            {**self.chosen, name: torch.full((self.count,), option)},
            self.options,
        )


def captions_of(images: ImageSet, names: tuple[str, ...] = ()) -> Captions:
    """What the named attributes say about each image.

    By default its class; every attribute where there are no classes, or where the class is one of them."""
    classes = {} if images.labels is None else {"label": images.labels}
    known = {**classes, **{name: images.attributes[name] for name in images.options}}
    options = {"label": images.class_names, **images.options}
    if unknown := [name for name in names if name not in known]:
        there = f"has {', '.join(known)}" if known else "has none"
        raise InputError(f"--attributes {unknown[0]}: {images.name} {there}; name some of its own, or none")
    if not names:
        one_of_several = any(torch.equal(known[name], images.labels) for name in images.options if classes)
        names = tuple(images.options if one_of_several or not classes else classes)
    return Captions(
        len(images), {name: known[name] for name in names}, {name: options[name] for name in names}
    )
