"""The table and the figures of bayes_styles.py."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from common import figures
from common.data import avatars

import torch
from torch import Tensor

from hw1_bayes_and_autoencoders.style_counts import Attribute

Theta = Sequence[Sequence[Fraction]]
"""One table of probabilities per attribute."""


def theta_table(attributes: Sequence[Attribute], mle: Theta, smoothed: Theta) -> str:
    """Both estimates as aligned text."""
    wide = max(len(option) for a in attributes for option in a.options)
    alias_wide = max(len(alias) for a in attributes for alias in a.aliases)
    lines = [f"{'':{wide + alias_wide + 4}}   n   MLE n/N  smoothed"]
    for attribute, *theta in zip(attributes, mle, smoothed):
        lines.append(f"{attribute.name} (N = {attribute.total}, d = {len(attribute.options)})")
        for option, alias, n, p, q in zip(attribute.options, attribute.aliases, attribute.counts, *theta):
            lines.append(f"  {option:{wide}}  {alias:{alias_wide}}{n:>4}  {float(p):8.4f}  {float(q):8.4f}")
    return "\n".join(lines)


def drawable(attributes: Sequence[Attribute]) -> bool:
    """Whether every attribute and option is one that common.data.avatars draws."""
    return all(set(a.options) <= set(avatars.STYLE_OPTIONS.get(a.name, ())) for a in attributes)


def portraits(
    attributes: Sequence[Attribute], styles: dict[str, Tensor], size: int, generator: torch.Generator
) -> Tensor:
    """uint8 (N, 3, size, size): each style, an index (N,) for each attribute, worn by a random person with a
    neutral face, looking ahead."""
    drawn = lambda a: torch.tensor([avatars.STYLE_OPTIONS[a.name].index(option) for option in a.options])
    wanted = {a.name: drawn(a)[styles[a.name]] for a in attributes}
    anyone = avatars.sample_attributes(len(next(iter(styles.values()))), generator)
    return avatars.draw({"person": anyone["person"], "background": anyone["background"], **wanted}, size)


def save_styles(path: Path, images: Tensor, titles: Sequence[str], columns: int = 5) -> None:
    """Portraits uint8 (N, 3, H, W), each under its title."""
    rows = -(-len(images) // columns)
    figure, axes = figures.new_figure(
        1.8 * columns, 2.25 * rows + 0.4, nrows=rows, ncols=columns, squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, title in zip(axes.flat, images, titles):
        axis.imshow(image.permute(1, 2, 0))
        axis.set_title(title, fontsize=7)
    figure.suptitle(
        "Attribute by attribute every portrait is sound, and its style's probability is exact", fontsize=10
    )
    figures.save_figure(figure, path)


def save_theta(
    path: Path, attributes: Sequence[Attribute], mle: Theta, smoothed: Theta, alpha: float
) -> None:
    """Both estimates as bars."""
    rows = [len(a.options) + 0.5 for a in attributes]
    shape = {"nrows": len(rows), "ncols": 1, "squeeze": False, "sharex": True, "height_ratios": rows}
    figure, axes = figures.new_figure(8, 0.7 + 0.24 * sum(rows) + 0.24 * len(rows), **shape)
    labels = ("maximum likelihood n / N", f"smoothing, α = {alpha:g}")
    for axis, attribute, *both in zip(axes[:, 0], attributes, mle, smoothed):
        places = torch.arange(len(attribute.options))
        for theta, shift, label in zip(both, (-0.2, 0.2), labels):
            axis.barh(places + shift, [float(p) for p in theta], height=0.4, label=label)
        words = zip(attribute.options, attribute.aliases)
        axis.set_yticks(places, [f"{option} ({alias})" if alias else option for option, alias in words])
        axis.tick_params(axis="y", labelsize=7)
        axis.invert_yaxis()
        n_and_d = f"{attribute.name}, N = {attribute.total}, d = {len(attribute.options)}"
        axis.set_title(n_and_d, fontsize=8, loc="left")
    axes[0, 0].legend(frameon=False, fontsize=7, loc="lower right")
    axes[-1, 0].set_xlabel("probability θ of the option")
    figure.suptitle("Smoothing gives every option a chance and takes it from the frequent ones", fontsize=10)
    figures.save_figure(figure, path)


def save_leave_one_out(
    path: Path, alphas: Tensor, seen: Tensor, left_out: Tensor, uniform: float, alpha: float
) -> None:
    """Log-likelihood (M,) of people seen and of people left out over alphas (M,), in nats per person."""
    figure, axis = figures.new_figure(7, 4)
    axis.semilogx(alphas, seen, label="people it was fitted to")
    axis.semilogx(alphas, left_out, label="each person left out in turn")
    axis.axhline(uniform, color="grey", linewidth=1, linestyle=":")
    axis.annotate("all styles equally likely", (alphas[0], uniform), fontsize=8, color="grey", va="bottom")
    best = int(left_out.argmax())
    text = f"best: α = {alphas[best]:.2f}, {left_out[best]:.3f} nats"
    axis.plot(alphas[best], left_out[best], "o", color=figures.COLORS[1], markersize=6, label=text)
    if alpha > 0:
        axis.axvline(alpha, color=figures.COLORS[2], linewidth=1, label=f"--alpha {alpha:g}")
    axis.set(xlabel="pseudo-count α (maximum likelihood: α = 0)", ylabel="log-likelihood, nats per person")
    axis.set_title(
        "Maximum likelihood fits best whom it has seen; a little smoothing predicts best whom it has not",
        fontsize=9,
    )
    axis.legend(frameon=False, fontsize=8)
    figures.save_figure(figure, path)
