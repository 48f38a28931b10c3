"""Draw images with a diffusion model.  Theory: theory/en/diffusion.md.

python hw4_diffusion/sample_ddpm.py --model runs/hw4/0001-ddpm-digits          # also while it trains
python hw4_diffusion/sample_ddpm.py --model mnist --sampler ancestral --steps 250 --classes 3 7
python hw4_diffusion/sample_ddpm.py --model mnist --guidance 3
python hw4_diffusion/sample_ddpm.py --model mnist --show process
python hw4_diffusion/sample_ddpm.py --model mnist --show inpainting

`--show`: samples of each class; the process, from noise to images, as a strip and a GIF; an interpolation
between noises, as a strip and a GIF; test images encoded as noise by DDIM and decoded; test images of which
the upper half is known; the schedule of the noise beside others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from common import command_line, data, devices, figures, latent_space
from common.data import ImageSet, to_model_range, to_uint8
from common.errors import InputError
from common.flags import Count, CountOrZero, Flags, Folder, NonNegative, Precision, Seed

import torch
from annotated_types import Interval
from torch import Tensor

from hw4_diffusion import ddpm_figures, models, samplers
from hw4_diffusion.models import Model
from hw4_diffusion.schedule import Spacing, sampling_times

Sampler = Literal["ancestral", "ddim", "dpm-solver++", "sde-dpm-solver++", "heun", "euler"]
Show = Literal["samples", "process", "interpolation", "reconstruction", "inpainting", "schedule"]
COLUMNS = 9
"""Pictures in a strip."""


@dataclass(frozen=True)
class Config(Flags):
    """Flags of sample_ddpm.py."""

    model: models.Network
    """A shipped model's name, a run directory of train_ddpm.py, or a .safetensors file."""
    show: Show = "samples"
    """What is drawn."""
    sampler: Sampler = "dpm-solver++"
    """How the noise is removed; reconstruction is DDIM's, inpainting ancestral."""
    steps: Count = 20
    """Steps of the sampler."""
    spacing: Spacing = "time"
    """Where the steps lie: at equal distances of time, or of log-SNR."""
    eta: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """New noise in DDIM: 0 none, 1 as much as in ancestral sampling."""
    guidance: NonNegative = 1.0
    """What the class changes is multiplied with that; 1 leaves it."""
    classes: tuple[CountOrZero, ...] = ()
    """Classes to draw, by number; all if left out."""
    count: Annotated[int, Interval(ge=1, le=1000)] = 8
    """Images of each class, or all in all for a model without classes."""
    repeats: Count = 10
    """How often each step of inpainting is taken."""
    checkpoint: Literal["last", "previous"] = "last"
    """Which checkpoint of a run."""
    seed: Seed = 0
    """Seed of all noise."""
    data_dir: Folder | None = None
    """Folder of the image sets; default: data/ in the repository."""
    outdir: Path = Path("samples")
    """Folder of the pictures; made if need be."""
    device: str = "auto"
    """Device to draw on: auto, cpu, mps, cuda or cuda:N."""
    precision: Precision = "fp32"
    """Number format of the network; bf16 is faster where the hardware has it, and a little rougher."""


def main(config: Config) -> None:
    device = devices.start(config.device, precision=config.precision, seed=config.seed)
    model = models.load(config.model, config.checkpoint)
    check(config, with_classes=model.classes > 0)
    model.check(config.classes, config.guidance)
    samplers.check(config.sampler, model.schedule, config.eta)
    sampling_times(model.schedule, config.steps, config.spacing)  # refuses too many
    model.on(device)
    draw = {"samples": draw_samples, "process": draw_process, "interpolation": draw_interpolation,
            "reconstruction": draw_reconstruction, "inpainting": draw_inpainting,
            "schedule": draw_schedule}[config.show]  # fmt: skip
    try:
        files = draw(config, model, device.torch)
    except OSError as error:
        raise InputError(f"--outdir {config.outdir}: {error.strerror}; choose another folder") from error
    print(f"{config.outdir}: {', '.join(files)}")


