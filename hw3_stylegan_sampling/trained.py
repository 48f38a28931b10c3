"""A run of train_stylegan.py as ways of sampling need it: the averaged generator and its discriminator."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from common import checkpoints, command_line
from common.averaged_weights import averaged
from common.errors import InputError

import torch

from hw3_stylegan_sampling import train_stylegan
from hw3_stylegan_sampling.discriminator import Discriminator
from hw3_stylegan_sampling.networks import Generator


class Trained(NamedTuple):
    """Both networks in evaluation mode, of the same step."""

    generator: Generator
    """With averaged weights."""
    discriminator: Discriminator
    config: train_stylegan.Config
    step: int


def load(run_dir: Path, device: torch.device | str = "cpu") -> Trained:
    """Both networks of a run's last checkpoint.

    A generator's file holds no discriminator: InputError says that a run is needed."""
    if not run_dir.is_dir():
        raise InputError(
            f"{run_dir}: a generator alone; rejection and Langevin sampling ask the discriminator it was "
            "trained against: name the run directory of train_stylegan.py"
        )
    config = command_line.config_from_run(train_stylegan.Config, run_dir)
    generator, discriminator = train_stylegan.build(config, train_stylegan.options_of(config))
    ema = averaged(generator, 0.0)
    path = run_dir / "checkpoints" / "last.pt"
    content = checkpoints.read(path)
    checkpoints.load_parts(path, content, ema=ema, discriminator=discriminator)
    generator = ema.module
    generator.estimate_w_mean()
    for network in (generator, discriminator):
        network.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)
    return Trained(generator, discriminator, config, int(content["step"]))
