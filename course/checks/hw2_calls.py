"""How functions of homework 2 are asked: arrays in, arrays out.  `student` is the adapter."""

from __future__ import annotations

import torch
from torch import nn

tensor = torch.from_numpy
LOSSES = ("cross-entropy", "least-squares", "hinge", "wasserstein")
GENERATOR_LOSSES = ("minimax", "non-saturating", "least-squares", "linear")


def upsample(student, x, which):
    """Output, its kernel if it has one, else its size alone."""
    module = student.upsample(x.shape[1], ("transposed", "nearest")[int(which)])
    return module(tensor(x).float())


def cspup_block(student, x):
    """The output for random weights, then the weights in the order of registration."""
    torch.manual_seed(3)
    block = student.cspup_block(x.shape[1])
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(0, 0.3)
    return block(tensor(x).float()), *block.parameters()


def cspup_gradients(student, x):
    """How many parameters get a gradient that is not 0, of how many; whether the input's halves do."""
    torch.manual_seed(3)
    block, images = student.cspup_block(x.shape[1]), tensor(x).float().requires_grad_()
    block(images).square().sum().backward()
    found = [p.grad is not None and bool(p.grad.any()) for p in block.parameters()]
    halves = images.grad.chunk(2, 1)
    return sum(found), len(found), [float(half.abs().sum()) for half in halves]


def cspup_generator(student, z, size, denominator, tanh):
    """Images, again for the same z, the number of parameters, and singular values (D,) of how z changes the
    images: 2 D random sums of pixels are derived by z."""
    torch.manual_seed(4)
    generator = student.cspup_generator(
        int(size), 1 / int(denominator), z.shape[1], "tanh" if tanh else "relu"
    )
    count = sum(p.numel() for p in generator.parameters())
    with torch.no_grad():
        for parameter in generator.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.15)
        latents = tensor(z).float()
        images, again = generator(latents), generator(latents)
    point = latents[:1].repeat(2 * z.shape[1], 1).requires_grad_()
    shown = generator(point)
    (slopes,) = torch.autograd.grad((shown * torch.randn_like(shown)).sum(), point)
    return images, again, count, torch.linalg.svdvals(slopes)


def generator_gradients(student, z):
    """How many parameters get a gradient, of how many."""
    torch.manual_seed(4)
    generator = student.cspup_generator(32, 1 / 64, z.shape[1], "tanh")
    generator(tensor(z).float()).square().sum().backward()
    return sum(p.grad is not None and bool(p.grad.any()) for p in generator.parameters()), sum(
        1 for _ in generator.parameters()
    )


def discriminator_loss(student, which, real, fake):
    return student.discriminator_loss(LOSSES[int(which)], tensor(real), tensor(fake))


def smoothed_discriminator_loss(student, real, fake, real_label, fake_label):
    return student.smoothed_discriminator_loss(
        tensor(real), tensor(fake), float(real_label), float(fake_label)
    )


def generator_loss(student, which, fake):
    return student.generator_loss(GENERATOR_LOSSES[int(which)], tensor(fake))


class _Quadratic(nn.Module):
    """scale * (a . x + b |x|^2 / 2) of every image: its gradient is scale * (a + b x)."""

    def __init__(self, a, b: float):
        super().__init__()
        self.a, self.b = tensor(a), b
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, images):
        return self.scale * (self.a * images + self.b * images.square() / 2).flatten(1).sum(1)


def r1_penalty(student, real, a, b):
    """The penalty (B,), and its derivative by the discriminator's one weight."""
    judge = _Quadratic(a, float(b))
    penalty = student.r1_penalty(judge, tensor(real))
    if not penalty.requires_grad:
        return penalty, 0.0
    return penalty, torch.autograd.grad(penalty.sum(), judge.scale)[0]


def gradient_penalty(student, real, fake, a, b):
    torch.manual_seed(5)
    return student.gradient_penalty(_Quadratic(a, float(b)), tensor(real), tensor(fake))


def smoothed_labels(student, count, low, high):
    labels = student.smoothed_labels(torch.zeros(int(count)), float(low), float(high))
    return torch.as_tensor(labels, dtype=torch.float64).expand(int(count))


