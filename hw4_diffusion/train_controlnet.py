"""Teach a text-to-image model to follow edges with ControlNet (Zhang et al. 2023).

Theory: theory/en/latent_diffusion.md.

python hw4_diffusion/train_controlnet.py                              # the small model, drawn portraits
python hw4_diffusion/train_controlnet.py --max_train_steps 200 --train_images 1000
python hw4_diffusion/train_controlnet.py --resume_from_checkpoint latest

A copy of the U-Net's way down reads the edges of a picture too; what it finds reaches the frozen U-Net
through convolutions that begin at zero.  Whether drawn images follow the edges is measured while it learns;
Zhang et al. saw them begin to within few steps, after long doing nothing.  What a run leaves is the folder
controlnet/.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from common import atomic, command_line, data, figures, runs
from common.data import Batches, ImageSet, avatar_captions, avatars
from common.errors import InputError
from common.flags import Count, Data, Images, LearningRate, SeveralImages, Share
from common.noise import BatchNoise

import torch
from torch import Tensor, nn

from hw4_diffusion import drawing, edges, fine_tuning, pipelines
from hw4_diffusion.diffusion import noised, squared_error, target
from hw4_diffusion.fine_tuning import FineTuning, length_taken
from hw4_diffusion.latents import NoiseLevels, latents_of
from hw4_diffusion.numbered_checkpoints import TrainedWeights

EDGE_CHANNELS = (16, 32, 96, 256)
"""Feature maps of the small network that reads the edges, each half as large as the one before."""


@dataclass(frozen=True)
class Config(FineTuning):
    """Flags of train_controlnet.py."""

    train_data: Data = "avatars"
    """Pictures to learn from: avatars, another set, or a folder."""
    train_images: Images = 10_000
    """How many, of a drawn set."""
    proportion_empty_prompts: Share = 0.3
    """Share of pictures whose prompt is empty, so that the edges must say what there is."""
    validation_images: SeveralImages = 32
    """Validation pictures whose edges are followed."""
    train_batch_size: Count = 16
    """Images of a forward pass, over all processes."""
    learning_rate: LearningRate = 3e-4
    """Learning rate after the warm-up."""
    max_train_steps: Count = 1500
    """Updates of the weights."""

    kind = "controlnet"


class ControlledUNet(nn.Module):
    """y = F(z) + Z(F'(z + Z(c))), eq. (latent_diffusion.12): F frozen, F' its copy, Z zero convolutions.

    Z's weight has a gradient although it is zero, its input has none until Z has moved, eq.
    (latent_diffusion.13): so the first step moves the zero convolutions, and the second all of F'."""

    def __init__(self, unet: nn.Module, controlnet: nn.Module):
        super().__init__()
        self.unet, self.controlnet = unet, controlnet

    def forward(self, z_t: Tensor, t: Tensor, words: Tensor, condition: Tensor) -> Tensor:
        """z_t (B, 4, s, s), t (B,), words (B, L, E), condition (B, 3, S, S) in [0, 1] -> (B, 4, s, s)."""
        # task hw4.f: what the copy finds, added to the frozen network
        down, middle = self.controlnet(z_t, t, words, controlnet_cond=condition, return_dict=False)
        return self.unet(
            z_t, t, words, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
        # end task


def main(config: Config) -> Path:
    name = f"controlnet-{Path(config.train_data).name}"
    config = fine_tuning.resumed(config, name)
    device = fine_tuning.start_device(config)
    pipeline = pipelines.load(config.pretrained_model_name_or_path)
    side = fine_tuning.side_of_images(config, pipeline)
    train, validation = (load(config, split, side) for split in ("train", "val"))
    ids = pipelines.token_ids(pipeline, ["", *captions(train, config.seed)])  # row 0 says nothing
    controlnet = build(pipeline)
    trained = fine_tuning.prepare(config, pipeline, device, side, controlnet)
    controlled_ddp = device.parallel(ControlledUNet(pipeline.unet, controlnet))
    vae, levels = pipeline.vae, NoiseLevels(pipeline, device.torch)
    optimizer, scheduler, scaler = fine_tuning.optimiser(config, trained)
    batches = Batches(train, config.train_batch_size, device, drop_last=True, seed=config.seed)
    noise = BatchNoise(config.train_batch_size, device, seed=config.seed)
    report = Report(config, device, pipeline, validation, side, controlnet)
    with fine_tuning.start(
        name, config, device, train, controlnet=TrainedWeights(controlnet), optimizer=optimizer,
        scheduler=scheduler, scaler=scaler, batches=batches, noise=noise, averages=report.averages,
    ) as (run, saver, done):  # fmt: skip
        following = batches.forever()
        for step in run.progress(done + 1, config.max_train_steps):
            optimizer.zero_grad()
            for _ in range(config.gradient_accumulation_steps):
                batch = next(following)
                z0 = latents_of(vae, batch.images, noise)  # (B, 4, s, s)
                rows = rows_of_prompts(batch.index, noise.uniform().cpu(), config.proportion_empty_prompts)
                words = pipeline.text_encoder(ids[rows].to(device.torch))[0]
                condition = edges.canny(train.images[batch.index]).to(device.torch) / 255  # (B, 3, S, S)
                t = levels.times(noise)
                alpha, sigma = levels.at(t)
                eps = noise.normal(*z0.shape[1:])
                with fine_tuning.autocast(config, device):
                    output = controlled_ddp(noised(z0, eps, alpha, sigma), t, words, condition)
                errors = squared_error(output.float(), target(levels.prediction, z0, eps, alpha, sigma))
                scaler.scale(errors.mean() / config.gradient_accumulation_steps).backward()
            scaler.unscale_(optimizer)
            gradient = length_taken(nn.utils.clip_grad_norm_(trained, config.max_grad_norm), scaler)
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            report.step(run, saver, step, {"loss": errors, "gradient_norm": gradient.expand(len(errors))})
            saver.save_if_due(step, errors.mean())
        saver.save(config.max_train_steps)
        if device.is_main:
            saved, advice = run.folder / "controlnet", "free some space or choose another --outdir"
            with atomic.replacing_folder(saved, advice=advice) as beside:
                controlnet.half().save_pretrained(beside)
            report.finish(run, saved, sum(p.numel() for p in trained), n_val=len(validation))
    return run.folder


def rows_of_prompts(index: Tensor, chance: Tensor, share_empty: float) -> Tensor:  # int64 (B,), (B,) -> (B,)
    """Which prompt each picture gets: row i + 1 is that of picture i, row 0 the empty one.

    chance ~ U[0, 1): `share_empty` of the pictures say nothing, so that the condition has to be read."""
    # task hw4.f: some prompts left empty
    return (index + 1) * (chance >= share_empty)
    # end task


def build(pipeline) -> nn.Module:
    """A ControlNet with the weights of the pipeline's U-Net; its convolutions at the ends are zero."""
    from diffusers import ControlNetModel

    halvings = pipelines.latent_factor(pipeline).bit_length() - 1
    return ControlNetModel.from_unet(
        pipeline.unet, conditioning_embedding_out_channels=EDGE_CHANNELS[: halvings + 1]
    )


# ---- data


def load(config: Config, split: str, side: int) -> ImageSet:
    """Pictures of one split."""
    drawn, count = config.train_data in data.DRAWN, config.train_images
    count = count if split == "train" else config.validation_images
    images = data.load(
        config.train_data, split, size=side, count=count if drawn else None, data_dir=config.data_dir
    )
    if images.shape[0] != 3:
        raise InputError(f"--train_data {config.train_data}: grey images; use a set of colour images")
    return images if split == "train" else images.few(count)


def captions(images: ImageSet, seed: int) -> list[str]:
    """What each picture shows, said in another way every time; nothing where it is not known."""
    if avatars.CHOICES.keys() <= images.attributes.keys():
        return list(avatar_captions.varied(images.attributes, seed).texts)
    return list(images.captions) or [""] * len(images)


# ---- reports


class Report(fine_tuning.Report):
    """Draws images along the edges of validation pictures and measures how well they follow."""

    def __init__(self, config: Config, device, pipeline, validation: ImageSet, side: int, controlnet):
        prompts = captions(validation, config.seed)
        super().__init__(config, device, pipeline, prompts[0], side)
        self.prompts, self.controlnet = prompts, controlnet
        self.wanted = edges.canny(validation.images)

    def validate(self, run: runs.Run, step: int) -> None:
        """val/edges_f1, and a picture: edges, and what was drawn along them."""
        was_training = self.controlnet.training
        self.controlnet.eval()
        with drawing.evaluating(self.pipeline), fine_tuning.autocast(self.config, self.device):
            drawn = drawing.draw(
                self.pipeline, self.prompts, range(len(self.prompts)), resolution=self.side,
                steps=self.config.num_inference_steps, guidance=self.config.guidance_scale,
                controlnet=self.controlnet, edges=self.wanted,
            )  # fmt: skip
        self.controlnet.train(was_training)
        f1 = edges.agreement(edges.canny(drawn), self.wanted)
        run.log(step, {"val/edges_f1": f1.mean()})
        shown = min(8, len(drawn))
        run.save_samples("edges", step, torch.cat([self.wanted[:shown], drawn[:shown]]), shown)

    def finish(self, run: runs.Run, saved: Path, parameters: int, **more) -> None:
        """Besides, the curve over the steps."""
        lines = runs.read_metrics(run.folder, "val/edges_f1")
        super().finish(run, saved, parameters, figures=["edges_f1.png"], **more)
        jump = sudden_step([line["step"] for line in lines], [line["val/edges_f1"] for line in lines])
        title = "Images follow the edges" + (f" from step {jump} on" if jump else " no better than before")
        figures.save_curves(
            run.folder / "edges_f1.png", lines, ["val/edges_f1"], title=title,
            ylabel="F1 of edges at 1 pixel",
        )  # fmt: skip


def sudden_step(steps: list[int], f1: list[float]) -> int | None:
    """The first measurement after the largest rise between two; None where nothing rises."""
    rises = [after - before for before, after in itertools.pairwise(f1)]
    if not rises or max(rises) <= 0:
        return None
    return steps[1 + rises.index(max(rises))]


if __name__ == "__main__":
    command_line.run(main, Config)
