"""Train a VAE, a CVAE or a beta-VAE.  Theory: theory/en/vae.md, eqs. (vae.1)-(vae.14).

python hw1_bayes_and_autoencoders/train_vae.py                    # drawn digits, mlp: 25 s of one CPU core
python hw1_bayes_and_autoencoders/train_vae.py --data mnist --conditional
python hw1_bayes_and_autoencoders/train_vae.py --data fashion-mnist --arch conv --latent 10 --beta 5
python hw1_bayes_and_autoencoders/train_vae.py --resume runs/hw1/0001-vae-mlp-digits
torchrun --nproc-per-node 2 hw1_bayes_and_autoencoders/train_vae.py

The improved VAE (residual blocks, a calibrated likelihood, averaged weights); 4 min on two free cores:

python hw1_bayes_and_autoencoders/train_vae.py --data mnist --arch residual --likelihood gaussian-optimal \
    --latent 24 --ema 0.999 --lr-decay cosine --precision bf16

The loss of an image is in nats: summed over pixels and latent dimensions, averaged over the batch only.  So
--beta 1 is the ELBO and --beta 5 weighs 5 nats of KL like 1 nat of reconstruction under --likelihood.  After
20 epochs val/loss_nats is near 110 for drawn digits and near 107 for MNIST.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from common import averaged_weights, checkpoints, command_line, data, devices, figures, flags, resumable, runs
from common.data import Batches, ImageSet, to_model_range, to_uint8
from common.errors import InputError
from common.schedules import half_cosine
from common.shapes import parameters

import torch
from annotated_types import Interval
from torch import Tensor

from hw1_bayes_and_autoencoders import vae, vae_networks

DEAD_NATS = 0.01
"""A latent dimension with a smaller mean KL carries nothing."""


@dataclass(frozen=True)
class Config(flags.TrainingFlags):
    """Flags of train_vae.py."""

    data: flags.Data = "digits"
    """Images to learn: digits, mnist, fashion-mnist, avatars, creatures, or a folder."""
    arch: vae_networks.Arch = "mlp"
    """Networks: one hidden layer of 400; three 4x4 convolutions of stride 2; residual blocks on 4x4 patches.
    """
    latent: flags.Dimensions = 20
    """Dimensions of z."""
    conditional: bool = False
    """Train a CVAE: encoder and decoder are told the class."""
    likelihood: vae.Likelihood = "bernoulli"
    """Distribution of a pixel: Bernoulli; or Gaussian with --sigma, with a learned sigma, or with sigma^2 =
    MSE of the batch."""
    sigma: Annotated[float, Interval(ge=1e-3, le=100)] = 0.1
    """Standard deviation of Gaussian pixels in grey levels of [0, 1] (where it starts, unless it is fixed).
    """
    beta: flags.NonNegative = 1.0
    """Weight of the KL; 1 is the ELBO."""
    warmup_epochs: flags.NonNegative = 0.0
    """Epochs over which beta grows from 0."""
    free_bits: flags.NonNegative = 0.0
    """Nats of KL that each latent dimension may spend for nothing."""
    binarise: bool = False
    """Draw each pixel as 0 or 1 with its grey level as probability, anew every time it is seen."""
    ema: flags.Decay = 0.0
    """Decay per step of an average of the weights, which is then the model that is evaluated; 0 is off."""
    epochs: flags.Count = 20
    """Passes over the training images."""
    batch_size: flags.Count = 128
    """Images per step, over all processes."""
    lr: flags.LearningRate = 1e-3
    """Learning rate of Adam."""
    lr_decay: Literal["none", "cosine"] = "none"
    """Learning rate over the run: constant, or half a cosine from --lr to 0."""
    size: flags.Pixels | None = None
    """Side of the images in pixels; default: the set's own."""

    @property
    def model_name(self) -> str:
        """For people: `cvae-conv`, `beta5-vae-mlp`."""
        kind = ("c" if self.conditional else "") + "vae"
        return f"beta{self.beta:g}-{kind}-{self.arch}" if self.beta != 1 else f"{kind}-{self.arch}"

    @property
    def run_name(self) -> str:
        """Name of the run directory, after its number."""
        return f"{self.model_name}-{Path(self.data).name}"


