"""Draw images with a StyleGAN2 generator, ours or NVIDIA's.  Theory: theory/en/stylegan.md.

python hw3_stylegan_sampling/sample.py --network avatars --seeds 0-31
python hw3_stylegan_sampling/sample.py --network ffhq.pkl --seeds 85,265,297,849 --trunc 0.7 --outdir faces
python hw3_stylegan_sampling/sample.py --network cifar10.pkl --seeds 0-35 --class 1
python hw3_stylegan_sampling/sample.py --network avatars --seeds 0-7 --trunc -1 -0.5 0 0.5 0.7 1 1.5

Latents are those of NVIDIA's generate.py, np.random.RandomState(seed).randn(1, D), so that a published seed
gives the published face.  Several --trunc make one sheet, psi.png, a row for each seed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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

Psi = Annotated[float, Interval(ge=-10, le=10)]
"""Strength of truncation."""
MOST_SEEDS = 100_000
"""More images than that are a mistake in --seeds."""


@dataclass(frozen=True)
class Config(Flags):
    """Flags of sample.py."""

    network: models.Network
    """A shipped generator's name, a run directory of train_stylegan.py, a .safetensors or a .pkl file."""
    seeds: str = "0-15"
    """Seeds of the latents, one image each: 0,1,4-6."""
    trunc: tuple[Psi, ...] = (1.0,)
    """Psi of eq. (stylegan.14): 0 draws the image of the mean w, 1 images as they come.  Several make a
    sheet."""
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
    check(config)
    device = devices.start(config.device)
    seeds = numbers(config.seeds)
    generator = models.load(config.network, device.torch)
    labels = models.class_labels(generator, config.class_index)
    if config.trunc_cutoff is not None and not 0 <= config.trunc_cutoff <= generator.layers:
        raise InputError(
            f"--trunc-cutoff {config.trunc_cutoff}: this generator has {generator.layers} style layers"
        )
    if not config.trunc:
        raise InputError("--trunc: no number; give one, or several for a sheet")
    drawn = lambda seed, psi: draw(generator, seed, labels, psi, config.trunc_cutoff, config.noise_mode)
    try:
        if len(config.trunc) > 1:
            rows = [torch.stack([drawn(seed, psi) for psi in config.trunc]) for seed in seeds]
            save_sweep(config.outdir / "psi.png", torch.stack(rows), seeds, config.trunc)
            print(f"{config.outdir / 'psi.png'}: {len(seeds)} seeds at {len(config.trunc)} values of psi")
            return
        for seed in seeds:
            figures.save_png(config.outdir / f"seed{seed:04d}.png", drawn(seed, *config.trunc))
    except OSError as error:
        raise InputError(f"--outdir {config.outdir}: {error.strerror}; choose another folder") from error
    print(f"{config.outdir}: {len(seeds)} images, seed{seeds[0]:04d}.png to seed{seeds[-1]:04d}.png")


def check(config: Config) -> None:
    """A word where a flag does nothing."""
    truncated = any(psi != 1 for psi in config.trunc)
    command_line.warn_of_idle(config, "trunc_cutoff", needs="--trunc other than 1", met=truncated)


def save_sweep(path: Path, images: Tensor, seeds: Sequence[int], psis: Sequence[float]) -> None:
    """uint8 (seeds, psis, 3, S, S) as one sheet."""
    figures.save_grid(
        path,
        images.flatten(0, 1),
        len(psis),
        title="From the mean image at psi = 0: towards each seed's image, past it, and the other way",
        row_titles=[f"seed {seed}" for seed in seeds],
        column_titles=[f"psi {psi:g}" for psi in psis],
    )


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


def numbers(text: str, flag: str = "--seeds") -> list[int]:
    """0,1,4-6 -> [0, 1, 4, 5, 6], each once; InputError naming the flag for anything else."""
    found = []
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, -1)
        if not first <= last < 2**32:
            raise InputError(
                f"{flag} {text}: {part!r} is neither a number nor a range; write 0,1,4-6, up to {2**32 - 1}"
            )
        if len(found) + last - first >= MOST_SEEDS:
            raise InputError(f"{flag} {text}: more than {MOST_SEEDS} numbers; draw fewer at a time")
        found += range(first, last + 1)
    return list(dict.fromkeys(found))  # the image of a seed is one file


if __name__ == "__main__":
    command_line.run(main, Config)
