"""What homework 4's pages say: commands that can be given, numbers of linear diffusion that were kept."""

import re
import shlex
from pathlib import Path

from common import command_line

import pytest

from course.pages.tables import number, percent, summary
from hw4_diffusion import (
    compare,
    dreambooth,
    eval_ddpm,
    eval_text_to_image,
    fine_tuning_study,
    linear_costs,
    linear_diffusion,
    sample_ddpm,
    sample_text_to_image,
    train_controlnet,
    train_ddpm,
    train_lora,
    train_text_to_image,
)

LINEAR = (linear_costs, linear_diffusion)
DDPM = (train_ddpm, sample_ddpm, eval_ddpm)
TUNING = (train_lora, dreambooth, train_controlnet, compare, fine_tuning_study)
PICTURES = (train_text_to_image, sample_text_to_image, eval_text_to_image)
SCRIPTS = {Path(each.__file__).name: each for each in (*LINEAR, *DDPM, *PICTURES, *TUNING)}
FOLDER = Path(linear_diffusion.__file__).parent
PAGES = {"en": "README.md", "ru": "README.ru.md"}
TEXTS = {language: (FOLDER / name).read_text(encoding="utf-8") for language, name in PAGES.items()}


def commands(text: str) -> list[list[str]]:
    """Script and flags of every line that starts one of the scripts, in order."""
    pattern = rf"^python {FOLDER.name}/((?:{'|'.join(SCRIPTS)}).*)$"
    lines = re.findall(pattern, text.replace("\\\n", " "), re.M)
    return [shlex.split(line, comments=True) for line in lines]


def tried(text: str) -> list[list[str]]:
    """Flags that the page proposes to add to the command above them."""
    found, script = [], None
    for line in text.replace("\\\n", " ").splitlines():
        script = next(iter(commands(line)), [script])[0]
        if proposed := re.match(r"\*\*(?:Try|Попробуйте)\*\* `(--[^`]+)`", line):
            found.append([script, *shlex.split(proposed[1])])
    return found


GIVEN = [*commands(TEXTS["en"]), *tried(TEXTS["en"]), *(command for module in (*LINEAR, *PICTURES, *TUNING)
         for command in commands(module.__doc__) if "--resume" not in command)]  # fmt: skip


@pytest.mark.parametrize("command", sorted(set(map(shlex.join, GIVEN))))
def test_commands_of_the_page_can_be_given(command):
    script, *flags = shlex.split(command)
    command_line.parse(SCRIPTS[script].Config, flags)


def test_both_languages_give_the_same_commands():
    assert commands(TEXTS["en"]) == commands(TEXTS["ru"])
    assert tried(TEXTS["en"]) == tried(TEXTS["ru"])
    assert (len(commands(TEXTS["en"])), len(tried(TEXTS["en"]))) == (25, 8)


@pytest.mark.parametrize("language", PAGES)
def test_it_is_said_that_question_marks_stand_for_a_number_before_they_do(language):
    first = TEXTS[language].index("????")
    assert TEXTS[language][first - 1 : first + 5] == "`????`"


def kept(name: str) -> dict[str, float]:
    return summary(FOLDER, f"results/{name}")["metrics"]


@pytest.mark.parametrize("language", PAGES)
def test_the_numbers_of_the_sections_are_those_kept(language):
    page = " ".join(TEXTS[language].split())
    products, without, avatars = map(kept, ("linear_digits", "linear_digits_no_products", "linear_avatars"))
    for measured in (products, without):
        assert f"`eval/obeyed_all_percent {measured['eval/obeyed_all_percent']:.4g}`" in page
    assert f"`eval/fd_digits_10k {products['eval/fd_digits_10k']:.4g}`" in page
    assert number(products["eval/fd_digits_10k_reconstructions"], language, 1) in page
    for attribute in ("clothes_color", "hair", "expression", "expression"):
        share = percent(avatars[f"eval/obeyed_{attribute}_percent"] / 100, language)
        assert re.search(rf"{share}.*", page), attribute
    assert percent(avatars["eval/obeyed_expression_percent_reconstructions"] / 100, language) in page


