"""A text-to-image pipeline by name: the course's own, a folder, a hub id, or a single-file checkpoint.

pipeline = pipelines.load("avatars")                                        # shipped with the course
pipeline = pipelines.load("stable-diffusion-v1-5/stable-diffusion-v1-5")    # downloaded once
pipeline = pipelines.load("model.safetensors")                              # converted once

What comes back is a StableDiffusionPipeline of diffusers in float32, without a safety checker.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from common import (
    atomic,
    downloads,
    torchvision_operators,  # noqa: F401  diffusers imports torchvision
)
from common.environment import ROOT
from common.errors import InputError
from common.flags import shipped_or_place

import torch
from pydantic import AfterValidator
from torch import Tensor, nn

if TYPE_CHECKING:  # importing diffusers takes seconds
    from diffusers import StableDiffusionPipeline

SHIPPED = {"avatars": ROOT / "pretrained" / "text-to-image-avatars"}
"""The course's own models."""
SINGLE_FILE = (".safetensors", ".ckpt")
SD_TEXT_WIDTH = 768
"""Length of a word's vector in Stable Diffusion 1; later ones have longer ones."""
HUB_ID = r"[\w.-]+/[\w.-]+"
UNREACHABLE = (
    "the hub cannot be reached and the model is not in the cache ({cache}); connect once, or name a folder "
    "that holds it"
)


def _folder_or_id(name: str) -> str:
    """A place on this machine as an absolute path, so that a run can be resumed from anywhere."""
    if not name.strip():
        raise ValueError("no name of a model; give a folder, a hub id or a checkpoint file")
    return shipped_or_place(name, lambda: SHIPPED)


Model = Annotated[str, AfterValidator(_folder_or_id)]
"""A model by name, folder, hub id or checkpoint file."""


def place_of(name: str) -> Path:
    """Where a model is on this machine, if it is: a run directory of this homework holds it in pipeline/."""
    place = SHIPPED.get(name, Path(name))
    return place / "pipeline" if (place / "pipeline" / "model_index.json").is_file() else place


def bytes_of(name: str) -> int:
    """Of all files of a pipeline's folder."""
    return sum(path.stat().st_size for path in place_of(name).rglob("*") if path.is_file())


def is_small(name: str) -> bool:
    """Whether the model called so is the course's own, or one trained here in its place."""
    config = place_of(name) / "unet" / "config.json"
    try:
        width = json.loads(config.read_text(encoding="utf-8"))["cross_attention_dim"]
    except (OSError, ValueError, KeyError, TypeError):
        return name in SHIPPED
    return isinstance(width, int) and width < SD_TEXT_WIDTH


def load(name: str, *, flag: str = "--pretrained_model_name_or_path") -> StableDiffusionPipeline:
    """The pipeline called `name`; InputError where there is none or it cannot be read."""
    place = place_of(name)
    if place.is_file():
        if place.suffix not in SINGLE_FILE:
            raise InputError(f"{flag} {name}: a file, but no {' or '.join(SINGLE_FILE)}; name a model")
        place = converted(place, flag)
    if place.is_dir():
        return _from_folder(place, flag)
    if name in SHIPPED:
        raise InputError(
            f"{place}: the shipped model is not there; name a run of "
            "train_text_to_image.py, a folder of diffusers or a hub id instead"
        )
    if not re.fullmatch(HUB_ID, name):
        raise InputError(
            f"{flag} {name}: no such folder or file, and no hub id such as "
            "stable-diffusion-v1-5/stable-diffusion-v1-5"
        )
    return _from_hub(name, flag)


def _from_folder(folder: Path, flag: str) -> StableDiffusionPipeline:
    from diffusers import StableDiffusionPipeline

    index = folder / "model_index.json"
    if not index.is_file():
        raise InputError(
            f"{flag} {folder}: no model_index.json there; name the folder of a diffusers pipeline"
        )
    try:
        made_for = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    except (ValueError, OSError, AttributeError) as error:
        raise InputError(f"{index}: cannot be read ({_line(error)}); save the pipeline again") from error
    if made_for != "StableDiffusionPipeline":
        raise InputError(
            f"{flag} {folder}: a {made_for}; the fine-tunings here are of a StableDiffusionPipeline"
        )
    try:
        with quiet():
            pipeline = StableDiffusionPipeline.from_pretrained(
                folder, dtype=torch.float32, safety_checker=None, requires_safety_checker=False,
                local_files_only=True,
            )  # fmt: skip
        return _complete(pipeline)
    except Exception as error:  # each part is read by a library of its own
        raise InputError(
            f"{flag} {folder}: a part of the pipeline is missing or damaged ({_line(error)}); save or "
            "download it again"
        ) from error


