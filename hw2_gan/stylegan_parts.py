"""Parts that the GAN of this week can take over one at a time: of StyleGAN2 (Karras et al. 2020), and its
forerunner, batch normalisation that z modulates.

Theory: theory/en/stylegan.md, eqs. (stylegan.3)-(stylegan.5) for the modulated convolution, (stylegan.10) for
the filter.  Sizes: B images, I and O channels in and out, D numbers in z.
"""

from __future__ import annotations

from typing import Literal

from common.modulation import demodulation, modulated_convolution
from common.resampling import blur

import torch
from torch import Tensor, nn

Downsampling = Literal["strided", "filtered"]

# ---- in the generator


class FilteredUpsampling(nn.ConvTranspose2d):
    """(B, C, H, W) -> (B, C, 2 H, 2 W): a transposed convolution with a 3x3 kernel, then the filter."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return blur(super().forward(x), padding=1, gain=4)  # (B, C, 2 H + 1, 2 W + 1) -> (B, C, 2 H, 2 W)


class ModulatedBatchNorm(nn.Module):
    """(B, C, H, W), z (B, D) -> (B, C, H, W): scale and shift of every channel are linear functions of z.

    So an image can be decided on in every layer, not in the first alone (Chen et al. 2019, self-modulation;
    theory/en/layers.md#telling-both-networks-the-attributes).  Begins as plain batch normalisation."""

    def __init__(self, channels: int, latent: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.modulation = nn.Linear(latent, 2 * channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        scale, shift = self.modulation(z)[:, :, None, None].chunk(2, 1)  # (B, 2 C) -> (B, C, 1, 1) each
        return torch.addcmul(shift.to(x.dtype), self.norm(x), (1 + scale).to(x.dtype))


class ModulatedConvolution(nn.Conv2d):
    """(B, I, H, W), z (B, D) -> (B, O, H, W): styles, linear in z, scale the inputs; no batch statistics.

    # DIFFERS: Karras et al. (2020) map z to w by a network first; here styles are linear in z."""

    def __init__(self, inputs: int, outputs: int, side: int, latent: int):
        super().__init__(inputs, outputs, side)
        self.style = nn.Linear(latent, inputs)
        nn.init.zeros_(self.style.weight)
        nn.init.ones_(self.style.bias)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        style = self.style(z)  # (B, I)
        scale = demodulation(self.weight, style)[:, :, None, None]  # (B, O, 1, 1)
        x = modulated_convolution(x, self.weight, style)
        return torch.addcmul(self.bias[:, None, None].to(x.dtype), x, scale.to(x.dtype))


class Noise(nn.Module):
    """(B, C, H, W) -> the same with noise added, one number a pixel, as strong as is learned; 0 at first."""

    def __init__(self):
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.strength.to(x.dtype) * torch.randn_like(x[:, :1])


# ---- in the discriminator


class Halving(nn.Conv2d):
    """(B, I, H, W) -> (B, O, H / 2, W / 2) by a stride of 2.

    `filtered`: the filter comes first, and the kernel is 3x3; else it is 4x4 as in DCGAN."""

    def __init__(self, inputs: int, outputs: int, kind: Downsampling, *, bias: bool = True):
        self.filtered = kind == "filtered"
        side, padding = (3, 0) if self.filtered else (4, 1)
        super().__init__(inputs, outputs, side, stride=2, padding=padding, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(blur(x, padding=2) if self.filtered else x)  # blurred: (B, I, H + 1, W + 1)
