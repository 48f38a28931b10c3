"""Draw images with a StyleGAN2 generator, ours or NVIDIA's.  Theory: theory/en/stylegan.md.

python hw3_stylegan_sampling/sample.py --network avatars --seeds 0-31
python hw3_stylegan_sampling/sample.py --network ffhq.pkl --seeds 85,265,297,849 --trunc 0.7 --outdir faces
python hw3_stylegan_sampling/sample.py --network cifar10.pkl --seeds 0-35 --class 1

Latents are those of NVIDIA's generate.py, np.random.RandomState(seed).randn(1, D), so that a published seed
gives the published face.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common import command_line, devices, figures
from common.data import to_uint8
from common.errors import InputError
from common.flags import CountOrZero, Flags

import numpy as np
import torch
import tyro
from annotated_types import Interval
from torch import Tensor

from hw3_stylegan_sampling import models
from hw3_stylegan_sampling.networks import Generator, NoiseMode

MOST_SEEDS = 100_000
"""More images than that are a mistake in --seeds."""


@dataclass(frozen=True)
class Config(Flags):
    """Flags of sample.py."""

    network: str
    """A shipped generator's name, a run directory of train_stylegan.py, a .safetensors or a .pkl file."""
    seeds: str = "0-15"
    """Seeds of the latents, one image each: 0,1,4-6."""
    trunc: Annotated[float, Interval(ge=-10, le=10)] = 1.0
    """Psi of eq. (stylegan.14): 0 draws the image of the mean w, 1 images as they come."""
    trunc_cutoff: CountOrZero | None = None
    """Style layers that are truncated, the first ones; all of them if left out."""
    class_index: Annotated[CountOrZero | None, tyro.conf.arg(name="class")] = None
    """Class to draw, for generators with classes."""
    noise_mode: NoiseMode = "const"
    """Noise in the layers: the same maps for all images, new ones for each seed, or none."""
    outdir: Path = Path("samples")
    """Folder of the images; made if need be."""
    device: str = "auto"
    """Device to draw on: auto, cpu, mps, cuda or cuda:N."""


def main(config: Config) -> None:
    device = devices.start(config.device)
    seeds = numbers(config.seeds)
    generator = models.load(config.network, device.torch)
    labels = models.class_labels(generator, config.class_index)
    if config.trunc_cutoff is not None and not 0 <= config.trunc_cutoff <= generator.layers:
        raise InputError(
            f"--trunc-cutoff {config.trunc_cutoff}: this generator has {generator.layers} style layers"
        )
    for seed in seeds:
        image = draw(generator, seed, labels, config.trunc, config.trunc_cutoff, config.noise_mode)
        try:
            figures.save_png(config.outdir / f"seed{seed:04d}.png", image)
        except OSError as error:
            raise InputError(f"--outdir {config.outdir}: {error.strerror}; choose another folder") from error
    print(f"{config.outdir}: {len(seeds)} images, seed{seeds[0]:04d}.png to seed{seeds[-1]:04d}.png")


@torch.inference_mode()
def draw(
    generator: Generator,
    seed: int,
    labels: Tensor | None,
    psi: float,
    cutoff: int | None,
    noise_mode: NoiseMode,
) -> Tensor:
    """uint8 (3, S, S): the image of one seed, which also seeds random noise."""
    torch.manual_seed(seed)
    ws = generator.styles(latent(seed, generator), labels, psi=psi, cutoff=cutoff)
    return to_uint8(generator.synthesis(ws, noise_mode))[0].cpu()


def latent(seed: int, generator: Generator) -> Tensor:
    """z (1, D) of a seed, as NVIDIA draws it."""
    z = np.random.RandomState(seed).randn(1, generator.z_dim)
    return torch.from_numpy(z).float().to(generator.w_mean.device)


def numbers(text: str) -> list[int]:
    """0,1,4-6 -> [0, 1, 4, 5, 6], each once; InputError for anything else."""
    found = []
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, -1)
        if not first <= last < 2**32:
            raise InputError(
                f"--seeds {text}: {part!r} is neither a seed nor a range; write 0,1,4-6, up to {2**32 - 1}"
            )
        if len(found) + last - first >= MOST_SEEDS:
            raise InputError(f"--seeds {text}: more than {MOST_SEEDS} images; draw fewer at a time")
        found += range(first, last + 1)
    return list(dict.fromkeys(found))  # the image of a seed is one file


if __name__ == "__main__":
    command_line.run(main, Config)
