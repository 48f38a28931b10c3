"""Figures of the evaluation of a VAE: samples, reconstructions, walks through the latent space."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from common import figures, latent_space
from common.data import ImageSet, to_model_range, to_uint8

import torch
from torch import Tensor

from hw1_bayes_and_autoencoders import vae
from hw1_bayes_and_autoencoders.train_vae import DEAD_NATS


def save_samples(
    folder: Path, model: vae.VAE, z: dict[str, Tensor], labels: Tensor | None, titles: dict[str, str]
) -> None:
    """Up to 100 images decoded from z (N, D) of each source, ten a row: samples-SOURCE.png."""
    labels = None if labels is None else labels[:100]
    for source, latent in z.items():
        images = to_uint8(model.images(latent[:100], labels))
        figures.save_grid(folder / f"samples-{source}.png", images, 10, title=titles[source])


def save_walks(
    folder: Path,
    model: vae.VAE,
    test: ImageSet,
    x: Tensor,
    latents: tuple[Tensor, Tensor],
    title: str,
) -> None:
    """What the latents of test images x (N, C, H, W) say: reconstructions, ways between them, and what each
    dimension carries; `latents` are mean and log-variance of q, (N, D) each."""
    labels = None if test.labels is None else test.labels[:10]
    save_reconstructions(folder / "reconstructions.png", model, x[:10], labels, title)
    save_interpolation(folder, model, test)
    kl = latent_space.kl_to_standard_normal(*latents).mean(0)  # (D,)
    save_traversal(folder / "traversal.png", model, x[:1], test.labels[:1] if model.classes else None, kl)
    save_kl(folder / "kl.png", kl, DEAD_NATS)
    if model.latent == 2:
        save_manifold(folder / "manifold.png", model, "The latent plane, at quantiles of the prior")


def save_reconstructions(path: Path, model: vae.VAE, x: Tensor, labels: Tensor | None, title: str) -> None:
    """Images (N, C, H, W) in [-1, 1] above their reconstructions."""
    rows = torch.cat([x, model.reconstruct(x, labels)])
    figures.save_grid(path, to_uint8(rows), len(x), row_titles=("image", "reconstruction"), title=title)


def ends_of_walk(images: ImageSet, count: int = 4) -> tuple[Tensor, Tensor, Tensor | None]:
    """Starts and ends (count, C, H, W) in [-1, 1], and the label of both: of one class where there are
    labels."""
    if images.labels is None:
        return to_model_range(images.images[:count]), to_model_range(images.images[count : 2 * count]), None
    pairs = []
    for label in images.labels.unique()[:count].tolist():
        members = (images.labels == label).nonzero()[:, 0]
        pairs.append((members[0], members[-1]))
    starts, ends = (torch.stack(side) for side in zip(*pairs))
    return to_model_range(images.images[starts]), to_model_range(images.images[ends]), images.labels[starts]


def save_interpolation(folder: Path, model: vae.VAE, images: ImageSet, frames: int = 40) -> list[str]:
    """Linear and spherical ways between the latents of image pairs: a sheet, and a GIF that goes there and
    back.

    A conditional model walks within a class; any other from one image to the start of the next pair.
    """
    starts, ends, labels = ends_of_walk(images)
    if model.classes == 0:
        ends, labels = starts.roll(-1, 0), None
    first, last = model.encode(starts, labels)[0], model.encode(ends, labels)[0]  # (P, D)
    walk = lambda way, shares: torch.stack([way(first, last, share) for share in shares.tolist()], 1)

    def decoded(z: Tensor) -> Tensor:  # (P, S, D) -> uint8 (P, S, C, H, W)
        repeated = None if labels is None else labels.repeat_interleave(z.shape[1])
        return to_uint8(model.images(z.flatten(0, 1), repeated)).unflatten(0, z.shape[:2])

    shares = torch.linspace(0, 1, 10)
    linear, spherical = decoded(walk(torch.lerp, shares)), decoded(walk(latent_space.slerp, shares))
    rows = torch.stack([linear, spherical], 1).flatten(0, 2)
    figures.save_grid(
        folder / "interpolation.png",
        rows,
        len(shares),
        row_titles=("linear", "spherical") * len(starts),
        title="Between the latents of two test images",
    )
    there = torch.linspace(0, 1, frames // 2)
    way = decoded(walk(latent_space.slerp, torch.cat([there, there.flip(0)])))  # (P, S, C, H, W)
    sheet = torch.stack([figures.image_grid(frame, len(starts)) for frame in way.transpose(0, 1)])
    figures.save_gif(folder / "interpolation.gif", sheet.repeat_interleave(3, 2).repeat_interleave(3, 3))
    return ["interpolation.png", "interpolation.gif"]


def save_traversal(path: Path, model: vae.VAE, x: Tensor, labels: Tensor | None, kl: Tensor) -> None:
    """One image (1, C, H, W), one latent dimension a row set to -3, ..., 3; the ten of largest KL (D,) in
    nats."""
    shown = kl.argsort(descending=True)[:10]
    mu = model.encode(x, labels)[0]
    values = torch.linspace(-3, 3, 9)
    z = mu.repeat(len(shown), len(values), 1)  # (rows, columns, D)
    z[torch.arange(len(shown))[:, None], torch.arange(len(values)), shown[:, None]] = values
    repeated = None if labels is None else labels.repeat(z.shape[0] * z.shape[1])
    figures.save_grid(
        path,
        to_uint8(model.images(z.flatten(0, 1), repeated)),
        len(values),
        row_titles=[f"z{d}: {kl[d]:.2f} nats" for d in shown.tolist()],
        column_titles=[f"{value:+.2g}" for value in values.tolist()],
        title="What each latent dimension does",
    )


def save_manifold(path: Path, model: vae.VAE, title: str, side: int = 20, label: int = 0) -> None:
    """A two-dimensional latent space at the quantiles of N(0, I): equal areas are equally likely."""
    steps = torch.special.ndtri((torch.arange(side) + 0.5) / side)
    z = torch.cartesian_prod(-steps, steps).flip(1)  # rows from top to bottom: second coordinate falls
    labels = torch.full((len(z),), label) if model.classes else None
    figures.save_grid(path, to_uint8(model.images(z, labels)), side, title=title, zoom=1)


def save_classes(
    path: Path, model: vae.VAE, classes: Sequence[int], names: tuple[str, ...], columns: int = 12
) -> None:
    """One class a row, all of them where `classes` is empty; a column shares one z, so that what z leaves to
    the class and to the style shows."""
    shown = torch.tensor(classes or range(model.classes))
    z = torch.randn(columns, model.latent).repeat(len(shown), 1)  # (rows columns, D)
    figures.save_grid(
        path,
        to_uint8(model.images(z, shown.repeat_interleave(columns))),
        columns,
        row_titles=[names[label] for label in shown.tolist()],
        title="Each row a class, each column one latent vector",
    )


def save_kl(path: Path, kl: Tensor, threshold: float) -> None:
    """KL of each latent dimension (D,), largest first; below `threshold` one carries nothing."""
    figure, axes = figures.new_figure(6.5, 3.6)
    ordered = kl.sort(descending=True).values
    active = int((kl >= threshold).sum())
    axes.bar(range(1, len(kl) + 1), ordered.clamp_min(threshold / 2))
    axes.axhline(threshold, color="black", linestyle=":", linewidth=0.9, label=f"{threshold} nats")
    axes.set(
        title=f"{active} of {len(kl)} dimensions in use, {kl.sum():.1f} nats together",
        xlabel="latent dimension, by its KL",
        ylabel="KL on test images, nats",
        yscale="log" if active < len(kl) else "linear",
    )
    axes.legend(frameon=False, fontsize=8)
    figures.save_figure(figure, path)


def save_distances(path: Path, rows: list[dict], metric: str, real: float) -> None:
    """The Fréchet distance of each model by where its z comes from: prior, mixture, reconstruction."""
    figure, axes = figures.new_figure(9, 1.2 + 0.85 * len(rows))
    labels = {"prior": "z from the prior", "mixture": "z from the mixture"}
    labels["reconstruction"] = "test images, reconstructed"
    for offset, (source, label) in enumerate(labels.items()):
        values = [row[f"{metric}_{source}"] for row in rows]
        spreads = [row.get(f"{metric}_{source}_sd", 0) for row in rows]
        heights = [number + 0.25 * offset for number in range(len(rows))]
        axes.barh(heights, values, 0.22, xerr=spreads, color=figures.COLORS[offset], label=label)
        for height, value, spread in zip(heights, values, spreads):
            axes.annotate(f" {value:.1f}", (value + spread, height), va="center", fontsize=8)
    axes.axvline(real, color="black", linestyle=":", linewidth=1, label=f"training images: {real:.1f}")
    axes.set_yticks(
        [number + 0.25 for number in range(len(rows))],
        [textwrap.fill(row["model"], 34) for row in rows],
        fontsize=9,
    )
    axes.invert_yaxis()
    nearer = sum(row[f"{metric}_mixture"] < row[f"{metric}_prior"] for row in rows)
    axes.set_title(
        f"z from the mixture brings {nearer} of {len(rows)} models nearer to test images", fontsize=11
    )
    axes.set(xlabel=f"Fréchet distance {metric.removeprefix('eval/')}", xscale="log")
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    figures.save_figure(figure, path)
