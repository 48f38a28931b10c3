"""A GAN on one page.  Theory: theory/en/gan.md.

Two networks play against each other.  The discriminator learns to tell real images from drawn ones; the
generator turns random vectors into images and learns to be taken for real.  All that the generator is ever
told is what the discriminator finds wrong.  The losses do not fall to 0: where neither wins, D loses
2 ln 2 = 1.39 and G ln 2 = 0.69.

The players never come to rest, so what draws in the end is the mean of G's weights over its last few hundred
steps: a mean of circling points lies nearer to their centre.
"""

from __future__ import annotations

from common import data
from common.adversarial import cross_entropy_discriminator, non_saturating_generator

import torch
from matplotlib import pyplot
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

DATA = "avatars"  # or creatures, or celeba
SIZE = 32
STEPS = 1200
BATCH = 64
LATENT = 64
WIDTH = 32
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def generator() -> nn.Module:
    """z (B, D) -> images (B, 3, 32, 32) in [-1, 1]: each transposed convolution doubles the side."""
    layers = [nn.Unflatten(1, (LATENT, 1, 1)), nn.ConvTranspose2d(LATENT, 4 * WIDTH, 4)]  # (B, 4 W, 4, 4)
    for channels in (4 * WIDTH, 2 * WIDTH):
        layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1)]
    return nn.Sequential(
        *layers, nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.ConvTranspose2d(WIDTH, 3, 4, 2, 1), nn.Tanh()
    )


def discriminator() -> nn.Module:
    """Images (B, 3, 32, 32) -> logits (B,), large for real ones: each convolution halves the side."""
    layers = [nn.Conv2d(3, WIDTH, 4, 2, 1), nn.LeakyReLU(0.2)]  # (B, W, 16, 16)
    for channels in (WIDTH, 2 * WIDTH):
        layers += [nn.Conv2d(channels, 2 * channels, 4, 2, 1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(4 * WIDTH, 1, 4), nn.Flatten(0))  # (B, 4 W, 4, 4) -> (B,)


def train(images: Tensor) -> tuple[nn.Module, list[tuple[float, float]]]:  # (N, 3, 32, 32) in [-1, 1]
    """A step of the discriminator, a step of the generator, in turn."""
    torch.manual_seed(0)
    G, D, images = generator().to(DEVICE), discriminator().to(DEVICE), images.to(DEVICE)
    for_G, for_D = (torch.optim.Adam(net.parameters(), lr=4e-4, betas=(0.5, 0.99)) for net in (G, D))
    averaged = AveragedModel(G, multi_avg_fn=get_ema_multi_avg_fn(0.995), use_buffers=True)
    losses = []
    for _ in range(STEPS):
        real = images[torch.randint(len(images), (BATCH,))]  # (B, 3, 32, 32)
        fake = G(torch.randn(BATCH, LATENT, device=DEVICE))
        # task hw2.c: one step of the discriminator, one of the generator
        # ---- discriminator: detached, because its step does not reach G
        d_loss = cross_entropy_discriminator(D(real), D(fake.detach())).mean()
        for_D.zero_grad()
        d_loss.backward()
        for_D.step()
        # ---- generator: through D, which has just been changed
        g_loss = non_saturating_generator(D(fake)).mean()
        for_G.zero_grad()
        g_loss.backward()
        for_G.step()
        # end task
        averaged.update_parameters(G)
        losses.append((d_loss.item(), g_loss.item()))
    return averaged, losses


def show(images: Tensor, title: str) -> None:  # (N, 3, S, S) in [-1, 1]
    """Eight in a row."""
    rows = images.cpu().reshape(-1, 8, *images.shape[1:]) / 2 + 0.5  # (R, 8, 3, S, S)
    pyplot.figure(figsize=(8, len(rows)))
    pyplot.imshow(rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1))
    pyplot.title(title)
    pyplot.axis("off")
    pyplot.show()


if __name__ == "__main__":
    images = data.load(DATA, size=SIZE).images / 127.5 - 1  # (N, 3, 32, 32)
    G, losses = train(images)
    pyplot.plot(losses, label=("discriminator", "generator"))
    pyplot.xlabel("step")
    pyplot.ylabel("loss, nats per image")
    pyplot.legend()
    pyplot.show()
    with torch.no_grad():
        show(G(torch.randn(32, LATENT, device=DEVICE)), "Drawn: what G makes of random vectors")
