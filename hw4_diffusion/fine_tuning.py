"""What fine-tuning with DreamBooth, LoRA and ControlNet shares: flags, runs, optimiser, reports.

Flags are named as in diffusers' example scripts; a run directory is that of every training of this course.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from common import command_line, devices, runs
from common.checkpoints import Checkpoints, Stateful
from common.data import Batches, ImageSet
from common.data.batches import SameImages
from common.devices import Device
from common.errors import InputError
from common.flags import Count, CountOrZero, Flags, Folder, LearningRate, Pixels, Positive, Seed, Share

import torch
from torch import Tensor, nn

from hw4_diffusion import drawing, memory, pipelines
from hw4_diffusion.numbered_checkpoints import NumberedCheckpoints

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

Schedule = Literal["constant", "constant_with_warmup", "linear", "cosine"]
LOG_EVERY = 10
"""Steps between lines of metrics.jsonl."""


@dataclass(frozen=True)
class FineTuning(Flags):
    """The flags of all three fine-tunings."""

    kind = "lora"
    for_large = MappingProxyType({"resolution": 512, "guidance_scale": 7.5, "num_inference_steps": 30})
    changeable_on_resume = frozenset(
        {"max_train_steps", "checkpointing_steps", "checkpoints_total_limit", "resume_from_checkpoint"}
    )

    pretrained_model_name_or_path: pipelines.Model = "avatars"
    """Model to start from: avatars (small, shipped), a folder, a hub id, a .safetensors or .ckpt file."""
    resolution: Pixels | None = None
    """Side of the images in pixels; the model's own if left out."""
    train_batch_size: Count = 4
    """Images of a forward pass, over all processes."""
    gradient_accumulation_steps: Count = 1
    """Forward passes whose gradients make one update."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, a third more time."""
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    """Number format of forward passes and frozen weights; what is trained stays float32."""
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    """AdamW keeps two numbers for each weight, Adafactor nearly none."""
    learning_rate: LearningRate = 1e-4
    """Learning rate after the warm-up."""
    lr_scheduler: Schedule = "constant"
    """How the learning rate changes over the steps."""
    lr_warmup_steps: CountOrZero = 0
    """Steps over which it rises, of every schedule but constant."""
    adam_weight_decay: Share = 0.01
    """Weight decay of the optimiser."""
    max_grad_norm: Positive = 1.0
    """A longer gradient is shortened to this length."""
    max_train_steps: Count = 400
    """Updates of the weights."""
    validation_prompt: str | None = None
    """Prompt of the images drawn while training."""
    num_validation_images: Count = 4
    """Images drawn of it, from the same seeds every time."""
    validation_steps: Count = 100
    """Steps between them."""
    guidance_scale: drawing.Guidance = 2.0
    """How strongly images that are drawn follow their prompt."""
    num_inference_steps: drawing.Steps = 20
    """Steps of the sampler for images that are drawn."""
    vram: Literal[8, 12, 16, 24] | None = None
    """Gigabytes of the GPU: sets batch, precision, checkpointing and optimiser so that SD 1.5 fits."""
    checkpointing_steps: Count = 100
    """Steps between checkpoints."""
    checkpoints_total_limit: Count = 2
    """Checkpoints that are kept, the newest ones."""
    resume_from_checkpoint: str | None = None
    """Checkpoint to go on from, latest or checkpoint-200: of --resume, or else of the newest such run."""
    seed: Seed = 0
    """Seed of weights, order and noise."""
    device: str = "auto"
    """Device to train on: auto, cpu, mps, cuda or cuda:N."""
    wandb: Literal["off", "offline", "online"] = "off"
    """Log to Weights & Biases too."""
    data_dir: Folder | None = None
    """Folder of the image sets; default: data/ in the repository."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""
    resume: Path | None = None
    """Run directory to continue; its config.json then gives the other flags' defaults."""

    @property
    def images_of_a_pass(self) -> int:
        """Images that go through the network together."""
        return self.train_batch_size

    def preset(self) -> FineTuning:
        """Defaults that --vram implies, and those of a model other than the small one."""
        implied = {} if pipelines.is_small(self.pretrained_model_name_or_path) else dict(self.for_large)
        implied |= {} if self.vram is None else memory.PRESETS[self.kind][self.vram]
        return dataclasses.replace(self, **implied)