def main(config: Config) -> Path:
    check(config)
    device = devices.start(config.device, precision=config.precision, seed=config.seed)
    train, val = load_split(config, "train"), load_split(config, "val")
    model = device.prepare(build_model(config, train), channels_last=config.arch != "mlp")
    parallel_model = device.parallel(model)  # DistributedDataParallel gives all processes rank 0's weights
    ema = averaged_weights.averaged(model, config.ema, buffers=True) if config.ema else None
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=device.torch.type != "mps")
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    val_batches = Batches(val, 500, device.torch, shuffle=False)
    averages, dead = runs.Averages(), 0
    steps, warmup_steps = config.epochs * len(batches), config.warmup_epochs * len(batches)
    parts = {"model": model, "ema": ema, "optimizer": optimizer, "averages": averages}
    parts |= {"batches": batches, "validation": val}
    with resumable.start("hw1", config.run_name, config, device, **parts) as (run, saver, done):
        for step, batch in zip(run.progress(done + 1, steps), batches.forever()):
            beta = config.beta * min(1, step / warmup_steps) if warmup_steps else config.beta
            if config.lr_decay == "cosine":
                optimizer.param_groups[0]["lr"] = config.lr * half_cosine(step / steps)

            x = binarised(batch.images) if config.binarise else batch.images
            with device.autocast():
                terms = parallel_model(x, batch.labels)  # from one z ~ q(z | x), eq. (vae.4)
            loss = vae.objective(terms, beta, config.free_bits)  # -E ln p(x | z) + beta KL, eq. (vae.9)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if ema:
                ema.update_parameters(model)  # eq. (gan.16)

            averages.add({"reconstruction_nats": terms["reconstruction"], "kl_nats": terms["kl"].sum(1)})
            if step % len(batches) == 0:
                epoch, means = step // len(batches), averages.take(device)
                saver.require_finite(step, *means.values())
                measured = validate(config, ema.module if ema else model, val_batches)
                run.log(step, {"epoch": epoch, "train/beta": beta, **means, **measured})
                dead = warn_of_dead(run, measured["val/kl_per_dimension_nats"], dead, epoch)
                saver.save_if_best(step, measured["val/loss_nats"])
            saver.save_if_due(step, loss)
        saver.save(steps)
        if device.is_main:
            report(config, run, val)
    return run.folder


def binarised(images: Tensor) -> Tensor:
    """Images (B, C, H, W) in [-1, 1] drawn black and white, each grey level a probability of white."""
    return 2 * torch.bernoulli((images + 1) / 2) - 1


@torch.inference_mode()
def validate(config: Config, model: vae.VAE, batches: Batches) -> dict[str, float | Tensor]:
    """Means over the set: the objective at full beta, its terms, MSE of [0, 1], KL of each dimension (D,).

    With --binarise the pixels are drawn here too."""
    model.eval()
    reconstruction = squared = 0.0
    kl = torch.zeros(config.latent, device=batches.device)  # (D,)
    for batch in batches:
        x = binarised(batch.images) if config.binarise else batch.images
        terms = model(x, batch.labels)
        error = ((model.reconstruct(x, batch.labels) - x) / 2).square()  # (B, C, H, W)
        reconstruction += terms["reconstruction"].sum().item()
        squared += error.mean((1, 2, 3)).sum().item()
        kl += terms["kl"].sum(0)
    model.train()
    count = len(batches.image_set)
    reconstruction, kl = reconstruction / count, kl / count
    return {
        "val/loss_nats": reconstruction + config.beta * kl.clamp_min(config.free_bits).sum().item(),
        "val/reconstruction_nats": reconstruction,
        "val/kl_nats": kl.sum().item(),
        "val/mse": squared / count,
        "val/kl_per_dimension_nats": kl.cpu(),
    }


def warn_of_dead(run: runs.Run, kl: Tensor, dead_before: int, epoch: int) -> int:
    """Say when more latent dimensions than before have collapsed to the prior; returns how many have."""
    dead = int((kl < DEAD_NATS).sum())
    if dead > dead_before:
        run.say(
            f"warning: epoch {epoch}: {dead} of {len(kl)} latent dimensions carry less than {DEAD_NATS} nats;"
            " --warmup-epochs, --free-bits or a smaller --beta may keep them, a smaller --latent does without"
        )
    return dead


# ---- before the loop


