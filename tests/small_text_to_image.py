"""A Stable Diffusion small enough for tests of what is done with one: random weights, 32 pixels."""

from pathlib import Path

from common import torchvision_operators  # noqa: F401  diffusers imports torchvision

import torch

from hw4_diffusion import small_pipeline
from hw4_diffusion.small_pipeline import Description

SMALL = Description(
    size=32, autoencoder_channels=(8, 8, 16), unet_channels=(16, 32), heads=2, text_width=16, text_layers=1
)


def pipeline(known: Description = SMALL, seed: int = 0):
    """One with weights of this seed."""
    torch.manual_seed(seed)
    tokenizer = small_pipeline.build_tokenizer(known)
    return small_pipeline.assemble(
        small_pipeline.build_autoencoder(known), small_pipeline.build_text_encoder(known, tokenizer),
        tokenizer, small_pipeline.build_unet(known), small_pipeline.build_scheduler(),
    )  # fmt: skip


def folder(place: Path, known: Description = SMALL) -> str:
    """The same as a folder of diffusers, by the name that scripts take."""
    small_pipeline.save(pipeline(known), place)
    return str(place)


def tuning(model: str, outdir: Path, **changes) -> dict:
    """Flags of the smallest fine-tuning."""
    small = {
        "pretrained_model_name_or_path": model, "train_batch_size": 4, "max_train_steps": 6, "device": "cpu",
        "checkpointing_steps": 2, "validation_steps": 100, "num_validation_images": 1,
        "num_inference_steps": 2, "outdir": outdir,
    }  # fmt: skip
    return small | changes
