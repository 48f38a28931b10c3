"""Checks of theory/{en,ru}/bayes.md, styles, against hw1_bayes_and_autoencoders/bayes_styles.py.

Exact where the code is exact (fractions), float64 identities elsewhere; Monte Carlo by z-scores,
|z| < 4.5, with fixed seeds.
"""

import itertools
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import sympy
import torch
from scipy import special, stats

from hw1_bayes_and_autoencoders import bayes_styles
from hw1_bayes_and_autoencoders.style_counts import Attribute, read_counts
from theory.checks.draws import Z
from theory.printed import printed
from theory.tags import verifies

COUNTS = read_counts(Path(bayes_styles.__file__).with_name("style_counts.toml"))
HAIR = COUNTS[0].counts


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@verifies("bayes.1")
def test_attributes_of_drawn_styles_are_independent_and_the_probability_is_their_product():
    printed(r"P(s) = \prod_{a=1}^{A} P(s_a) = \prod_{a=1}^{A} \theta_{a, s_a} \tag{bayes.1}")
    model, n = bayes_styles.StyleModel.fit(COUNTS, alpha=1), 50_000
    styles = model.sample(n, generator())
    for (one, theta), (other, phi) in itertools.combinations(zip(styles.options.values(), model.theta), 2):
        expected = n * np.outer([float(p) for p in theta], [float(p) for p in phi])
        observed = torch.bincount(one * len(phi) + other, minlength=expected.size).numpy()
        chi_squared = ((observed - expected.ravel()) ** 2 / expected.ravel()).sum()
        freedom = expected.size - 1
        assert abs(chi_squared - freedom) < Z * math.sqrt(2 * freedom) + 10
    row = tuple(int(column[0]) for column in styles.options.values())
    assert styles.probability[0] == math.prod(theta[j] for theta, j in zip(model.theta, row))
    assert model.combinations == 4032 and sum(len(theta) - 1 for theta in model.theta) == 23


@verifies("bayes.2")
def test_multinomial_log_likelihood():
    (varying,) = printed(r"""
        \ln P(n \mid \theta) = \ln \frac{N!}{n_1! \cdots n_d!} + «varying»
        \tag{bayes.2}
    """)
    theta, n = np.array([0.5, 0.2, 0.3]), 7
    counts = [c for c in itertools.product(range(n + 1), repeat=3) if sum(c) == n]
    closed = lambda c: (
        special.gammaln(n + 1) - special.gammaln(np.add(c, 1)).sum() + special.xlogy(c, theta).sum()
    )
    assert sum(math.exp(closed(c)) for c in counts) == pytest.approx(1, abs=1e-12)
    for c in counts:
        assert closed(c) == pytest.approx(stats.multinomial(n, theta).logpmf(c), abs=1e-12)
    per_person = bayes_styles.fitted(COUNTS, torch.tensor([0.0, 1.0]))  # without the constant
    for alpha, value in zip((0, 1), per_person.tolist()):
        tables = bayes_styles.StyleModel.fit(COUNTS, alpha).theta
        expected = sum(
            n_j * math.log(p) for a, theta in zip(COUNTS, tables) for n_j, p in zip(a.counts, theta) if n_j
        )
        assert value == pytest.approx(expected / 50, abs=1e-12)
    attributes = zip(COUNTS, bayes_styles.StyleModel.fit(COUNTS, 1).theta)
    total = sum(varying(d=len(a.counts), n=a.counts, theta=list(map(float, p))) for a, p in attributes)
    assert per_person[1].item() == pytest.approx(total.item() / 50, abs=1e-12)


@verifies("bayes.3")
def test_frequencies_solve_the_lagrange_equations_and_are_the_global_maximum():
    (share,) = printed(r"\hat\theta_j = «share» \tag{bayes.3}")
    theta, multiplier = sympy.symbols("theta:3", positive=True), sympy.Symbol("lambda")
    n = (4, 1, 2)
    lagrangian = sum(k * sympy.log(t) for k, t in zip(n, theta)) + multiplier * (1 - sum(theta))
    (solution,) = sympy.solve(
        [sympy.diff(lagrangian, s) for s in (*theta, multiplier)], [*theta, multiplier], dict=True
    )
    assert [solution[t] for t in theta] == [sympy.Rational(p) for p in bayes_styles.maximum_likelihood(n)]
    assert solution[multiplier] == 7
    best = np.array([float(p) for p in bayes_styles.maximum_likelihood(HAIR)])
    value = lambda theta: special.xlogy(HAIR, theta).sum()
    for other in np.random.default_rng(0).dirichlet(np.ones(7), size=200):
        divergence = special.rel_entr(best, other).sum()
        assert value(best) - value(other) == pytest.approx(50 * divergence, rel=1e-10)
        assert divergence > 0
    assert best[1] == 0 and round(0.95**50, 3) == 0.077
    assert share(n_j=HAIR, N=50).tolist() == pytest.approx(best.tolist(), abs=1e-15)


