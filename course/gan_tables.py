"""Tables and text of week 2: the study of hypotheses."""

import json
from pathlib import Path

from course.tables import Column, Table, Text, summary
from hw2_gan import study_text

STUDY = "hw2_gan/results/study"
LATER = "hw2_gan/results/study_7_8"
"""The hypotheses that came later, in a study of their own on another machine."""
EVALUATION = "hw2_gan/results/eval_gan"


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
    flags = json.loads((root / STUDY / "config.json").read_text(encoding="utf-8"))
    width, budget = f"{flags['width']:g}", f"{flags['budget']:g}"
    comma = lambda number: number.replace(".", ",")
    command = "`python3 -m course run --full --only study`"
    return {
        "en": f"Drawn avatars of 64×64, width {width}, {flags['precision']}, the epochs of every hypothesis "
        f"times {budget}; {n} generated against {n} test images, mean ± standard deviation over {seeds} "
        f"seeds; the two columns at equal steps: last weights, {flags['measure_images']} validation "
        f"images; {kept['device']}, {flags['jobs']} trainings at a time; {command}.",
        "ru": f"Нарисованные аватары 64×64, ширина {comma(width)}, {flags['precision']}, число эпох каждой "
        f"гипотезы умножено на {comma(budget)}; {n} сгенерированных картинок против {n} тестовых, среднее ± "
        f"стандартное отклонение по {seeds} запускам; два столбца при равном числе шагов: последние веса, "
        f"{flags['measure_images']} валидационных картинок; {kept['device']}, одновременно обучений: "
        f"{flags['jobs']}; {command}.",
    }


def study_sections(root: Path, language: str) -> str:
    return "\n" + study_text.sections(*models(root), language)


def eval_sentence(root: Path, language: str) -> str:
    """What eval_gan.py measured of one training of hypothesis 6."""
    kept = summary(root, EVALUATION)
    rows = summary(root, STUDY)["rows"]
    (steps,) = (row["steps"] for row in rows if row["hypothesis"] == "6" and row["seed"] == 0)
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
    if language == "ru":
        return (
            f"Гипотеза 6, первый из запусков ({steps} шагов), усреднённые веса, {n} картинок против {n} "
            f"тестовых: расстояние Фреше {distance} (погрешность — по картинкам), точность (precision) "
            f"{precision}, полнота (recall) {recall}. Расстояние до ближайшей обучающей картинки — {nearest} "
            "от такого же для тестовой; намного меньше единицы значило бы, что генератор копирует. Средний "
            f"логит дискриминатора: {known} на обучающих, {held_out} на тестовых, {drawn} на "
            "сгенерированных картинках.\n"
        )
    return (
        f"Hypothesis 6, the first of its runs ({steps} steps), averaged weights, {n} images against {n} test "
        f"images: Fréchet distance {distance} (error over images), precision {precision}, recall {recall}. "
        f"The distance to the nearest training image is {nearest} of that of a test image; far below one, "
        f"the generator would copy. Mean logit of the discriminator: {known} for training, {held_out} for "
        f"test, {drawn} for generated images.\n"
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
