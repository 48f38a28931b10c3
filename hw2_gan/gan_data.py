"""The images of a GAN's run, and what the networks are told about them."""

from __future__ import annotations

from common import data
from common.data import ImageSet
from common.errors import InputError

import torch
from torch import Tensor

from hw2_gan.gan_flags import CONDITIONS, Config


def labels(config: Config, images: ImageSet, rows: Tensor | slice = slice(None)) -> Tensor | None:
    """The option of each attribute, int64 (B, A), of some rows of a set; None without --conditional."""
    if not config.conditional:
        return None
    return torch.stack([images.attributes[name][rows] for name in CONDITIONS[config.data]], 1)


def load_split(config: Config, split: str, count: int | None = None) -> ImageSet:
    """The images of one split as this run sees them."""
    return data.load(config.data, split, size=config.size, count=count, data_dir=config.data_dir)


def training_images(config: Config) -> ImageSet:
    """The images to learn from; InputError where they are too few for a step."""
    images = load_split(config, "train")
    if len(images) < config.batch_size * config.discriminator_steps:
        raise InputError(
            f"--batch-size {config.batch_size} --discriminator-steps {config.discriminator_steps}: only "
            f"{len(images)} training images; use smaller ones or add images"
        )
    return images


def validation_images(config: Config) -> ImageSet:
    """What every epoch is compared with: as many images as asked for, or all there are."""
    count = config.measure_images if config.data in data.DRAWN else None
    images = load_split(config, "val", count).few(config.measure_images)
    if (images.images == images.images[:1]).all():
        raise InputError(
            f"--data {config.data}: {len(images)} validation images and no two that differ; nothing to "
            "compare samples with; add images"
        )
    return images


def test_images(config: Config, count: int) -> ImageSet:
    """`count` test images of a drawn set, at most that many of any other."""
    drawn = count if config.data in data.DRAWN else None
    return load_split(config, "test", drawn).few(count)
