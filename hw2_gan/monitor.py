"""Watches a GAN while it trains: what the generator can do after every epoch, and whether it collapsed."""

from __future__ import annotations

from common import devices, runs
from common.data import ImageSet
from common.metrics import samples

from hw2_gan import gan_figures, players

SHOWN = 64
"""Samples in a picture: those of the same latents after every epoch."""


class Monitor:
    """Compares the generator with validation images, its weights as they are (`raw`) and averaged (`ema`)."""

    def __init__(self, run: runs.Run, device: devices.Device, images: ImageSet, latent: int):
        self.run, self.device = run, device
        self.diversities = [line["val/raw_diversity"] for line in run.lines()] if device.is_main else []
        self.real = samples.reference_of(images, device.torch) if device.is_main else None
        self.z = samples.latents(len(images), latent, seed=1)

    def epoch(self, step: int, means: dict[str, float], both: players.Players) -> float | None:
        """Log everything after an epoch; returns the Fréchet distance of the averaged weights, if any."""
        if self.real is None:
            return None
        ema = both.ema.module
        players.recompute_batch_statistics(ema)
        versions = {"raw": both.generator, "ema": ema}
        numbers, images = samples.measure_versions(versions, self.z, self.real, self.device.torch)
        for version in versions:
            self.run.save_samples(version, step, images[version][:SHOWN], 8)
        self.run.log(step, means | numbers)
        self.alarm(step, numbers["val/raw_diversity"])
        return numbers.get(f"val/ema_{self.real.name}")

    def alarm(self, step: int, diversity: float) -> None:
        """Say when samples of the raw weights are too much alike, and when no longer."""
        before = samples.collapsed(self.diversities)[-1:] == [True]
        self.diversities.append(diversity)
        now = samples.collapsed(self.diversities)[-1]
        if now == before:
            return
        said = "COLLAPSED" if now else "no longer collapsed"
        if now and len(self.diversities) == 1:
            said = "COLLAPSED, or only starting"
        self.run.say(f"step {step}: samples are {100 * diversity:.0f} % as diverse as the data: {said}")

    def finish(self, seed: int, generator_parameters: int, discriminator_parameters: int) -> None:
        """Figures and summary.json of a finished run: its last epoch, and when it was collapsed."""
        if self.real is None:
            return
        lines = runs.read_metrics(self.run.folder, "val/raw_diversity")
        alike = samples.collapsed([line["val/raw_diversity"] for line in lines])
        self.run.summary(
            {name: value for name, value in lines[-1].items() if name.startswith("val/")},
            steps=lines[-1]["step"],
            n_val=self.real.count,
            seed=seed,
            collapsed_at_steps=[line["step"] for line, collapsed in zip(lines, alike) if collapsed],
            generator_parameters=generator_parameters,
            discriminator_parameters=discriminator_parameters,
            figures=gan_figures.save_training(self.run.folder, lines, self.run.folder.name),
        )
        self.run.say(f"finished; next: python hw2_gan/eval_gan.py {self.run.folder}")
