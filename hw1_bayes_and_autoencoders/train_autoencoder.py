"""Train an autoencoder on normal images only, to find spills by what it cannot reconstruct.

Theory: theory/en/autoencoders.md, eqs. (ae.1)-(ae.3), (ae.11) and, for --arch memory, (ae.6)-(ae.9).

python hw1_bayes_and_autoencoders/train_autoencoder.py                  # drawn wells, linear2: 15 s, one core
python hw1_bayes_and_autoencoders/train_autoencoder.py --arch conv --latent 128 --patches 4 --epochs 30 # 70 s
python hw1_bayes_and_autoencoders/train_autoencoder.py --data path/to/moulds --arch memory
python hw1_bayes_and_autoencoders/train_autoencoder.py --data mnist --normal-class 1
python hw1_bayes_and_autoencoders/train_autoencoder.py --resume runs/hw1/0001-linear2-wells
torchrun --nproc-per-node 2 hw1_bayes_and_autoencoders/train_autoencoder.py

What it learned is measured by eval_autoencoder.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from common import checkpoints, command_line, devices, figures, flags, resumable, runs
from common.data import Batches, ImageSet, to_model_range, to_uint8
from common.errors import InputError
from hw1_bayes_and_autoencoders import anomaly_data, autoencoders


@dataclass(frozen=True)
class Config(flags.TrainingFlags):
    """Flags of train_autoencoder.py."""

    data: str = "wells"
    """`wells`, a folder in the course's layout, or a labelled set: digits, mnist, fashion-mnist."""
    arch: Literal["linear2", "linear5", "conv", "vae", "memory"] = "linear2"
    """Two or five linear layers each way, convolutions, a VAE, or a memory-guided autoencoder (MNAD)."""
    latent: int = 32
    """Numbers in the latent vector; for `memory`, per latent pixel."""
    size: int | None = None
    """Side of the images in pixels; by default 28 for linear layers and 32 for the others."""
    color: bool = False
    """Three channels instead of grey levels."""
    normal_class: int = 0
    """The class of a labelled set that counts as normal."""
    epochs: int = 20
    """Passes over the normal training images."""
    batch_size: int = 64
    """Images per step, over all processes."""
    lr: float = 1e-3
    """Adam's learning rate."""
    memory_items: int = 10
    """Items in the memory of `--arch memory`."""
    patches: int = 0
    """Grey rectangles painted over each training image, which the autoencoder has to remove (denoising)."""
    pixel_sigma: float = 0.1
    """Noise of the pixels that `--arch vae` assumes, in grey levels of [0, 1]; larger weighs the KL more."""

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.size or (28 if self.arch.startswith("linear") else 32)

    @property
    def name(self) -> str:
        """What tables call this detector."""
        return f"{self.arch}-denoising" if self.patches else self.arch


def load_part(config: Config, part: str) -> ImageSet:
    """The images of one of `anomaly_data.PARTS` as this run sees them."""
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


@torch.inference_mode()
def mean_squared_error(model: autoencoders.Autoencoder, batches: Batches) -> float:
    """Mean over images of the reconstruction error, in squared grey levels of [0, 1]."""
    model.eval()
    errors = [
        autoencoders.squared_error(batch.images, model.reconstruct(batch.images)).mean((1, 2))
        for batch in batches
    ]
    model.train()
    return torch.cat(errors).mean().item()


def check(config: Config) -> None:
    """InputError for numbers no run can have."""
    for name in ("latent", "epochs", "batch_size", "lr", "memory_items", "pixel_sigma"):
        if getattr(config, name) <= 0:
            raise InputError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be above 0")
    if config.patches < 0:
        raise InputError(f"--patches {config.patches}: must be 0 or more")
    if config.arch == "memory" and config.memory_items < 2:
        raise InputError("--memory-items 1: the separateness loss compares two items; use 2 or more")


def main(config: Config) -> Path:
    check(config)
    device = devices.start(config.device, precision=config.precision, seed=config.seed)
    model = device.prepare(build_model(config), channels_last=not config.arch.startswith("linear"))
    loss_terms = device.parallel(model)  # DistributedDataParallel gives every process the weights of rank 0
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    train, val = load_part(config, "train"), load_part(config, "val")
    if len(train) < config.batch_size:
        raise InputError(
            f"--batch-size {config.batch_size}: only {len(train)} training images; use a smaller one"
        )
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    val_batches = Batches(val, 256, device.torch, shuffle=False)
    averages = runs.Averages()

    name = f"{config.name}-{Path(config.data).name}"
    with resumable.start(
        "hw1", name, config, device, model=model, optimizer=optimizer, batches=batches, averages=averages
    ) as (run, saver, done):
        stream = batches.forever()
        for step in run.progress(done + 1, config.epochs * len(batches)):
            with device.autocast():
                x = next(stream).images
                terms = loss_terms(x, autoencoders.with_patches(x, config.patches) if config.patches else x)
            loss = sum(term.mean() for term in terms.values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            averages.add(terms)
            if step % len(batches) == 0:
                val_mse = mean_squared_error(model, val_batches)
                means = averages.take(device)
                saver.require_finite(step, *means.values())
                run.log(step, {"epoch": step // len(batches), "val/mse": val_mse, **means})
                saver.save_if_best(step, val_mse)
            saver.save_if_due(step, loss)
        saver.save(config.epochs * len(batches))
        if device.is_main:
            report(config, run, val)
    return run.folder


@torch.inference_mode()
def report(config: Config, run: runs.Run, val: ImageSet) -> None:
    """Figures and summary.json of a finished run, from its best checkpoint."""
    model = load_best(config, run.folder)
    shown = to_model_range(val.images[:8])
    rows = torch.cat([shown, model.reconstruct(shown), (shown - model.reconstruct(shown)).abs() * 2 - 1])
    figures.save_grid(
        run.folder / "reconstructions.png",
        to_uint8(rows),
        8,
        row_titles=("image", "reconstruction", "error x 2"),
        title=f"{config.arch} on held-out normal images of {val.name}",
    )
    lines = runs.read_metrics(run.folder)
    figures.save_curves(
        run.folder / "loss.png",
        lines,
        ("train/mse", "val/mse"),
        log_scale=True,
        title=f"{config.arch} on {val.name}: reconstruction error",
        ylabel="MSE, grey levels of [0, 1] squared",
    )
    best = min(lines, key=lambda line: line["val/mse"])
    run.summary(
        {"val/mse": best["val/mse"], "epoch": best["epoch"]},
        n_val=len(val),
        seed=config.seed,
        parameters=sum(p.numel() for p in model.parameters()),
        figures=["reconstructions.png", "loss.png"],
    )
    run.say(
        f"best val/mse {best['val/mse']:.5f} at epoch {best['epoch']}; next: eval_autoencoder.py {run.folder}"
    )


def load_best(config: Config, run_dir: Path) -> autoencoders.Autoencoder:
    """The model of a run at its lowest validation error, on the CPU, in evaluation mode."""
    model = build_model(config)
    model.load_state_dict(checkpoints.read(run_dir / "checkpoints" / "best.pt")["parts"]["model"])
    return model.eval()


if __name__ == "__main__":
    command_line.run(main, Config)
