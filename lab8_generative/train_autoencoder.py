"""Train an autoencoder or a VAE on about a thousand small pictures.

Theory: theory/en/autoencoders.md eqs. (ae.1), (ae.3); theory/en/vae.md eqs. (vae.2), (vae.4), (vae.6),
(vae.8), (vae.9).

python lab8_generative/train_autoencoder.py                # drawn creatures, 2 cores: 1.1 min, val/mse 0.044
python lab8_generative/train_autoencoder.py --model vae
python lab8_generative/train_autoencoder.py --loss perceptual --data data/pokemon --mirror
python lab8_generative/train_autoencoder.py --resume runs/lab8/0001-ae-l1-creatures

The autoencoder minimises the error of its reconstructions.  The VAE minimises nats: the same error as a
likelihood whose noise is as large as the errors are, plus the KL of its latents to N(0, I).  The weights of
the epoch with the lowest validation loss are kept; when the loss turns there, it is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from common import checkpoints, command_line, devices, figures, flags, resumable, runs, shapes
from common.data import Batches, ImageSet, to_model_range, to_uint8
from common.metrics.perceptual import pixel_error

import torch

from lab8_generative import lab_images, networks, reconstruction

PATIENCE = 10
"""Epochs without a better validation loss after which over-fitting is announced."""


@dataclass(frozen=True)
class Config(flags.TrainingFlags):
    """Flags of train_autoencoder.py."""

    model: Literal["ae", "vae"] = "ae"
    """An autoencoder, or a variational one."""
    data: flags.Data = "creatures"
    """Images to learn from: creatures, avatars, or a folder of about 1,000 images or more."""
    size: networks.Side = 64
    """Side of the images: 48 or 64 pixels."""
    mirror: bool = False
    """Learn from mirror images too."""
    loss: reconstruction.Loss = "l1"
    """Error of reconstructions: absolute or squared differences, or l1 plus what a small network sees."""
    latent: flags.Dimensions = 64
    """Numbers in the latent vector."""
    width: networks.Width = 32
    """Channels of the largest feature map."""
    beta: flags.NonNegative = 1.0
    """Weight of the VAE's KL; 1 is the ELBO."""
    epochs: flags.Count = 40
    """Passes over the training images."""
    batch_size: networks.BatchSize = 32
    """Images a step."""
    lr: flags.LearningRate = 1e-3
    """Adam's learning rate."""
    precision: flags.Precision = "bf16"
    """Number format of the forward pass while training; losses, weights and evaluation stay float32."""

    @property
    def name(self) -> str:
        """For people: `vae-l1`."""
        return f"{self.model}-{self.loss}"


def losses_of(config: Config, errors: torch.Tensor, kl: torch.Tensor) -> torch.Tensor:  # (B,), (B,) -> (B,)
    """What is minimised: errors for the autoencoder, eq. (ae.3), nats for the VAE, eq. (vae.9)."""
    # task lab8.a: what is minimised
    if config.model == "ae":
        return errors
    return reconstruction.nats(config.loss, errors, 3 * config.size**2) + config.beta * kl
    # end task


