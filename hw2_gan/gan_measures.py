"""What a GAN learnt, in numbers: Fréchet distance, modes covered and how evenly, diversity.

Theory: theory/en/metrics.md (metrics.7), (metrics.15); theory/en/gan.md, eq. (gan.17).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.data import ImageSet, to_uint8
from common.metrics import extractors
from common.metrics.frechet import Moments, distance

CHUNK = 250
"""Images that go through the generator at once."""
CONFIDENCE = 0.9
"""An attribute counts as recognised from this probability on."""
STYLED = ("avatars",)
"""Sets whose attributes are few and told apart surely enough to count styles."""
COLLAPSED = 0.5
"""Share of the real images' diversity below which samples are too much alike."""


@dataclass(frozen=True)
class Reference:
    """Real images, prepared once, to compare as many generated ones with."""

    name: str
    count: int
    diversity: float
    extractor: extractors.Extractor | None
    moments: Moments | None
    combinations: Tensor | None
    """int64 (N,): the style of each real image as one number."""
    device: torch.device | str


def reference(images: ImageSet, device: torch.device | str = "cpu") -> Reference:
    """Prepare N real images.  Where no shipped extractor reads such images, only diversity is measured."""
    extractor = moments = combinations = None
    drawn = bool(images.options)  # not a folder that happens to be called avatars
    if drawn and images.name in extractors.NAMES:
        shipped = extractors.load_extractor(images.name, device)
        extractor = shipped if shipped.shape == images.shape else None
    if extractor is not None:
        features = extractors.features_of(images, extractor)
        moments = extractor.moments(features)
        if images.name in STYLED:
            combinations = styles(extractor.answers(features, CONFIDENCE), extractor)
    return Reference(
        images.name, len(images), diversity(images.images), extractor, moments, combinations, device
    )


def diversity(images: Tensor) -> float:
    """Mean over pixels and channels of E (x_i - y_i)^2 for pairs of different images, twice the variance, eq.
    (gan.17), of uint8 (N, C, H, W) in units of [-1, 1]."""
    columns = images.flatten(1).split(2048, dim=1)  # never all of them as floats
    variances = torch.cat([part.float().var(0) for part in columns])
    return 2 * variances.mean().item() * (2 / 255) ** 2


def collapsed(diversities: Sequence[float]) -> list[bool]:
    """Which epochs are a collapse, from their diversity as a share of the data's.

    Every generator starts with images that are all alike: epochs before it was first diverse are no collapse,
    unless it never is."""
    alike = [diversity < COLLAPSED for diversity in diversities]
    start = alike.index(False) if False in alike else 0
    return [False] * start + alike[start:]


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


@torch.no_grad()
def settle(generator: nn.Module) -> None:
    """Compute the running statistics of batch normalisation anew, from 1,024 latents, always the same ones.

    Averaged weights need it: the statistics of the last weights do not fit them."""
    norms = [module for module in generator.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    was_training, momenta = generator.training, [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
    device = next(generator.parameters()).device
    generator.train()
    for z in torch.randn(16, 64, generator.latent, generator=torch.Generator().manual_seed(0)):
        generator(z.to(device))
    generator.train(was_training)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum


def latents(generator: nn.Module, count: int, seed: int) -> Tensor:  # -> (N, D)
    """The latents of `sample`: the same for the same seed."""
    return torch.randn(count, generator.latent, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def sample(generator: nn.Module, count: int, seed: int, device: torch.device | str = "cpu") -> Tensor:
    """uint8 (N, 3, S, S) on the CPU: the same latents for the same seed."""
    was_training = generator.training
    generator.eval()
    parts = latents(generator, count, seed).split(CHUNK)
    images = torch.cat([to_uint8(generator(part.to(device))).cpu() for part in parts])
    generator.train(was_training)
    return images


def measure(images: Tensor, real: Reference) -> dict[str, float]:
    """Numbers of N generated uint8 images (N, 3, S, S) against N real ones; names end as `metric_name` says.

    diversity      share of the real images' mean squared difference of pairs
    fd_avatars_N   Fréchet distance
    valid          share of images in which every style attribute is recognised
    coverage       distinct styles as a share of those among N real images
    evenness       entropy of the styles as a share of that of N real images
    """
    numbers = {"diversity": diversity(images) / real.diversity}
    if real.extractor is None:
        return numbers
    name = extractors.metric_name(real.extractor.name, real.count).removeprefix("eval/")
    features = extractors.features_of(images, real.extractor)
    numbers[name] = distance(real.extractor.moments(features), real.moments)
    if real.combinations is not None:
        found = styles(real.extractor.answers(features, CONFIDENCE), real.extractor)
        numbers["valid"] = (found >= 0).double().mean().item()
        distinct = len(found[found >= 0].unique())
        numbers["coverage"] = distinct / len(real.combinations[real.combinations >= 0].unique())
        numbers["evenness"] = entropy(found) / entropy(real.combinations) if distinct else 0.0
    return numbers
