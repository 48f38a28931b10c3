"""How functions of homework 4 are asked: arrays in, arrays out.  `student` is the adapter."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

tensor = torch.from_numpy
PREDICTIONS = ("epsilon", "x0", "v", "flow")
SAMPLERS = ("ancestral", "ddim", "dpm-solver++")


def encode(student, images, mean, components, variance):
    encoder = student.linear_encoder(tensor(mean), tensor(components), tensor(variance), images.shape[1:])
    return encoder.encode(tensor(images))


def decode(student, latents, mean, components, variance, shape):
    sides = tuple(int(side) for side in shape)
    encoder = student.linear_encoder(tensor(mean), tensor(components), tensor(variance), sides)
    return encoder.decode(tensor(latents))


def linear_features(student, x, captions, products):
    return student.linear_features(tensor(x), tensor(captions), bool(products))


def normal_equations(student, latents, captions, products, alpha, sigma):
    return student.normal_equations(
        tensor(latents), tensor(captions), bool(products), float(alpha), float(sigma)
    )


def ridge(student, left, right, penalty):
    return student.ridge(tensor(left), tensor(right), float(penalty))


def betas(student, which, steps):
    return student.betas(("linear", "cosine")[int(which)], int(steps))


def noised(student, x0, eps, alpha, sigma):
    return student.noised(tensor(x0), tensor(eps), tensor(alpha), tensor(sigma))


def posterior(student, x_t, x0, numbers):
    mean, variance = student.posterior(tensor(x_t), tensor(x0), *map(float, numbers))
    return mean, np.asarray(float(variance))


def target(student, which, x0, eps, alpha, sigma):
    return student.target(PREDICTIONS[int(which)], *map(tensor, (x0, eps, alpha, sigma)))


def image_and_noise(student, which, output, x_t, alpha, sigma):
    return student.image_and_noise(PREDICTIONS[int(which)], *map(tensor, (output, x_t, alpha, sigma)))


def simple_loss(student, output, wanted):
    return student.simple_loss(tensor(output), tensor(wanted))


def forget_classes(student, labels, chance, share, classes):
    return student.forget_classes(tensor(labels), tensor(chance), float(share), int(classes))


def guided(student, with_class, without, scale):
    return student.guided(tensor(with_class), tensor(without), float(scale))


def _linear(weight, bias):
    layer = nn.Linear(*weight.shape[::-1], dtype=torch.float64)
    layer.load_state_dict({"weight": tensor(weight), "bias": tensor(bias)})
    return layer


def _lora(student, weight, bias, down, up, alpha):
    layer = student.lora_layer(_linear(weight, bias), len(down), float(alpha)).double()
    with torch.no_grad():
        layer.down.copy_(tensor(down))
        layer.up.copy_(tensor(up))
    return layer


def lora_output(student, x, weight, bias, down, up, alpha):
    return _lora(student, weight, bias, down, up, alpha)(tensor(x))


def lora_beginning(student, x, weight, bias):
    """The output of a fresh layer; whether A, B and the frozen weight get a gradient other than 0."""
    torch.manual_seed(14)
    layer = student.lora_layer(_linear(weight, bias), 2, 2.0).double()
    out = layer(tensor(x))
    out.square().sum().backward()
    moves = lambda p: float(p.grad is not None and bool(p.grad.any()))
    frozen = [p for name, p in layer.named_parameters() if p is not layer.down and p is not layer.up]
    return out, [moves(layer.down), moves(layer.up), max(map(moves, frozen), default=0.0)]


def lora_merged(student, x, weight, bias, down, up, alpha):
    """The weight of the merged layer, and its output."""
    merged = _lora(student, weight, bias, down, up, alpha).merged()
    return merged.weight, merged(tensor(x))


class _Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(6, 4) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(4, 6), nn.Dropout(0.0)])
        self.proj_in, self.norm_to_q_like = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        return self.norm_to_q_like(self.proj_in(self.to_out[0](self.to_q(x) + self.to_k(x) * self.to_v(x))))


def insert_lora(student, rank):
    """How many layers were replaced, and how many numbers are trained of how many tensors."""
    network = nn.ModuleDict({"down": _Attention(), "up": _Attention()})
    layers = student.insert_lora(network, int(rank), 4.0)
    trained = [p for p in network.parameters() if p.requires_grad]
    return len(layers), sum(p.numel() for p in trained), len(trained)


def sample(student, which, x, alpha, sigma, times, pull, eta, noise):
    """Images after every step (steps, B, C, H, W), and how often noise was drawn.

    The denoiser's guess is a fixed picture and a part of x_t; noise is drawn from `noise`, row by row."""
    picture, drawn = tensor(pull), []
    path = tensor(alpha), tensor(sigma)

    def denoise(x_t, t):
        x0 = 0.3 * x_t + picture
        return x0, (x_t - path[0][t] * x0) / path[1][t]

    def randn(like):
        drawn.append(len(drawn))
        return tensor(noise)[drawn[-1]]

    steps = student.sample(
        SAMPLERS[int(which)], denoise, *path, [int(t) for t in times], tensor(x), float(eta), randn
    )
    return torch.stack(steps), len(drawn)
