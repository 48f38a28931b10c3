"""Variational autoencoders, one function per equation.  Theory: theory/en/vae.md, eqs. (vae.2)-(vae.10).

The draw of z, eq. (vae.4), and the KL to the prior, eq. (vae.6), stand in common/latent_space.py, since other
models need them too; encoders and decoders in vae_networks.py; bounds for evaluation in vae_bounds.py.

A VAE, a CVAE (`classes` > 0: the one-hot class enters encoder and decoder) and a beta-VAE are one model; beta
belongs to the loss, not to the network.  All terms are in nats per image: summed over pixels and latent
dimensions, never averaged over them, so that beta = 1 is the ELBO.  Images are in [-1, 1]; likelihoods speak
of pixels in [0, 1].
"""

from __future__ import annotations

import math
from typing import Literal

from common.errors import InputError
from common.latent_space import kl_to_standard_normal, reparameterise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hw1_bayes_and_autoencoders import vae_networks

Likelihood = Literal["bernoulli", "gaussian", "gaussian-learned", "gaussian-optimal"]
"""p(x | z) of a pixel: 0 or 1; or Gaussian with a fixed, a learned, or the batch's best sigma."""


# ---- equations


def bernoulli_log_likelihood(pixels: Tensor, logits: Tensor) -> Tensor:  # (B, C, H, W) twice -> (B,)
    """sum_i x_i ln p_i + (1 - x_i) ln (1 - p_i) with p = sigmoid(logits), eq. (vae.7).

    A log-likelihood for pixels 0 and 1.  For grey levels between them it is a cross-entropy: its expected
    value over images whose pixels are drawn with those grey levels as probabilities."""
    # task hw1.d: the log-likelihood of grey levels
    return -F.binary_cross_entropy_with_logits(logits, pixels, reduction="none").flatten(1).sum(1)
    # end task


def gaussian_log_likelihood(pixels: Tensor, mean: Tensor, variance: Tensor | float) -> Tensor:  # -> (B,)
    """ln N(x; mean, variance I), eq. (vae.8), for pixels in [0, 1] (a density: it may be above 0)."""
    # task hw1.d: the log-likelihood of Gaussian pixels
    variance = torch.as_tensor(variance, dtype=mean.dtype, device=mean.device)
    squared = (pixels - mean).square().flatten(1).sum(1)
    return -0.5 * (squared / variance + pixels[0].numel() * (2 * math.pi * variance).log())
    # end task


def optimal_variance(pixels: Tensor, mean: Tensor) -> Tensor:  # (B, C, H, W) twice -> ()
    """The variance that maximises eq. (vae.8): the mean squared error (Rybkin et al. 2021, sigma-VAE).

    No gradient flows through it; at the optimum there is none to flow.
    """
    return (pixels - mean).square().mean().detach().clamp_min(1e-6)


def elbo(log_likelihood: Tensor, kl: Tensor) -> Tensor:  # (B,), (B, D) -> (B,)
    """E_q ln p(x | z) - KL(q(z | x) || p(z)) <= ln p(x) by Jensen, eq. (vae.2).

    What is missing to ln p(x) is KL(q(z | x) || p(z | x)), eq. (vae.3); vae_bounds.py narrows it.
    """
    return log_likelihood - kl.sum(1)


def objective(terms: dict[str, Tensor], beta: float = 1.0, floor: float = 0.0) -> Tensor:
    """Reconstruction + beta * KL of `VAE.forward`'s terms, mean over the batch, eq. (vae.9): minimised.

    `floor` > 0 counts each dimension's KL as at least that many nats, `free_bits`.
    """
    # task hw1.d: what is minimised, with beta
    return terms["reconstruction"].mean() + beta * free_bits(terms["kl"], floor)
    # end task


def free_bits(kl: Tensor, floor: float) -> Tensor:  # (B, D) -> ()
    """sum_d max(floor, batch mean of KL_d), eq. (vae.10): below the floor nothing pushes a dimension to die.

    Kingma et al. 2016, "Improving variational inference with inverse autoregressive flow", eq. 15.
    """
    return kl.mean(0).clamp_min(floor).sum()


# ---- the model