def main(config: Config) -> Path:
    command_line.warn_of_idle(config, "beta", needs="--model vae", met=config.model == "vae")
    device = devices.start(config.device, precision=config.precision, seed=config.seed, processes="one")
    model = device.prepare(build(config), channels_last=True)
    train, val = lab_images.load_for_training(config.data, config.size, config.batch_size, config.data_dir)
    train = lab_images.with_mirrored(train) if config.mirror else train
    error_of = reconstruction.error_of(config.loss, device.torch)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    val_batches = Batches(val, 250, device.torch, shuffle=False)
    averages, steps = runs.Averages(), config.epochs * len(batches)
    name = f"{config.name}-{Path(config.data).name}"
    with resumable.start(
        "lab8", name, config, device, batches=batches, validation=val,
        model=model, optimizer=optimizer, averages=averages,
    ) as (run, saver, done):  # fmt: skip
        for step, batch in zip(run.progress(done + 1, steps), batches.forever()):
            images = batch.images.contiguous(memory_format=torch.channels_last)  # (B, 3, S, S)
            with device.autocast():
                reconstructed, kl = model(images)  # (B, 3, S, S), (B,)
            errors = error_of(images, reconstructed)  # (B,)
            losses = losses_of(config, errors, kl)  # (B,)
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()

            averages.add(
                {"loss": losses, "error": errors} | ({"kl_nats": kl} if config.model == "vae" else {})
            )
            if step % len(batches) == 0:
                epoch, means = step // len(batches), averages.take(device)
                saver.require_finite(step, *means.values())
                numbers = validate(config, model, error_of, val_batches)
                run.log(step, {"epoch": epoch, **means, **numbers})
                saver.save_if_best(step, numbers["val/loss"])
                if epoch % max(1, config.epochs // 10) == 0:
                    save_reconstructions(run, model, val, step)
                warn_of_overfitting(run, epoch)
            saver.save_if_due(step, losses.mean())
        saver.save(steps)
        report(config, run, val)
    return run.folder


def build(config: Config) -> networks.Autoencoder | networks.VAE:
    """The untrained model of this run."""
    kind = networks.VAE if config.model == "vae" else networks.Autoencoder
    return kind(config.size, config.width, config.latent)


@torch.inference_mode()
def validate(config: Config, model: torch.nn.Module, error_of, batches: Batches) -> dict[str, float]:
    """Means over held-out images; the VAE's noise is then that of the whole set."""
    model.eval()
    errors, squares, kls = [], [], []
    for batch in batches:
        reconstructed, kl = model(batch.images)
        errors.append(error_of(batch.images, reconstructed))
        squares.append(pixel_error("mse", batch.images, reconstructed))
        kls.append(kl)
    model.train()
    errors, kls = torch.cat(errors), torch.cat(kls)
    numbers = {
        "val/loss": losses_of(config, errors, kls).mean().item(),
        "val/error": errors.mean().item(),
        "val/mse": torch.cat(squares).mean().item(),
    }
    return numbers | ({"val/kl_nats": kls.mean().item()} if config.model == "vae" else {})


@torch.inference_mode()
def save_reconstructions(run: runs.Run, model: torch.nn.Module, val: ImageSet, step: int) -> None:
    """Eight held-out images above what the model makes of them."""
    model.eval()
    shown = to_model_range(val.images[:8]).to(next(model.parameters()).device)
    rows = torch.cat([shown, model.decoder(model.encode(shown)).float()])
    model.train()
    run.save_samples("reconstructions", step, to_uint8(rows).cpu(), 8)


def warn_of_overfitting(run: runs.Run, epoch: int) -> None:
    """One line when the validation loss was lowest PATIENCE epochs ago."""
    lines = runs.read_metrics(run.folder, "val/loss")
    best, now = min(lines, key=lambda line: line["val/loss"]), lines[-1]
    if epoch - best["epoch"] == PATIENCE:
        run.say(
            f"warning: epoch {epoch}: over-fitting: the validation loss was lowest at epoch {best['epoch']} "
            f"({best['val/loss']:.4g}, now {now['val/loss']:.4g}), the training loss still falls "
            f"({best['train/loss']:.4g}, now {now['train/loss']:.4g}); best.pt keeps epoch {best['epoch']}; "
            "more images, --mirror or a smaller --latent help"
        )


@torch.inference_mode()
def mean_error(model: torch.nn.Module, loss: reconstruction.Loss, images: ImageSet) -> float:
    """Mean error, by any of the losses, of what is decoded from the latents that the encoder names."""
    error_of = reconstruction.error_of(loss)
    batches = Batches(images, 250, shuffle=False)
    errors = [error_of(x, model.decoder(model.encode(x))) for x, *_ in batches]
    return torch.cat(errors).mean().item()


@torch.inference_mode()
def report(config: Config, run: runs.Run, val: ImageSet) -> None:
    """Figures and summary.json of a finished run, from its best checkpoint."""
    model = load_best(config, run.folder)
    shown = to_model_range(val.images[:10])
    rows = torch.cat([shown, model.decoder(model.encode(shown))])
    lines = runs.read_metrics(run.folder, "val/loss")
    best = min(lines, key=lambda line: line["val/loss"])
    figures.save_grid(
        run.folder / "reconstructions.png",
        to_uint8(rows),
        len(shown),
        row_titles=("image", "reconstruction"),
        title=f"{config.name} on held-out images, epoch {best['epoch']}",
    )
    figures.save_curves(
        run.folder / "loss.png",
        lines,
        ("train/error", "val/error"),
        log_scale=True,
        title=f"{config.name}: best on held-out images at epoch {best['epoch']} of {config.epochs}",
        ylabel=f"error of reconstructions ({config.loss})",
    )
    every = {f"val/{loss}": mean_error(model, loss, val) for loss in get_args(reconstruction.Loss)}
    numbers = {name: value for name, value in best.items() if name.startswith("val/")} | every
    run.summary(
        {**numbers, "epoch": best["epoch"]},
        steps=lines[-1]["step"],
        best_step=best["step"],
        n_val=len(val),
        seed=config.seed,
        parameters=shapes.parameters(model),
        figures=["reconstructions.png", "loss.png"],
    )
    run.say(
        f"best on held-out images: epoch {best['epoch']}, val/loss {best['val/loss']:.5g}, val/mse "
        f"{best['val/mse']:.4f}; next: python lab8_generative/generate.py {run.folder}"
    )


def load_best(config: Config, run_dir: Path) -> networks.Autoencoder | networks.VAE:
    """The model of a run at its lowest validation loss, on the CPU, in evaluation mode."""
    model = build(config)
    checkpoints.load_parts(run_dir / "checkpoints" / "best.pt", model=model)
    return model.eval()


if __name__ == "__main__":
    command_line.run(main, Config)
