"""How functions of homework 4 are asked: arrays in, arrays out.  `student` is the adapter."""

from __future__ import annotations

import numpy as np
import torch

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
