"""How functions of lab 8 are asked: arrays in, arrays out.  `student` is the adapter."""

from __future__ import annotations

import torch
from torch import nn

tensor = torch.from_numpy


def way_down(student, images, normalised):
    """The output (B, 5); how many convolutions with stride 2, normalisations and parameters there are."""
    torch.manual_seed(11)
    network = student.way_down(images.shape[-1], 4, 5, bool(normalised))
    output = network(tensor(images).float())
    strided = sum(isinstance(m, nn.Conv2d) and m.stride == (2, 2) for m in network.modules())
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    return output, strided, norms, sum(p.numel() for p in network.parameters())


def way_up(student, z, size):
    """Images for large latents, the strides and kernels of transposed convolutions, and the parameters."""
    torch.manual_seed(12)
    network = student.way_up(int(size), 4, z.shape[1])
    with torch.no_grad():
        images = network(10 * tensor(z).float())
    up = [m for m in network.modules() if isinstance(m, nn.ConvTranspose2d)]
    shapes = [[m.kernel_size[0], m.stride[0], m.padding[0]] for m in up]
    return images, torch.tensor(shapes).reshape(-1, 3), sum(p.numel() for p in network.parameters())


def autoencoder(student, images):
    """Reconstructions, KL, latents, parameters without a gradient, first and last loss on one batch."""
    torch.manual_seed(13)
    model, x = student.autoencoder(images.shape[-1], 4, 6), tensor(images).float()
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=3e-3), []
    for _ in range(30):
        reconstructed, kl = model(x)
        loss = (reconstructed - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    without = sum(p.grad is None for p in model.parameters())
    return reconstructed, kl, model.encode(x), without, [losses[0], losses[-1]]


def losses(student, which, size, beta, errors, kl):
    return student.losses(("ae", "vae")[int(which)], int(size), float(beta), tensor(errors), tensor(kl))


class _Generator(nn.Module):
    """z W as images (B, 3, S, S)."""

    def __init__(self, weight, side):
        super().__init__()
        self.weight, self.side = nn.Parameter(tensor(weight).float()), side

    def forward(self, z):
        return (z @ self.weight).unflatten(1, (3, self.side, self.side))


class _Discriminator(nn.Module):
    """a . x of every image."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(tensor(weight).float())

    def forward(self, images):
        return images.flatten(1) @ self.weight


def one_step(student, real, z, of_generator, of_discriminator, rates, gamma, every, old):
    """Both players' weights after one step; `old`: what lies in their gradients when it begins."""
    players = _Generator(of_generator, real.shape[-1]), _Discriminator(of_discriminator)
    optimisers = [torch.optim.SGD(net.parameters(), lr=float(rate)) for net, rate in zip(players, rates)]
    for net in players:
        net.weight.grad = torch.full_like(net.weight, float(old))
    images, latents = tensor(real).float(), tensor(z).float()
    student.one_step(*players, *optimisers, images, latents, float(gamma), int(every))
    return [net.weight for net in players]


def slerp(student, start, end, share):
    return student.slerp(tensor(start), tensor(end), tensor(share))


def walk(student, start, end, count, spherical):
    way = "spherical" if spherical else "linear"
    return student.walk(tensor(start).float(), tensor(end).float(), int(count), way)


def there_and_back(student, positions):
    return student.there_and_back(tensor(positions))