def of_model(data: str, model: str, key: str = "fd") -> float:
    rows = summary(FOLDER, f"results/linear_costs_{data}")["rows"]
    return next(row for row in rows if row["model"] == model)[key]


def of_change(rows: str, name: str, value: int, key: str) -> float:
    """A number of the digits where one thing is changed."""
    kept_rows = summary(FOLDER, "results/linear_costs_digits")[rows]
    return next(row for row in kept_rows if row[name] == value)[key]


def of_vae(data: str, source: str) -> float:
    kept_vaes = summary(FOLDER.parent, f"hw1_bayes_and_autoencoders/results/eval_vae_{data}")
    return kept_vaes["models"][0][f"eval/fd_{data}_10k_{source}"]


@pytest.mark.parametrize("language", PAGES)
def test_the_conclusions_say_what_was_measured(language):
    linear = re.split(r"\n## .*: DDPM\n", TEXTS[language])[0]
    report = " ".join(linear.split("<!-- end of table -->")[-1].split())
    show = lambda value, digits=0: number(value, language, digits)
    share = lambda data, model: percent(of_model(data, model, "obeyed") / 100, language)
    fd = lambda data, *models: [show(of_model(data, model)) for model in models]
    vaes = lambda data: [show(of_vae(data, source)) for source in ("prior", "mixture")]
    by_steps = lambda sampler: show(of_change("by_steps", "steps", 10, f"fd_{sampler}"))
    by_components = lambda count, key: show(of_change("by_components", "components", count, f"fd_{key}"))
    in_order = [
        fd("digits", "no products", "products"),
        [share("digits", "no products"), share("digits", "products")],
        fd("digits", "Gaussians") + fd("mnist", "Gaussians"),
        fd("digits", "products") + fd("mnist", "products"),
        [by_steps("ddim"), by_steps("dpm-solver++")],
        [show(of_model("digits", model, "variance"), 2) for model in ("one regression", "products")],
        [by_components(50, "encoder"), by_components(100, "encoder")],
        [by_components(50, "products"), by_components(100, "products")],
        fd("fashion_mnist", "encoder only", "products"),
        fd("mnist", "products") + vaes("mnist"),
        fd("fashion_mnist", "products") + vaes("fashion_mnist"),
        fd("avatars", "products", "encoder only"),
        [share("avatars", model) for model in ("products", "encoder only", "training images")],
    ]
    for numbers in in_order:
        whole = (rf"(?<![\d.,]){re.escape(one)}(?!\d)" for one in numbers)
        assert re.search(".{1,110}".join(whole), report), numbers


