"""Ways of sampling a trained GAN: which latents are drawn, and at what cost.  Theory: theory/en/stylegan.md.

Sizes: B, N images, D numbers in z or w, L style layers, A attributes, K centres, S side of the image.
Where the last A numbers of z choose the options of attributes, eq. (gan.22), they are drawn as always; what a
way changes are the other D - A: an image is judged together with the options that were ordered.
"""

from __future__ import annotations

from typing import NamedTuple

from common.data import to_uint8

import torch
from torch import Tensor

from hw3_stylegan_sampling.discriminator import Discriminator
from hw3_stylegan_sampling.networks import Generator

CHUNK = 20
"""Images that go through a network at once: few fit a CPU's cache, and four divide it, as minibatch deviation
wants."""
BURN_IN = 1000
"""Candidates of which rejection learns the largest ratio before it accepts any."""


class Sampled(NamedTuple):
    """N images, and what they cost."""

    images: Tensor
    """uint8 (N, 3, S, S)."""
    z: Tensor
    """(N, D): the latents; their last numbers are the orders."""
    passes: float
    """Passes of G or D for each image: forward 1, backward 1 more.  Those of the mapping network, which are
    a thousand times cheaper, are not counted."""


class Judge:
    """log p(x) / q(x) of images by a discriminator, and the passes it took."""

    def __init__(self, generator: Generator, discriminator: Discriminator):
        self.generator, self.discriminator = generator, discriminator
        self.scale, self.shift, self.passes = 1.0, 0.0, 0

    def draw(self, z: Tensor) -> Tensor:  # (B, D) -> (B, 3, S, S)
        self.passes += len(z)
        return self.generator(z, noise_mode="const")

    def log_ratio(self, images: Tensor, labels: Tensor) -> Tensor:  # (B, 3, S, S), (B, K) -> (B,)
        """The discriminator's logit, calibrated."""
        self.passes += len(images)
        return self.scale * self.discriminator(images, labels) + self.shift

    def log_ratio_of(self, z: Tensor) -> Tensor:  # (B, D) -> (B,)
        return self.log_ratio(self.draw(z), self.generator.mapping.labels(z))

    @torch.no_grad()
    def calibrate(self, real: Tensor, labels: Tensor, z: Tensor) -> None:
        """Fit scale and shift, eq. (stylegan.18), to images of neither network's training, real (N, 3, S, S)
        in [-1, 1] with labels (N, K), and to generated ones: logistic regression (Turner et al. 2019).

        A discriminator in the middle of a game is surer of itself than it should be, or less."""
        from sklearn.linear_model import LogisticRegression

        self.scale, self.shift = 1.0, 0.0
        parts = zip(real.split(CHUNK), labels.split(CHUNK))
        of_real = torch.cat([self.log_ratio(*part) for part in parts])
        of_fake = torch.cat([self.log_ratio_of(part) for part in z.split(CHUNK)])
        logits = torch.cat([of_real, of_fake]).double().cpu().numpy()[:, None]
        is_real = [1] * len(of_real) + [0] * len(of_fake)
        fitted = LogisticRegression(C=1e6, class_weight="balanced").fit(logits, is_real)
        self.scale, self.shift = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        self.passes = 0


# ---- ways that need the generator alone


def normal(generator: Generator, count: int, draws: torch.Generator) -> Tensor:  # -> (N, D)
    """z ~ N(0, I)."""
    return torch.randn(count, generator.z_dim, generator=draws).to(generator.w_mean.device)


def truncated_normal(generator: Generator, count: int, limit: float, draws: torch.Generator) -> Tensor:
    """z (N, D) whose numbers lie within +-limit, by the inverse of the distribution function, eq.
    (stylegan.16)."""
    uniform = torch.rand(count, generator.z_dim, generator=draws, dtype=torch.float64)
    tail = torch.special.ndtr(torch.tensor(-limit, dtype=torch.float64))
    z = torch.special.ndtri(tail + uniform * (1 - 2 * tail)).float().to(generator.w_mean.device)
    return with_orders(z, normal(generator, count, draws), generator)


def with_orders(z: Tensor, ordered: Tensor, generator: Generator) -> Tensor:  # (N, D), (N, D) -> (N, D)
    """z, but for the last numbers, those that choose options: they are those of `ordered`."""
    free = generator.z_dim - len(generator.shape.options)
    return torch.cat([z[:, :free], ordered[:, free:]], 1)


@torch.no_grad()
def centres(generator: Generator, count: int, seed: int = 0) -> Tensor:  # -> (K, D)
    """K centres of w: k-means of 20,000 of them."""
    from sklearn.cluster import MiniBatchKMeans

    draws = torch.Generator().manual_seed(seed)
    w = torch.cat([generator.mapping(z) for z in normal(generator, 20_000, draws).split(2000)])
    fitted = MiniBatchKMeans(count, batch_size=4096, n_init=3, random_state=seed).fit(w.cpu().numpy())
    return torch.from_numpy(fitted.cluster_centers_).to(w)


