"""How long a step of training a diffusion model takes, and an image: two libraries' U-Nets against ours.

python benchmarks/ddpm_step.py                               # 32x32, batch 64, about 2.6 M parameters each
python benchmarks/ddpm_step.py --rounds 3 --images 16

The libraries: diffusers' UNet2DModel in the loop of its documentation, with its DDIM; and, where it is
installed, lucidrains' denoising-diffusion-pytorch 2.3.4 with its own loss, Adam and DDIM.  Ours is
train_ddpm.py itself, with data, averaged weights, gradient norms and logging.  More of its parameters lie at
the small sizes, where they cost least.  The ways take turns within each round; each ratio is the median over
rounds."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from common import (
    data,
    devices,
    runs,
    shapes,
    torchvision_operators,  # noqa: F401  diffusers imports torchvision
)
from common.command_line import run
from common.data import ImageSet, to_model_range

import torch
import torch.nn.functional as F
from torch import nn

from hw4_diffusion import models, samplers, schedule, train_ddpm
from hw4_diffusion.unet import Architecture, UNet

SIZE, TIMES, DDIM_STEPS = 32, 1000, 50
CHANNELS = (32, 64, 160)


@dataclass(frozen=True)
class Config:
    """Flags of ddpm_step.py."""

    batch_size: int = 64
    """Images per step."""
    steps: int = 10
    """Timed steps of each way in a round."""
    images: int = 16
    """Images drawn at once."""
    rounds: int = 5
    """Rounds, after one to warm up."""
    cpu: bool = False
    """Count CPU seconds, on a machine that is busy with other work; give it one thread, OMP_NUM_THREADS=1."""


def diffusers_network() -> nn.Module:
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=SIZE, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(32, 64, 128),
        norm_num_groups=8, attention_head_dim=32,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )  # fmt: skip


def diffusers_step(images: torch.Tensor) -> Callable[[], None]:
    """The training loop of diffusers' documentation."""
    from diffusers import DDPMScheduler

    network, scheduler = diffusers_network(), DDPMScheduler(TIMES)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)

    def step() -> None:
        noise, t = torch.randn_like(images), torch.randint(TIMES, (len(images),))
        loss = F.mse_loss(network(scheduler.add_noise(images, noise, t), t).sample, noise)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def diffusers_sampling(count: int) -> Callable[[], None]:
    """DDIM as diffusers' pipeline does it."""
    from diffusers import DDIMScheduler

    network, scheduler = diffusers_network().eval(), DDIMScheduler(TIMES)

    @torch.inference_mode()
    def draw() -> None:
        x = torch.randn(count, 1, SIZE, SIZE)
        scheduler.set_timesteps(DDIM_STEPS)
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t).sample, t, x).prev_sample

    return draw


def lucidrains() -> nn.Module:
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet

    network = Unet(dim=32, dim_mults=(1, 2, 4), channels=1, flash_attn=False)
    return GaussianDiffusion(network, image_size=SIZE, timesteps=TIMES, sampling_timesteps=DDIM_STEPS)


def lucidrains_step(images: torch.Tensor) -> Callable[[], None]:
    """The loss and the update of its Trainer."""
    diffusion = lucidrains()
    optimizer = torch.optim.Adam(diffusion.parameters(), 1e-4)
    images = (images + 1) / 2  # it takes [0, 1]

    def step() -> None:
        diffusion(images).backward()
        nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def lucidrains_sampling(count: int) -> Callable[[], None]:
    diffusion = lucidrains()

    def draw() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            diffusion.sample(batch_size=count)

    return draw