def instance_noise(student, images, strength, share_done):
    torch.manual_seed(6)
    return student.instance_noise(tensor(images), float(strength), float(share_done))


def penalty_of_step(student, real, a, steps, gamma, every, gradient_penalty):
    """Of each step; WGAN-GP's where it has a weight."""
    judge, real = _Quadratic(a, 0.0), tensor(real)
    more = {"gradient_penalty": float(gradient_penalty)} if gradient_penalty else {}
    given = float(gamma), int(every)
    found = [student.penalty_of_step(judge, real, real, int(step), *given, **more) for step in steps]
    return [float(torch.as_tensor(each).detach()) for each in found]


class _Generator(nn.Module):
    latent = 5

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 3 * 32 * 32)

    def forward(self, z):
        return self.layer(z).tanh().unflatten(1, (3, 32, 32))


class _Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 1)

    def forward(self, images, labels=None):
        return self.layer(images.flatten(1))[:, 0]


def one_step(student, real, generator_rate, discriminator_rate, old_gradient):
    """How far each player's weights move, and the mean logits of real and of generated images before and
    after.  old_gradient: what lies in every gradient when the step begins."""
    torch.manual_seed(7)
    generator, discriminator, real = _Generator(), _Discriminator(), tensor(real).float()
    players = (generator, discriminator)
    rates = (float(generator_rate), float(discriminator_rate))
    optimisers = [torch.optim.SGD(net.parameters(), lr=rate) for net, rate in zip(players, rates)]
    for net in players:
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, float(old_gradient))
    before = [[p.detach().clone() for p in net.parameters()] for net in players]
    z = torch.randn(256, 5)
    logits = lambda: [float(discriminator(real).mean()), float(discriminator(generator(z)).mean())]
    with torch.no_grad():
        first = logits()
    student.one_step(generator, discriminator, *optimisers, real)
    moved = [
        max(float((p.detach() - old).abs().max()) for p, old in zip(net.parameters(), olds))
        for net, olds in zip(players, before)
    ]
    with torch.no_grad():
        return moved, first, logits()


def step_with_penalty(student, real, rate, r1_gamma, gradient_penalty):
    """D's weights before and after a step with one of the two penalties."""
    torch.manual_seed(7)
    generator, discriminator = _Generator(), _Discriminator()
    optimisers = [torch.optim.SGD(net.parameters(), lr=float(rate)) for net in (generator, discriminator)]
    before = discriminator.layer.weight.detach().clone()
    more = {"r1_gamma": float(r1_gamma)} if r1_gamma else {"gradient_penalty": float(gradient_penalty)}
    student.one_step(generator, discriminator, *optimisers, tensor(real).float(), **more)
    return before, discriminator.layer.weight


class _Flat(nn.Module):
    """Every z as an image of one value, but for next to nothing."""

    latent = 5

    def __init__(self, value: float):
        super().__init__()
        self.value, self.weight = value, nn.Parameter(torch.zeros(5))

    def forward(self, z):
        return self.value + (z @ self.weight)[:, None, None, None].expand(-1, 3, 32, 32)


class _Watching(_Discriminator):
    """Keeps what it sees, and its weight at that time."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images, labels=None):
        self.seen.append((self.layer.bias.item(), images.detach().float().clone()))
        return super().forward(images, labels)


def seen_in_step(student, value, instance_noise, augmented):
    """Images that D sees in a step, first in its own update, then in the generator's, and how many of them
    in its own.  Real ones have the value everywhere, generated ones minus the value."""
    torch.manual_seed(7)
    generator, discriminator = _Flat(-float(value)), _Watching()
    optimisers = [torch.optim.SGD(net.parameters(), lr=1e-3) for net in (generator, discriminator)]
    begin = discriminator.layer.bias.item()
    real = torch.full((8, 3, 32, 32), float(value))
    policies = {"augment": ("translation", "cutout")} if augmented else {}
    more = {"instance_noise": float(instance_noise)} if instance_noise else policies
    student.one_step(generator, discriminator, *optimisers, real, **more)
    own = [images for bias, images in discriminator.seen if bias == begin]
    images = torch.cat([images for _, images in discriminator.seen])
    return images, sum(map(len, own))