@torch.inference_mode()
def draw_samples(config: Config, model: Model, device: torch.device) -> list[str]:
    """A row of images for each class."""
    labels, rows = ordered(config, model, config.count)
    noise = torch.randn(rows * config.count, *model.image_shape)
    steps = lambda x, told: samplers.last(run(config, model, x.to(device), told))
    images = models.in_chunks(steps, noise, labels)
    figures.save_grid(config.outdir / "samples.png", images, config.count, title=title(config),
                      row_titles=names(config, model))  # fmt: skip
    return ["samples.png"]


@torch.inference_mode()
def draw_process(config: Config, model: Model, device: torch.device) -> list[str]:
    """x_t along the way: a row for each class, and as a GIF."""
    labels, rows = ordered(config, model, 1)
    x = torch.randn(rows, *model.image_shape, device=device)
    path = [(model.schedule.steps, x), *run(config, model, x, labels)]
    frames = torch.stack([to_uint8(x_t).cpu() for _, x_t in path])  # (F, rows, C, S, S)
    shown = torch.linspace(0, len(path) - 1, min(COLUMNS, len(path))).round().long()
    figures.save_grid(
        config.outdir / "process.png", frames[shown].transpose(0, 1).flatten(0, 1), len(shown),
        title=title(config), row_titles=names(config, model),
        column_titles=[f"t = {path[i][0]}" for i in shown],
    )  # fmt: skip
    grids = torch.stack([figures.image_grid(enlarged(frame), 5) for frame in frames])
    figures.save_gif(config.outdir / "process.gif", torch.cat([grids, grids[-1:].repeat(10, 1, 1, 1)]), 80)
    return ["process.png", "process.gif"]


@torch.inference_mode()
def draw_interpolation(config: Config, model: Model, device: torch.device) -> list[str]:
    """From one noise to another along the sphere: a row for each class, and as a GIF there and back."""
    if config.sampler in samplers.NOISY or config.eta:
        raise InputError(
            "--show interpolation: needs a sampler that adds no noise; leave --sampler, --eta out"
        )
    labels, rows = ordered(config, model, 1)
    start, end = torch.randn(2, rows, *model.image_shape).flatten(2)
    shares = torch.linspace(0, 1, 2 * COLUMNS - 1)
    path = torch.stack([latent_space.slerp(start, end, share) for share in shares], 1)  # (rows, F, C S S)
    noise = path.flatten(0, 1).unflatten(1, model.image_shape)
    told = None if labels is None else labels.repeat_interleave(len(shares))
    steps = lambda x, told: samplers.last(run(config, model, x.to(device), told))
    images = models.in_chunks(steps, noise, told).unflatten(0, (rows, len(shares)))
    figures.save_grid(config.outdir / "interpolation.png", images[:, ::2].flatten(0, 1), COLUMNS,
                      title=title(config), row_titles=names(config, model))  # fmt: skip
    grids = torch.stack([figures.image_grid(enlarged(frame), 5) for frame in images.transpose(0, 1)])
    figures.save_gif(config.outdir / "interpolation.gif", torch.cat([grids, grids.flip(0)[1:-1]]), 80)
    return ["interpolation.png", "interpolation.gif"]


@torch.inference_mode()
def draw_reconstruction(config: Config, model: Model, device: torch.device) -> list[str]:
    """Test images, the noise DDIM encodes them as, and what it draws from that noise."""
    real, labels = test_images(config, model, COLUMNS)
    x0 = to_model_range(real.images).to(device)
    denoise = model.denoiser(labels, config.guidance, clip=False)  # clipped steps cannot be turned back
    times = sampling_times(model.schedule, config.steps, config.spacing)
    noise = samplers.encode(denoise, model.schedule, times[::-1], x0)
    decoded = samplers.last(samplers.ddim(denoise, model.schedule, times, noise, 0.0, torch.randn_like))
    error = (decoded - x0).square().mean().sqrt().item() / 2
    figures.save_grid(
        config.outdir / "reconstruction.png", to_uint8(torch.cat([x0, noise / 2, decoded])).cpu(), len(real),
        title=f"DDIM, {config.steps} steps there and back: RMSE {error:.3f} of [0, 1]",
        row_titles=("image", "noise / 2", "decoded"),
    )  # fmt: skip
    return ["reconstruction.png"]


