"""Train a diffusion model (Ho et al. 2020, Alg. 1).  Theory: theory/en/diffusion.md.

python hw4_diffusion/train_ddpm.py                               # drawn digits, told which one
python hw4_diffusion/train_ddpm.py --data mnist --precision bf16
python hw4_diffusion/train_ddpm.py --data avatars --size 32 --told hair
python hw4_diffusion/train_ddpm.py --schedule flow --prediction flow      # rectified flow
python hw4_diffusion/train_ddpm.py --resume runs/hw4/0001-ddpm-digits
torchrun --nproc-per-node 2 hw4_diffusion/train_ddpm.py

Of the averaged weights are logged the loss of validation images under the same noise every time, and the
Fréchet distance of samples to them.  They are kept in model.safetensors too; sample_ddpm.py draws from any
checkpoint while the training goes on.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from common import command_line, data, devices, resumable, runs, shapes
from common.averaged_weights import averaged
from common.cuda_graphs import Graphed
from common.data import Batches, ImageSet, to_model_range
from common.errors import InputError
from common.flags import (
    Channels,
    Count,
    Data,
    Decay,
    Images,
    Layers,
    LearningRate,
    Pixels,
    Positive,
    SeveralImages,
    Share,
    TrainingFlags,
)
from common.metrics import samples
from common.noise import BatchNoise
from common.schedules import half_cosine, set_learning_rate

import torch
from annotated_types import Interval
from torch import Tensor, nn

from hw4_diffusion import models, samplers, schedule
from hw4_diffusion.diffusion import (
    Prediction,
    min_snr_weight,
    noised,
    squared_error,
    target,
    without_class,
)
from hw4_diffusion.schedule import ScheduleName, sampling_times
from hw4_diffusion.unet import Architecture, UNet

LARGEST_GRADIENT = 1.0
"""A longer gradient is shortened to this length."""
WARM_UP = 200
"""Steps over which the learning rate rises."""
DRAWING_STEPS = 20
"""Steps of DPM-Solver++ for the samples of a measurement."""


@dataclass(frozen=True)
class Config(TrainingFlags):
    """Flags of train_ddpm.py."""

    data: Data = "digits"
    """digits, avatars, creatures, mnist, fashion-mnist, celeba, or a folder of images."""
    train_images: Images = 50_000
    """Images to learn from, of a drawn set."""
    size: Pixels | None = None
    """Side of the images; the set's own if left out."""
    told: str = "label"
    """What the network is told of each image: its label, an attribute of a drawn set (hair), or nothing."""
    drop_class: Share = 0.1
    """Share of images whose class is not told, so that samples can be guided."""
    schedule: ScheduleName = "cosine"
    """How the noise grows."""
    timesteps: Annotated[int, Interval(ge=10, le=100_000)] = 1000
    """T, the times of the schedule."""
    zero_terminal_snr: bool = False
    """Rescale the schedule so that nothing of the image is left at its end."""
    prediction: Prediction = "v"
    """What the network predicts: the noise, the image, v, or the velocity of straight paths."""
    weight: Literal["simple", "min-snr"] = "simple"
    """Weight of the times in the loss."""
    min_snr_gamma: Positive = 5.0
    """Signal-to-noise ratio from which on min-snr weighs the error of the image alike."""
    channels: tuple[Channels, ...] = (32, 64, 128)
    """Channels of the network at each size, from the images' own on, each half of the one before."""
    blocks: Layers = 1
    """Residual blocks at each size, down and up."""
    steps: Count = 20_000
    """Updates of the weights."""
    batch_size: Count = 64
    """Images per update, over all processes."""
    learning_rate: LearningRate = 1e-3
    """Adam's learning rate, constant until the cool-down."""
    cooldown: Share = 0.3
    """Last share of the steps, over which the learning rate falls to 0."""
    ema_decay: Decay = 0.999
    """What the averaged weights keep of their past at every step."""
    measure_every: Count = 2000
    """Steps between measurements."""
    measure_images: SeveralImages = 1000
    """Validation images, and samples that are compared with them."""
    compile: bool = False
    """Let torch.compile write kernels for this network: a minute at the start, and faster steps on a GPU."""


