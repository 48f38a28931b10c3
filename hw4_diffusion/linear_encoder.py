"""A linear image encoder: principal components, in closed form, and the way back.

The place that a VAE has in latent diffusion: images become short vectors z, the diffusion happens there, and
z becomes an image again.  Of all linear encoders with a linear decoder this one loses least of the training
images in squared error: theory/en/autoencoders.md#the-best-linear-autoencoder-is-pca.
"""

from __future__ import annotations

from typing import NamedTuple

from common.data import to_model_range
from common.errors import InputError

import scipy.linalg
import torch
from torch import Tensor

CHUNK = 2000
"""Images whose pixels are held as floats at once."""
MOST_VALUES = 6000
"""Values of an image: principal components need a matrix of its square."""


class LinearEncoder(NamedTuple):
    """z = V (x - mean) / unit and back; the rows of V are orthonormal."""

    mean: Tensor
    """float64 (P,): the mean image, P = C H W."""
    components: Tensor
    """V, float64 (D, P): directions of largest variance, the largest first."""
    variance: Tensor
    """float64 (D,): of the training images along each component."""
    shape: tuple[int, int, int]
    """(C, H, W)."""

    @property
    def dimension(self) -> int:
        """D."""
        return len(self.components)

    @property
    def unit(self) -> float:
        """Latents are measured in it: their mean variance is 1, as that of the noise."""
        return self.variance.mean().sqrt().item()

    def first(self, components: int) -> LinearEncoder:
        """The encoder with fewer components."""
        return self._replace(components=self.components[:components], variance=self.variance[:components])

    def encode(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> float64 (N, D)."""
        # task hw4.a: an image as its components
        parts = [centred(part, self.mean) @ self.components.T for part in images.split(CHUNK)]
        return torch.cat(parts) / self.unit
        # end task

    def decode(self, latents: Tensor) -> Tensor:
        """(N, D) -> float32 images (N, C, H, W) around [-1, 1], not clamped."""
        # task hw4.a: components as an image
        parts = [self.mean + self.unit * part.double() @ self.components for part in latents.split(CHUNK)]
        return torch.cat([part.float() for part in parts]).unflatten(1, self.shape)
        # end task


def fit(images: Tensor, components: int) -> LinearEncoder:
    """The D leading eigenvectors of the covariance of uint8 images (N, C, H, W)."""
    check(images, components)
    count, values = len(images), images[0].numel()
    mean = sum(to_model_range(part, torch.float64).flatten(1).sum(0) for part in images.split(CHUNK)) / count
    covariance = sum(gram(centred(part, mean)) for part in images.split(CHUNK)) / count  # (P, P)
    variance, vectors = scipy.linalg.eigh(
        covariance.numpy(), subset_by_index=(values - components, values - 1), driver="evr"
    )
    if variance[0] <= 1e-12 * variance[-1]:
        raise InputError(
            f"--components {components}: the {count} images vary in fewer directions; ask for fewer"
        )
    largest_first = lambda values: torch.from_numpy(values[::-1].copy())
    return LinearEncoder(mean, largest_first(vectors.T), largest_first(variance), tuple(images.shape[1:]))


def check(images: Tensor, components: int) -> None:
    """InputError for more components than uint8 images (N, C, H, W) can have, and for images too large."""
    count, values = len(images), images[0].numel()
    if values > MOST_VALUES:
        raise InputError(
            f"--size {images.shape[-1]}: images of {values:,} values; principal components need at most "
            f"{MOST_VALUES:,}, take smaller images"
        )
    if components > min(count - 1, values):
        raise InputError(
            f"--components {components}: {count} images of {values} values have at most "
            f"{min(count - 1, values)}; ask for fewer"
        )


def centred(images: Tensor, mean: Tensor) -> Tensor:
    """uint8 (N, C, H, W) -> float64 (N, P)."""
    return to_model_range(images, torch.float64).flatten(1) - mean


def gram(x: Tensor) -> Tensor:
    """x'x, multiplied in float32, which is twice as fast and exact to 1e-7 of the largest value."""
    return (x.float().T @ x.float()).double()
