"""Styles from counts: closed forms by hand, exact totals, sampling frequencies, mistakes in the counts."""

import json
import math
import subprocess
import sys
from fractions import Fraction

from common.errors import InputError

import pytest
import torch

from hw1_bayes_and_autoencoders import bayes_styles, style_figures
from hw1_bayes_and_autoencoders.bayes_styles import STYLE_COUNTS, StyleModel
from hw1_bayes_and_autoencoders.style_counts import Attribute, read_counts

SCRIPT = bayes_styles.__file__


@pytest.fixture(scope="module")
def people():
    return read_counts(STYLE_COUNTS)


def write(tmp_path, content, name="counts.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_course_table_has_50_people_and_28_options_of_the_avatars(people):
    assert [a.total for a in people] == [50] * 5
    assert sum(len(a.options) for a in people) == 28
    assert style_figures.drawable(people)
    aliases = {a.name: dict(zip(a.options, a.aliases)) for a in people}
    assert aliases == bayes_styles.avatars.RUSSIAN_NAMES


def test_estimates_are_the_fractions_of_the_theory_page():
    counts = (7, 0, 1, 23, 1, 11, 7)
    assert bayes_styles.maximum_likelihood(counts) == tuple(Fraction(n, 50) for n in counts)
    assert bayes_styles.additive_smoothing(counts, 1) == tuple(Fraction(n + 1, 57) for n in counts)
    assert bayes_styles.additive_smoothing((1, 2), 0.1) == (Fraction(11, 32), Fraction(21, 32))


def test_smoothing_goes_from_maximum_likelihood_to_uniform():
    counts = (3, 0, 1)
    assert bayes_styles.additive_smoothing(counts, 0) == bayes_styles.maximum_likelihood(counts)
    assert [float(p) for p in bayes_styles.additive_smoothing(counts, 1e12)] == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("alpha", [-1, -0.001, math.inf, math.nan])
def test_impossible_pseudo_counts(alpha):
    with pytest.raises(InputError, match="--alpha"):
        bayes_styles.additive_smoothing((1, 2), alpha)


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 3.7])
def test_total_probability_of_all_4032_styles_is_exactly_1(people, alpha):
    model = StyleModel.fit(people, alpha)
    assert model.combinations == 4032
    assert model.total_probability() == 1
    assert model.possible == (3456 if alpha == 0 else 4032)


def test_total_probability_of_more_styles_than_can_be_listed():
    attributes = [Attribute(f"a{i}", ("x", "y"), (1, i), ("", "")) for i in range(40)]
    assert StyleModel.fit(attributes, 1).total_probability() == 1


def test_probability_of_a_style_by_hand(people):
    style = ("long bun", "silver grey", "round glasses", "crew-neck tee", "green")
    options = [a.index(name) for a, name in zip(people, style)]
    assert StyleModel.fit(people).probability(options) == 0
    smoothed = StyleModel.fit(people, 1)
    assert smoothed.probability(options) == Fraction(1 * 25 * 23 * 20 * 9, 57 * 56 * 53 * 54 * 58)
    columns = {a.name: torch.tensor([j]) for a, j in zip(people, options)}
    assert float(smoothed.log_probability(columns)) == pytest.approx(-8.541, abs=5e-4)
    assert float(StyleModel.fit(people).log_probability(columns)) == -math.inf


def test_samples_come_with_their_own_probability(people):
    model = StyleModel.fit(people, 1)
    styles = model.sample(50, generator())
    assert len(styles) == 50
    assert styles.log_probability.exp().tolist() == pytest.approx([float(p) for p in styles.probability])
    rows = zip(*(styles.options[a.name].tolist() for a in people))
    assert [model.probability(row) for row in rows] == list(styles.probability)


def test_the_python_generator_goes_on_and_agrees_with_sample(people):
    model = StyleModel.fit(people)
    endless, block = model.generate(generator(3)), model.sample(256, generator(3))
    for row in range(5):
        assert next(endless) == (model.names(block, row), block.probability[row])
    assert (
        len({tuple(next(endless)[0].values()) for _ in range(300)}) > 100
    )  # past the first block, still varied


@pytest.mark.parametrize("alpha", [0, 1])
def test_sampling_frequencies_are_theta(people, alpha):
    count, model = 100_000, StyleModel.fit(people, alpha)
    styles = model.sample(count, generator(1))
    for attribute, theta in zip(people, model.theta):
        p = torch.tensor([float(q) for q in theta], dtype=torch.float64)
        seen = torch.bincount(styles.options[attribute.name], minlength=len(p)) / count
        deviation = (p * (1 - p) / count).sqrt()
        assert (
            (seen - p).abs() <= 4.5 * deviation
        ).all()  # 28 options: chance of one beyond is 2e-4; theta = 0: never


def test_attributes_are_drawn_independently(people):
    count, model = 100_000, StyleModel.fit(people, 1)
    styles = model.sample(count, generator(2))
    both = ((styles.options["hair"] == 3) & (styles.options["hair_color"] == 5)).double().mean()
    p = float(bayes_styles.marginal(model, {"hair": 3, "hair_color": 5}))
    assert abs(float(both) - p) < 4.5 * math.sqrt(p * (1 - p) / count)


