"""Checks of theory/{en,ru}/latent_diffusion.md: parameters, bytes and number formats, counted.

The networks have the shapes of Stable Diffusion 1.5 and no weights: torch's meta device computes shapes only.
"""

import dataclasses
from functools import cache
from types import SimpleNamespace

from common import torchvision_operators  # noqa: F401  diffusers imports torchvision

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from transformers import CLIPTextConfig, CLIPTextModel

from hw4_diffusion import lora, memory
from theory.printed import printed
from theory.tags import verifies

GB = 1e9


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@cache
def parts() -> dict[str, nn.Module]:
    """U-Net, text encoder and autoencoder of Stable Diffusion 1.5, and a ControlNet for it."""
    levels, text = 4, {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
        return {
            "unet": unet,
            "text": CLIPTextModel(CLIPTextConfig(**text, vocab_size=49_408, num_attention_heads=12)),
            "vae": AutoencoderKL(
                block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
                down_block_types=("DownEncoderBlock2D",) * levels,
                up_block_types=("UpDecoderBlock2D",) * levels,
            ),
            "controlnet": ControlNetModel.from_unet(unet),
        }  # fmt: skip


def test_parameters_of_the_parts():
    sizes = {name: size(network) for name, network in parts().items()}
    expected = {"unet": 859.5, "text": 123.1, "vae": 83.7, "controlnet": 361.3}
    assert {name: round(count / 1e6, 1) for name, count in sizes.items()} == expected
    zeros = parts()["controlnet"].controlnet_down_blocks
    assert len(zeros) + 1 == 13
    keys = [layer for name, layer in parts()["unet"].named_modules() if name.endswith("attn2.to_k")]
    assert sum(2 * layer.weight.numel() for layer in keys) == 19_169_280  # IP-Adapter's second pairs
    assert round((1024 * 4 * 768 + 4 * 768 + 2 * 768) / 1e6, 1) == 3.2  # and its layer, with the norm


@verifies("latent_diffusion.9")
def test_numbers_of_a_lora():
    thin, full = printed(r"""
        «thin»
        \quad \text{} \quad
        «full»
        \tag{latent_diffusion.9}
    """)
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    layers = lora.insert(unet, rank=1, alpha=1.0)
    sides = [layer.frozen.weight.shape for layer in layers.values()]
    assert len(layers) == 128
    assert sum(full(d=d, k=k).item() for d, k in sides) == 93_511_680
    assert lora.parameters(layers) == sum(thin(r=1, d=d, k=k).item() for d, k in sides) == 199_296
    for rank, count, share in ((4, 797_184, 0.09), (8, 1_594_368, 0.19), (64, 12_754_944, 1.48)):
        assert rank * 199_296 == count
        assert round(100 * count / size(parts()["unet"]), 2) == share
    assert [round(4 * rank * 199_296 / 1e6, 1) for rank in (4, 8, 64)] == [3.2, 6.4, 51.0]


def test_small_changes_are_rounded_away_in_bfloat16():
    half = lambda value: torch.tensor(value).bfloat16().item()
    weight = half(0.02)
    assert 2**-6 < weight < 2**-5
    above = torch.nextafter(torch.tensor(weight).bfloat16(), torch.tensor(1.0).bfloat16()).item()
    assert above - weight == 2**-13 and f"{2**-13:.5f}" == "0.00012"
    assert half(weight + 5e-6) == weight == half(weight - 0.49 * 2**-13)
    assert half(weight + 0.51 * 2**-13) == above
    trained = torch.tensor(0.02).bfloat16().requires_grad_()
    optimizer = torch.optim.Adam([trained], 5e-6)
    for _ in range(5):
        trained.grad = torch.ones_like(trained)
        optimizer.step()
    assert trained.item() == weight


# ---- memory


@verifies("latent_diffusion.14")
def test_bytes_of_fine_tuning():
    (total,) = printed(r"\mathrm{bytes} = «total» \tag{latent_diffusion.14}")
    unet, text, vae = (size(parts()[name]) for name in ("unet", "text", "vae"))
    adapter = 199_296
    rows = [  # trained, frozen, bytes of a frozen one, of the optimiser, of the copy, printed in GB
        (unet, text + vae, 4, 8, 0, (0.83, 13.75, 14.58)),
        (unet, text + vae, 2, 8, 2, (0.41, 15.47, 15.88)),
        (unet, text + vae, 2, 2, 2, (0.41, 10.31, 10.73)),
        (unet, text + vae, 2, 0, 2, (0.41, 8.60, 9.01)),
        (unet + text, vae, 2, 8, 2, (0.17, 17.69, 17.85)),
        (8 * adapter, unet + text + vae, 2, 8, 2, (2.13, 0.03, 2.16)),
        (64 * adapter, unet + text + vae, 2, 8, 2, (2.13, 0.23, 2.36)),
        (size(parts()["controlnet"]), unet + text + vae, 2, 8, 2, (2.13, 6.50, 8.64)),
    ]
    for trained, frozen, b, o, h, expected in rows:
        count = lambda trained, frozen, b=b, o=o, h=h: total(
            b=b, o=o, h=h, P_f=frozen, P_t=trained, N=3, a=0
        ).item()
        found = [count(0, frozen), count(trained, 0), count(trained, frozen)]
        assert [round(value / GB, 2) for value in found] == list(expected)
    pipeline = SimpleNamespace(unet=parts()["unet"], text_encoder=parts()["text"], vae=parts()["vae"])
    for half, optimizer, b, o, h in ((True, "adamw", 2, 8, 2), (False, "adamw", 4, 8, 0)):
        needed = memory.estimate(pipeline, parts()["unet"].parameters(), 7, optimizer=optimizer, half=half)
        expected = total(b=b, o=o, h=h, P_f=text + vae, P_t=unet, N=7, a=1).item()
        assert sum(dataclasses.astuple(needed)) == expected
    few = memory.estimate(pipeline, parts()["unet"].parameters(), 0, optimizer="adafactor", half=True)
    assert few.optimizer < 0.003 * few.trained  # sums of rows and columns


def kept(network: nn.Module, x: Tensor, *condition: Tensor) -> list[Tensor]:
    """Tensors that autograd keeps of a forward pass, weights aside, each once."""
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    found = {}

    def keep(tensor: Tensor) -> Tensor:
        if (key := tensor.untyped_storage()._cdata) not in weights:
            found[key] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        network(x, *condition)
    return list(found.values())


def test_activations_of_the_unet():
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768).train()
        inputs = torch.empty(1, 4, 64, 64), torch.zeros(1), torch.empty(1, 77, 768)
    unet.set_attn_processor(AttnProcessor())  # the one that stores its table
    gigabytes = lambda tensors: sum(tensor.untyped_storage().nbytes() for tensor in tensors) / GB
    tensors = kept(unet, *inputs)
    places = {4096, 1024, 256, 64}
    tables = [
        tensor
        for tensor in tensors
        if tensor.ndim == 3 and tensor.shape[1] in places and tensor.shape[2] in places | {77}
    ]
    large = [tensor for tensor in tables if tensor.shape[1:] == (4096, 4096)]
    assert len(large) == 5
    assert [round(gigabytes(some), 1) for some in (tensors, tables, large)] == [4.8, 2.9, 2.7]
    pipeline = SimpleNamespace(unet=parts()["unet"], text_encoder=parts()["text"], vae=parts()["vae"])
    fused = [
        memory.activations_of(pipeline, 1, 512, half=half, checkpointing=checkpointing) / GB
        for half, checkpointing in ((False, False), (True, False), (False, True))
    ]
    assert [round(value, 1) for value in fused] == [1.7, 0.8, 0.4]
    with torch.device("meta"):
        pipeline.unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    lora.insert(pipeline.unet, rank=8, alpha=8.0)
    of_lora = memory.activations_of(pipeline, 1, 512, half=False, checkpointing=False) / GB
    assert 1 - of_lora / fused[0] == pytest.approx(1 / 6, abs=0.01)
