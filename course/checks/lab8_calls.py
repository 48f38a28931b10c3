"""How functions of lab 8 are asked: arrays in, arrays out.  `student` is the adapter."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

tensor = torch.from_numpy
LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def straight(network, inputs):
    """How many layers get what the one before gave, each channel at most scaled and shifted."""
    passed = []

    def keep(layer, given, gave):
        passed.append((given[0].detach().clone(), gave.detach().clone()))

    for layer in (each for each in network.modules() if isinstance(each, LAYERS)):
        layer.register_forward_hook(keep)
        nn.init.kaiming_normal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)  # values of both signs
    network(inputs)
    return sum(_is_straight(before, after) for (_, before), (after, _) in pairwise(passed))


def _is_straight(before, after):
    if before.numel() != after.numel():
        return False
    shape = max(before.shape, after.shape, key=len)
    x, y = (each.reshape(shape).transpose(0, 1).flatten(1).double() for each in (before, after))
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    slope = (x * y).sum(1, keepdim=True) / x.square().sum(1, keepdim=True).clamp(min=1e-12)
    return bool((y - slope * x).abs().max() < 1e-3 * y.abs().max())


def way_down(student, images, normalised):
    """The output (B, 5); how many convolutions with stride 2, normalisations and parameters there are, and
    layers with nothing that bends before them."""
    torch.manual_seed(11)
    network = student.way_down(images.shape[-1], 4, 5, bool(normalised))
    output = network(tensor(images).float())
    strided = sum(isinstance(m, nn.Conv2d) and m.stride == (2, 2) for m in network.modules())
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    count = sum(p.numel() for p in network.parameters())
    return output, strided, norms, count, straight(network, tensor(images).float())


def way_up(student, z, size):
    """Images for large latents, the strides and kernels of transposed convolutions, the parameters, and
    layers with nothing that bends before them."""
    torch.manual_seed(12)
    network = student.way_up(int(size), 4, z.shape[1])
    with torch.no_grad():
        images = network(10 * tensor(z).float())
    up = [m for m in network.modules() if isinstance(m, nn.ConvTranspose2d)]
    shapes = [[m.kernel_size[0], m.stride[0], m.padding[0]] for m in up]
    count = sum(p.numel() for p in network.parameters())
    return images, torch.tensor(shapes).reshape(-1, 3), count, straight(network, tensor(z).float())


def doubling(student, x):
    """By nearest neighbours: of x, and of ones, twice as many channels."""
    torch.manual_seed(14)
    module, images = student.doubling(x.shape[1], 2 * x.shape[1], "nearest"), tensor(x).float()
    return module(images), module(torch.ones_like(images))


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
