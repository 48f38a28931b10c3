"""Losses and penalties of adversarial training, one function per equation.  Theory: theory/en/gan.md.

A discriminator gives one logit per image, (B,); its estimate of "this is real" is sigmoid(logit).  Every loss
returns one value per example, (B,), to be minimised; the loop takes the mean.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# ---- losses of the discriminator: (logits of real, logits of fake) -> (B,)


def cross_entropy_discriminator(
    real: Tensor, fake: Tensor, real_label: Tensor | float = 1.0, fake_label: Tensor | float = 0.0
) -> Tensor:
    """-ln D(x) - ln (1 - D(G(z))), eq. (gan.1); at equilibrium 2 ln 2 nats, eq. (gan.3), not 0.

    Smallest at D = p / (p + q) for densities p of real and q of fake images, eq. (gan.2).
    Labels other than 1 and 0 smooth, eq. (gan.13): cross-entropy with targets between (Salimans et al. 2016).
    """
    # task hw2.c: the discriminator's loss
    real_label = torch.zeros_like(real) + real_label
    fake_label = torch.zeros_like(fake) + fake_label
    entropy = F.binary_cross_entropy_with_logits
    return entropy(real, real_label, reduction="none") + entropy(fake, fake_label, reduction="none")
    # end task


def least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """1/2 (D(x) - 1)^2 + 1/2 D(G(z))^2 on raw outputs, eq. (gan.6) (Mao et al. 2017)."""
    # task hw2.d: least squares, the discriminator's side
    return 0.5 * (real - 1).square() + 0.5 * fake.square()
    # end task


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))), eq. (gan.7) (Lim and Ye 2017)."""
    # task hw2.d: hinge, the discriminator's side
    return F.relu(1 - real) + F.relu(1 + fake)
    # end task


def wasserstein_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """D(G(z)) - D(x): minus the gap of eq. (gan.8), which needs a 1-Lipschitz D (Arjovsky et al. 2017)."""
    # task hw2.d: Wasserstein, the discriminator's side
    return fake - real
    # end task


# ---- losses of the generator: logits of fake -> (B,)


def minimax_generator(fake: Tensor) -> Tensor:
    """ln (1 - D(G(z))): what the minimax game asks, with a gradient that vanishes with D, eq. (gan.4)."""
    # task hw2.c: the generator's loss of the minimax game
    return -F.softplus(fake)
    # end task


def non_saturating_generator(fake: Tensor) -> Tensor:
    """-ln D(G(z)), eq. (gan.5): same fixed point, large gradient where D is sure (Goodfellow et al. 2014)."""
    # task hw2.c: the generator's loss that does not saturate
    return F.softplus(-fake)
    # end task


def least_squares_generator(fake: Tensor) -> Tensor:
    """1/2 (D(G(z)) - 1)^2, eq. (gan.6)."""
    # task hw2.d: least squares, the generator's side
    return 0.5 * (fake - 1).square()
    # end task


def linear_generator(fake: Tensor) -> Tensor:
    """-D(G(z)): the generator's side of the hinge and of the Wasserstein loss, eqs. (gan.7), (gan.8)."""
    # task hw2.d: hinge and Wasserstein, the generator's side
    return -fake
    # end task


# ---- penalties of the discriminator: (B,)


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """|d D(x) / d x|^2 of each real image (B, C, H, W), eq. (gan.10); weigh it by gamma / 2 (Mescheder et al.
    2018)."""
    return _squared_gradient(discriminator, real)


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """(|d D(y) / d y| - 1)^2 at a y between each real image and a fake one, eq. (gan.9) (Gulrajani et al.
    2017)."""
    # task hw2.d: the gradient between real and fake images
    share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
    squared = _squared_gradient(discriminator, torch.lerp(real, fake.detach(), share))
    return ((squared + 1e-12).sqrt() - 1).square()
    # end task


def _squared_gradient(discriminator: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    # task hw2.d: the squared gradient of D by the image
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    return gradient.flatten(1).square().sum(1)
    # end task
