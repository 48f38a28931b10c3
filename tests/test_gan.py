"""GAN study: measures of samples and looks at them, hypotheses as data, text drawn from rows of numbers."""

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn

from common import command_line, figures
from common.data import avatars
from common.errors import InputError
from common.metrics import extractors
from hw2_gan import compare_hypotheses, eval_gan, gan_measures, networks, study_text, train_gan
from hw2_gan.hypotheses import HYPOTHESES, hypothesis

# ---- measures


@pytest.fixture(scope="module")
def people():
    """240 avatars of 64 pixels, which the shipped extractor reads."""
    return avatars.draw_set("val", 64, 240, 0)


@pytest.fixture(scope="module")
def real(people):
    return gan_measures.reference(people)


def test_real_images_against_themselves_are_perfect(people, real):
    numbers = gan_measures.measure(people.images, real)
    assert numbers.keys() == {"diversity", "fd_avatars_240", "valid", "coverage", "evenness"}
    assert numbers.pop("fd_avatars_240") == pytest.approx(0, abs=1e-3)
    assert numbers.pop("valid") > 0.98
    assert all(value == pytest.approx(1, abs=1e-6) for value in numbers.values())


def test_styles_are_those_the_avatars_were_drawn_with(people, real):
    drawn = gan_measures.styles(people.attributes, real.extractor)
    recognised = real.combinations >= 0
    assert (drawn[recognised] == real.combinations[recognised]).double().mean() > 0.98
    sizes = [len(options) for options in gan_measures.style_options(real.extractor).values()]
    assert math.prod(sizes) == 4032 and drawn.min() >= 0 and drawn.max() < 4032


def test_one_face_for_all_is_seen_by_every_number(people, real):
    numbers = gan_measures.measure(people.images[:1].expand(240, -1, -1, -1).contiguous(), real)
    distinct = len(real.combinations[real.combinations >= 0].unique())
    assert numbers["diversity"] == numbers["evenness"] == 0 and numbers["valid"] == 1
    assert numbers["coverage"] == pytest.approx(1 / distinct)
    assert numbers["fd_avatars_240"] > 100


