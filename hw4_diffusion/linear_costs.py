"""What linearity costs a diffusion model: captions, products, components, steps, and the way to the weights.

Everything is trained and sampled as in linear_diffusion.py, with one thing changed at a time.  Makes table.md
(denoisers over seeds), costs.png (components and steps) and solvers.png (the exact error of samplers, and
gradient descent beside the closed form).

python hw4_diffusion/linear_costs.py                            # drawn digits, a CPU core: 90 s
python hw4_diffusion/linear_costs.py --data mnist --seeds 0
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from common import command_line, devices, flags, runs, seeds, text_table
from common.data import ImageSet, to_uint8
from common.errors import InputError
from common.metrics import frechet, samples
from common.metrics.samples import Reference
from common.text_table import Column

import torch
from torch import Tensor

from hw4_diffusion import linear_cost_figures, linear_diffusion, linear_encoder, linear_measures
from hw4_diffusion.linear_captions import Captions, captions_of
from hw4_diffusion.linear_denoiser import OneRegression, gradient_descent, ridge
from hw4_diffusion.linear_diffusion import LinearDiffusion
from hw4_diffusion.linear_encoder import LinearEncoder
from hw4_diffusion.schedule import build, sampling_times

SAMPLERS = ("ddim", "dpm-solver++", "ancestral")
DESCENT_TIMES = (900, 500, 100)
"""Of the 1,000: where gradient descent is watched."""


@dataclass(frozen=True)
class Config(flags.Flags):
    """Flags of linear_costs.py."""

    data: flags.Data = "digits"
    """Named set with a shipped extractor."""
    attributes: tuple[str, ...] = ()
    """Attributes that make the caption; default as in linear_diffusion.py."""
    size: flags.Pixels | None = None
    """Side in pixels; default as in linear_diffusion.py."""
    components: flags.Dimensions = 50
    """Dimensions D of the latent where they are not what is changed."""
    ridge: flags.Positive = 1e-4
    """Weight of the squared coefficients in the objective."""
    steps: flags.Count = 50
    """Noise levels that are visited where they are not what is changed."""
    component_sweep: tuple[flags.Dimensions, ...] = (5, 10, 20, 50, 100)
    """Dimensions to compare."""
    step_sweep: tuple[flags.Count, ...] = (1, 2, 3, 5, 10, 20, 50, 100)
    """Numbers of steps to compare."""
    iterations: flags.Count = 2000
    """Steps of gradient descent that are watched."""
    seeds: tuple[flags.Seed, ...] = (0, 1, 2)
    """Seeds of the noise for the table; the first one for what is changed."""
    samples: flags.SeveralImages = 10_000
    """Images drawn for each Fréchet distance, against as many test images, with their captions."""
    data_dir: flags.Folder | None = None
    """Folder of the image sets; default: data/ in the repository."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""


@dataclass(frozen=True)
class World:
    """What every model is trained on and compared with."""

    base: linear_diffusion.Config
    """Flags of the model that the others are changes of."""
    most_components: int
    """Of any model."""
    sets: dict[str, ImageSet]
    captions: dict[str, Captions]
    reference: Reference
    """The test images."""
    seed: int
    """Of the noise, where one is drawn."""

    @cached_property
    def largest_encoder(self) -> LinearEncoder:
        """Principal components of the training images, as many as any model takes."""
        return linear_encoder.fit(self.sets["train"].images, self.most_components)

    def train(self, caption: bool = True, **changed) -> LinearDiffusion:
        """The model of the flags, but for those changed."""
        config = replace(self.base, **changed)
        encoder = self.largest_encoder.first(config.components)
        latents = encoder.encode(self.sets["train"].images)
        return linear_diffusion.train_denoiser(encoder, latents, self.embedded("train", caption), config)

    def embedded(self, split: str, caption: bool = True) -> Tensor:
        """Captions (N, E) of a split, or (N, 0)."""
        embedded = self.captions[split].embedded
        return embedded if caption else embedded[:, :0]

    def sampled(
        self, model: LinearDiffusion, sampler: str, steps: int, seed: int, caption: bool = True
    ) -> dict[str, float]:
        """Numbers of a sample for each caption of a test image: see `drawn`."""
        captions = self.embedded("test", caption)
        *_, (_, latents) = linear_diffusion.sample(model, captions, sampler, steps, seed)
        return self.drawn(model, latents)

    def drawn(self, model: LinearDiffusion, latents: Tensor) -> dict[str, float]:
        """`measured`, and the variance of the latents (N, D) as a multiple of the training images'."""
        images = to_uint8(model.encoder.decode(latents))
        return self.measured(images) | {"variance": latents.var(0).mean().item()}

    def measured(self, images: Tensor, captions: Captions | None = None) -> dict[str, float]:
        """Fréchet distance of uint8 images, and how many of them show what was asked, in %."""
        captions = self.captions["test"] if captions is None else captions
        numbers = linear_measures.of_images(images, captions, self.reference)
        return {"fd": numbers[f"eval/{self.reference.name}"], "obeyed": numbers["eval/obeyed_all_percent"]}


