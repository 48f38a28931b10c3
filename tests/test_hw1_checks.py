"""The checks of homework 1: the course's own solution is right, and typical mistakes are told by name."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from wrong_solutions import verdicts, words

from course.checks import hw1_adapter as right
from course.checks.questions import RIGHT


@pytest.mark.parametrize("seed", [0, 1, 20240309])
def test_the_courses_own_solution_is_right(seed):
    found = verdicts("hw1", seed)
    assert [f"{each.question.title}: {each.words}" for each in found if each.status != RIGHT] == []


def smoothed_with_1_below(counts, alpha):
    return [(n + alpha) / (sum(counts) + alpha) for n in counts]


class Uniform:
    """Draws every option alike."""

    def __init__(self, theta):
        self.model = right.style_model(theta)

    def sample(self, count, generator):
        drawn = self.model.sample(count, generator)
        for name, row in zip(drawn.options, self.model.theta):
            drawn.options[name] = torch.randint(len(row), (count,), generator=generator)
        return drawn


class WholeImages:
    """Draws a training image instead of every pixel by itself."""

    def __init__(self, images, joint, alpha):
        self.images = images

    def sample(self, count, generator):
        return self.images[torch.randint(len(self.images), (count,), generator=generator)]


class DrawnTogether:
    """Draws a pixel's channels from one training image, also where they are features of their own."""

    def __init__(self, images, joint, alpha):
        self.tables = right.pixel_tables(images, True, 0.0)
        self.levels, self.alpha, self.count = right.pixel_tables(images, False, alpha), alpha, len(images)

    def sample(self, count, generator):
        whole = self.tables.sample(count, generator)
        if not self.alpha:
            return whole
        shape = (count, 1, *whole.shape[2:])
        of_data = torch.rand(shape, generator=generator) < self.levels.weight_of_data
        return torch.where(of_data, whole, torch.randint_like(whole, 256))


class Packed:
    """Gives colours as one number."""

    def __init__(self, images, joint, alpha):
        self.images, self.joint, self.alpha = images, joint, alpha

    def sample(self, count, generator):
        drawn = right.pixel_tables(self.images, self.joint, self.alpha).sample(count, generator)
        return (drawn[:, :1].long() * 256 + drawn[:, 1:]).expand_as(drawn) if self.joint else drawn


class ChannelsAlone(Packed):
    def sample(self, count, generator):
        return right.pixel_tables(self.images, False, self.alpha).sample(count, generator)


class WithoutSmoothing:
    def __init__(self, images, joint, alpha):
        self.tables = right.pixel_tables(images, joint, 0.0)

    def log2_probability(self, images):
        return self.tables.log2_probability(images)


class NoNoise(nn.Module):
    """A VAE whose decoder gets the mean."""

    def __init__(self, shape, latent, classes):
        super().__init__()
        self.model = right.vae(shape, latent, classes)
        self.encode, self.decode = self.model.encode, self.model.decode

    def forward(self, x, labels):
        mu, log_variance = self.encode(x, labels)
        terms = {"kl": right.kl_to_standard_normal(mu, log_variance)}
        pixels = (x + 1) / 2
        return {**terms, "reconstruction": -right.bernoulli_log_likelihood(pixels, self.decode(mu, labels))}


class Detached(NoNoise):
    def forward(self, x, labels):
        mu, log_variance = (each.detach() for each in self.encode(x, labels))
        z = right.reparameterise(mu, log_variance, torch.randn_like(mu))
        error = -right.bernoulli_log_likelihood((x + 1) / 2, self.decode(z, labels))
        return {"kl": right.kl_to_standard_normal(mu, log_variance), "reconstruction": error}


def cross_entropy(first, second):
    return F.binary_cross_entropy_with_logits(first, second, reduction="none").sum((1, 2, 3))


def relu_everywhere(widths, shape):
    def chain(sizes):
        return [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]

    return nn.Sequential(nn.Flatten(), *chain(widths)), nn.Sequential(
        *chain(widths[::-1])[:-1], nn.Tanh(), nn.Unflatten(1, shape)
    )


