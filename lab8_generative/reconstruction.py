"""How wrong a reconstruction is: three measures that an autoencoder of the lab may be trained on.

`perceptual` compares what a small network sees besides the pixels: the shipped extractor of *avatars*, which
was trained on drawn portraits.  It is not the network that the Fréchet distances are measured with (that of
creatures): a model trained on the features of its judge would only learn to please the judge.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.metrics import extractors

Loss = Literal["l1", "mse", "perceptual"]
TAPS = (3, 7)
"""Layers of the network whose activations are compared: after the second and the fourth ReLU."""


class Perceptual(nn.Module):
    """mean |x - y| plus the distance of activations.

    DIFFERS from LPIPS (Zhang et al. 2018): a smaller network, no weights learned from people's judgements.
    Activations are divided by their length over channels at each place, so that every layer counts alike.
    """

    def __init__(self):
        super().__init__()
        body = extractors.load_extractor("avatars").network.body
        ends = [tap + 1 for tap in TAPS]
        self.stages = nn.ModuleList(body[start:end] for start, end in zip([0, *ends], ends))

    def activations(self, images: Tensor) -> list[Tensor]:
        found = []
        for stage in self.stages:
            images = stage(images)
            found.append(F.normalize(images.float(), dim=1))
        return found

    def forward(self, images: Tensor, reconstructions: Tensor) -> Tensor:  # (B, 3, S, S) twice -> (B,)
        with torch.no_grad():
            wanted = self.activations(images)
        pairs = zip(wanted, self.activations(reconstructions))
        distances = [(a - b).square().sum(1).mean((1, 2)) for a, b in pairs]
        return error("l1", images, reconstructions) + sum(distances)


def error(loss: Loss, images: Tensor, reconstructions: Tensor) -> Tensor:  # (B, 3, S, S) twice -> (B,)
    """Mean |x - y| (l1) or (x - y)^2 (mse) over the values of each image, in units of [0, 1]."""
    difference = (images - reconstructions) / 2
    return (difference.abs() if loss == "l1" else difference.square()).mean((1, 2, 3))


def measure(loss: Loss, device: torch.device | str = "cpu"):
    """The function (images, reconstructions) -> (B,) of a loss."""
    if loss == "perceptual":
        return Perceptual().to(device)
    return lambda images, reconstructions: error(loss, images, reconstructions)


def nats(loss: Loss, errors: Tensor, values: int) -> Tensor:  # (B,) -> (B,)
    """-ln p(x | z) up to a constant, with the noise of pixels as large as the batch's errors are.

    mse: Gaussian pixels, eq. (vae.8): the P values cost P / 2 ln MSE.  l1 (and perceptual, taken for one):
    pixels of density e^{-|x - y| / b} / 2b; the likeliest b is the mean error, and they cost P ln b.  The
    mean over the batch is exactly that, and so is its gradient; images share it by their own errors.
    """
    mean = errors.detach().mean().clamp_min(1e-6)
    return values * (0.5 if loss == "mse" else 1.0) * (mean.log() + errors / mean - 1)
