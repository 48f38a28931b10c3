"""Projection: the styles whose image comes nearest to a given one (Karras et al. 2020, appendix D).

W: one w for all layers; W+: one for each.  Every image is optimised for itself, whoever else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hw3_stylegan_sampling.networks import Generator, StyledLayer

Space = Literal["w", "w+"]
Distance = Callable[[Tensor, Tensor], Tensor]
"""Images (B, 3, S, S) in [-1, 1] twice, the first of which gets no gradient -> (B,)."""


@dataclass(frozen=True)
class Recipe:
    """How to optimise; the numbers are those of the paper but for fewer steps and a weight of the pixels."""

    space: Space = "w+"
    steps: int = 300
    learning_rate: float = 0.1
    pixels: float = 1.0
    """Weight of the mean |x - y| of the pixels beside the distance."""
    wander: float = 0.05
    """Noise on w at the beginning, in standard deviations of w: it lets w leave a poor valley."""
    wander_until: float = 0.75
    """Share of the steps after which there is no such noise."""
    ramp_up: float = 0.05
    ramp_down: float = 0.25
    """Shares of the steps over which the learning rate rises and falls."""
    noise_penalty: float = 1e5
    """Weight of what keeps the layers' noise noise, for generators that have some."""
    seed: int = 0


@dataclass(frozen=True)
class Projected:
    """What one step gave, each of B images."""

    step: int
    ws: Tensor
    """(B, L, D)."""
    images: Tensor
    """(B, 3, S, S), about in [-1, 1]."""
    distances: Tensor
    """(B,): what is minimised, without the noise's penalty."""


def project(
    generator: Generator,
    targets: Tensor,
    distance: Distance,
    recipe: Recipe,
    start: Tensor | None = None,
) -> Iterator[Projected]:
    """Bring ws near `targets` (B, 3, S, S), from the mean w or from `start` (B, L, D); yields every step, its
    images drawn before the step's update, and last of all the result.  What W and W+ can reach: eq.
    (stylegan.28)."""
    generator.requires_grad_(False)
    draws = torch.Generator().manual_seed(recipe.seed)
    mean, spread = statistics_of_w(generator)
    count = 1 if recipe.space == "w" else generator.layers
    start = mean.expand(len(targets), count, -1) if start is None else start
    styles = start.clone().requires_grad_()  # (B, 1 or L, D)
    with own_noise(generator, len(targets), draws) as noises:
        optimizer = torch.optim.Adam([styles, *noises], betas=(0.9, 0.999))
        for step in range(1, recipe.steps + 1):
            share = (step - 1) / recipe.steps
            optimizer.param_groups[0]["lr"] = recipe.learning_rate * ramp(recipe, share)
            strength = recipe.wander * spread * max(0.0, 1 - share / recipe.wander_until) ** 2
            wander = strength * torch.randn(1, count, generator.w_dim, generator=draws).to(styles)
            # task hw3.d: one step towards the image
            ws = (styles + wander).expand(-1, generator.layers, -1)
            images = generator.synthesis(ws, "const")
            distances = error(targets, images, distance, recipe)
            loss = distances.sum() + recipe.noise_penalty * sum(map(correlation, noises))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            normalise(noises)
            # end task
            yield Projected(step, ws.detach(), images.detach(), distances.detach())
        with torch.no_grad():
            ws = styles.expand(-1, generator.layers, -1).contiguous()
            images = generator.synthesis(ws, "const")
            distances = error(targets, images, distance, recipe)
        yield Projected(recipe.steps, ws.detach(), images, distances)


def error(targets: Tensor, images: Tensor, distance: Distance, recipe: Recipe) -> Tensor:  # -> (B,)
    """What is minimised: the distance and the weighted error of pixels."""
    return distance(targets, images) + recipe.pixels * pixel_distance(targets, images)


def pixel_distance(targets: Tensor, images: Tensor) -> Tensor:  # (B, 3, S, S) twice -> (B,)
    """Mean |x - y| in units of [0, 1]."""
    # task hw3.d: the error of the pixels
    return (targets - images).abs().mean((1, 2, 3)) / 2
    # end task


def psnr(targets: Tensor, images: Tensor) -> Tensor:  # (B, 3, S, S) twice -> (B,)
    """Peak signal-to-noise ratio in dB of images as they are saved: cut off at black and white."""
    error = ((targets.clamp(-1, 1) - images.clamp(-1, 1)) / 2).square().mean((1, 2, 3))
    return -10 * error.clamp_min(1e-12).log10()


@torch.no_grad()
def statistics_of_w(generator: Generator, count: int = 10_000) -> tuple[Tensor, float]:
    """The mean w (D,) of `count` z, and how far from it a w is: the root of the mean squared distance."""
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(0))
    w = generator.mapping(z.to(generator.w_mean.device), every_class(generator, count))
    return w.mean(0), (w - w.mean(0)).square().sum(1).mean().sqrt().item()


def every_class(generator: Generator, count: int) -> Tensor | None:
    """Classes by turns, one-hot float32 (count, K), for a generator that is told one."""
    if not (classes := generator.shape.classes):
        return None
    return F.one_hot(torch.arange(count) % classes, classes).float().to(generator.w_mean.device)


def ramp(recipe: Recipe, share: float) -> float:
    """Factor of the learning rate when `share` of the steps is done: up along a line, down along a cosine."""
    down = min(1.0, (1 - share) / recipe.ramp_down)
    return (0.5 - 0.5 * math.cos(math.pi * down)) * min(1.0, share / recipe.ramp_up + 0.01)


# ---- the layers' noise


@contextmanager
def own_noise(generator: Generator, count: int, draws: torch.Generator) -> Iterator[list[Tensor]]:
    """Each image's own noise for every layer that has some, (B, 1, S, S), part of the layers inside the
    block; after it they have the noise they had."""
    layers = [layer for layer in generator.synthesis.modules() if isinstance(layer, StyledLayer)]
    had = {layer: layer.noise for layer in layers if layer.noise is not None}
    for layer, noise in had.items():
        drawn = torch.randn(1, 1, *noise.shape[-2:], generator=draws).to(noise)
        layer.noise = nn.Buffer(drawn.expand(count, -1, -1, -1).clone().requires_grad_())
    try:
        yield [layer.noise for layer in had]
    finally:
        for layer, noise in had.items():
            layer.noise = noise


def correlation(noise: Tensor) -> Tensor:  # (B, 1, S, S) -> ()
    """How much neighbours resemble each other, at every size down to 8x8, eq. (stylegan.30): a picture hidden
    in the noise."""
    # task hw3.d: what neighbours have in common, at every size
    total = noise.new_zeros(())
    while True:
        for dimension in (2, 3):
            total = total + (noise * noise.roll(1, dimension)).mean((1, 2, 3)).square().sum()
        if noise.shape[-1] <= 8:
            return total
        noise = F.avg_pool2d(noise, 2)
    # end task


@torch.no_grad()
def normalise(noises: list[Tensor]) -> None:
    """Mean 0 and variance 1 again."""
    for noise in noises:
        noise.sub_(noise.mean((1, 2, 3), keepdim=True))
        noise.mul_(noise.square().mean((1, 2, 3), keepdim=True).rsqrt())