@verifies("bayes.4")
@pytest.mark.parametrize("alpha", [1, 2])
def test_dirichlet_posterior_is_prior_times_likelihood_normalised(alpha):
    (density,) = printed(r"p(\theta \mid n) = «density» \tag{bayes.4}")
    a, b = sympy.symbols("a b", positive=True)
    theta, n = (a, b, 1 - a - b), (2, 0, 1)
    powers = [k + alpha - 1 for k in n]
    integral = lambda powers: sympy.integrate(
        sympy.expand(sympy.prod(t**k for t, k in zip(theta, powers))), (b, 0, 1 - a), (a, 0, 1)
    )
    constant = sympy.gamma(3 + 3 * alpha) / sympy.prod(sympy.gamma(k + alpha) for k in n)
    assert sympy.simplify(constant * integral(powers) - 1) == 0
    mean = [constant * integral([k + (i == j) for i, k in enumerate(powers)]) for j in range(3)]
    smoothed = bayes_styles.additive_smoothing(n, alpha)
    assert [sympy.Rational(p) for p in smoothed] == [sympy.nsimplify(m) for m in mean]
    point = [0.2, 0.3, 0.5]
    value = density(N=3, d=3, alpha=alpha, n=n, theta=point).item()
    assert value == pytest.approx(stats.dirichlet([k + alpha for k in n]).pdf(point), rel=1e-12)


@verifies("bayes.5")
def test_smoothing_predicts_the_next_observation_of_worlds_drawn_from_the_prior():
    rng, alpha, n = np.random.default_rng(0), 0.5, (3, 1, 0)
    worlds = rng.dirichlet([alpha] * 3, size=400_000)
    alike = worlds[(rng.multinomial(sum(n), worlds) == n).all(1)]  # worlds that showed these counts
    following = (alike.cumsum(1) > rng.random((len(alike), 1))).argmax(1)
    assert len(alike) > 5_000
    for j, p in enumerate(map(float, bayes_styles.additive_smoothing(n, alpha))):
        assert abs((following == j).mean() - p) < Z * math.sqrt(p * (1 - p) / len(alike))


@verifies("bayes.5")
def test_smoothing_adds_alpha_d_to_the_denominator_and_is_a_mean_not_a_mode():
    by_gammas, closed = printed(r"""
        P(x_{N+1} = j \mid n) = \int \theta_j \, p(\theta \mid n) \, \mathrm{d}\theta
        = «by_gammas»
        = «closed»
        \tag{bayes.5}
    """)
    smoothed = bayes_styles.additive_smoothing(HAIR, 1)
    assert smoothed[1] == Fraction(1, 57) and smoothed[3] == Fraction(24, 57) and sum(smoothed) == 1
    mode = lambda alpha: tuple(Fraction(n + alpha - 1, 50 + 7 * alpha - 7) for n in HAIR)
    log_posterior = lambda theta, alpha: special.xlogy(np.add(HAIR, alpha - 1), np.array(theta, float)).sum()
    for alpha in (1, 2):
        for other in np.random.default_rng(1).dirichlet(np.add(HAIR, 0.5), size=200):
            assert log_posterior(mode(alpha), alpha) > log_posterior(other, alpha)
    assert mode(1) == bayes_styles.maximum_likelihood(HAIR)
    assert mode(2) == smoothed
    for side in (by_gammas, closed):
        values = side(n_j=HAIR, N=50, alpha=1, d=7).tolist()
        assert values == pytest.approx(list(map(float, smoothed)), rel=1e-12)


@verifies("bayes.6")
def test_all_styles_together_have_probability_one_and_the_page_has_the_right_numbers():
    printed(r"""
        \ln P(s) = \sum_{a=1}^{A} \ln \theta_{a, s_a} ,
        \qquad
        \sum_{s} P(s) = \sum_{s_1} \cdots \sum_{s_A} \prod_{a=1}^{A} \theta_{a, s_a}
        = \prod_{a=1}^{A} \sum_{j} \theta_{a, j} = 1
        \tag{bayes.6}
    """)
    mle, smoothed = (bayes_styles.StyleModel.fit(COUNTS, alpha) for alpha in (0, 1))
    every = itertools.product(*(range(len(theta)) for theta in smoothed.theta))
    assert sum(smoothed.probability(options) for options in every) == 1
    assert mle.total_probability() == smoothed.total_probability() == 1
    best = {"hair": "long straight", "hair_color": "silver grey", "accessory": "round glasses",
            "clothes": "crew-neck tee", "clothes_color": "green"}  # fmt: skip
    with_bun = best | {"hair": "long bun"}
    for model, style, p, ln_p in (
        (mle, best, 0.005907, -5.132),
        (smoothed, best, 0.004688, -5.363),
        (mle, with_bun, 0, -math.inf),
        (smoothed, with_bun, 0.000195, -8.541),
    ):
        options = {a.name: torch.tensor([a.index(style[a.name])]) for a in COUNTS}
        assert float(model.probability([int(j) for j in options.values()])) == pytest.approx(p, abs=5e-7)
        assert model.log_probability(options).item() == pytest.approx(ln_p, abs=5e-4)
    likeliest = math.prod(max(theta) for theta in mle.theta)
    assert float(likeliest) == pytest.approx(0.005907, abs=5e-7)


@verifies("bayes.5")
def test_leave_one_out_of_the_page_by_predicting_each_person_in_turn():
    def by_hand(attribute: Attribute, alpha: float) -> float:
        people = [j for j, n in enumerate(attribute.counts) for _ in range(n)]
        total = 0.0
        for j in people:
            others = [n - (option == j) for option, n in enumerate(attribute.counts)]
            total += math.log(bayes_styles.additive_smoothing(others, alpha)[j])
        return total / len(people)

    values = bayes_styles.leave_one_out(COUNTS, torch.tensor([0.0, 1.0, 2.0]))
    assert values[0] == -math.inf
    for alpha, value, written in ((1, values[1], -7.691), (2, values[2], -7.677)):
        assert value.item() == pytest.approx(sum(by_hand(a, alpha) for a in COUNTS), abs=1e-10)
        assert value.item() == pytest.approx(written, abs=5e-4)
