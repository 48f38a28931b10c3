"""A trained diffusion model, network and schedule and what it predicts: of a run, of a file, or shipped."""

from __future__ import annotations

import dataclasses
import json
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common import checkpoints, command_line, runs, tensor_files
from common.averaged_weights import averaged
from common.data import ImageSet, to_uint8
from common.devices import Device
from common.environment import ROOT
from common.errors import InputError
from common.flags import Count, shipped_or_place

import torch
from pydantic import AfterValidator
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hw4_diffusion import schedule
from hw4_diffusion.diffusion import Denoise, Prediction, guided, image_and_noise, noise_in
from hw4_diffusion.schedule import ScheduleName
from hw4_diffusion.unet import Architecture, UNet

PRETRAINED = ROOT / "pretrained"
PREFIX = "ddpm-"
"""Shipped models are pretrained/ddpm-NAME.safetensors."""
DESCRIPTION = "model.json"
"""In the run directory: what config.json does not say of the network."""
CHUNK, GPU_CHUNK = 250, 2000
"""Images that are drawn at once; a GPU has room for more, and is idle with fewer."""


@dataclass(frozen=True)
class Description:
    """Everything but the weights."""

    architecture: Architecture
    schedule: ScheduleName
    timesteps: Count
    """T."""
    zero_terminal_snr: bool
    prediction: Prediction
    data: str
    """Set or folder it was trained on."""
    class_names: tuple[str, ...]
    told: str = "label"
    """What the classes are: labels of the set, an attribute, or nothing."""
    train_images: Count | None = None
    """How many of a drawn set it learned from."""
    guidable: bool = True
    """Whether it learned images of no class too, which guidance compares with."""

    @staticmethod
    def from_json(text: str) -> Description:
        """The inverse of json.dumps(dataclasses.asdict(description)); ValueError, InputError for another."""
        known = json.loads(text)
        tuples = lambda values: {key: tuple(x) if isinstance(x, list) else x for key, x in values.items()}
        architecture = command_line.checked(Architecture(**tuples(known.pop("architecture"))))
        return command_line.checked(Description(architecture, **tuples(known)))


