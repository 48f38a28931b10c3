"""Where a projection starts: the mean w and the spread around it, of generators with and without classes."""

import pytest
import torch

from hw3_stylegan_sampling import projection
from hw3_stylegan_sampling.networks import Architecture, Generator

SMALL = {"size": 8, "channels": (6, 5), "z_dim": 6, "w_dim": 7, "mapping_layers": 2}


def test_the_spread_is_how_far_a_w_is_from_the_mean_one():
    torch.manual_seed(0)
    generator = Generator(Architecture(**SMALL)).requires_grad_(False)
    mean, spread = projection.statistics_of_w(generator)
    far = (generator.mapping(torch.randn(20_000, 6)) - mean).square().sum(1).mean().sqrt()
    assert spread == pytest.approx(far.item(), rel=0.03)


def test_with_classes_every_one_of_them_counts_alike():
    torch.manual_seed(0)
    generator = Generator(Architecture(**SMALL, classes=3)).requires_grad_(False)
    mean, _ = projection.statistics_of_w(generator)
    of_class = [generator.mapping(torch.randn(10_000, 6), label.expand(10_000, -1)).mean(0)
                for label in torch.eye(3)]  # fmt: skip
    apart = (of_class[0] - of_class[1]).norm()
    assert (mean - torch.stack(of_class).mean(0)).norm() < 0.05 * apart