def test_entropy_is_the_mean_of_minus_log_probability(people):
    model = StyleModel.fit(people, 1)
    grid = torch.cartesian_prod(*(torch.arange(len(a.options)) for a in people))
    log_p = model.log_probability({a.name: grid[:, k] for k, a in enumerate(people)})
    assert float(-(log_p.exp() * log_p).sum()) == pytest.approx(model.entropy(), abs=1e-12)


def test_leave_one_out_equals_refitting_without_each_person():
    attribute = Attribute("glasses", ("no", "round", "sun"), (3, 2, 0), ("", "", ""))
    alphas = torch.tensor([0.0, 0.3, 2.0])
    expected = []
    for alpha in (0, 0.3, 2):
        values = []
        for person in [0, 0, 0, 1, 1]:
            rest = [n - (j == person) for j, n in enumerate(attribute.counts)]
            values.append(math.log(bayes_styles.additive_smoothing(rest, alpha)[person]))
        expected.append(sum(values) / 5)
    assert bayes_styles.leave_one_out([attribute], alphas).tolist() == pytest.approx(expected, rel=1e-6)


def test_leave_one_out_is_infinite_for_a_choice_of_one_person_and_best_inside(people):
    assert float(bayes_styles.leave_one_out(people, torch.zeros(1))) == -math.inf
    best, value = bayes_styles.best_alpha(people)
    assert 0.01 < best < 100
    one = float(bayes_styles.leave_one_out(people, torch.ones(1)))
    assert -math.log(4032) < one <= value < float(bayes_styles.fitted(people, torch.zeros(1)))


def test_fitted_log_likelihood_is_minus_the_entropy_of_the_frequencies(people):
    fitted = float(bayes_styles.fitted(people, torch.zeros(1)))
    assert fitted == pytest.approx(-StyleModel.fit(people).entropy(), abs=1e-9)


def test_options_are_found_by_name_by_alias_and_by_attribute(people):
    assert bayes_styles.resolve(people, ["long bun"]) == {"hair": 1}
    assert bayes_styles.resolve(people, ["длинные в пучок", "clothes_color=red"]) == {
        "hair": 1,
        "clothes_color": 6,
    }
    for wrong in (["mohawk"], ["red"], ["hair=none", "long bun"]):
        with pytest.raises(InputError, match="--ask"):
            bayes_styles.resolve(people, wrong)


def test_counts_in_json_and_toml_are_the_same(tmp_path):
    as_json = write(tmp_path, {"pet": {"cat": 2, "dog": {"count": 0, "alias": "собака"}}})
    as_toml = write(tmp_path, '[pet]\ncat = 2\ndog = { count = 0, alias = "собака" }\n', "counts.toml")
    expected = (Attribute("pet", ("cat", "dog"), (2, 0), ("", "собака")),)
    assert read_counts(as_json) == read_counts(as_toml) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"hair": {"none": -1}}, ("'hair'", "'none'", "-1")),
        ({"hair": {"none": 1.5}}, ("'hair'", "'none'", "1.5")),
        ({"hair": {"none": "7"}}, ("'hair'", "'none'", "'7'")),
        ({"hair": {"none": True}}, ("'hair'", "'none'", "True")),
        ({"hair": {"none": {"alias": "x"}}}, ("'hair'", "'none'", "count")),
        ({"hair": {"none": 0, "long": 0}}, ("'hair'", "0")),
        ({"hair": {}}, ("'hair'", "no options")),
        ({"hair": 7}, ("'hair'", "no options")),
        ({}, ("no attributes",)),
        ([1, 2], ("no attributes",)),
        ("{", ("not a table of counts",)),
        ('{"hair": {"none": 1, "none": 2}}', ("'none'", "twice")),
    ],
)  # fmt: skip
def test_mistakes_in_counts_are_named(tmp_path, content, words):
    path = write(tmp_path, content)
    with pytest.raises(InputError) as error:
        read_counts(path)
    assert all(word in str(error.value) for word in (str(path), *words))
    assert "\n" not in str(error.value)


def run(*arguments, cwd):
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--counts", "missing.toml"], "missing.toml"), (["--alpha", "nan"], "--alpha")],
)
def test_a_mistake_on_the_command_line_is_one_line(tmp_path, arguments, named):
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert named in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_the_script_leaves_figures_and_numbers(tmp_path):
    result = run("--count", 3, "--size", 32, "--ask", "long bun", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "MLE: 0 = 0; α = 1: 1/57 = 0.0175439" in result.stdout
    folder = tmp_path / "runs" / "hw1" / "0001-bayes-styles"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert (
        summary["metrics"]["total_probability_mle"] == summary["metrics"]["total_probability_smoothed"] == 1
    )
    assert summary["n"] == 50
    assert summary["figures"] == ["styles.png", "theta.png", "leave_one_out.png"]
    assert all((folder / name).stat().st_size > 5_000 for name in summary["figures"])


def test_other_attributes_work_without_portraits(tmp_path):
    path = write(tmp_path, {"pet": {"cat": 2, "dog": 0}, "size": {"small": 1, "large": 1}})
    config = bayes_styles.Config(counts=path, alpha=0, outdir=tmp_path)
    bayes_styles.main(config)
    assert not (tmp_path / "hw1" / "0001-bayes-styles" / "styles.png").exists()
    assert (tmp_path / "hw1" / "0001-bayes-styles" / "theta.png").exists()
