"""How much memory a fine-tuning needs, counted before it begins, and flags that fit a GPU.

needed = memory.estimate(pipeline, trained, side=512, batch=1, ...)
print(needed.table())

Weights, gradients and the optimiser's numbers are counted exactly.  Activations are what one forward pass
keeps for the backward pass, counted on torch's meta device, where tensors have shapes and no content.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from unittest import mock

from common.devices import Device
from common.errors import InputError

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from hw4_diffusion import pipelines

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

GIGABYTE = 2**30
Kind = Literal["dreambooth", "lora", "controlnet"]
OVERHEAD = int(0.7 * GIGABYTE)
"""CUDA's own, its libraries' and the allocator's; not counted, and alike on most cards."""
ALWAYS = {"mixed_precision": "bf16", "gradient_checkpointing": True, "train_batch_size": 1,
          "gradient_accumulation_steps": 4}  # fmt: skip
LARGER = ALWAYS | {"train_batch_size": 2, "gradient_accumulation_steps": 2}
LARGEST = ALWAYS | {"train_batch_size": 4, "gradient_accumulation_steps": 1}
PRESETS: dict[Kind, dict[int, dict]] = {
    "dreambooth": {
        8: ALWAYS | {"optimizer": "adafactor"}, 12: ALWAYS | {"optimizer": "adafactor"},
        16: LARGER | {"optimizer": "adafactor"}, 24: ALWAYS,
    },
    "lora": {8: ALWAYS, 12: LARGER, 16: LARGEST, 24: LARGEST},
    "controlnet": {8: ALWAYS | {"optimizer": "adafactor"}, 12: ALWAYS, 16: LARGER, 24: LARGEST},
}  # fmt: skip
"""Flags for a GPU of so many gigabytes and Stable Diffusion 1.5 at 512 pixels: four images an update each."""
ADVICE = {
    "dreambooth": "train_lora.py trains a hundredth of the weights and needs the least",
    "lora": "use a smaller --resolution",
    "controlnet": "use a smaller --resolution",
}

OUT_OF_MEMORY = (
    "out of memory; --vram 8, 12, 16 or 24 sets what fits a GPU of so many GB; by hand it is "
    "--train_batch_size 1 --gradient_accumulation_steps 4 --gradient_checkpointing --mixed_precision bf16 "
    "--optimizer adafactor; {advice}"
)


@dataclass(frozen=True)
class Bytes:
    """Memory of one fine-tuning, eq. (latent_diffusion.14)."""

    frozen: int
    """Weights that are not trained."""
    trained: int
    """Weights that are, in float32, and their copies in half the bytes where forward passes use them."""
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return OVERHEAD + sum(dataclasses.astuple(self))

    def line(self) -> str:
        """For people."""
        sizes = vars(self) | {"overhead": OVERHEAD}
        parts = ", ".join(f"{name} {size / GIGABYTE:.2f}" for name, size in sizes.items())
        return f"memory, estimated: {self.total / GIGABYTE:.2f} GB ({parts})"


def estimate(
    pipeline: StableDiffusionPipeline,
    trained: Iterable[nn.Parameter],
    activations: int,
    *,
    optimizer: str,
    half: bool,
    more: Iterable[nn.Module] = (),
) -> Bytes:
    """Of a step.  `more`: modules with weights besides the pipeline's; `half`: mixed precision."""
    trained = {id(parameter): parameter for parameter in trained}
    modules = [pipeline.unet, pipeline.vae, pipeline.text_encoder, *more]
    every = {id(parameter): parameter for module in modules for parameter in module.parameters()}
    learned = sum(parameter.numel() for parameter in trained.values())
    others = sum(parameter.numel() for key, parameter in every.items() if key not in trained)
    state = {"adamw": 8 * learned, "adafactor": sum(4 * sum(p.shape) for p in trained.values())}[optimizer]
    return Bytes(others * (2 if half else 4), learned * (6 if half else 4), 4 * learned, state, activations)


