"""Watches a GAN while it trains: what the generator can do after every epoch, and whether it collapsed."""

from __future__ import annotations

from torch import nn

from common import devices, runs
from common.data import ImageSet
from hw2_gan import gan_figures, gan_measures

SHOWN = 64
"""Samples in a picture: those of the same latents after every epoch."""


class Monitor:
    """Compares the generator with validation images, its weights as they are (`raw`) and averaged (`ema`)."""

    def __init__(self, run: runs.Run, device: devices.Device, images: ImageSet):
        self.run, self.device = run, device
        started = device.is_main and (run.folder / "metrics.jsonl").is_file()
        logged = runs.read_metrics(run.folder) if started else []
        self.diversities = [line["val/raw_diversity"] for line in logged]
        self.real = gan_measures.reference(images, device.torch) if device.is_main else None

    def epoch(self, step: int, means: dict[str, float], generator: nn.Module, ema: nn.Module) -> float | None:
        """Log everything after an epoch; returns the Fréchet distance of the averaged weights, if any."""
        if self.real is None:
            return None
        gan_measures.settle(ema)
        numbers = {}
        for version, network in (("raw", generator), ("ema", ema)):
            images = gan_measures.sample(network, self.real.count, seed=1, device=self.device.torch)
            measured = gan_measures.measure(images, self.real)
            numbers |= {f"val/{version}_{name}": value for name, value in measured.items()}
            self.run.save_samples(version, step, images[:SHOWN], 8)
        self.run.log(step, means | numbers)
        self.alarm(step, numbers["val/raw_diversity"])
        return next((value for name, value in numbers.items() if name.startswith("val/ema_fd_")), None)

    def alarm(self, step: int, diversity: float) -> None:
        """Say when samples of the raw weights, diverse before, become too much alike, and when no longer."""
        before = self.collapsed()
        self.diversities.append(diversity)
        if self.collapsed() != before:
            self.run.say(
                f"step {step}: samples are {100 * diversity:.0f} % as diverse as the data: "
                + ("no longer collapsed" if before else "COLLAPSED")
            )

    def collapsed(self) -> bool:
        """Whether the last epoch is a collapse; one that was never diverse is only starting."""
        return max(self.diversities, default=0.0) >= gan_measures.COLLAPSED > self.diversities[-1]

    def finish(self, seed: int, generator_parameters: int, discriminator_parameters: int) -> None:
        """Figures and summary.json of a finished run: its last epoch, and when it was collapsed."""
        if self.real is None:
            return
        lines = runs.read_metrics(self.run.folder)
        alike = gan_measures.collapsed([line["val/raw_diversity"] for line in lines])
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
        self.run.say(f"finished; next: eval_gan.py {self.run.folder}")
