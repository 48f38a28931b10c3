"""Tables of week 3: truncation against distance, precision and recall; ways of sampling and of projecting."""

import re
from pathlib import Path

from course.pages.tables import Column, Table, counted, device, flags, number, summary
from hw3_stylegan_sampling.train_stylegan import Config

RESULTS = "hw3_stylegan_sampling/results"
EVALUATION, COMPARISON = f"{RESULTS}/eval_stylegan", f"{RESULTS}/compare_sampling"
PROJECTION = f"{RESULTS}/project"
SHARES = ("valid", "coverage", "obeyed_all")
WAYS = {
    "plain": {"en": "z from N(0, I)", "ru": "z из N(0, I)"},
    "W mean": {"en": "towards the mean w", "ru": "к среднему w"},
    "W centre": {"en": "towards the nearest centre of w", "ru": "к ближайшему центру w"},
    "own mean": {
        "en": "towards the mean w of the same attributes",
        "ru": "к среднему w с теми же признаками",
    },
    "z limit": {"en": "z from the truncated normal", "ru": "z из усечённого нормального"},
    "rejection": {"en": "rejection by the discriminator", "ru": "отбор дискриминатором"},
    "Langevin": {"en": "Langevin steps in z", "ru": "шаги Ланжевена в z"},
}


PROJECTED_BY = {
    "w": {"en": "optimised in W", "ru": "оптимизация в W"},
    "wplus": {"en": "optimised in W+", "ru": "оптимизация в W+"},
    "encoder": {"en": "encoder", "ru": "кодировщик"},
    "encoder_wplus": {"en": "encoder, then W+", "ru": "кодировщик, затем W+"},
}


def rows_of(root: Path, path: str) -> list[dict]:
    """The rows of a kept summary, the distance under `fd`, shares in per cent."""
    kept = summary(root, path)
    rows = [
        {key.replace(kept["distance"], "fd"): value for key, value in row.items()} for row in kept["rows"]
    ]
    for row in rows:
        for name in SHARES:
            for key in (name, f"{name}_sd"):
                if key in row:
                    row[key] *= 100
        if not row.get("passes_sd", 1):  # always the same number
            del row["passes_sd"]
    return rows


def psi_rows(root: Path) -> list[dict]:
    return rows_of(root, EVALUATION)


def way_rows(root: Path) -> list[dict]:
    return [{**row, "way": WAYS[row["way"]]} for row in rows_of(root, COMPARISON)]


def when(kept: dict, language: str) -> str:
    """Of which step of the training the generator is."""
    step, steps = number(kept["step"], language), number(Config.steps, language)
    if kept["step"] >= Config.steps:
        return "the shipped generator" if language == "en" else "поставляемый генератор"
    if language == "ru":
        return f"промежуточный генератор: шаг {step} из {steps}, обучение ещё идёт"
    return f"an intermediate generator: step {step} of {steps}, the training goes on"


def measured(kept: dict, language: str) -> str:
    """N, the spread and the device."""
    n, seeds = number(kept["n_test"], language), len(kept["seeds"])
    if language == "ru":
        return (
            f"Сгенерированных и тестовых картинок по {n}, среднее ± стандартное отклонение по латентным "
            f"векторам (seed: {seeds}); {device(kept['device'], language)}; {when(kept, language)}."
        )
    return (
        f"{n} generated against {n} test images, mean ± standard deviation over {seeds} seeds of the "
        f"latents; {device(kept['device'], language)}; {when(kept, language)}."
    )


def projection_rows(root: Path) -> list[dict]:
    """A row for each way that the kept run compared."""
    kept, measured_of = (
        summary(root, PROJECTION)["metrics"],
        ("psnr_db", "identity", "first_among_100"),
    )
    rows = []
    for key, way in PROJECTED_BY.items():
        row = {name: kept.get(f"{key}_{name}") for name in measured_of}
        if row["psnr_db"] is not None:
            rows.append({**row, "way": way, "first_among_100": 100 * row["first_among_100"]})
    return rows


def projection_note(root: Path, language: str) -> str:
    kept, options = summary(root, PROJECTION), flags(root, PROJECTION)
    persons, pictures = options["people"], number(kept["n"], language)
    steps, where = number(options["steps"], language), device(kept["device"], language)
    trained = when({"step": int(re.search(r"step (\d+)", kept["generator"])[1])}, language)
    if language == "ru":
        people = counted(persons, "человек", "человека", "человек")
        return (
            f"Картинок {pictures}: {persons} {people}, которых не видела ни одна сеть, анфас и в повороте; "
            f"шагов оптимизации {steps}. Похожесть — косинус между человеком на картинке и на проекции; "
            "узнан — значит, из 100 человек проекция ближе всего к своему. "
            f"Измерено на: {where}; {trained}."
        )
    return (
        f"{pictures} pictures: {persons} persons whom no network saw, frontal and turned; {steps} steps of "
        "optimisation. Likeness is the cosine between the person in the picture and in the projection; "
        "recognised means that of 100 persons the projection is nearest to its own. "
        f"Measured on: {where}; {trained}."
    )


def psi_note(root: Path, language: str) -> str:
    return measured(summary(root, EVALUATION), language)


def way_note(root: Path, language: str) -> str:
    options = flags(root, COMPARISON)
    psi, limit, step = (
        number(options[key], language, digits) for key, digits in (("psi", 1), ("limit", 1), ("step_size", 1))
    )
    budget, clusters = number(options["budget"], language), number(options["clusters"], language)
    passes = counted(round(options["budget"]), "проход", "прохода", "проходов")
    common = measured(summary(root, COMPARISON), language)
    if language == "ru":
        return (
            f"{common} Проход — прямой или обратный проход G или D по одной картинке. Усечение: ψ = {psi}, "
            f"центров {clusters}; z не дальше {limit} от нуля. Бюджет последних двух — {budget} {passes} на "
            f"картинку, шаг Ланжевена {step}."
        )
    return (
        f"{common} A pass is G or D, forward or backward, of one image. Truncation: ψ = {psi}, {clusters} "
        f"centres; no number of z further than {limit} from 0. The last two have a budget of {budget} passes "
        f"for an image; Langevin steps of {step}."
    )


MEASURES = (
    Column("fd", "Fréchet distance", "расстояние Фреше", 1),
    Column("precision", "precision", "точность", 2),
    Column("recall", "recall", "полнота", 2),
    Column("obeyed_all", "all orders obeyed, %", "все заказы исполнены, %", 1),
    Column("coverage", "styles covered, %", "покрыто стилей, %", 1),
)
TABLES = {
    "truncation": Table((Column("psi", "ψ", "ψ", 2), *MEASURES), psi_rows, psi_note),
    "sampling_ways": Table(
        (
            Column("way", "way", "способ"),
            Column("passes", "passes for an image", "проходов на картинку", 1),
            *MEASURES,
        ),
        way_rows,
        way_note,
    ),
    "projection": Table(
        (
            Column("way", "obtained by", "получено"),
            Column("psnr_db", "PSNR, dB", "PSNR, дБ", 1),
            Column("identity", "likeness", "похожесть", 3),
            Column("first_among_100", "recognised, %", "узнан, %", 0),
        ),
        projection_rows,
        projection_note,
    ),
}
