"""Tables and text of week 2: the study of hypotheses."""

import json
from pathlib import Path

from course.pages.tables import Column, Table, Text, summary
from hw2_gan import study_text

STUDY = "hw2_gan/results/study"
LATER = "hw2_gan/results/study_7"
"""The hypothesis that came later, in a study of its own on another machine."""
EVALUATION = "hw2_gan/results/eval_gan"
ATTRIBUTES = {
    "en": {
        "hair": "hair",
        "hair_color": "its colour",
        "accessory": "glasses or none",
        "clothes": "clothes",
        "clothes_color": "their colour",
        "expression": "expression",
        "all": "all six at once",
    },
    "ru": {
        "hair": "волосы",
        "hair_color": "их цвет",
        "accessory": "очки или их отсутствие",
        "clothes": "одежда",
        "clothes_color": "её цвет",
        "expression": "выражение лица",
        "all": "все шесть сразу",
    },
}
"""What the extractor tells apart, in the order of the style table."""


def models(root: Path) -> tuple[list[dict], str]:
    """What was measured of each hypothesis, and the name of the distance."""
    first, later = summary(root, STUDY), summary(root, LATER)
    return first["models"] + later["models"], first["distance"]


def study_rows(root: Path) -> list[dict]:
    """One row for each hypothesis, the one nearest to real images in bold."""
    measurements, distance = models(root)
    rows = []
    for measured in measurements:
        row = {key.replace(distance, "fd"): value for key, value in measured.items()}
        for name in ("after_steps_of_base", "after_steps_of_3"):
            row[name] = "–" if row[name] is None else row[name]  # no epoch had ended by then
        row["collapsed"] = f"{len(measured['collapsed_seeds'])} / {measured['seeds']}"
        for name in ("raw_coverage", "ema_coverage", "ema_evenness", "ema_valid"):
            for end in ("", "_sd"):
                if f"{name}{end}" in row:
                    row[f"{name}{end}"] *= 100
        rows.append(row)
    best = min(rows, key=lambda row: row["ema_fd"])
    return [{**row, "best": row is best} for row in rows]


def study_note(root: Path) -> dict[str, str]:
    kept = summary(root, STUDY)
    n, seeds = kept["n_test"], len(kept["seeds"])
    flags, later = (
        json.loads((root / path / "config.json").read_text(encoding="utf-8")) for path in (STUDY, LATER)
    )
    precision = f"{flags['precision']} (7: {later['precision']})"
    width, budget = f"{flags['width']:g}", f"{flags['budget']:g}"
    comma = lambda number: number.replace(".", ",")
    command = "`python3 -m course run --full --only study study_7`"
    return {
        "en": f"Drawn avatars of 64×64, width {width}, {precision}, the epochs of every hypothesis times "
        f"{budget}; {n} generated against {n} test images, mean ± standard deviation over {seeds} seeds; "
        f"the two columns at equal steps: last weights, {flags['measure_images']} validation images; "
        f"{kept['device']}, {flags['jobs']} trainings at a time; {command}.",
        "ru": f"Нарисованные аватары 64×64, ширина {comma(width)}, {precision}, число эпох каждой гипотезы "
        f"умножено на {comma(budget)}; {n} сгенерированных картинок против {n} тестовых, среднее ± "
        f"стандартное отклонение по {seeds} запускам; два столбца при равном числе шагов: последние веса, "
        f"{flags['measure_images']} валидационных картинок; {kept['device']}, одновременно обучений: "
        f"{flags['jobs']}; {command}.",
    }


def study_sections(root: Path, language: str) -> str:
    return "\n" + study_text.sections(*models(root), language)


def eval_sentence(root: Path, language: str) -> str:
    """What eval_gan.py measured of one training of the last hypothesis."""
    kept = summary(root, EVALUATION)
    hypothesis, rows = kept["hypothesis"], summary(root, LATER)["rows"]
    (steps,) = (row["steps"] for row in rows if row["hypothesis"] == hypothesis and row["seed"] == 0)
    value = {name.removeprefix("eval/"): number for name, number in kept["metrics"].items()}
    show = lambda name, form: format(value[name], form).replace(".", "," if language == "ru" else ".")
    distance = f"{show('fd_avatars_10k', '.0f')} ± {show('fd_avatars_10k_standard_error', '.0f')}"
    precision, recall, nearest = (
        show(name, ".2f") for name in ("precision", "recall", "nearest_training_ratio")
    )
    known, held_out, drawn = (
        show(f"d_{name}_mean_logit", "+.1f") for name in ("training", "test", "generated")
    )
    n = kept["n_test"]
    ordered = [(name.removeprefix("obeyed_"), value[name]) for name in value if name.startswith("obeyed_")]
    shares = ", ".join(f"{ATTRIBUTES[language][name]} {100 * share:.0f} %" for name, share in ordered)
    if language == "ru":
        return (
            f"Гипотеза {hypothesis}, первый из запусков ({steps} шагов), усреднённые веса, {n} картинок "
            f"против {n} тестовых: расстояние Фреше {distance} (погрешность — по картинкам), точность "
            f"(precision) {precision}, полнота (recall) {recall}. Расстояние до ближайшей обучающей "
            f"картинки — {nearest} от такого же для тестовой; намного меньше единицы значило бы, что "
            f"генератор копирует. Средний логит дискриминатора: {known} на обучающих, {held_out} на "
            f"тестовых, {drawn} на сгенерированных картинках. Нарисовано то, что заказано (по мнению "
            f"экстрактора): {shares}.\n"
        )
    return (
        f"Hypothesis {hypothesis}, the first of its runs ({steps} steps), averaged weights, {n} images "
        f"against {n} test images: Fréchet distance {distance} (error over images), precision {precision}, "
        f"recall {recall}. The distance to the nearest training image is {nearest} of that of a test image; "
        f"far below one, the generator would copy. Mean logit of the discriminator: {known} for training, "
        f"{held_out} for test, {drawn} for generated images. Drawn as ordered, by what the extractor sees: "
        f"{shares}.\n"
    )


TABLES = {
    "study": Table(
        (
            Column("hypothesis", "hypothesis", "гипотеза"),
            Column("steps", "steps", "шагов", 0),
            Column("raw_fd", "distance, last weights", "расстояние, последние веса", 0),
            Column("ema_fd", "distance, averaged weights", "расстояние, усреднённые веса", 0),
            Column("after_steps_of_base", "at the base run's last step", "на последнем шаге базового", 0),
            Column("after_steps_of_3", "at the last step of 3", "на последнем шаге 3-й", 0),
            Column("ema_valid", "recognised, %", "распознано, %", 1),
            Column("ema_coverage", "styles covered, %", "покрыто стилей, %", 1),
            Column("ema_evenness", "evenness, %", "равномерность, %", 1),
            Column("raw_diversity", "diversity", "разнообразие", 2),
            Column("collapsed", "collapsed, seeds", "коллапс, запусков"),
        ),
        study_rows,
        study_note,
    ),
    "hypotheses": Text(study_sections),
    "gan_evaluation": Text(eval_sentence),
}
