"""Steps of training that a GPU runs as one CUDA graph.

The step of a small network is a thousand kernels of some microseconds each, and Python needs longer to start
them than the GPU to run them.  A graph is recorded once and then starts them all together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from common.devices import Device

import torch
from torch import Tensor

WARM_UP = 2
"""Calls of each kind that run as usual: libraries choose their kernels, optimisers make their state."""


class Graphed:
    """`step(*inputs, **kind)` as it is, or on one GPU as graphs, one for each kind and shape of its inputs.

    inputs  tensors, the only things that may differ between two calls of a kind
    kind    plain values by which the step branches

    What it returns is overwritten by the next call.  The step may not copy anything from or to the CPU (so no
    `.item()`, and no tensors of Python numbers), and a learning rate that changes has to be a tensor: see
    `Device.adam`.  Gradients are the step's own: it begins with `zero_grad()`.
    """

    def __init__(self, step: Callable[..., Any], device: Device):
        self.step = step
        self.used = device.torch.type == "cuda" and device.world_size == 1
        self.graphs: dict[Any, tuple[torch.cuda.CUDAGraph, list[Tensor], Any]] = {}
        self.calls: Counter = Counter()
        self.stream = torch.cuda.Stream(device.torch) if self.used else None

    def __call__(self, *inputs: Tensor, **kind: Any) -> Any:
        if not self.used:
            return self.step(*inputs, **kind)
        key = (tuple(kind.items()), tuple(tensor.shape for tensor in inputs))
        if key not in self.graphs and self.calls[key] < WARM_UP:
            self.calls[key] += 1
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                result = self.step(*inputs, **kind)
            torch.cuda.current_stream().wait_stream(self.stream)
            return result
        if key not in self.graphs:
            self.graphs[key] = self._record(inputs, kind)
        graph, places, result = self.graphs[key]
        for place, tensor in zip(places, inputs, strict=True):
            place.copy_(tensor)
        graph.replay()
        return result

    def _record(self, inputs: tuple[Tensor, ...], kind: dict[str, Any]):
        places = [tensor.clone() for tensor in inputs]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            result = self.step(*places, **kind)
        return graph, places, result
