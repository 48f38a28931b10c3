"""Edits of projected people: styles, expressions and faces of others.  Theory: theory/en/stylegan.md.

Every edit exists twice: by layers, as the course does it (style_mixing.mix: these layers from the other
person), and by subspaces (directions.Subspaces: what the other person differs by in some properties).  A swap
by optimisation asks an identity network besides.

Sizes: B images, L style layers, D numbers in w, S side of the image, E numbers in an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from common.data import to_uint8

import torch
import torch.nn.functional as F
from torch import Tensor

from hw3_stylegan_sampling.directions import Subspaces
from hw3_stylegan_sampling.networks import Generator
from hw3_stylegan_sampling.projection import Distance

Embed = Callable[[Tensor], Tensor]
"""Images (B, 3, S, S) in [-1, 1] -> (B, E) of length 1, differentiable."""
CHUNK = 60
"""Images that are drawn at once."""
FACE = ((0.5, 0.5), (0.26, 0.3))
"""Middle and half axes of the ellipse that holds the face, as shares of the picture: aligned pictures have it
in one place."""


@torch.inference_mode()
def images_of(generator: Generator, ws: Tensor) -> Tensor:  # (B, L, D) -> uint8 (B, 3, S, S) on the CPU
    """The images of styles, a batch at a time."""
    return torch.cat([to_uint8(generator.synthesis(part, "const")).cpu() for part in ws.split(CHUNK)])


def moved(ws: Tensor, direction: Tensor, strength: float, layers: Sequence[int]) -> Tensor:
    """ws (B, L, D) with strength times the direction, (D,) or one for each layer (L, D), added in these
    layers, eq. (stylegan.37)."""
    # task hw3.e: a direction in some layers
    places = list(layers)
    result = ws.clone()
    result[:, places] += strength * direction.expand(ws.shape[1:])[places]
    return result
    # end task


def towards(ws: Tensor, others: Tensor, strength: float, layers: Sequence[int]) -> Tensor:
    """ws (B, L, D), in these layers moved towards `others`, which they become at strength 1."""
    # task hw3.e: some layers on the way to another person's
    places = list(layers)
    result = ws.clone()
    result[:, places] = torch.lerp(ws, others, strength)[:, places]
    return result
    # end task


def transferred(
    ws: Tensor, others: Tensor, spaces: Subspaces, names: Iterable[str], strength: float = 1.0
) -> Tensor:  # (B, L, D) twice -> (B, L, D)
    """ws, in the named properties like `others`, eq. (stylegan.39)."""
    return ws + strength * spaces.components(others - ws, names)


def swapped(
    ws: Tensor, faces: Tensor, spaces: Subspaces, kept: Iterable[str], strength: float = 1.0
) -> Tensor:  # (B, L, D) twice -> (B, L, D)
    """`faces` in the pictures ws: everything of them but the properties that are kept, eq. (stylegan.39)."""
    return ws + strength * spaces.beside(faces - ws, kept)


def everyone_with_everyone(P: int) -> tuple[Tensor, Tensor]:
    """Numbers of persons, int64 (P (P - 1),) twice: whose face, in whose picture."""
    pairs = torch.cartesian_prod(torch.arange(P), torch.arange(P))
    return pairs[pairs[:, 0] != pairs[:, 1]].unbind(1)


# ---- swap by optimisation


@dataclass(frozen=True)
class SwapRecipe:
    """Weights of the terms of eq. (stylegan.40), and how to optimise."""

    steps: int = 60
    learning_rate: float = 0.05
    identity: float = 1.0
    """1 - the cosine of the embeddings of image and source."""
    perceptual: float = 1.0
    """Distance to the target outside the face."""
    colour: float = 1.0
    """Mean |difference| of colours averaged in 8 x 8 cells, outside the face."""
    kept: float = 0.2
    """Squared difference to the target in the properties that are kept: pose, expression, clothes."""
    near: float = 0.02
    """Squared distance from where the optimiser begins: images far from W look like nobody."""


@dataclass(frozen=True)
class Swap:
    """What one step gave, each of B images."""

    ws: Tensor
    images: Tensor
    terms: dict[str, Tensor]
    """(B,) of each term, unweighted."""


def optimised_swap(
    generator: Generator, start: Tensor, targets: Tensor, target_ws: Tensor, source: Tensor, embed: Embed,
    distance: Distance, recipe: SwapRecipe, spaces: Subspaces | None = None,
) -> Iterator[Swap]:  # fmt: skip
    """Bring the identity (B, E) of `source` into `targets` (B, 3, S, S), eq. (stylegan.40); yields every
    step's images, drawn before its update, and last of all the result.

    Without subspaces the term of what is kept is left out."""
    generator.requires_grad_(False)
    outside = 1 - face_window(targets)  # (1, 1, S, S)
    styles = start.clone().requires_grad_()  # (B, L, D)
    optimizer = torch.optim.Adam([styles], recipe.learning_rate)

    def evaluated() -> Swap:
        images = generator.synthesis(styles, "const")
        terms = {
            "identity": 1 - (embed(images) * source).sum(1),
            "perceptual": distance(targets, targets + outside * (images - targets)),
            "colour": coarse_colour(targets, images, outside),
            "near": (styles - start).square().sum(2).mean(1),
        }
        if spaces is not None:
            terms["kept"] = spaces.components(styles - target_ws, spaces.bases).square().sum(2).mean(1)
        return Swap(styles, images, terms)

    for step in range(recipe.steps):
        optimizer.param_groups[0]["lr"] = recipe.learning_rate * (1 - step / recipe.steps)
        now = evaluated()
        loss = sum(getattr(recipe, name) * term for name, term in now.terms.items()).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield Swap(now.ws.detach().clone(), now.images.detach(), detached(now.terms))
    with torch.no_grad():
        now = evaluated()
    yield Swap(now.ws.detach(), now.images, now.terms)


def restored(
    generator: Generator, edited: Tensor, owners: Tensor, embed: Embed, distance: Distance,
    recipe: SwapRecipe, spaces: Subspaces | None = None,
) -> Tensor:  # fmt: skip
    """Edited ws (B, L, D) with their persons (B, E) brought back: `optimised_swap` of everyone's face into
    what an edit has made of the picture."""
    with torch.no_grad():
        images = generator.synthesis(edited, "const").clamp(-1, 1)
    for step in optimised_swap(generator, edited, images, edited, owners, embed, distance, recipe, spaces):
        last = step
    return last.ws


def detached(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: term.detach() for name, term in terms.items()}


def face_window(like: Tensor) -> Tensor:  # (B, 3, S, S) -> (1, 1, S, S)
    """1 where an aligned picture has its face, 0 outside, soft between."""
    S = like.shape[-1]
    (x0, y0), (a, b) = FACE
    place = (torch.arange(S, device=like.device) + 0.5) / S
    radius = (((place - x0) / a).square() + ((place - y0) / b).square()[:, None]).sqrt()  # (S, S)
    return torch.sigmoid((1 - radius) * 12)[None, None]


def coarse_colour(targets: Tensor, images: Tensor, weight: Tensor) -> Tensor:  # (B, 3, S, S) twice -> (B,)
    """Mean |difference| of 8 x 8 averages where the weight (1, 1, S, S) is, in units of [0, 1]."""
    cell = max(1, targets.shape[-1] // 8)
    means = F.avg_pool2d(weight * (images - targets), cell) / 2
    return means.abs().mean((1, 2, 3))
