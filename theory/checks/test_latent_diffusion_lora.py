"""Checks of theory/{en,ru}/latent_diffusion.md: LoRA."""

import math

import pytest
import torch
from torch import nn

from hw4_diffusion import lora
from theory.checks.draws import Z, normal, z_score
from theory.printed import printed
from theory.tags import verifies


def layer_with(rank: int, alpha: float, trained: bool = True) -> lora.LoRALinear:
    """5 inputs, 7 outputs, in float64; after some training, if asked, no factor is zero."""
    torch.manual_seed(rank)
    layer = lora.LoRALinear(nn.Linear(5, 7), rank, alpha).double()
    if trained:
        nn.init.normal_(layer.up)
    return layer


@verifies("latent_diffusion.7", "latent_diffusion.10")
def test_lora_adds_a_product_of_thin_matrices_and_can_be_merged():
    (scale,) = printed(r"y = W x + \gamma \, B A \, x , \qquad \gamma = «scale» \tag{latent_diffusion.7}")
    (factor,) = printed(r"W' = W + «factor» \, B A \tag{latent_diffusion.10}")
    layer, x = layer_with(rank=3, alpha=2.0), normal(4, 5)
    old, bias = layer.frozen.weight.clone(), layer.frozen.bias
    gamma = scale(alpha=2.0, r=3)
    torch.testing.assert_close(layer(x), x @ old.T + bias + gamma * x @ layer.down.T @ layer.up.T)
    change = layer.up @ layer.down
    assert torch.linalg.matrix_rank(change).item() == 3
    unmerged = layer(x)
    merged = layer.merged()
    torch.testing.assert_close(merged.weight, old + factor(alpha=2.0, r=3) * change)
    torch.testing.assert_close(merged(x), unmerged)
    singular = torch.linalg.svdvals(normal(7, 5))  # what the best of rank 3 leaves of a full change
    u, s, v = torch.linalg.svd(normal(7, 5), full_matrices=False)
    left = normal(7, 5) - (u[:, :3] * s[:3]) @ v[:3]
    assert left.square().sum().item() == pytest.approx(singular[3:].square().sum().item())


@verifies("latent_diffusion.8")
def test_only_the_second_matrix_moves_first():
    of_b, of_a = printed(r"""
        \frac{\partial L}{\partial B} = «of_b» \, \frac{\partial L}{\partial W} \, A^\top ,
        \qquad
        \frac{\partial L}{\partial A} = «of_a» \, B^\top \, \frac{\partial L}{\partial W}
        \tag{latent_diffusion.8}
    """)
    x = normal(4, 5)
    for trained in (False, True):
        layer = layer_with(rank=3, alpha=2.0, trained=trained)
        gamma = layer.scale
        whole = (layer.frozen.weight + gamma * layer.up @ layer.down).detach().requires_grad_()
        (x @ whole.T + layer.frozen.bias).sin().sum().backward()
        layer(x).sin().sum().backward()
        torch.testing.assert_close(layer.up.grad, of_b(gamma=gamma) * whole.grad @ layer.down.T)
        torch.testing.assert_close(layer.down.grad, of_a(gamma=gamma) * layer.up.T @ whole.grad)
        assert (layer.down.grad.abs().max() > 0) == trained
        if not trained:  # the first step is that of full fine-tuning, seen through A
            step = -0.1 * layer.up.grad @ layer.down * gamma
            torch.testing.assert_close(step, -0.1 * gamma**2 * whole.grad @ layer.down.T @ layer.down)
    wide = 0.3 * normal(50_000, 4, 6)
    spread = z_score((wide.mT @ wide).flatten(1), 0)
    expected = (4 * 0.09 * torch.eye(6, dtype=torch.float64)).flatten()
    assert (z_score((wide.mT @ wide).flatten(1) - expected, 0).abs() < Z).all() and spread.abs().max() > Z


@verifies("latent_diffusion.7")
def test_adams_first_step_moves_the_layer_equally_at_every_rank():
    inputs, alpha, rate = 4000, 4.0, 1e-3
    x = normal(1, inputs, seed=9)
    moved = {}
    for rank, std in ((4, 0.02), (64, 0.02), (4, 1 / 4), (64, 1 / 64)):
        scale = alpha if std == 0.02 else rank  # diffusers: alpha = r and 1 / r
        layer = lora.LoRALinear(nn.Linear(inputs, 6), rank, scale).double()
        nn.init.normal_(layer.down, std=std, generator=torch.Generator().manual_seed(0))
        optimizer = torch.optim.Adam([layer.down, layer.up], rate, eps=0.0)
        before = layer(x).detach()
        (before.new_tensor([1.0, -2, 3, -4, 5, -6]) * layer(x)).sum().backward()
        layer.down.grad = None
        optimizer.step()
        change = (layer(x) - before).detach()[0].abs()
        assert (change.max() - change.min()).item() < 1e-12
        expected = layer.scale * rank * rate * std * x.norm().item() * math.sqrt(2 / math.pi)
        assert change[0].item() == pytest.approx(expected, rel=2 / math.sqrt(rank))
        assert change[0].item() == pytest.approx(
            layer.scale * rate * (layer.down @ x[0]).abs().sum().item(), rel=1e-9
        )
        moved[rank, std] = change[0].item()
    assert moved[64, 0.02] / moved[4, 0.02] == pytest.approx(1, abs=0.5)
    assert moved[64, 1 / 64] / moved[4, 1 / 4] == pytest.approx(1, abs=0.5)