def test_noise_is_no_style(real):
    noise = torch.randint(
        256, (240, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    numbers = gan_measures.measure(noise, real)
    assert numbers["valid"] < 0.05 and numbers["coverage"] < 0.05
    grey = gan_measures.measure(torch.full_like(noise, 128), real)
    assert grey["valid"] == grey["coverage"] == grey["evenness"] == 0


def test_half_the_modes_keep_half_of_the_coverage_and_most_of_the_diversity(people, real):
    numbers = gan_measures.measure(people.images[:120].repeat(2, 1, 1, 1), real)
    kept = real.combinations[:120]
    distinct = lambda found: len(found[found >= 0].unique())
    assert numbers["coverage"] == pytest.approx(distinct(kept) / distinct(real.combinations))
    assert numbers["diversity"] == pytest.approx(1, abs=0.1) and 0.7 < numbers["evenness"] < 0.95


def test_entropy_is_that_of_the_recognised_alone():
    assert gan_measures.entropy(torch.tensor([3, 3, 7, 7, -1])) == pytest.approx(math.log(2))
    uneven = gan_measures.entropy(torch.tensor([5] * 9 + [6]))
    assert uneven == pytest.approx(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))


def test_where_no_extractor_reads_the_images_diversity_is_all(people):
    small = avatars.draw_set("val", 32, 20, 0)
    assert gan_measures.measure(small.images, gan_measures.reference(small)).keys() == {"diversity"}
    folder = dataclasses.replace(people, attributes={}, options={})  # a user's folder called avatars
    assert gan_measures.reference(folder).extractor is None


def test_samples_repeat_and_leave_the_generator_as_it_was():
    config = train_gan.Config(size=32, width=0.125, normalisation="batch")
    generator = train_gan.build_generator(config)
    state = {name: value.clone() for name, value in generator.state_dict().items()}
    one, two, other = (gan_measures.sample(generator, 5, seed) for seed in (1, 1, 2))
    assert one.shape == (5, 3, 32, 32) and one.dtype == torch.uint8
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert generator.training
    assert all(torch.equal(state[name], value) for name, value in generator.state_dict().items())


# ---- looks at samples


def test_the_interpolation_is_a_closed_walk(tmp_path, monkeypatch):
    frames = []
    monkeypatch.setattr(figures, "save_gif", lambda path, images, frame_ms: frames.append(images))
    torch.manual_seed(0)
    generator = networks.CSPupGenerator(32, 0.125, normalisation="batch", output="tanh")
    eval_gan.save_interpolation(tmp_path, generator.train(), 24, seed=0)
    (walk,) = frames
    assert len(walk) == 24
    steps = (walk - walk.float().roll(1, 0)).square().mean((1, 2, 3))  # the last to the first included
    assert steps.max() < 10 * steps.median() and steps.min() > 0


@pytest.mark.parametrize("by", ["pixels", "features"])
def test_copies_are_their_own_nearest_neighbours(tmp_path, monkeypatch, by):
    train = avatars.draw_set("train", 64 if by == "features" else 32, 40, 0)
    extractor = extractors.load_extractor("avatars") if by == "features" else None
    drawn = {}
    monkeypatch.setattr(
        figures, "save_grid", lambda path, cells, columns, **titles: drawn.update(cells=cells)
    )
    eval_gan.save_neighbours(tmp_path / "a.png", train.images[[7, 30]], train, extractor)
    rows = drawn["cells"].unflatten(0, (2, 5))
    assert torch.equal(rows[:, 0], train.images[[7, 30]]) and torch.equal(rows[:, 1], rows[:, 0])
    assert not torch.equal(rows[:, 2], rows[:, 0])


def test_a_generator_that_copies_is_told_from_one_that_learns():
    train, test = (avatars.draw_set(split, 64, 60, 0) for split in ("train", "test"))
    real = gan_measures.reference(test)
    features = lambda images: extractors.features_of(images, real.extractor)
    copies = eval_gan.distances(features(train), real, test, train)
    as_good = eval_gan.distances(features(test), real, test, train)
    assert copies["nearest_training_ratio"] < 0.01 and as_good["nearest_training_ratio"] == 1
    assert as_good["precision"] == as_good["recall"] == 1
    assert {"fd_avatars_60_standard_error", "kid_avatars_60"} <= copies.keys()


def test_averaged_weights_get_statistics_of_their_own():
    torch.manual_seed(0)
    generator = networks.CSPupGenerator(32, 0.125, normalisation="batch", output="tanh")
    alike = copy.deepcopy(generator)
    for norm in (module for module in alike.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.fill_(3.0)  # what copies of other weights' statistics may be
    z = torch.randn(500, generator.latent)
    with torch.inference_mode():
        batch_statistics = copy.deepcopy(generator)(z)
        before = alike.eval()(z)
        gan_measures.settle(alike)
        settled = alike(z)
    assert not alike.training and alike.start[1].momentum == 0.1
    assert (settled - batch_statistics).abs().mean() < 0.05 * (before - batch_statistics).abs().mean()
    again = copy.deepcopy(alike)
    gan_measures.settle(again)
    assert all(torch.equal(one, other) for one, other in zip(again.buffers(), alike.buffers()))


# ---- hypotheses


FIELDS = {field.name: field.default for field in dataclasses.fields(train_gan.Config)}


@pytest.mark.parametrize("name", HYPOTHESES)
def test_every_hypothesis_is_a_run_that_can_be(name):
    one = HYPOTHESES[name]
    assert one.changes.keys() <= FIELDS.keys() and one.flags()["epochs"] >= 5
    assert all(set(text) == {"en", "ru"} and all(text.values()) for text in (one.goal, one.idea))
    config = train_gan.Config(hypothesis=name).preset()
    train_gan.check(config)
    assert config.hypothesis == name
    assert {key: getattr(config, key) for key in one.flags()} == one.flags()
    assert one.parent is None or one.flags() != HYPOTHESES[one.parent].flags()


def test_the_courses_hypotheses_say_what_the_course_did():
    flags = {name: hypothesis(name).flags() for name in ("base", "0", "1", "2", "3")}
    assert (flags["base"]["epochs"], flags["0"]["epochs"]) == (5, 20)
    assert (flags["1"]["normalisation"], flags["1"]["activation"]) == ("batch", "leaky_relu")
    assert flags["2"]["batch_size"] == 2 * FIELDS["batch_size"] and flags["2"]["weight_decay"] > 0
    assert (flags["3"]["lr_discriminator"], flags["3"]["lr_generator"]) == (0.0003, 0.0008)
    assert flags["3"]["output"] == "tanh" and flags["3"]["real_label"] == (0.9, 0.9)
    assert "batch_size" not in flags["3"]  # built on 1, as 2 is


def parsed(*arguments: str) -> train_gan.Config:
    return command_line.parse(train_gan.Config, list(arguments))


def test_flags_win_over_the_hypothesis():
    assert parsed() == train_gan.Config(hypothesis="base")
    config = parsed("--lr-generator", "0.5", "--hypothesis", "3", "--output", "relu")
    expected = {**hypothesis("3").flags(), "lr_generator": 0.5, "output": "relu"}
    assert {key: getattr(config, key) for key in expected} == expected
    default = parsed("--hypothesis", "0", "--epochs", "5")  # equal to the base run's default, yet given
    assert default.epochs == 5
    assert parsed("--hypothesis", "2", "--real-label", "0.8", "1").real_label == (0.8, 1.0)
    assert parsed("--augment", "color", "cutout").augment == ("color", "cutout")


def test_an_unknown_hypothesis_lists_the_known():
    with pytest.raises(InputError, match=r"--hypothesis 99: unknown; there are base, 0, 1, 2, 3, 4"):
        parsed("--hypothesis", "99")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"size": 48}, "--size 48: .* 32, 64, 128"),
        ({"epochs": 0}, "--epochs 0: must be above 0"),
        ({"lr_generator": 0.0}, "--lr-generator 0.0"),
        ({"penalty_every": 0}, "--penalty-every 0"),
        ({"discriminator_width": 0.0}, "--discriminator-width 0.0"),
        ({"discriminator_width": 0.3}, "--discriminator-width 0.3: with --width 0.25 .* with 4.8 channels"),
        ({"r1_gamma": -1.0}, "--r1-gamma -1.0: must not be negative"),
        ({"real_label": (1.0, 0.8)}, "--real-label 1.0 0.8: two numbers"),
        ({"fake_label": (0.0, 1.5)}, "--fake-label 0.0 1.5"),
        ({"ema": 1.0}, "--ema 1.0"),
        ({"beta1": 1.0}, "--beta1 1.0"),
        ({"measure_images": 1}, "--measure-images 1"),
        ({"data": "mnist"}, "--data mnist: grey images; use avatars"),
    ],
)
def test_flags_no_run_can_have(flags, message):
    with pytest.raises(InputError, match=message):
        train_gan.check(train_gan.Config(**flags))


