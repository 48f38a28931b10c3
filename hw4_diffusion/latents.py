"""What a step of fine-tuning takes of a pipeline: latents of images, and how noisy they are at each time.

Theory: theory/en/latent_diffusion.md#the-scale-of-a-latent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.noise import BatchNoise

import torch
from torch import Tensor

from hw4_diffusion.diffusion import Prediction

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, StableDiffusionPipeline

PREDICTIONS: dict[str, Prediction] = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}
"""diffusers' names of what a U-Net predicts."""


class NoiseLevels:
    """How much of the image and how much noise there is at each of a scheduler's times 0, ..., T - 1."""

    def __init__(self, pipeline: StableDiffusionPipeline, device: torch.device):
        share = pipeline.scheduler.alphas_cumprod.double()
        self.alpha, self.sigma = (x.sqrt().float().to(device) for x in (share, 1 - share))  # (T,)
        self.prediction = PREDICTIONS[pipeline.scheduler.config.prediction_type]

    def times(self, noise: BatchNoise) -> Tensor:
        """int64 (B,), uniform."""
        return (noise.uniform() * len(self.alpha)).long()

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma, each (B, 1, 1, 1)."""
        return self.alpha[t][:, None, None, None], self.sigma[t][:, None, None, None]


@torch.no_grad()
def latents_of(autoencoder: AutoencoderKL, images: Tensor, noise: BatchNoise) -> Tensor:
    """(B, 3, S, S) in [-1, 1] -> float32 (B, 4, s, s): drawn from the encoder's Gaussian, and scaled."""
    # task hw4.e: drawn from the encoder's Gaussian, and scaled
    gaussian = autoencoder.encode(images.to(autoencoder.dtype)).latent_dist
    mean, std = gaussian.mean.float(), gaussian.std.float()
    return autoencoder.config.scaling_factor * (mean + std * noise.normal(*mean.shape[1:]))
    # end task