def _complete(pipeline: StableDiffusionPipeline) -> StableDiffusionPipeline:
    """ValueError where a weight has no value: diffusers says nothing and leaves it on the meta device."""
    for part, module in pipeline.components.items():
        if isinstance(module, nn.Module):
            empty = [name for name, parameter in module.named_parameters() if parameter.is_meta]
            if empty:
                raise ValueError(f"{part} has no {empty[0]}, and {len(empty) - 1} more are missing")
    return pipeline


def _from_hub(name: str, flag: str) -> StableDiffusionPipeline:
    from diffusers import StableDiffusionPipeline
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        with quiet():
            pipeline = StableDiffusionPipeline.from_pretrained(
                name, dtype=torch.float32, safety_checker=None, requires_safety_checker=False
            )
        return _complete(pipeline)
    except Exception as error:
        causes = [error]
        while causes[-1].__cause__ or causes[-1].__context__:
            causes.append(causes[-1].__cause__ or causes[-1].__context__)
        of = lambda *kinds: any(isinstance(each, kinds) for each in causes)
        if of(GatedRepoError):
            reason = "its authors ask for an agreement; accept it on the hub and log in with `hf auth login`"
        elif of(RepositoryNotFoundError) and not of(LocalEntryNotFoundError):
            reason = "the hub has no such model; check the spelling"
        elif constants.HF_HUB_OFFLINE:
            reason = (
                f"HF_HUB_OFFLINE is set and the model is not in the cache ({constants.HF_HUB_CACHE}); unset "
                "it, or name a folder that holds the model"
            )
        elif isinstance(error, (OSError, ConnectionError, RuntimeError)) or of(LocalEntryNotFoundError):
            wrong = downloads.wrong_environment(constants.ENDPOINT)
            reason = wrong or UNREACHABLE.format(cache=constants.HF_HUB_CACHE)
        else:
            reason = _line(error)
        raise InputError(f"{flag} {name}: {reason}") from error


# ---- a checkpoint in one file


def converted(file: Path, flag: str) -> Path:
    """The pipeline folder of a single-file checkpoint, beside the file; made when it is opened first.

    The file holds weights alone.  Configurations and the tokenizer come from NAME-config/ beside it, where
    there is one, and from the hub otherwise."""
    from diffusers import StableDiffusionPipeline

    folder, config = file.with_name(f"{file.stem}-diffusers"), file.with_name(f"{file.stem}-config")
    if (folder / "model_index.json").is_file():
        return folder
    local = {"config": str(config), "local_files_only": True} if config.is_dir() else {}
    try:
        with quiet():
            pipeline = StableDiffusionPipeline.from_single_file(
                str(file), dtype=torch.float32, safety_checker=None, **local
            )
    except Exception as error:
        raise InputError(
            f"{flag} {file}: cannot be converted ({_line(error)}); its configuration and tokenizer are "
            f"taken from the hub, or from the folder of a pipeline of this kind, named {config.name}, beside "
            "the file"
        ) from error
    with quiet(), atomic.replacing_folder(folder, advice="free some space") as beside:
        pipeline.save_pretrained(beside)
    print(f"converted once: {folder}")
    return folder


# ---- prompts


def token_ids(pipeline: StableDiffusionPipeline, prompts: list[str]) -> Tensor:
    """int64 (B, length) of prompts, padded to the length that the text encoder reads."""
    return pipeline.tokenizer(
        prompts, padding="max_length", truncation=True, return_tensors="pt",
        max_length=pipeline.text_encoder.config.max_position_embeddings,
    ).input_ids  # fmt: skip


@torch.no_grad()
def words(pipeline: StableDiffusionPipeline, prompts: list[str]) -> Tensor:
    """(B, L, width): what the text encoder says of prompts, eq. (latent_diffusion.5)."""
    return pipeline.text_encoder(token_ids(pipeline, prompts).to(pipeline.text_encoder.device))[0]


# ---- sizes


def latent_factor(pipeline: StableDiffusionPipeline) -> int:
    """Pixels of an image a side for one latent."""
    return 2 ** (len(pipeline.vae.config.block_out_channels) - 1)


def own_resolution(pipeline: StableDiffusionPipeline) -> int:
    """Side of the images that the model was made for."""
    return pipeline.unet.config.sample_size * latent_factor(pipeline)


@contextmanager
def quiet():
    """Without the libraries' bars and advice; what goes wrong is raised all the same."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    levels = [(each, each.get_verbosity()) for each in (of_diffusers, of_transformers)]
    for each, _ in levels:
        each.set_verbosity_error()
        each.disable_progress_bar()
    try:
        yield
    finally:
        for each, level in levels:
            each.set_verbosity(level)


def _line(error: Exception) -> str:
    """The first words of an error."""
    return " ".join(str(error).split())[:200] or type(error).__name__
