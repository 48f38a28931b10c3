"""StyleGAN2's discriminator (Karras et al. 2020) in the terms of this week's networks.

Theory: theory/en/stylegan.md, eq. (stylegan.9); theory/en/layers.md, eq. (gan.22).
"""

from __future__ import annotations

from common.layers import MinibatchDeviation
from common.resampling import blur

import torch.nn.functional as F
from torch import Tensor, nn

from hw2_gan.networks import check_width, logit_of_labels
from hw2_gan.stylegan_parts import Downsampling, Halving


class ResidualBlock(nn.Module):
    """(B, I, H, W) -> (B, O, H / 2, W / 2): two convolutions beside a linear one, eq. (stylegan.9)."""

    def __init__(self, inputs: int, outputs: int, kind: Downsampling):
        super().__init__()
        self.filtered = kind == "filtered"
        self.first, self.second = nn.Conv2d(inputs, inputs, 3, padding=1), Halving(inputs, outputs, kind)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.second(F.leaky_relu(self.first(x), 0.2)), 0.2)
        half = blur(x, padding=1, stride=2) if self.filtered else F.avg_pool2d(x, 2)
        return (self.skip(half) + y) * 0.5**0.5


class ResidualDiscriminator(nn.Module):
    """Images (B, 3, S, S) -> logits (B,): residual blocks down to 4x4, the first at full size.

    32 `width` channels there, twice as many after each block, 8 times as many at most; the other options are
    those of `DCGANDiscriminator`.  # DIFFERS: plain weights as He et al. (2015) begin them, where Karras et
    al. (2018) scale them when they are used."""

    def __init__(
        self,
        size: int = 64,
        width: float = 1.0,
        *,
        downsampling: Downsampling = "strided",
        minibatch_deviation: bool = False,
        option_counts: tuple[int, ...] = (),
    ):
        super().__init__()
        self.option_counts = option_counts
        first = channels = check_width(32, width, halvings=0)
        layers = [nn.Conv2d(3, first, 1), nn.LeakyReLU(0.2)]
        for level in range(size.bit_length() - 3):  # (B, C, S, S) -> (B, 2 C, S / 2, S / 2) -> ...
            following = first * min(2 << level, 8)
            layers.append(ResidualBlock(channels, following, downsampling))
            channels = following
        if minibatch_deviation:
            layers.append(MinibatchDeviation())
        layers += [nn.Conv2d(channels + minibatch_deviation, channels, 3, padding=1), nn.LeakyReLU(0.2)]
        layers += [nn.Flatten(), nn.Linear(16 * channels, channels), nn.LeakyReLU(0.2)]  # to (B, C)
        self.layers = nn.Sequential(*layers, nn.Linear(channels, 1 + sum(option_counts)))
        self.apply(initialise)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (B, 3, S, S), their options (B, A) -> logits (B,)."""
        return logit_of_labels(self.layers(images).float(), labels, self.option_counts)


def initialise(module: nn.Module) -> None:
    """Weights that keep the scale of what goes through a LeakyReLU (He et al. 2015)."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight, a=0.2)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
