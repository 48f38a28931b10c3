"""The hypotheses of week 2: the file, its mistakes, numbers in words against flags, and the page's text."""

import dataclasses
import re
from pathlib import Path

from common import command_line
from common.errors import InputError

import pytest

from course.pages import hw2_experiments
from hw2_gan import hypotheses, train_gan

KNOWN = hypotheses.read()
FIELDS = {field.name: field.default for field in dataclasses.fields(train_gan.Config)}


def configuration(name: str, path: Path = hypotheses.FILE) -> train_gan.Config:
    return hypotheses.configuration(train_gan.Config, name, path)


# ---- what is shipped


@pytest.mark.parametrize("name", KNOWN)
def test_every_hypothesis_is_a_run_that_can_be(name):
    config, one = configuration(name), KNOWN[name]
    train_gan.check(config)
    assert config.hypothesis == name
    assert config.epochs >= 5
    assert one.builds_on is None or one.flags != KNOWN[one.builds_on].flags
    for text in (one.goal, one.idea):
        assert text.keys() == {"en", "ru"}
        assert re.search("[а-яё]", text["ru"])
        assert not any(words.endswith(".") or "  " in words for words in text.values())


def numbers(text: str) -> list[float]:
    """The numbers in a sentence, without those of sizes such as 3×3 and of flags such as beta1."""
    found = re.findall(r"(?<![\w.,×])\d+(?:[.,]\d+)?(?![\w×])", text)
    return sorted(float(number.replace(",", ".")) for number in found)


