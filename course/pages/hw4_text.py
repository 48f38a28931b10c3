"""Tables of week 4's second half: a text-to-image model by guidance and steps; ways of fine-tuning it."""

from pathlib import Path

from course.pages.hw4 import MISSING, RESULTS
from course.pages.tables import Column, Table, device, flags, number, summary

EVALUATION = f"{RESULTS}/eval_text_to_image"
STUDY = f"{RESULTS}/fine_tuning_study"
CHECK = f"{RESULTS}/fine_tuning_check"
MODELS = {
    "base": {"en": "the model as it was", "ru": "исходная модель"},
    "U-Net": {"en": "DreamBooth, prior preserved", "ru": "DreamBooth, класс сохраняется"},
    "U-Net without prior preservation": {"en": "DreamBooth alone", "ru": "DreamBooth без сохранения класса"},
    "U-Net, one prompt for all pictures": {
        "en": "DreamBooth, prior preserved, no captions",
        "ru": "DreamBooth, класс сохраняется, без подписей",
    },
}
STUDY_COLUMNS = (
    Column("model", "model", "модель"),
    Column("seeds", "trainings", "обучений", 0),
    Column("identity_first", "subject first of 100, %", "человек первый из 100, %", 0),
    Column("obeyed", "prompt obeyed, %", "промпт выполнен, %", 0),
    Column("edges_f1", "edges F1", "F1 краёв", 2),
    Column("drift", "class drifted, %", "класс сдвинулся, %", 0),
    Column("bleed", "others become the subject, %", "другие стали этим человеком, %", 0),
    Column("minutes", "minutes", "минут", 1),
    Column("megabytes", "MB", "МБ", 2),
)
SHARES = ("identity_first", "obeyed", "drift", "bleed")


def test_rows(root: Path) -> list[dict]:
    """Images drawn from test captions, and test portraits after encoder and decoder."""
    kept = summary(root, EVALUATION)
    (drawn,), (through,) = kept["rows"]["test"], kept["rows"]["autoencoder"]
    distance = kept["distance"]
    return [
        {
            "images": {"en": "drawn from captions", "ru": "нарисовано по подписям"},
            "attributes": drawn["obeyed_attributes_percent"],
            "expression": drawn["obeyed_expression_percent"],
            "all": drawn["obeyed_all_percent"],
            "distance": drawn[distance],
        },
        {
            "images": {
                "en": "test portraits, encoded and decoded",
                "ru": "тестовые портреты после автокодировщика",
            },
            "attributes": through["read_attributes_percent"],
            "expression": through["read_expression_percent"],
            "all": through["read_all_percent"],
            "distance": through[distance],
        },
    ]  # fmt: skip


def test_note(root: Path, language: str) -> str:
    kept = summary(root, EVALUATION)
    (drawn,) = kept["rows"]["test"]
    n, n_val = number(kept["n_test"], language), number(kept["n_validation"], language)
    guidance, where = number(drawn["guidance"], language, 1), device(kept["device"], language)
    if language == "ru":
        return (
            f"Тестовых подписей и портретов по {n}; DPM-Solver++, шагов {drawn['steps']}; "
            f"guidance {guidance} выбран по валидационным подписям ({n_val}); одно обучение; {where}; "
            "`eval_text_to_image.py`."
        )
    return (
        f"{n} test captions against as many test portraits; DPM-Solver++, {drawn['steps']} steps; guidance "
        f"{guidance}, chosen on {n_val} validation captions; one training; {where}; `eval_text_to_image.py`."
    )


def sweep_rows(sweep: str):
    """A function of the repository's folder: a row for each guidance or number of steps."""

    def rows(root: Path) -> list[dict]:
        kept = summary(root, EVALUATION)
        (drawn,) = kept["rows"]["test"]
        return [
            {**row, "distance": row[kept["validation_distance"]], "best": row[sweep] == drawn[sweep]}
            for row in kept["rows"][sweep]
        ]

    return rows