def check(config: Config) -> None:
    """InputError for flags that exclude one another."""
    if config.binarise and config.likelihood != "bernoulli":
        raise InputError(
            f"--binarise: pixels of 0 and 1 need --likelihood bernoulli, not {config.likelihood}"
        )
    with_sigma = ("gaussian", "gaussian-learned")
    needs = f"--likelihood {' or '.join(with_sigma)}"
    command_line.warn_of_idle(config, "sigma", needs=needs, met=config.likelihood in with_sigma)


def load_split(config: Config, split: str) -> ImageSet:
    """The images of one split as this run sees them."""
    image_set = data.load(config.data, split, size=config.size, data_dir=config.data_dir)
    if config.conditional:
        vae.check_labels(image_set.labels, len(image_set.class_names), f"--data {config.data} --conditional")
    return image_set


def build_model(config: Config, image_set: ImageSet) -> vae.VAE:
    """The untrained model of this run, for images like those of `image_set`."""
    return vae.build(
        config.arch,
        image_set.shape,
        config.latent,
        classes=len(image_set.class_names) if config.conditional else 0,
        likelihood=config.likelihood,
        sigma=config.sigma,
    )


# ---- after the loop


def load_best(config: Config, run_dir: Path, image_set: ImageSet) -> vae.VAE:
    """The model of a run at its lowest validation loss, on the CPU, in evaluation mode; with --ema its
    averaged weights."""
    model = build_model(config, image_set)
    best = run_dir / "checkpoints" / "best.pt"
    if config.ema:
        ema = averaged_weights.averaged(model, config.ema, buffers=True)
        checkpoints.load_parts(best, ema=ema)
        return ema.module.eval()
    checkpoints.load_parts(best, model=model)
    return model.eval()


def report(config: Config, run: runs.Run, val: ImageSet) -> None:
    """Figures and summary.json of a finished run, from its best checkpoint."""
    model, lines = load_best(config, run.folder, val), runs.read_metrics(run.folder, "val/loss_nats")
    best = min(lines, key=lambda line: line["val/loss_nats"])
    kl = torch.tensor(best["val/kl_per_dimension_nats"])
    numbers = {
        name: value
        for name, value in best.items()
        if name.startswith("val/") and name != "val/kl_per_dimension_nats" and value is not None
    }
    run.summary(
        {**numbers, "val/active_dimensions": int((kl >= DEAD_NATS).sum()), "epoch": best["epoch"]},
        n_val=len(val),
        seed=config.seed,
        parameters=parameters(model),
        kl_per_dimension_nats=sorted(kl.tolist(), reverse=True),
        figures=save_figures(config, run.folder, model, val, lines),
    )
    run.say(
        f"best val/loss_nats {best['val/loss_nats']:.2f} at epoch {best['epoch']}; "
        f"next: python hw1_bayes_and_autoencoders/eval_vae.py {run.folder}"
    )


@torch.inference_mode()
def save_figures(config: Config, folder: Path, model: vae.VAE, val: ImageSet, lines: list[dict]) -> list[str]:
    """Samples, reconstructions and curves; returns their names."""
    labels = torch.arange(80) // 8 % model.classes if model.classes else None
    figures.save_grid(
        folder / "samples.png",
        to_uint8(model.images(torch.randn(80, config.latent), labels)),
        8,
        row_titles=val.class_names if model.classes and len(val.class_names) == 10 else (),
        title=f"{config.model_name} on {val.name}: samples from the prior",
    )
    x = to_model_range(val.images[:8])
    x = binarised(x) if config.binarise else x
    figures.save_grid(
        folder / "reconstructions.png",
        to_uint8(torch.cat([x, model.reconstruct(x, None if val.labels is None else val.labels[:8])])),
        8,
        row_titles=("image", "reconstruction"),
        title=f"{config.model_name} on held-out images of {val.name}",
    )
    figures.save_curves(
        folder / "loss.png",
        lines,
        ("train/reconstruction_nats", "val/reconstruction_nats", "train/kl_nats", "val/kl_nats"),
        title=f"{config.model_name} on {val.name}: terms of the loss",
        ylabel="nats per image",
    )
    return ["samples.png", "reconstructions.png", "loss.png"]


if __name__ == "__main__":
    command_line.run(main, Config)
