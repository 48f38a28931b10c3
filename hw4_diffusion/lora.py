"""LoRA (Hu et al. 2021): frozen linear layers, each with a trained product of two thin matrices beside it.

layers = lora.insert(unet, rank=8, alpha=8)      # now only these are trained
lora.save(folder, layers)                        # pytorch_lora_weights.safetensors, for load_lora_weights
lora.merge(unet)                                 # the same function, in plain linear layers again
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from common import (
    atomic,
    torchvision_operators,  # noqa: F401  diffusers imports torchvision
)

import torch
from torch import Tensor, nn

FILE = "pytorch_lora_weights.safetensors"
"""The name under which diffusers looks for LoRA weights."""
Layers = Literal["attention", "blocks"]
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TARGETS: dict[Layers, tuple[str, ...]] = {
    "attention": ATTENTION,
    "blocks": (*ATTENTION, "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out", "time_emb_proj"),
}
"""Ends of the names of the layers that get one: the four of every attention, as in diffusers' scripts; or
all linear layers of the blocks."""


class LoRALinear(nn.Module):
    """y = W x + b + (alpha / r) B A x, eq. (latent_diffusion.7): A (r, in) and B (out, r) are trained.

    A is random and B zero, so that the layer begins as the frozen one and B has a gradient, eq.
    (latent_diffusion.8).  Both are float32 also where the frozen layer is not."""

    def __init__(self, frozen: nn.Linear, rank: int, alpha: float):
        super().__init__()
        self.frozen, self.rank, self.alpha = frozen.requires_grad_(False), rank, alpha
        device = frozen.weight.device
        self.down = nn.Parameter(torch.empty(rank, frozen.in_features, device=device))  # A
        self.up = nn.Parameter(torch.zeros(frozen.out_features, rank, device=device))  # B
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        # task hw4.d: the frozen layer and what is trained beside it
        update = x.to(self.down.dtype) @ self.down.T @ self.up.T
        return self.frozen(x) + (self.scale * update).to(x.dtype)
        # end task

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The plain layer with W + (alpha / r) B A, eq. (latent_diffusion.10)."""
        # task hw4.d: both as one layer
        self.frozen.weight += (self.scale * self.up @ self.down).to(self.frozen.weight.dtype)
        return self.frozen
        # end task


def insert(network: nn.Module, rank: int, alpha: float, kind: Layers = "attention") -> dict[str, LoRALinear]:
    """Put a LoRALinear in the place of every target layer and freeze everything else.

    Returns them by the names of the layers they stand for."""
    # task hw4.d: in the place of which layers, and what stays trainable
    network.requires_grad_(False)
    names = [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and name.endswith(tuple(f".{target}" for target in TARGETS[kind]))
    ]
    layers = {name: LoRALinear(network.get_submodule(name), rank, alpha) for name in names}
    for name, layer in layers.items():
        network.set_submodule(name, layer)
    return layers
    # end task


def parameters(layers: dict[str, LoRALinear]) -> int:
    """How many numbers are trained: r (in + out) a layer, eq. (latent_diffusion.9)."""
    # task hw4.e: what a rank costs
    return sum(layer.down.numel() + layer.up.numel() for layer in layers.values())
    # end task


def merge(network: nn.Module) -> None:
    """Replace every LoRALinear by the plain layer that computes the same."""
    layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, LoRALinear)]
    for name, layer in layers:
        network.set_submodule(name, layer.merged())


def save(folder: Path, layers: dict[str, LoRALinear]) -> Path:
    """Write FILE into `folder` as diffusers' own scripts do, with rank and alpha in its metadata."""
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig

    some = next(iter(layers.values()))
    about = LoraConfig(r=some.rank, lora_alpha=some.alpha, target_modules=list(layers)).to_dict()
    weights = {}
    for name, layer in layers.items():
        weights[f"{name}.lora.down.weight"] = layer.down.detach().cpu().contiguous()
        weights[f"{name}.lora.up.weight"] = layer.up.detach().cpu().contiguous()
    with atomic.replacing(folder / FILE, advice="free some space or choose another --outdir") as beside:
        StableDiffusionPipeline.save_lora_weights(
            beside.parent, weights, weight_name=beside.name, unet_lora_adapter_metadata=about
        )
    return folder / FILE
