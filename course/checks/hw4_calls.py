"""How functions of homework 4 are asked: arrays in, arrays out.  `student` is the adapter."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

tensor = torch.from_numpy
PREDICTIONS = ("epsilon", "x0", "v", "flow")
SAMPLERS = ("ancestral", "ddim", "dpm-solver++")
PROMPTS = ("a sad sks person, green hoodie", "a smiling sks person")
"""The first asks for an expression, clothes and their colour, the second for an expression."""


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


class _Line(nn.Module):
    """a x_t + b t / T."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.tensor(float(number))) for number in (a, b))

    def forward(self, x, share):
        return self.a * x + self.b * share.float().reshape(-1, 1, 1, 1)


def ddpm_step(student, which, x0, eps, t, alpha, sigma, steps, start, rate):
    """a and b after one step, and after one that finds large gradients of an earlier step."""
    after = []
    for old in (0.0, 1e6):
        network = _Line(*start)
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, old)
        optimizer = torch.optim.SGD(network.parameters(), lr=float(rate))
        of_images = [tensor(each).float() for each in (x0, eps, alpha, sigma)]
        student.ddpm_step(
            network, optimizer, PREDICTIONS[int(which)], *of_images[:2], tensor(t), *of_images[2:], int(steps)
        )
        after.append(torch.stack([network.a, network.b]))
    return after


# ---- a subject


def both_halves(student, x0, ids, x0_of_class, of_class):
    return student.both_halves(*map(tensor, (x0, ids, x0_of_class, of_class)))


def dreambooth_loss(student, errors, weight):
    """A weight below 0: without the class."""
    return student.dreambooth_loss(tensor(errors), float(weight) if weight >= 0 else None)


class _Gaussian:
    """latent_dist of diffusers' autoencoder."""

    def __init__(self, mean, std, noise):
        self.mean, self.std, self.var, self.logvar = mean, std, std**2, 2 * std.log()
        self.noise = noise

    def sample(self, generator=None):
        return self.mean + self.std * self.noise

    def mode(self):
        return self.mean


def latents_of(student, images, mean, std, noise, scale):
    gaussian = _Gaussian(tensor(mean).float(), tensor(std).float(), tensor(noise).float())
    autoencoder = SimpleNamespace(
        encode=lambda x: SimpleNamespace(latent_dist=gaussian),
        dtype=torch.float32,
        config=SimpleNamespace(scaling_factor=float(scale)),
    )
    drawn = SimpleNamespace(normal=lambda *shape: gaussian.noise)
    return student.latents_of(autoencoder, tensor(images).float(), drawn)


def lora_parameters(student, rank):
    """Of a layer 6 -> 4 and one 5 -> 7."""
    sizes = {"down.to_q": (6, 4), "up.to_k": (5, 7)}
    layers = {name: student.lora_layer(nn.Linear(*size), int(rank), 4.0) for name, size in sizes.items()}
    return np.asarray(float(student.lora_parameters(layers)))


def prompts_with_seeds(student, count, first, seeds):
    """Which prompt and which seed every image has, (2, N)."""
    texts = tuple(f"prompt {i}" for i in range(int(count)))
    said, drawn = student.prompts_with_seeds(texts, int(first), int(seeds))
    return np.array([[texts.index(text) for text in said], list(drawn)])


def obeyed(student, expression, clothes, clothes_color, which):
    shown = {"expression": expression, "clothes": clothes, "clothes_color": clothes_color}
    prompts = [PROMPTS[int(each)] for each in which]
    return np.asarray(float(student.obeyed({name: tensor(each) for name, each in shown.items()}, prompts)))


def drift(student, *options):
    """Of two attributes before, and of the same after."""
    before, after = (
        dict(zip(("expression", "clothes"), map(tensor, half))) for half in (options[:2], options[2:])
    )
    return np.asarray(float(student.drift(before, after)))


# ---- edges


class _Copy(nn.Module):
    """A ControlNet as diffusers has it, with one number to learn."""

    def __init__(self):
        super().__init__()
        self.strength = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, sample, timestep, encoder_hidden_states, controlnet_cond, conditioning_scale=1.0,
                return_dict=True, **other):  # fmt: skip
        told = encoder_hidden_states.mean((1, 2)) + timestep / 1000
        small = nn.functional.adaptive_avg_pool2d(controlnet_cond, sample.shape[-2:]).mean(1, keepdim=True)
        found = self.strength * conditioning_scale * (small + 0.1 * sample + told[:, None, None, None])
        down, middle = (found, 2 * found), 3 * found.square()
        if not return_dict:
            return down, middle
        return SimpleNamespace(down_block_res_samples=down, mid_block_res_sample=middle)


class _UNet(nn.Module):
    """A U-Net as diffusers has it, which adds what it is given."""

    def forward(self, sample, timestep, encoder_hidden_states, down_block_additional_residuals=None,
                mid_block_additional_residual=None, return_dict=True, **other):  # fmt: skip
        told = encoder_hidden_states.mean((1, 2)) + timestep / 1000
        out = 0.5 * sample + told[:, None, None, None]
        out = out + sum(down_block_additional_residuals or ())
        if mid_block_additional_residual is not None:
            out = out + mid_block_additional_residual
        return SimpleNamespace(sample=out) if return_dict else (out,)


def controlled(student, z_t, t, words, condition):
    """The output, and whether a gradient reaches the copy."""
    copy = _Copy()
    out = student.controlled(_UNet(), copy)(*map(tensor, (z_t, t, words, condition)))
    moves = out.requires_grad and bool(torch.autograd.grad(out.sum(), copy.strength)[0])
    return out, float(moves)


def rows_of_prompts(student, index, chance, share):
    return student.rows_of_prompts(tensor(index), tensor(chance), float(share))


def edges_agree(student, found, wanted):
    return student.edges_agree(tensor(found), tensor(wanted))