def no_relu(widths, shape):
    linear = lambda sizes: [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return nn.Sequential(nn.Flatten(), *linear(widths)), nn.Sequential(
        *linear(widths[::-1]), nn.Tanh(), nn.Unflatten(1, shape)
    )


class Autoencoder(nn.Module):
    """Reads the clean image where it should read the corrupted one."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x, corrupted):
        return {"mse": right.squared_error(x, self.decoder(self.encoder(x))).mean((1, 2))}


MISTAKES = [
    ("maximum_likelihood", lambda n: [(x + 1) / (sum(n) + len(n)) for x in n], "smoothed already"),
    ("additive_smoothing", smoothed_with_1_below, "the denominator grows by alpha d, not by alpha"),
    ("additive_smoothing", lambda n, alpha: [(x + 1) / (sum(n) + len(n)) for x in n], "alpha is taken for 1"),
    ("bits_per_pixel", lambda p: p.mean((1, 2)), "the sign"),
    ("bits_per_pixel", lambda p: -p.sum((1, 2)), "divide by H W"),
    ("squared_error", lambda x, y: (x - y).square().mean(1), "4 times too large"),
    ("squared_error", lambda x, y: ((x - y) / 2).abs().mean(1), "absolute difference: square it"),
    ("threshold_fraction_of_max", lambda s, f: f * s.mean().item(), "the rule takes the largest"),
    ("threshold_fraction_of_max", lambda s, f: s.quantile(f).item(), "this is a quantile"),
    (
        "rates",
        lambda n, a, t: right.rates(n, a, t)[1::-1] + right.rates(n, a, t)[2:],
        "TPR and TNR are exchanged",
    ),
    (
        "rates",
        lambda n, a, t: ((a > t).double().mean(), (n > t).double().mean(), right.rates(n, a, t)[2]),
        "the share of false alarms",
    ),
    (
        "reparameterise",
        lambda mu, s, noise: mu + s.exp() * (torch.randn_like(mu) if noise is None else noise),
        "the standard deviation is exp(log-variance / 2)",
    ),
    ("kl_to_standard_normal", lambda mu, s: mu**2 + s.exp() - 1 - s, "the factor 1/2 is missing"),
    ("kl_to_standard_normal", lambda mu, s: mu**2 + s.exp() - s - 0.5, "belongs to the whole bracket"),
    ("kl_to_standard_normal", lambda mu, s: -0.5 * (mu**2 + s.exp() - 1 - s), "never negative"),
    (
        "kl_to_standard_normal",
        lambda mu, s: right.kl_to_standard_normal(mu, s).sum(1),
        "summed over dimensions",
    ),
    ("bernoulli_log_likelihood", lambda x, p: -cross_entropy(x, p), "expected"),
    ("bernoulli_log_likelihood", lambda x, p: cross_entropy(p, x), "this is the cross-entropy"),
    (
        "bernoulli_log_likelihood",
        lambda x, p: right.bernoulli_log_likelihood(x, p) / 12,
        "the mean over pixels",
    ),
    (
        "bernoulli_log_likelihood",
        lambda x, p: right.bernoulli_log_likelihood(x, p.sigmoid()),
        "a sigmoid is applied twice",
    ),
    (
        "gaussian_log_likelihood",
        lambda x, m, v: -0.5 * ((x - m) ** 2).sum((1, 2, 3)) / v,
        "normalising constant is missing",
    ),
    (
        "gaussian_log_likelihood",
        lambda x, m, v: right.gaussian_log_likelihood(x, m, v**2),
        "it is a variance already",
    ),
    ("vae_objective", lambda r, kl, beta: beta * r.mean() + kl.sum(1).mean(), "it belongs to the KL"),
    ("vae_objective", lambda r, kl, beta: r.mean() + beta * kl.mean(), "add them up"),
]


@pytest.mark.parametrize(("function", "wrong", "said"), MISTAKES)
def test_a_typical_mistake_is_told_by_its_name(function, wrong, said):
    assert said in words("hw1", function, wrong)


@pytest.mark.parametrize(
    ("function", "wrong", "call", "said"),
    [
        ("style_model", Uniform, "sample_styles", "all options seem equally likely"),
        ("pixel_tables", WholeImages, "pixel_sample", "whole training images are drawn"),
        ("pixel_tables", DrawnTogether, "pixel_sample", "the channels of a pixel are drawn together"),
        ("pixel_tables", Packed, "pixel_sample", "unpack the numbers into channels"),
        ("pixel_tables", ChannelsAlone, "pixel_sample", "colours are drawn that the pixel never had"),
        ("pixel_tables", WithoutSmoothing, "pixel_probability", "nothing is smoothed"),
        ("dense_halves", relu_everywhere, "dense_halves", "a ReLU follows the latent"),
        ("dense_halves", no_relu, "dense_halves", "together they are one linear layer"),
        ("autoencoder", Autoencoder, "autoencoder_loss", "it is to read the corrupted one"),
        ("vae", NoNoise, "vae_terms", "the bound needs a draw"),
        ("vae", Detached, "vae_learns", "parameters get no gradient"),
        (
            "anomaly_score",
            lambda name, r, usual, patch: (r**2 / usual**2).mean((1, 2, 3)),
            "anomaly_score",
            "what is usual is a squared error already",
        ),
        (
            "anomaly_score",
            lambda name, r, usual, patch: (r**2).mean(1).amax((1, 2)),
            "anomaly_score",
            "this is the largest pixel",
        ),
        (
            "reparameterise",
            lambda mu, s, noise: mu + (s / 2).exp() * (0 if noise is None else noise),
            "draws_of_z",
            "without given noise nothing is drawn",
        ),
        (
            "reparameterise",
            lambda mu, s, noise: torch.normal(mu.detach(), (s / 2).exp().detach()),
            "draws_of_z",
            "no gradient reaches",
        ),
    ],
)
def test_a_mistake_in_something_larger_is_told_too(function, wrong, call, said):
    assert said in words("hw1", function, wrong, call)


def dense(encode, decode):
    """Both halves with an activation as a module, or as a function inside of one."""

    class Half(nn.Module):
        def __init__(self, sizes, bend, end):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
            self.bend, self.end = bend, end

        def forward(self, x):
            x = x.flatten(1)
            for layer in self.layers[:-1]:
                x = self.bend(layer(x))
            return self.end(self.layers[-1](x))

    def made(widths, shape):
        end = lambda x: x.tanh().unflatten(1, shape)
        return Half(widths, encode, lambda x: x), Half(widths[::-1], decode, end)

    return made


@pytest.mark.parametrize("bend", [F.relu, nn.ELU(), F.gelu, F.silu, torch.tanh])
def test_any_activation_between_linear_layers_is_seen(bend):
    assert words("hw1", "dense_halves", dense(bend, bend)) == ""


def test_each_half_needs_an_activation():
    assert "the decoder has no ReLU" in words("hw1", "dense_halves", dense(F.relu, lambda x: x))
    assert "the encoder has no ReLU" in words("hw1", "dense_halves", dense(lambda x: x, F.relu))


def test_a_solution_written_otherwise_is_right():
    """Other code, the same function."""

    def smoothing(counts, alpha):
        total = Fraction(sum(counts)) + Fraction(str(alpha)) * len(counts)
        return [float((n + Fraction(str(alpha))) / total) for n in counts]

    def kl(mu, s):
        q = torch.distributions.Normal(mu, (s / 2).exp())
        return torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))

    found = verdicts("hw1", only="additive_smoothing", additive_smoothing=smoothing)
    found += verdicts("hw1", only="kl_to_standard_normal", kl_to_standard_normal=kl)
    assert {each.status for each in found} == {RIGHT}
