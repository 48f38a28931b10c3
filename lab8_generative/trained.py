"""A trained run of the lab, whichever script made it: its decoder, its images, and their latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common import command_line, gaussian_mixture, runs
from common.data import ImageSet, to_model_range
from common.errors import InputError
from common.metrics import samples

import torch
from torch import Tensor, nn

from lab8_generative import lab_images, train_autoencoder, train_gan

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
        encode = self.model.draw_latents if drawn else self.model.encode
        return torch.cat([encode(to_model_range(part)) for part in images.split(samples.CHUNK)])


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


def fit_latents(trained: Trained, generator: torch.Generator) -> gaussian_mixture.GaussianMixture:
    """A mixture of Gaussians (often of one) for the latents of the training images.

    An autoencoder's latents are wherever they happened to be put: N(0, I) knows nothing of them.
    """
    train, val = (trained.latents(trained.images(split).images, drawn=True) for split in ("train", "val"))
    sizes = [size for size in COMPONENTS if size == 1 or size * trained.config.latent <= len(train)]
    return gaussian_mixture.fit_best(train, val, sizes, generator)[0]
