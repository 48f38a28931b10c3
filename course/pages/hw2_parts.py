"""What made it clean: parts of StyleGAN2 in hypothesis 7, and hypothesis 8 in its five parts."""

from pathlib import Path

from course.pages.hw2_experiments import WORDS
from course.pages.tables import Column, device, flags, number, percent, summary
from hw2_gan.hypotheses import hypothesis

TOGETHER = "hw2_gan/results/parts"
"""Hypothesis 7, and what was put together of the parts, after equally many steps."""
LONGER = "hw2_gan/results/study_8c"
"""One of the combinations, trained as long as hypothesis 7 was."""
WITHOUT, WITH = "7", "8"
COLUMNS = (
    Column("hypothesis", "hypothesis", "гипотеза"),
    Column("idea", "what changes", "что меняется"),
    Column("fd", "Fréchet distance", "расстояние Фреше", 0),
    Column("ema_grid", "grid", "сетка", 1),
)


def rows(root: Path, path: str) -> list[dict]:
    """One row for each training of a study, the nearest to real images first and in bold."""
    kept = summary(root, path)
    key = f"ema_{kept['distance']}"
    table = []
    for row in sorted(kept["rows"], key=lambda row: row[key]):
        words = hypothesis(row["hypothesis"])
        idea = {"en": "–", "ru": "–"} if row["hypothesis"] == WITHOUT else words.idea
        table.append(row | {"idea": idea, "fd": row[key], "best": not table})
    return table


def note(root: Path, path: str, language: str) -> str:
    kept, options = summary(root, path), flags(root, path)
    (steps,) = {row["steps"] for row in kept["rows"]}
    n, steps, width = (
        number(kept["n_test"], language),
        number(steps, language),
        number(options["width"], language, len(f"{options['width']:g}") - 2),
    )
    computer, jobs = device(kept["device"], language), options["jobs"]
    command = f"`python3 -m course run --full --only {Path(path).name}`"
    if language == "ru":
        return (
            f"По {steps} шагов, по одному запуску, ширина {width}, усреднённые веса, сгенерированных и "
            f"тестовых картинок по {n}. Сетка: отношение мощности на частотах сетки к мощности настоящих "
            f"картинок, 1 — сетки нет. {options['precision']}, {computer}, одновременно обучений: {jobs}; "
            f"{command}."
        )
    return (
        f"{steps} steps and one seed each, width {width}, averaged weights, {n} generated against {n} test "
        "images. Grid: power at a grid's frequencies as a multiple of the real images', 1 is none. "
        f"{options['precision']}, {computer}, {jobs} trainings at a time; {command}."
    )


def section(root: Path, language: str) -> str:
    """Hypothesis 8: what it should achieve, why it might, what came out, against 7, and what follows."""
    kept, words, one = summary(root, TOGETHER), WORDS[language], hypothesis(WITH)
    key = f"ema_{kept['distance']}"
    by_name = {row["hypothesis"]: row for row in kept["rows"]}
    mine, before = by_name[WITH], by_name[WITHOUT]
    show = lambda row, name, digits: number(row[name], language, digits)
    values = {
        "steps": number(mine["steps"], language),
        "n": number(kept["n_test"], language),
        "fd": show(mine, key, 0),
        "grid": show(mine, "ema_grid", 1),
        "ratio": number(mine[key] / before[key], language, 2),
        "before": show(before, key, 0),
        "grid_before": show(before, "ema_grid", 0),
        "verdict": words["one_seed"],
    }
    parts = {"goal": one.goal[language], "idea": one.idea[language]}
    parts |= {part: text.format(**values) for part, text in TEXTS[language].items()}
    lines = [f"- *{words[part]}*: {text}." for part, text in parts.items()]
    return f"\n#### {words['heading'].format(name=WITH)}\n\n" + "\n".join(lines) + "\n"


TEXTS = {
    "en": {
        "result": "after {steps} steps a Fréchet distance of {fd} with averaged weights, on {n} images, and "
        "a grid of {grid}",
        "comparison": "hypothesis 7 has a Fréchet distance of {before} and a grid of {grid_before} after as "
        "many steps with the same seed, so the distance is {ratio} times that of hypothesis 7 ({verdict})",
        "conclusion": "the grid is gone. Whether the other two goals are reached is not known: its whole "
        "training waits for a GPU",
    },
    "ru": {
        "result": "после {steps} шагов расстояние Фреше {fd} с усреднёнными весами, по {n} картинок, сетка "
        "{grid}",
        "comparison": "у гипотезы 7 после стольких же шагов с тем же seed расстояние Фреше {before} и сетка "
        "{grid_before}, так что расстояние составляет {ratio} от её расстояния ({verdict})",
        "conclusion": "сетки больше нет. Достигнуты ли две другие цели, неизвестно: полное обучение ждёт GPU",
    },
}


def longer(root: Path, language: str) -> str:
    """One sentence on the combination that was trained as long as hypothesis 7."""
    kept = summary(root, LONGER)
    (row,) = kept["rows"]
    key = f"ema_{kept['distance']}"
    steps, n = number(row["steps"], language), number(kept["n_test"], language)
    distance, grid = number(row[key], language), number(row["ema_grid"], language, 1)
    name, expression = row["hypothesis"], percent(row["ema_obeyed_expression"], language)
    valid = percent(row["ema_valid"], language)
    if language == "ru":
        return (
            f"{name} после {steps} шагов ({kept['device']}, один запуск, по {n} картинок): расстояние Фреше "
            f"{distance}, сетка {grid}, распознано {valid}, выражение как задано {expression}.\n"
        )
    return (
        f"{name} after {steps} steps ({kept['device']}, one seed, {n} images): Fréchet distance {distance}, "
        f"grid {grid}, recognised {valid}, expression as ordered {expression}.\n"
    )