def main(config: Config) -> None:
    device = devices.start("cpu", seed=config.seeds[0] if config.seeds else 0)
    world = prepare(config)
    with runs.start("hw4", f"linear-costs-{Path(config.data).name}", config, device) as run:
        model, name = world.train(), world.reference.name
        rows = seeds.over_seeds(compare_denoisers(world, model, config.seeds), by=("model",))
        for row in rows:
            row.pop("error_sd", None)  # the denoiser is the same for every seed
        run.say(table(rows, name))
        runs.write_text_atomic(run.folder / "table.md", table(rows, name))
        components = [by_components(world, count) for count in sorted(config.component_sweep)]
        steps = [by_steps(world, model, count) for count in sorted(config.step_sweep)]
        descent = [way_down(model, time, world.base.ridge, config.iterations) for time in DESCENT_TIMES]
        linear_cost_figures.save_costs(run.folder / "costs.png", name, components, steps)
        linear_cost_figures.save_solvers(run.folder / "solvers.png", steps, descent)
        numbers = {f"{row['model']}: {key}": row[key] for row in rows for key in ("fd", "obeyed")}
        run.summary(
            numbers,
            distance=f"eval/{name}",
            rows=rows,
            by_components=components,
            by_steps=steps,
            descent=[{key: value for key, value in way.items() if key != "gaps"} for way in descent],
            seeds=config.seeds,
            figures=["costs.png", "solvers.png"],
            **{f"n_{split}": len(images) for split, images in world.sets.items()},
        )


# ---- one thing changed at a time


def compare_denoisers(world: World, model: LinearDiffusion, of_seeds: tuple[int, ...]) -> list[dict]:
    """A row for each denoiser and seed; then what bounds them: Gaussians drawn at once, test images that went
    through the encoder and back, training images."""
    base, captions = world.base, world.captions
    levels = [model.schedule.pair(t) for t in sampling_times(model.schedule, base.steps)[:-1]]
    latents = {split: model.encoder.encode(images.images) for split, images in world.sets.items()}
    one = OneRegression(latents["train"], world.embedded("train"), levels, penalty=base.ridge)
    models = {
        "products": model,
        "one regression": replace(model, denoiser=one),
        "no products": world.train(products=False),
        "no caption": world.train(caption=False),
    }
    rows = []
    for name, other in models.items():
        caption = name != "no caption"
        validation = latents["val"], world.embedded("val", caption)
        error = linear_measures.denoising_error(other.denoiser, *validation, levels)
        for seed in of_seeds:
            measured = world.sampled(other, base.sampler, base.steps, seed, caption)
            rows.append({"model": name, "seed": seed, "error": error, **measured})
    if captions["train"].of_classes:
        for seed in of_seeds:
            drawn = world.drawn(model, drawn_at_once(world, model, seed))
            rows.append({"model": "Gaussians", "seed": seed, **drawn})
    decoded = to_uint8(model.encoder.decode(latents["test"]))
    rows.append({"model": "encoder only", "seed": 0, **world.measured(decoded)})
    real = world.sets["train"].few(world.reference.count)
    measured = world.measured(real.images, captions_of(real, base.attributes))
    return [*rows, {"model": "training images", "seed": 0, **measured}]


def by_components(world: World, components: int) -> dict[str, float]:
    """Samples with and without products, and test images that went through the encoder and back."""
    row, base = {"components": components}, world.base
    for name, products in {"products": True, "no_products": False}.items():
        model = world.train(components=components, products=products)
        measured = world.sampled(model, base.sampler, base.steps, world.seed)
        row |= {f"{key}_{name}": value for key, value in measured.items()}
    latents = model.encoder.encode(world.sets["test"].images)
    measured = world.measured(to_uint8(model.encoder.decode(latents)))
    return row | {f"{key}_encoder": value for key, value in measured.items()}


def by_steps(world: World, model: LinearDiffusion, steps: int) -> dict[str, float]:
    """Samples of each sampler, and with classes the exact error of those that add no noise."""
    row = {"steps": steps}
    for sampler in SAMPLERS:
        measured = world.sampled(model, sampler, steps, world.seed)
        row |= {f"{key}_{sampler}": value for key, value in measured.items()}
        if world.captions["train"].of_classes and sampler != "ancestral":
            row[f"exact_{sampler}"] = exact_error(world, model, sampler, steps)
    return row