def sweep_note(root: Path, language: str) -> str:
    kept = summary(root, EVALUATION)
    n, where = number(kept["n_validation"], language), device(kept["device"], language)
    if language == "ru":
        return f"Валидационных подписей и портретов по {n}; {where}; выбранное выделено."
    return f"{n} validation captions against as many portraits; {where}; what was chosen is bold."


def sweep_columns(*first: Column) -> tuple[Column, ...]:
    return (
        *first,
        Column("obeyed_attributes_percent", "orders obeyed, %", "выполнено заказов, %", 1),
        Column("obeyed_expression_percent", "expression, %", "выражение лица, %", 1),
        Column("obeyed_all_percent", "all of an image, %", "вся картинка, %", 1),
        Column("distance", "Fréchet distance", "расстояние Фреше", 1),
    )


def study_rows(root: Path, path: str = STUDY) -> list[dict]:
    """A row for each way of fine-tuning; shares in per cent."""
    found = []
    for row in summary(root, path)["rows"]:
        numbers = dict.fromkeys((column.key for column in STUDY_COLUMNS), MISSING)
        for key, value in row.items():
            if isinstance(value, (int, float)):
                numbers[key] = 100 * value if key.removesuffix("_sd") in SHARES else value
        numbers.pop("megabytes_sd", None)  # files of one kind are equally large
        name, plus, control = row["model"].partition(" + ")
        known = MODELS.get(name) or {"en": name, "ru": name.replace("rank", "ранг")}
        numbers["model"] = {language: title + plus + control for language, title in known.items()}
        found.append(numbers)
    return found


def study_note(root: Path, language: str) -> str:
    kept, options = summary(root, STUDY), flags(root, STUDY)
    subjects, seeds = len(options["subjects"]), len(options["seeds"])
    fewer, images, of_class = (options[name] for name in ("seeds_of_variants", "images", "class_images"))
    where = device(kept["device"], language)
    if language == "ru":
        return (
            f"Среднее ± стандартное отклонение по обучениям: людей {subjects}, seed по {seeds}, в двух "
            f"последних строках по {fewer}; {images} картинки на каждый из пяти промптов, картинок класса "
            f"{of_class}; {where}; `fine_tuning_study.py`."
        )
    return (
        f"Mean ± standard deviation over trainings: {subjects} persons, {seeds} seeds each, in the last two "
        f"rows {fewer}; {images} images of each of five prompts and {of_class} of the class; {where}; "
        "`fine_tuning_study.py`."
    )


def check_note(root: Path, language: str) -> str:
    kept, options = summary(root, CHECK), flags(root, CHECK)
    subjects, where = len(options["subjects"]), device(kept["device"], language)
    if language == "ru":
        return (
            f"Среднее ± стандартное отклонение по {subjects} людям, у каждого один seed; остальное как выше; "
            f"{where}; `fine_tuning_study.py`."
        )
    return (
        f"Mean ± standard deviation over {subjects} persons, one seed each; all else as above; {where}; "
        "`fine_tuning_study.py`."
    )


TABLES = {
    "text_to_image_test": Table(
        (
            Column("images", "images", "картинки"),
            Column("attributes", "orders obeyed, %", "выполнено заказов, %", 1),
            Column("expression", "expression, %", "выражение лица, %", 1),
            Column("all", "all of an image, %", "вся картинка, %", 1),
            Column("distance", "Fréchet distance", "расстояние Фреше", 1),
        ),
        test_rows,
        test_note,
    ),
    "text_to_image_guidance": Table(
        sweep_columns(Column("guidance", "guidance", "guidance", 1)), sweep_rows("guidance"), sweep_note
    ),
    "text_to_image_steps": Table(
        (
            *sweep_columns(Column("steps", "steps", "шагов", 0)),
            Column("seconds_an_image", "seconds an image", "секунд на картинку"),
        ),
        sweep_rows("steps"),
        sweep_note,
    ),
    "fine_tuning": Table(STUDY_COLUMNS, study_rows, study_note),
    "fine_tuning_check": Table(STUDY_COLUMNS, lambda root: study_rows(root, CHECK), check_note),
}
