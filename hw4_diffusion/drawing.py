"""Images by prompt, each from a random generator of its own: image k is the same in every batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from common.data import to_model_range

import torch
from annotated_types import Interval
from torch import Tensor, nn

from hw4_diffusion import pipelines

if TYPE_CHECKING:
    from diffusers import ControlNetModel, StableDiffusionPipeline

Guidance = Annotated[float, Interval(ge=1, le=30)]
"""What the prompt changes is multiplied with it; 1 leaves that as it is, and diffusers knows no less."""
Steps = Annotated[int, Interval(ge=1, le=1000)]
"""Of a sampler: a Stable Diffusion has as many times."""
PIXELS = {"cpu": 2**20, "other": 2**21}
"""Of the images drawn at once: 256 of 64 × 64 on a CPU, 8 of 512 × 512 on a GPU."""


def first_latents(pipeline: StableDiffusionPipeline, seeds: Sequence[int], resolution: int) -> Tensor:
    """N(0, 1), float32 (N, latent channels, s, s): a row from each seed, drawn on the CPU everywhere."""
    side = resolution // pipelines.latent_factor(pipeline)
    shape = (pipeline.unet.config.in_channels, side, side)
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@torch.inference_mode()
def draw(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int,
    guidance: float,
    resolution: int | None = None,
    negative_prompt: str | None = None,
    batch_size: int | None = None,
    controlnet: ControlNetModel | None = None,
    edges: Tensor | None = None,
) -> Tensor:
    """uint8 (N, 3, resolution, resolution): one image for each prompt and seed.

    `resolution` is that of the model's training where none is given, and `batch_size` what `PIXELS` allow.
    `guidance` as eq. (latent_diffusion.6); `edges`, uint8 of that shape too, go to `controlnet`."""
    resolution = resolution or pipelines.own_resolution(pipeline)
    batch_size = batch_size or max(1, PIXELS.get(pipeline.device.type, PIXELS["other"]) // resolution**2)
    latents, dtype = first_latents(pipeline, seeds, resolution), pipeline.unet.dtype
    draws, more = pipeline, {}
    if controlnet is not None:
        from diffusers import StableDiffusionControlNetPipeline

        draws = StableDiffusionControlNetPipeline(
            **pipeline.components, controlnet=controlnet, requires_safety_checker=False
        )
    draws.set_progress_bar_config(disable=True)
    drawn = []
    for rows in torch.arange(len(latents)).split(batch_size):
        if controlnet is not None:
            more = {"image": (to_model_range(edges[rows]) + 1).div(2).to(pipeline.device, dtype)}
        images = draws(
            [prompts[row] for row in rows], latents=latents[rows].to(pipeline.device, dtype),
            num_inference_steps=steps, guidance_scale=guidance, output_type="pt", height=resolution,
            width=resolution, negative_prompt=[negative_prompt or ""] * len(rows), **more,
        ).images  # fmt: skip
        drawn.append(images.float().mul(255).round().clamp(0, 255).byte().cpu())
    return torch.cat(drawn)


class evaluating:
    """The parts of a pipeline in evaluation mode inside the block, as they were after it."""

    def __init__(self, pipeline: StableDiffusionPipeline):
        self.parts = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]

    def __enter__(self) -> None:
        self.were = [part.training for part in self.parts]
        for part in self.parts:
            part.eval()

    def __exit__(self, *exception) -> None:
        for part, training in zip(self.parts, self.were):
            part.train(training)
