"""What the lab's generators can do, in numbers.  Theory: theory/en/metrics.md (metrics.7), theory/en/gan.md.

The features of the Fréchet distance are those of the shipped `creatures` extractor, for any set: images are
brought to its 64 pixels first.  A distance between sprites in features learned on creatures compares models
on those sprites; it says less than on creatures, and nothing beside published FID.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.data import to_uint8
from common.errors import InputError
from common.metrics import extractors, spread
from common.metrics.frechet import frechet_distance_from_features

COLLAPSED = 0.5
"""Share of the data's diversity below which samples are called alike."""
CHUNK = 250
"""Images that go through a network at once."""
EXTRACTOR = "creatures"


@torch.inference_mode()
def decode(decoder: nn.Module, z: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """uint8 images (N, 3, S, S) on the CPU from latents (N, D)."""
    return torch.cat([to_uint8(decoder(part.to(device))).cpu() for part in z.split(CHUNK)])


def features(images: Tensor, extractor: extractors.Extractor) -> Tensor:
    """Features (N, D) of uint8 images (N, 3, S, S) of any side."""
    side = extractor.shape[-1]
    if images.shape[-1] != side:
        resized = [
            F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True)
            for part in images.split(CHUNK)
        ]
        images = torch.cat(resized).round().clamp(0, 255).to(torch.uint8)
    return extractors.features_of(images, extractor)


def diversity(images: Tensor) -> float:
    """Mean squared difference of pairs, eq. (gan.17), of uint8 (N, 3, S, S): twice the variance."""
    return 2 * images.flatten(1).float().var(0).mean().item()


class Reference:
    """Real images, prepared once, to compare as many generated ones with."""

    def __init__(self, images: Tensor):
        self.extractor = extractors.load_extractor(EXTRACTOR)
        self.images, self.features = images, features(images, self.extractor)
        self.count, self.diversity = len(images), diversity(images)
        self.name = extractors.metric_name(EXTRACTOR, self.count).removeprefix("eval/")
        """fd_creatures_1k, for 1,000 real images."""

    def distance(self, images: Tensor) -> float:
        """Fréchet distance, eq. (metrics.7), of as many uint8 images as there are real ones."""
        return frechet_distance_from_features(features(images, self.extractor), self.features)

    def estimate(self, images: Tensor) -> spread.Estimate:
        """The same with its jackknife standard error."""
        if self.count < 20:
            raise InputError(f"a spread needs at least 20 real images, found {self.count}; add images")
        found = features(images, self.extractor)
        return spread.jackknife(frechet_distance_from_features, found, self.features)

    def measure(self, images: Tensor) -> dict[str, float]:
        """The distance under its name, and `diversity`, as a share of that of the real images."""
        return {self.name: self.distance(images), "diversity": diversity(images) / self.diversity}
