"""Differentiable augmentation: random changes that gradients pass through, for training GANs on few images.

Applied to real and to fake images alike, in both updates, eq. (gan.15) of theory/en/gan.md: the generator
still learns the distribution of the images, not that of their changed copies.  Zhao et al. 2020,
"Differentiable augmentation for data-efficient GAN training"; Karras et al. 2020, "Training generative
adversarial networks with limited data", for changes that come with a probability.
"""

from __future__ import annotations

from common.devices import Device

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POLICIES = ("color", "translation", "cutout")
"""Names of the changes, in the order in which they are applied."""
TRANSLATION, CUTOUT = 1 / 8, 1 / 2
"""Largest shift and side of the erased square, as shares of the image's side."""


TARGET, MOST, RISE, LOOKED_AT = 0.6, 0.8, 500_000, 256
"""Of adaptive augmentation: the mean sign of real logits that it aims at, the largest probability, images
after which the probability can have risen from 0 to 1, images between two looks."""


def augment(
    images: Tensor, policies: tuple[str, ...] = POLICIES, probability: Tensor | None = None
) -> Tensor:
    """Change each image (B, C, H, W) in [-1, 1] by the named policies, each at random and by itself, T of eq.
    (gan.15); with a probability () each change meets only that share of images."""
    for name in POLICIES:
        if name not in policies:
            continue
        changed = _CHANGES[name](images)
        images = changed if probability is None else sometimes(images, changed, probability)
    return images


def sometimes(images: Tensor, changed: Tensor, probability: Tensor) -> Tensor:
    """Each of the images (B, C, H, W), or with a probability () the changed one, eq. (stylegan.26)."""
    meets = torch.rand(len(images), 1, 1, 1, device=images.device) < probability
    return torch.where(meets, changed, images)


class Augmentation(nn.Module):
    """The named changes of images.  `adaptive` among them: each has a probability, as low as keeps the
    discriminator from being sure, eq. (stylegan.27); it is part of the checkpoint then."""

    def __init__(self, policies: tuple[str, ...], device: Device):
        super().__init__()
        self.policies, self.device, self.adaptive = policies, device, "adaptive" in policies
        for name in ("probability", "signs", "images"):
            self.register_buffer(name, torch.zeros((), device=device.torch) if self.adaptive else None)

    def forward(self, images: Tensor) -> Tensor:
        return augment(images, self.policies, self.probability)

    def numbers(self) -> dict[str, float]:
        """What is logged of it."""
        return {"train/augment_probability": self.probability.item()} if self.adaptive else {}

    def update(self, real_logits: Tensor) -> None:  # (B,) of this process
        """After every step of the discriminator."""
        if not self.adaptive:
            return
        count = len(real_logits) * self.device.world_size
        self.signs += count * self.device.mean(real_logits.detach().float().sign().mean())
        self.images += count
        due = (self.images >= LOOKED_AT).float()  # as numbers: nothing is copied off the device
        change = (self.signs / self.images - TARGET).sign() * self.images / RISE
        self.probability.add_(due * change).clamp_(0, MOST)
        self.signs *= 1 - due
        self.images *= 1 - due


def _uniform(images: Tensor, low: float, high: float) -> Tensor:  # -> (B, 1, 1, 1)
    return low + (high - low) * torch.rand(len(images), 1, 1, 1, device=images.device, dtype=images.dtype)


def color(images: Tensor) -> Tensor:
    """Brightness within 0.5, saturation up to twice, contrast from half to one and a half."""
    images = images + _uniform(images, -0.5, 0.5)
    grey = images.mean(1, keepdim=True)
    images = torch.lerp(grey, images, _uniform(images, 0, 2))
    mean = images.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, _uniform(images, 0.5, 1.5))


def translation(images: Tensor) -> Tensor:
    """A shift by whole pixels, up to 1/8 of the side each way; what comes in is 0, middle grey."""
    count, _, height, width = images.shape
    down, right = (round(side * TRANSLATION) for side in (height, width))
    padded = F.pad(images, (right, right, down, down))
    device = images.device
    rows = torch.randint(0, 2 * down + 1, (count, 1), device=device) + torch.arange(height, device=device)
    columns = torch.randint(0, 2 * right + 1, (count, 1), device=device) + torch.arange(width, device=device)
    index = torch.arange(count, device=device)[:, None, None]
    # advanced indices around a slice put it last: (B, H, W, C), which channels_last stores anyway
    return padded[index, :, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def cutout(images: Tensor) -> Tensor:
    """A square of half the side, anywhere, partly outside too, is set to 0, middle grey."""
    count, _, height, width = images.shape

    def outside(side: int) -> Tensor:  # (B, side)
        length = round(side * CUTOUT)
        start = torch.randint(0, side + 1 - length % 2, (count, 1), device=images.device) - length // 2
        place = torch.arange(side, device=images.device) - start
        return (place < 0) | (place >= length)

    keep = outside(height)[:, None, :, None] | outside(width)[:, None, None, :]
    return images * keep


_CHANGES = {"color": color, "translation": translation, "cutout": cutout}
