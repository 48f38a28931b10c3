"""The smallest GAN there is: two numbers, whose training circles, diverges or converges before your eyes.

Theory: theory/en/gan.md, eq. (gan.11).  Mescheder, Geiger and Nowozin (2018), "Which training
methods for GANs do actually converge?".  All real data are the point 0, the generator's only image is the
number theta, and the discriminator's logit is psi * x.  Equilibrium: theta = psi = 0.  The gradients come
from the losses of common/adversarial.py; R1 is eq. (gan.10), instance noise eq. (gan.14), both here on the
minimax game.  An average over the last updates, eq. (gan.16), is near the centre even where training circles.

python hw2_gan/dirac_gan.py                              # 8 s on a CPU core
python hw2_gan/dirac_gan.py --gamma 3                    # too much of R1: no spiral any more, a slow creep
python hw2_gan/dirac_gan.py --step 1                     # large steps: simultaneous updates run away
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common import adversarial, command_line, devices, figures, flags, runs

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

WINDOW = 2.2
"""The phase portraits show theta and psi between minus and plus this."""


@dataclass(frozen=True)
class Config(flags.Flags):
    """Flags of dirac_gan.py."""

    step: flags.Positive = 0.2
    """Learning rate of both players."""
    steps: Annotated[int, Interval(ge=1, le=100_000)] = 400
    """Updates of each player."""
    start: tuple[flags.Number, flags.Number] = (1.0, 1.0)
    """Values of theta and psi at first."""
    gamma: flags.NonNegative = 0.5
    """Weight of the R1 penalty, which adds gamma / 2 times the squared slope to the discriminator's loss."""
    noise: flags.NonNegative = 1.0
    """Standard deviation of the instance noise; near the equilibrium it acts like gamma = noise^2 / 2."""
    gp_weight: flags.NonNegative = 0.5
    """Weight of the gradient penalty."""
    ema: flags.Decay = 0.98
    """Decay per step of the averaged pair, as of a generator's averaged weights."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""


def train(game: Game, config: Config, alternating: bool) -> np.ndarray:  # -> (steps + 1, 2)
    """theta and psi under gradient descent; alternating: the generator answers the new discriminator."""
    theta, psi = (torch.tensor([value], dtype=torch.float64) for value in config.start)
    path = [(theta.item(), psi.item())]
    for _ in range(config.steps):
        d_theta, d_psi = vector_field(game, theta, psi)  # eq. (gan.11)
        psi = psi + config.step * d_psi
        if alternating:
            d_theta, _ = vector_field(game, theta, psi)
        theta = theta + config.step * d_theta
        path.append((theta.item(), psi.item()))
    return np.array(path)


def main(config: Config) -> None:
    """Train the two numbers in every game, both ways; draw."""
    with runs.start("hw2", "dirac-gan", config, devices.start("cpu")) as run:
        all_games, paths, metrics = games(config), {}, {}
        for name, game in all_games.items():
            ways = {how: train(game, config, how == "alternating") for how in ("simultaneous", "alternating")}
            paths[name] = {**ways, "average of alternating": averaged(ways["alternating"], config.ema)}
            last = {how: float(np.linalg.norm(points[-1])) for how, points in paths[name].items()}
            words = ", ".join(f"{how} {value:.3g}" for how, value in last.items())
            run.say(f"{name}: {spectrum(game)}; distance after {config.steps} updates: {words}")
            metrics |= {f"{name}/{how}_distance".replace(" ", "_"): value for how, value in last.items()}
        save_portraits(run.folder / "phase_portraits.png", all_games, paths)
        save_distances(run.folder / "distances.png", paths)
        run.log(0, metrics)
        run.summary(metrics, steps=config.steps, figures=["phase_portraits.png", "distances.png"])


# ---- the games


@dataclass(frozen=True)
class Game:
    """Losses of both players and what is added to the discriminator's."""

    discriminator_loss: Callable[[Tensor, Tensor], Tensor]
    generator_loss: Callable[[Tensor], Tensor]
    gamma: float = 0.0
    noise: float = 0.0
    gp_weight: float = 0.0


def games(config: Config) -> dict[str, Game]:
    """The six games of the figure by name."""
    minimax = adversarial.cross_entropy_discriminator, adversarial.minimax_generator
    wasserstein = adversarial.wasserstein_discriminator, adversarial.linear_generator
    return {
        "minimax": Game(*minimax),
        "non-saturating": Game(minimax[0], adversarial.non_saturating_generator),
        "Wasserstein": Game(*wasserstein),
        "minimax + R1": Game(*minimax, gamma=config.gamma),
        "minimax + instance noise": Game(*minimax, noise=config.noise),
        "Wasserstein + gradient penalty": Game(*wasserstein, gp_weight=config.gp_weight),
    }


