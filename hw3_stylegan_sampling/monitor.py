"""Watches a StyleGAN2 while it trains: measures its last and its averaged weights, and keeps these."""

from __future__ import annotations

from common import devices, runs
from common.data import ImageSet
from common.metrics import samples

from hw3_stylegan_sampling import weights
from hw3_stylegan_sampling.networks import Generator


class Monitor:
    """Measures both versions of the generator on rank 0, and keeps the averaged one for sampling."""

    def __init__(self, run: runs.Run, device: devices.Device, validation: ImageSet, z_dim: int):
        self.run, self.device = run, device
        if device.is_main:
            self.real = samples.reference_of(validation, device.torch)
            self.z = samples.latents(self.real.count, z_dim, seed=1)

    def measure(self, step: int, means: dict[str, float], generator: Generator, ema: Generator) -> None:
        """One line of metrics.jsonl, two pictures, one file of weights."""
        if not self.device.is_main:
            return
        versions = {"raw": generator, "ema": ema}
        numbers, images = samples.measure_versions(versions, self.z, self.real, self.device.torch)
        for version, drawn in images.items():
            self.run.save_samples(version, step, drawn[:64], 8)
        self.run.log(step, means | numbers)
        ema.estimate_w_mean()
        weights.save(self.run.folder / "generator.safetensors", ema, f"train_stylegan.py, step {step}")

    def finish(self, seed: int, generator_parameters: int, discriminator_parameters: int) -> None:
        """summary.json of a finished run: its last measurement."""
        if not self.device.is_main:
            return
        last = runs.read_metrics(self.run.folder)[-1]
        self.run.summary(
            {name: value for name, value in last.items() if name.startswith("val/")},
            steps=last["step"],
            n_val=self.real.count,
            seed=seed,
            generator_parameters=generator_parameters,
            discriminator_parameters=discriminator_parameters,
        )
        self.run.say(f"finished; next: sample.py --network {self.run.folder} --seeds 0-31")
