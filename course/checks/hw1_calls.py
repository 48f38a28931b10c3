"""How functions of homework 1 are asked: arrays in, arrays out.  `student` is the adapter."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from torch import nn

tensor = torch.from_numpy


def fractions(table: np.ndarray) -> list[list[Fraction]]:
    """Rows of whole numbers as shares of their sums; negative ones are no options."""
    rows = [[int(n) for n in row if n >= 0] for row in table]
    return [[Fraction(n, sum(row)) for n in row] for row in rows]


def maximum_likelihood(student, counts):
    return [float(p) for p in student.maximum_likelihood([int(n) for n in counts])], 0.0


def additive_smoothing(student, counts, alpha):
    return [float(p) for p in student.additive_smoothing([int(n) for n in counts], float(alpha))], 0.0


def sample_styles(student, table, count, seed):
    """The options drawn (N, A), their probabilities and log-probabilities (N,)."""
    model = student.style_model(fractions(table))
    drawn = model.sample(int(count), torch.Generator().manual_seed(int(seed)))
    options = torch.stack(list(drawn.options.values()), 1)
    return options, [float(p) for p in drawn.probability], drawn.log_probability


def style_probability(student, table, options):
    model = student.style_model(fractions(table))
    return np.array([float(model.probability([int(j) for j in row])) for row in options])


def style_log_probability(student, table, options):
    model = student.style_model(fractions(table))
    columns = {a.name: tensor(options[:, place].copy()) for place, a in enumerate(model.attributes)}
    return model.log_probability(columns)


def bits_per_pixel(student, log2_probability):
    return student.bits_per_pixel(tensor(log2_probability))


def pixel_probability(student, images, asked, joint, alpha):
    """Probabilities of pixels (M, H, W)."""
    tables = student.pixel_tables(tensor(images), bool(joint), float(alpha))
    return 2 ** tables.log2_probability(tensor(asked)).double()


def pixel_sample(student, images, count, joint, alpha, seed):
    tables = student.pixel_tables(tensor(images), bool(joint), float(alpha))
    return tables.sample(int(count), torch.Generator().manual_seed(int(seed)))


def squared_error(student, images, reconstructions):
    return student.squared_error(tensor(images), tensor(reconstructions))


def autoencoder_loss(student, images, corrupted):
    """The loss (B,) of a network that gives back half of what it reads."""
    model = student.autoencoder(nn.Identity(), nn.Hardtanh(-0.5, 0.5))
    return sum(model(tensor(images), tensor(corrupted)).values())


def dense_halves(student, images, widths):
    """Latents, reconstructions, shapes of the encoder's and the decoder's matrices, and by how much each of
    them bends."""
    torch.manual_seed(0)
    encoder, decoder = student.dense_halves([int(w) for w in widths], images.shape[1:])
    with torch.no_grad():
        for parameter in [*encoder.parameters(), *decoder.parameters()]:
            parameter.normal_(0, 1)
    x = tensor(images).float()
    z = encoder(x)
    shapes = [
        np.array([list(p.shape) for p in half.parameters() if p.ndim == 2], dtype=np.int64)
        for half in (encoder, decoder)
    ]
    reconstructions = decoder(z)
    with torch.no_grad():
        for parameter in [*encoder.parameters(), *decoder.parameters()]:
            parameter.mul_(0.3)  # no tanh at the end is saturated
    return z, reconstructions, *shapes, [bend(encoder, x), bend(decoder, torch.randn(16, z.shape[1]))]


def bend(half, inputs):
    """By how much the gradient of an output turns from input to input: 0 for linear layers alone, whatever is
    applied to each output by itself."""
    inputs = inputs.double().requires_grad_()
    most = 0.0
    for output in half.double().eval()(inputs).flatten(1).unbind(1):
        (slopes,) = torch.autograd.grad(output.sum(), inputs, retain_graph=True)
        slopes = slopes.flatten(1)
        slopes = slopes[slopes.norm(dim=1) > 1e-9]
        if len(slopes):
            directions = nn.functional.normalize(slopes, dim=1)
            most = max(most, float(1 - (directions @ directions[0]).abs().min()))
    return most


def anomaly_score(student, residual, usual, which, patch):
    name = ("mse", "weighted", "patch", "bright")[int(which)]
    return student.anomaly_score(name, tensor(residual), tensor(usual), int(patch))


def rates(student, normal, anomalous, threshold):
    return torch.stack(
        [torch.as_tensor(each, dtype=torch.float64)
         for each in student.rates(tensor(normal), tensor(anomalous), float(threshold))]
    )  # fmt: skip


def threshold_fraction_of_max(student, anomalous, fraction):
    return float(student.threshold_fraction_of_max(tensor(anomalous), float(fraction)))


def reparameterise(student, mu, log_variance, noise):
    return student.reparameterise(tensor(mu), tensor(log_variance), tensor(noise))


def draws_of_z(student, mu, log_variance):
    """Whether gradients reach both (2,), and the spread of draws without given noise (D,)."""
    mu, log_variance = tensor(mu).requires_grad_(), tensor(log_variance).requires_grad_()
    many = torch.stack([student.reparameterise(mu, log_variance, None) for _ in range(400)])
    if not many.requires_grad:
        return [0, 0], many.std(0)[0]
    found = torch.autograd.grad(many.sum(), [mu, log_variance], allow_unused=True)
    return [float(each is not None) for each in found], many.std(0)[0]


def kl_to_standard_normal(student, mu, log_variance):
    return student.kl_to_standard_normal(tensor(mu), tensor(log_variance))


def bernoulli_log_likelihood(student, pixels, logits):
    return student.bernoulli_log_likelihood(tensor(pixels), tensor(logits))


def gaussian_log_likelihood(student, pixels, mean, variance):
    return student.gaussian_log_likelihood(tensor(pixels), tensor(mean), float(variance))


def vae_objective(student, reconstruction, kl, beta):
    return student.vae_objective(tensor(reconstruction), tensor(kl), float(beta))


def vae_condition(student, labels, classes):
    return student.vae((1, 8, 8), 3, int(classes)).condition(tensor(labels), len(labels))


def vae_terms(student, images, labels, classes):
    """The terms of many forward passes, means over them: reconstruction (B,) and its spread (B,), kl (B, D);
    of the same model mean and log-variance (B, D), the error at the mean and the mean error of draws of ours
    (B,)."""
    torch.manual_seed(1)
    model = student.vae(images.shape[1:], 3, int(classes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # wide posteriors, which a draw is seen by
    x = tensor(images).float()
    told = tensor(labels) if classes else None
    with torch.no_grad():
        terms = [model(x, told) for _ in range(200)]
        mu, log_variance = model.encode(x, told)
        error = lambda z: -student.bernoulli_log_likelihood((x + 1) / 2, model.decode(z, told))
        spread = (log_variance / 2).exp()
        ours = torch.stack([error(mu + spread * torch.randn_like(mu)) for _ in range(200)])
        at_mean = error(mu)
    many = torch.stack([each["reconstruction"] for each in terms])
    kl = torch.stack([each["kl"] for each in terms]).mean(0)
    return many.mean(0), many.std(0), kl, mu, log_variance, at_mean, ours.mean(0), ours.std(0)


def vae_learns(student, images):
    """The objective of one batch before and after 60 steps of Adam, and the number of parameters without a
    gradient."""
    torch.manual_seed(2)
    model, x = student.vae(images.shape[1:], 3, 0), tensor(images).float()
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=5e-3), []
    for _ in range(60):
        terms = model(x, None)
        loss = student.vae_objective(terms["reconstruction"], terms["kl"], 1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1], sum(p.grad is None for p in model.parameters())
