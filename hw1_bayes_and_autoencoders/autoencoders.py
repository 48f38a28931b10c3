"""Five autoencoders that learn what a normal image looks like.  Theory: theory/en/autoencoders.md.

`encode` gives what `decode` needs; `reconstruct` is what images are scored with; calling the model gives the
terms of its training loss, one value per image each. Pixels are in [-1, 1]; errors are reported in squared
grey levels of [0, 1], hence the factors 1/2.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from common.latent_space import kl_to_standard_normal, reparameterise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Arch = Literal["linear2", "linear5", "conv", "vae", "memory"]


def squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:  # (B, C, H, W) twice -> (B, H, W)
    """Squared error of each pixel, mean over channels, eq. (ae.1), in squared grey levels of [0, 1].

    Minus the log-likelihood of Gaussian pixels up to scale and a constant, eq. (ae.3).
    """
    # task hw1.c: the reconstruction error of every pixel
    return ((x - reconstruction) / 2).square().mean(1)
    # end task


class Autoencoder(nn.Module):
    """An encoder and a decoder trained on the squared error; linear ones learn PCA's subspace, eq. (ae.2)."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> latent (B, ...)."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Latent -> (B, C, H, W)."""
        return self.decoder(z)

    def reconstruct(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), without any randomness."""
        return self.decode(self.encode(x))

    def forward(self, x: Tensor, corrupted: Tensor) -> dict[str, Tensor]:
        """Terms of the training loss, each (B,); the mean over the batch of their sum is minimised.

        The network reads `corrupted`, which is `x` or, for a denoising autoencoder, an `x` painted over; its
        output is compared with `x`.
        """
        # task hw1.c: what is minimised: which image is read, which is to be given
        return {"mse": squared_error(x, self.reconstruct(corrupted)).mean((1, 2))}
        # end task


class VariationalAutoencoder(Autoencoder):
    """The latent is a Gaussian per image, its KL to N(0, I) is paid for; images are scored at its mean."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, pixel_sigma: float):
        super().__init__(encoder, decoder)
        self.pixel_sigma = pixel_sigma

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> mean of q(z | x), (B, D)."""
        return self.encoder(x).chunk(2, 1)[0]

    def forward(self, x: Tensor, corrupted: Tensor) -> dict[str, Tensor]:
        """Negative ELBO in nats per pixel times 2 sigma^2, eqs. (vae.6) and (vae.8): in the unit of the
        squared error."""
        mu, log_variance = self.encoder(corrupted).chunk(2, 1)  # (B, D) each
        z = reparameterise(mu, log_variance)  # eq. (vae.4)
        kl = kl_to_standard_normal(mu, log_variance).sum(1)  # (B,)
        scale = 2 * self.pixel_sigma**2 / x[0].numel()
        return {"mse": squared_error(x, self.decode(z)).mean((1, 2)), "kl": scale * kl}


class MemoryAutoencoder(Autoencoder):
    """MNAD: the decoder sees each latent pixel beside what a small memory of normal ones recalls for it.

    Park, Noh and Ham 2020, "Learning memory-guided normality for anomaly detection".
    # DIFFERS: squared distances in both losses, no skip connections, one picture instead of video frames.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        items: int,
        channels: int,
        *,
        compactness: float = 0.01,
        separateness: float = 0.01,
        margin: float = 1.0,
    ):
        super().__init__(encoder, decoder)
        self.compactness, self.separateness, self.margin = compactness, separateness, margin
        self.register_buffer("memory", F.normalize(torch.randn(items, channels), dim=1))  # (M, D), unit rows

    def queries(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> unit vectors (B, h w, D), one per latent pixel."""
        return F.normalize(self.encoder(x).flatten(2).transpose(1, 2), dim=2)

    def encode(self, x: Tensor) -> Tensor:
        """Queries beside what the memory recalls, (B, 2 D, h, w)."""
        features = self.encoder(x)  # (B, D, h, w)
        queries = F.normalize(features.flatten(2).transpose(1, 2), dim=2)  # (B, h w, D)
        memory = self.memory.clone()  # training overwrites it before the backward pass
        recalled = read_memory(queries, memory)  # (B, h w, D)
        both = torch.cat([queries, recalled], 2)  # (B, h w, 2 D)
        return both.transpose(1, 2).unflatten(2, features.shape[2:])

    def forward(self, x: Tensor, corrupted: Tensor) -> dict[str, Tensor]:
        """Reconstruction, compactness and separateness; training moves the memory towards the queries."""
        latent = self.encode(corrupted)  # (B, 2 D, h, w)
        memory = self.memory.clone()
        queries = latent.chunk(2, 1)[0].flatten(2).transpose(1, 2).to(memory.dtype)  # (B, h w, D)
        terms = {
            "mse": squared_error(x, self.decode(latent)).mean((1, 2)),
            "compactness": self.compactness * compactness_loss(queries, memory),
            "separateness": self.separateness * separateness_loss(queries, memory, self.margin),
        }
        if self.training:
            self.memory.copy_(updated_memory(queries.detach().flatten(0, 1), memory))
        return terms


def read_memory(queries: Tensor, memory: Tensor) -> Tensor:  # (B, Q, D), (M, D) -> (B, Q, D)
    """Mean of the memory items under softmax of their cosine similarity to each query, eq. (ae.6)."""
    return (queries @ memory.to(queries.dtype).T).softmax(-1) @ memory.to(queries.dtype)


def compactness_loss(queries: Tensor, memory: Tensor) -> Tensor:  # (B, Q, D), (M, D) -> (B,)
    """Mean squared distance of a query to its nearest item, eq. (ae.7)."""
    nearest = memory[(queries @ memory.T).argmax(-1)]
    return (queries - nearest).square().sum(-1).mean(1)


def separateness_loss(queries: Tensor, memory: Tensor, margin: float) -> Tensor:  # -> (B,)
    """Triplet loss: the second nearest item should be further by `margin` than the nearest, eq. (ae.8)."""
    first, second = (queries @ memory.T).topk(2, dim=-1).indices.unbind(-1)
    squared_distance = lambda index: (queries - memory[index]).square().sum(-1)
    return F.relu(squared_distance(first) - squared_distance(second) + margin).mean(1)


def updated_memory(queries: Tensor, memory: Tensor) -> Tensor:  # (Q, D), (M, D) -> (M, D)
    """Each item plus the queries nearest to it, weighted by softmax over queries / maximum, eq. (ae.9)."""
    similarity = queries @ memory.T  # (Q, M)
    mine = F.one_hot(similarity.argmax(1), len(memory)).bool()
    weight = torch.where(mine, similarity, -torch.inf).exp()  # softmax over the queries up to a factor ...
    weight = weight / weight.amax(0).clamp_min(1e-12)  # ... that the division by the maximum removes
    return F.normalize(memory + weight.T @ queries, dim=1)


def with_patches(x: Tensor, patches: int) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
    """`x` with `patches` rectangles, each of one random grey level, painted over each image, eq. (ae.11).

    Sides are 1/16 to 1/4 of the image's, so that a large part of it stays to guess the rest from.
    """
    batch, _, *sides = x.shape
    inside = torch.ones(batch, patches, *sides, dtype=torch.bool, device=x.device)
    for axis, side in enumerate(sides):
        half = side * (torch.rand(batch, patches, 1, device=x.device) * 3 / 32 + 1 / 32)
        centre = side * torch.rand(batch, patches, 1, device=x.device)
        within = (torch.arange(side, device=x.device) + 0.5 - centre).abs() < half  # (B, patches, side)
        inside &= within[:, :, :, None] if axis == 0 else within[:, :, None]
    level = torch.rand(batch, patches, 1, 1, device=x.device) * 2 - 1
    levels = torch.where(inside, level, -torch.inf)  # (B, patches, H, W)
    painted = levels.amax(1, keepdim=True)  # (B, 1, H, W); where rectangles overlap, the brightest
    return torch.where(painted > -torch.inf, painted, x)


# ---- building them


CONV_WIDTHS = (32, 64, 128)
"""Channels of the convolutional encoders, one stride of 2 each."""
MEMORY_WIDTHS = (32, 64, 128, 128)
"""One stride more: with few latent pixels the queries alone cannot carry the image past the memory."""


def stride(arch: Arch) -> int:
    """What the sides of an image must be a multiple of."""
    return {
        "conv": 2 ** len(CONV_WIDTHS),
        "vae": 2 ** len(CONV_WIDTHS),
        "memory": 2 ** len(MEMORY_WIDTHS),
    }.get(arch, 1)


def build(
    arch: Arch, channels: int, size: int, latent: int, *, memory_items: int = 10, pixel_sigma: float = 0.1
) -> Autoencoder:
    """`linear2`, `linear5`, `conv`, `vae` or `memory` for images of `channels` x `size` x `size`."""
    pixels = channels * size * size
    if arch == "linear2":  # as in class: 784 -> 512 -> latent and back
        return Autoencoder(*_dense([pixels, 512, latent], (channels, size, size)))
    if arch == "linear5":
        return Autoencoder(*_dense([pixels, 512, 256, 128, 64, latent], (channels, size, size)))
    if arch == "memory":
        features = nn.Conv2d(MEMORY_WIDTHS[-1], latent, 1)
        encoder = nn.Sequential(*_downsampling(channels, MEMORY_WIDTHS), features)
        first = (nn.Conv2d(2 * latent, MEMORY_WIDTHS[-1], 1), nn.ReLU())
        return MemoryAutoencoder(
            encoder, nn.Sequential(*first, *_upsampling(channels, MEMORY_WIDTHS)), memory_items, latent
        )
    top, side = CONV_WIDTHS[-1], size // stride(arch)
    outputs = {"conv": latent, "vae": 2 * latent}[arch]  # a VAE's encoder gives mean and log-variance
    encoder = nn.Sequential(
        *_downsampling(channels, CONV_WIDTHS), nn.Flatten(), nn.Linear(top * side**2, outputs)
    )
    first = (nn.Linear(latent, top * side**2), nn.ReLU(), nn.Unflatten(1, (top, side, side)))
    decoder = nn.Sequential(*first, *_upsampling(channels, CONV_WIDTHS))
    if arch == "vae":
        return VariationalAutoencoder(encoder, decoder, pixel_sigma)
    return Autoencoder(encoder, decoder)


def _dense(widths: list[int], shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
    """Linear layers with ReLU between them; nothing after the latent, tanh after the pixels."""

    # task hw1.c: the encoder and the decoder of linear layers
    def chain(sizes: list[int]) -> list[nn.Module]:
        return [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())][:-1]

    encoder = nn.Sequential(nn.Flatten(), *chain(widths))
    return encoder, nn.Sequential(*chain(widths[::-1]), nn.Tanh(), nn.Unflatten(1, shape))
    # end task


def _downsampling(channels: int, widths: tuple[int, ...]) -> list[nn.Module]:
    """(B, C, H, W) -> (B, widths[-1], H / 2^n, W / 2^n)."""
    return [
        layer
        for a, b in pairwise((channels, *widths))
        for layer in (nn.Conv2d(a, b, 4, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU())
    ]


def _upsampling(channels: int, widths: tuple[int, ...]) -> list[nn.Module]:
    """(B, widths[-1], h, w) -> (B, C, 2^n h, 2^n w), in [-1, 1]."""
    layers = [
        layer
        for a, b in pairwise((*widths[::-1], channels))
        for layer in (nn.ConvTranspose2d(a, b, 4, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU())
    ]
    return [*layers[:-2], nn.Tanh()]  # the last transposed convolution gives pixels