# ---- opening a run


def start_device(config: FineTuning) -> Device:
    """Where it is trained."""
    precision = "bf16" if config.mixed_precision == "bf16" else "fp32"
    device = devices.start(config.device, precision=precision, seed=config.seed)
    if config.mixed_precision == "fp16" and device.torch.type != "cuda":
        raise InputError("--mixed_precision fp16: needs a GPU; use bf16 or no on this device")
    return device


def number_format(config: FineTuning, device: Device) -> torch.dtype:
    """Of forward passes and frozen weights."""
    if config.mixed_precision == "fp16":
        return torch.float16
    return torch.bfloat16 if device.precision == "bf16" else torch.float32


def autocast(config: FineTuning, device: Device) -> AbstractContextManager:
    """The number format of forward passes."""
    dtype = number_format(config, device)
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.torch.type, dtype)


def side_of_images(config: FineTuning, pipeline: StableDiffusionPipeline) -> int:
    """--resolution, or the model's own; InputError for one that has no latents."""
    side = config.resolution or pipelines.own_resolution(pipeline)
    halvings = len(pipeline.unet.config.down_block_types) - 1
    multiple = max(8, pipelines.latent_factor(pipeline) * 2**halvings)
    if side % multiple:
        raise InputError(f"--resolution {side}: this model needs a multiple of {multiple} pixels")
    return side


def resumed(config: FineTuning, name: str) -> FineTuning:
    """With --resume_from_checkpoint but without --resume: the newest run called NNNN-`name` is continued, as
    with diffusers' scripts, where the command of the run is given again.  A new run, where there is none."""
    if config.resume is not None or config.resume_from_checkpoint is None:
        return config
    found = sorted((Path(config.outdir) / "hw4").glob(f"[0-9]*-{name}"))
    if not found:
        print(f"--resume_from_checkpoint: no run called {name} in {config.outdir}/hw4; a new one begins")
        return dataclasses.replace(config, resume_from_checkpoint=None)
    saved = command_line.config_from_run(type(config), found[-1])
    command_line.check_resumed(saved, config, found[-1])
    return dataclasses.replace(config, resume=found[-1])


def prepare(
    config: FineTuning, pipeline: StableDiffusionPipeline, device: Device, side: int, *networks: nn.Module
) -> list[nn.Parameter]:
    """All parts on the device, and the parameters of `networks` that are trained.

    These are float32, whatever the model's files held; the frozen ones have the number format of the forward
    passes.  Says what is trained and how much memory it needs; InputError where there is less."""
    half = config.mixed_precision != "no"
    kept = memory.activations_of(
        pipeline, config.images_of_a_pass, side, half=half, checkpointing=config.gradient_checkpointing
    )
    trained = [p for network in networks for p in network.parameters() if p.requires_grad]
    needed = memory.estimate(pipeline, trained, kept, optimizer=config.optimizer, half=half, more=networks)
    if device.is_main:
        print(f"{sum(p.numel() for p in trained):,} parameters are trained")
        print(memory.advise(needed, config.kind, config.vram, device))
    dtype = number_format(config, device)
    for part in dict.fromkeys((pipeline.vae, pipeline.text_encoder, pipeline.unet, *networks)):
        part.train(part in networks)
        if part not in networks:
            part.requires_grad_(False)
        for tensor in (*part.parameters(), *part.buffers()):
            wanted = torch.float32 if tensor.requires_grad else dtype
            tensor.data = tensor.data.to(device.torch, wanted if tensor.is_floating_point() else None)
        if config.gradient_checkpointing and part in networks:
            enable = getattr(part, "enable_gradient_checkpointing", None)  # transformers has another name
            (enable or part.gradient_checkpointing_enable)()
    return trained


