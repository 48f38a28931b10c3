"""The figures of linear_costs.py."""

from __future__ import annotations

from pathlib import Path

from common import figures

SAMPLERS = {"ddim": "DDIM", "dpm-solver++": "DPM-Solver++", "ancestral": "ancestral, with new noise"}


def save_costs(path: Path, distance: str, components: list[dict], steps: list[dict]) -> None:
    """The Fréchet distance of samples over the components and over the steps."""
    figure, (left, right) = figures.new_figure(10, 4, ncols=2)
    for key, label in {
        "no_products": "samples, without products",
        "products": "samples, with products",
        "encoder": "test images, encoded and decoded",
    }.items():
        left.plot(*_points(components, "components", f"fd_{key}"), marker="o", markersize=4, label=label)
    left.set(xlabel="components of the latent", ylabel=distance, xscale="log", yscale="log")
    left.set_title("The encoder is soon good enough; the denoiser is not", fontsize=10)
    for key, label in SAMPLERS.items():
        right.plot(*_points(steps, "steps", f"fd_{key}"), marker="o", markersize=4, label=label)
    right.set(xlabel="steps", ylabel=distance, xscale="log")
    right.set_ylim(bottom=0)
    right.set_title("A few steps reach what this model can draw", fontsize=10)
    left.set_yticks(*_round_ticks(left.get_ylim()))
    for axis, rows, key in ((left, components, "components"), (right, steps, "steps")):
        axis.set_xticks([row[key] for row in rows], [str(row[key]) for row in rows])
        axis.minorticks_off()
        axis.legend(frameon=False, fontsize=8)
    figures.save_figure(figure, path)


def save_solvers(path: Path, steps: list[dict], descent: list[dict]) -> None:
    """The exact error of samplers over the steps, and gradient descent over its steps."""
    figure, (left, right) = figures.new_figure(10, 4, ncols=2)
    for key, label in SAMPLERS.items():
        points = _points(steps, "steps", f"exact_{key}")
        if points[0]:
            left.loglog(*points, marker="o", markersize=4, label=label)
    left.set(xlabel="steps", ylabel="distance to the class's Gaussian")
    left.set_title("What a sampler misses of the Gaussian, computed exactly", fontsize=10)
    for level in descent:
        right.semilogy(level["gaps"], label=f"t = {level['time']}", linewidth=1.2)
    right.set(xlabel="steps of gradient descent", ylabel="share of the way still to go")
    right.set_title("Gradient descent reaches the closed form:\nthe more noise, the sooner", fontsize=10)
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=8)
    figures.save_figure(figure, path)


def _round_ticks(limits: tuple[float, float]) -> tuple[list[float], list[str]]:
    """1, 2, 5, 10, 20, ... between the ends of a logarithmic axis, and how they are written."""
    ticks = [digit * 10.0**power for power in range(-3, 6) for digit in (1, 2, 5)]
    inside = [tick for tick in ticks if limits[0] <= tick <= limits[1]]
    return inside, [f"{tick:g}" for tick in inside]


def _points(rows: list[dict], x: str, y: str) -> tuple[list, list]:
    """The values of two columns where both are known."""
    known = [row for row in rows if row.get(y) is not None]
    return [row[x] for row in known], [row[y] for row in known]