def our_seconds(config: Config, images: ImageSet, precision: str, outdir: Path) -> float:
    """Median seconds of a step of train_ddpm.main, seen from its progress bar, the first two left out."""
    clock, times = clock_of(config), []

    def progress(self: runs.Run, first: int, last: int, unit: str = "step"):
        for step in range(first, last + 1):
            times.append(clock())
            yield step

    asked = train_ddpm.Config(
        data="digits", size=SIZE, told="nothing", channels=CHANNELS, batch_size=config.batch_size,
        steps=config.steps + 3, measure_every=10**6, measure_images=20, checkpoint_seconds=1e9,
        precision=precision, device="cpu", outdir=outdir,
    )  # fmt: skip
    with (
        mock.patch.object(runs.Run, "progress", progress),
        mock.patch.object(train_ddpm, "load", lambda config, split, count: images),
        mock.patch.object(train_ddpm.Report, "measure", lambda self, step, means: None),
        mock.patch.object(train_ddpm.Report, "finish", lambda self: None),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        train_ddpm.main(asked)
    return statistics.median(b - a for a, b in itertools.pairwise(times[2:]))


def our_sampling(count: int, precision: str) -> Callable[[], None]:
    network = UNet(Architecture(1, SIZE, CHANNELS, 1, 0))
    model = models.ready(
        models.Description(network.shape, "linear", TIMES, False, "epsilon", "", ()), network
    )
    times = schedule.sampling_times(model.schedule, DDIM_STEPS)
    model.on(devices.Device(torch.device("cpu"), precision))

    @torch.inference_mode()
    def draw() -> None:
        x = torch.randn(count, 1, SIZE, SIZE)
        samplers.last(samplers.ddim(model.denoiser(), model.schedule, times, x, 0.0, torch.randn_like))

    return draw


def clock_of(config: Config) -> Callable[[], float]:
    return time.process_time if config.cpu else time.perf_counter


def median_seconds(config: Config, step: Callable[[], None], count: int) -> float:
    """Of a call, the first left out."""
    step()
    clock, times = clock_of(config), []
    for _ in range(count):
        start = clock()
        step()
        times.append(clock() - start)
    return statistics.median(times)


def report(title: str, rounds: list[dict[str, float]], unit: float) -> None:
    """Median seconds of each way, and how many times faster than the first it is."""
    first = next(iter(rounds[0]))
    print(title)
    for name in rounds[0]:
        seconds = statistics.median(one[name] for one in rounds) * unit
        ratios = [one[first] / one[name] for one in rounds]
        print(f"  {name:28} {seconds:.3f} s; {statistics.median(ratios):.2f} times {first} "
              f"({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


def main(config: Config) -> None:
    images = data.load("digits", "train", size=SIZE, count=config.batch_size * (config.steps + 3))
    batch = to_model_range(images.images[: config.batch_size])
    precisions = ["fp32", *["bf16"] * devices.cpu_has_bfloat16()]
    theirs = {"diffusers": (diffusers_step, diffusers_sampling, diffusers_network)}
    if importlib.util.find_spec("denoising_diffusion_pytorch"):
        theirs = {"lucidrains": (lucidrains_step, lucidrains_sampling, lucidrains)} | theirs
    else:
        print(
            "denoising-diffusion-pytorch is not installed and is left out (pip install it beside the course)"
        )
    for name, (_, _, network) in theirs.items():
        print(f"{name}: {shapes.parameters(network()):,} parameters")
    print(f"ours: {shapes.parameters(UNet(Architecture(1, SIZE, CHANNELS, 1, 0))):,} parameters")
    training, sampling = [], []
    for _ in range(config.rounds + 1):
        with tempfile.TemporaryDirectory() as outdir:
            training.append(
                {
                    name: median_seconds(config, step(batch), config.steps)
                    for name, (step, _, _) in theirs.items()
                }
                | {f"ours, {one}": our_seconds(config, images, one, Path(outdir)) for one in precisions}
            )
        sampling.append(
            {name: median_seconds(config, draw(config.images), 1) for name, (_, draw, _) in theirs.items()}
            | {
                f"ours, {one}": median_seconds(config, our_sampling(config.images, one), 1)
                for one in precisions
            }
        )
    report(f"a step of {config.batch_size} images of {SIZE}x{SIZE}", training[1:], 1)
    report(
        f"an image by {DDIM_STEPS} steps of DDIM, {config.images} at once", sampling[1:], 1 / config.images
    )


if __name__ == "__main__":
    run(main, Config)
