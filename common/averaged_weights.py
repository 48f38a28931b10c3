"""Moving averages of weights: the model that is evaluated, while another one is trained.

Theory: theory/en/gan.md, eq. (gan.16).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import swa_utils


def averaged(
    model: nn.Module, decay: float, *, growing: bool = False, buffers: bool = False
) -> swa_utils.AveragedModel:
    """An exponential moving average of the model's weights, eq. (gan.16); its `module` is the averaged model.

    Call `update_parameters(model)` after every step.  `growing`: the memory grows with the run, after t steps
    the decay is (1 + t) / (10 + t) until that reaches `decay`; with a constant one the random initial weights
    would be remembered for long.  `buffers`: statistics of batch normalisation are averaged too; otherwise
    they are those of the last weights, and `recompute_batch_statistics` gives the average its own.
    """

    def average(means: list[Tensor], weights: list[Tensor], count: Tensor | int) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count))) if growing else decay
        swa_utils.get_ema_multi_avg_fn(now)(means, weights, count)

    return swa_utils.AveragedModel(model, multi_avg_fn=average, use_buffers=buffers)


@torch.no_grad()
def recompute_batch_statistics(model: nn.Module, inputs: Iterable[Tensor]) -> None:
    """Compute the running statistics of batch normalisation anew: their plain mean over batches of `inputs`.

    Averaged weights need it: the statistics of the last weights do not fit them.  A model without batch
    normalisation stays as it is, and its inputs are not drawn.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    was_training, momenta = model.training, [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
    model.train()
    for batch in inputs:
        model(batch)
    model.train(was_training)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
