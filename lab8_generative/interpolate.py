"""Turn one image of the set into another: a looping GIF and a strip of the way between their latents.

Theory: theory/en/vae.md eq. (vae.14).

python lab8_generative/interpolate.py runs/lab8/0001-ae-l1-creatures 3 17   # 2 cores: 5 s, eval/detour 2.3
python lab8_generative/interpolate.py runs/lab8/0002-gan-creatures 3 17 --frames 50 --way spherical
python lab8_generative/interpolate.py runs/lab8/0003-vae-l1-pokemon 0025 0133

An encoder gives the latents of both images; for a GAN they are searched for by gradient descent, from several
starts at once.  Beside the way through latent space stands the cross-fade, which only mixes the pixels of its
two ends: half way it shows both at once, where a good latent space shows one thing in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from common import command_line, devices, figures, flags, latent_space, runs
from common.data import ImageSet, to_model_range
from common.errors import InputError
from common.metrics import samples
from common.metrics.perceptual import pixel_error

import numpy as np
import torch
import tyro
from annotated_types import Interval
from PIL import Image
from pydantic import AfterValidator
from torch import Tensor

from lab8_generative import lab_images, trained
from lab8_generative.invert import invert

SHOWN = 9
"""Pictures of the way on the strip."""
COLORS = 48
"""Colours of each frame of the GIF."""
JUMP = 3.0
"""A step so many times as long as the mean one is called a jump."""


def _even(frames: int) -> int:
    if frames % 2:
        raise ValueError("there and back takes an even number")
    return frames


@dataclass(frozen=True)
class Config(flags.Flags):
    """Flags of interpolate.py."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Run directory of train_autoencoder.py or train_gan.py."""
    first: Annotated[str, tyro.conf.Positional]
    """Image to start from: its file name, with or without folder and ending, or its number in the split."""
    second: Annotated[str, tyro.conf.Positional]
    """Image to end at."""
    split: Literal["train", "val", "test"] = "train"
    """Where the images are; those of `test` show what the encoder makes of images it has not seen."""
    frames: Annotated[int, Interval(ge=20, le=50), AfterValidator(_even)] = 30
    """Frames of the GIF, which goes there and back: 20 to 50."""
    frame_ms: Annotated[int, Interval(ge=20, le=10_000)] = 80
    """Time of a frame in milliseconds; a GIF counts in steps of 10, and viewers show nothing below 20."""
    way: Literal["linear", "spherical"] = "linear"
    """A straight line between latents, or the arc on which N(0, I) lies."""
    restarts: Annotated[int, Interval(ge=1, le=1000)] = 8
    """Starts of the search for a GAN's latents."""
    inversion_steps: flags.Count = 200
    """Steps of that search."""
    inversion_lr: flags.LearningRate = 0.05
    """Adam's learning rate in that search."""
    seed: flags.Seed = 0
    """Seed of the search's starts."""
    data: flags.Data | None = None
    """Where the training images are now; default: where they were."""
    data_dir: flags.Folder | None = None
    """Folder of the image sets; default: what the training used."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""


def main(config: Config) -> Path:
    device = devices.start("cpu", seed=config.seed, processes="one")
    model = trained.load(config.run_dir, config.data, config.data_dir)
    images = model.images(config.split)
    rows = rows_of_ends(config, images)
    pair = images.images[torch.tensor(rows)]  # (2, 3, S, S)
    z, errors = latents_of(config, model, pair)  # (2, D), (2,)
    count = config.frames // 2 + 1
    ways = {
        way: samples.decode(model.decoder, walk(z[0], z[1], count, way)) for way in ("linear", "spherical")
    }
    chosen = ways[config.way]  # (count, 3, S, S)
    fade = cross_fade(chosen[0], chosen[-1], count)
    name = f"interpolate-{model.name}-{Path(model.config.data).name}"
    with runs.start("lab8", name, config, device) as run:
        numbers = {f"eval/{what}": value for what, value in smoothness(chosen).items()}
        for way, frames in ways.items():
            numbers |= {f"eval/{way}_{what}": value for what, value in smoothness(frames).items()}
        numbers |= {"eval/mse_first": errors[0].item(), "eval/mse_second": errors[1].item()}
        numbers["eval/mse_of_mean_image"] = error_of_mean(pair, images)
        run.summary(
            numbers,
            images=[lab_images.name_of(images, row) for row in rows],
            frames=config.frames,
            frame_ms=figures.gif_frame_ms(config.frame_ms),
            split=config.split,
            model=model.name,
            data=Path(model.config.data).name,
            seed=config.seed,
            figures=save_figures(run.folder, pair, chosen, fade, config),
        )
        first, last = (lab_images.name_of(images, row) for row in rows)
        run.say(f"from {first} to {last} of the {config.split} split of {images.name}")
        say(run, config, numbers)
    return run.folder


def there_and_back(positions: Tensor) -> Tensor:  # (K, ...) -> (2 K - 2, ...)
    """A loop: forth, and back without showing an end twice."""
    # task lab8.c: a loop
    return torch.cat([positions, positions[1:-1].flip(0)])
    # end task


def walk(start: Tensor, end: Tensor, count: int, way: str) -> Tensor:  # (D,), (D,) -> (count, D)
    """Latents from start to end at equal shares of the way, both ends included."""
    # task lab8.c: latents from one end to the other
    shares = torch.linspace(0, 1, count)[:, None]
    if way == "spherical":
        return latent_space.slerp(start.expand(count, -1), end.expand(count, -1), shares)
    return torch.lerp(start.expand(count, -1), end.expand(count, -1), shares)
    # end task


def cross_fade(
    first: Tensor, last: Tensor, count: int
) -> Tensor:  # uint8 (C, H, W) twice -> (count, C, H, W)
    """Mixtures of the pixels of two images."""
    shares = torch.linspace(0, 1, count).view(-1, 1, 1, 1)
    return torch.lerp(first.float(), last.float(), shares).round().to(torch.uint8)


def step_lengths(frames: Tensor) -> Tensor:  # (K, C, H, W) -> (K - 1,)
    """Root mean squared difference of neighbouring frames, in units of [0, 1]."""
    return (frames[1:].double() - frames[:-1].double()).flatten(1).square().mean(1).sqrt() / 255


def smoothness(images: Tensor) -> dict[str, float]:
    """How evenly K images (K, C, H, W) lead from the first to the last.

    `largest_step`: the longest of the K - 1 steps, as a multiple of the cross-fade's, which are all equal and
    as short as steps between these ends can be.  1 is the straight line of pixels itself; K - 1 and more is
    one jump.  `detour`: the whole way as a multiple of the cross-fade's.
    """
    steps = step_lengths(images)
    straight = step_lengths(images[[0, -1]])[0] / len(steps)
    if straight == 0:
        raise InputError("both images look the same to the model: choose two that differ")
    return {
        "largest_step": (steps.max() / straight).item(),
        "detour": (steps.mean() / straight).item(),
    }


def rows_of_ends(config: Config, images: ImageSet) -> list[int]:
    """The rows of both images; InputError where they are one."""
    rows = [lab_images.find_image(images, wanted) for wanted in (config.first, config.second)]
    if rows[0] == rows[1]:
        raise InputError(f"images {config.first} and {config.second} are the same one: choose two")
    return rows


def latents_of(
    config: Config, model: trained.Trained, pair: Tensor
) -> tuple[Tensor, Tensor]:  # uint8 (2, 3, S, S) -> (2, D), (2,)
    """The latents of both images, and the squared errors of what these decode to."""
    if model.model is None:
        return invert(
            model.decoder,
            pair,
            model.config.latent,
            steps=config.inversion_steps,
            restarts=config.restarts,
            lr=config.inversion_lr,
            generator=torch.Generator().manual_seed(config.seed),
        )
    z = model.latents(pair)
    decoded = to_model_range(samples.decode(model.decoder, z))
    return z, pixel_error("mse", to_model_range(pair), decoded)


def say(run: runs.Run, config: Config, numbers: dict[str, float]) -> None:
    """The numbers, and where the GIF is."""
    figures.warn_of_gif_time(config.frame_ms)
    jumps = numbers["eval/largest_step"] > JUMP * numbers["eval/detour"]
    run.say(
        f"squared error of the ends {numbers['eval/mse_first']:.4f} and {numbers['eval/mse_second']:.4f}; "
        f"longest step {numbers['eval/largest_step']:.2f} times the cross-fade's, way "
        f"{numbers['eval/detour']:.2f} times as long: {'a jump' if jumps else 'no jump'}; "
        f"{run.folder / 'interpolation.gif'}"
    )


def few_colors(frames: Tensor) -> Tensor:  # uint8 (N, 3, H, W), same shape
    """At most COLORS colours a frame, without dithering, whose dots would flicker and cost bytes."""
    quantise = lambda frame: Image.fromarray(frame).quantize(COLORS, dither=Image.Dither.NONE).convert("RGB")
    reduced = [np.asarray(quantise(frame)) for frame in frames.permute(0, 2, 3, 1).numpy()]
    return torch.from_numpy(np.stack(reduced)).permute(0, 3, 1, 2)


def error_of_mean(pair: Tensor, images: ImageSet) -> float:
    """Mean squared error of taking the mean image of the split for both: what knowing nothing costs."""
    mean = images.images.float().mean(0, keepdim=True).div(255 / 2).sub(1).expand(2, -1, -1, -1)
    return pixel_error("mse", to_model_range(pair), mean).mean().item()


def save_figures(folder: Path, pair: Tensor, images: Tensor, fade: Tensor, config: Config) -> list[str]:
    """The GIF (left the way of the latents, right the cross-fade) and the strip of both between the real
    images."""
    loop = torch.cat([there_and_back(images), there_and_back(fade)], 3)  # (N, 3, S, 2 S)
    zoom = max(1, 128 // images.shape[-1])
    loop = loop.repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)
    figures.save_gif(folder / "interpolation.gif", few_colors(loop), config.frame_ms)
    shown = torch.linspace(0, len(images) - 1, SHOWN).round().long()
    between = lambda row: torch.cat([pair[:1], row[shown], pair[1:]])
    figures.save_grid(
        folder / "strip.png",
        torch.cat([between(images), between(fade)]),
        SHOWN + 2,
        row_titles=(f"latents,\n{config.way}", "cross-fade"),
        column_titles=("image", *(f"{100 * k // (SHOWN - 1)} %" for k in range(SHOWN)), "image"),
    )
    return ["interpolation.gif", "strip.png"]


if __name__ == "__main__":
    command_line.run(main, Config)