def towards_nearest(w: Tensor, centre: Tensor, psi: float) -> Tensor:  # (N, D), (K, D) -> (N, D)
    """Truncation towards the nearest of K centres instead of the mean, eq. (stylegan.17)."""
    # task hw3.b: towards the nearest centre
    near = centre[torch.cdist(w, centre).argmin(1)]
    return near + psi * (w - near)
    # end task


@torch.no_grad()
def towards_own_mean(
    generator: Generator, z: Tensor, psi: float, draws: torch.Generator, others: int = 64
) -> Tensor:  # (N, D) -> (N, D)
    """w truncated towards the mean w of the options that z chooses, eq. (stylegan.17): that of other z that
    choose the same."""
    w, mean = generator.mapping(z), 0.0
    for _ in range(others):
        mean = mean + generator.mapping(with_orders(normal(generator, len(z), draws), z, generator)) / others
    return mean + psi * (w - mean)


@torch.inference_mode()
def images_of(generator: Generator, w: Tensor) -> Tensor:  # (N, D) -> uint8 (N, 3, S, S)
    """The images of w, on the CPU."""
    draw = lambda part: generator.synthesis(generator.broadcast(part), "const")
    return torch.cat([to_uint8(draw(part)).cpu() for part in w.split(CHUNK)])


# ---- ways that ask the discriminator too


def acceptance(log_ratio: Tensor, largest: float, gamma: float) -> Tensor:  # (N,) -> (N,)
    """The probability that rejection keeps an image, eq. (stylegan.20): exact at gamma = 0, where it is the
    ratio p / q as a share of the largest one; more are kept below."""
    below = (log_ratio.double() - largest).clamp(max=-1e-6)
    return torch.sigmoid(below - torch.log(-torch.expm1(below)) - gamma)


def gamma_for(log_ratio: Tensor, share: float) -> float:
    """The gamma at which rejection keeps this share of images with such ratios (N,), by bisection."""
    largest, low, high = log_ratio.max().item(), -60.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        kept = acceptance(log_ratio, largest, middle).mean().item()
        low, high = (middle, high) if kept > share else (low, middle)
    return (low + high) / 2


@torch.no_grad()
def rejection(judge: Judge, count: int, budget: float, draws: torch.Generator) -> Sampled:
    """Discriminator rejection sampling (Azadi et al. 2019), eqs. (stylegan.19), (stylegan.20): a candidate
    takes two passes, and gamma is such that on average `budget` passes go into one image: found anew
    whenever a candidate has a larger ratio than all before."""
    judge.passes, share = 0, min(1.0, 2 / budget)
    images, kept, waiting, ratios = [], [], [], []
    gamma, largest = 0.0, -torch.inf
    while sum(map(len, kept)) < count:
        z = normal(judge.generator, CHUNK, draws)
        drawn = judge.draw(z)
        ratio = judge.log_ratio(drawn, judge.generator.mapping.labels(z)).double().cpu()
        waiting.append((z, to_uint8(drawn).cpu(), ratio))
        ratios.append(ratio)
        if len(ratios) * CHUNK < BURN_IN:
            continue
        if not kept or ratio.max() > largest:
            largest = torch.cat(ratios).max().item()
            gamma = gamma_for(torch.cat(ratios), share)
        for z, drawn, ratio in waiting:  # the burn-in's own candidates have their chance too
            stays = torch.rand(len(z), generator=draws) < acceptance(ratio, largest, gamma)
            images.append(drawn[stays])
            kept.append(z[stays.to(z.device)])
        waiting = []
    return Sampled(torch.cat(images)[:count], torch.cat(kept)[:count], judge.passes / count)


def energy(judge: Judge, z: Tensor) -> Tensor:  # (B, D) -> (B,)
    """|z|^2 / 2 - log p/q of its image, eq. (stylegan.21)."""
    return 0.5 * z.square().sum(1) - judge.log_ratio_of(z)


def langevin_step(z: Tensor, gradient: Tensor, size: float, noise: Tensor) -> Tensor:  # (B, D) -> (B, D)
    """Downhill by half a step, and noise, eq. (stylegan.22)."""
    return z - size / 2 * gradient + size**0.5 * noise


def langevin(judge: Judge, count: int, budget: float, size: float, draws: torch.Generator) -> Sampled:
    """Discriminator-driven latent sampling (Che et al. 2020): Langevin steps from z ~ N(0, I), as many as
    `budget` passes allow, four a step.

    The numbers that choose options stay: across a border between options the energy jumps, which no gradient
    shows.  Images of a group of four also share their minibatch deviation, so that a chain is four images."""
    judge.passes, steps = 0, int(budget - 1) // 4
    images, ends = [], []
    for start in normal(judge.generator, count, draws).split(CHUNK):
        z = start
        for _ in range(steps):
            z = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(energy(judge, z).sum(), z)
            judge.passes += 2 * len(z)  # backward through both
            noise = normal(judge.generator, len(z), draws)
            z = with_orders(langevin_step(z.detach(), gradient, size, noise), start, judge.generator)
        with torch.no_grad():
            images.append(to_uint8(judge.draw(z)).cpu())
        ends.append(z.detach())
    return Sampled(torch.cat(images), torch.cat(ends), judge.passes / count)
