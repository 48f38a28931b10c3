"""Teach a text-to-image model one subject with LoRA (Hu et al. 2021).  Theory: theory/en/latent_diffusion.md.

python hw4_diffusion/train_lora.py                                  # ranks 2, 8 and 32, a drawn person
python hw4_diffusion/train_lora.py --rank 4 --with_prior_preservation
python hw4_diffusion/train_lora.py --vram 12 --instance_data_dir photos/anna \
    --pretrained_model_name_or_path stable-diffusion-v1-5/stable-diffusion-v1-5
python hw4_diffusion/train_lora.py --resume_from_checkpoint latest

All weights are frozen but for two thin matrices beside each linear layer of the U-Net's blocks; lora.py has
the layer.  With prior preservation every batch has images of the class too, as in dreambooth.py.  What a run
leaves, pytorch_lora_weights.safetensors, is what diffusers' load_lora_weights takes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from common import command_line
from common.flags import LearningRate
from common.noise import BatchNoise

from annotated_types import Interval
from torch import nn

from hw4_diffusion import fine_tuning, lora, pipelines, subject_tuning
from hw4_diffusion.diffusion import noised, squared_error, target
from hw4_diffusion.dreambooth import both_halves, dreambooth_loss, logged
from hw4_diffusion.fine_tuning import length_taken
from hw4_diffusion.instance_prompts import SamePrompts
from hw4_diffusion.latents import NoiseLevels, latents_of
from hw4_diffusion.numbered_checkpoints import TrainedWeights
from hw4_diffusion.subject_tuning import OfSubject

Rank = Annotated[int, Interval(ge=1, le=4096)]


@dataclass(frozen=True)
class Config(OfSubject):
    """Flags of train_lora.py."""

    rank: tuple[Rank, ...] = (2, 8, 32)
    """r of each LoRA; one run for each."""
    lora_layers: lora.Layers = "blocks"
    """Which layers get one: the projections of attention, or all linear layers of the blocks."""
    lora_alpha: Annotated[float, Interval(gt=0, le=4096)] | None = None
    """The update is scaled by alpha / r; alpha = r if left out."""
    learning_rate: LearningRate = 2e-3
    """Learning rate after the warm-up."""

    for_large = MappingProxyType({**OfSubject.for_large, "learning_rate": 1e-4, "lora_layers": "attention"})


def main(config: Config) -> list[Path]:
    """A run for each rank."""
    ranks = config.rank
    return [train(dataclasses.replace(config, rank=(rank,))) for rank in ranks]


def train(config: Config) -> Path:
    (rank,) = config.rank
    name = f"lora-{Path(config.instance_data_dir).name}-rank{rank}"
    config = fine_tuning.resumed(config, name)
    device = fine_tuning.start_device(config)
    pipeline = pipelines.load(config.pretrained_model_name_or_path)
    side = fine_tuning.side_of_images(config, pipeline)
    subject, said, prior = subject_tuning.load(config, pipeline, side, device)
    unet, vae = pipeline.unet, pipeline.vae
    layers = lora.insert(unet, rank, lora_alpha := config.lora_alpha or rank, config.lora_layers)
    print(f"LoRA of rank {rank}, alpha {lora_alpha:g}, scale {lora_alpha / rank:g}, in {len(layers)} layers")
    trained = fine_tuning.prepare(config, pipeline, device, side, unet)
    unet_ddp, levels = device.parallel(unet), NoiseLevels(pipeline, device.torch)
    words = pipelines.words(pipeline, said)  # (N + 1, L, E), the class's in the last row: frozen
    optimizer, scheduler, scaler = fine_tuning.optimiser(config, trained)
    batches = fine_tuning.batches_of(subject, config, device, config.seed)
    prior_batches = fine_tuning.batches_of(prior, config, device, config.seed + 1) if prior else None
    noise = BatchNoise(config.images_of_a_pass, device, seed=config.seed)
    report = fine_tuning.Report(config, device, pipeline, config.instance_prompt, side)
    with fine_tuning.start(
        name, config, device, subject, *([prior] if prior else []), lora=TrainedWeights(unet),
        optimizer=optimizer, scheduler=scheduler, scaler=scaler, batches=batches,
        prior_batches=prior_batches, said=SamePrompts(said), noise=noise, averages=report.averages,
    ) as (run, saver, done):  # fmt: skip
        pictures, pictures_of_class = batches.forever(), prior_batches.forever() if prior else None
        for step in run.progress(done + 1, config.max_train_steps):
            optimizer.zero_grad()
            for _ in range(config.gradient_accumulation_steps):
                x0, _, index = next(pictures)  # (B, 3, S, S)
                said_of = words[:-1][index]  # (B, L, E)
                if prior:
                    x0, said_of = both_halves(x0, said_of, next(pictures_of_class).images, words[-1])
                z0 = latents_of(vae, x0, noise)  # (B, 4, s, s)
                t = levels.times(noise)
                alpha, sigma = levels.at(t)
                eps = noise.normal(*z0.shape[1:])
                z_t = noised(z0, eps, alpha, sigma)
                with fine_tuning.autocast(config, device):
                    output = unet_ddp(z_t, t, said_of).sample
                errors = squared_error(output.float(), target(levels.prediction, z0, eps, alpha, sigma))
                loss = dreambooth_loss(errors, config.prior_loss_weight if prior else None)
                scaler.scale(loss / config.gradient_accumulation_steps).backward()
            scaler.unscale_(optimizer)
            gradient = length_taken(nn.utils.clip_grad_norm_(trained, config.max_grad_norm), scaler)
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            report.step(run, saver, step, logged(errors, gradient, bool(prior)))
            saver.save_if_due(step, loss)
        saver.save(config.max_train_steps)
        if device.is_main:
            saved = lora.save(run.folder, layers)
            report.finish(run, saved, lora.parameters(layers), rank=rank, lora_alpha=lora_alpha,
                          n_class_images=len(prior or ()))  # fmt: skip
    return run.folder


if __name__ == "__main__":
    command_line.run(main, Config)
