"""From images back to latents, for a decoder that has no encoder: gradient descent on z."""

from __future__ import annotations

from common.data import to_model_range
from common.metrics.perceptual import Perceptual, pixel_error

import torch
from torch import Tensor, nn


def invert(
    decoder: nn.Module,
    images: Tensor,
    latent: int,
    *,
    steps: int,
    restarts: int,
    lr: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The latents whose images come nearest to uint8 `images` (B, 3, S, S).

    All `restarts` of all images go through the decoder as one batch.  Minimised is the perceptual error plus
    a hundredth of |z|^2 / D, which keeps z where the decoder has been.  Returns z (B, D) of the best restart
    of each image and its squared error (B,) in units of [0, 1].
    """
    B = len(images)
    error_of = Perceptual()
    targets = to_model_range(images).repeat_interleave(restarts, 0)  # (B R, 3, S, S)
    z = torch.randn(B * restarts, latent, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=lr)
    decoder.requires_grad_(False)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * min(1, 2 * (1 - step / steps))  # constant, then down to 0
        losses = error_of(targets, decoder(z)) + 0.01 * z.square().mean(1)  # (B R,)
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
    with torch.inference_mode():
        final = z.detach()
        scores = error_of(targets, decoder(final)).view(B, restarts)
        best = final.view(B, restarts, latent)[torch.arange(B), scores.argmin(1)]  # (B, D)
        return best.clone(), pixel_error("mse", to_model_range(images), decoder(best))