def way_down(model: LinearDiffusion, time: int, penalty: float, iterations: int) -> dict:
    """How far gradient descent is above the minimum at one noise level, as a share of where it starts."""
    left, right = model.denoiser.moments.normal_equations(*model.schedule.pair(time))
    best = ridge(left, right, penalty)

    def above_minimum(weights: Tensor) -> float:
        off = weights - best
        return (off * (left @ off + penalty * off)).sum().item()

    start = above_minimum(torch.zeros_like(best))
    gaps = []
    for weights in islice(gradient_descent(left, right, penalty), iterations):
        gaps.append(above_minimum(weights) / start)
    difference = (weights - best).abs().max().item()
    return {"time": time, "gaps": gaps, "gap": gaps[-1], "difference": difference}


# ---- the Gaussians behind it


def class_moments(world: World, model: LinearDiffusion) -> list[frechet.Moments]:
    """Mean and covariance of the training latents of each class."""
    latents = model.encoder.encode(world.sets["train"].images)
    (labels,) = world.captions["train"].chosen.values()
    (names,) = world.captions["train"].options.values()
    groups = [latents[labels == label] for label in range(len(names))]
    covariance = lambda group: torch.atleast_2d(torch.cov(group.T, correction=0))  # of one component too
    return [frechet.Moments(group.mean(0), covariance(group)) for group in groups]


def drawn_at_once(world: World, model: LinearDiffusion, seed: int) -> Tensor:  # -> (N, D)
    """A latent for each caption of a test image from the Gaussian of its class, without any diffusion."""
    generator = torch.Generator().manual_seed(seed)
    (labels,) = world.captions["test"].chosen.values()
    latents = torch.empty(len(labels), model.encoder.dimension, dtype=torch.float64)
    for label, gaussian in enumerate(class_moments(world, model)):
        rows = labels == label
        variance, vectors = torch.linalg.eigh(gaussian.sigma)
        noise = torch.randn(int(rows.sum()), gaussian.dimension, generator=generator, dtype=torch.float64)
        latents[rows] = gaussian.mu + noise @ (vectors * variance.clamp_min(0).sqrt()).T
    return latents


def exact_error(world: World, model: LinearDiffusion, sampler: str, steps: int) -> float:
    """Root mean square over classes of the distance between the Gaussian that a sampler draws and that of the
    class, eq. (metrics.7) on latents; no sample is taken.

    Without new noise a sampler is affine in x_T here.  What it makes of 0 is the mean of all that it draws;
    what it adds to that for each unit vector is a root of the covariance."""
    dimension, total = model.encoder.dimension, 0.0
    start = torch.cat([torch.zeros(1, dimension), torch.eye(dimension)]).double()
    moments = class_moments(world, model)
    for label, gaussian in enumerate(moments):
        captions = torch.eye(len(moments), dtype=torch.float64)[label].expand(len(start), -1)
        *_, (_, ends) = linear_diffusion.denoised(model, captions, sampler, steps, start)
        root = ends[1:] - ends[0]  # (D, D)
        total += frechet.distance(frechet.Moments(ends[0], root.T @ root), gaussian)
    return max(total / len(moments), 0.0) ** 0.5


# ---- what is compared, and how it is told


def prepare(config: Config) -> World:
    """Images, captions and test images of the flags; InputError where nothing can be compared."""
    if not (config.seeds and config.component_sweep and config.step_sweep):
        raise InputError("--seeds, --component-sweep, --step-sweep: name at least one value of each")
    for steps in (config.steps, *config.step_sweep):
        sampling_times(build("cosine"), steps)  # refuses more steps than there are times
    base = linear_diffusion.Config(
        data=config.data,
        attributes=config.attributes,
        size=config.size,
        components=config.components,
        ridge=config.ridge,
        steps=config.steps,
        samples=config.samples,
        data_dir=config.data_dir,
    )
    sets = {split: linear_diffusion.load(base, split) for split in ("train", "val", "test")}
    captions = {split: captions_of(images, config.attributes) for split, images in sets.items()}
    reference = samples.reference_of(sets["test"], any_side=True)
    read = {} if reference.extractor is None else reference.extractor.options
    if not captions["test"].chosen.keys() & read.keys():
        raise InputError(
            f"--data {config.data}: no shipped network reads these captions from its images, so that nothing "
            "can be compared; linear_diffusion.py needs none"
        )
    most = max(config.components, *config.component_sweep)
    linear_encoder.check(sets["train"].images, most)
    return World(base, most, sets, captions, reference, config.seeds[0])


def table(rows: list[dict], distance: str) -> str:
    """Denoisers against numbers, mean ± sd over seeds."""
    columns = [
        Column("denoiser", "model"),
        Column("seeds", "seeds", "d"),
        Column("squared error of the latent", "error", ".4f"),
        Column(distance, "fd", ".1f"),
        Column("captions obeyed, %", "obeyed", ".1f"),
        Column("variance", "variance", ".2f"),
    ]
    return text_table.markdown(columns, rows)


if __name__ == "__main__":
    command_line.run(main, Config)
