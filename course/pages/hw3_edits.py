"""Tables of week 3's edits: what each way reached, and what stayed."""

import statistics
from pathlib import Path

from course.pages.hw3 import RESULTS, when
from course.pages.tables import Column, Table, device, flags, number, summary

EDITS = f"{RESULTS}/compare_edits"
METHODS = {
    "projection": {"en": "the projection, not edited", "ru": "проекция без правки"},
    "layers 3-6": {"en": "layers 3–6 towards another's", "ru": "слои 3–6 к чужим"},
    "one pair": {"en": "direction of one pair", "ru": "направление одной пары"},
    "mean of pairs": {"en": "mean direction of pairs", "ru": "среднее направление пар"},
    "mean of pairs, restored": {
        "en": "mean direction, person brought back",
        "ru": "среднее направление, человек возвращён",
    },
    "subspace": {"en": "subspace", "ru": "подпространство"},
    "subspace, restored": {
        "en": "subspace, person brought back",
        "ru": "подпространство, человек возвращён",
    },
    "layers from": {"en": "layers replaced, from", "ru": "заменены слои, начиная с"},
    "layers": {"en": "layers replaced:", "ru": "заменены слои:"},
    "optimised": {"en": "optimised, weight of identity", "ru": "оптимизация, вес личности"},
}
SHARES = ("reached", "ratio", "recognised", "recognised_traits", "expression", "clothes", "background")


def rows_of(edit: str):
    """A function of the repository's folder: the rows of an edit, averaged over emotions, below that of the
    projections themselves; shares in per cent."""

    def rows(root: Path) -> list[dict]:
        kept, groups = summary(root, EDITS)["rows"], {}
        for row in kept:
            if row["edit"] == "none" or (row["edit"] == edit and (row["strength"] or edit == "style")):
                what = row["what"] if edit == "swap" else ""
                groups.setdefault((row["method"], what, row["strength"]), []).append(row)
        groups.pop(("subspace", "", 0.0), None)
        return [averaged(group, what) for (_, what, _), group in groups.items()]

    return rows


def averaged(group: list[dict], what: str) -> dict:
    """One row of several: means, and the mean spread over seeds."""
    first = group[0]
    numbers = {name: statistics.fmean(row[name] for row in group)
               for name, value in first.items() if isinstance(value, float)}  # fmt: skip
    for name in SHARES:
        for key in (name, f"{name}_sd"):
            if key in numbers:
                numbers[key] *= 100
    setting = what.replace("-", "–") if what else "" if first["edit"] == "none" else f"{first['strength']:g}"
    known = METHODS[first["method"]]
    ways = {language: " ".join((name, setting.replace(".", "," if language == "ru" else "."))).strip()
            for language, name in known.items()}  # fmt: skip
    if first["method"] not in ("projection", "layers from", "layers", "optimised"):
        ways = {
            "en": f"{known['en']}, λ = {setting}",
            "ru": f"{known['ru']}, λ = {setting.replace('.', ',')}",
        }
    return {"reached": "–", **numbers, "way": ways}


def note(root: Path, language: str) -> str:
    kept, options = summary(root, EDITS), flags(root, EDITS)
    people, seeds = kept["people"], len(kept["seeds"])
    steps, swap = number(options["steps"], language), number(options["swap_steps"], language)
    where = device(kept["device"], language)
    if language == "ru":
        return (
            f"{people} человек, которых не видела ни одна сеть, по две картинки; среднее ± стандартное "
            f"отклонение по наборам людей (seed: {seeds}). Проекции в W+ за {steps} шагов, правки "
            f"оптимизацией за {swap}. Похожесть — в долях похожести неправленой картинки; узнан — первый из "
            f"100. {where}; {when(kept, language)}."
        )
    return (
        f"{people} people whom no network saw, two pictures each; mean ± standard deviation over {seeds} "
        f"sets of people. Projections into W+ in {steps} steps, edits by optimisation in {swap}. Likeness is "
        f"a share of the unedited picture's; recognised means first among 100. {where}; "
        f"{when(kept, language)}."
    )


PERSON = (
    Column("ratio", "likeness, %", "похожесть, %", 0),
    Column("recognised", "recognised, %", "узнан, %", 0),
    Column("recognised_traits", "by traits, %", "по чертам, %", 0),
)
STAYS = (
    Column("yaw_off", "yaw off, °", "поворот, ошибка, °", 1),
    Column("clothes", "clothes stay, %", "одежда та же, %", 0),
    Column("background", "background stays, %", "фон тот же, %", 0),
)
WAY = Column("way", "way", "способ")
EXPRESSION = Column("expression", "expression stays, %", "выражение то же, %", 0)
TABLES = {
    "expression_edits": Table(
        (WAY, Column("reached", "emotion reached, %", "эмоция достигнута, %", 0), *PERSON, *STAYS),
        rows_of("expression"),
        note,
    ),
    "style_edits": Table(
        (
            WAY,
            Column("reached", "style taken over, %", "стиль перенесён, %", 0),
            *PERSON,
            STAYS[0],
            EXPRESSION,
            STAYS[2],
        ),
        rows_of("style"),
        note,
    ),
    "swap_edits": Table((WAY, *PERSON, STAYS[0], EXPRESSION, *STAYS[1:]), rows_of("swap"), note),
}
