"""What text to image learns from: the latents of all images and the tokens of their captions, made once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from common import tensor_files, torchvision_operators  # noqa: F401  diffusers imports torchvision
from common.data import ImageSet, avatar_captions, to_model_range
from common.devices import Device
from common.errors import InputError

import torch
from diffusers import AutoencoderKL
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTokenizer

CHUNK = 250
"""Images that go through the autoencoder at once."""


@dataclass(frozen=True)
class CaptionedLatents:
    """N images as a text-to-image model sees them, on its device."""

    latents: Tensor
    """float32 (N, D, s, s): the means of the encoder."""
    tokens: Tensor
    """int16 (W, N, L): W captions of each image."""
    empty: Tensor
    """int16 (L,): the prompt without words."""

    @cached_property
    def scaling_factor(self) -> float:
        """What the latents are multiplied with to have variance 1, as the noise has: kappa of
        eq. (latent_diffusion.2)."""
        return 1 / self.latents.std().item()

    def scaled(self, index: Tensor) -> Tensor:  # (B,) -> (B, D, s, s)
        """Latents of variance 1, eq. (latent_diffusion.2)."""
        return self.scaling_factor * self.latents[index.to(self.latents.device)]

    def told(self, index: Tensor, wording: Tensor, *, nothing: Tensor) -> Tensor:  # 3 x (B,) -> int64 (B, L)
        """Tokens of one caption of each image, `wording` in [0, 1) says which; no words where `nothing`."""
        number = (wording * len(self.tokens)).long()
        tokens = self.tokens[number, index.to(self.tokens.device)]
        return torch.where(nothing[:, None], self.empty, tokens).long()


@torch.inference_mode()
def encoded(autoencoder: AutoencoderKL, images: ImageSet) -> Tensor:  # -> float32 (N, D, s, s) on the CPU
    """The mean of each image's latent."""
    device = next(autoencoder.parameters()).device
    parts = images.images.split(CHUNK)
    return torch.cat(
        [autoencoder.encode(to_model_range(part.to(device))).latent_dist.mean.float().cpu() for part in parts]
    )


def tokens_of(tokenizer: CLIPTokenizer, texts: tuple[str, ...]) -> Tensor:  # -> int16 (N, L)
    """Token numbers, filled up to the longest prompt."""
    told = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt").input_ids
    return told.to(torch.int16)


def prepare(
    path: Path, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer, images: ImageSet, wordings: int,
    device: Device,
) -> CaptionedLatents:  # fmt: skip
    """Those of a set, computed by rank 0 and kept in a file, or read from there by a resumed run."""
    if device.is_main and not path.is_file():
        texts = [avatar_captions.varied(images.attributes, seed).texts for seed in range(wordings)]
        tensors = {
            "latents": encoded(autoencoder, images),
            "tokens": torch.stack([tokens_of(tokenizer, some) for some in texts]),
            "empty": tokens_of(tokenizer, ("",))[0],
        }
        tensor_files.write(path, tensors, advice="free some space or choose another --outdir")
    device.barrier()
    try:
        return CaptionedLatents(**{name: part.to(device.torch) for name, part in load_file(path).items()})
    except (SafetensorError, OSError, TypeError) as error:
        raise InputError(f"{path}: damaged; delete it, and the resumed run computes it again") from error
