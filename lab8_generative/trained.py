"""A trained run of the lab, whichever script made it: latents in, images out, and images back to latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from common import command_line, gaussian_mixture, runs
from common.data import ImageSet, to_model_range
from common.errors import InputError
from lab8_generative import lab_images, reconstruction, train_autoencoder, train_gan

COMPONENTS = (1, 2, 5, 10, 20)
"""Sizes of the mixture of Gaussians that latents are fitted with: held-out latents choose."""


@dataclass(frozen=True)
class Trained:
    """A decoder and what it was trained with."""

    config: train_autoencoder.Config | train_gan.Config
    decoder: nn.Module
    """Latents (B, D) -> images (B, 3, S, S) in [-1, 1]."""
    model: nn.Module | None
    """The autoencoder around it; None for a GAN, which has no way back."""

    @property
    def name(self) -> str:
        """For people: `vae-l1`, `gan`."""
        return self.config.name if self.model is not None else "gan"

    def images(self, split: str, count: int | None = None) -> ImageSet:
        """A split of the set it was trained on."""
        return lab_images.load_split(self.config.data, split, self.config.size, self.config.data_dir, count)

    @torch.inference_mode()
    def latents(self, images: Tensor, *, drawn: bool = False) -> Tensor:
        """(N, D) of uint8 images (N, 3, S, S) by the encoder; `drawn` from q(z | x) where there is one."""
        of = self.model.draw_latents if drawn else self.model.encode
        return torch.cat([of(to_model_range(part)) for part in images.split(250)])


def load(run_dir: Path, data: str | None = None, data_dir: Path | None = None) -> Trained:
    """The model of a run of train_autoencoder.py or train_gan.py; InputError for any other folder.

    `data` and `data_dir` say where the images are now, if they have moved.
    """
    values = runs.read_json(Path(run_dir) / "config.json")
    script = train_autoencoder if "loss" in values else train_gan
    if not {"latent", "width", "data", "size"} <= values.keys() or values.keys() != _fields(script):
        raise InputError(
            f"{run_dir}: not a run of the lab; give one that lab8_generative/train_autoencoder.py or "
            "lab8_generative/train_gan.py made"
        )
    config = command_line.config_from_run(script.Config, run_dir)
    changes = {"data": data, "data_dir": data_dir}
    config = type(config)(**{**vars(config), **{name: value for name, value in changes.items() if value}})
    loaded = script.load_best(config, Path(run_dir))
    if script is train_gan:
        return Trained(config, loaded, None)
    return Trained(config, loaded.decoder, loaded)


def _fields(script) -> set[str]:
    return set(script.Config.__dataclass_fields__)


def draw_prior(count: int, latent: int, generator: torch.Generator) -> Tensor:  # -> (N, D)
    """z ~ N(0, I)."""
    return torch.randn(count, latent, generator=generator)


def fit_latents(trained: Trained, generator: torch.Generator) -> gaussian_mixture.GaussianMixture:
    """A mixture of Gaussians (often of one) for the latents of the training images.

    An autoencoder's latents are wherever they happened to be put: N(0, I) knows nothing of them.
    """
    train, val = (trained.latents(trained.images(split).images, drawn=True) for split in ("train", "val"))
    sizes = [size for size in COMPONENTS if size == 1 or size * trained.config.latent <= len(train)]
    return gaussian_mixture.fit_best(train, val, sizes, generator)[0]


def truncated(z: Tensor, psi: float) -> Tensor:  # (N, D) -> (N, D)
    """Latents moved towards their mean: 1 leaves them, 0 makes all of them alike."""
    mean = z.mean(0)
    return mean + psi * (z - mean)


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
    """The latents whose images come nearest to uint8 `images` (B, 3, S, S), by gradient descent on z.

    All `restarts` of all images go through the decoder as one batch.  Minimised is the perceptual error of
    reconstruction.py plus a hundredth of |z|^2 / D, which keeps z where the decoder has been.  Returns z
    (B, D) of the best restart of each image and its squared error (B,) in units of [0, 1].
    """
    B = len(images)
    error_of = reconstruction.Perceptual()
    targets = to_model_range(images).repeat_interleave(restarts, 0)  # (B R, 3, S, S)
    z = torch.randn(B * restarts, latent, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=lr)
    decoder.requires_grad_(False)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * min(1, 2 * (1 - step / steps))  # constant, then down to 0
        losses = error_of(targets, decoder(z)) + 0.01 * z.square().mean(1)
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
    with torch.inference_mode():
        final = z.detach()
        scores = error_of(targets, decoder(final)).view(B, restarts)
        best = final.view(B, restarts, latent)[torch.arange(B), scores.argmin(1)]
        return best.clone(), reconstruction.error("mse", to_model_range(images), decoder(best))
