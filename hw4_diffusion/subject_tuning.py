"""What DreamBooth and LoRA share: the subject's pictures with their prompts, and images of its class.

subject, said, prior = subject_tuning.load(config, pipeline, side, device)
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, NamedTuple

from common import command_line
from common.data import ImageSet
from common.devices import Device
from common.errors import InputError
from common.flags import Count, Folder, NonNegative

from annotated_types import Interval

from hw4_diffusion import class_images, instance_prompts, prompts, subjects
from hw4_diffusion.fine_tuning import FineTuning, Schedule

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline


@dataclass(frozen=True)
class OfSubject(FineTuning):
    """The flags of fine-tunings that teach a subject."""

    max_train_steps: Count = 2000
    """Updates of the weights."""
    lr_scheduler: Schedule = "cosine"
    """How the learning rate changes over the steps."""
    guidance_scale: Annotated[float, Interval(ge=1, le=30)] = 1.5
    """How strongly validation images follow their prompt."""
    instance_data_dir: subjects.Subject = "drawn1"
    """The subject: drawn1, ..., drawn6, or a folder of at least 15 pictures."""
    instance_prompt: str = "a portrait of a sks person"
    """Prompt of pictures without a caption, with the token that stands for the subject."""
    instance_token: str = "sks"
    """Word of the prompt that the subject is called by."""
    instance_captions: bool = True
    """Learn each picture by its caption where it has one: 01.txt beside 01.png; the drawn persons have."""
    with_prior_preservation: bool = False
    """Learn from images of the class too."""
    class_prompt: str = "a portrait of a person"
    """Prompt of the class's images, without the token."""
    class_negative_prompt: str | None = None
    """What the class's images should not be."""
    class_guidance_scale: Annotated[float, Interval(ge=1, le=30)] = 1.0
    """How strongly they follow their prompts; 1 draws what the model has learnt, more narrows it."""
    class_data_dir: Folder | None = None
    """Folder of the class's images; what is missing is drawn.  Default: one in data/class_images."""
    num_class_images: Count = 1000
    """Images of the class."""
    sample_batch_size: Count = 16
    """Images of the class that are drawn at once."""
    prior_loss_weight: NonNegative = 1.0
    """Weight of the class's loss beside the subject's."""

    for_large = MappingProxyType(
        {**FineTuning.for_large, "max_train_steps": 800, "lr_scheduler": "constant",
         "instance_prompt": "a photo of sks woman face",
         "class_prompt": "a photo of woman face", "class_guidance_scale": 7.5, "num_class_images": 200,
         "sample_batch_size": 4}
    )  # fmt: skip

    @property
    def images_of_a_pass(self) -> int:
        """Images that go through the network together: as many of the class as of the subject."""
        return self.train_batch_size * (2 if self.with_prior_preservation else 1)


class Pictures(NamedTuple):
    """What a subject is learnt from."""

    subject: ImageSet
    """N pictures."""
    said: list[str]
    """N + 1 prompts: of each picture, and of the class."""
    of_class: ImageSet | None
    """Images of the class; None without prior preservation."""


def load(config: OfSubject, pipeline: StableDiffusionPipeline, side: int, device: Device) -> Pictures:
    """Pictures of side x side pixels; InputError for prompts that cannot mean the subject, or the class.

    Images of the class are drawn last, by the first process, where some are missing."""
    check(config)
    token, otherwise = config.instance_token, config.instance_prompt
    prompts.check_instance(pipeline, otherwise, token)
    if config.validation_prompt:
        prompts.check_known(pipeline, config.validation_prompt, "--validation_prompt")
    if config.with_prior_preservation:
        prompts.check_class(pipeline, config.class_prompt, token)
    subject = subjects.load(config.instance_data_dir, side)
    said = [otherwise] * len(subject)
    if config.instance_captions:
        said = instance_prompts.of(pipeline, subject, token, otherwise=otherwise)
    of_class = images_of_class(config, pipeline, side, device) if config.with_prior_preservation else None
    return Pictures(subject, [*said, config.class_prompt], of_class)


def check(config: OfSubject) -> None:
    """Warnings for flags that do nothing without prior preservation; InputError for too few images."""
    command_line.warn_of_idle(
        config, "class_data_dir", "class_negative_prompt", "class_guidance_scale", "num_class_images",
        "prior_loss_weight",
        needs="--with_prior_preservation", met=config.with_prior_preservation,
    )  # fmt: skip
    if config.with_prior_preservation and config.num_class_images < config.train_batch_size:
        raise InputError(
            f"--num_class_images {config.num_class_images}: fewer than --train_batch_size "
            f"{config.train_batch_size}; use more images, 200 or so"
        )


def images_of_class(
    config: OfSubject, pipeline: StableDiffusionPipeline, side: int, device: Device
) -> ImageSet:
    """Those of the folder, and what is missing drawn."""
    wanted = class_images.Wanted(
        config.pretrained_model_name_or_path, config.class_prompt, config.class_negative_prompt,
        config.num_class_images, side, config.num_inference_steps, config.class_guidance_scale,
        config.sample_batch_size, config.seed,
    )  # fmt: skip
    folder = config.class_data_dir or wanted.folder(config.data_dir)
    if device.is_main:
        class_images.complete(pipeline, wanted, folder, device.torch)
    device.barrier()
    return class_images.load(wanted, folder)
