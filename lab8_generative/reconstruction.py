"""How wrong a reconstruction is: three measures that an autoencoder of the lab may be trained on.

`perceptual` compares what a small network sees besides the pixels (common/metrics/perceptual.py): the shipped
extractor of *avatars*, which was trained on drawn portraits.  It is not the network that the Fréchet
distances are measured with, that of creatures.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from common.metrics.perceptual import Perceptual, pixel_error

import torch
from torch import Tensor

Loss = Literal["l1", "mse", "perceptual"]


def error_of(loss: Loss, device: torch.device | str = "cpu") -> Callable[[Tensor, Tensor], Tensor]:
    """The function (images, reconstructions) -> (B,) of a loss, in units of [0, 1]."""
    return Perceptual().to(device) if loss == "perceptual" else partial(pixel_error, loss)


def nats(loss: Loss, errors: Tensor, values: int) -> Tensor:  # (B,) -> (B,)
    """-ln p(x | z) of P = `values` numbers, up to a constant, with noise as large as the batch's errors.

    mse: Gaussian pixels, eq. (vae.8): they cost P / 2 ln MSE.  l1 (and perceptual, taken for one): pixels of
    density e^{-|x - y| / b} / 2b; the likeliest b is the mean error, and they cost P ln b.  The mean over the
    batch is exactly that, and so is its gradient; images share it by their own errors.
    """
    mean = errors.detach().mean().clamp_min(1e-6)
    return values * (0.5 if loss == "mse" else 1.0) * (mean.log() + errors / mean - 1)
