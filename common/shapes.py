"""How large a network is: parameters, and what every stage hands on."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def parameters(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in module.parameters())


def shape_table(network: nn.Module, example: Tensor) -> str:
    """Layer, output shape without the batch, parameters: a line for each stage with any, and the total.

    A stage is a child of the network; a Sequential is opened, and its layers are lines of their own, but for
    one called `start`.
    """
    lines, hooks = [], []

    def note(name: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            lines.append(f"{name:24} {'x'.join(map(str, output.shape[1:])):12} {parameters(module):>12,}")

        return hook

    for name, child in network.named_children():
        open_up = isinstance(child, nn.Sequential) and name != "start"
        for inner, stage in child.named_children() if open_up else [("", child)]:
            if parameters(stage):
                hooks.append(stage.register_forward_hook(note(f"{name}.{inner}".rstrip("."))))
    with torch.inference_mode():
        network(example)
    for hook in hooks:
        hook.remove()
    return "\n".join([*lines, f"{'all':24} {'':12} {parameters(network):>12,}"])
