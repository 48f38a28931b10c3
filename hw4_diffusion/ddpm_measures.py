"""What is measured of diffusion models: samples of every sampler, at every guidance, and the bound.

Theory: theory/en/diffusion.md (diffusion.5), theory/en/metrics.md (metrics.7), (metrics.14).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from common.data import ImageSet, to_model_range
from common.data.image_set import spread
from common.metrics import kernel, nearest, precision_recall, samples

import torch
from torch import Tensor

from hw4_diffusion import models, samplers
from hw4_diffusion.diffusion import bits_per_dimension, bound_terms
from hw4_diffusion.models import Model
from hw4_diffusion.schedule import Spacing, sampling_times


class Way(NamedTuple):
    """How images are drawn."""

    sampler: str
    steps: int
    spacing: Spacing = "time"
    guidance: float = 1.0

    @property
    def evaluations(self) -> int:
        return samplers.evaluations(self.sampler, self.steps)


class Drawn(NamedTuple):
    images: Tensor
    """uint8 (N, C, S, S)."""
    seconds: float
    """Of computing, for one image."""


@torch.inference_mode()
def draw(model: Model, way: Way, count: int, labels: Tensor | None, seed: int, device: torch.device) -> Drawn:
    """`count` images of these classes; the same noise x_T for the same seed, whatever the way."""
    noise = torch.randn(count, *model.image_shape, generator=torch.Generator().manual_seed(seed))
    fresh = torch.Generator().manual_seed(seed + 1)
    randn = lambda like: torch.randn(like.shape, generator=fresh).to(like)
    times = sampling_times(model.schedule, way.steps, way.spacing)

    def steps(x: Tensor, told: Tensor | None) -> Tensor:
        denoise = model.denoiser(told, way.guidance)
        path = samplers.sample(way.sampler, denoise, model.schedule, times, x.to(device), randn=randn)
        return samplers.last(path)

    start = time.process_time() if device.type == "cpu" else time.perf_counter()
    chunk = models.GPU_CHUNK if device.type == "cuda" else models.CHUNK
    images = models.in_chunks(steps, noise, labels, chunk)
    end = time.process_time() if device.type == "cpu" else time.perf_counter()
    return Drawn(images, (end - start) / count)


def quality(model: Model, images: Tensor, labels: Tensor | None, real: samples.Reference) -> dict[str, float]:
    """Fréchet distance and diversity, precision and recall, and the share drawn of the class asked for."""
    features = None if real.extractor is None else real.features_of(images)
    numbers = real.measure(images, features)
    if features is None:
        return numbers
    both = precision_recall.precision_recall(real.features, features)
    numbers |= {"precision": both.precision, "recall": both.recall}
    answers = real.extractor.answers(features)
    if labels is not None and model.known.told in answers:
        numbers["class_accuracy"] = (answers[model.known.told].cpu() == labels).double().mean().item()
    return numbers


def thorough(features: Tensor, real: samples.Reference, known: Tensor) -> dict[str, float]:
    """Of features (N, D) of samples: standard error of the Fréchet distance, KID, nearest training images;
    `known` (M, D) are the features of those.

    nearest_training_ratio   median distance of a sample to its nearest training image, as a share of the same
                             for test images: far below 1, the model copies
    """
    name = real.name
    kid = kernel.kernel_distance(features, real.features)
    some = known[spread(len(features), len(known))]  # of all classes of a folder, which come in their order
    return {
        f"{name}_standard_error": real.estimate(features).standard_error,
        f"{name}_of_training_images": real.distance(some),
        f"kid_{name.removeprefix('fd_')}": kid.value,
        f"kid_{name.removeprefix('fd_')}_standard_error": kid.standard_error,
        "nearest_training_ratio": nearest.training_ratio(features, real.features, known),
    }


@torch.inference_mode()
def bits(model: Model, images: ImageSet, labels: Tensor | None, device: torch.device) -> dict[str, float]:
    """The variational bound of test images over all T times, in bits per dimension, and what the two ends
    have of it."""
    T, rows = model.schedule.steps, []
    for index in torch.arange(len(images)).split(models.CHUNK):
        x0 = to_model_range(images.images[index]).to(device)
        denoise = model.denoiser(None if labels is None else labels[index])
        terms = bound_terms(denoise, model.schedule, x0, list(range(T, -1, -1)), torch.randn_like)
        rows.append(bits_per_dimension(terms, x0[0].numel()).cpu())
    terms = torch.cat(rows)  # (N, T + 1)
    total = terms.sum(1)
    return {
        "bits_per_dimension": total.mean().item(),
        "bits_per_dimension_standard_error": (total.std() / len(total) ** 0.5).item(),
        "bits_per_dimension_first": terms[:, 0].mean().item(),
        "bits_per_dimension_last": terms[:, -1].mean().item(),
    }


def ways(model: Model, evaluations: Sequence[int], spacing: Spacing) -> list[Way]:
    """Every sampler that fits the model, at those of these numbers of evaluations that its schedule has."""
    found = []
    for sampler in samplers.NAMES:
        if sampler == "euler" and not model.schedule.is_straight:
            continue
        for count in evaluations:
            way = Way(sampler, (count + 1) // 2 if sampler == "heun" else count, spacing)
            if count <= model.schedule.steps and way not in found:
                found.append(way)
    return found
