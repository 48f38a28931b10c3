"""How functions of homework 3 are asked: arrays in, arrays out.  `student` is the adapter."""

from __future__ import annotations

import torch
from torch import nn

tensor = torch.from_numpy


def modulated_convolution(student, x, weight, style, up):
    return student.modulated_convolution(tensor(x), tensor(weight), tensor(style), bool(up))


def demodulation(student, weight, style):
    return student.demodulation(tensor(weight), tensor(style))


def truncate(student, ws, w_mean, psi, cutoff):
    return student.truncate(tensor(ws), tensor(w_mean), float(psi), None if cutoff < 0 else int(cutoff))


def mix(student, own, other, layers):
    """The mixed styles, and the first ones afterwards."""
    own = tensor(own)
    return student.mix(own, tensor(other), [int(layer) for layer in layers]), own


def towards_nearest(student, w, centres, psi):
    return student.towards_nearest(tensor(w), tensor(centres), float(psi))


class _Linear(nn.Module):
    """Its image is a linear function of the styles; it says nothing of noise."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix, self.layers = tensor(matrix), matrix.shape[0]  # (L, D, C, S, S)

    def styles(self, z, *args, **kwargs):
        return z[:, None].expand(-1, self.layers, -1)

    def synthesis(self, ws, noise_mode="const"):
        return torch.einsum("bld,ldcij->bcij", ws, self.matrix)


def two_latents(student, z, other, cut, matrix):
    return student.two_latents(_Linear(matrix), tensor(z), tensor(other), tensor(cut))


def r1_of_step(student, real, a, step, gamma, every):
    a = tensor(a)
    judge = lambda images: (a * images).flatten(1).sum(1)
    return float(student.r1_of_step(judge, tensor(real), int(step), float(gamma), int(every)))


def path_lengths(student, ws, matrix):
    """The lengths, whether gradients go through them, and the noise that randn_like gives."""
    generator, ws = _Linear(matrix), tensor(ws).requires_grad_()
    generator.matrix.requires_grad_()
    torch.manual_seed(8)
    lengths = student.path_lengths(generator, ws)
    torch.manual_seed(8)
    noise = torch.randn_like(generator.synthesis(ws))
    through = (
        lengths.requires_grad
        and torch.autograd.grad(lengths.sum(), generator.matrix, allow_unused=True)[0] is not None
    )
    return lengths, float(through), noise


def path_penalty(student, z, matrix):
    """The penalty of the first call (B,) and the mean after it, beside the lengths of the same noise (B,)."""
    generator, penalty = _Linear(matrix).float(), student.path_penalty()
    generator.matrix = generator.matrix.float()
    latents = tensor(z).float().requires_grad_()
    torch.manual_seed(9)
    found = penalty(generator, latents)
    torch.manual_seed(9)
    lengths = student.path_lengths(generator, generator.styles(latents))
    return found, float(penalty.mean), lengths


def pixel_distance(student, targets, images):
    return student.pixel_distance(tensor(targets), tensor(images))


def correlation(student, noise):
    return student.correlation(tensor(noise))


def moved(student, ws, direction, strength, layers):
    """The moved styles, and the first ones afterwards."""
    ws = tensor(ws)
    return student.moved(ws, tensor(direction), float(strength), [int(each) for each in layers]), ws


def towards(student, ws, others, strength, layers):
    """The moved styles, and the first ones afterwards."""
    ws = tensor(ws)
    return student.towards(ws, tensor(others), float(strength), [int(each) for each in layers]), ws


def projection(student, z, every_layer, noise):
    """Distances (steps + 1, 2), ws (2, L, D), and how far the generator's weights moved."""
    torch.manual_seed(10)

    def targets_of(generator):
        with torch.no_grad():
            w = generator.mapping(tensor(z).float())
            return generator.synthesis(w[:, None].expand(-1, generator.layers, -1), "const")

    space = "w+" if every_layer else "w"
    distances, ws, before, after = student.projection(8, bool(noise), targets_of, space, 60)
    return distances, ws, float((after - before).abs().max())
