"""Each hypothesis in five parts (goal, idea, result, comparison, conclusion), drawn from measured rows."""

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
        "ratio": "the distance of the averaged weights is {ratio:.2f} times that of {parent} ({verdict})",
        "of_base": "{ratio:.2f} times that of the base run",
        "better": "more than two standard errors better",
        "worse": "more than two standard errors worse",
        "same": "within two standard errors",
        "one_seed": "one seed: no spread",
        "helps": "it helps",
        "hurts": "it hurts",
        "undecided": "no difference was shown",
        "and_collapse": ", but the generator collapses on the way",
        "baseline": "it does not converge within its budget" ,
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
        "ratio": "отношение расстояния (усреднённые веса) к тому, что даёт {parent}: {ratio:.2f} ({verdict})",
        "of_base": "к базовому запуску: {ratio:.2f}",
        "better": "лучше более чем на две стандартные ошибки",
        "worse": "хуже более чем на две стандартные ошибки",
        "same": "в пределах двух стандартных ошибок",
        "one_seed": "один запуск: разброса нет",
        "helps": "помогает",
        "hurts": "вредит",
        "undecided": "разница не показана",
        "and_collapse": ", но по дороге генератор коллапсирует",
        "baseline": "за свой бюджет не сходится",
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
    """One hypothesis; it is compared with the one it changes, if that was run too."""
    words, name = WORDS[language], row["hypothesis"]
    hypothesis = HYPOTHESES[name]
    parent = models.get(hypothesis.parent)
    compared, verdict = comparison(row, parent, models.get("base"), distance, words)
    if parent is None:
        conclusion = words["baseline"]
    else:
        conclusion = words[verdict] + (words["and_collapse"] if row["collapsed_seeds"] else "")
    heading = words["base"] if name == "base" else words["heading"].format(name=name)
    parts = {
        "goal": hypothesis.goal[language],
        "idea": hypothesis.idea[language],
        "result": result(row, distance, words, language),
        "comparison": compared,
        "conclusion": conclusion,
    }
    lines = [f"*{words[key]}*: {text}." for key, text in parts.items()]
    return f"### {heading}\n\n" + "\n".join(lines) + "\n"


def result(row: dict, distance: str, words: dict[str, str], language: str) -> str:
    """What was measured, with its spread over seeds."""
    show = lambda key, form: number(row, key, form, language)
    said = []
    if distance:
        said.append(
            words["distance"].format(raw=show(f"raw_{distance}", ".0f"), ema=show(f"ema_{distance}", ".0f"))
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
    row: dict, parent: dict | None, base: dict | None, distance: str, words: dict[str, str]
) -> tuple[str, str]:
    """The sentence, and what it shows: `helps`, `hurts` or `undecided`.

    Two means over seeds differ when they are more than two standard errors apart."""
    key = f"ema_{distance}"
    if parent is None or not distance:
        return words["first"], "undecided"
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
        ratio=row[key] / parent[key],
        verdict=verdict,
        parent=words["parent_base"] if named == "base" else words["parent"].format(name=named),
    )
    if base is not None and base is not parent:
        text += "; " + words["of_base"].format(ratio=row[key] / base[key])
    return text, shows


def number(row: dict, key: str, form: str, language: str) -> str:
    """A mean, with its standard deviation where there is one; a comma for the point in Russian."""
    text = f"{row[key]:{form}}"
    if f"{key}_sd" in row:
        text += f" ± {row[f'{key}_sd']:{form}}"
    return text.replace(".", ",") if language == "ru" else text
