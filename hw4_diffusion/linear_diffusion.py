"""Linear diffusion: every part of a latent diffusion model, each of them linear and solved in closed form.

Three parts make images from captions, as in Stable Diffusion: an encoder of images (principal components), an
embedding of captions (zeros and ones), a denoiser (least squares on the caption, the noisy latent and their
products).  Noise becomes a latent in small steps, each of which takes some noise out; the decoder draws it.
Theory: theory/en/diffusion.md#a-linear-diffusion-model, eqs. (diffusion.29)-(diffusion.31).

python hw4_diffusion/linear_diffusion.py                        # drawn digits, a CPU core: 10 s
python hw4_diffusion/linear_diffusion.py --data mnist --sampler ancestral
python hw4_diffusion/linear_diffusion.py --data avatars --attributes hair hair_color clothes_color

The best linear denoiser is the exact denoiser of a Gaussian: with products each class has one with a mean and
a covariance of its own, without them all share one covariance.  What that costs: linear_costs.py.

DIFFERS: W. Kurt's "Linear Diffusion" (2023) regresses the noise, at one level, and takes it out in one step.
Here every level has its regression, and the schedule and the samplers are those of DDPM.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from common import command_line, data, devices, flags, runs
from common.data import ImageSet, to_uint8
from common.metrics import samples

import torch
from torch import Tensor

from hw4_diffusion import linear_encoder, linear_figures, linear_measures, samplers
from hw4_diffusion.diffusion import Denoise, noise_in
from hw4_diffusion.linear_captions import Captions, captions_of
from hw4_diffusion.linear_denoiser import LinearDenoiser, descend, ridge
from hw4_diffusion.linear_encoder import LinearEncoder
from hw4_diffusion.schedule import Schedule, build, sampling_times

AT_THEIR_SIZE = ("digits", "mnist", "fashion-mnist")
"""Sets of 28x28 pixels."""
SIZE = 32
"""Side of all others unless --size says otherwise."""


@dataclass(frozen=True)
class Config(flags.Flags):
    """Flags of linear_diffusion.py."""

    data: flags.Data = "digits"
    """Named set, or folder of images; class subfolders of a folder are the captions."""
    attributes: tuple[str, ...] = ()
    """Attributes that make the caption; default: the class, or every attribute of a set without classes."""
    size: flags.Pixels | None = None
    """Side in pixels; by default 28 for digits and garments, 32 for other sets."""
    components: flags.Dimensions = 50
    """Dimensions D of the latent."""
    products: bool = True
    """Give the denoiser the products of caption and noisy latent, so that each class is denoised its way."""
    ridge: flags.Positive = 1e-4
    """Weight of the squared coefficients in the objective."""
    solver: Literal["ridge", "gradient-descent"] = "ridge"
    """Closed form, or gradient descent to the same coefficients."""
    iterations: flags.Count = 2000
    """Steps of gradient descent at each noise level."""
    schedule: Literal["linear", "cosine", "flow"] = "cosine"
    """How signal and noise change over the 1,000 times."""
    sampler: Literal["ddim", "ancestral", "dpm-solver++", "sde-dpm-solver++", "heun"] = "ddim"
    """How noise is taken out: ddim is deterministic, ancestral adds new noise after each step."""
    steps: flags.Count = 50
    """Noise levels that are visited."""
    samples: flags.SeveralImages = 10_000
    """Images drawn for the Fréchet distance, against as many test images, with their captions."""
    seed: flags.Seed = 0
    """Seed of the noise and of the drawn sets."""
    data_dir: flags.Folder | None = None
    """Folder of the image sets; default: data/ in the repository."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""


# ---- the method