# ---- the study


@pytest.mark.parametrize(
    ("diversities", "collapsed"),
    [
        ([0.1, 0.3, 0.6, 0.9], [False, False, False, False]),
        ([0.1, 0.6, 0.4, 0.7], [False, False, True, False]),
        ([0.1, 0.3, 0.2], [True, True, True]),
        ([0.8, 0.2], [False, True]),
    ],
)
def test_an_epoch_is_a_collapse_only_after_the_generator_was_diverse(diversities, collapsed):
    assert gan_measures.collapsed(diversities) == collapsed


def row(name: str, distance: float, spread: float = 1.0, seeds: int = 3, collapsed: tuple = ()) -> dict:
    sd = {"ema_fd_sd": spread, "raw_fd_sd": spread} if seeds > 1 else {}
    common = {"ema_coverage": 0.5, "ema_diversity": 0.91, "steps": 780.0, "minutes": 3.25}
    return {
        "hypothesis": name,
        "seeds": seeds,
        "collapsed_seeds": list(collapsed),
        "collapsed_epochs": 1.5 if collapsed else 0.0,
        "raw_fd": 2 * distance,
        "ema_fd": distance,
        **common,
        **sd,
    }


def section(models: list[dict], heading: str, language: str = "en", distance: str = "fd") -> dict[str, str]:
    """Part -> text of one hypothesis."""
    text = study_text.sections(models, distance, language).split(f"### {heading}\n\n")[1].split("\n\n")[0]
    parts = (line.removeprefix("- *").split("*: ", 1) for line in text.splitlines())
    return {name: said.removesuffix(".") for name, said in parts}


def test_the_five_parts_in_both_languages():
    models = [row("base", 200.0), row("1", 80.25, collapsed=(0, 2))]
    english, russian = section(models, "Hypothesis 1"), section(models, "Гипотеза 1", "ru")
    assert list(english) == ["Goal", "Idea", "Result", "Comparison", "Conclusion"]
    assert list(russian) == ["Цель", "Идея", "Результат", "Сравнение", "Вывод"]
    assert english["Goal"] == HYPOTHESES["1"].goal["en"] and russian["Идея"] == HYPOTHESES["1"].idea["ru"]
    assert english["Result"] == (
        "Fréchet distance 160.5 ± 1.0 with the last weights, 80.2 ± 1.0 with averaged ones; 50 % of the "
        "styles that as many real images show, diversity 0.91; collapsed during 1.5 epochs (seeds 0, 2)"
    )
    assert "80,2 ± 1,0" in russian["Результат"] and "80.2" not in russian["Результат"]
    assert "collapses" in english["Conclusion"] and "коллапсирует" in russian["Вывод"]
    assert ": 0,40 (лучше" in russian["Сравнение"]