@pytest.mark.parametrize("language", PAGES)
def test_the_report_of_the_ddpm_says_what_was_measured(language):
    report = re.split(r"\n## .*: DDPM\n", TEXTS[language])[1]
    report = " ".join(re.split(r"<!-- end of report -->|\n## ", report)[0].split())
    measured = summary(FOLDER, "results/eval_ddpm_mnist")
    known, guided = measured["metrics"], {row["guidance"]: row for row in measured["guidance"]}
    of_set = summary(FOLDER, "results/eval_ddpm_fashion_mnist")
    garments = of_set["metrics"]
    of = lambda name, digits: number(known[f"eval/{name}"], language, digits)
    spread = lambda name, kind, digits: f"{of(name, digits)} ± {of(f'{name}_{kind}', digits)}"
    share = lambda guidance: percent(guided[guidance]["class_accuracy"], language, 1)
    recall = lambda guidance: number(guided[guidance]["recall"], language, 2)
    points = {(row["sampler"], row["evaluations"]): row for row in measured["curve"]}
    curve = {way: row["fd_mnist_1k"] for way, row in points.items()}
    fd = lambda name, steps: number(curve[name, steps], language, 2)
    recall_of = lambda name: number(points[name, 10]["recall"], language, 2)
    of_garments = lambda name: number(garments[f"eval/{name}"], language, 2)
    for text in (
        spread("fd_mnist_10k", "sd", 2),
        of("fd_mnist_10k_of_training_images", 2),
        number(of_model("mnist", "products"), language, 0),
        percent(known["eval/class_accuracy"], language, 1),
        spread("bits_per_dimension", "standard_error", 2),
        of("nearest_training_ratio", 2),
        share(1.0),
        share(measured["chosen_guidance"]),
        recall(1.0),
        recall(3.0),
        fd("ancestral", 250),
        fd("dpm-solver++", 50),
        fd("dpm-solver++", 10),
        fd("sde-dpm-solver++", 10),
        recall_of("ancestral"),
        recall_of("sde-dpm-solver++"),
        *(
            number(row["fd_fashion_mnist_1k"], language, 2)
            for row in of_set["curve"]
            if (row["sampler"], row["evaluations"])
            in {
                ("dpm-solver++", 10),
                ("dpm-solver++", 20),
                ("ancestral", 10),
                ("sde-dpm-solver++", 10),
                ("sde-dpm-solver++", 50),
            }
        ),
        number(of_set["curve_of_training_images"], language, 2),
        f"{of_garments('fd_fashion_mnist_10k')} ± {of_garments('fd_fashion_mnist_10k_sd')}",
        number(of_model("fashion_mnist", "products"), language, 0),
        percent(garments["eval/class_accuracy"], language, 1),
        of_garments("nearest_training_ratio"),
        number(guided[1.0]["fd_mnist_1k"], language, 1),
        number(guided[1.2]["fd_mnist_1k"], language, 1),
    ):
        assert re.search(rf"(?<![\d.,]){re.escape(text)}(?!\d)", report), text
    without_noise = [value for (name, _), value in curve.items() if name in ("ddim", "dpm-solver++", "heun")]
    assert re.search(
        rf"(above|выше) {re.escape(number(int(10 * min(without_noise)) / 10, language, 1))}", report
    )
    of_avatars = summary(FOLDER, "results/eval_ddpm_avatars")
    faces = of_avatars["metrics"]
    by_ten = {
        row["sampler"]: row["fd_avatars_500"] for row in of_avatars["curve"] if row["evaluations"] == 10
    }
    of_faces = lambda name, digits: number(faces[f"eval/{name}"], language, digits)
    trained = [summary(FOLDER, f"results/train_ddpm_avatars_{seed}") for seed in (0, 1, 2)]
    for text in (
        f"{of_faces('fd_avatars_2k', 0)} ± {of_faces('fd_avatars_2k_sd', 0)}",
        of_faces("fd_avatars_2k_of_training_images", 0),
        percent(faces["eval/class_accuracy"], language, 1),
        of_faces("nearest_training_ratio", 2),
        number(by_ten["dpm-solver++"], language, 0),
        number(by_ten["ancestral"], language, 0),
        number(sum(one["metrics"]["val/fd_avatars_1k"] for one in trained) / 3, language, 0),
    ):
        assert re.search(rf"(?<![\d.,]){re.escape(text)}(?!\d)", report), text
    assert curve["sde-dpm-solver++", 10] < 1.1 * curve["ancestral", 250]
    assert all(curve[name, 5] < 1.4 * curve[name, 50] for name in ("ancestral", "ddim", "dpm-solver++"))


def test_one_regression_errs_more_and_is_yet_nearer():
    for data in ("digits", "mnist", "fashion_mnist", "avatars"):
        assert of_model(data, "one regression", "error") > of_model(data, "products", "error")
        assert of_model(data, "one regression") < of_model(data, "products")
    for data in ("digits", "mnist", "fashion_mnist"):
        assert abs(of_model(data, "Gaussians", "variance") - 1) < 0.02
        assert 0.94 < of_model(data, "products") / of_model(data, "Gaussians") < 1.06


@pytest.mark.parametrize("language", PAGES)
def test_the_report_stands_apart(language):
    before, report = TEXTS[language].split("<!-- report -->\n")
    report, after = report.split("<!-- end of report -->\n")
    assert report.count("<!-- table: linear") == 4
    assert "<!-- table:" not in before + after