def update(
    config: Config, device: devices.Device, network: nn.Module, optimizer: torch.optim.Optimizer,
    x0: Tensor, eps: Tensor, t: Tensor, alpha: Tensor, sigma: Tensor, *classes: Tensor,
) -> dict[str, Tensor]:  # fmt: skip
    """One step on images and noise (B, C, S, S) at times int64 (B,) with alpha and sigma (B, 1, 1, 1), of
    classes int64 (B,) if the network is told any: the loss (B,), and the length of the gradient, (B,) times.
    """
    # task hw4.b: the loss and the update
    x_t = noised(x0, eps, alpha, sigma)
    with device.autocast():
        output = network(x_t, t / config.timesteps, *classes)
    loss = squared_error(output.float(), target(config.prediction, x0, eps, alpha, sigma))  # (B,)
    optimizer.zero_grad()
    (loss * weight(config, alpha, sigma)).mean().backward()
    gradient = nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
    optimizer.step()
    return {"loss": loss, "gradient_norm": gradient.expand(len(loss))}
    # end task


def main(config: Config) -> Path:
    check(config)
    device = devices.start(config.device, precision=config.precision, seed=config.seed)
    train, validation = load(config, "train", config.train_images), load(config, "val", config.measure_images)
    labels, class_names = models.classes_of(train, config.told)
    network = device.prepare(UNet(architecture(config, train, class_names)), channels_last=True)
    network_ddp, ema = device.parallel(network), averaged(network, config.ema_decay, growing=True)
    network_ddp = device.compiled(network_ddp) if config.compile else network_ddp
    optimizer = device.adam(network.parameters(), config.learning_rate)
    path = schedule.build(config.schedule, config.timesteps, zero_terminal_snr=config.zero_terminal_snr)
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    noise, averages = BatchNoise(config.batch_size, device, seed=config.seed), runs.Averages()
    step_of = Graphed(partial(update, config, device, network_ddp, optimizer), device)
    with resumable.start(
        "hw4", f"ddpm-{Path(config.data).name}", config, device, network=network, ema=ema, noise=noise,
        optimizer=optimizer, batches=batches, validation=validation, averages=averages,
    ) as (run, saver, done):  # fmt: skip
        report = Report(run, device, config, class_names, ema, validation)
        for step, batch in zip(run.progress(done + 1, config.steps), batches.forever()):
            set_learning_rate(optimizer, learning_rate(config, step))
            x0 = batch.images  # (B, C, S, S)
            time, chance = noise.uniform(2).unbind(1)
            t = 1 + (time * path.steps).long()  # (B,), uniform on 1, ..., T
            eps = noise.normal(*x0.shape[1:])
            classes = ()
            if class_names:
                told = labels[batch.index].to(device.torch)
                classes = (without_class(told, chance, config.drop_class, len(class_names)),)
            logged = step_of(x0, eps, t, *path.at(t, x0), *classes)
            ema.update_parameters(network)
            averages.add(logged)
            if step % config.measure_every == 0 or step == config.steps:
                means = averages.take(device)
                saver.require_finite(step, *means.values())
                report.measure(step, means)
            # with finite losses and gradients the weights are finite: no checkpoint is written otherwise
            saver.save_if_due(step, logged["loss"].mean() + logged["gradient_norm"].mean())
        saver.save(config.steps)
        report.finish()
    return run.folder


def weight(config: Config, alpha: Tensor, sigma: Tensor) -> Tensor | float:  # (B, 1, 1, 1) -> (B,)
    """What each image's loss is multiplied with."""
    if config.weight == "simple":
        return 1.0
    return min_snr_weight(config.prediction, alpha, sigma, config.min_snr_gamma).flatten()


def learning_rate(config: Config, step: int) -> float:
    """Rises, stays, and falls over the last `cooldown` of the steps, as half a cosine."""
    start = (1 - config.cooldown) * config.steps
    share = half_cosine(max(0.0, (step - start) / max(config.steps - start, 1)))
    return config.learning_rate * min(share, step / WARM_UP)


# ---- checks, data, building


def check(config: Config) -> None:
    """InputError for a prediction from which the schedule's end gives no image; a word where a flag does
    nothing."""
    if config.prediction == "epsilon" and (config.zero_terminal_snr or config.schedule == "flow"):
        ends = "--zero-terminal-snr" if config.zero_terminal_snr else "--schedule flow"
        raise InputError(
            f"--prediction epsilon: with {ends} the last image is noise alone, and no image can be had from "
            "the noise in it; use --prediction v, x0 or flow"
        )
    idle = command_line.warn_of_idle
    idle(config, "min_snr_gamma", needs="--weight min-snr", met=config.weight == "min-snr")
    idle(config, "drop_class", needs="--told label or an attribute", met=config.told != "nothing")
    of_curves = config.schedule != "flow"  # its end is noise alone anyway
    idle(config, "zero_terminal_snr", needs="--schedule linear or cosine", met=of_curves)


