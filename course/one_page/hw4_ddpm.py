"""A diffusion model on one page.  Theory: theory/en/diffusion.md.

Noise is added to images, a little at a time, until nothing is left of them.  A network learns one thing: to
say which noise was added.  To draw, begin with noise alone, ask for the noise in it, take it off, and put
back a little less of it; and so on, down to an image.
"""

from __future__ import annotations

from itertools import pairwise

from common import data

import torch
from matplotlib import pyplot
from torch import Tensor, nn

from hw4_diffusion.diffusion import noise_in, noised, squared_error
from hw4_diffusion.samplers import ddim_step
from hw4_diffusion.schedule import linear_betas
from hw4_diffusion.unet import Block, wave

DATA = "digits"  # or mnist, fashion-mnist
STEPS = 1500
BATCH = 64
WIDTH = 16
TIMES = 1000
DRAWING_STEPS = 50
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Network(nn.Module):
    """(B, C, S, S), times (B,) -> the noise in it: down through two sizes and up again, with shortcuts."""

    def __init__(self, channels: int):
        super().__init__()
        told = 4 * WIDTH
        self.time = nn.Sequential(nn.Linear(WIDTH, told), nn.SiLU(), nn.Linear(told, told), nn.SiLU())
        self.start, self.end = (
            nn.Conv2d(*sizes, 3, 1, 1) for sizes in ((channels, WIDTH), (WIDTH, channels))
        )
        self.first, self.last = Block(WIDTH, WIDTH, told), Block(2 * WIDTH, WIDTH, told)
        self.second, self.third = Block(WIDTH, 2 * WIDTH, told), Block(4 * WIDTH, 2 * WIDTH, told)
        self.middle = Block(2 * WIDTH, 2 * WIDTH, told)
        self.halve, self.halve_again = (nn.Conv2d(size, size, 3, 2, 1) for size in (WIDTH, 2 * WIDTH))
        self.enlarge = nn.ConvTranspose2d(2 * WIDTH, 2 * WIDTH, 4, 2, 1)
        self.enlarge_again = nn.ConvTranspose2d(2 * WIDTH, WIDTH, 4, 2, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        told = self.time(wave(t, WIDTH))  # (B, E)
        large = self.first(self.start(x), told)  # (B, W, S, S)
        small = self.second(self.halve(large), told)  # (B, 2 W, S / 2, S / 2)
        x = self.middle(self.halve_again(small), told)  # (B, 2 W, S / 4, S / 4)
        x = self.third(torch.cat([self.enlarge(x), small], 1), told)
        x = self.last(torch.cat([self.enlarge_again(x), large], 1), told)
        return self.end(x)


def scales() -> tuple[Tensor, Tensor]:  # -> (T + 1,) twice
    """alpha and sigma: how much of the image and how much noise there is at each time, from 0 to T."""
    alpha_bar = torch.cat([torch.ones(1), (1 - linear_betas(TIMES)).cumprod(0)]).float().to(DEVICE)
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def train(images: Tensor) -> tuple[Network, list[float]]:  # (N, C, S, S) in [-1, 1]
    """Every image of a batch gets a time and a noise of its own."""
    torch.manual_seed(0)
    images, (alpha, sigma) = images.to(DEVICE), scales()
    network = Network(images.shape[1]).to(DEVICE)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(STEPS):
        x0 = images[torch.randint(len(images), (BATCH,))]
        t = torch.randint(1, TIMES + 1, (BATCH,), device=DEVICE)
        eps = torch.randn_like(x0)
        # task hw4.b: the loss and the update
        x_t = noised(x0, eps, alpha[t].view(-1, 1, 1, 1), sigma[t].view(-1, 1, 1, 1))
        loss = squared_error(network(x_t, t), eps).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        # end task
        losses.append(loss.item())
    return network, losses


@torch.no_grad()
def draw(network: Network, shape: tuple[int, ...]) -> Tensor:  # (N, C, S, S)
    """From noise to images in few steps: each guesses the image, and gives it less noise than before."""
    alpha, sigma = scales()
    x = torch.randn(shape, device=DEVICE)
    for t, s in pairwise(range(TIMES, -1, -TIMES // DRAWING_STEPS)):
        # task hw4.c: from time to time
        eps = network(x, torch.full((len(x),), t, device=DEVICE))
        x0 = ((x - sigma[t] * eps) / alpha[t]).clamp(-1, 1)
        x = ddim_step(x0, noise_in(x, x0, alpha[t], sigma[t]), alpha[s], sigma[s].item())
        # end task
    return x


def show(images: Tensor, title: str) -> None:  # (N, C, S, S) in [-1, 1]
    """Eight in a row."""
    rows = images.cpu().clamp(-1, 1).reshape(-1, 8, *images.shape[1:]) / 2 + 0.5  # (R, 8, C, S, S)
    pyplot.figure(figsize=(8, len(rows)))
    pyplot.imshow(rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1).expand(-1, -1, 3))
    pyplot.title(title)
    pyplot.axis("off")
    pyplot.show()


if __name__ == "__main__":
    images = data.load(DATA).images / 127.5 - 1  # (N, C, S, S)
    network, losses = train(images)
    pyplot.plot(losses)
    pyplot.xlabel("step")
    pyplot.ylabel("squared error of the noise")
    pyplot.show()
    show(draw(network, (32, *images.shape[1:])), "Drawn: from noise in few steps")