def losses(game: Game, theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:  # (N,), (N,) -> (N,), (N,)
    """(discriminator's, generator's) loss of each pair; noise, eq. (gan.14), is integrated, not drawn."""
    noise, weights = _normal_quadrature(game.noise)
    logit = lambda x: psi[:, None] * x
    real, fake = noise.expand(len(psi), -1), theta[:, None] + noise  # (N, nodes)
    discriminator = game.discriminator_loss(logit(real), logit(fake)) @ weights
    if game.gamma:
        discriminator = discriminator + game.gamma / 2 * adversarial.r1_penalty(logit, real[:, :1])
    if game.gp_weight:  # the slope is psi everywhere, wherever the penalty looks
        penalty = adversarial.gradient_penalty(logit, real[:, :1], fake[:, :1])
        discriminator = discriminator + game.gp_weight * penalty
    return discriminator, game.generator_loss(logit(fake)) @ weights


def _normal_quadrature(scale: float) -> tuple[Tensor, Tensor]:
    """Nodes and weights of an expectation over N(0, scale^2) (Gauss-Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40 if scale else 1)
    return torch.from_numpy(scale * nodes), torch.from_numpy(weights / weights.sum())


def vector_field(game: Game, theta: Tensor, psi: Tensor, create_graph: bool = False) -> tuple[Tensor, Tensor]:
    """Where gradient descent of each player on its own loss moves the pair, eq. (gan.11)."""
    if not theta.requires_grad:
        theta, psi = theta.detach().requires_grad_(), psi.detach().requires_grad_()
    discriminator, generator = losses(game, theta, psi)
    (d_theta,) = torch.autograd.grad(generator.sum(), theta, create_graph=create_graph, retain_graph=True)
    (d_psi,) = torch.autograd.grad(discriminator.sum(), psi, create_graph=create_graph)
    return -d_theta, -d_psi


def eigenvalues(game: Game) -> np.ndarray:
    """Of the field's Jacobian at the equilibrium, eq. (gan.11): real parts below 0 attract."""
    at_zero = torch.zeros(2, dtype=torch.float64)
    field = lambda pair: torch.cat(vector_field(game, pair[:1], pair[1:], create_graph=True))
    return np.linalg.eigvals(torch.autograd.functional.jacobian(field, at_zero).numpy())


def averaged(path: np.ndarray, beta: float) -> np.ndarray:
    """Exponential moving average of a path (steps + 1, 2), starting from its start, eq. (gan.16)."""
    mean, means = path[0], [path[0]]
    for point in path[1:]:
        mean = beta * mean + (1 - beta) * point
        means.append(mean)
    return np.array(means)


# ---- figures


def spectrum(game: Game) -> str:
    """The eigenvalues in words."""
    if game.gp_weight:
        return "the field jumps at ψ = 0"
    one, other = sorted(eigenvalues(game), key=lambda value: (value.real, value.imag))
    if abs(one.imag) < 1e-9:
        return f"eigenvalues {one.real:.2f}, {other.real:.2f}".replace("-", "−")
    real = f"{one.real:.2f}" if abs(one.real) > 1e-9 else ""
    return f"eigenvalues {real} ± {abs(one.imag):.2f}i".replace("  ", " ").replace("-", "−")


def save_portraits(path: Path, all_games: dict[str, Game], paths: dict[str, dict[str, np.ndarray]]) -> None:
    """Field lines, both ways of training and the average, a panel for each game."""
    figure, axes = figures.new_figure(9.6, 6.9, nrows=2, ncols=3, sharex=True, sharey=True)
    line = torch.linspace(-WINDOW, WINDOW, 41, dtype=torch.float64)
    psi, theta = torch.meshgrid(line, line, indexing="ij")
    for axis, (name, game) in zip(axes.flat, all_games.items()):
        field = vector_field(game, theta.flatten(), psi.flatten())
        right, up = (part.view_as(theta).numpy() for part in field)
        axis.grid(False)
        axis.streamplot(line.numpy(), line.numpy(), right, up, color="0.8", linewidth=0.6, arrowsize=0.7)
        for (how, points), color in zip(paths[name].items(), figures.COLORS[1::-1] + figures.COLORS[2:3]):
            axis.plot(*points.T, color=color, label=how, linewidth=1.1, marker=".", markersize=2.5)
        axis.plot(*paths[name]["alternating"][0], "o", color="black", markersize=5, label="start")
        axis.plot(0, 0, "x", color="black", markersize=6, label="equilibrium")
        axis.set(xlim=(-WINDOW, WINDOW), ylim=(-WINDOW, WINDOW), aspect="equal")
        axis.set_title(f"{name}\n{spectrum(game)}", fontsize=9.5)
    for axis in axes[-1]:
        axis.set_xlabel("θ, the generated point")
    for axis in axes[:, 0]:
        axis.set_ylabel("ψ, the discriminator's slope")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle("Without a penalty GANs circle; R1 and instance noise make them spiral in", fontsize=11)
    figures.save_figure(figure, path)


def save_distances(path: Path, paths: dict[str, dict[str, np.ndarray]]) -> None:
    """Distance to the equilibrium over the updates."""
    figure, axes = figures.new_figure(9.6, 3.8, ncols=2, sharey=True)
    for axis, how in zip(axes, ("simultaneous", "alternating")):
        for name, by_way in paths.items():
            axis.plot(np.linalg.norm(by_way[how], axis=1), label=name, linewidth=1.4)
        axis.set(title=f"{how} updates", xlabel="update", yscale="log", ylim=(1e-6, 30))
    axes[0].set_ylabel("distance to the equilibrium")
    figure.suptitle("Only R1 and instance noise converge at a constant rate", fontsize=11)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    figures.save_figure(figure, path)


if __name__ == "__main__":
    command_line.run(main, Config)
