"""Project images into a generator's styles, W or W+ (Karras et al. 2020, appendix D).

python hw3_stylegan_sampling/project.py --network avatars --images people/                # W+, all at once
python hw3_stylegan_sampling/project.py --network ffhq.pkl --images anna.png bob.png --space w --steps 1000
python hw3_stylegan_sampling/project.py --network avatars --seeds 0-3      # its own images must come back

Every image gets a folder with target.png, projection.png and projected_w.npz, whose `w` (1, L, D) other
scripts take as --projected-w.  projections.png shows originals and projections, losses.png the way there,
progress.gif the images on it.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common import command_line, devices, figures, runs
from common.data import to_model_range, to_uint8
from common.data.decoding import read_images
from common.data.folder import list_images
from common.errors import InputError
from common.flags import Count, Flags, NonNegative, Positive, Seed
from common.metrics.perceptual import Perceptual
from common.text_table import Column, markdown

import numpy as np
import torch
from torch import Tensor

from hw3_stylegan_sampling import models, projection, sample
from hw3_stylegan_sampling.networks import Generator
from hw3_stylegan_sampling.projection import Projected, Recipe, Space

MOST_IMAGES = 256
"""In one batch; more are a mistake in --images."""
VGG_WEIGHTS = "vgg16-397923af.pth"
"""The network under LPIPS, as torchvision calls the file."""
FRAMES = 40
"""Of progress.gif."""
COLUMNS = (Column("image", "image"), Column("PSNR, dB", "psnr", ".1f"), Column("distance", "distance", ".4f"))


@dataclass(frozen=True)
class Config(Flags):
    """Flags of project.py."""

    network: str
    """A shipped generator's name, a run directory of train_stylegan.py, a .safetensors or a .pkl file."""
    images: tuple[Path, ...] = ()
    """Image files, and folders of them; cut to squares and made as large as the generator's."""
    seeds: str | None = None
    """Seeds of the generator's own images to project, beside --images: 0,1,4-6."""
    space: Space = "w+"
    """w: one vector for all layers; w+: one for each, which fits more and edits worse."""
    steps: Count = 300
    """Steps of the optimiser."""
    learning_rate: Positive = 0.1
    """Learning rate at its highest."""
    pixels: NonNegative = 1.0
    """Weight of the pixels' error beside the perceptual one."""
    perceptual: Literal["auto", "lpips", "small"] = "auto"
    """Network of the perceptual error: lpips (a package with weights of its own), the shipped small one, or
    lpips where it is at hand."""
    seed: Seed = 0
    """Seed of the noise on w."""
    outdir: Path = Path("runs")
    """Parent of the run directories."""
    device: str = "auto"
    """Device: auto, cpu, mps, cuda or cuda:N."""


def main(config: Config) -> Path:
    device = devices.start(config.device, seed=config.seed)
    generator = models.load(config.network, device.torch)
    names, images = targets_of(config, generator)
    distance, judge = perceptual(config.perceptual, device.torch)
    targets = to_model_range(images).to(device.torch)  # (B, 3, S, S)
    recipe = Recipe(config.space, config.steps, config.learning_rate, pixels=config.pixels, seed=config.seed)
    with runs.start("hw3", f"project-{config.space.replace('+', 'plus')}", config, device) as run:
        run.say(f"{len(names)} images into {config.space}, {config.steps} steps, judged by {judge}")
        losses, frames = [], []
        shown = set(np.linspace(1, config.steps, min(FRAMES, config.steps)).round().astype(int).tolist())
        steps = projection.project(generator, targets, distance, recipe)
        for _, step in zip(run.progress(1, config.steps + 1), steps):
            losses.append(step.distances.cpu())  # (B,)
            if step.step in shown:
                frames.append(to_uint8(step.images[:16]).cpu())
        report(run, names, images, targets, step, torch.stack(losses[:-1]), frames)
    return run.folder