STATED = {  # hypothesis -> words of its idea -> flags they state
    "base": {
        "5 epochs": {"epochs": 5},
        "the same learning rate": {"lr_generator": 2e-4, "lr_discriminator": 2e-4},
    },
    "0": {"train for 20": {"epochs": 20}},
    "1": {"batch normalisation": {"normalisation": "batch"}, "LeakyReLU": {"activation": "leaky_relu"}},
    "2": {"twice the batch": {"batch_size": 2 * FIELDS["batch_size"]}, "L2": {"weight_decay": 1e-4}},
    "3": {
        "smoothed labels (0.9 and 0.1)": {"real_label": (0.9, 0.9), "fake_label": (0.1, 0.1)},
        "0.0003 for D": {"lr_discriminator": 0.0003},
        "0.0008 for G": {"lr_generator": 0.0008},
        "tanh": {"output": "tanh"},
    },
    "4": {
        "spectral normalisation": {"discriminator_normalisation": "spectral"},
        "hinge loss": {"loss": "hinge"},
        "hard labels": {"real_label": (1.0, 1.0), "fake_label": (0.0, 0.0)},
        "rate of 0.0005 for both": {"lr_generator": 0.0005, "lr_discriminator": 0.0005},
        "beta1 = 0, beta2 = 0.9": {"beta1": 0.0, "beta2": 0.9},
        "nearest neighbours": {"upsampling": "nearest"},
    },
    "5": {
        "original game": {"loss": "non-saturating"},
        "γ = 2, beta2 = 0.99": {"r1_gamma": 2.0, "beta2": 0.99},
        "instead of spectral normalisation": {"discriminator_normalisation": "none"},
    },
    "6": {
        "transposed convolutions": {"upsampling": "transposed"},
        "3×3 convolution after the last": {"refined": True},
        "twice as wide": {"discriminator_width": 2.0},
        "how much the images of a batch differ": {"minibatch_deviation": True},
        "longer memory (0.998)": {"ema": 0.998},
        "40 epochs": {"epochs": 40},
    },
    "7": {
        "told the attributes": {"conditional": True},
        "scales and shifts of its normalisation": {"normalisation": "modulated"},
        "batches of 16": {"batch_size": 16},
        "four times as many steps": {"batch_size": 64 // 4},
        "fall to 0": {"lr_decay": "cosine"},
        "15 epochs": {"epochs": 15},
    },
    "8": {
        "the last one too": {"upsampling": "nearest", "last_upsampling": "nearest"},
        "twice as wide": {"discriminator_width": 2 * 2.0},
    },
    "7-filter-g": {"the last one too": {"upsampling": "filtered", "last_upsampling": "filtered"}},
    "7-nearest-g": {"the last one too": {"upsampling": "nearest", "last_upsampling": "nearest"}},
    "7-bilinear-g": {"the last one too": {"upsampling": "bilinear", "last_upsampling": "bilinear"}},
    "7-filter-d": {"before every halving in the discriminator": {"downsampling": "filtered"}},
    "7-residual-d": {"residual blocks": {"discriminator": "residual"}},
    "7-residual-filter-d": {"filter before every halving": {"downsampling": "filtered"}},
    "7-modulation": {"demodulated convolutions": {"normalisation": "demodulated"}},
    "7-no-deviation": {"no longer told how much": {"minibatch_deviation": False}},
    "7-noise": {"noise in every layer": {"noise": True}},
    "7-lazy-r1": {"every 16 steps": {"penalty_every": 16}, "of every 4": {"penalty_every": 16}},
    "7-small-r1": {"γ = 0.2": {"r1_gamma": 0.2}},
    "7-fast": {"0.001 for both": {"lr_generator": 0.001, "lr_discriminator": 0.001}},
    "7-momentum": {"beta1 = 0.5": {"beta1": 0.5}},
    "7-short-average": {"shorter memory (0.99)": {"ema": 0.99}},
    "8a": {"repeats values": {"upsampling": "nearest", "last_upsampling": "nearest"}},
    "8b": {"its filter in the generator": {"upsampling": "filtered", "last_upsampling": "filtered"}},
    "8c": {"repeats values": {"upsampling": "nearest", "last_upsampling": "nearest"}},
    "8d": {"twice as wide": {"discriminator_width": 4.0}},
    "8e": {"0.001 for the generator": {"lr_generator": 0.001}, "γ = 0.5": {"r1_gamma": 0.5}},
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_idea_in_words_is_the_flags(name):
    config, idea = configuration(name), KNOWN[name].idea
    parent = KNOWN[name].builds_on
    inherited = KNOWN[parent].flags if parent is not None else {}
    changed = {flag for flag, value in KNOWN[name].flags.items() if inherited.get(flag, object()) != value}
    stated = {}
    for words, flags in STATED[name].items():
        assert words in idea["en"]
        for flag, value in flags.items():
            assert getattr(config, flag) == value, (words, flag)
        stated |= flags
    assert changed <= stated.keys(), "a change that the idea does not mention"
    assert numbers(idea["ru"]) == numbers(idea["en"])


def test_what_a_hypothesis_does_not_change_it_inherits():
    assert configuration("3").normalisation == "batch"
    assert configuration("3").batch_size == FIELDS["batch_size"]  # built on 1, as 2 is
    assert configuration("7").r1_gamma == configuration("5").r1_gamma == 2.0


# ---- one's own


MINE = '[base]\ngoal = {en = "a", ru = "б"}\nidea = {en = "a", ru = "б"}\nflags.epochs = 5\n'


def appended(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hypotheses.toml"
    path.write_text(MINE + text, encoding="utf-8")
    return path


def test_an_appended_entry_is_a_hypothesis(tmp_path):
    texts = 'goal = {en = "c", ru = "в"}\nidea = {en = "c", ru = "в"}\n'
    path = appended(
        tmp_path, f'[mine]\nbuilds-on = "base"\n{texts}flags.real-label = [0.8, 1]\nflags.width = 1\n'
    )
    config = configuration("mine", path)
    assert config.real_label == (0.8, 1.0)
    assert (config.width, config.epochs, config.hypothesis) == (1.0, 5, "mine")
    assert list(hypotheses.read(path)) == ["base", "mine"]


TEXTS = '\ngoal = {en = "c", ru = "в"}\nidea = {en = "c", ru = "в"}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"[8]{TEXTS}flags.lr = 1e-3\n", r"\[8\] flags: lr: train_gan.py has no such flag"),
        (f"[8]{TEXTS}flags.outdir = 'x'\n", r"\[8\] flags: outdir: train_gan.py has no such flag to change"),
        (f"[8]{TEXTS}flags.beta1 = 1.5\n", r"\[8\] flags: --beta1 1.5: must be less than 1"),
        (f"[8]{TEXTS}flags.loss = 'log'\n", r"\[8\] flags: --loss log: must be 'minimax'"),
        (f"[8]{TEXTS}flags.real-label = 0.9\n", r"\[8\] flags: --real-label 0.9"),
        (f"[8]{TEXTS}", r"\[8\]: changes no flag; write what differs"),
        (f"[8]{TEXTS}flags = 3\n", r"\[8\]: changes no flag"),
        ("[8]\nflags.epochs = 3\n", r"\[8\]: goal.en is missing; say it"),
        ('[8]\ngoal = {en = "c"}\nflags.epochs = 3\n', r"\[8\]: goal.ru is missing"),
        (
            f"[8]\nbuilds-on = '9'{TEXTS}flags.epochs = 3\n",
            r"\[8\]: builds-on '9': no hypothesis of that name",
        ),
        (f"[8]{TEXTS}flag.epochs = 3\n", r"\[8\]: unknown: flag; an entry has builds-on, goal, idea, flags"),
        (f"['a/b']{TEXTS}flags.epochs = 3\n", r"\[a/b\]: letters, digits"),
        ("[8\n", r"not readable as TOML \("),
        ("[base]\n", r"not readable as TOML \(.*base"),
    ],
)
def test_mistakes_name_file_entry_and_remedy(tmp_path, text, message):
    path = appended(tmp_path, text)
    with pytest.raises(InputError, match=re.escape(str(path)) + ".*" + message):
        configuration("8", path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml: No such file"):
        hypotheses.read(tmp_path / "none.toml")


# ---- on the command line


def parsed(*arguments: str) -> train_gan.Config:
    return command_line.parse(train_gan.Config, list(arguments))


def test_flags_win_over_the_hypothesis():
    assert parsed() == train_gan.Config(hypothesis="base")
    config = parsed("--lr-generator", "0.5", "--hypothesis", "3", "--output", "relu")
    expected = {**KNOWN["3"].flags, "lr_generator": 0.5, "output": "relu"}
    expected = {flag: tuple(value) if isinstance(value, list) else value for flag, value in expected.items()}
    assert {flag: getattr(config, flag) for flag in expected} == expected
    default = parsed("--hypothesis", "0", "--epochs", "5")  # equal to the base run's default, yet given
    assert default.epochs == 5
    assert parsed("--hypothesis", "2", "--real-label", "0.8", "1").real_label == (0.8, 1.0)
    assert parsed("--augment", "color", "cutout").augment == ("color", "cutout")


def test_an_unknown_hypothesis_lists_the_known():
    known = "base, 0, 1, 2, 3, 4, 5, 6, 7, 8, 7-filter-g, .*; add yours to hypotheses.toml"
    with pytest.raises(InputError, match=f"--hypothesis 99: unknown; there are {known}"):
        parsed("--hypothesis", "99")


def test_parts_stand_below_the_hypotheses_and_have_names_of_their_own(tmp_path):
    above = hypotheses.entries(hypotheses.FILE, {})
    assert set(above).isdisjoint(hypotheses.entries(hypotheses.PARTS, above))
    again = appended(tmp_path, "")
    with pytest.raises(InputError, match=r"\[base\]: hypotheses.toml has one of that name"):
        hypotheses.entries(again, above)


# ---- the text of the page


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
    text = (
        hw2_experiments.sections(models, distance, language).split(f"#### {heading}\n\n")[1].split("\n\n")[0]
    )
    parts = (line.removeprefix("- *").split("*: ", 1) for line in text.splitlines())
    return {name: said.removesuffix(".") for name, said in parts}


def test_the_five_parts_in_both_languages():
    models = [row("base", 200.0), row("1", 80.25, collapsed=(0, 2))]
    english, russian = section(models, "Hypothesis 1"), section(models, "Гипотеза 1", "ru")
    assert list(english) == ["Goal", "Idea", "Result", "Comparison", "Conclusion"]
    assert list(russian) == ["Цель", "Идея", "Результат", "Сравнение", "Вывод"]
    assert english["Goal"] == KNOWN["1"].goal["en"]
    assert russian["Идея"] == KNOWN["1"].idea["ru"]
    assert english["Result"] == (
        "Fréchet distance 160.5 ± 1.0 with the last weights, 80.2 ± 1.0 with averaged ones; the samples show "
        "50 % of the styles that as many real images show; their diversity is 0.91 of the real images'; "
        "1.5 collapsed epochs on average (seeds 0, 2)"
    )
    assert "80,2 ± 1,0" in russian["Результат"]
    assert "80.2" not in russian["Результат"]
    assert "collapses" in english["Conclusion"]
    assert "коллапсирует" in russian["Вывод"]
    assert "составляет 0,40 от расстояния базового запуска (лучше" in russian["Сравнение"]


def test_a_difference_is_two_standard_errors():
    """The error of a difference of means of three seeds with sd 3 each is sqrt(3 + 3) = 2.449."""
    for distance, verdict, conclusion in (
        (95.0, "better by more than two standard errors", "it helps"),
        (95.2, "within two standard errors", "no difference was shown"),
        (104.8, "within two standard errors", "no difference was shown"),
        (105.0, "worse by more than two standard errors", "it hurts"),
    ):
        parts = section([row("base", 100.0, 3.0), row("0", distance, 3.0)], "Hypothesis 0")
        ratio = f"{distance / 100:.2f}"
        expected = f"Fréchet distance is {ratio} times that of the base run ({verdict})"
        assert parts["Comparison"].endswith(expected)
        assert parts["Conclusion"] == conclusion


def test_one_seed_shows_no_difference():
    parts = section([row("base", 100.0, seeds=1), row("0", 10.0, seeds=1)], "Hypothesis 0")
    assert "one seed" in parts["Comparison"]
    assert parts["Conclusion"] == "no difference was shown"
    assert parts["Result"].startswith("Fréchet distance 20.0 with")


def test_the_nearest_that_was_run_is_compared_with():
    models = [row("base", 100.0), row("0", 80.0), row("3", 20.0), row("4", 10.0)]
    three, four = section(models, "Hypothesis 3"), section(models, "Hypothesis 4")
    assert "0.25 times that of hypothesis 0" in three["Comparison"]  # 1 was not run
    assert "0.50 times that of hypothesis 3" in four["Comparison"]
    assert four["Comparison"].endswith(" and 0.10 times that of the base run")
    alone = section(models[2:], "Hypothesis 3")
    assert alone["Comparison"] == "none of the hypotheses it builds on was run"
    assert alone["Conclusion"] == "no difference was shown"


def test_the_base_run_claims_no_more_than_its_numbers():
    base = section([row("base", 100.0, collapsed=(1,))], "The base run")
    beat, and_collapse = base["Conclusion"].split("; ")
    assert beat == "the Fréchet distance to beat is 100.0 ± 1.0"
    assert and_collapse == "the generator collapses while it is trained"
    unmeasured = section([row("base", 100.0), row("0", 1.0)], "Hypothesis 0", distance="")
    assert unmeasured["Comparison"] == "no Fréchet distance was measured for these images"
    assert unmeasured["Conclusion"] == "no difference was shown"
