"""Teach a text-to-image model one subject with DreamBooth (Ruiz et al. 2023).

Theory: theory/en/latent_diffusion.md.

python hw4_diffusion/dreambooth.py --with_prior_preservation              # the small model, a drawn person
python hw4_diffusion/dreambooth.py --instance_data_dir drawn2 --train_text_encoder
python hw4_diffusion/dreambooth.py --vram 24 --with_prior_preservation --instance_data_dir photos/anna \\
    --pretrained_model_name_or_path stable-diffusion-v1-5/stable-diffusion-v1-5
python hw4_diffusion/dreambooth.py --resume_from_checkpoint latest

The U-Net, and the text encoder if asked, learn that a rare token means the subject.  With prior preservation
every batch has as many images of the subject's class, drawn by the model as it was, so that other members of
the class stay as they are.  What a run leaves is the folder pipeline/, which diffusers opens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from common import command_line
from common.flags import LearningRate
from common.noise import BatchNoise

import torch
from torch import Tensor, nn

from hw4_diffusion import fine_tuning, pipelines, subject_tuning
from hw4_diffusion.diffusion import noised, squared_error, target
from hw4_diffusion.fine_tuning import length_taken
from hw4_diffusion.instance_prompts import SamePrompts
from hw4_diffusion.latents import NoiseLevels, latents_of
from hw4_diffusion.numbered_checkpoints import TrainedWeights
from hw4_diffusion.subject_tuning import OfSubject


@dataclass(frozen=True)
class Config(OfSubject):
    """Flags of dreambooth.py."""

    train_text_encoder: bool = False
    """Train the text encoder too."""
    learning_rate: LearningRate = 2.5e-4
    """Learning rate after the warm-up."""

    kind = "dreambooth"
    for_large = MappingProxyType({**OfSubject.for_large, "learning_rate": 5e-6})


class NoisePredictor(nn.Module):
    """Text encoder and U-Net as one network: z_t, times and tokens in, the U-Net's guess out."""

    def __init__(self, unet: nn.Module, text_encoder: nn.Module):
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def forward(self, z_t: Tensor, t: Tensor, ids: Tensor) -> Tensor:  # (B, 4, s, s), (B,), (B, L)
        return self.unet(z_t, t, self.text_encoder(ids)[0]).sample  # (B, 4, s, s)


def main(config: Config) -> Path:
    name = f"dreambooth-{Path(config.instance_data_dir).name}"
    config = fine_tuning.resumed(config, name)
    device = fine_tuning.start_device(config)
    pipeline = pipelines.load(config.pretrained_model_name_or_path)
    side = fine_tuning.side_of_images(config, pipeline)
    subject, said, prior = subject_tuning.load(config, pipeline, side, device)
    learners = [pipeline.unet, *[pipeline.text_encoder] * config.train_text_encoder]
    trained = fine_tuning.prepare(config, pipeline, device, side, *learners)
    vae, levels = pipeline.vae, NoiseLevels(pipeline, device.torch)
    predictor = NoisePredictor(pipeline.unet, pipeline.text_encoder)
    predictor_ddp = device.parallel(predictor)
    ids_of = pipelines.token_ids(pipeline, said).to(device.torch)  # (N + 1, L), the class's last
    optimizer, scheduler, scaler = fine_tuning.optimiser(config, trained)
    batches = fine_tuning.batches_of(subject, config, device, config.seed)
    prior_batches = fine_tuning.batches_of(prior, config, device, config.seed + 1) if prior else None
    noise = BatchNoise(config.images_of_a_pass, device, seed=config.seed)
    report = fine_tuning.Report(config, device, pipeline, config.instance_prompt, side)
    with fine_tuning.start(
        name, config, device, subject, *([prior] if prior else []), optimizer=optimizer, scheduler=scheduler,
        weights=TrainedWeights(predictor), scaler=scaler, batches=batches,
        prior_batches=prior_batches, said=SamePrompts(said), noise=noise, averages=report.averages,
    ) as (run, saver, done):  # fmt: skip
        pictures, pictures_of_class = batches.forever(), prior_batches.forever() if prior else None
        for step in run.progress(done + 1, config.max_train_steps):
            optimizer.zero_grad()
            for _ in range(config.gradient_accumulation_steps):
                x0, _, index = next(pictures)  # (B, 3, S, S)
                ids = ids_of[:-1][index]
                if prior:
                    x0, ids = both_halves(x0, ids, next(pictures_of_class).images, ids_of[-1])
                z0 = latents_of(vae, x0, noise)  # (B, 4, s, s)
                t = levels.times(noise)
                alpha, sigma = levels.at(t)
                eps = noise.normal(*z0.shape[1:])
                with fine_tuning.autocast(config, device):
                    output = predictor_ddp(noised(z0, eps, alpha, sigma), t, ids)
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
            from hw4_diffusion import small_pipeline  # diffusers takes seconds

            small_pipeline.save(pipeline, saved := run.folder / small_pipeline.PIPELINE)
            report.finish(run, saved, sum(p.numel() for p in trained), n_class_images=len(prior or ()))
    return run.folder


def both_halves(x0: Tensor, ids: Tensor, x0_of_class: Tensor, of_class: Tensor) -> tuple[Tensor, Tensor]:
    """The batch of a step with prior preservation: images (2 B, 3, S, S) and their prompts' tokens (2 B, L).

    x0 (B, 3, S, S), ids (B, L)   the subject's images, and its prompt for each of them
    x0_of_class (B, 3, S, S)      images of the class
    of_class (L,)                 the class's prompt"""
    # task hw4.e: images of the class behind those of the subject, each with its own prompt
    return torch.cat([x0, x0_of_class]), torch.cat([ids, of_class.expand_as(ids)])
    # end task


def dreambooth_loss(errors: Tensor, prior_weight: float | None) -> Tensor:  # (B,) -> ()
    """L_subject + lambda L_class, eq. (latent_diffusion.11): two means, of the halves of the batch.

    Without a weight all images are the subject's."""
    # task hw4.e: the subject's mean and the class's, with its weight
    if prior_weight is None:
        return errors.mean()
    of_subject, of_class = errors.chunk(2)
    return of_subject.mean() + prior_weight * of_class.mean()
    # end task


def logged(errors: Tensor, gradient: Tensor, prior: bool) -> dict[str, Tensor]:
    """What metrics.jsonl shows of a step: each (B,)."""
    of_subject, of_class = errors.chunk(2) if prior else (errors, None)
    values = {"loss": of_subject, "gradient_norm": gradient.expand(len(of_subject))}
    return values | ({"class_loss": of_class} if prior else {})


if __name__ == "__main__":
    command_line.run(main, Config)
