"""Each hypothesis of week 2 in the five parts that the course asks for (goal, idea, result, comparison,
conclusion), in two languages, from measured rows."""

from collections.abc import Sequence

from common import seeds

from course.pages.tables import number, percent
from hw2_gan import hypotheses

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
        "modes": "the samples show {coverage} of the styles that as many real images show; their diversity "
        "is {diversity} of the real images'",
        "collapsed": "{epochs} collapsed epochs on average (seeds {seeds})",
        "sound": "no epoch is collapsed",
        "first": "everything below is compared with this run",
        "ratio": "with averaged weights the Fréchet distance is {ratio} times that of {parent} ({verdict})",
        "of_base": " and {ratio} times that of the base run",
        "better": "better by more than two standard errors",
        "worse": "worse by more than two standard errors",
        "same": "within two standard errors",
        "one_seed": "one seed, so its spread is unknown",
        "helps": "it helps",
        "hurts": "it hurts",
        "undecided": "no difference was shown",
        "and_collapse": "; the generator collapses while it is trained",
        "baseline": "the Fréchet distance to beat is {ema}",
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
        "modes": "сэмплы показывают {coverage} стилей, которые видны на стольких же настоящих картинках; "
        "разнообразие составляет {diversity} от разнообразия настоящих картинок",
        "collapsed": "эпох с коллапсом в среднем: {epochs} (seed {seeds})",
        "sound": "ни одной эпохи с коллапсом",
        "first": "всё остальное сравнивается с этим запуском",
        "ratio": "с усреднёнными весами расстояние Фреше составляет {ratio} от расстояния {parent} "
        "({verdict})",
        "of_base": " и {ratio} от расстояния базового запуска",
        "better": "лучше более чем на две стандартные ошибки",
        "worse": "хуже более чем на две стандартные ошибки",
        "same": "в пределах двух стандартных ошибок",
        "one_seed": "один запуск, поэтому разброс неизвестен",
        "helps": "помогает",
        "hurts": "вредит",
        "undecided": "разница не показана",
        "and_collapse": "; во время обучения генератор коллапсирует",
        "baseline": "расстояние Фреше, которое надо уменьшить: {ema}",
        "alone": "ни одна из гипотез, на которых она строится, не запускалась",
        "unmeasured": "расстояние Фреше для этих картинок не измерялось",
        "parent": "гипотезы {name}",
        "parent_base": "базового запуска",
    },
}


def sections(models: Sequence[dict], distance: str, language: str) -> str:
    """Markdown: a heading and five parts for each row of `study_table.over_seeds`.

    `distance` is the name of the Fréchet distance, empty where none was measured.
    """
    by_name = {row["hypothesis"]: row for row in models}
    return "\n".join(section(row, by_name, distance, language) for row in models)


def section(row: dict, models: dict[str, dict], distance: str, language: str) -> str:
    """One hypothesis; it is compared with the nearest of those it builds on that was run too."""
    words, name = WORDS[language], row["hypothesis"]
    hypothesis, parent = hypotheses.hypothesis(name), ancestor(name, models)
    if not distance:
        compared, conclusion = words["unmeasured"], words["undecided"]
    elif parent is not None:
        compared, verdict = comparison(row, parent, models.get("base"), f"ema_{distance}", language)
        conclusion = words[verdict]
    elif name == "base":
        compared = words["first"]
        conclusion = words["baseline"].format(ema=spread(row, f"ema_{distance}", 1, language))
    else:
        compared, conclusion = words["alone"], words["undecided"]
    if row["collapsed_seeds"]:
        conclusion += words["and_collapse"]
    heading = words["base"] if name == "base" else words["heading"].format(name=name)
    parts = {
        "goal": hypothesis.goal[language],
        "idea": hypothesis.idea[language],
        "result": result(row, distance, language),
        "comparison": compared,
        "conclusion": conclusion,
    }
    lines = [f"- *{words[key]}*: {text}." for key, text in parts.items()]
    return f"#### {heading}\n\n" + "\n".join(lines) + "\n"


def ancestor(name: str, models: dict[str, dict]) -> dict | None:
    """The row of the nearest hypothesis that `name` builds on, among those that were run."""
    parent = hypotheses.hypothesis(name).builds_on
    while parent is not None and parent not in models:
        parent = hypotheses.hypothesis(parent).builds_on
    return models.get(parent)


def result(row: dict, distance: str, language: str) -> str:
    """What was measured, with its spread over seeds."""
    words, said = WORDS[language], []
    if distance:
        raw, ema = (spread(row, f"{version}_{distance}", 1, language) for version in ("raw", "ema"))
        said.append(words["distance"].format(raw=raw, ema=ema))
    if "ema_coverage" in row:
        coverage = spread(row, "ema_coverage", 0, language, write=percent)
        diversity = spread(row, "ema_diversity", 2, language)
        said.append(words["modes"].format(coverage=coverage, diversity=diversity))
    collapsed = ", ".join(map(str, row["collapsed_seeds"]))
    epochs = number(row["collapsed_epochs"], language, 1)
    said.append(words["collapsed"].format(epochs=epochs, seeds=collapsed) if collapsed else words["sound"])
    return "; ".join(said)


def comparison(row: dict, parent: dict, base: dict | None, key: str, language: str) -> tuple[str, str]:
    """The sentence, and what it shows: `helps`, `hurts` or `undecided`."""
    words, lower = WORDS[language], row[key] < parent[key]
    ratio = lambda other: number(row[key] / other[key], language, 2)
    verdict, shows = {
        None: ("one_seed", "undecided"),
        False: ("same", "undecided"),
        True: ("better", "helps") if lower else ("worse", "hurts"),
    }[seeds.differ(row, key, parent)]
    named = parent["hypothesis"]
    text = words["ratio"].format(
        ratio=ratio(parent),
        verdict=words[verdict],
        parent=words["parent_base"] if named == "base" else words["parent"].format(name=named),
    )
    if base is not None and base is not parent:
        text += words["of_base"].format(ratio=ratio(base))
    return text, shows


def spread(row: dict, key: str, digits: int, language: str, write=number) -> str:
    """A mean, with its standard deviation where there is one."""
    text = write(row[key], language, digits)
    return text if f"{key}_sd" not in row else f"{text} ± {write(row[f'{key}_sd'], language, digits)}"
