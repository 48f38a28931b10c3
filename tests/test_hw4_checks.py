"""The checks of homework 4: the course's own solution is right, and typical mistakes are told by name."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from wrong_solutions import verdicts, words

from course.checks import hw4_adapter as right
from course.checks.questions import RIGHT


@pytest.mark.parametrize("seed", [0, 1, 20240421])
def test_the_courses_own_solution_is_right(seed):
    found = verdicts("hw4", seed)
    assert [f"{each.question.title}: {each.words}" for each in found if each.status != RIGHT] == []


class Encoder:
    """An encoder as a student writes it, with a mistake."""

    def __init__(self, mean, components, variance, shape, *, centre=True, unit=True):
        self.mean, self.components, self.shape = mean if centre else 0 * mean, components, shape
        self.unit = variance.mean().sqrt() if unit else torch.ones(())

    def encode(self, images):
        x = images.double().flatten(1) / 127.5 - 1
        return (x - self.mean) @ self.components.T / self.unit

    def decode(self, latents):
        return (self.mean + self.unit * latents @ self.components).unflatten(1, self.shape)


def equations(*, noise=lambda sigma: sigma**2, scaled=True):
    def normal_equations(z, c, products, alpha, sigma):
        multipliers = torch.cat([torch.ones(len(z), 1, dtype=z.dtype), c], 1)
        signal = alpha if scaled else 1.0
        phi = torch.cat([c, (multipliers[:, :, None] * (signal * z)[:, None]).flatten(1)], 1)
        left = phi.T @ phi / len(z)
        size = c.shape[1]
        share = multipliers.T @ multipliers / len(z)
        left[size:, size:] += noise(sigma) * torch.kron(share, torch.eye(z.shape[1], dtype=z.dtype))
        return left, phi.T @ z / len(z)

    return normal_equations


def of(kind, function, name):
    """One prediction wrong, the others right."""
    return lambda which, *given: function(*given) if which == kind else getattr(right, name)(which, *given)


def of_sampler(kind, function):
    return lambda name, *given: function(*given) if name == kind else right.sample(name, *given)


def ancestral(*, last=False, silent=False, variance=False):
    """Algorithm 2 of Ho et al., with a mistake."""

    def sample(denoise, alpha, sigma, times, x, eta, randn):
        found = []
        for t, s in pairwise(times):
            x0, _ = denoise(x, t)
            x, spread = right.posterior(x, x0, alpha[t], sigma[t], alpha[s], sigma[s])
            if (s > 0 or last) and not silent:
                x = x + (spread if variance else spread.sqrt()) * randn(x)
            found.append(x)
        return found

    return sample


def ddim(*, image_scaled=True, keep=False, eta_used=True, of_t=False):
    def sample(denoise, alpha, sigma, times, x, eta, randn):
        found = []
        for t, s in pairwise(times):
            x0, eps = denoise(x, t)
            std = eta * right.posterior(x, x0, alpha[t], sigma[t], alpha[s], sigma[s])[1].sqrt()
            rest = sigma[t] if of_t else sigma[s] if keep else (sigma[s] ** 2 - std**2).clamp_min(0).sqrt()
            x = (alpha[s] if image_scaled else 1) * x0 + rest * eps
            if eta_used and std > 0:
                x = x + std * randn(x)
            found.append(x)
        return found

    return sample


def dpm(*, halves=True, order=2, upside_down=False):
    def sample(denoise, alpha, sigma, times, x, eta, randn):
        lam, found, before, h_before = alpha.log() - sigma.log(), [], None, None
        for t, s in pairwise(times):
            x0, _ = denoise(x, t)
            h = (lam[s] - lam[t]).item()
            guess = x0
            if before is not None and s > 0 and order == 2:
                ratio = h_before / h if upside_down else h / h_before
                guess = x0 + ratio / (2 if halves else 1) * (x0 - before)
            x = sigma[s] / sigma[t] * x - alpha[s] * math.expm1(-h) * guess
            before, h_before = x0, h
            found.append(x)
        return found

    return sample


class LoRA(torch.nn.Module):
    """A layer as a student writes it, with a mistake."""

    def __init__(
        self, frozen, rank, alpha, *, scale=lambda alpha, rank: alpha / rank, zero=True, freeze=True
    ):
        super().__init__()
        self.frozen, self.scale = frozen.requires_grad_(not freeze), scale(alpha, rank)
        self.down = torch.nn.Parameter(torch.randn(rank, frozen.in_features))
        start = torch.zeros if zero else torch.randn
        self.up = torch.nn.Parameter(start(frozen.out_features, rank))

    def forward(self, x):
        return self.frozen(x) + self.scale * x @ self.down.T @ self.up.T

    def merged(self):
        with torch.no_grad():
            self.frozen.weight += self.scale * self.up @ self.down
        return self.frozen


def without_scale(alpha, rank):
    return 1


def not_frozen(network, rank, alpha):
    layers = right.insert_lora(network, rank, alpha)
    network.requires_grad_(True)
    return layers


MISTAKES = [
    ("lora_layer", lambda *given: LoRA(*given, scale=without_scale), "lora_output", "alpha / r is missing"),
    ("lora_layer", lambda *given: LoRA(*given, scale=lambda a, r: a), "lora_output", "yours is alpha"),
    ("lora_layer", lambda *given: LoRA(*given, scale=without_scale), "lora_merged", "alpha / r is missing"),
    ("lora_layer", lambda *given: LoRA(*given, zero=False), "lora_beginning", "B begins at 0"),
    ("lora_layer", lambda *given: LoRA(*given, freeze=False), "lora_beginning", "freeze it"),
    ("insert_lora", not_frozen, "", "freeze all others"),
    (
        "insert_lora",
        lambda network, rank, alpha: right.insert_lora(network["up"], rank, alpha),
        "",
        "yours are 0",
    ),
    (
        "linear_encoder",
        lambda *given: Encoder(*given, centre=False),
        "encode",
        "the mean image is not subtracted",
    ),
    ("linear_encoder", lambda *given: Encoder(*given, unit=False), "encode", "the unit is missing"),
    ("linear_encoder", lambda *given: Encoder(*given, centre=False), "decode", "the mean image is not added"),
    ("linear_features", lambda x, c, products: torch.cat([c, x], 1), "", "the products are missing"),
    ("linear_features", lambda x, c, p: right.linear_features(x, c, p)[:, 3:], "", "the caption is missing"),
    ("normal_equations", equations(noise=lambda sigma: 0), "", "the noise is missing"),
    ("normal_equations", equations(noise=lambda sigma: sigma), "", "it is sigma^2"),
    ("normal_equations", equations(scaled=False), "", "not scaled by alpha"),
    ("ridge", lambda a, b, penalty: torch.linalg.solve(a, b), "", "the penalty is left out"),
    ("ridge", lambda a, b, penalty: torch.linalg.solve(a + penalty, b), "", "it belongs to the diagonal"),
    ("betas", lambda name, steps: 1 - right.betas(name, steps), "", "these are alphas"),
    (
        "betas",
        of("linear", lambda T: torch.linspace(1e-4, 0.02, T, dtype=torch.float64), "betas"),
        "",
        "scale by 1000",
    ),
    ("noised", lambda x, e, a, s: a.sqrt() * x + s.sqrt() * e, "", "roots are taken"),
    ("noised", lambda x, e, a, s: s * x + a * e, "", "alpha and sigma are exchanged"),
    ("posterior", lambda x, x0, *p: (right.posterior(x, x0, *p)[0], p[3] ** 2), "", "this is sigma_s^2"),
    ("posterior", lambda x, x0, *p: right.posterior(x0, x, *p), "", "are exchanged"),
    ("target", of("v", lambda x, e, a, s: s * x - a * e, "target"), "", "the sign is wrong"),
    ("target", of("v", lambda x, e, a, s: a * e + s * x, "target"), "", "v has a minus"),
    ("target", of("flow", lambda x, e, a, s: x - e, "target"), "", "goes from the image to the noise"),
    (
        "image_and_noise",
        of("epsilon", lambda o, x, a, s: (x - s * o, o), "image_and_noise"),
        "",
        "by alpha is missing",
    ),
    (
        "image_and_noise",
        of("v", lambda o, x, a, s: (a * x + s * o, s * x - a * o), "image_and_noise"),
        "",
        "the sign of v is wrong",
    ),
    ("simple_loss", lambda a, b: (a - b).square().mean(), "", "one value for each image"),
    ("simple_loss", lambda a, b: (a - b).square().flatten(1).sum(1), "", "take the mean"),
    ("guided", lambda a, b, scale: a + scale * (a - b), "", "one less: here 1 leaves the output"),
    ("guided", lambda a, b, scale: a + scale * (b - a), "", "are exchanged"),
    (
        "forget_classes",
        lambda labels, chance, share, k: torch.where(chance < share, 0, labels),
        "",
        "the number K, not 0",
    ),
    (
        "forget_classes",
        lambda labels, chance, share, k: torch.where(chance > share, k, labels),
        "",
        "expected",
    ),
    ("sample", of_sampler("ancestral", ancestral(last=True)), "", "not in the last"),
    ("sample", of_sampler("ancestral", ancestral(silent=True)), "", "no noise is added between the steps"),
    ("sample", of_sampler("ancestral", ancestral(variance=True)), "", "its root is the standard deviation"),
    ("sample", of_sampler("ddim", ddim(image_scaled=False)), "", "not scaled by alpha_s"),
    ("sample", of_sampler("ddim", ddim(of_t=True)), "", "x_s has sigma_s"),
    ("sample", of_sampler("ddim", ddim(keep=True)), "", "all of the old noise is kept"),
    ("sample", of_sampler("ddim", ddim(eta_used=False)), "", "no new noise is added"),
    ("sample", of_sampler("dpm-solver++", dpm(order=1)), "", "this is order 1"),
    ("sample", of_sampler("dpm-solver++", dpm(halves=False)), "", "the image halfway is meant"),
    ("sample", of_sampler("dpm-solver++", dpm(upside_down=True)), "", "upside down"),
]


@pytest.mark.parametrize(("function", "wrong", "call", "said"), MISTAKES)
def test_a_typical_mistake_is_told_by_its_name(function, wrong, call, said):
    assert said in words("hw4", function, wrong, call)


def test_solutions_written_otherwise_are_right():
    found = []
    for name, function in (("ancestral", ancestral()), ("ddim", ddim()), ("dpm-solver++", dpm())):
        found += verdicts("hw4", only="sample", sample=of_sampler(name, function))
    found += verdicts("hw4", only="encode", linear_encoder=Encoder)
    found += verdicts("hw4", only="normal_equations", normal_equations=equations())
    for call in ("lora_output", "lora_beginning", "lora_merged"):
        found += verdicts("hw4", only=call, lora_layer=LoRA)
    assert [each.words for each in found if each.status != RIGHT] == []
