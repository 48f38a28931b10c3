"""Train a VAE, a CVAE or a beta-VAE.  Theory: theory/en/vae.md, eqs. (vae.1)-(vae.14).

python hw1_bayes_and_autoencoders/train_vae.py                                   # drawn digits, mlp
python hw1_bayes_and_autoencoders/train_vae.py --data mnist --arch conv --conditional
python hw1_bayes_and_autoencoders/train_vae.py --data fashion-mnist --arch conv --latent 10 --beta 5
python hw1_bayes_and_autoencoders/train_vae.py --resume runs/hw1/0001-vae-mlp-digits
torchrun --nproc-per-node 2 hw1_bayes_and_autoencoders/train_vae.py

The improved VAE: residual blocks, a calibrated likelihood, averaged weights, and z from a mixture that
eval_vae.py fits to the aggregate posterior:

python hw1_bayes_and_autoencoders/train_vae.py --data mnist --arch residual --likelihood gaussian-optimal \
    --latent 24 --ema 0.999 --lr-decay cosine --precision bf16

MNIST, 20 epochs, three seeds, eval/fd_mnist_10k with z from the prior and from the mixture: mlp 141.2 and
12.7, conv 72.8 and 3.6, a CVAE (mlp) 85.3 and 7.8, improved 187.8 and 1.9; a classifier takes 71.7 % and
98.0 % of the CVAE's digits for those asked.

The loss of an image is in nats: summed over pixels and latent dimensions, averaged over the batch only.  So
--beta 1 is the ELBO and --beta 5 weighs 5 nats of KL like 1 nat of reconstruction under --likelihood.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from common import checkpoints, command_line, data, devices, figures, flags, resumable, runs
from common.data import Batches, ImageSet, to_model_range, to_uint8
from common.errors import InputError
from hw1_bayes_and_autoencoders import vae

DEAD_NATS = 0.01
"""A latent dimension with a smaller mean KL carries nothing."""


@dataclass(frozen=True)
class Config(flags.TrainingFlags):
    """Flags of train_vae.py."""

    data: str = "digits"
    """digits, mnist, fashion-mnist, avatars, creatures, or a folder of images."""
    arch: Literal["mlp", "conv", "residual"] = "mlp"
    """One hidden layer of 400; three 4x4 convolutions of stride 2; residual blocks on 4x4 patches."""
    latent: int = 20
    """Dimensions of z."""
    conditional: bool = False
    """A CVAE: encoder and decoder are told the class."""
    likelihood: Literal["bernoulli", "gaussian", "gaussian-learned", "gaussian-optimal"] = "bernoulli"
    """Of a pixel: Bernoulli; or Gaussian with --sigma, with a learned sigma, or with sigma^2 = MSE of the
    batch."""
    sigma: float = 0.1
    """Standard deviation of Gaussian pixels in grey levels of [0, 1] (where it starts, unless it is fixed).
    """
    beta: float = 1.0
    """Weight of the KL; 1 is the ELBO."""
    warmup_epochs: float = 0.0
    """Epochs over which beta grows from 0."""
    free_bits: float = 0.0
    """Nats of KL that each latent dimension may spend for nothing."""
    binarise: bool = False
    """Draw each pixel as 0 or 1 with its grey level as probability, anew every time it is seen."""
    ema: float = 0.0
    """Decay per step of an average of the weights, which is then the model that is evaluated; 0 is off."""
    epochs: int = 20
    """Passes over the training images."""
    batch_size: int = 128
    """Images per step, over all processes."""
    lr: float = 1e-3
    """Adam's learning rate."""
    lr_decay: Literal["none", "cosine"] = "none"
    """Learning rate over the run: constant, or half a cosine from --lr to 0."""
    size: int | None = None
    """Side of the images in pixels; default: the set's own."""
    matmul: Literal["highest", "high", "medium"] = "highest"
    """Inside float32 products of matrices; `medium` may use bfloat16 (error 2e-3 on CPUs with AMX)."""

    @property
    def model_name(self) -> str:
        """For people: `cvae-conv`, `beta5-vae-mlp`."""
        kind = ("c" if self.conditional else "") + "vae"
        return f"beta{self.beta:g}-{kind}-{self.arch}" if self.beta != 1 else f"{kind}-{self.arch}"


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


