"""The smallest training of a diffusion model, and a model small enough for tests of what is done with one."""

import dataclasses
from pathlib import Path

import torch

from hw4_diffusion import models, train_ddpm
from hw4_diffusion.models import Description, Model
from hw4_diffusion.unet import Architecture, UNet


def config(data_dir: Path, outdir: Path, **changes) -> train_ddpm.Config:
    """The smallest training."""
    small = {
        "data": "digits", "train_images": 40, "size": 16, "channels": (8, 8), "steps": 6, "batch_size": 8,
        "timesteps": 20, "measure_every": 3, "measure_images": 12, "device": "cpu", "checkpoint_seconds": 1e9,
        "ema_decay": 0.5,
    }  # fmt: skip
    return train_ddpm.Config(data_dir=data_dir, outdir=outdir, **{**small, **changes})


def untrained(seed: int = 0, classes: int = 10, **changes) -> Model:
    """A small model of random weights for drawn digits of 16 pixels."""
    torch.manual_seed(seed)
    network = UNet(Architecture(1, 16, (8, 8), 1, classes)).requires_grad_(False)
    for parameter in network.parameters():
        if (parameter == 0).all():
            torch.nn.init.normal_(parameter, std=0.05)
    names = tuple("0123456789")[:classes]
    known = Description(
        network.shape, "cosine", 40, False, "v", "digits", names, "label" if classes else "nothing", 30
    )
    return models.ready(dataclasses.replace(known, **changes), network)
