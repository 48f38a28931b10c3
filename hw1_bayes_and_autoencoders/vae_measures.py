"""Numbers of a trained VAE on test images: bounds, errors, what the latents say, distances of samples.

Everything is deterministic after `seed_everything`, runs on the CPU in float32 and under `inference_mode`.
"""

from __future__ import annotations

from collections.abc import Sequence

from common import gaussian_mixture, latent_space, seeds
from common.data import ImageSet, to_uint8
from common.data.image_set import spread
from common.errors import InputError
from common.metrics import extractors

import torch
from torch import Tensor

from hw1_bayes_and_autoencoders import vae, vae_bounds
from hw1_bayes_and_autoencoders.train_vae import DEAD_NATS

SOURCES = ("prior", "mixture", "reconstruction")
"""Where z comes from: N(0, I), a mixture fitted to the latents of training images, or q(z | x) of a test
image."""
CHUNK = 500
"""Images that go through a network at once."""

Latents = tuple[Tensor, Tensor]
"""Means and log-variances of q(z | x) for N images, each (N, D)."""


def encode(model: vae.VAE, x: Tensor, labels: Tensor | None) -> Latents:
    """q(z | x, y) of images (N, C, H, W) in [-1, 1]."""
    index = torch.arange(len(x)).split(CHUNK)
    parts = [model.encode(x[rows], None if labels is None else labels[rows]) for rows in index]
    mu, log_variance = zip(*parts)
    return torch.cat(mu), torch.cat(log_variance)


def decode(model: vae.VAE, z: Tensor, labels: Tensor | None) -> Tensor:
    """uint8 (N, C, H, W) from z (N, D)."""
    index = torch.arange(len(z)).split(CHUNK)
    parts = [model.images(z[rows], None if labels is None else labels[rows]) for rows in index]
    return torch.cat([to_uint8(part) for part in parts])


def bounds(
    model: vae.VAE,
    x: Tensor,
    labels: Tensor | None,
    latents: Latents,
    *,
    samples: int,
    images: int,
) -> dict[str, float]:
    """Bounds of -ln p(x) in nats per image, eqs. (vae.2), (vae.11), their parts, and the MSE of [0, 1].

    The importance-weighted bound takes `samples` draws for each of so many `images` of all.

    With real-valued pixels and a Bernoulli likelihood they are cross-entropies, not likelihoods of the
    pixels."""
    take = lambda rows: None if labels is None else labels[rows]
    reconstruction, squared, bound = [], [], []
    for rows in torch.arange(len(x)).split(CHUNK):
        reconstruction.append(model(x[rows], take(rows))["reconstruction"])
        squared.append(((model.reconstruct(x[rows], take(rows)) - x[rows]) / 2).square().mean((1, 2, 3)))
    some = spread(images, len(x))  # of all parts of the set
    for rows in some.split(100):
        bound.append(vae_bounds.importance_bound(model, x[rows], take(rows), samples))
    reconstruction, bound = torch.cat(reconstruction), torch.cat(bound)  # (N,), (M,)
    kl = latent_space.kl_to_standard_normal(*latents)  # (N, D)
    lower = vae.elbo(-reconstruction, kl)  # (N,)
    parts = vae_bounds.split_kl(*latents)
    return {
        "eval/negative_elbo_nats": -lower.mean().item(),
        "eval/negative_importance_bound_nats": -bound.mean().item(),
        # what the ELBO misses of ln p(x) is the KL from q to the true posterior, eq. (vae.3): at least this
        "eval/posterior_gap_nats": (bound - lower[some]).mean().item(),
        "eval/reconstruction_nats": reconstruction.mean().item(),
        "eval/kl_nats": kl.sum(1).mean().item(),
        "eval/index_information_nats": parts.index_information,
        "eval/marginal_kl_nats": parts.marginal,
        "eval/active_dimensions": int((kl.mean(0) >= DEAD_NATS).sum()),
        "eval/mse": torch.cat(squared).mean().item(),
    }