def load(config: Config, split: str, count: int) -> ImageSet:
    """The images of one split, at most `count` of a drawn set or of validation images."""
    drawn = config.data in data.DRAWN
    images = data.load(
        config.data, split, size=config.size, count=count if drawn else None, data_dir=config.data_dir
    )
    if images.shape[1] != images.shape[2]:
        raise InputError(
            f"--data {config.data}: images of {images.shape[1]}x{images.shape[2]}; use square ones"
        )
    return images.few(count) if split == "val" else images


def architecture(config: Config, images: ImageSet, class_names: tuple[str, ...]) -> Architecture:
    """Of a network for these images."""
    channels, size, _ = images.shape
    return Architecture(channels, size, config.channels, config.blocks, len(class_names))


# ---- reports


class Report:
    """Measures the averaged weights on rank 0, and keeps them for sampling."""

    def __init__(
        self, run: runs.Run, device: devices.Device, config: Config, class_names: tuple[str, ...],
        ema: nn.Module, validation: ImageSet,
    ):  # fmt: skip
        self.run, self.device, self.config = run, device, config
        if not device.is_main:
            return
        known = models.Description(
            ema.module.shape, config.schedule, config.timesteps, config.zero_terminal_snr, config.prediction,
            config.data, class_names, config.told, config.train_images, guidable=config.drop_class > 0,
        )  # fmt: skip
        runs.write_json(run.folder / models.DESCRIPTION, dataclasses.asdict(known))
        self.model, self.real = models.Model(known, ema.module), validation
        self.reference = samples.reference_of(validation, device.torch, any_side=True)
        self.labels, _ = models.classes_of(validation, config.told)
        generator = torch.Generator().manual_seed(1)
        self.noise = torch.randn(validation.images.shape, generator=generator)
        self.times = 1 + torch.randint(config.timesteps, (len(validation),), generator=generator)

    @torch.inference_mode()
    def measure(self, step: int, means: dict[str, float]) -> None:
        """One line of metrics.jsonl, a picture, a file of weights."""
        if not self.device.is_main:
            return
        drawn = models.in_chunks(self.draw, self.noise, self.labels)
        numbers = {"loss": self.loss()} | self.reference.measure(drawn)
        self.run.log(step, means | {f"val/{name}": value for name, value in numbers.items()})
        shown = slice(0, 64)
        if self.labels is not None:  # eight of each class, or of the first eight
            classes = min(self.model.classes, 10)
            shown = torch.cat([(self.labels == one).nonzero()[:8, 0] for one in range(classes)])
        self.run.save_samples("samples", step, drawn[shown], 8)
        models.save(self.run.folder / "model.safetensors", self.model, f"train_ddpm.py, step {step}")

    def draw(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Images of the averaged weights."""
        times = sampling_times(self.model.schedule, min(DRAWING_STEPS, self.model.schedule.steps))
        denoise = self.model.denoiser(labels)
        return samplers.last(
            samplers.dpm_solver(denoise, self.model.schedule, times, noise.to(self.device.torch))
        )

    def loss(self) -> float:
        """The simple loss of the validation images, each under one noise at one time."""
        total = 0.0
        for rows in torch.arange(len(self.real)).split(models.CHUNK):
            x0, eps = to_model_range(self.real.images[rows]), self.noise[rows]
            alpha, sigma = self.model.schedule.at(self.times[rows], x0)
            labels = None if self.labels is None else self.labels[rows].to(self.device.torch)
            x_t, t = (
                noised(x0, eps, alpha, sigma).to(self.device.torch),
                self.times[rows].to(self.device.torch),
            )
            output = self.model.output(x_t, t, labels).cpu()
            total += squared_error(output, target(self.config.prediction, x0, eps, alpha, sigma)).sum().item()
        return total / len(self.real)

    def finish(self) -> None:
        """summary.json of a finished run: its last measurement."""
        if not self.device.is_main:
            return
        last = runs.read_metrics(self.run.folder)[-1]
        self.run.summary(
            {name: value for name, value in last.items() if "/" in name},
            steps=last["step"],
            n_val=len(self.real),
            seed=self.config.seed,
            parameters=shapes.parameters(self.model.network),
        )
        self.run.say(f"finished; next: sample_ddpm.py --model {self.run.folder}")


if __name__ == "__main__":
    command_line.run(main, Config)
