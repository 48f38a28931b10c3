"""Linear directions in W: which way a latent has to move for one thing to change.

Theory: theory/en/stylegan.md.  Without labels: the principal axes of W (GANSpace, Härkönen et al. 2020) and
the directions that styles answer most to (SeFa, Shen and Zhou 2021).  With the options that z chooses: the
mean difference of paired latents, and subspaces of everything an attribute moves.  With a number for each
image: regression.

Sizes: N latents, D numbers in w, L style layers, A attributes, K directions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from common import choices
from common.errors import InputError
from common.metrics import portraits

import torch
from torch import Tensor

from hw3_stylegan_sampling import projection, ways
from hw3_stylegan_sampling.networks import Generator, StyledLayer
from hw3_stylegan_sampling.train_stylegan import ATTRIBUTES

SAMPLES = 8000
"""Latents that directions are found with."""
READ = 3000
"""Of them, those whose images are drawn and read."""
RIDGE = 1.0
"""What is added to the covariance of w within attributes, as a share of its mean variance."""


class Axes(NamedTuple):
    """K directions of length 1, the strongest first."""

    directions: Tensor
    """(K, D)."""
    strengths: Tensor
    """(K,): standard deviation of w along each (PCA), or how much styles answer (SeFa)."""


# ---- without labels


@torch.no_grad()
def principal_axes(generator: Generator, count: int, samples: int = SAMPLES, seed: int = 0) -> Axes:
    """The `count` directions in which w of random z varies most, eq. (stylegan.35)."""
    z = ways.normal(generator, samples, torch.Generator().manual_seed(seed))
    w = generator.mapping(z, projection.every_class(generator, samples))
    _, deviations, axes = torch.linalg.svd(w - w.mean(0), full_matrices=False)
    return Axes(axes[:count], deviations[:count] / (samples - 1) ** 0.5)


@torch.no_grad()
def closed_form(generator: Generator, count: int, layers: Iterable[int] | None = None) -> Axes:
    """The `count` directions that change the styles of these layers most, eq. (stylegan.36): no sampling."""
    affine = torch.cat(style_weights(generator, layers))  # (sum of I, D)
    _, answers, axes = torch.linalg.svd(affine, full_matrices=False)
    return Axes(axes[:count], answers[:count])


def style_weights(generator: Generator, layers: Iterable[int] | None = None) -> list[Tensor]:
    """The matrix (I, D) by which each style layer reads w; all layers if none are named."""
    found = [layer for layer in generator.synthesis.modules() if isinstance(layer, StyledLayer)]
    chosen = range(len(found)) if layers is None else [i for i in layers if i < len(found)]
    if not chosen:
        raise InputError("--layers: none that modulates a convolution; name some of the first ones")
    return [found[i].affine.weight * found[i].affine.scale for i in chosen]


# ---- from labels


def attributes_of(generator: Generator) -> tuple[str, ...]:
    """Names of the attributes whose options z chooses, in their order; () for other generators."""
    for names in ATTRIBUTES.values():
        if generator.shape.options and tuple(map(len, names.values())) == generator.shape.options:
            return tuple(names)
    return ()


def paired(
    generator: Generator,
    attribute: str,
    option: int,
    other: int | None = None,
    count: int = SAMPLES,
    seed: int = 0,
) -> Tensor:
    """The mean of w(z, option) - w(z, other) over `count` z that are equal but for this attribute, (D,), eq.
    (stylegan.37).  `other`: None takes whatever option z chooses."""
    place, options = attributes_of(generator).index(attribute), generator.shape.options
    z = ways.normal(generator, count, torch.Generator().manual_seed(seed))
    before = choices.chosen(z[:, -len(options) :], options)
    if other is not None:
        before[:, place] = other
    after = before.clone()
    after[:, place] = option
    with torch.no_grad():
        pair = [generator.mapping(z, choices.one_hot(some, options).to(z)) for some in (after, before)]
    return (pair[0] - pair[1]).mean(0)


def regressed(w: Tensor, values: Tensor) -> Tensor:  # (N, D), (N,) -> (D,)
    """What w moves by on average when the value grows by 1, eq. (stylegan.38)."""
    values = values - values.mean()
    return (values[:, None] * (w - w.mean(0))).mean(0) / values.square().mean()


@dataclass(frozen=True)
class Subspaces:
    """What each property moves in W, and how w varies besides."""

    bases: dict[str, Tensor]
    """(K, D) of each property: rows that span what it moves."""
    within: Tensor
    """(D, D): covariance of w with all properties held."""

    def components(self, moves: Tensor, names: Iterable[str]) -> Tensor:  # (..., D) -> (..., D)
        """The part of differences of latents that is due to the named properties, eq. (stylegan.39).

        A difference is taken for the sum of what every property moves and of a normal rest; generalised least
        squares tells them apart."""
        basis = torch.cat(list(self.bases.values()))  # (K, D)
        D = len(self.within)
        ridge = RIDGE * self.within.trace() / D * torch.eye(D).to(self.within)
        weighted = torch.linalg.solve(self.within + ridge, basis.T)  # (D, K)
        coefficients = torch.linalg.solve(basis @ weighted, weighted.T @ moves.reshape(-1, D).T)  # (K, N)
        owner = [name for name, rows in self.bases.items() for _ in rows]
        wanted = torch.tensor([name in set(names) for name in owner]).to(coefficients)[:, None]
        return ((wanted * coefficients).T @ basis).reshape(moves.shape)

    def beside(self, moves: Tensor, names: Iterable[str]) -> Tensor:  # (..., D) -> (..., D)
        """The differences without the part that is due to the named properties."""
        return moves - self.components(moves, names)


@torch.no_grad()
def subspaces(
    generator: Generator, numbers: dict[str, Tensor] | None = None, samples: int = SAMPLES, seed: int = 0
) -> Subspaces:
    """Of every attribute that z chooses options of, and of `numbers`: values (N,) of the images of the first
    N latents that `seed` draws, by name."""
    names, options = attributes_of(generator), generator.shape.options
    if not names:
        raise InputError(
            "this generator's z chooses no attributes, so that no subspaces are known; use the edit by layers"
        )
    z = ways.normal(generator, samples, torch.Generator().manual_seed(seed))
    w = generator.mapping(z)
    chosen = choices.one_hot(choices.chosen(z[:, -len(options) :], options), options).to(w)
    design = torch.cat([torch.ones_like(chosen[:, :1]), chosen], 1)  # (N, 1 + sum of options)
    effects = torch.linalg.pinv(design.double()) @ w.double()  # least squares; the options of one add up to 1
    rest = (w - design.double() @ effects).to(w)
    bases = {}
    for name, effect in zip(names, effects[1:].split(list(options))):
        apart = effect - effect.mean(0)  # (options, D), of which options - 1 are independent
        bases[name] = torch.linalg.svd(apart, full_matrices=False).Vh[: len(apart) - 1].to(w)
    for name, values in (numbers or {}).items():
        bases[name] = regressed(rest[: len(values)], values.to(w))[None]
    return Subspaces(bases, rest.T @ rest / len(rest))


def subspaces_of_avatars(generator: Generator, reader: portraits.Reader) -> Subspaces:
    """Of the attributes that z chooses, and of yaw and tilt as the reader sees them in images of the same
    latents."""
    z = ways.normal(generator, SAMPLES, torch.Generator().manual_seed(0))[:READ]
    with torch.inference_mode():
        turn = reader.read(ways.images_of(generator, generator.mapping(z))).turn
    return subspaces(generator, dict(zip(portraits.TURNS, turn.unbind(1))))
