"""From the error of every pixel to one score per image.  Theory: theory/en/autoencoders.md, eqs. (ae.1),
(ae.4), (ae.5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from common.data import Batches, ImageSet
from hw1_bayes_and_autoencoders.autoencoders import Autoencoder, squared_error

SCORES = ("mse", "weighted", "patch", "weighted-patch")
"""Mean error; error in units of what is usual at that pixel; largest mean error of a patch; both."""


@torch.inference_mode()
def error_maps(model: Autoencoder, image_set: ImageSet) -> Tensor:  # -> (N, H, W)
    """Squared error of every pixel of every image, in squared grey levels of [0, 1]."""
    batches = Batches(image_set, 256, shuffle=False)
    return torch.cat([squared_error(batch.images, model.reconstruct(batch.images)) for batch in batches])


def usual_error(maps: Tensor, window: int = 5, floor: float = 1e-4) -> Tensor:  # (N, H, W) -> (H, W)
    """Mean squared error of each pixel over normal images, smoothed over `window` pixels: sigma^2 of eq.
    (ae.4).

    Take training images for it: a threshold chosen on validation scores keeps its promise only if the score
    was not fitted to the same images.  `floor` is the error of one grey level in a hundred."""
    mean = F.pad(maps.mean(0)[None, None], (window // 2,) * 4, mode="replicate")
    return F.avg_pool2d(mean, window, stride=1)[0, 0].clamp_min(floor)


def score(name: str, maps: Tensor, usual: Tensor, patch: int) -> Tensor:  # (N, H, W), (H, W) -> (N,)
    """One of SCORES for each image; `patch` is a side in pixels."""
    if name.startswith("weighted"):
        maps = maps / usual  # eq. (ae.4): the residual in standard deviations, squared
    return largest_patch(maps, patch) if name.endswith("patch") else maps.mean((1, 2))


def largest_patch(maps: Tensor, patch: int) -> Tensor:  # (N, H, W) -> (N,)
    """The largest mean over any `patch` x `patch` square, eq. (ae.5)."""
    return F.avg_pool2d(maps[:, None], patch, stride=1).amax((1, 2, 3))
