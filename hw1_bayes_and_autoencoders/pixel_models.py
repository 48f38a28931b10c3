"""Independent pixels: distributions of images filled from counts.  Theory:
theory/en/bayes.md#pixels-as-features.

Every channel of every pixel, eq. (bayes.7), or every pixel's colour, eq. (bayes.8), is drawn from a table of
its own. Images are uint8 (N, C, H, W) on the CPU.  Bits per pixel, eq. (bayes.13), can be compared among all
models of this homework: all are distributions over images of 256 levels per channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEVELS = 256


def pack(images: Tensor) -> Tensor:  # uint8 (N, C, H, W) -> int64 (N, H, W)
    """One number per pixel: 256 (256 R + G) + B."""
    code = torch.zeros_like(images[:, 0], dtype=torch.int64)
    for channel in images.unbind(1):
        code = code * LEVELS + channel
    return code


def unpack(code: Tensor, channels: int) -> Tensor:  # int64 (N, H, W) -> uint8 (N, C, H, W)
    """The inverse of `pack`."""
    shifts = torch.arange(channels - 1, -1, -1) * 8
    return (code[:, None] >> shifts[:, None, None] & (LEVELS - 1)).to(torch.uint8)


def bits_per_pixel(log2_p: Tensor) -> Tensor:  # (N, H, W) -> (N,)
    """-log2 p(x) / (H W) from the log2 probability of every pixel, eq. (bayes.13); inf where one is
    impossible."""
    # task hw1.b: the unit in which models are compared
    return -log2_p.mean((1, 2))
    # end task


def neighbour_difference(images: Tensor) -> float:
    """Mean (x_k - x_l)^2 over horizontal neighbours k, l, channels and images, in squared grey levels."""
    return float((images[..., 1:].double() - images[..., :-1].double()).square().mean())


# ---- independent pixels


@dataclass(frozen=True)
class PixelTables:
    """One table of counts per feature, every feature drawn by itself.

    The features are the channels of the pixels, eq. (bayes.7), or with `joint` their colours, eq. (bayes.8).
    The tables are never written down: theta = (n + alpha) / (N + alpha d), eq. (bayes.5), needs only n, the
    number of training images that agree, and a draw is a draw of a training image."""

    images: Tensor
    """The training images, uint8 (N, C, H, W)."""
    joint: bool = False
    alpha: float = 0.0
    """Pseudo-count of every level or colour."""

    @property
    def options(self) -> int:
        """d: 256 levels, or 256^C colours."""
        return LEVELS ** self.images.shape[1] if self.joint else LEVELS

    @property
    def weight_of_data(self) -> float:
        """N / (N + alpha d), what smoothing leaves to the data, eq. (bayes.9)."""
        count = len(self.images)
        return count / (count + self.alpha * self.options)

    def features(self, images: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, H, W) or (N, 1, H, W)
        """What is counted, each in [0, d)."""
        return pack(images)[:, None] if self.joint else images

    def log2_probability(self, images: Tensor) -> Tensor:  # (M, C, H, W) -> float64 (M, H, W)
        """log2 of the probability of every pixel, -inf where it is 0."""
        # task hw1.b: count what agrees, smooth, take the logarithm
        seen, asked = self.features(self.images), self.features(images)
        n = torch.zeros(asked.shape, dtype=torch.float64)
        for image in seen:
            n += asked == image
        theta = (n + self.alpha) / (len(seen) + self.alpha * self.options)
        return theta.log2().sum(1)
        # end task

    def sample(self, count: int, generator: torch.Generator) -> Tensor:  # -> uint8 (B, C, H, W)
        """Toss the coin of eq. (bayes.9) for every feature: the value of a random training image, or any
        value."""
        # task hw1.b: a value of every feature, from the data or from all levels
        seen = self.features(self.images)
        shape = (count, *seen.shape[1:])
        image = torch.randint(len(seen), shape, generator=generator)
        value = seen.gather(0, image)
        if self.alpha > 0:
            anything = torch.randint(self.options, shape, generator=generator).to(value.dtype)
            value = torch.where(torch.rand(shape, generator=generator) < self.weight_of_data, value, anything)
        return unpack(value[:, 0], self.images.shape[1]) if self.joint else value
        # end task

    def neighbour_difference(self) -> float:
        """Expected (x_k - x_l)^2 of horizontal neighbours, eq. (bayes.10): covariances lost, means and
        variances kept.

        Means and variances are those of the mixture of eq. (bayes.9): data with weight w, else uniform on 0
        ... 255."""
        w, uniform = self.weight_of_data, torch.arange(LEVELS, dtype=torch.float64)
        data = self.images.double()
        mean = w * data.mean(0) + (1 - w) * uniform.mean()
        square = w * data.square().mean(0) + (1 - w) * uniform.square().mean()
        variance = square - mean.square()
        return float(
            ((mean[..., 1:] - mean[..., :-1]).square() + variance[..., 1:] + variance[..., :-1]).mean()
        )