@torch.inference_mode()
def draw_inpainting(config: Config, model: Model, device: torch.device) -> list[str]:
    """Test images, their upper halves, and three images each that have this upper half."""
    real, labels = test_images(config, model, COLUMNS)
    x0 = to_model_range(real.images).to(device)
    mask = torch.zeros(model.image_shape[1:], device=device)
    mask[: len(mask) // 2] = 1
    times = sampling_times(model.schedule, config.steps, config.spacing)
    denoise = model.denoiser(None if labels is None else labels.repeat(3), config.guidance)
    drawn = samplers.inpaint(
        denoise, model.schedule, times, x0.repeat(3, 1, 1, 1), mask, repeats=config.repeats
    )
    figures.save_grid(
        config.outdir / "inpainting.png", to_uint8(torch.cat([x0, x0 * mask, drawn])).cpu(), len(real),
        title=f"{config.steps} steps, {config.repeats} times each",
        row_titles=("image", "known", "drawn", "drawn", "drawn"),
    )  # fmt: skip
    return ["inpainting.png"]


def draw_schedule(config: Config, model: Model, device: torch.device) -> list[str]:
    """The signal-to-noise ratio over time."""
    known = model.known
    name = f"{known.schedule}, zero at the end" if known.zero_terminal_snr else known.schedule
    ddpm_figures.save_schedules(config.outdir / "schedule.png", model.schedule, name)
    return ["schedule.png"]


# ---- parts


def check(config: Config, with_classes: bool = True) -> None:
    """A word where a flag does nothing for what is drawn."""
    of_run = Path(config.model).is_dir()
    command_line.warn_of_idle(config, "checkpoint", needs="a run directory as --model", met=of_run)
    sampled = ("samples", "process", "interpolation")
    for names, shown in (
        (("sampler", "eta"), sampled),
        (("count",), ("samples",) if with_classes else sampled),
        (("repeats",), ("inpainting",)),
        (("steps", "spacing", "guidance", "classes"), tuple(get_args(Show))[:-1]),
    ):
        met = config.show in shown
        command_line.warn_of_idle(config, *names, needs=f"--show {' or '.join(shown)}", met=met)


def run(config: Config, model: Model, x: Tensor, labels: Tensor | None) -> samplers.Steps:
    """The chosen sampler from noise (B, C, S, S)."""
    times = sampling_times(model.schedule, config.steps, config.spacing)
    denoise = model.denoiser(labels, config.guidance)
    return samplers.sample(config.sampler, denoise, model.schedule, times, x, eta=config.eta)


def ordered(config: Config, model: Model, each: int) -> tuple[Tensor | None, int]:
    """The class of every image, `each` of a row after another, and how many rows; None for a model without
    classes, which has one row, or as many as columns."""
    if not model.classes:
        return None, config.count if each == 1 else 1
    classes = torch.tensor(config.classes or tuple(range(model.classes)))
    return classes.repeat_interleave(each), len(classes)


def names(config: Config, model: Model) -> tuple[str, ...]:
    """Of the rows."""
    chosen = config.classes or tuple(range(model.classes))
    return tuple(model.known.class_names[one] for one in chosen)


def title(config: Config) -> str:
    guided = f", guidance {config.guidance:g}" if config.guidance != 1 else ""
    eta = f" (eta {config.eta:g})" if config.eta else ""
    calls = samplers.evaluations(config.sampler, config.steps)
    return f"{config.sampler}{eta}, {calls} evaluations of the network{guided}"


def test_images(config: Config, model: Model, count: int) -> tuple[ImageSet, Tensor | None]:
    """The first test images of the set that the model was trained on, of --classes alone if given."""
    channels, size, _ = model.image_shape
    images = data.load(model.known.data, "test", size=size, data_dir=config.data_dir)
    labels, _ = models.classes_of(images, model.known.told if model.classes else "nothing")
    if config.classes:
        rows = torch.isin(labels, torch.tensor(config.classes)).nonzero()[:, 0]
        images, labels = images.take(rows), labels[rows]
    images = images.take(slice(0, count))
    if images.shape[0] != channels:
        raise InputError(
            f"--model {config.model}: draws images of {channels} channels, {images.name} has others"
        )
    return images, None if labels is None else labels[:count]


def enlarged(images: Tensor) -> Tensor:
    """For a GIF: small images two or more times as large."""
    zoom = max(1, round(64 / images.shape[-1]))
    return images.repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)


if __name__ == "__main__":
    command_line.run(main, Config)
