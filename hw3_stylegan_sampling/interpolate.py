"""Walk from image to image, in z and in w, straight and along the sphere.  Theory: theory/en/stylegan.md.

python hw3_stylegan_sampling/interpolate.py --network runs/hw3/0001-stylegan-avatars --seeds 0,2,4,6
python hw3_stylegan_sampling/interpolate.py --network ffhq.pkl --seeds 85,265,297 --ways w-linear --frames 240

Writes interpolation.gif and interpolation.mp4, one panel for each way, and strip.png with the first leg.  The
walk ends where it began.  Where the last numbers of z choose options of attributes, an option changes at
once, where its number crosses a border.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from common import command_line, devices, figures, latent_space
from common.data import to_uint8
from common.errors import InputError
from common.flags import CountOrZero, Flags

import torch
import torch.nn.functional as F
import tyro
from annotated_types import Interval
from torch import Tensor

from hw3_stylegan_sampling import models, sample
from hw3_stylegan_sampling.networks import Generator, NoiseMode

Way = Literal["z-linear", "z-spherical", "w-linear", "w-spherical"]
SHOWN = 9
"""Pictures of the strip."""
WIDTH = 1024
"""Largest width of the GIF in pixels."""


@dataclass(frozen=True)
class Config(Flags):
    """Flags of interpolate.py."""

    network: models.Network
    """A shipped generator's name, a run directory of train_stylegan.py, a .safetensors or a .pkl file."""
    seeds: str = "0,1,2,3"
    """Seeds of the images to walk through: 0,1,4-6."""
    ways: tuple[Way, ...] = ("z-linear", "z-spherical", "w-linear", "w-spherical")
    """Panels: the space, and a straight line or an arc in it."""
    frames: Annotated[int, Interval(ge=8, le=10_000)] = 96
    """Frames of the whole walk."""
    frame_ms: Annotated[int, Interval(ge=20, le=10_000)] = 60
    """Time of a frame in milliseconds; a GIF counts in steps of 10."""
    trunc: sample.Psi = 1.0
    """Psi of eq. (stylegan.14)."""
    class_index: Annotated[CountOrZero | None, tyro.conf.arg(name="class")] = None
    """Class to draw, for generators with classes."""
    noise_mode: Literal["const", "none"] = "const"
    """Noise in the layers: the same maps for all frames, or none."""
    outdir: Path = Path("interpolated")
    """Folder of the files; made if need be."""
    device: str = "auto"
    """Device to draw on: auto, cpu, mps, cuda or cuda:N."""


def main(config: Config) -> None:
    device = devices.start(config.device)
    seeds = sample.numbers(config.seeds)
    if len(set(seeds)) < 2:
        raise InputError(f"--seeds {config.seeds}: a walk needs two different seeds; write 0,1")
    if not config.ways:
        raise InputError("--ways: none; name one of z-linear, z-spherical, w-linear, w-spherical")
    generator = models.load(config.network, device.torch)
    labels = models.class_labels(generator, config.class_index)
    z = torch.cat([sample.latent(seed, generator) for seed in seeds])
    per_leg = -(-config.frames // len(seeds))
    panels = {}
    for way in config.ways:
        w = walk(generator, z, per_leg, way, labels)
        panels[way] = draw(generator, w, config.trunc, config.noise_mode)
    save(config.outdir, panels, per_leg, config.frame_ms)
    for way, images in panels.items():
        print(f"{way:12} longest step {longest_step(images):.1f} times the mean one")
    print(f"{config.outdir}: interpolation.gif, interpolation.mp4, strip.png")


@torch.inference_mode()
def walk(generator: Generator, z: Tensor, per_leg: int, way: Way, labels: Tensor | None = None) -> Tensor:
    """Latents (P, D) of the places -> w (P per_leg, D) from each to the next and from the last to the first.

    z is brought to one length before it is read: a line and an arc in z show the same images, the line
    hurrying in the middle, eq. (stylegan.24).  Not so numbers that choose options: they count by their size,
    which is smaller on the line.  An arc in W goes around the mean w."""
    space, shape = way.split("-")
    repeated = lambda points: None if labels is None else labels.expand(len(points), -1)
    places = z if space == "z" else generator.mapping(z, repeated(z)) - generator.w_mean
    ends = zip(places, places.roll(-1, 0))
    between = latent_space.slerp if shape == "spherical" else torch.lerp
    shares = torch.arange(per_leg, device=z.device)[:, None] / per_leg
    points = torch.cat([between(a.expand(per_leg, -1), b.expand(per_leg, -1), shares) for a, b in ends])
    return generator.mapping(points, repeated(points)) if space == "z" else points + generator.w_mean


@torch.inference_mode()
def draw(generator: Generator, w: Tensor, psi: float, noise_mode: NoiseMode) -> Tensor:
    """w (N, D) -> uint8 (N, 3, S, S) on the CPU."""
    ws = generator.truncate(generator.broadcast(w), psi)
    return torch.cat([to_uint8(generator.synthesis(part, noise_mode)).cpu() for part in ws.split(16)])


def longest_step(images: Tensor) -> float:
    """The largest difference of neighbouring frames (N, C, S, S) of a closed walk, root mean square over
    pixels, as a multiple of the mean one."""
    apart = images.float() - images.roll(-1, 0).float()
    lengths = apart.flatten(1).square().mean(1).sqrt()
    return (lengths.max() / lengths.mean()).item()


def save(outdir: Path, panels: dict[str, Tensor], per_leg: int, frame_ms: int) -> list[str]:
    """GIF and MP4 with the panels side by side, and the first leg of each as a strip; returns their names."""
    frames = torch.cat(list(panels.values()), 3)  # (N, 3, S, panels S)
    larger = max(1, 256 // frames.shape[2])
    film = frames.repeat_interleave(larger, 2).repeat_interleave(larger, 3)
    shown = torch.linspace(0, per_leg, SHOWN).round().long()
    strip = torch.cat([images[shown % len(images)] for images in panels.values()])
    shares = [f"{100 * k // (SHOWN - 1)} %" for k in range(SHOWN)]
    figures.warn_of_gif_time(frame_ms)
    try:
        figures.save_gif(outdir / "interpolation.gif", fitted(frames), frame_ms)
        figures.save_mp4(outdir / "interpolation.mp4", film, frame_ms)
        figures.save_grid(
            outdir / "strip.png", strip, SHOWN, row_titles=tuple(panels), column_titles=shares,
            title="From the first seed's image to the second's",
        )  # fmt: skip
    except OSError as error:
        raise InputError(f"--outdir {outdir}: {error.strerror or error}; choose another folder") from error
    return ["interpolation.gif", "interpolation.mp4", "strip.png"]


def fitted(frames: Tensor) -> Tensor:
    """uint8 (N, 3, H, W), no wider than a page."""
    if frames.shape[3] <= WIDTH:
        return frames
    size = (max(1, round(frames.shape[2] * WIDTH / frames.shape[3])), WIDTH)
    smaller = [F.interpolate(part.float(), size, mode="area") for part in frames.split(16)]
    return torch.cat(smaller).round().to(torch.uint8)


if __name__ == "__main__":
    command_line.run(main, Config)
