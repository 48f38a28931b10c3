"""How long a step of a GAN takes: the usual DCGAN loop against train_gan.py's own, everything in it included.

python benchmarks/gan_step.py                                # DCGAN, 64x64, batch 64
python benchmarks/gan_step.py --width 1 --batch-size 16 --rounds 3

The usual loop is that of PyTorch's DCGAN example: a DataLoader over decoded images, plain Adam, two backward
passes for the discriminator, the generator's loss through a discriminator whose gradients nobody needs, and
`.item()` of every loss in every step.  Ours is train_gan.py itself, with data, averaged weights, gradient
norms and logging.  The ways take turns within each round; each ratio is the median over rounds."""

from __future__ import annotations

import contextlib
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unittest import mock

from common import data, devices, runs
from common.command_line import run
from common.data import ImageSet

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from hw2_gan import gan_data, train_gan
from hw2_gan.players import build_discriminator, build_generator


@dataclass(frozen=True)
class Config:
    """Flags of gan_step.py."""

    generator: Literal["dcgan", "cspup"] = "dcgan"
    """Which one."""
    size: int = 64
    """Side of the images."""
    width: float = 0.5
    """Multiplies the channels; 0.5 is the size of PyTorch's example."""
    batch_size: int = 64
    """Images per step."""
    steps: int = 12
    """Timed steps of each way in a round."""
    rounds: int = 5
    """Rounds, after one to warm up."""


class Decoded(Dataset):
    """One image at a time, scaled by itself, as ImageFolder and transforms hand them out."""

    def __init__(self, images: ImageSet):
        from common import torchvision_operators  # noqa: F401

        from torchvision import transforms

        self.images = [transforms.functional.to_pil_image(image) for image in images.images]
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(self.images[index])


def usual_loop(config: train_gan.Config, images: ImageSet) -> Iterator[None]:
    """PyTorch's DCGAN example on the same networks: one step an iteration."""
    loader = DataLoader(Decoded(images), config.batch_size, shuffle=True, drop_last=True)
    generator, discriminator = build_generator(config), build_discriminator(config)
    adam = lambda network: torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for_generator, for_discriminator = adam(generator), adam(discriminator)
    criterion = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones(config.batch_size), torch.zeros(config.batch_size)
    for real in loader:
        discriminator.zero_grad()
        real_logits = discriminator(real)
        real_loss = criterion(real_logits, ones)
        real_loss.backward()
        fake = generator(torch.randn(config.batch_size, generator.latent))
        fake_logits = discriminator(fake.detach())
        fake_loss = criterion(fake_logits, zeros)
        fake_loss.backward()
        for_discriminator.step()
        generator.zero_grad()
        logits = discriminator(fake)
        loss = criterion(logits, ones)
        loss.backward()
        for_generator.step()
        shown = real_logits.sigmoid().mean(), fake_logits.sigmoid().mean(), real_loss, fake_loss, loss
        [value.item() for value in shown]
        yield


def seconds_of_usual(config: train_gan.Config, images: ImageSet) -> float:
    """Median seconds of a step, the first two left out."""
    times, before = [], time.perf_counter()
    for _ in usual_loop(config, images):
        now = time.perf_counter()
        times.append(now - before)
        before = now
    return statistics.median(times[2:])


def seconds_of_ours(config: train_gan.Config, images: ImageSet) -> float:
    """Median seconds of a step of train_gan.main, seen from its progress bar, the first two left out."""
    times = []

    def progress(self: runs.Run, first: int, last: int, unit: str = "step") -> Iterator[int]:
        for step in range(first, last + 1):
            times.append(time.perf_counter())
            yield step

    with (
        mock.patch.object(runs.Run, "progress", progress),
        mock.patch.object(gan_data, "load_split", lambda config, split, count=None: images),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        train_gan.main(config)
    return statistics.median(b - a for a, b in itertools.pairwise(times[2:]))


def main(config: Config) -> None:
    count = config.batch_size * (config.steps + 3)
    images = data.load("avatars", "train", size=config.size).take(slice(0, count))
    with tempfile.TemporaryDirectory() as outdir:
        common = {
            "generator": config.generator,
            "output": "tanh",
            "size": config.size,
            "width": config.width,
            "batch_size": config.batch_size,
            "epochs": 1,
            "measure_images": 200,
            "outdir": Path(outdir),
            "device": "cpu",
        }
        ways = {
            "usual": lambda: seconds_of_usual(train_gan.Config(**common), images),
            "fp32": lambda: seconds_of_ours(train_gan.Config(**common), images),
        }
        if devices.cpu_has_bfloat16():
            ways["bf16"] = lambda: seconds_of_ours(train_gan.Config(**common, precision="bf16"), images)
        rounds = [{name: way() for name, way in ways.items()} for _ in range(config.rounds + 1)][1:]
    for name in ways:
        seconds = statistics.median(one[name] for one in rounds)
        ratios = [one["usual"] / one[name] for one in rounds]
        print(
            f"{name:6} {seconds:.3f} s a step; {statistics.median(ratios):.2f} times "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    run(main, Config)
