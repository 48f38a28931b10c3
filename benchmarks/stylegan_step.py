"""How long StyleGAN2's generator takes: scales around one convolution against weights for every image.

python benchmarks/stylegan_step.py                       # 32x32, batch 32; then sampling alone
python benchmarks/stylegan_step.py --size 64 --channels 192 192 128 64 32 --batch-size 16

`grouped` is the papers' form: a convolution with as many groups as images (theory/en/stylegan.md).
`scaled` is networks.py.  Both have the same weights and draw the same images.  The ways take turns within
each round; each ratio is the median over rounds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from unittest import mock

from common import command_line, devices
from common.flags import Channels, Count, Flags, Pixels
from common.resampling import blur

import torch
import torch.nn.functional as F
from torch import Tensor

from hw3_stylegan_sampling.networks import GAIN, SLOPE, Architecture, Generator, StyledLayer, ToImage


@dataclass(frozen=True)
class Config(Flags):
    """Flags of stylegan_step.py."""

    size: Pixels = 32
    """Side of the images."""
    channels: tuple[Channels, ...] = (256, 256, 128, 64)
    """Channels at 4x4, 8x8 and so on."""
    batch_size: Count = 32
    """Images at once."""
    passes: Count = 5
    """Timed passes of each way in a round."""
    rounds: Count = 5
    """Rounds, after one to warm up."""


def grouped(x: Tensor, weight: Tensor, style: Tensor, *, up: bool, demodulate: bool) -> Tensor:
    """Weights of its own for every image: (B, I, H, W) -> (B, O, H, W), or twice as high and wide."""
    count, side = len(x), weight.shape[-1]
    own = weight[None] * style[:, None, :, None, None]  # (B, O, I, k, k)
    if demodulate:
        own = own * (own.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = x.reshape(1, -1, *x.shape[2:])
    if up:
        x = F.conv_transpose2d(x, own.transpose(1, 2).flatten(0, 1), stride=2, groups=count)
        return blur(x.unflatten(1, (count, -1))[0], padding=1, gain=4)
    return F.conv2d(x, own.flatten(0, 1), padding=side // 2, groups=count).unflatten(1, (count, -1))[0]


def grouped_layer(self: StyledLayer, x: Tensor, w: Tensor, noise_mode: str) -> Tensor:
    """StyledLayer.forward in the papers' form."""
    x = grouped(x, self.weight, self.affine(w), up=self.up, demodulate=True)
    x = x + self.noise * self.noise_strength + self.bias[:, None, None]
    return GAIN * F.leaky_relu(x, SLOPE)


def grouped_image(self: ToImage, x: Tensor, w: Tensor) -> Tensor:
    """ToImage.forward in the papers' form."""
    style = self.affine(w) / math.sqrt(x.shape[1])
    return grouped(x, self.weight, style, up=False, demodulate=False) + self.bias[:, None, None]


def main(config: Config) -> None:
    torch.manual_seed(0)
    shape = Architecture(size=config.size, channels=config.channels)
    plain, fast = Generator(shape), Generator(shape)
    fast.load_state_dict(plain.state_dict())
    fast = fast.to(memory_format=torch.channels_last)
    z = torch.randn(config.batch_size, shape.z_dim)
    ways = {"grouped": plain, "scaled": fast}
    if devices.cpu_has_bfloat16():
        ways["scaled, bf16"] = fast

    def draw(name: str) -> Tensor:
        papers = name == "grouped"
        with (
            mock.patch.object(StyledLayer, "forward", grouped_layer) if papers else nullcontext(),
            mock.patch.object(ToImage, "forward", grouped_image) if papers else nullcontext(),
            torch.autocast("cpu", torch.bfloat16, enabled=name.endswith("bf16")),
        ):
            return ways[name](z)

    apart = (draw("grouped") - draw("scaled")).abs().max().item()

    def step(name: str) -> None:
        draw(name).square().mean().backward()

    def sample(name: str) -> None:
        with torch.inference_mode():
            draw(name)

    rounds = [
        {
            name: (seconds(partial(step, name), config.passes), seconds(partial(sample, name), config.passes))
            for name in ways
        }
        for _ in range(config.rounds + 1)
    ][1:]
    print(f"{shape.size}x{shape.size}, batch {config.batch_size}: largest difference of images {apart:.1e}")
    for name in ways:
        steps, samples = (statistics.median(one[name][kind] for one in rounds) for kind in (0, 1))
        ratios = [one["grouped"][0] / one[name][0] for one in rounds]
        print(
            f"{name:12} {1000 * steps:7.1f} ms; {statistics.median(ratios):.2f} times ({min(ratios):.2f} to "
            f"{max(ratios):.2f}); sampled without gradients {config.batch_size / samples:.0f} images a second"
        )


def seconds(do: Callable[[], None], passes: int) -> float:
    """Median of several passes."""
    times = []
    for _ in range(passes):
        start = time.perf_counter()
        do()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    command_line.run(main, Config)
