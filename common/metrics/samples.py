"""What is measured of samples while a generator trains: distance to real images, diversity, styles, a grid.

Theory: theory/en/metrics.md (metrics.7), (metrics.15), (metrics.17); theory/en/gan.md, eq. (gan.17).
"""

from __future__ import annotations

from collections.abc import Sequence

from common.data import ImageSet, to_uint8
from common.errors import InputError
from common.metrics import extractors, spectrum, spread
from common.metrics.frechet import frechet_distance_from_features

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 250
"""Images that go through a network at once."""
CONFIDENCE = 0.9
"""An attribute counts as recognised from this probability on."""
STYLED = ("avatars",)
"""Sets whose attributes are few and told apart surely enough to count styles."""
COLLAPSED = 0.5
"""Share of the real images' diversity below which samples are too much alike."""


class Reference:
    """N real images, prepared once, to compare as many generated ones with.

    `extractor`: whose features the Fréchet distance is of; None where no shipped one reads such images, then
    only diversity is measured.  Images of another side than it reads are brought to that first.  `styled`:
    count styles, combinations of all attributes but the expression.
    """

    def __init__(
        self, images: Tensor, extractor: extractors.Extractor | None = None, *, styled: bool = False
    ):
        self.images, self.extractor = images, extractor
        self.count, self.diversity = len(images), diversity(images)
        self.spectrum = spectrum.power_spectrum(images)
        self.name = self.features = self.styles = None
        if extractor is not None:
            self.name = extractors.metric_name(extractor.name, self.count).removeprefix("eval/")
            """fd_avatars_10k, for 10,000 real images."""
            self.features = self.features_of(images)
            if styled:
                self.styles = styles(extractor.answers(self.features, CONFIDENCE), extractor)

    def features_of(self, images: Tensor) -> Tensor:  # uint8 (N, C, S, S) -> (N, D)
        """Features of images of any side."""
        return extractors.features_of(resized(images, self.extractor.shape[-1]), self.extractor)

    def distance(self, features: Tensor) -> float:
        """Fréchet distance, eq. (metrics.7), of the features of as many images as there are real ones."""
        return frechet_distance_from_features(features, self.features)

    def estimate(self, features: Tensor) -> spread.Estimate:
        """The same with its jackknife standard error."""
        if self.count < 20:
            raise InputError(f"a spread needs at least 20 real images, found {self.count}; add images")
        return spread.jackknife(frechet_distance_from_features, features, self.features)

    def measure(self, images: Tensor, features: Tensor | None = None) -> dict[str, float]:
        """Numbers of N generated uint8 images (N, C, S, S), whose features may be known already.

        diversity      share of the real images' mean squared difference of pairs
        grid           power at a grid's frequencies, as a multiple of the real images': 1 is no grid
        fd_avatars_N   Fréchet distance
        valid          share of images in which every style attribute is recognised
        coverage       distinct styles as a share of those among N real images
        evenness       entropy of the styles as a share of that of N real images
        """
        numbers = {
            "diversity": diversity(images) / self.diversity,
            "grid": spectrum.grid_strength(spectrum.power_spectrum(images), self.spectrum),
        }
        if self.extractor is None:
            return numbers
        features = self.features_of(images) if features is None else features
        numbers[self.name] = self.distance(features)
        if self.styles is not None:
            found = styles(self.extractor.answers(features, CONFIDENCE), self.extractor)
            numbers["valid"] = (found >= 0).double().mean().item()
            distinct = len(found[found >= 0].unique())
            numbers["coverage"] = distinct / len(self.styles[self.styles >= 0].unique())
            numbers["evenness"] = entropy(found) / entropy(self.styles) if distinct else 0.0
        return numbers


def reference_of(
    image_set: ImageSet, device: torch.device | str = "cpu", *, any_side: bool = False
) -> Reference:
    """Prepare the images of a set, with the extractor that was trained on it, if there is one for images of
    this side, or of `any_side`."""
    extractor = None
    if image_set.name in extractors.NAMES and not image_set.file_names:  # a folder may be called avatars
        shipped = extractors.load_extractor(image_set.name, device)
        fits = shipped.shape[0] == image_set.shape[0] if any_side else shipped.shape == image_set.shape
        extractor = shipped if fits else None
    return Reference(image_set.images, extractor, styled=image_set.name in STYLED)


# ---- drawing


def latents(count: int, dimension: int, seed: int) -> Tensor:  # -> (N, D)
    """z ~ N(0, I): the same for the same seed."""
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def decode(network: nn.Module, z: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Latents (N, D) -> uint8 images (N, C, S, S) on the CPU, by the network in evaluation mode."""
    was_training = network.training
    network.eval()
    images = torch.cat([to_uint8(network(part.to(device))).cpu() for part in z.split(CHUNK)])
    network.train(was_training)
    return images


def measure_versions(
    versions: dict[str, nn.Module], z: Tensor, real: Reference, device: torch.device | str = "cpu"
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """What each version of a generator, `raw` and `ema` for example, draws from the same latents (N, D).

    Returns numbers called val/raw_diversity and so on, and the images of each version.
    """
    numbers, images = {}, {}
    for version, network in versions.items():
        images[version] = decode(network, z, device)
        measured = real.measure(images[version])
        numbers |= {f"val/{version}_{name}": value for name, value in measured.items()}
    return numbers, images


def resized(images: Tensor, side: int) -> Tensor:
    """uint8 images (N, C, S, S) brought to another side, with antialiasing."""
    if images.shape[-1] == side:
        return images
    parts = [
        F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True)
        for part in images.split(CHUNK)
    ]
    return torch.cat(parts).round().clamp(0, 255).to(torch.uint8)


# ---- diversity and collapse


def diversity(images: Tensor) -> float:
    """Mean over pixels and channels of E (x_i - y_i)^2 for pairs of different images, twice the variance, eq.
    (gan.17), of uint8 (N, C, H, W) in units of [-1, 1]."""
    columns = images.flatten(1).split(2048, dim=1)  # never all of them as floats
    variances = torch.cat([part.float().var(0) for part in columns])
    return 2 * variances.mean().item() * (2 / 255) ** 2


def collapsed(diversities: Sequence[float]) -> list[bool]:
    """Which measurements are a collapse, from diversities as a share of the data's.

    Every generator starts with images that are all alike: what comes before it was first diverse is no
    collapse, unless it never is."""
    alike = [diversity < COLLAPSED for diversity in diversities]
    start = alike.index(False) if False in alike else 0
    return [False] * start + alike[start:]


# ---- styles


def styles(predicted: dict[str, Tensor], extractor: extractors.Extractor) -> Tensor:
    """The combination of options of each image as one number, int64 (N,); -1 where one is not recognised."""
    combination, valid = 0, True
    for name, options in style_options(extractor).items():
        combination = combination * len(options) + predicted[name]
        valid = (predicted[name] >= 0) & valid
    return torch.where(valid, combination, -1)


def style_options(extractor: extractors.Extractor) -> dict[str, tuple[str, ...]]:
    """The attributes that make up a style: 4,032 combinations for avatars; the expression is none of them."""
    return {name: options for name, options in extractor.options.items() if name != "expression"}


def entropy(combinations: Tensor) -> float:
    """Of the histogram of the recognised styles, in nats, eq. (gan.17)."""
    counts = combinations[combinations >= 0].unique(return_counts=True)[1].double()
    share = counts / counts.sum()
    return -(share * share.log()).sum().item()
