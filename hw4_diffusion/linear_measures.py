"""What is measured of a linear diffusion: its errors, and how far its samples are from test images."""

from __future__ import annotations

from common.data import to_model_range
from common.metrics import attributes, samples

from torch import Tensor

from hw4_diffusion.linear_captions import Captions
from hw4_diffusion.linear_denoiser import LinearDenoiser, Moments
from hw4_diffusion.linear_encoder import LinearEncoder


def of_images(images: Tensor, captions: Captions, reference: samples.Reference) -> dict[str, float]:
    """Fréchet distance of uint8 images, one for each caption, and how many show what their caption says."""
    features = reference.features_of(images)
    found = reference.extractor.answers(features)
    numbers = {f"eval/{reference.name}": reference.distance(features)}
    if captions.chosen.keys() & found.keys():
        for name, share in attributes.obeyed(captions.chosen, found).items():
            numbers[f"eval/{name}_percent"] = 100 * share
    return numbers


def of_encoder(encoder: LinearEncoder, images: Tensor) -> dict[str, float]:
    """What the encoder loses of uint8 images: share of their variance, and mean squared error of [0, 1]."""
    decoded = encoder.decode(encoder.encode(images))
    true = to_model_range(images)
    squared = (decoded - true).square().mean().item()
    variance = (true - true.mean(0)).square().mean().item()
    return {"val/encoder_mse": squared / 4, "val/encoder_lost_variance": squared / variance}


def denoising_error(
    denoiser: LinearDenoiser, latents: Tensor, captions: Tensor, levels: list[tuple[float, float]]
) -> float:
    """E |z_hat - z|^2 / D over these latents, all noise and the given (alpha, sigma)."""
    moments = Moments(latents, captions, denoiser.products)
    errors = [moments.error(denoiser.weights(*level), *level) for level in levels]
    return sum(errors) / len(errors)
