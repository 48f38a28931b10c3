"""Tables and text of week 2: the study of hypotheses."""

from pathlib import Path

from course.pages import hw2_experiments, hw2_parts
from course.pages.tables import Column, Table, Text, device, flags, number, percent, summary
from hw2_gan import gan_figures
from hw2_gan.hypotheses import hypothesis

STUDY = "hw2_gan/results/study"
LATER = "hw2_gan/results/study_7"
"""The hypothesis that came later, in a study of its own on another machine."""
EVALUATION = "hw2_gan/results/eval_gan"
OUTCOMES = "hw2_gan/results/hypotheses.png"
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


def draw_outcomes(root: Path) -> None:
    """What every training of both studies reached, as a figure."""
    first, later = summary(root, STUDY), summary(root, LATER)
    gan_figures.save_outcomes(root / OUTCOMES, first["rows"] + later["rows"], first["distance"])


def study_rows(root: Path) -> list[dict]:
    """One row for each hypothesis, the one nearest to real images in bold."""
    measurements, distance = models(root)
    budget = flags(root, STUDY)["budget"]
    rows = []
    for measured in measurements:
        row = {key.replace(distance, "fd"): value for key, value in measured.items()}
        row["epochs"] = max(1, round(budget * hypothesis(measured["hypothesis"]).flags["epochs"]))
        del row["steps_sd"]  # every seed takes equally many
        for name in ("after_steps_of_base", "after_steps_of_3"):
            row[name] = "–" if row[name] is None else row[name]  # no epoch yet, or over before
        row["collapsed"] = f"{len(measured['collapsed_seeds'])} / {measured['seeds']}"
        for name in ("ema_coverage", "ema_evenness", "ema_valid"):
            for end in ("", "_sd"):
                if f"{name}{end}" in row:
                    row[f"{name}{end}"] *= 100
        rows.append(row)
    best = min(rows, key=lambda row: row["ema_fd"])
    return [{**row, "best": row is best} for row in rows]


def study_columns(root: Path) -> tuple[Column, ...]:
    """Two headings say after how many steps the hypotheses are compared: as many as base takes, or 3."""
    steps = {row["hypothesis"]: row["steps"] for row in models(root)[0]}
    after = lambda key, name: Column(
        key,
        f"distance after {number(steps[name], 'en')} steps",
        f"расстояние после {number(steps[name], 'ru')} шагов",
        digits=0,
    )
    return (
        Column("hypothesis", "hypothesis", "гипотеза"),
        Column("epochs", "epochs", "эпох", 0),
        Column("steps", "steps", "шагов", 0),
        Column("ema_fd", "Fréchet distance", "расстояние Фреше", 0),
        Column("ema_valid", "recognised, %", "распознано, %", 1),
        Column("ema_coverage", "styles covered, %", "покрыто стилей, %", 1),
        Column("ema_evenness", "evenness, %", "равномерность, %", 1),
        Column("ema_diversity", "diversity", "разнообразие", 2),
        Column("collapsed", "collapsed, seeds", "коллапс, запусков"),
        Column("raw_fd", "distance of the last weights", "расстояние последних весов", 0),
        after("after_steps_of_base", "base"),
        after("after_steps_of_3", "3"),
    )


def study_note(root: Path, language: str) -> str:
    kept, options = summary(root, STUDY), flags(root, STUDY)
    n, seeds = number(kept["n_test"], language), len(kept["seeds"])
    precision = f"{options['precision']} (7: {flags(root, LATER)['precision']})"
    width, validation = number(options["width"], language, 2), number(options["measure_images"], language)
    computer, jobs = device(kept["device"], language), options["jobs"]
    command = "`python3 -m course run --full --only study study_7`"
    if language == "ru":
        return (
            f"Нарисованные аватары 64×64, ширина {width}, {precision}; сгенерированных и тестовых картинок "
            f"по {n}, среднее ± стандартное отклонение по {seeds} запускам. Всё, кроме последних трёх "
            "столбцов, — для усреднённых весов; эти три — для последних, из них два после равного числа "
            f"шагов, по {validation} валидационным картинкам; {computer}, одновременно обучений: {jobs}; "
            f"{command}."
        )
    return (
        f"Drawn avatars of 64×64, width {width}, {precision}; {n} generated against {n} test images, mean ± "
        f"standard deviation over {seeds} seeds. All but the last three columns belong to the averaged "
        f"weights; these three to the last weights, two of them after equally many steps, on {validation} "
        f"validation images; {computer}, {jobs} trainings at a time; {command}."
    )


def study_sections(root: Path, language: str) -> str:
    return "\n" + hw2_experiments.sections(*models(root), language)


def eval_sentence(root: Path, language: str) -> str:
    """What eval_gan.py measured of one training of the last hypothesis."""
    kept = summary(root, EVALUATION)
    name, rows = kept["hypothesis"], summary(root, LATER)["rows"]
    (steps,) = (row["steps"] for row in rows if row["hypothesis"] == name and row["seed"] == 0)
    value = {key.removeprefix("eval/"): measured for key, measured in kept["metrics"].items()}
    show = lambda key, digits, **more: number(value[key], language, digits, **more)
    distance = f"{show('fd_avatars_10k', 0)} ± {show('fd_avatars_10k_standard_error', 0)}"
    precision, recall, nearest = (show(key, 2) for key in ("precision", "recall", "nearest_training_ratio"))
    known, held_out, drawn = (
        show(f"d_{images}_mean_logit", 1, signed=True) for images in ("training", "test", "generated")
    )
    n, steps = number(kept["n_test"], language), number(steps, language)
    obeyed = {key.removeprefix("obeyed_"): value[key] for key in value if key.startswith("obeyed_")}
    shares = ", ".join(f"{ATTRIBUTES[language][key]} {percent(obeyed[key], language)}" for key in obeyed)
    if language == "ru":
        return (
            f"Гипотеза {name}, первый из запусков ({steps} шагов), усреднённые веса, сгенерированных и "
            f"тестовых картинок по {n}. Расстояние Фреше {distance} (погрешность — по картинкам), точность "
            f"(precision) {precision}, полнота (recall) {recall}. Расстояние от сэмпла до ближайшей "
            f"обучающей картинки составляет {nearest} такого же расстояния для тестовой картинки; намного "
            f"меньше единицы значило бы, что генератор копирует. Средний логит дискриминатора: {known} на "
            f"обучающих, {held_out} на тестовых, {drawn} на сгенерированных картинках. Заданные признаки "
            f"нарисованы (по мнению экстрактора): {shares}.\n"
        )
    return (
        f"Hypothesis {name}, the first of its runs ({steps} steps), averaged weights, {n} images against {n} "
        f"test images. Fréchet distance {distance} (error over images), precision {precision}, recall "
        f"{recall}. A sample is {nearest} times as far from the nearest training image as a test image is; "
        f"far below one, the generator would copy. Mean logit of the discriminator: {known} for training, "
        f"{held_out} for test, {drawn} for generated images. Drawn as ordered, by what the extractor sees: "
        f"{shares}.\n"
    )


FIGURES = (draw_outcomes,)
TABLES = {
    "study": Table(study_columns, study_rows, study_note),
    "hypotheses": Text(study_sections),
    "gan_evaluation": Text(eval_sentence),
    "parts": Table(
        hw2_parts.COLUMNS,
        lambda root: hw2_parts.rows(root, hw2_parts.TOGETHER),
        lambda root, language: hw2_parts.note(root, hw2_parts.TOGETHER, language),
    ),
    "part_longer": Text(hw2_parts.longer),
    "hypothesis_8": Text(hw2_parts.section),
}
