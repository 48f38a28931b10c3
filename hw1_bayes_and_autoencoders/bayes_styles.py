"""A generator of random styles from counts, by maximum likelihood and by Bayes.  Theory:
theory/en/bayes.md#independent-attributes.

Each attribute of a style (hair, glasses, clothes, ...) is drawn independently from a table of probabilities
theta, estimated from the people observed: eq. (bayes.1).  Maximum likelihood takes the frequencies, eq.
(bayes.3), and so calls impossible what nobody of 50 wore; additive smoothing, eq. (bayes.5), does not.  Every
style comes with its exact probability, eq. (bayes.6).  Leave-one-out shows which pseudo-count predicts a
person it has not seen best.

python hw1_bayes_and_autoencoders/bayes_styles.py                                # 3 s on one CPU core
python hw1_bayes_and_autoencoders/bayes_styles.py --alpha 0.5 --count 20 --seed 7
python hw1_bayes_and_autoencoders/bayes_styles.py --ask "long bun" "hair_color=red"
python hw1_bayes_and_autoencoders/bayes_styles.py --counts path/to/counts.json
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from common import command_line, devices, flags, runs
from common.data import avatars
from common.errors import InputError

import torch
from annotated_types import Interval
from torch import Tensor

from hw1_bayes_and_autoencoders import style_figures
from hw1_bayes_and_autoencoders.style_counts import Attribute, read_counts

STYLE_COUNTS = Path(__file__).with_name("style_counts.toml")
"""The course's style table: 50 people."""