class Model:
    """A network with everything needed to draw from it."""

    def __init__(self, known: Description, network: UNet):
        self.known, self.network, self.autocast = known, network, nullcontext
        self.schedule = schedule.build(
            known.schedule, known.timesteps, zero_terminal_snr=known.zero_terminal_snr
        )

    def on(self, device: Device) -> Model:
        """Its network there, computing in the device's number format."""
        device.prepare(self.network, channels_last=True)
        self.autocast = device.autocast
        return self

    @property
    def classes(self) -> int:
        """K; 0 where the network is told none."""
        return self.known.architecture.classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, S, S)."""
        shape = self.known.architecture
        return shape.image_channels, shape.size, shape.size

    def output(self, x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """What the network says of x_t (B, C, S, S) at times int64 (B,), in float32."""
        with self.autocast():
            return self.network(x, t / self.known.timesteps, labels).float()

    def denoiser(self, labels: Tensor | None = None, guidance: float = 1.0, *, clip: bool = True) -> Denoise:
        """The mean image and noise in x_t, of images of these classes int64 (B,), of any where None.

        `guidance`: eq. (diffusion.22), of both; `clip`: no image leaves [-1, 1], and the noise fits it."""
        if self.classes and labels is None:
            labels, guidance = torch.tensor(self.classes), 1.0

        def denoise(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
            time = torch.full((len(x),), t, device=x.device)
            told = None if labels is None else labels.to(x.device).expand(len(x))
            if guidance == 1:
                output = self.output(x, time, told)
            else:
                told = torch.cat([told, torch.full_like(told, self.classes)])
                output = guided(*self.output(x.repeat(2, 1, 1, 1), time.repeat(2), told).chunk(2), guidance)
            alpha, sigma = self.schedule.pair(t)
            x0, eps = image_and_noise(self.known.prediction, output, x, alpha, sigma)
            if clip:
                x0 = x0.clamp(-1, 1)
                eps = noise_in(x, x0, alpha, sigma)
            return x0, eps

        return denoise

    def check(self, classes: tuple[int, ...], guidance: float) -> None:
        """InputError for classes or guidance that this model cannot have."""
        if not self.classes and (classes or guidance != 1):
            asked = f"--guidance {guidance:g}" if guidance != 1 else f"--classes {classes[0]}"
            raise InputError(f"{asked}: this model was trained without classes; leave the flag out")
        if guidance != 1 and not self.known.guidable:
            raise InputError(
                f"--guidance {guidance:g}: this model was trained with --drop-class 0 and does not know what "
                "images of no class look like; leave the flag out"
            )
        for wrong in (one for one in classes if not 0 <= one < self.classes):
            names = ", ".join(f"{i} {name}" for i, name in enumerate(self.known.class_names))
            raise InputError(f"--classes {wrong}: there are {self.classes} classes: {names}")


def in_chunks(draw, x: Tensor, labels: Tensor | None, chunk: int | None = None) -> Tensor:
    """uint8 images (N, C, S, S) that `draw` makes of noise (N, C, S, S) and classes, a few at a time."""
    index = torch.arange(len(x)).split(chunk or CHUNK)
    return torch.cat(
        [to_uint8(draw(x[rows], None if labels is None else labels[rows])).cpu() for rows in index]
    )


def classes_of(images: ImageSet, told: str) -> tuple[Tensor | None, tuple[str, ...]]:
    """The class of each image, int64 (N,), and the names of the classes; None and () where none is told."""
    if told == "nothing" or (told == "label" and images.labels is None):
        return None, ()
    if told == "label":
        return images.labels, images.class_names
    if told not in images.options:
        known = ", ".join(["nothing", *["label"] * (images.labels is not None), *images.options])
        raise InputError(f"--told {told}: not known of {images.name}; there are {known}")
    return images.attributes[told], images.options[told]


# ---- on disk


def save(path: Path, model: Model, source: str) -> None:
    """Write a model with float16 weights; `source` says where it comes from."""
    known = {"description": json.dumps(dataclasses.asdict(model.known)), "source": source}
    tensors = {name: value.half().cpu().contiguous() for name, value in model.network.state_dict().items()}
    tensor_files.write(path, tensors, known, advice="free some space or choose another place")


def read(path: Path) -> Model:
    """The model in a file that `save` wrote; InputError for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            known = Description.from_json((file.metadata() or {})["description"])
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118  not a dict
        with torch.device("meta"):
            network = UNet(known.architecture)
        network.load_state_dict(tensors, assign=True)
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; name a model's .safetensors file or a run directory"
        ) from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError, InputError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: holds no diffusion model of this course ({reason}); train one") from error
    return ready(known, network)


def from_run(run_dir: Path, checkpoint: str = "last") -> Model:
    """The averaged weights of a checkpoint of train_ddpm.py, while it trains or after.

    Of a run that has no checkpoint yet, or came here without, those in its model.safetensors."""
    path = run_dir / DESCRIPTION
    try:
        known = Description.from_json(json.dumps(runs.read_json(path)))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not written by train_ddpm.py ({error}); name one of its runs") from None
    if not any(run_dir.glob("checkpoints/*.pt")) and (run_dir / "model.safetensors").is_file():
        return read(run_dir / "model.safetensors")
    ema = averaged(UNet(known.architecture), 0.0)
    checkpoints.load_parts(run_dir / "checkpoints" / f"{checkpoint}.pt", ema=ema)
    return ready(known, ema.module)


def ready(known: Description, network: UNet) -> Model:
    network = network.requires_grad_(False).eval().to(memory_format=torch.channels_last)
    return Model(known, network)


def names() -> list[str]:
    """Of the shipped models."""
    return sorted(path.stem.removeprefix(PREFIX) for path in PRETRAINED.glob(f"{PREFIX}*.safetensors"))


Network = Annotated[str, AfterValidator(lambda name: shipped_or_place(name, names))]
"""A shipped model by name, or where another one is."""


def load(model: str | Path, checkpoint: str = "last") -> Model:
    """The model called `model`: a shipped one's name, a run directory of train_ddpm.py, or a .safetensors
    file."""
    text, path = str(model), Path(os.path.expanduser(model))
    if text in names():
        return read(PRETRAINED / f"{PREFIX}{text}.safetensors")
    if path.is_dir():
        return from_run(path, checkpoint)
    if not path.exists():
        shipped = ", ".join(names()) or "none yet"
        raise InputError(f"--model {model}: neither a run directory, nor a file, nor shipped ({shipped})")
    return read(path)
