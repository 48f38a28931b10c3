"""Checks of theory/{en,ru}/autoencoders.md, the memory of MNAD: identities and gradients in float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from hw1_bayes_and_autoencoders import autoencoders
from theory.checks.draws import normal
from theory.printed import printed
from theory.tags import verifies


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(normal(*shape, seed=seed), dim=-1)


@verifies("ae.6")
def test_memory_read_is_a_soft_convex_combination_that_prefers_the_nearest_item():
    printed(r"""
        w_{k m} = \frac{\exp (q_k^\top p_m)}{\sum_{m'=1}^{M} \exp (q_k^\top p_{m'})} ,
        \qquad
        \hat q_k = \sum_{m=1}^{M} w_{k m} \, p_m
        \tag{ae.6}
    """)
    queries, memory = unit(2, 30, 6), unit(10, 6, seed=1)
    weights = (queries @ memory.T).exp()
    weights = weights / weights.sum(-1, keepdim=True)
    read = autoencoders.read_memory(queries, memory)
    torch.testing.assert_close(read, (weights[..., None] * memory).sum(-2), rtol=1e-12, atol=1e-14)
    assert torch.equal(weights.argmax(-1), torch.cdist(queries, memory).argmin(-1))
    assert read.norm(dim=-1).max() < 1
    bound = math.e**2 / (math.e**2 + 10 - 1)
    assert weights.max() < bound
    pole = torch.tensor([[[1.0, 0]]], dtype=torch.float64)  # attained: one item at the query, nine opposite
    opposite = torch.cat([pole[0], -pole[0].expand(9, 2)])
    assert autoencoders.read_memory(pole, opposite)[0, 0, 0].item() == pytest.approx(2 * bound - 1, abs=1e-12)
    assert bound == pytest.approx(0.451, abs=5e-4)


@verifies("ae.7")
def test_compactness_and_its_gradient():
    (slope,) = printed(r"""
        L_{\mathrm{compact}} = \frac{1}{K} \sum_{k=1}^{K} \lVert q_k - p_{k1} \rVert^2 ,
        \qquad
        \frac{\partial L_{\mathrm{compact}}}{\partial q_k} = «slope»
        \tag{ae.7}
    """)
    queries, memory = unit(1, 12, 5).requires_grad_(), unit(4, 5, seed=1)
    nearest = memory[torch.cdist(queries[0], memory).argmin(-1)]
    loss = autoencoders.compactness_loss(queries, memory).sum()
    assert loss.item() == pytest.approx((queries[0] - nearest).square().sum(-1).mean().item(), abs=1e-12)
    gradient = torch.autograd.grad(loss, queries)[0][0]
    torch.testing.assert_close(gradient, 2 / 12 * (queries[0] - nearest), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradient, slope(K=12, q_k=queries[0], p_k1=nearest).detach())


@verifies("ae.8")
def test_separateness_is_a_hinge_on_two_cosines_with_a_constant_gradient():
    printed(r"""
        L_{\mathrm{separate}} = \frac{1}{K} \sum_{k=1}^{K} \max \bigl( 0, \; \lVert q_k - p_{k1} \rVert^2 -
        \lVert q_k - p_{k2} \rVert^2 + \gamma \bigr)
        \tag{ae.8}
    """)
    queries, memory, margin = unit(1, 40, 5).requires_grad_(), unit(4, 5, seed=1), 0.5
    order = torch.cdist(queries[0], memory).argsort(-1)
    first, second = memory[order[:, 0]], memory[order[:, 1]]
    gap = ((first - second) * queries[0]).sum(-1)
    loss = autoencoders.separateness_loss(queries, memory, margin).sum()
    assert loss.item() == pytest.approx((margin - 2 * gap).clamp_min(0).mean().item(), abs=1e-12)
    active = gap < margin / 2
    assert active.any() and not active.all()
    expected = torch.where(active[:, None], 2 * (second - first) / 40, 0)
    torch.testing.assert_close(torch.autograd.grad(loss, queries)[0][0], expected, rtol=1e-12, atol=1e-14)
    half_way = F.normalize(memory[:1] + memory[1:2], dim=1)[None]
    assert autoencoders.separateness_loss(half_way, memory[:2], margin).item() == pytest.approx(margin)


@verifies("ae.9")
def test_memory_update_is_the_papers_softmax_ratio_and_moves_items_along_the_arc():
    printed(r"""
        v_{k m} = \exp \bigl( q_k^\top p_m - \max_{k' \in U_m} q_{k'}^\top p_m \bigr) ,
        \qquad
        p_m \leftarrow \frac{p_m + \sum_{k \in U_m} v_{k m} \, q_k}{\bigl\lVert p_m + \sum_{k \in U_m} v_{k
        m} \, q_k \bigr\rVert}
        \tag{ae.9}
    """)
    queries, memory = unit(25, 6), unit(5, 6, seed=1)
    memory[4] = -queries.mean(0) / queries.mean(0).norm()  # nearest to hardly any query
    similarity = queries @ memory.T
    over_queries = similarity.softmax(0)  # Park et al. 2020: softmax over the queries ...
    winner = similarity.argmax(1)
    updated = autoencoders.updated_memory(queries, memory)
    for m in range(5):
        mine = winner == m
        if not mine.any():
            assert torch.equal(updated[m], F.normalize(memory[m], dim=0))
            continue
        weights = over_queries[mine, m] / over_queries[mine, m].max()  # ... over its maximum in U_m
        torch.testing.assert_close(weights, (similarity[mine, m] - similarity[mine, m].max()).exp())
        total = weights @ queries[mine]
        torch.testing.assert_close(updated[m], F.normalize(memory[m] + total, dim=0), rtol=1e-12, atol=1e-14)
        s, direction = total.norm(), F.normalize(total, dim=0)
        c = memory[m] @ direction
        cosine = updated[m] @ direction
        assert cosine.item() == pytest.approx(((c + s) / (1 + 2 * c * s + s**2).sqrt()).item(), abs=1e-12)
        assert cosine > c
    dead = autoencoders.updated_memory(queries[winner == 0], memory[[0, 1]])
    torch.testing.assert_close(dead[1], memory[1])
    example = torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0]])
    torch.testing.assert_close(
        autoencoders.updated_memory(*example)[0], torch.tensor([0.894, 0.447]), atol=1e-3, rtol=0
    )
