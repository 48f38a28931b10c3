"""Checks of theory/{en,ru}/diffusion.md, the parts of the network, against hw4_diffusion.unet."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hw4_diffusion import unet
from theory.checks.draws import Z, normal, z_score
from theory.printed import printed
from theory.tags import verifies


@verifies("diffusion.32")
@pytest.mark.parametrize("width", [8, 64])
def test_waves_tell_the_time(width):
    (frequency,) = printed(r"""
        e(t) = \bigl( \sin \omega_1 t, \dots, \sin \omega_d t, \; \cos \omega_1 t, \dots,
        \cos \omega_d t \bigr) ,
        \qquad
        \omega_i = «frequency»
        \tag{diffusion.32}
    """)
    times = torch.tensor([0.0, 1.0, 17.5, 1000.0])
    omega = frequency(i=torch.arange(1, width // 2 + 1), d=width // 2)
    assert [omega[0].item(), omega[-1].item()] == pytest.approx([1, 1e-4])
    phase = times[:, None].double() * omega
    expected = torch.cat([phase.sin(), phase.cos()], 1)
    torch.testing.assert_close(unet.wave(times, width).double(), expected, rtol=0, atol=2e-4)


@verifies("diffusion.33")
def test_attention_lets_every_place_look_at_every_other():
    printed(r"A = \mathrm{softmax} \Bigl( \frac{Q K^\top}{\sqrt{d}} \Bigr) V \tag{diffusion.33}")
    torch.manual_seed(0)
    layer = unet.Attention(16)
    nn.init.normal_(layer.out.weight)
    x = normal(2, 16, 3, 5).float()
    rows = F.group_norm(x, 16 // unet.GROUP, layer.norm.weight, layer.norm.bias, layer.norm.eps)
    rows = rows.flatten(2).transpose(1, 2)  # (B, places, C)
    query, key, value = layer.query_key_value(rows).chunk(3, 2)
    table = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(16), 2)
    seen = layer.out(table @ value).transpose(1, 2).view_as(x)
    torch.testing.assert_close(layer(x, None), x + seen, rtol=1e-5, atol=1e-5)
    score = (normal(100_000, 16) * normal(100_000, 16, seed=1)).sum(1)
    assert abs(z_score(score.square(), 16)) < Z  # hence the division
    assert ((16 * 16) ** 2, round((64 * 64) ** 2 / 1e6, 1)) == (65_536, 16.8)
