"""Tables of week 4's second half: a text-to-image model by guidance and steps."""

from pathlib import Path

from course.pages.hw4 import RESULTS
from course.pages.tables import Column, Table, device, number, summary

EVALUATION = f"{RESULTS}/eval_text_to_image"


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
}
