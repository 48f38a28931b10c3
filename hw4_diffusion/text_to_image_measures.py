"""What is measured of a text-to-image model of portraits: what is drawn as told, what is lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common import torchvision_operators  # noqa: F401  diffusers imports torchvision
from common.data import ImageSet, avatar_captions, to_model_range, to_uint8
from common.metrics import extractors, samples

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor

from hw4_diffusion import drawing

CHUNK = 250
"""Images that go through a network at once."""


@dataclass(frozen=True)
class Orders:
    """Captions, and what each of them says."""

    texts: tuple[str, ...]
    options: dict[str, Tensor]
    """int64 (N,) for each attribute that is a choice; -1 where the caption does not say it."""


def orders_of(images: ImageSet, seed: int) -> Orders:
    """A caption for each portrait, of a wording that training did not see."""
    captions = avatar_captions.varied(images.attributes, seed)
    said = {name: torch.where(told, images.attributes[name], -1) for name, told in captions.told.items()}
    return Orders(captions.texts, said)


def reference_of(images: ImageSet, device: torch.device) -> samples.Reference:
    """Real portraits, of any size, to compare others with."""
    return samples.Reference(images.images, extractors.load_extractor("avatars", device), styled=True)


def draw(
    pipeline: StableDiffusionPipeline, texts: Sequence[str], *, guidance: float, steps: int, seed: int
) -> Tensor:  # -> uint8 (N, 3, S, S)
    """An image for each prompt.  Image n is of noise n of this seed, whatever else is drawn."""
    seeds = range(1_000_000 * seed, 1_000_000 * seed + len(texts))
    return drawing.draw(pipeline, texts, seeds, guidance=guidance, steps=steps)


@torch.inference_mode()
def reconstructed(autoencoder: AutoencoderKL, images: Tensor) -> Tensor:  # uint8 (N, 3, S, S) -> the same
    """Images after the encoder and the decoder."""
    device = next(autoencoder.parameters()).device
    through = lambda x: autoencoder.decode(autoencoder.encode(x).latent_dist.mean).sample
    parts = images.split(CHUNK)
    return torch.cat([to_uint8(through(to_model_range(part.to(device)))).cpu() for part in parts])


def obeyed_percent(options: dict[str, Tensor], found: dict[str, Tensor]) -> dict[str, float]:
    """Share of the orders that a classifier finds obeyed, in percent, for each attribute that it knows;
    `attributes` of all of them alike, `all` of the images in which every order is.

    Options of -1 are no orders."""
    known = [name for name in options if name in found]
    given = torch.stack([options[name] for name in known])  # (A, N)
    right = torch.stack([found[name].cpu() for name in known]) == given
    told = given >= 0
    percent = {
        name: 100 * (right[row] & told[row]).sum().item() / max(told[row].sum().item(), 1)
        for row, name in enumerate(known)
    }
    percent["attributes"] = 100 * (right & told).sum().item() / max(told.sum().item(), 1)
    percent["all"] = 100 * (right | ~told).all(0).double().mean().item()
    return percent


def psnr(images: Tensor, others: Tensor) -> float:  # uint8 (N, C, S, S) twice
    """Peak signal-to-noise ratio in decibels, the mean over images."""
    pairs = zip(images.split(CHUNK), others.split(CHUNK))
    errors = torch.cat([(one.float() - other.float()).square().mean((1, 2, 3)) for one, other in pairs])
    return (10 * torch.log10(255**2 / errors.clamp(min=1e-3))).mean().item()