@dataclass(frozen=True)
class LinearDiffusion:
    """The trained parts, and the schedule of the noise."""

    encoder: LinearEncoder
    denoiser: LinearDenoiser
    schedule: Schedule

    def denoise(self, captions: Tensor) -> Denoise:
        """x_t (N, D), t -> the mean latent and the mean noise in it, for captions (N, E)."""

        def mean_latent_and_noise(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
            alpha, sigma = self.schedule.pair(t)
            z = self.denoiser(x, captions, alpha, sigma)
            return z, noise_in(x, z, alpha, sigma)

        return mean_latent_and_noise


def train(images: Tensor, captions: Tensor, config: Config) -> LinearDiffusion:
    """All of the training, on uint8 images (N, C, H, W) with captions (N, E).  Nothing in it is random."""
    encoder = linear_encoder.fit(images, config.components)
    return train_denoiser(encoder, encoder.encode(images), captions, config)


def train_denoiser(
    encoder: LinearEncoder, latents: Tensor, captions: Tensor, config: Config
) -> LinearDiffusion:
    """Least squares on latents (N, D), for every noise level when sampling asks for it."""
    solvers = {"ridge": ridge, "gradient-descent": partial(descend, iterations=config.iterations)}
    options = {"products": config.products, "penalty": config.ridge, "solve": solvers[config.solver]}
    denoiser = LinearDenoiser(latents, captions, **options)
    return LinearDiffusion(encoder, denoiser, build(config.schedule))


def sample(
    model: LinearDiffusion, captions: Tensor, sampler: str, steps: int, seed: int
) -> Iterator[tuple[int, Tensor]]:
    """From noise to a latent (D,) for each of the captions (N, E): see `denoised`."""
    generator = torch.Generator().manual_seed(seed)
    randn = lambda x: torch.randn(x.shape, generator=generator)
    x = randn(torch.empty(len(captions), model.encoder.dimension))
    yield from denoised(model, captions, sampler, steps, x, randn)


def denoised(
    model: LinearDiffusion,
    captions: Tensor,
    sampler: str,
    steps: int,
    x: Tensor,
    randn: samplers.Randn = torch.randn_like,
) -> Iterator[tuple[int, Tensor]]:
    """(T, x_T), then (t, x_t) after each step down to t = 0."""
    times = sampling_times(model.schedule, steps)
    yield times[0], x
    yield from samplers.sample(sampler, model.denoise(captions), model.schedule, times, x, randn=randn)


def main(config: Config) -> None:
    check(config)
    device = devices.start("cpu", seed=config.seed)
    sets = {split: load(config, split) for split in ("train", "val", "test")}
    captions = {split: captions_of(images, config.attributes) for split, images in sets.items()}
    linear_encoder.check(sets["train"].images, config.components)
    with runs.start("hw4", f"linear-{Path(config.data).name}", config, device) as run:
        model = train(sets["train"].images, captions["train"].embedded, config)
        *_, (_, latents) = sample(model, captions["test"].embedded, config.sampler, config.steps, config.seed)
        images = to_uint8(model.encoder.decode(latents))  # one for each caption of a test image
        metrics = measure(model, images, sets, captions, config)
        for name, value in metrics.items():
            run.say(f"{name} {value:.4g}")
        run.log(0, metrics)
        pictures = draw(run.folder, model, captions["test"], finding(metrics), config)
        counts = {f"n_{split}": len(of_split) for split, of_split in sets.items()}
        run.summary(metrics, seed=config.seed, figures=pictures, **counts)


# ---- images, measures, figures


def check(config: Config) -> None:
    """InputError for more steps than there are times; a word where a flag does nothing."""
    sampling_times(build(config.schedule), config.steps)
    met = config.solver == "gradient-descent"
    command_line.warn_of_idle(config, "iterations", needs="--solver gradient-descent", met=met)


def load(config: Config, split: str) -> ImageSet:
    """A split at the size of the flags; of test images as many as samples are drawn, where there are."""
    size = config.size or (None if config.data in AT_THEIR_SIZE else SIZE)
    count = config.samples if split == "test" else None
    return data.load(config.data, split, size=size, count=count, seed=config.seed, data_dir=config.data_dir)


def measure(
    model: LinearDiffusion,
    images: Tensor,
    sets: dict[str, ImageSet],
    captions: dict[str, Captions],
    config: Config,
) -> dict[str, float]:
    """Errors on validation images; distance to test images, and captions obeyed, of samples and of test
    images that only went through the encoder and back."""
    levels = [model.schedule.pair(t) for t in sampling_times(model.schedule, config.steps)[:-1]]
    numbers = linear_measures.of_encoder(model.encoder, sets["val"].images)
    numbers["val/denoising_error"] = linear_measures.denoising_error(
        model.denoiser, model.encoder.encode(sets["val"].images), captions["val"].embedded, levels
    )
    reference = samples.reference_of(sets["test"], any_side=True)
    if reference.extractor is not None:
        decoded = to_uint8(model.encoder.decode(model.encoder.encode(sets["test"].images)))
        numbers |= linear_measures.of_images(images, captions["test"], reference)
        of_decoded = linear_measures.of_images(decoded, captions["test"], reference)
        numbers |= {f"{name}_reconstructions": value for name, value in of_decoded.items()}
    return numbers


def draw(folder: Path, model: LinearDiffusion, captions: Captions, title: str, config: Config) -> list[str]:
    """Samples of each option of the first attribute, and the way from noise to them; names of the files."""
    shown, rows = linear_figures.sheet(captions, per_option=10)
    way = list(sample(model, shown.embedded, config.sampler, config.steps, config.seed))
    images = [to_uint8(model.encoder.decode(x)) for _, x in way]
    denoise = model.denoise(shown.embedded)
    guesses = [to_uint8(model.encoder.decode(denoise(x, t)[0])) for t, x in way[:-1]]
    linear_figures.save_samples(folder / "samples.png", images[-1], rows, title)
    times = [t for t, _ in way]
    linear_figures.save_way(folder / "way.png", images, guesses, times, rows)
    linear_figures.save_film(folder / "way.gif", images, len(rows))
    return ["samples.png", "way.png", "way.gif"]


def finding(metrics: dict[str, float]) -> str:
    """What the sheet of samples shows."""
    obeyed = metrics.get("eval/obeyed_all_percent")
    if obeyed is None:
        return "Samples"
    return f"A classifier sees all that was asked in {obeyed:.0f} % of the samples"


if __name__ == "__main__":
    command_line.run(main, Config)