def latents_to_decode(
    model: vae.VAE,
    latents: dict[str, Latents],
    sets: dict[str, ImageSet],
    labels: Tensor | None,
    count: int,
    components: Sequence[int],
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """z (count, D) from the prior and from a mixture fitted to z ~ q of the training images.

    A conditional model gets a mixture for each class; `components` counts those of all classes together.  The
    size is the one under which validation latents are likeliest.  Also: how many nats a test latent is
    likelier under the mixture than under the prior, an estimate from below of KL(q(z) || p(z)), eq. (vae.12).
    """
    z = {split: latent_space.reparameterise(*latents[split]) for split in latents}
    drawn = {"prior": torch.randn(count, model.latent), "mixture": torch.empty(count, model.latent)}
    log_density, total = torch.empty(len(z["test"]), dtype=torch.float64), 0
    groups = range(model.classes) if model.classes else [None]
    members = lambda own, label: slice(None) if label is None else own == label
    for label in groups:
        of_class = {split: values[members(sets[split].labels, label)] for split, values in z.items()}
        sizes = sorted({max(1, round(size / len(groups))) for size in components})
        if sizes[0] >= len(of_class["train"]):
            of_what = "" if label is None else f" of class {label}"
            raise InputError(
                f"--components {' '.join(map(str, components))}: a mixture needs fewer components than the "
                f"{len(of_class['train'])} training images{of_what}; name a smaller one"
            )
        mixture, _ = gaussian_mixture.fit_best(of_class["train"], of_class["val"], sizes)
        log_density[members(sets["test"].labels, label)] = mixture.log_density(of_class["test"])
        wanted = members(labels, label)
        drawn["mixture"][wanted] = mixture.sample(len(drawn["mixture"][wanted]))
        total += len(mixture.weights)
    under_prior = vae_bounds.log_normal(z["test"], 0.0, torch.zeros_like(z["test"])).double()
    return drawn, {
        "eval/mixture_components": total,
        "eval/mixture_gain_nats": (log_density - under_prior).mean().item(),
    }


def extractor_for(data: str, shape: tuple[int, int, int]) -> extractors.Extractor | None:
    """The shipped extractor of a set, by its name; None where there is none for images of `shape`."""
    if data not in extractors.NAMES or not (extractors.FOLDER / f"{data}.safetensors").is_file():
        return None
    extractor = extractors.load_extractor(data)
    return extractor if extractor.shape == shape else None


def distances(
    model: vae.VAE,
    z: dict[str, Tensor],
    labels: Tensor | None,
    latents: Latents,
    test: ImageSet,
    extractor: extractors.Extractor,
) -> dict[str, float]:
    """Fréchet distance to test images, eq. (metrics.7), of what is decoded from each of `z` (N, D).

    `reconstruction` decodes z ~ q(z | x) of the test images: what a perfect sampler of z would reach.  For a
    conditional model also how many images the extractor's classifier, which never saw them, takes for the
    class asked, overall and in the worst class, and the distance of each class to its own test images.
    """
    count = len(next(iter(z.values())))
    rows = spread(count, len(test))
    real = test.take(rows)
    target, name = extractors.moments_of(real, extractor), extractors.metric_name(extractor.name, count)
    encoded = latent_space.reparameterise(*(part[rows] for part in latents))
    numbers = {}
    for source, latent in {**z, "reconstruction": encoded}.items():
        asked = real.labels if source == "reconstruction" else labels
        images = decode(model, latent, asked if model.classes else None)
        numbers[f"{name}_{source}"] = extractors.frechet(extractor, images, target)
        if model.classes and source != "reconstruction":
            (read,) = extractors.predictions_of(images, extractor).values()
            right = (read == labels).double()
            worst = min(right[labels == label].mean().item() for label in labels.unique())
            numbers[f"eval/recognised_percent_{source}"] = 100 * right.mean().item()
            numbers[f"eval/recognised_percent_worst_class_{source}"] = 100 * worst
            for label in labels.unique().tolist():
                own = extractors.moments_of(real.take(real.labels == label), extractor)
                distance = extractors.frechet(extractor, images[labels == label], own)
                numbers[f"eval/fd_{extractor.name}_class_{label}_{source}"] = distance
    return numbers


def conclusions(models: list[dict], distance: str) -> list[str]:
    """What the table supports, in sentences; `distance` is the name of the Fréchet distance.

    Two models are compared where their means differ by more than two standard errors over seeds; a
    comparison of single seeds says so.
    """
    lines = []
    for row in models:
        gap = max(0.0, row["eval/posterior_gap_nats"])  # an estimate, which few draws can take below 0
        lines.append(
            f"{row['model']}: at least {gap:.1f} nats that the ELBO misses are "
            f"q(z | x) not being the posterior; {row['eval/marginal_kl_nats']:.1f} nats of the KL are the "
            "aggregate posterior not being the prior; a test latent is "
            f"{row['eval/mixture_gain_nats']:.1f} nats likelier under the mixture than under the prior."
        )
        dead = row["latent_dimensions"] - row["eval/active_dimensions"]
        if dead >= 1:
            of_all = f"{row['latent_dimensions']:.0f} dimensions"
            lines.append(f"{row['model']}: {dead:.0f} of {of_all} carry nothing.")
    prior, mixture, first = f"{distance}_prior", f"{distance}_mixture", models[0]
    if prior not in first:
        return lines
    said = {True: "", None: " (a single seed: not yet a finding)"}
    for row in models:
        if (differ := seeds.differ(row, prior, row, mixture)) is not False:
            lines.append(
                f"{row['model']}: z from the mixture instead of the prior takes {distance} from "
                f"{row[prior]:.1f} to {row[mixture]:.1f} with the same weights{said[differ]}."
            )
        best = min(prior, mixture, key=row.get)
        if row is not first and (differ := seeds.differ(first, prior, row, best)) is not False:
            lines.append(
                f"{row['model']}: z from the {best.removeprefix(distance + '_')} gives "
                f"{row[best] / first[prior]:.2f} times the {distance} of {first['model']} and the prior"
                f"{said[differ]}."
            )
    return lines