def test_a_difference_is_two_standard_errors():
    """The error of a difference of means of three seeds with sd 3 each is sqrt(3 + 3) = 2.449."""
    for distance, verdict, conclusion in (
        (95.0, "more than two standard errors better", "it helps"),
        (95.2, "within two standard errors", "no difference was shown"),
        (104.8, "within two standard errors", "no difference was shown"),
        (105.0, "more than two standard errors worse", "it hurts"),
    ):
        parts = section([row("base", 100.0, 3.0), row("0", distance, 3.0)], "Hypothesis 0")
        ratio = f"{distance / 100:.2f}"
        expected = f"averaged weights is {ratio} times that of the base run ({verdict})"
        assert parts["Comparison"].endswith(expected) and parts["Conclusion"] == conclusion


def test_one_seed_shows_no_difference():
    parts = section([row("base", 100.0, seeds=1), row("0", 10.0, seeds=1)], "Hypothesis 0")
    assert "one seed" in parts["Comparison"] and parts["Conclusion"] == "no difference was shown"
    assert parts["Result"].startswith("Fréchet distance 20.0 with")


def test_the_nearest_that_was_run_is_compared_with():
    models = [row("base", 100.0), row("0", 80.0), row("3", 20.0), row("4", 10.0)]
    three, four = section(models, "Hypothesis 3"), section(models, "Hypothesis 4")
    assert "0.25 times that of hypothesis 0" in three["Comparison"]  # 1 was not run
    assert "0.50 times that of hypothesis 3" in four["Comparison"]
    assert four["Comparison"].endswith("; 0.10 times that of the base run")
    alone = section(models[2:], "Hypothesis 3")
    assert alone["Comparison"] == "none of the hypotheses it builds on was run"
    assert alone["Conclusion"] == "no difference was shown"


def test_the_base_run_claims_no_more_than_its_numbers():
    base = section([row("base", 100.0, collapsed=(1,))], "The base run")
    assert base["Conclusion"] == "the distance to beat is 100.0 ± 1.0; the generator collapses on the way"
    unmeasured = section([row("base", 100.0), row("0", 1.0)], "Hypothesis 0", distance="")
    assert unmeasured["Comparison"] == "no Fréchet distance was measured for these images"
    assert unmeasured["Conclusion"] == "no difference was shown"


def test_means_over_seeds_and_the_table():
    rows = [
        {"hypothesis": "0", "seed": seed, "ema_fd": value, "collapsed_epochs": epochs, "minutes": 2.0}
        for seed, value, epochs in ((0, 1.0, 0), (1, 3.0, 2))
    ]
    (mean,) = compare_hypotheses.averaged(rows, ["0"])
    assert mean["ema_fd"] == 2 and mean["ema_fd_sd"] == pytest.approx(2**0.5)
    assert mean["seeds"] == 2 and mean["collapsed_seeds"] == [1]
    lines = study_text.table([mean], "fd", 500).splitlines()
    assert lines[0].startswith("500 samples against 500 test images")
    assert lines[2] == "| hypothesis | seeds | averaged | epochs with collapse | minutes |"
    assert lines[4] == "| 0 | 2 | 2.0 ± 1.4 | 1.0 ± 1.4 | 2.0 ± 0.0 |"


def test_everyone_after_equally_many_steps():
    study = compare_hypotheses.Config(budget=0.4)
    assert compare_hypotheses.steps(study, "base", 1000) == 2 * 15  # 5 epochs times 0.4, 15 batches of 64
    assert compare_hypotheses.steps(study, "2", 1000) == 8 * 7  # batches of 128
    lines = lambda *values: [{"step": 10 * (i + 1), "fd": value} for i, value in enumerate(values)]
    curves = {"base": [lines(9.0, 8.0)], "3": [lines(7.0, 6.0, 1.0), lines(7.0, 4.0, 1.0)]}
    after = lambda end: compare_hypotheses.after(end, curves, "fd")
    assert after(20) == {"base": 8.0, "3": 5.0} and after(19) == {"base": 9.0, "3": 7.0}
    assert after(30) == {"base": 8.0, "3": 1.0}  # the base run had ended before
    slow = {"6": curves["3"], "7": [[{"step": 25, "fd": 3.0}]]}
    assert compare_hypotheses.after(20, slow, "fd") == {"6": 5.0}  # 7 had no epoch yet
    assert compare_hypotheses.after(25, slow, "fd") == {"6": 5.0, "7": 3.0}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"hypotheses": ("base", "x")}, "--hypothesis x: unknown"),
        ({"hypotheses": ()}, "--hypotheses and --seeds: name at least one"),
        ({"hypotheses": ("base", "base")}, "--hypotheses base base: name each once"),
        ({"seeds": (0, 1, 0)}, "--seeds 0 1 0: name each once"),
        ({"budget": 0.0}, "--budget 0"),
    ],
)
def test_studies_that_cannot_be(flags, message):
    with pytest.raises(InputError, match=message):
        compare_hypotheses.check(compare_hypotheses.Config(**flags))
