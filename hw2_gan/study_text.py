"""The study as a table, and each hypothesis in five parts (goal, idea, result, comparison, conclusion), all
drawn from measured rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hw2_gan.hypotheses import HYPOTHESES

WORDS = {
    "en": {
        "heading": "Hypothesis {name}",
        "base": "The base run",
        "goal": "Goal",
        "idea": "Idea",
        "result": "Result",
        "comparison": "Comparison",
        "conclusion": "Conclusion",
        "distance": "Fréchet distance {raw} with the last weights, {ema} with averaged ones",
        "modes": "{coverage} of the styles that as many real images show, diversity {diversity}",
        "collapsed": "collapsed during {epochs} epochs (seeds {seeds})",
        "sound": "no epoch collapsed",
        "first": "everything below is compared with this run",
        "ratio": "the distance of the averaged weights is {ratio} times that of {parent} ({verdict})",
        "of_base": "{ratio} times that of the base run",
        "better": "more than two standard errors better",
        "worse": "more than two standard errors worse",
        "same": "within two standard errors",
        "one_seed": "one seed: no spread",
        "helps": "it helps",
        "hurts": "it hurts",
        "undecided": "no difference was shown",
        "and_collapse": "; the generator collapses on the way",
        "baseline": "the distance to beat is {ema}",
        "alone": "none of the hypotheses it builds on was run",
        "unmeasured": "no Fréchet distance was measured for these images",
        "parent": "hypothesis {name}",
        "parent_base": "the base run",
    },
    "ru": {
        "heading": "Гипотеза {name}",
        "base": "Базовый запуск",
        "goal": "Цель",
        "idea": "Идея",
        "result": "Результат",
        "comparison": "Сравнение",
        "conclusion": "Вывод",
        "distance": "расстояние Фреше {raw} с последними весами, {ema} с усреднёнными",
        "modes": "{coverage} стилей, видных на стольких же настоящих картинках, разнообразие {diversity}",
        "collapsed": "коллапс в течение {epochs} эпох (запуски {seeds})",
        "sound": "ни одной эпохи с коллапсом",
        "first": "всё остальное сравнивается с этим запуском",
        "ratio": "отношение расстояния (усреднённые веса) к тому, что даёт {parent}: {ratio} ({verdict})",
        "of_base": "к базовому запуску: {ratio}",
        "better": "лучше более чем на две стандартные ошибки",
        "worse": "хуже более чем на две стандартные ошибки",
        "same": "в пределах двух стандартных ошибок",
        "one_seed": "один запуск: разброса нет",
        "helps": "помогает",
        "hurts": "вредит",
        "undecided": "разница не показана",
        "and_collapse": "; по дороге генератор коллапсирует",
        "baseline": "расстояние, которое надо уменьшить: {ema}",
        "alone": "ни одна из гипотез, на которых она строится, не запускалась",
        "unmeasured": "расстояние Фреше для этих картинок не измерялось",
        "parent": "гипотеза {name}",
        "parent_base": "базовый запуск",
    },
}  # fmt: skip


def sections(models: Sequence[dict], distance: str, language: str) -> str:
    """Markdown: a heading and five parts for each row of `compare_hypotheses.averaged`.

    `distance` is the name of the Fréchet distance, empty where none was measured.
    """
    by_name = {row["hypothesis"]: row for row in models}
    return "\n".join(section(row, by_name, distance, language) for row in models)


def section(row: dict, models: dict[str, dict], distance: str, language: str) -> str:
    """One hypothesis; it is compared with the nearest of those it builds on that was run too."""
    words, name = WORDS[language], row["hypothesis"]
    hypothesis, parent = HYPOTHESES[name], ancestor(name, models)
    if not distance:
        compared, conclusion = words["unmeasured"], words["undecided"]
    elif parent is not None:
        compared, verdict = comparison(row, parent, models.get("base"), f"ema_{distance}", words, language)
        conclusion = words[verdict]
    elif name == "base":
        compared = words["first"]
        conclusion = words["baseline"].format(ema=number(row, f"ema_{distance}", ".1f", language))
    else:
        compared, conclusion = words["alone"], words["undecided"]
    if row["collapsed_seeds"]:
        conclusion += words["and_collapse"]
    heading = words["base"] if name == "base" else words["heading"].format(name=name)
    parts = {
        "goal": hypothesis.goal[language],
        "idea": hypothesis.idea[language],
        "result": result(row, distance, words, language),
        "comparison": compared,
        "conclusion": conclusion,
    }
    lines = [f"- *{words[key]}*: {text}." for key, text in parts.items()]
    return f"### {heading}\n\n" + "\n".join(lines) + "\n"


def ancestor(name: str, models: dict[str, dict]) -> dict | None:
    """The row of the nearest hypothesis that `name` builds on, among those that were run."""
    parent = HYPOTHESES[name].parent
    while parent is not None and parent not in models:
        parent = HYPOTHESES[parent].parent
    return models.get(parent)


def result(row: dict, distance: str, words: dict[str, str], language: str) -> str:
    """What was measured, with its spread over seeds."""
    show = lambda key, form: number(row, key, form, language)
    said = []
    if distance:
        said.append(
            words["distance"].format(raw=show(f"raw_{distance}", ".1f"), ema=show(f"ema_{distance}", ".1f"))
        )
    if "ema_coverage" in row:
        said.append(
            words["modes"].format(
                coverage=show("ema_coverage", ".0%"), diversity=show("ema_diversity", ".2f")
            )
        )
    seeds = ", ".join(map(str, row["collapsed_seeds"]))
    epochs = number({"": row["collapsed_epochs"]}, "", ".1f", language)
    said.append(words["collapsed"].format(epochs=epochs, seeds=seeds) if seeds else words["sound"])
    return "; ".join(said)


def comparison(
    row: dict, parent: dict, base: dict | None, key: str, words: dict[str, str], language: str
) -> tuple[str, str]:
    """The sentence, and what it shows: `helps`, `hurts` or `undecided`.

    Two means of row[`key`] over seeds differ when they are more than two standard errors apart."""
    ratio = lambda other: number({"": row[key] / other[key]}, "", ".2f", language)
    if min(row["seeds"], parent["seeds"]) < 2:
        verdict, shows = words["one_seed"], "undecided"
    else:
        error = math.hypot(*(one[f"{key}_sd"] / one["seeds"] ** 0.5 for one in (row, parent)))
        differs = abs(row[key] - parent[key]) > 2 * error
        lower = row[key] < parent[key]
        verdict = words[("better" if lower else "worse") if differs else "same"]
        shows = ("helps" if lower else "hurts") if differs else "undecided"
    named = parent["hypothesis"]
    text = words["ratio"].format(
        ratio=ratio(parent),
        verdict=verdict,
        parent=words["parent_base"] if named == "base" else words["parent"].format(name=named),
    )
    if base is not None and base is not parent:
        text += "; " + words["of_base"].format(ratio=ratio(base))
    return text, shows


def number(row: dict, key: str, form: str, language: str) -> str:
    """A mean, with its standard deviation where there is one; a comma for the point in Russian."""
    text = f"{row[key]:{form}}"
    if f"{key}_sd" in row:
        text += f" ± {row[f'{key}_sd']:{form}}"
    text = text.replace("%", " %")
    return text.replace(".", ",") if language == "ru" else text


def table(models: Sequence[dict], distance: str, count: int) -> str:
    """Markdown: a row for each hypothesis, mean ± standard deviation over seeds; only what was measured."""
    columns = [
        ("seeds", "seeds", ".0f"),
        ("steps", "steps", ".0f"),
        (f"{distance}: last weights", f"raw_{distance}", ".1f"),
        ("averaged", f"ema_{distance}", ".1f"),
        ("last weights, after the base run's steps (validation)", "after_steps_of_base", ".1f"),
        ("last weights, after hypothesis 3's steps (validation)", "after_steps_of_3", ".1f"),
        ("styles covered", "ema_coverage", ".0%"),
        ("evenness", "ema_evenness", ".0%"),
        ("valid", "ema_valid", ".0%"),
        ("diversity", "ema_diversity", ".2f"),
        ("epochs with collapse", "collapsed_epochs", ".1f"),
        ("minutes", "minutes", ".1f"),
    ]
    columns = [column for column in columns if any(row.get(column[1]) is not None for row in models)]
    cell = lambda row, key, form: "–" if row.get(key) is None else number(row, key, form, "en")
    cells = [[row["hypothesis"], *(cell(row, key, form) for _, key, form in columns)] for row in models]
    lines = [["hypothesis", *(title for title, _, _ in columns)], ["---"] * (len(columns) + 1), *cells]
    against = f"{count} samples against {count} test images; mean ± standard deviation over seeds.\n\n"
    return against + "".join(f"| {' | '.join(line)} |\n" for line in lines)
