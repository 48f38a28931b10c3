"""Watches the lab's GAN while it trains: distance, diversity, and whether D knows its images by heart.

Theory: theory/en/metrics.md (metrics.7), theory/en/gan.md, eq. (gan.17).

The features of the Fréchet distance are those of the shipped `creatures` extractor, for any set: images are
brought to its 64 pixels first.  A distance between sprites in features learned on creatures compares models
on those sprites; it says less than on creatures, and nothing beside published FID.
"""

from __future__ import annotations

from common import devices, runs
from common.data import to_model_range
from common.metrics import extractors, samples

import torch
from torch import Tensor, nn

OVER_FITTED = 0.5
"""Share of the way from training to generated images at which held-out images raise the alarm."""
SHOWN = 64
"""Samples in a picture: those of the same latents after every measurement."""


def reference(images: Tensor) -> samples.Reference:
    """Real uint8 images (N, 3, S, S), prepared to compare generated ones with."""
    return samples.Reference(images, extractors.load_extractor("creatures"))


@torch.inference_mode()
def overfitting(discriminator: nn.Module, train: Tensor, val: Tensor, fake: Tensor) -> float:
    """How far D puts held-out images from training ones towards generated ones: 0 not at all, 1 all the way.

    (E D(train) - E D(val)) / (E D(train) - E D(generated)), the r_v of Karras et al. 2020, on logits.
    """
    on_train, on_val, on_fake = (
        torch.cat([discriminator(part) for part in images.split(samples.CHUNK)]).mean().item()
        for images in (train, val, fake)
    )
    return (on_train - on_val) / max(on_train - on_fake, 1e-6)


class Monitor:
    """Compares the generator, its weights as they are (`raw`) and averaged (`ema`), with held-out images."""

    def __init__(self, train: Tensor, val: Tensor, latent: int, device: devices.Device):
        """uint8 training and held-out images (N, 3, S, S); of both as many are compared."""
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
        self.train, self.val, self.device = train[order[: len(val)]], val, device
        self.real, self.z = reference(val), samples.latents(len(val), latent, seed=1)
        self.distance = f"val/ema_{self.real.name}"
        """The number that chooses best.pt."""
        self.alarmed = False

    def measure(
        self,
        run: runs.Run,
        step: int,
        means: dict[str, float],
        generator: nn.Module,
        ema: nn.Module,
        discriminator: nn.Module,
    ) -> dict[str, float]:
        """Log everything beside the training's `means`; returns the numbers of the held-out images."""
        versions = {"raw": generator, "ema": ema}
        numbers, images = samples.measure_versions(versions, self.z, self.real, self.device.torch)
        in_range = (
            to_model_range(part).to(self.device.torch) for part in (self.train, self.val, images["raw"])
        )
        numbers["val/overfitting"] = overfitting(discriminator, *in_range)
        run.save_samples("ema", step, images["ema"][:SHOWN], 8)
        run.log(step, means | numbers)
        return numbers

    def warn(self, run: runs.Run, step: int, numbers: dict[str, float], *, beginning: bool) -> None:
        """One line when D begins to know its images by heart, or samples become too much alike.

        At the `beginning` of a run the samples of every generator are alike.
        """
        share, diversity = numbers["val/overfitting"], numbers["val/raw_diversity"]
        alike = diversity < samples.COLLAPSED and not beginning
        alarmed = share > OVER_FITTED or alike
        if alarmed and not self.alarmed:
            run.say(
                f"warning: step {step}: held-out images are judged {100 * share:.0f} % of the way from "
                f"training to generated ones, samples are {100 * diversity:.0f} % as diverse as the data: "
                + ("over-fitting; " if share > OVER_FITTED else "collapse; ")
                + "more images, --mirror, --augment or a larger --r1-gamma help"
            )
        self.alarmed = alarmed