def report(
    run: runs.Run, names: list[str], images: Tensor, targets: Tensor, last: Projected, losses: Tensor,
    frames: list[Tensor],
) -> None:  # fmt: skip
    """Files of each image, the sheet, the curves (losses (T, B)), the film, and the summary."""
    psnr = projection.psnr(targets, last.images).cpu()
    drawn = to_uint8(last.images).cpu()
    for row, name in enumerate(names):
        folder = run.folder / name
        figures.save_png(folder / "target.png", images[row])
        figures.save_png(folder / "projection.png", drawn[row])
        np.savez(folder / "projected_w.npz", w=last.ws[row : row + 1].cpu().float().numpy())
    rows = [
        {"image": name, "psnr": psnr[row].item(), "distance": last.distances[row].item()}
        for row, name in enumerate(names)
    ]
    run.say(markdown(COLUMNS, rows))
    shown = slice(0, 16)
    figures.save_grid(
        run.folder / "projections.png",
        torch.cat([images[shown], drawn[shown]]),
        len(names[shown]),
        row_titles=("original", "projection"),
        column_titles=[f"{row['image']}\n{row['psnr']:.1f} dB" for row in rows[shown]],
    )
    lines = [
        {"step": step, **dict(zip(names, values))} for step, values in enumerate(losses[:, :16].tolist(), 1)
    ]
    figures.save_curves(
        run.folder / "losses.png", lines, names[shown], title="distance to the image", ylabel="distance",
        log_scale=True,
    )  # fmt: skip
    film = torch.stack([figures.image_grid(frame, len(frame)) for frame in frames])
    figures.save_gif(run.folder / "progress.gif", film, 100)
    run.summary(
        {"psnr_db": psnr.mean(), "lowest_psnr_db": psnr.min(), "distance": last.distances.mean()},
        n=len(names),
        images=rows,
        figures=["projections.png", "losses.png", "progress.gif"],
    )


def targets_of(config: Config, generator: Generator) -> tuple[list[str], Tensor]:
    """A name for each target, and uint8 (B, 3, S, S)."""
    size, seeds = generator.shape.size, sample.numbers(config.seeds) if config.seeds is not None else []
    paths = [p for path in config.images for p in (list_images(path) if path.is_dir() else [path])]
    if not paths and not seeds:
        raise InputError("--images: name image files or a folder, or --seeds of the generator's own images")
    if len(paths) + len(seeds) > MOST_IMAGES:
        raise InputError(f"--images: {len(paths) + len(seeds)} images; project at most {MOST_IMAGES} at once")
    if generator.shape.image_channels != 3:
        raise InputError(f"--network {config.network}: it draws grey images; projection needs colours")
    pictures = read_images(paths, size)
    if pictures.skipped:
        raise InputError(f"--images: {pictures.skipped[0]}; take it out, or mend it")
    labels = models.class_labels(generator, 0 if generator.shape.classes else None)
    own = [sample.draw(generator, seed, labels, 1.0, None, "const") for seed in seeds]
    names = [path.stem for path in paths] + [f"seed{seed:04d}" for seed in seeds]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"--images: {repeated[0]} is the name of two images; rename one of them")
    return names, torch.cat([pictures.images, *(image[None] for image in own)])


def perceptual(kind: str, device: torch.device) -> tuple[projection.Distance, str]:
    """The perceptual error, and what to call it."""
    weights = Path(torch.hub.get_dir()) / "checkpoints" / VGG_WEIGHTS
    at_hand = importlib.util.find_spec("lpips") is not None and weights.is_file()
    if kind == "lpips" and not at_hand:
        raise InputError(
            f"--perceptual lpips: it needs `pip install lpips` and torchvision's weights as {weights}, which "
            "are not downloaded here; put them there, or use small"
        )
    if at_hand and kind != "small":
        import lpips

        net = lpips.LPIPS(net="vgg", verbose=False).to(device).requires_grad_(False)
        return (lambda images, others: net(in_range(images), others).flatten()), "LPIPS (VGG)"
    net = Perceptual().to(device).requires_grad_(False)
    return (lambda images, others: net(in_range(images), others)), "the shipped small network"


def in_range(images: Tensor) -> Tensor:
    """The same images, asserted to be in [-1, 1], which the network expects."""
    if images.min() < -1.001 or images.max() > 1.001:
        raise ValueError(f"images from {images.min():.2f} to {images.max():.2f}, not in [-1, 1]")
    return images


if __name__ == "__main__":
    command_line.run(main, Config)