def averaged(config: Config, model: nn.Module) -> swa_utils.AveragedModel:
    """An exponential moving average of the model's weights; its `module` is the model to evaluate."""
    return swa_utils.AveragedModel(
        model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(config.ema), use_buffers=True
    )


def seen(config: Config, images: Tensor) -> Tensor:
    """What the model sees of images (B, C, H, W) in [-1, 1]: themselves, or drawn black and white."""
    return 2 * torch.bernoulli((images + 1) / 2) - 1 if config.binarise else images


@torch.inference_mode()
def validate(config: Config, model: vae.VAE, batches: Batches) -> tuple[dict[str, float], Tensor]:
    """Means over the set: the objective at full beta, its terms, MSE; and the KL per dimension (D,)."""
    model.eval()
    total, kl = {"reconstruction_nats": 0.0, "mse": 0.0}, torch.zeros(config.latent, device=batches.device)
    for batch in batches:
        x = seen(config, batch.images)
        terms = model(x, batch.labels)
        error = ((model.reconstruct(x, batch.labels) - x) / 2).square()
        total["reconstruction_nats"] += terms["reconstruction"].sum().item()
        total["mse"] += error.mean((1, 2, 3)).sum().item()
        kl += terms["kl"].sum(0)
    model.train()
    count = len(batches.image_set)
    means, kl = {name: value / count for name, value in total.items()}, kl / count
    means["kl_nats"] = kl.sum().item()
    means["loss_nats"] = (
        means["reconstruction_nats"] + config.beta * kl.clamp_min(config.free_bits).sum().item()
    )
    return means, kl.cpu()


def check(config: Config) -> None:
    """InputError for numbers no run can have."""
    for name in ("latent", "epochs", "batch_size", "lr", "sigma"):
        if getattr(config, name) <= 0:
            raise InputError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be above 0")
    for name in ("beta", "warmup_epochs", "free_bits"):
        if getattr(config, name) < 0:
            raise InputError(f"--{name.replace('_', '-')} {getattr(config, name)}: must not be negative")
    if not 0 <= config.ema < 1:
        raise InputError(f"--ema {config.ema}: a decay per step lies between 0 and 1, 0.999 for example")
    if config.binarise and config.likelihood != "bernoulli":
        raise InputError(
            f"--binarise: pixels of 0 and 1 need --likelihood bernoulli, not {config.likelihood}"
        )