class VAE(nn.Module):
    """An encoder of q(z | x, y) and a decoder of p(x | z, y); y is absent where `classes` is 0."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent: int,
        classes: int = 0,
        likelihood: Likelihood = "bernoulli",
        sigma: float = 0.1,
    ):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.latent, self.classes, self.likelihood = latent, classes, likelihood
        self.register_buffer("one_hot", torch.eye(classes), persistent=False)  # (K, K)
        log_variance = torch.tensor(2 * math.log(sigma))
        if likelihood == "gaussian-learned":
            self.pixel_log_variance = nn.Parameter(log_variance)
        elif likelihood != "bernoulli":  # fixed, or a running mean of the batches' optimal variance
            self.register_buffer("pixel_log_variance", log_variance)

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C, H, W), int64 (B,) -> mean and log-variance of q(z | x, y), each (B, D)."""
        both = self.encoder(x, self.condition(labels, len(x))).float()  # (B, 2 D)
        mu, log_variance = both.chunk(2, 1)
        return mu, log_variance.clamp(-20, 10)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, D), int64 (B,) -> (B, C, H, W): logits of Bernoulli pixels, means of Gaussian ones."""
        return self.decoder(z, self.condition(labels, len(z))).float()

    def images(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, D), int64 (B,) -> the means of p(x | z, y) as images in [-1, 1], without pixel noise."""
        return 2 * self.pixel_mean(self.decode(z, labels)).clamp(0, 1) - 1

    def pixel_mean(self, decoded: Tensor) -> Tensor:
        """Means of the pixels, where black is 0 and white is 1, from what `decode` gives.

        Gaussian means come straight from the network: behind a sigmoid the squared error has no gradient
        where the picture is black, and training gets stuck at an image without any ink."""
        return decoded.sigmoid() if self.likelihood == "bernoulli" else decoded

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W) in [-1, 1], from the mean of q: without any randomness."""
        return self.images(self.encode(x, labels)[0], labels)

    def condition(self, labels: Tensor | None, count: int) -> Tensor:
        """One-hot classes (B, K); (B, 0) for a model without classes."""
        # task hw1.d: how a class enters encoder and decoder
        if self.classes == 0:
            return self.one_hot.new_zeros(count, 0)
        return self.one_hot[labels]
        # end task

    def log_likelihood(self, x: Tensor, decoded: Tensor) -> Tensor:  # (B, C, H, W) twice -> (B,)
        """ln p(x | z) in nats, eqs. (vae.7), (vae.8)."""
        pixels = (x.float() + 1) / 2
        if self.likelihood == "bernoulli":
            return bernoulli_log_likelihood(pixels, decoded)
        mean = self.pixel_mean(decoded)
        log_variance = self.pixel_log_variance
        if self.likelihood == "gaussian-optimal" and self.training:
            log_variance = optimal_variance(pixels, mean).log()
            self.pixel_log_variance.lerp_(log_variance, 0.01)
        return gaussian_log_likelihood(pixels, mean, log_variance.exp())

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Terms of the negative ELBO from one draw of z: `reconstruction` (B,) and `kl` (B, D), in nats."""
        # task hw1.d: encode, draw, decode, and the two terms
        mu, log_variance = self.encode(x, labels)  # (B, D) each
        z = reparameterise(mu, log_variance)  # (B, D), eq. (vae.4)
        decoded = self.decode(z, labels)  # (B, C, H, W)
        return {
            "reconstruction": -self.log_likelihood(x, decoded),  # (B,), eq. (vae.7) or (vae.8)
            "kl": kl_to_standard_normal(mu, log_variance),  # (B, D), eq. (vae.6)
        }
        # end task


def check_labels(labels: Tensor | None, classes: int, where: str) -> None:
    """InputError unless there are classes and every label is one of 0, ..., classes - 1; `where` names the
    flag or the set."""
    if classes == 0 or labels is None:
        raise InputError(f"{where}: no class labels for a conditional model; use a labelled set")
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0].item()
        raise InputError(
            f"{where}: class {wrong} is outside the model's 0 to {classes - 1}; use one of those"
        )


def build(
    arch: vae_networks.Arch,
    shape: tuple[int, int, int],
    latent: int,
    *,
    classes: int = 0,
    likelihood: Likelihood = "bernoulli",
    sigma: float = 0.1,
) -> VAE:
    """An untrained model for images of `shape` (C, H, W).  InputError for sizes that `arch` cannot halve."""
    encoder, decoder = (network(shape, latent, classes) for network in vae_networks.NETWORKS[arch])
    return VAE(encoder, decoder, latent, classes, likelihood, sigma)