def activations_of(
    pipeline: StableDiffusionPipeline, batch: int, side: int, *, half: bool, checkpointing: bool
) -> int:
    """Bytes that the U-Net keeps for the backward pass, for images of `side` pixels.

    With checkpointing the inputs of its residual and transformer blocks are kept, and what one of them, the
    largest, keeps while it is computed again."""
    from diffusers.models.attention import BasicTransformerBlock
    from diffusers.models.resnet import ResnetBlock2D

    unet = copy.deepcopy(pipeline.unet).to("meta").train()
    unet.disable_gradient_checkpointing()
    latent = side // pipelines.latent_factor(pipeline)
    x = torch.empty(batch, unet.config.in_channels, latent, latent, device="meta")
    text = pipeline.text_encoder.config
    words = torch.empty(batch, text.max_position_embeddings, text.hidden_size, device="meta")
    times = torch.zeros(batch, device="meta")
    run = lambda: unet(x, times, words.requires_grad_())
    inside, outside, inputs = kept_bytes(run, unet, (ResnetBlock2D, BasicTransformerBlock))
    total = outside + inputs + max(inside) if checkpointing else outside + sum(inside)
    return total // 2 if half else total


def kept_bytes(run: Callable, network: nn.Module, kinds: tuple[type, ...]) -> tuple[list[int], int, int]:
    """Bytes that autograd keeps of one forward pass: inside each module of these kinds, elsewhere, and the
    bytes of these modules' inputs.  Weights are not counted, a tensor that is kept twice once."""
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    blocks = [module for module in network.modules() if isinstance(module, kinds)]
    sizes, inputs, current, alive, handles = {id(block): 0 for block in blocks}, 0, [None], {}, []
    sizes[None] = 0

    def enter(block, given) -> None:
        nonlocal inputs
        current.append(id(block))
        inputs += given[0].numel() * given[0].element_size()

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights and storage._cdata not in alive:
            alive[storage._cdata] = storage  # its number is not used again while it lives
            sizes[current[-1]] += tensor.numel() * tensor.element_size()
        return tensor

    for block in blocks:
        handles.append(block.register_forward_pre_hook(enter))
        handles.append(block.register_forward_hook(lambda *_: current.pop() and None))
    try:
        with saved_tensors_hooks(keep, lambda tensor: tensor), _attention_in_pieces():
            run()
    finally:
        for handle in handles:
            handle.remove()
    elsewhere = sizes.pop(None)
    return list(sizes.values()), elsewhere, inputs


class _Attention(torch.autograd.Function):
    """What fused kernels keep of an attention: queries, keys, values and output, not the weights."""

    @staticmethod
    def forward(context, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        output = torch.empty_like(q)
        context.save_for_backward(q, k, v, output)
        return output


@contextmanager
def _attention_in_pieces():
    """On the meta device torch would take the attention that keeps everything."""
    real = nn.functional.scaled_dot_product_attention

    def attention(q: Tensor, k: Tensor, v: Tensor, *rest, **named) -> Tensor:
        return _Attention.apply(q, k, v) if q.is_meta else real(q, k, v, *rest, **named)

    with mock.patch.object(nn.functional, "scaled_dot_product_attention", attention):
        yield


def advise(needed: Bytes, kind: Kind, vram: int | None, device: Device) -> str:
    """The estimate in one line; InputError where it is more than --vram, or than the GPU has."""
    limits = {f"--vram {vram}": None if vram is None else vram * GIGABYTE}
    if device.torch.type == "cuda":
        limits["this GPU"] = torch.cuda.get_device_properties(device.torch).total_memory
    for name, limit in limits.items():
        if limit is not None and needed.total > limit:
            raise InputError(
                f"{name}: {needed.total / GIGABYTE:.1f} GB are needed ({needed.line()}), "
                f"{limit / GIGABYTE:.0f} GB are there; {ADVICE[kind]}"
            )
    return needed.line()
