"""From the residual of every pixel to one score per image.  Theory: theory/en/autoencoders.md.

Residual means image minus reconstruction, in grey levels of [0, 1]; eqs. (ae.1), (ae.4), (ae.5) and (ae.10).
"""

from __future__ import annotations

from common.data import Batches, ImageSet

import torch
import torch.nn.functional as F
from torch import Tensor

from hw1_bayes_and_autoencoders.autoencoders import Autoencoder

SCORES = ("mse", "weighted", "patch", "weighted-patch", "bright", "weighted-bright")
"""Mean squared error; the same in units of what is usual at each pixel; its largest mean over a patch; both;
the largest mean *signed* residual of a patch, for anomalies brighter than what they cover; that weighted."""


@torch.inference_mode()
def residuals(model: Autoencoder, image_set: ImageSet) -> Tensor:  # -> (N, C, H, W)
    """Image minus reconstruction for every image, in grey levels of [0, 1]."""
    batches = Batches(image_set, 256, shuffle=False)
    return torch.cat([(batch.images - model.reconstruct(batch.images)) / 2 for batch in batches])


def usual_error(normal: Tensor, window: int = 5, floor: float = 1e-4) -> Tensor:
    """(N, C, H, W) -> (H, W): mean squared error of each pixel over normal images, smoothed over `window`
    pixels: sigma^2 of eq. (ae.4).

    Take training images for it: a threshold chosen on validation scores keeps its promise only if the score
    was not fitted to the same images.  `floor` is the error of one grey level in a hundred.
    """
    mean = F.pad(normal.square().mean((0, 1))[None, None], (window // 2,) * 4, mode="replicate")
    return F.avg_pool2d(mean, window, stride=1)[0, 0].clamp_min(floor)


def score(name: str, residual: Tensor, usual: Tensor, patch: int) -> Tensor:  # (N, C, H, W), (H, W) -> (N,)
    """One of SCORES for each image; `patch` is a side in pixels."""
    # task hw1.c: from the residual of every pixel to one number an image
    if name.startswith("weighted"):
        residual = residual / usual.sqrt()  # in standard deviations, eq. (ae.4)
    if name.endswith("bright"):
        return brightest_patch(residual.mean(1), patch)
    error = residual.square().mean(1)
    return largest_patch(error, patch) if name.endswith("patch") else error.mean((1, 2))
    # end task


def largest_patch(maps: Tensor, patch: int) -> Tensor:  # (N, H, W) -> (N,)
    """The largest mean over any `patch` x `patch` square of the squared errors, eq. (ae.5)."""
    return F.avg_pool2d(maps[:, None], patch, stride=1).amax((1, 2, 3))


def brightest_patch(residual: Tensor, patch: int) -> Tensor:  # (N, H, W) -> (N,)
    """The largest mean over any square of the residual with its sign, eq. (ae.10)."""
    return largest_patch(residual, patch)
