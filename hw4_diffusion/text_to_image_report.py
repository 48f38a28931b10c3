"""What the stages of train_text_to_image.py log, show and keep, on rank 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common import atomic, runs, shapes, torchvision_operators  # noqa: F401  diffusers imports torchvision
from common.data import ImageSet
from common.devices import Device

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from hw4_diffusion import small_pipeline, text_to_image_measures
from hw4_diffusion.small_pipeline import Denoiser

if TYPE_CHECKING:
    from hw4_diffusion.train_text_to_image import Config

WORDING = 1_000_000
"""Seed of the captions that are drawn in measurements: training has others."""
DRAWING_STEPS = 20
"""Steps of DPM-Solver++ for the samples of a measurement."""
SHOWN = 32
"""Images in a picture."""


class AutoencoderReport:
    """Reconstructions by the averaged weights: how near they are, and what can still be read from them."""

    def __init__(
        self, run: runs.Run, device: Device, seed: int, network: AutoencoderKL, validation: ImageSet
    ):
        self.run, self.seed, self.network, self.validation = run, seed, network, validation
        self.is_main = device.is_main
        if self.is_main:
            self.reference = text_to_image_measures.reference_of(validation, device.torch)

    def measure(self, step: int, means: dict[str, float]) -> None:
        """One line of metrics.jsonl, a picture, the autoencoder's folder."""
        if not self.is_main:
            return
        real, through = (
            self.validation,
            text_to_image_measures.reconstructed(self.network, self.validation.images),
        )
        features = self.reference.features_of(through)
        read = self.reference.extractor.answers(features)
        right = text_to_image_measures.obeyed_percent({name: real.attributes[name] for name in read}, read)
        numbers = {f"val/read_{name}_percent": percent for name, percent in right.items()}
        numbers |= {
            "val/psnr_db": text_to_image_measures.psnr(real.images, through),
            f"val/{self.reference.name}": self.reference.distance(features),
        }
        self.run.log(step, means | numbers)
        shown = torch.stack([real.images[:SHOWN], through[:SHOWN]], 1).flatten(0, 1)
        self.run.save_samples("reconstructions", step, shown, 16)
        folder = self.run.folder / small_pipeline.AUTOENCODER
        with atomic.replacing_folder(folder, advice="free some space or choose another --outdir") as beside:
            self.network.save_pretrained(beside)

    def finish(self) -> None:
        """summary.json of a finished run: its last measurement."""
        if self.is_main:
            summarise(self.run, self.seed, len(self.validation), shapes.parameters(self.network))
            self.run.say(f"finished; next: --stage denoiser --autoencoder {self.run.folder}")


class DenoiserReport:
    """Portraits drawn by the averaged weights from validation captions: what is as told, and how like real
    ones they are."""

    def __init__(
        self, run: runs.Run, device: Device, config: Config, autoencoder: AutoencoderKL,
        tokenizer: CLIPTokenizer, averaged: Denoiser, validation: ImageSet,
    ):  # fmt: skip
        self.run, self.config, self.is_main, self.averaged = run, config, device.is_main, averaged
        if not self.is_main:
            return
        self.pipeline = small_pipeline.assemble(
            autoencoder, averaged.text_encoder, tokenizer, averaged.unet, small_pipeline.build_scheduler()
        )
        self.reference = text_to_image_measures.reference_of(validation, device.torch)
        self.orders = text_to_image_measures.orders_of(validation, WORDING)

    def measure(self, step: int, means: dict[str, float]) -> None:
        """One line of metrics.jsonl, a picture, the pipeline's folder."""
        if not self.is_main:
            return
        self.averaged.eval()
        drawn = text_to_image_measures.draw(
            self.pipeline, self.orders.texts, guidance=self.config.guidance, steps=DRAWING_STEPS, seed=0
        )
        features = self.reference.features_of(drawn)
        found = self.reference.extractor.answers(features)
        percent = text_to_image_measures.obeyed_percent(self.orders.options, found)
        numbers = {f"val/obeyed_{name}_percent": value for name, value in percent.items()}
        numbers |= {f"val/{name}": value for name, value in self.reference.measure(drawn, features).items()}
        self.run.log(step, means | numbers)
        self.run.save_samples("samples", step, drawn[:SHOWN], 8)
        small_pipeline.save(self.pipeline, self.run.folder / small_pipeline.PIPELINE)

    def finish(self) -> None:
        """summary.json of a finished run: its last measurement."""
        if self.is_main:
            parts = [getattr(self.pipeline, name) for name in ("vae", "text_encoder", "unet")]
            total = sum(map(shapes.parameters, parts))
            summarise(self.run, self.config.seed, self.reference.count, total)
            self.run.say(f"finished; next: eval_text_to_image.py {self.run.folder / small_pipeline.PIPELINE}")


def summarise(run: runs.Run, seed: int, n_val: int, parameters: int) -> None:
    last = runs.read_metrics(run.folder)[-1]
    numbers = {name: value for name, value in last.items() if "/" in name}
    run.summary(numbers, steps=last["step"], n_val=n_val, seed=seed, parameters=parameters)
