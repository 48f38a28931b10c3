"""Checks of theory/{en,ru}/layers.md: both networks are told the attributes.

Finite worlds of pairs in float64, against hw2_gan/networks.py.
"""

from common import adversarial, choices

import pytest
import torch

from hw2_gan import networks, stylegan_parts
from theory.checks.draws import normal
from theory.checks.finite_games import assert_minimum, distribution, expected
from theory.printed import printed
from theory.tags import verifies


def world(seed: int, features: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """p(x, y1, y2) (7, 2, 3) of seven images whose two attributes follow softmax classifiers, and their
    weights."""
    weights = [normal(features.shape[1], count, seed=seed + count) for count in (2, 3)]
    first, second = ((features @ weight).softmax(1) for weight in weights)
    return distribution(7, seed)[:, None, None] * first[:, :, None] * second[:, None, :], weights


@verifies("gan.22")
def test_the_best_logit_of_pairs_is_a_sum_over_attributes_and_linear_in_features():
    features = normal(7, 4, seed=9)
    (p, u_p), (q, u_q) = world(1, features), world(2, features)
    logit = (p / q).log()
    assert_minimum(
        adversarial.cross_entropy_discriminator, logit.flatten(), p.flatten(), q.flatten()
    )  # the best one for pairs
    best = logit.flatten().clone().requires_grad_()
    value = expected(adversarial.cross_entropy_discriminator, best, p.flatten(), q.flatten())
    assert torch.autograd.grad(value, best)[0].abs().max() < 1e-12
    ratio = lambda dims: (
        (p.sum(dims) / p.sum((1, 2)).view(-1, 1)).log() - (q.sum(dims) / q.sum((1, 2)).view(-1, 1)).log()
    )
    real = (p.sum((1, 2)) / q.sum((1, 2))).log()
    torch.testing.assert_close(logit, real[:, None, None] + ratio(2)[:, :, None] + ratio(1)[:, None, :])
    first, second = (features @ (of_p - of_q) for of_p, of_q in zip(u_p, u_q))
    psi = logit - first[:, :, None] - second[:, None, :]  # what is left does not depend on the attributes
    torch.testing.assert_close(psi, psi[:, :1, :1].expand_as(psi))


@verifies("gan.22")
def test_the_example_of_a_generator_that_errs_in_one_order_of_ten():
    p = torch.tensor([[0.5, 0.0], [0.0, 0.5]], dtype=torch.float64)
    q = torch.tensor([[0.45, 0.05], [0.05, 0.45]], dtype=torch.float64)
    assert torch.equal(p.sum(1), q.sum(1))  # images alone tell nothing
    logit = (p / q).log()
    assert logit[0, 0].item() == pytest.approx(0.105, abs=5e-4) and logit[0, 1] == -torch.inf


@verifies("gan.22")
def test_the_discriminator_adds_one_output_of_each_attribute():
    torch.manual_seed(0)
    options = (3, 1, 4)
    judge = networks.DCGANDiscriminator(32, 0.125, normalisation="none", option_counts=options).double()
    images = normal(5, 3, 32, 32)
    choices = torch.tensor([[0, 0, 3], [2, 0, 1], [1, 0, 0], [2, 0, 2], [0, 0, 0]])
    outputs = judge.layers(images).flatten(1).float()
    assert outputs.shape == (5, 1 + 8)
    chosen = [[0, 3, 7], [2, 3, 5], [1, 3, 4], [2, 3, 6], [0, 3, 4]]
    by_hand = [row[0] + sum(row[1 + k] for k in ks) / 3**0.5 for row, ks in zip(outputs, chosen)]
    torch.testing.assert_close(judge(images, choices), torch.stack(by_hand))
    assert torch.equal(judge(images), outputs[:, 0])


@verifies("gan.22")
def test_latents_choose_every_option_equally_often():
    (option,) = printed(r"""
        \ell_*(x, y) = \ln \frac{p(x, y)}{q(x, y)} = \ln \frac{p(x)}{q(x)} + \sum_{a=1}^{A} \ln \frac{p(y_a
        \mid x)}{q(y_a \mid x)}
        \;\approx\; \psi(x) + \frac{1}{\sqrt{A}} \sum_{a=1}^{A} w_{a, y_a}^\top \varphi(x) ,
        \qquad
        y_a = «option»
        \tag{gan.22}
    """)
    torch.manual_seed(0)
    options = (3, 1, 8)
    inner = networks.DCGANGenerator(32, 0.125, latent=6 + sum(options))
    generator = networks.ConditionalGenerator(inner, options).eval()
    assert generator.latent == 6 + 3
    shares = (torch.arange(24, dtype=torch.float64) + 0.5) / 24
    z = torch.zeros(24, 9, dtype=torch.float64)
    z[:, 6:] = torch.special.ndtri(shares)[:, None]
    chosen = generator.labels(z)
    for column, count in zip(chosen.T, options):
        assert column.bincount().tolist() == [24 // count] * count and column.equal(column.sort().values)
    ends = generator.labels(torch.tensor([[0.0] * 6 + [sign * 40.0] * 3 for sign in (-1, 1)]))
    assert ends.tolist() == [[0, 0, 0], [2, 0, 7]]
    told = torch.cat([torch.zeros(2, 6), choices.one_hot(ends, options)], 1)
    torch.testing.assert_close(
        generator(torch.tensor([[0.0] * 6 + [sign * 40.0] * 3 for sign in (-1, 1)])), inner(told)
    )
    assert told[:, 6:].sum(1).tolist() == [3, 3]
    for column, count in zip(chosen.T, options):
        as_printed = option(K_a=count, Phi=torch.special.ndtr, z_a=z[:, 6])
        assert torch.equal(column.double(), as_printed)


@verifies("gan.22")
def test_every_layer_is_told_by_scales_and_shifts():
    torch.manual_seed(0)
    layer = stylegan_parts.ModulatedBatchNorm(3, latent=4).double()
    x, z = normal(6, 3, 5, 2), normal(6, 4, seed=1)
    normalised = (x - x.mean((0, 2, 3), keepdim=True)) / (
        x.var((0, 2, 3), keepdim=True, correction=0) + 1e-5
    ).sqrt()
    torch.testing.assert_close(layer(x, z), normalised)  # at the start as without
    torch.nn.init.normal_(layer.modulation.weight)
    gamma, beta = layer.modulation.weight.split(3)
    by_hand = (1 + (z @ gamma.T)[:, :, None, None]) * normalised + (z @ beta.T)[:, :, None, None]
    torch.testing.assert_close(layer(x, z), by_hand)