@dataclass(frozen=True)
class Config(flags.Flags):
    """Flags of bayes_styles.py."""

    counts: Path = STYLE_COUNTS
    """TOML or JSON file of counts: {attribute: {option: count}}."""
    alpha: flags.NonNegative = 1.0
    """Pseudo-count that smoothing adds to every option; 0 is maximum likelihood."""
    count: Annotated[int, Interval(ge=1, le=100)] = 10
    """Styles to generate with each estimator."""
    ask: tuple[str, ...] = ()
    """Options whose joint probability to print, such as `"long bun" hair_color=red`; others are left open."""
    size: Annotated[int, Interval(ge=avatars.SIZES.start, lt=avatars.SIZES.stop)] = 128
    """Side of the portraits in pixels."""
    seed: flags.Seed = 0
    """Seed of the styles and of the people who wear them."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""


def main(config: Config) -> None:
    """Estimate, generate, ask, compare."""
    attributes = read_counts(config.counts)
    mle, smoothed = StyleModel.fit(attributes), StyleModel.fit(attributes, config.alpha)
    models = {"MLE": mle, f"α = {config.alpha:g}": smoothed}
    asked = resolve(attributes, config.ask)
    device = devices.start("cpu", seed=config.seed)
    with runs.start("hw1", "bayes-styles", config, device) as run:
        run.say(style_figures.theta_table(attributes, mle.theta, smoothed.theta))
        generator = torch.Generator().manual_seed(config.seed)
        drawn = {name: model.sample(config.count, generator) for name, model in models.items()}
        for name, styles in drawn.items():
            run.say(report(name, models[name], styles))
        if asked:
            run.say(answer(models, asked))
        metrics = measure(attributes, mle, smoothed, config.alpha)
        run.say("\n" + "\n".join(f"{name:40} {value:.6g}" for name, value in metrics.items()))
        run.log(0, metrics)
        run.summary(metrics, n=attributes[0].total, figures=save_figures(run, config, models, drawn))


# ---- estimates


def maximum_likelihood(counts: Sequence[int]) -> tuple[Fraction, ...]:
    """theta_j = n_j / N, eq. (bayes.3)."""
    # task hw1.a: the shares of what was counted
    return tuple(Fraction(n, sum(counts)) for n in counts)
    # end task


def additive_smoothing(counts: Sequence[int], alpha: float | Fraction = 1) -> tuple[Fraction, ...]:
    """theta_j = (n_j + alpha) / (N + alpha d), the mean of the Dirichlet posterior, eqs. (bayes.4)-(bayes.5).

    Exact: a float alpha counts as the decimal number that it is written as.
    """
    if not 0 <= alpha < math.inf:
        raise InputError(f"--alpha {alpha}: a pseudo-count is 0 (maximum likelihood) or more, and finite")
    alpha = Fraction(str(alpha))
    # task hw1.a: shares with pseudo-counts
    denominator = sum(counts) + alpha * len(counts)
    return tuple((n + alpha) / denominator for n in counts)
    # end task


# ---- the model


@dataclass(frozen=True)
class Styles:
    """N styles drawn at once."""

    options: dict[str, Tensor]
    """int64 (N,) for each attribute: index of the option."""
    log_probability: Tensor
    """float64 (N,), nats."""
    probability: tuple[Fraction, ...]
    """Exact."""

    def __len__(self) -> int:
        return len(self.probability)


@dataclass(frozen=True)
class StyleModel:
    """Independent attributes: P(style) = prod_a theta_a[s_a], eq. (bayes.1)."""

    attributes: tuple[Attribute, ...]
    theta: tuple[tuple[Fraction, ...], ...]
    """One table per attribute, summing to 1."""

    @classmethod
    def fit(cls, attributes: Sequence[Attribute], alpha: float | Fraction = 0) -> StyleModel:
        """Maximum likelihood for alpha = 0, additive smoothing for alpha > 0."""
        estimate = maximum_likelihood if alpha == 0 else lambda counts: additive_smoothing(counts, alpha)
        return cls(tuple(attributes), tuple(estimate(attribute.counts) for attribute in attributes))

    def sample(self, count: int, generator: torch.Generator) -> Styles:
        """`count` independent styles with their probabilities."""
        # task hw1.a: an option of every attribute, and the probability of the whole style
        options = {
            attribute.name: torch.multinomial(_floats(theta), count, replacement=True, generator=generator)
            for attribute, theta in zip(self.attributes, self.theta)
        }
        rows = zip(*(column.tolist() for column in options.values()))
        return Styles(options, self.log_probability(options), tuple(map(self.probability, rows)))
        # end task

    def generate(self, generator: torch.Generator) -> Iterator[tuple[dict[str, str], Fraction]]:
        """Styles without end, each {attribute: option} with its exact probability."""
        while True:
            styles = self.sample(256, generator)
            for row in range(len(styles)):
                yield self.names(styles, row), styles.probability[row]

    def names(self, styles: Styles, row: int) -> dict[str, str]:
        """The style in that row in words."""
        return {a.name: a.options[int(styles.options[a.name][row])] for a in self.attributes}

    def probability(self, options: Sequence[int]) -> Fraction:
        """Exact P(style) of one option index per attribute: the product, eq. (bayes.1)."""
        # task hw1.a: the probability of a style
        return math.prod((theta[j] for theta, j in zip(self.theta, options)), start=Fraction(1))
        # end task

    def log_probability(self, options: dict[str, Tensor]) -> Tensor:  # {attribute: (N,)} -> (N,)
        """ln P(style) in nats as a sum over attributes, eq. (bayes.6); -inf for an impossible style."""
        # task hw1.a: the logarithm of that probability, as a sum
        return sum(_floats(theta).log()[options[a.name]] for a, theta in zip(self.attributes, self.theta))
        # end task

    def total_probability(self) -> Fraction:
        """Sum of P over all styles, eq. (bayes.6): one by one up to a million styles, then as product of
        sums."""
        if self.combinations > 10**6:
            return math.prod((sum(theta) for theta in self.theta), start=Fraction(1))
        every = itertools.product(*(range(len(theta)) for theta in self.theta))
        return sum((self.probability(options) for options in every), start=Fraction(0))

    def entropy(self) -> float:
        """Entropy of the style in nats: attributes are independent, so theirs add up."""
        return -sum(float(p) * math.log(p) for theta in self.theta for p in theta if p > 0)

    @property
    def combinations(self) -> int:
        """Number of styles."""
        return math.prod(len(theta) for theta in self.theta)

    @property
    def possible(self) -> int:
        """Number of styles with a probability above 0."""
        return math.prod(sum(p > 0 for p in theta) for theta in self.theta)


def _floats(theta: Sequence[Fraction]) -> Tensor:
    return torch.tensor([float(p) for p in theta], dtype=torch.float64)


# ---- which pseudo-count?


def leave_one_out(attributes: Sequence[Attribute], alpha: Tensor) -> Tensor:  # (M,) -> (M,)
    """Mean over people of ln P(person | all others), nats, for each alpha: smoothing judged by who it has not
    seen.

    A person who chose option j is predicted from n_j - 1 of N - 1 people by eq. (bayes.5); n_j people did:
    sum_a sum_j n_j / N ln((n_j - 1 + alpha) / (N - 1 + alpha d)).  -inf at alpha = 0 if anyone chose what
    nobody else did.
    """
    return sum(_mean_log_likelihood(attribute, alpha, left_out=1) for attribute in attributes)


def fitted(attributes: Sequence[Attribute], alpha: Tensor) -> Tensor:  # (M,) -> (M,)
    """Mean log-likelihood of the people counted, nats, eq. (bayes.2) without its constant, for each alpha;
    highest at alpha = 0."""
    return sum(_mean_log_likelihood(attribute, alpha, left_out=0) for attribute in attributes)


def _mean_log_likelihood(attribute: Attribute, alpha: Tensor, left_out: int) -> Tensor:
    n = torch.tensor([n for n in attribute.counts if n > 0], dtype=torch.float64)  # (d',), those anyone chose
    alpha = alpha.double()[:, None]  # (M, 1)
    total, d = attribute.total, len(attribute.counts)
    theta = (n - left_out + alpha) / (total - left_out + alpha * d)  # (M, d')
    theta = theta.nan_to_num(0)  # 0 / 0: the only person, predicted from nobody by MLE
    return (n / total * theta.log()).sum(-1)


ALPHAS = torch.logspace(-3, 3, 2001, dtype=torch.float64)
"""Pseudo-counts compared by leave-one-out: 0.001 to 1,000 in steps of 0.7 %."""


def best_alpha(attributes: Sequence[Attribute]) -> tuple[float, float]:
    """The one of ALPHAS with the highest leave-one-out log-likelihood, and that in nats per person."""
    values = leave_one_out(attributes, ALPHAS)
    return float(ALPHAS[values.argmax()]), float(values.max())


# ---- asking, drawing, measuring


def resolve(attributes: Sequence[Attribute], asked: Sequence[str]) -> dict[str, int]:
    """{attribute: option index} of `option`, `alias` or `attribute=option` words; InputError for any other
    word."""
    found: dict[str, int] = {}
    for word in asked:
        named, _, option = word.rpartition("=")
        matches = [
            (a.name, a.index(option))
            for a in attributes
            if named in ("", a.name) and a.index(option) is not None
        ]
        if not matches:
            raise InputError(f"--ask {word!r}: no such option; the table lists them all, under either name")
        if len(matches) > 1 or matches[0][0] in found:
            raise InputError(
                f"--ask {word!r}: two options of one kind; write attribute=option, once per attribute"
            )
        found.update(matches)
    return found


def marginal(model: StyleModel, options: dict[str, int]) -> Fraction:
    """P of some attributes, the others summed out: by independence the product over those given, eq.
    (bayes.1)."""
    chosen = (theta[options[a.name]] for a, theta in zip(model.attributes, model.theta) if a.name in options)
    return math.prod(chosen, start=Fraction(1))


def report(name: str, model: StyleModel, styles: Styles) -> str:
    """The styles drawn, in words, with their probabilities."""
    lines = [f"\n{len(styles)} styles, {name}:"]
    for row, (p, log_p) in enumerate(zip(styles.probability, styles.log_probability.tolist())):
        words = ", ".join(model.names(styles, row).values())
        lines.append(f"  P = {float(p):.3e}  ln P = {log_p:7.3f} nats  {words}")
    return "\n".join(lines)


def answer(models: dict[str, StyleModel], asked: dict[str, int]) -> str:
    """Exact probability of the options asked for, by each model."""
    attributes = next(iter(models.values())).attributes
    words = ", ".join(f"{a.name} = {a.options[asked[a.name]]}" for a in attributes if a.name in asked)
    values = {name: marginal(model, asked) for name, model in models.items()}
    return f"\nP({words})  " + "; ".join(f"{name}: {p} = {float(p):.6g}" for name, p in values.items())


def save_figures(
    run: runs.Run, config: Config, models: dict[str, StyleModel], drawn: dict[str, Styles]
) -> list[str]:
    """Write the figures into the run directory; returns their names."""
    mle, smoothed = models.values()
    attributes = mle.attributes
    style_figures.save_theta(run.folder / "theta.png", attributes, mle.theta, smoothed.theta, config.alpha)
    curves = fitted(attributes, ALPHAS), leave_one_out(attributes, ALPHAS)
    uniform = -math.log(mle.combinations)
    style_figures.save_leave_one_out(run.folder / "leave_one_out.png", ALPHAS, *curves, uniform, config.alpha)
    if not style_figures.drawable(attributes):
        run.say("no portraits: these are not the attributes of the course's avatars")
        return ["theta.png", "leave_one_out.png"]
    images, titles = [], []
    generator = torch.Generator().manual_seed(config.seed)
    for name, styles in drawn.items():
        images.append(style_figures.portraits(attributes, styles.options, config.size, generator))
        for row, p in enumerate(styles.probability):
            words = list(models[name].names(styles, row).values())
            lines = ", ".join(words[:2]), ", ".join(words[2:]), f"{name}: 1 in {float(1 / p):,.0f}"
            titles.append("\n".join(lines))
    style_figures.save_styles(run.folder / "styles.png", torch.cat(images), titles)
    return ["styles.png", "theta.png", "leave_one_out.png"]


def measure(
    attributes: Sequence[Attribute], mle: StyleModel, smoothed: StyleModel, alpha: float
) -> dict[str, float]:
    """The numbers of summary.json; an infinity of maximum likelihood is given as a count of its causes."""
    best, value = best_alpha(attributes)
    metrics = {
        "styles": mle.combinations,
        "possible_styles_mle": mle.possible,
        "total_probability_mle": float(mle.total_probability()),
        "total_probability_smoothed": float(smoothed.total_probability()),
        "entropy_mle_nats": mle.entropy(),
        "entropy_smoothed_nats": smoothed.entropy(),
        "fitted_mle_nats_per_person": float(fitted(attributes, torch.zeros(1))),
        "fitted_smoothed_nats_per_person": float(
            fitted(attributes, torch.tensor([alpha], dtype=torch.float64))
        ),
        "loo_mle_choices_with_probability_0": sum(n == 1 for a in attributes for n in a.counts),
        "loo_best_alpha": best,
        "loo_best_nats_per_person": value,
    }
    loo = float(leave_one_out(attributes, torch.tensor([alpha], dtype=torch.float64)))
    return metrics | ({"loo_smoothed_nats_per_person": loo} if math.isfinite(loo) else {})


if __name__ == "__main__":
    command_line.run(main, Config)
