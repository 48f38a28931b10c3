"""What fine-tuning left, put into a pipeline: nothing, a U-Net, LoRA weights, a ControlNet.

with tuned.LoRA(run_dir).inside(pipeline) as changed:
    ...                                          # draws with the LoRA; afterwards without
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from common import runs
from common.errors import InputError

from safetensors import SafetensorError, safe_open

from hw4_diffusion import lora, pipelines

if TYPE_CHECKING:
    from diffusers import ControlNetModel, StableDiffusionPipeline

DOWN = r"\.lora(_A|\.down|_linear_layer\.down)"
"""How the thin matrix that reads a layer's input is called, by diffusers and by peft."""


class Base:
    """The model as it was."""

    name = "base"

    def facts(self) -> dict:
        """What its training took."""
        return {}

    @contextmanager
    def inside(self, pipeline: StableDiffusionPipeline) -> Iterator[StableDiffusionPipeline]:
        yield pipeline


class UNet:
    """A U-Net, and a text encoder, of dreambooth.py."""

    def __init__(self, place: Path):
        self.run_dir, self.name = place, "U-Net"
        self.folder = pipelines.place_of(str(place))
        if not (self.folder / "unet").is_dir():
            raise InputError(f"--unet {place}: no pipeline there; name a finished run of dreambooth.py")

    def facts(self) -> dict:
        return facts_of(self.run_dir)

    @contextmanager
    def inside(self, pipeline: StableDiffusionPipeline) -> Iterator[StableDiffusionPipeline]:
        other = pipelines.load(str(self.folder), flag="--unet")
        if other.unet.config.cross_attention_dim != pipeline.unet.config.cross_attention_dim:
            raise InputError(f"--unet {self.run_dir}: of another model than the one it is compared with")
        yield other.to(pipeline.device)


def loras(places: Sequence[Path]) -> list[LoRA]:
    """Those of `--lora`, each with a name of its own: of several with one rank, the folder is named too."""
    found = [LoRA(place) for place in places]
    often = Counter(one.name for one in found)
    for one, place in zip(found, places):
        if often[one.name] > 1:
            one.name += f", {place.name if place.is_dir() else place.parent.name}"
    if len({one.name for one in found}) < len(found):
        raise InputError(f"--lora {' '.join(map(str, places))}: two of them are called alike; name each once")
    return found


class LoRA:
    """Weights of train_lora.py, or of any trainer that writes them for diffusers."""

    def __init__(self, place: Path):
        self.run_dir = place
        self.file = place / lora.FILE if place.is_dir() else place
        if not self.file.is_file():
            raise InputError(f"--lora {place}: no {lora.FILE} there; name a finished run of train_lora.py")
        rank = re.search(r"rank(\d+)", place.name)
        self.name = f"LoRA, rank {rank[1]}" if rank else f"LoRA {place.stem}"

    def facts(self) -> dict:
        return facts_of(self.run_dir)

    @contextmanager
    def inside(self, pipeline: StableDiffusionPipeline) -> Iterator[StableDiffusionPipeline]:
        self.check(pipeline)
        try:
            with pipelines.quiet():
                pipeline.load_lora_weights(self.file.parent, weight_name=self.file.name)
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(f"--lora {self.file}: cannot be put into this model ({reason})") from error
        yield pipeline
        pipeline.unload_lora_weights()

    def check(self, pipeline: StableDiffusionPipeline) -> None:
        """InputError for weights of another model: layers of other names or widths."""
        try:
            with safe_open(self.file, framework="pt") as file:
                shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(f"--lora {self.file}: not a file of weights ({error})") from error
        downs = {key: shape for key, shape in shapes.items() if re.search(DOWN, key)}
        if not downs:
            raise InputError(f"--lora {self.file}: no LoRA weights in it; name {lora.FILE} of a training")
        layers = dict(pipeline.unet.named_modules())
        for key, shape in downs.items():
            if not key.startswith("unet."):
                continue
            name = re.sub(DOWN + ".*", "", key.removeprefix("unet."))
            width = getattr(layers.get(name), "in_features", None)
            if width != shape[1]:
                there = "there is no such layer" if width is None else f"there it is {width}"
                raise InputError(
                    f"--lora {self.file}: made for another model ({name} reads {shape[1]} numbers, {there}); "
                    "name the model it was trained on with --pretrained_model_name_or_path"
                )


def controlnet(name: str, pipeline: StableDiffusionPipeline) -> ControlNetModel:
    """The ControlNet of a run directory, a folder or a hub id, for this pipeline."""
    from diffusers import ControlNetModel

    place = Path(name) / "controlnet" if (Path(name) / "controlnet").is_dir() else Path(name)
    if not place.is_dir() and not re.fullmatch(pipelines.HUB_ID, name):
        raise InputError(f"--controlnet {name}: no such folder, and no hub id")
    if place.is_dir() and not (place / "config.json").is_file():
        raise InputError(f"--controlnet {name}: no config.json there; name a run of train_controlnet.py")
    try:
        with pipelines.quiet():
            found = ControlNetModel.from_pretrained(str(place) if place.is_dir() else name)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--controlnet {name}: cannot be loaded ({reason})") from error
    wanted = pipeline.unet.config
    for key in ("cross_attention_dim", "in_channels", "block_out_channels"):
        if list_of(found.config[key]) != list_of(wanted[key]):
            raise InputError(
                f"--controlnet {name}: made for another model ({key} {found.config[key]}, here {wanted[key]})"
            )
    return found.eval().requires_grad_(False)


def list_of(value) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def facts_of(run_dir: Path) -> dict:
    """What summary.json says of a training; nothing where there is none."""
    if not (run_dir / "summary.json").is_file():
        return {}
    summary = runs.read_json(run_dir / "summary.json")
    known = {"minutes": summary.get("minutes")} | {
        name: summary.get("metrics", {}).get(name) for name in ("trained_parameters", "megabytes")
    }
    return {name: value for name, value in known.items() if isinstance(value, (int, float))}
