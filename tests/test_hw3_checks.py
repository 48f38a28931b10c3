"""The checks of homework 3: the course's own solution is right, and typical mistakes are told by name."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from wrong_solutions import verdicts, words

from course.checks import hw3_adapter as right
from course.checks.questions import RIGHT


@pytest.mark.parametrize("seed", [0, 1, 20240330])
def test_the_courses_own_solution_is_right(seed):
    found = verdicts("hw3", seed)
    assert [f"{each.question.title}: {each.words}" for each in found if each.status != RIGHT] == []


def demodulated_already(x, weight, style, up):
    y = right.modulated_convolution(x, weight, style, up)
    return y * right.demodulation(weight, style)[:, :, None, None]


def without_gain(x, weight, style, up):
    return right.modulated_convolution(x, weight, style, up) / (4 if up else 1)


def by_interpolation(x, weight, style, up):
    """As many do it: enlarge first, then convolve."""
    x = F.interpolate(x, scale_factor=2) if up else x
    return right.modulated_convolution(x, weight, style, False)


def average_of_layers(own, other, layers):
    mixed = own.clone()
    mixed[layers] = (own[layers] + other[layers]) / 2
    return mixed


def in_place(own, other, layers):
    own[layers] = other[layers]
    return own


def exchanged(generator, z, other, cut):
    return right.two_latents(generator, other, z, cut)


def last_layer_first(generator, z, other, cut):
    return right.two_latents(generator, z, other, cut + 1)


def lengths(*, scale=True, root=True, mean=True, create=True):
    def path_lengths(generator, ws):
        images = generator.synthesis(ws, "random")
        noise = torch.randn_like(images) / (images.shape[-1] if scale else 1)
        (gradient,) = torch.autograd.grad((images * noise).sum(), ws, create_graph=create)
        squares = gradient.square().sum(2)
        squares = squares.mean(1) if mean else squares.sum(1)
        return squares.sqrt() if root else squares

    return path_lengths


class Penalty:
    """Compares with the mean of the batch."""

    def __init__(self):
        self.mean = torch.zeros(())

    def __call__(self, generator, z):
        found = right.path_lengths(generator, generator.styles(z))
        self.mean = self.mean.lerp(found.detach().mean(), 0.01)
        return (found - found.mean()).square()


class Replaced(Penalty):
    def __call__(self, generator, z):
        found = right.path_lengths(generator, generator.styles(z))
        self.mean = found.detach().mean()
        return (found - self.mean).square()


def correlation(*, sizes=(32, 16, 8), axes=(2, 3), power=2):
    def found(noise):
        total = noise.new_zeros(())
        for size in sizes:
            while noise.shape[-1] > size:
                noise = F.avg_pool2d(noise, 2)
            for axis in axes:
                total = total + ((noise * noise.roll(1, axis)).mean((1, 2, 3)) ** power).sum()
        return total

    return found


def stuck(size, noise, targets_of, space, steps):
    distances, ws, before, after = right.projection(size, noise, targets_of, space, steps)
    return distances[:1].repeat(steps + 1, 1), ws, before, after


def one_space(size, noise, targets_of, space, steps):
    return right.projection(size, noise, targets_of, "w+", steps)


def moved(size, noise, targets_of, space, steps):
    distances, ws, before, after = right.projection(size, noise, targets_of, space, steps)
    return distances, ws, before, after + 0.01


MISTAKES = [
    ("modulated_convolution", demodulated_already, "", "demodulated already"),
    ("modulated_convolution", without_gain, "", "the gain of 4 is missing"),
    ("modulated_convolution", by_interpolation, "", "expected"),
    (
        "modulated_convolution",
        lambda x, w, s, up: right.modulated_convolution(x, w, 1 + s, up),
        "",
        "begins at 1",
    ),
    ("demodulation", lambda w, s: 1 / right.demodulation(w, s), "", "this is the standard deviation"),
    ("demodulation", lambda w, s: right.demodulation(w, s) ** 2, "", "the root is missing"),
    ("demodulation", lambda w, s: right.demodulation(w, torch.ones_like(s)), "", "the style is left out"),
    ("truncate", lambda ws, mean, psi, cut: psi * ws, "", "truncation goes towards the mean w"),
    ("truncate", lambda ws, mean, psi, cut: mean + psi * ws, "", "the distance from the mean is scaled"),
    (
        "truncate",
        lambda ws, mean, psi, cut: right.truncate(ws, mean, psi, None),
        "",
        "the cutoff is left out",
    ),
    ("mix", lambda own, other, layers: right.mix(other, own, layers), "", "the layers are exchanged"),
    ("mix", average_of_layers, "", "they are replaced"),
    ("mix", in_place, "", "copy them"),
    ("towards_nearest", lambda w, c, psi: c.mean(0) + psi * (w - c.mean(0)), "", "each w has a nearest one"),
    ("two_latents", exchanged, "", "the latents are exchanged"),
    ("two_latents", last_layer_first, "", "the layer at the cut belongs to the second latent"),
    (
        "r1_of_step",
        lambda d, x, step, gamma, every: right.r1_of_step(d, x, every, gamma, every) / every,
        "",
        "counts 16 times as much",
    ),
    (
        "r1_of_step",
        lambda d, x, step, gamma, every: right.r1_of_step(d, x, step, 2 * gamma, every),
        "",
        "without its 1/2",
    ),
    ("path_lengths", lengths(scale=False), "", "not divided by the side"),
    ("path_lengths", lengths(root=False), "", "the root is missing"),
    ("path_lengths", lengths(mean=False), "", "take their mean"),
    ("path_lengths", lengths(create=False), "", "create_graph=True is missing"),
    ("path_penalty", Penalty, "", "compare with the remembered one"),
    ("path_penalty", Replaced, "", "it moves by 1 % of the way"),
    ("pixel_distance", lambda x, y: (x - y).abs().mean((1, 2, 3)), "", "half as large"),
    (
        "pixel_distance",
        lambda x, y: (x - y).square().mean((1, 2, 3)) / 4,
        "",
        "the absolute difference is meant",
    ),
    ("correlation", correlation(sizes=(32,)), "", "a picture may hide"),
    ("correlation", correlation(axes=(2,)), "", "only one direction"),
    ("correlation", correlation(power=1), "", "the square is missing"),
    ("moved", lambda ws, d, strength, layers: ws + strength * d, "", "only those named are"),
    (
        "moved",
        lambda ws, d, strength, layers: right.moved(ws, d, 1.0, layers),
        "",
        "the strength is left out",
    ),
    (
        "towards",
        lambda ws, o, strength, layers: right.towards(ws, o, 1.0, layers),
        "",
        "the layers are replaced",
    ),
    ("towards", lambda ws, o, strength, layers: right.towards(o, ws, strength, layers), "", "expected"),
    ("projection", stuck, "", "the styles do not move"),
    ("projection", one_space, "", "in W one w serves all layers"),
    ("projection", moved, "", "the generator's weights move"),
]


@pytest.mark.parametrize(("function", "wrong", "call", "said"), MISTAKES)
def test_a_typical_mistake_is_told_by_its_name(function, wrong, call, said):
    assert said in words("hw3", function, wrong, call)


def test_solutions_written_otherwise_are_right():
    """Weights of its own for every image, as the paper has it; correlation with loops."""

    def by_groups(x, weight, style, up):
        if up:
            return right.modulated_convolution(x, weight, style, up)
        b, _, h, w = x.shape
        kernels = (weight[None] * style[:, None, :, None, None]).flatten(0, 1)
        return F.conv2d(x.reshape(1, -1, h, w), kernels, padding=1, groups=b).reshape(b, -1, h, w)

    found = verdicts("hw3", only="modulated_convolution", modulated_convolution=by_groups)
    found += verdicts("hw3", only="correlation", correlation=correlation())
    found += verdicts("hw3", only="path_lengths", path_lengths=lengths())
    assert {each.status for each in found} == {RIGHT}
