"""Train an autoencoder on normal images only, to find spills by what it cannot reconstruct.

Theory: theory/en/autoencoders.md, eqs. (ae.1)-(ae.3), (ae.11) and, for --arch memory, (ae.6)-(ae.9).

python hw1_bayes_and_autoencoders/train_autoencoder.py                  # drawn wells, linear2: 15 s, one core
python hw1_bayes_and_autoencoders/train_autoencoder.py --latent 128 --patches 4 --epochs 30             # 20 s
python hw1_bayes_and_autoencoders/train_autoencoder.py --arch conv --latent 128 --patches 4 --epochs 30 # 70 s
python hw1_bayes_and_autoencoders/train_autoencoder.py --data path/to/moulds --arch memory
python hw1_bayes_and_autoencoders/train_autoencoder.py --data mnist --normal-class 1
python hw1_bayes_and_autoencoders/train_autoencoder.py --resume runs/hw1/0001-linear2-wells
torchrun --nproc-per-node 2 hw1_bayes_and_autoencoders/train_autoencoder.py

val/mse of the first three is about 0.0029, 0.0029 and 0.0025; what they find is measured by
eval_autoencoder.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common import checkpoints, command_line, devices, figures, flags, resumable, runs
from common.data import Batches, ImageSet, to_model_range, to_uint8
from common.errors import InputError
from common.shapes import parameters

import torch
from annotated_types import Interval

from hw1_bayes_and_autoencoders import anomaly_data, autoencoders


@dataclass(frozen=True)
class Config(flags.TrainingFlags):
    """Flags of train_autoencoder.py."""

    data: flags.Data = "wells"
    """Images to learn: wells, a folder in the course's layout, or a labelled set: digits, mnist,
    fashion-mnist."""
    arch: autoencoders.Arch = "linear2"
    """Networks: two or five linear layers each way, convolutions, a VAE, or a memory-guided autoencoder
    (MNAD)."""
    latent: flags.Dimensions = 32
    """Numbers in the latent vector; for `memory`, per latent pixel."""
    size: flags.Pixels | None = None
    """Side of the images in pixels; by default 28 for linear layers and 32 for the others."""
    color: bool = False
    """Learn three channels instead of grey levels."""
    normal_class: flags.CountOrZero | None = None
    """The class of a labelled set that counts as normal; by default 0."""
    epochs: flags.Count = 20
    """Passes over the normal training images."""
    batch_size: flags.Count = 64
    """Images per step, over all processes."""
    lr: flags.LearningRate = 1e-3
    """Learning rate of Adam."""
    memory_items: Annotated[int, Interval(ge=2, le=4096)] = 10
    """Items in the memory of `--arch memory`; its separateness loss compares two."""
    patches: Annotated[int, Interval(ge=0, le=1000)] = 0
    """Grey rectangles painted over each training image, which the autoencoder has to remove (denoising)."""
    pixel_sigma: Annotated[float, Interval(ge=1e-3, le=100)] = 0.1
    """Noise of the pixels that `--arch vae` assumes, in grey levels of [0, 1]; larger weighs the KL more."""

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.size or (28 if self.arch.startswith("linear") else 32)

    @property
    def detector(self) -> str:
        """What tables call this detector."""
        return f"{self.arch}-denoising" if self.patches else self.arch

    @property
    def run_name(self) -> str:
        """Name of the run directory, after its number."""
        return f"{self.detector}-{Path(self.data).name}"


def main(config: Config) -> Path:
    check(config)
    device = devices.start(config.device, precision=config.precision, seed=config.seed)
    model = device.prepare(build_model(config), channels_last=not config.arch.startswith("linear"))
    parallel_model = device.parallel(model)  # DistributedDataParallel gives all processes rank 0's weights
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    train, val = load_part(config, "train"), load_part(config, "val")
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    val_batches = Batches(val, 256, device.torch, shuffle=False)
    averages, steps = runs.Averages(), config.epochs * len(batches)

    parts = {"model": model, "optimizer": optimizer, "averages": averages}
    parts |= {"batches": batches, "validation": val}
    with resumable.start("hw1", config.run_name, config, device, **parts) as (run, saver, done):
        for step, batch in zip(run.progress(done + 1, steps), batches.forever()):
            x = batch.images
            with device.autocast():
                corrupted = autoencoders.with_patches(x, config.patches) if config.patches else x
                terms = parallel_model(x, corrupted)  # reads `corrupted`, is to give x: eq. (ae.11)
            loss = sum(term.mean() for term in terms.values())  # eq. (ae.1), means over the batch
            optimizer.zero_grad()
            loss.backward()  # the gradients of eqs. (ae.2), (ae.3)
            optimizer.step()

            averages.add(terms)
            if step % len(batches) == 0:
                val_mse, means = mean_squared_error(model, val_batches), averages.take(device)
                saver.require_finite(step, *means.values())
                run.log(step, {"epoch": step // len(batches), "val/mse": val_mse, **means})
                saver.save_if_best(step, val_mse)
            saver.save_if_due(step, loss)
        saver.save(steps)
        if device.is_main:
            report(config, run, val)
    return run.folder


@torch.inference_mode()
def mean_squared_error(model: autoencoders.Autoencoder, batches: Batches) -> float:
    """Mean over images of the reconstruction error, in squared grey levels of [0, 1]."""
    model.eval()
    errors = [
        autoencoders.squared_error(batch.images, model.reconstruct(batch.images)).mean((1, 2))  # (B,)
        for batch in batches
    ]
    model.train()
    return torch.cat(errors).mean().item()


# ---- before the loop


def check(config: Config) -> None:
    """A warning for flags that another --arch would need."""
    command_line.warn_of_idle(config, "memory_items", needs="--arch memory", met=config.arch == "memory")
    command_line.warn_of_idle(config, "pixel_sigma", needs="--arch vae", met=config.arch == "vae")


def load_part(config: Config, part: anomaly_data.Part) -> ImageSet:
    """The images of one part as this run sees them."""
    return anomaly_data.load(
        config.data,
        part,
        size=config.image_size,
        color=config.color,
        normal_class=config.normal_class,
        data_dir=config.data_dir,
    )


def build_model(config: Config) -> autoencoders.Autoencoder:
    """The untrained model of this run."""
    multiple = autoencoders.stride(config.arch)
    if config.image_size % multiple:
        raise InputError(f"--size {config.image_size}: --arch {config.arch} needs a multiple of {multiple}")
    return autoencoders.build(
        config.arch,
        3 if config.color else 1,
        config.image_size,
        config.latent,
        memory_items=config.memory_items,
        pixel_sigma=config.pixel_sigma,
    )


# ---- after the loop


def load_best(config: Config, run_dir: Path) -> autoencoders.Autoencoder:
    """The model of a run at its lowest validation error, on the CPU, in evaluation mode."""
    model = build_model(config)
    checkpoints.load_parts(run_dir / "checkpoints" / "best.pt", model=model)
    return model.eval()


@torch.inference_mode()
def report(config: Config, run: runs.Run, val: ImageSet) -> None:
    """Figures and summary.json of a finished run, from its best checkpoint."""
    model, lines = load_best(config, run.folder), runs.read_metrics(run.folder, "val/mse")
    best = min(lines, key=lambda line: line["val/mse"])
    run.summary(
        {"val/mse": best["val/mse"], "epoch": best["epoch"]},
        n_val=len(val),
        seed=config.seed,
        parameters=parameters(model),
        figures=save_figures(config, run.folder, model, val, lines),
    )
    run.say(
        f"best val/mse {best['val/mse']:.5f} at epoch {best['epoch']}; "
        f"next: python hw1_bayes_and_autoencoders/eval_autoencoder.py {run.folder}"
    )


def save_figures(
    config: Config, folder: Path, model: autoencoders.Autoencoder, val: ImageSet, lines: list[dict]
) -> list[str]:
    """Reconstructions of eight held-out images, and the error over the epochs."""
    shown = to_model_range(val.images[:8])
    rows = torch.cat([shown, model.reconstruct(shown), (shown - model.reconstruct(shown)).abs() * 2 - 1])
    figures.save_grid(
        folder / "reconstructions.png",
        to_uint8(rows),
        8,
        row_titles=("image", "reconstruction", "error x 2"),
        title=f"{config.arch} on held-out normal images of {val.name}",
    )
    figures.save_curves(
        folder / "loss.png",
        lines,
        ("train/mse", "val/mse"),
        log_scale=True,
        title=f"{config.detector} on {val.name}: reconstruction error",
        ylabel="MSE, grey levels of [0, 1] squared",
    )
    return ["reconstructions.png", "loss.png"]


if __name__ == "__main__":
    command_line.run(main, Config)