@contextmanager
def start(
    name: str, config: FineTuning, device: Device, *image_sets: ImageSet, **parts: Stateful | None
) -> Iterator[tuple[runs.Run, NumberedCheckpoints, int]]:
    """Open `OUTDIR/hw4/NNNN-NAME`, or the run to resume; yields the run, its checkpoints, and the steps done
    before.  `image_sets`: a resumed run must find the same ones."""
    parts = {part: stateful for part, stateful in parts.items() if stateful is not None}
    parts |= {f"images{i}": SameImages(images) for i, images in enumerate(image_sets)}
    every, limit = config.checkpointing_steps, config.checkpoints_total_limit
    with (
        runs.start("hw4", name, dataclasses.replace(config, resume_from_checkpoint=None), device) as run,
        NumberedCheckpoints(run.checkpoints_dir, device, every_steps=every, limit=limit, **parts) as saver,
    ):
        done = saver.resume(config.resume_from_checkpoint) if config.resume else 0
        run.rewind(done)
        try:
            yield run, saver, done
        except (MemoryError, RuntimeError) as error:
            if not command_line.is_out_of_memory(error):
                raise
            raise InputError(memory.OUT_OF_MEMORY.format(advice=memory.ADVICE[config.kind])) from error


# ---- what a step needs


def optimiser(config: FineTuning, parameters: list[nn.Parameter]):
    """Optimiser, learning rate over the steps as diffusers has it, and the scale of losses in float16.

    The trained parameters are float32: in a float16 weight a step of 1e-5 is lost."""
    from diffusers.optimization import get_scheduler

    kind = {"adamw": torch.optim.AdamW, "adafactor": torch.optim.Adafactor}[config.optimizer]
    optimizer = kind(parameters, config.learning_rate, weight_decay=config.adam_weight_decay)
    scheduler = get_scheduler(
        config.lr_scheduler, optimizer, num_warmup_steps=config.lr_warmup_steps,
        num_training_steps=config.max_train_steps,
    )  # fmt: skip
    return optimizer, scheduler, torch.amp.GradScaler("cuda", enabled=config.mixed_precision == "fp16")


def length_taken(gradient: Tensor, scaler: torch.amp.GradScaler) -> Tensor:
    """|gradient|, and 0 of a step that overflowed in float16: the scaler leaves it out and scales less."""
    return torch.where(gradient.isfinite(), gradient, 0.0) if scaler.is_enabled() else gradient


def batches_of(images: ImageSet, config: FineTuning, device: Device, seed: int) -> Batches:
    """Whole batches of --train_batch_size, epoch after epoch."""
    return Batches(images, config.train_batch_size, device, drop_last=True, seed=seed)


# ---- reports


class Report:
    """Lines of metrics.jsonl, images of the validation prompt, and the summary."""

    def __init__(
        self, config: FineTuning, device: Device, pipeline: StableDiffusionPipeline, prompt: str, side: int
    ):
        self.config, self.device, self.pipeline, self.side = config, device, pipeline, side
        self.prompt, self.averages = config.validation_prompt or prompt, runs.Averages()

    def step(self, run: runs.Run, saver: Checkpoints, step: int, values: dict[str, Tensor]) -> None:
        """`values`: name -> (B,) of this step."""
        self.averages.add(values)
        last = step == self.config.max_train_steps
        if step % LOG_EVERY == 0 or last:
            means = self.averages.take(self.device)
            saver.require_finite(step, *means.values())
            if self.config.mixed_precision == "fp16" and means["train/gradient_norm"] == 0:
                raise InputError(
                    f"gradients overflow in float16: no step was taken before step {step}; "
                    "use --mixed_precision bf16 or no"
                )
            run.log(step, means)
        if (step % self.config.validation_steps == 0 or last) and self.device.is_main:
            self.validate(run, step)

    def validate(self, run: runs.Run, step: int) -> None:
        """A picture: images of the validation prompt."""
        count = self.config.num_validation_images
        with drawing.evaluating(self.pipeline), autocast(self.config, self.device):
            images = drawing.draw(
                self.pipeline, [self.prompt] * count, range(count), resolution=self.side,
                steps=self.config.num_inference_steps, guidance=self.config.guidance_scale,
            )  # fmt: skip
        run.save_samples("validation", step, images, count, title=self.prompt)

    def finish(self, run: runs.Run, saved: Path, parameters: int, **more) -> None:
        """summary.json of a finished run."""
        last = {name: value for line in runs.read_metrics(run.folder) for name, value in line.items()}
        files = [saved] if saved.is_file() else [path for path in saved.rglob("*") if path.is_file()]
        numbers = {name: value for name, value in last.items() if "/" in name}
        numbers |= {"trained_parameters": parameters, "megabytes": sum(f.stat().st_size for f in files) / 1e6}
        run.summary(numbers, steps=last["step"], seed=self.config.seed, **more)
        run.say(f"finished: {saved}")