def main(config: Config) -> Path:
    check(config)
    device = devices.start(config.device, precision=config.precision, seed=config.seed)
    torch.set_float32_matmul_precision(config.matmul)
    train, val = load_split(config, "train"), load_split(config, "val")
    if len(train) < config.batch_size:
        raise InputError(
            f"--batch-size {config.batch_size}: only {len(train)} training images; use a smaller one"
        )
    model = device.prepare(build_model(config, train), channels_last=config.arch != "mlp")
    loss_terms = device.parallel(model)  # DistributedDataParallel gives every process the weights of rank 0
    ema = averaged(config, model) if config.ema else None
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=device.torch.type != "mps")
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    val_batches = Batches(val, 500, device.torch, shuffle=False)
    averages = runs.Averages()
    steps, warmup_steps = config.epochs * len(batches), config.warmup_epochs * len(batches)

    name = f"{config.model_name}-{Path(config.data).name}"
    with resumable.start(
        "hw1",
        name,
        config,
        device,
        model=model,
        optimizer=optimizer,
        batches=batches,
        averages=averages,
        ema=ema,
    ) as (run, saver, done):
        stream, dead = batches.forever(), 0
        for step in run.progress(done + 1, steps):
            beta = config.beta * min(1, step / warmup_steps) if warmup_steps else config.beta
            if config.lr_decay == "cosine":
                optimizer.param_groups[0]["lr"] = config.lr * 0.5 * (1 + math.cos(math.pi * step / steps))
            batch = next(stream)
            with device.autocast():
                terms = loss_terms(seen(config, batch.images), batch.labels)
            loss = vae.objective(terms, beta, config.free_bits)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if ema:
                ema.update_parameters(model)
            averages.add({"reconstruction_nats": terms["reconstruction"], "kl_nats": terms["kl"].sum(1)})
            if step % len(batches) == 0:
                val_means, kl = validate(config, ema.module if ema else model, val_batches)
                means = averages.take(device)
                saver.require_finite(step, *means.values())
                values = {f"val/{name}": mean for name, mean in val_means.items()}
                values |= means | {"train/beta": beta, "val/kl_per_dimension_nats": kl}
                run.log(step, {"epoch": step // len(batches), **values})
                dead = warn_of_dead(run, kl, dead, step // len(batches))
                saver.save_if_best(step, val_means["loss_nats"])
            saver.save_if_due(step, loss)
        saver.save(steps)
        if device.is_main:
            report(config, run, val)
    return run.folder


def warn_of_dead(run: runs.Run, kl: Tensor, dead_before: int, epoch: int) -> int:
    """Say when more latent dimensions than before have collapsed to the prior; returns how many have."""
    dead = int((kl < DEAD_NATS).sum())
    if dead > dead_before:
        run.say(
            f"warning: epoch {epoch}: {dead} of {len(kl)} latent dimensions carry less than "
            f"{DEAD_NATS} nats; "
            "--warmup-epochs, --free-bits or a smaller --beta may keep them, a smaller --latent does without"
        )
    return dead


@torch.inference_mode()
def report(config: Config, run: runs.Run, val: ImageSet) -> None:
    """Figures and summary.json of a finished run, from its best checkpoint."""
    model = load_best(config, run.folder, val)
    labels = torch.arange(80) // 8 % model.classes if model.classes else None
    figures.save_grid(
        run.folder / "samples.png",
        to_uint8(model.images(torch.randn(80, config.latent), labels)),
        8,
        row_titles=val.class_names if model.classes and len(val.class_names) == 10 else (),
        title=f"{config.model_name} on {val.name}: samples from the prior",
    )
    shown = seen(config, to_model_range(val.images[:8]))
    rows = torch.cat([shown, model.reconstruct(shown, None if val.labels is None else val.labels[:8])])
    figures.save_grid(
        run.folder / "reconstructions.png",
        to_uint8(rows),
        8,
        row_titles=("image", "reconstruction"),
        title=f"{config.model_name} on held-out images of {val.name}",
    )
    lines = runs.read_metrics(run.folder)
    figures.save_curves(
        run.folder / "loss.png",
        lines,
        ("train/reconstruction_nats", "val/reconstruction_nats", "train/kl_nats", "val/kl_nats"),
        title=f"{config.model_name} on {val.name}: terms of the loss",
        ylabel="nats per image",
    )
    best = min(lines, key=lambda line: line["val/loss_nats"])
    kl = torch.tensor(best["val/kl_per_dimension_nats"])
    numbers = {name: value for name, value in best.items() if name.startswith("val/") and value is not None}
    del numbers["val/kl_per_dimension_nats"]
    run.summary(
        {**numbers, "val/active_dimensions": int((kl >= DEAD_NATS).sum()), "epoch": best["epoch"]},
        n_val=len(val),
        seed=config.seed,
        parameters=sum(p.numel() for p in model.parameters()),
        kl_per_dimension_nats=sorted(kl.tolist(), reverse=True),
        figures=["samples.png", "reconstructions.png", "loss.png"],
    )
    run.say(
        f"best val/loss_nats {best['val/loss_nats']:.2f} at epoch {best['epoch']}; "
        f"next: eval_vae.py {run.folder}"
    )


def load_best(config: Config, run_dir: Path, image_set: ImageSet) -> vae.VAE:
    """The model of a run at its lowest validation loss, on the CPU, in evaluation mode."""
    model = build_model(config, image_set)
    parts = checkpoints.read(run_dir / "checkpoints" / "best.pt")["parts"]
    if config.ema:
        ema = averaged(config, model)
        ema.load_state_dict(parts["ema"])
        return ema.module.eval()
    model.load_state_dict(parts["model"])
    return model.eval()


if __name__ == "__main__":
    command_line.run(main, Config)
