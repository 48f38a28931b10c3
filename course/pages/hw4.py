"""Tables of week 4: what linearity costs a diffusion model over image sets; samplers of a DDPM."""

import re
import statistics
from pathlib import Path

from course.pages.tables import Column, Table, device, flags, number, summary

RESULTS = "hw4_diffusion/results"
SETS = {"digits": "digits", "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "avatars": "avatars"}
RUSSIAN = SETS | {"digits": "цифры", "avatars": "аватары"}
DENOISERS = {
    "products": {"en": "caption, latent, products", "ru": "подпись, латентный вектор, произведения"},
    "one regression": {
        "en": "the same, one regression for all levels",
        "ru": "то же, одна регрессия на все уровни",
    },
    "no products": {"en": "caption, latent", "ru": "подпись, латентный вектор"},
    "no caption": {"en": "latent alone", "ru": "только латентный вектор"},
}
GAUSSIANS = {
    "Gaussians": {"en": "Gaussian of each class, drawn at once", "ru": "гауссиана каждого класса, сразу"}
}
BOUNDS = {
    "encoder only": {
        "en": "test images, encoded and decoded",
        "ru": "тестовые картинки после кодировщика и декодера",
    },
    "training images": {"en": "training images", "ru": "обучающие картинки"},
}
VAES = {
    "prior": {"en": "VAE of homework 1, z from the prior", "ru": "VAE из работы 1, z из априорного"},
    "mixture": {"en": "the same VAE, z from the mixture", "ru": "тот же VAE, z из смеси"},
}
MISSING = "–"


def costs(root: Path, data: str) -> dict:
    """What linear_costs.py kept of a set."""
    return summary(root, f"{RESULTS}/linear_costs_{data}")


def by_model(root: Path, data: str) -> dict[str, dict]:
    return {row["model"]: row for row in costs(root, data)["rows"]}


def rows(root: Path, names: dict[str, dict], key: str) -> list[dict]:
    """A row for each denoiser, a column for each set."""
    kept = {data: by_model(root, data) for data in SETS}
    found = []
    for model, title in names.items():
        row = {"model": title, "best": model == "products"}
        for data in SETS:
            measured = kept[data].get(model, {})
            row |= {data: measured.get(key, MISSING), f"{data}_sd": measured.get(f"{key}_sd")}
        found.append(row)
    return found


def distance_rows(root: Path) -> list[dict]:
    """Denoisers, what bounds them, and the VAE of homework 1 where it drew as many images."""
    found = rows(root, DENOISERS | GAUSSIANS | BOUNDS, "fd")
    for source, title in VAES.items():
        row = {"model": title, **dict.fromkeys(SETS, MISSING)}
        for data in ("mnist", "fashion_mnist"):
            key = f"{costs(root, data)['distance']}_{source}"
            row |= {data: vae(root, data)[key], f"{data}_sd": vae(root, data)[f"{key}_sd"]}
        found.append(row)
    return found


def vae(root: Path, data: str) -> dict:
    """What homework 1 measured of its classic VAE."""
    return summary(root, f"hw1_bayes_and_autoencoders/results/eval_vae_{data}")["models"][0]


def note(root: Path, language: str) -> str:
    kept, options = costs(root, "mnist"), flags(root, f"{RESULTS}/linear_costs_mnist")
    n, seeds = number(kept["n_test"], language), len(kept["seeds"])
    components, steps, computer = options["components"], options["steps"], device(kept["device"], language)
    command = "`python3 -m course run --full --only linear_costs_mnist`"
    if language == "ru":
        return (
            f"Главных компонент {components}, шагов DDIM {steps}; сэмплов и тестовых картинок по {n}, "
            f"среднее ± стандартное отклонение по {seeds} запускам с разным шумом (обучение не случайно); "
            f"аватары 32×32 увеличены для экстрактора; {computer}; {command}, и так далее."
        )
    return (
        f"{components} principal components, {steps} steps of DDIM; {n} samples against {n} test images, "
        f"mean ± standard deviation over {seeds} draws of the noise (nothing in the training is random); "
        f"avatars of 32×32 are enlarged for the extractor; {computer}; {command}, and so on."
    )


def error_note(root: Path, language: str) -> str:
    """How many validation images each set has."""
    names = RUSSIAN if language == "ru" else SETS
    counts = ", ".join(f"{names[data]} {number(costs(root, data)['n_val'], language)}" for data in SETS)
    levels = flags(root, f"{RESULTS}/linear_costs_mnist")["steps"]
    if language == "ru":
        return f"Валидационных картинок: {counts}; среднее по шуму и {levels} уровням вычислено точно."
    return f"Validation images: {counts}; the mean over the noise and {levels} levels is computed exactly."


def table(names: dict[str, dict], key: str, digits: int, write_note=note) -> Table:
    """Denoisers against sets."""
    columns = (
        Column("model", "denoiser", "денойзер"),
        *(Column(data, SETS[data], RUSSIAN[data], digits) for data in SETS),
    )
    make_rows = distance_rows if key == "fd" else lambda root: rows(root, names, key)
    return Table(columns, make_rows, write_note)


DDPM = f"{RESULTS}/eval_ddpm_mnist"
DDPM_SETS = ("mnist", "fashion_mnist", "avatars")
"""Sets whose trainings and evaluations are kept."""
TRAININGS = (0, 1, 2)
"""Their seeds."""
SAMPLERS = {
    "ancestral": {"en": "ancestral", "ru": "ancestral"},
    "ddim": {"en": "DDIM", "ru": "DDIM"},
    "dpm-solver++": {"en": "DPM-Solver++(2M)", "ru": "DPM-Solver++(2M)"},
    "sde-dpm-solver++": {"en": "SDE-DPM-Solver++(2M)", "ru": "SDE-DPM-Solver++(2M)"},
    "heun": {"en": "Heun", "ru": "Хойн"},
}


def distance_of(kept: dict) -> str:
    """The name of the distance on the curve: it says how many samples it is of."""
    return next(name for name in kept["curve"][0] if name.startswith("fd_"))


def sampler_columns(root: Path) -> tuple[Column, ...]:
    """One for each number of evaluations of the network."""
    counts = sorted({row["evaluations"] for row in summary(root, DDPM)["curve"] if row["sampler"] == "ddim"})
    return Column("sampler", "sampler", "сэмплер"), *(Column(f"{n}", f"{n}", f"{n}", 2) for n in counts)


def sampler_rows(root: Path) -> list[dict]:
    """A row for each sampler; Heun's last evaluation saves one, so its numbers stand one column further."""
    kept, rows = summary(root, DDPM), []
    counts = [int(column.key) for column in sampler_columns(root)[1:]]
    for sampler, title in SAMPLERS.items():
        row = {"sampler": title}
        for point in kept["curve"]:
            if point["sampler"] == sampler:
                nearest = min(counts, key=lambda n: abs(n - point["evaluations"]))
                row[f"{nearest}"] = point[distance_of(kept)]
        rows.append(row)
    return rows


def measured_on(root: Path, language: str) -> str:
    """What the points of a curve are of, and how many trainings."""
    kept = summary(root, DDPM)
    n, computer = number(kept["n_curve"], language), device(kept["device"], language)
    trainings = len({row["seed"] for row in kept["rows"]["curve"]})
    if language == "ru":
        return f"сэмплов и валидационных картинок по {n}; обучений: {trainings}; {computer}"
    return f"{n} samples against as many validation images; trainings: {trainings}; {computer}"


def sampler_note(root: Path, language: str) -> str:
    if language == "ru":
        return (
            "В столбцах — сколько раз вычислена сеть (у Хойна на один раз меньше, где число чётное); "
            f"{measured_on(root, language)}; `eval_ddpm.py`."
        )
    return (
        "Columns are evaluations of the network (Heun's are one fewer where even); "
        f"{measured_on(root, language)}; `eval_ddpm.py`."
    )


def guidance_rows(root: Path) -> list[dict]:
    kept = summary(root, DDPM)
    return [
        {**row, "fd": row[distance_of(kept)], "class": 100 * row["class_accuracy"]}
        for row in kept["guidance"]
    ]


def guidance_note(root: Path, language: str) -> str:
    steps = flags(root, DDPM)["steps"]
    if language == "ru":
        return f"DPM-Solver++, шагов {steps}; {measured_on(root, language)}."
    return f"DPM-Solver++, {steps} steps; {measured_on(root, language)}."


def training_rows(root: Path) -> list[dict]:
    """How long the trainings of a set took and where they ended, and how much they differ."""
    rows = []
    for data in DDPM_SETS:
        paths = [f"{RESULTS}/train_ddpm_{data}_{seed}" for seed in TRAININGS]
        kept, options = [summary(root, path) for path in paths], flags(root, paths[0])
        distance = next(name for name in kept[0]["metrics"] if name.startswith("val/fd_"))
        row = {
            "data": {"en": SETS[data], "ru": RUSSIAN[data]},
            "steps": options["steps"],
            "batch": options["batch_size"],
            "device": {language: device(kept[0]["device"], language) for language in ("en", "ru")},
            "minutes": statistics.mean(one["minutes"] for one in kept),
        }
        for key, name in (("error", "val/loss"), ("fd", distance)):
            values = [one["metrics"][name] for one in kept]
            row |= {key: statistics.mean(values), f"{key}_sd": statistics.stdev(values)}
        rows.append(row)
    return rows


def training_note(root: Path, language: str) -> str:
    n = number(summary(root, f"{RESULTS}/train_ddpm_mnist_0")["n_val"], language)
    if language == "ru":
        return (
            f"Ошибка и расстояние — по {n} валидационным картинкам, без guidance; среднее ± стандартное "
            f"отклонение по {len(TRAININGS)} обучениям с разными seed, которые делили устройство; "
            "`train_ddpm.py`."
        )
    return (
        f"Error and distance are those of {n} validation images, without guidance; mean ± standard deviation "
        f"over {len(TRAININGS)} trainings that differ in the seed and shared the device; `train_ddpm.py`."
    )


def ddpm_rows(root: Path) -> list[dict]:
    """Test samples of every set that a DDPM was trained on, and the floor of their distance."""
    rows = []
    for data in DDPM_SETS:
        kept = summary(root, f"{RESULTS}/eval_ddpm_{data}")
        measured = kept["metrics"]
        distance = next(name for name in measured if re.fullmatch(r"eval/fd_[a-z_]+_\d+k?", name))
        row = {"data": {"en": SETS[data], "ru": RUSSIAN[data]}, "guidance": kept["chosen_guidance"]}
        for key, name, factor in (("fd", distance, 1), ("floor", f"{distance}_of_training_images", 1),
                                  ("class", "eval/class_accuracy", 100), ("precision", "eval/precision", 1),
                                  ("recall", "eval/recall", 1),
                                  ("nearest", "eval/nearest_training_ratio", 1)):  # fmt: skip
            row[key] = factor * measured[name]
            if key != "floor" and f"{name}_sd" in measured:
                row[f"{key}_sd"] = factor * measured[f"{name}_sd"]
        rows.append(row)
    return rows


def ddpm_note(root: Path, language: str) -> str:
    names = RUSSIAN if language == "ru" else SETS
    kept = {data: summary(root, f"{RESULTS}/eval_ddpm_{data}") for data in DDPM_SETS}
    options = {data: flags(root, f"{RESULTS}/eval_ddpm_{data}") for data in DDPM_SETS}
    of_sets = lambda read: ", ".join(f"{names[data]} {read(data)}" for data in DDPM_SETS)
    samples = of_sets(lambda data: number(kept[data]["n_test"], language))
    computers = of_sets(
        lambda data: f"({device(kept[data]['device'], language)}, {options[data]['precision']})"
    )
    steps, trainings = options["mnist"]["steps"], len(kept["mnist"]["models"])
    chosen_on = ", ".join(number(one["n_curve"], language) for one in kept.values())
    if language == "ru":
        return (
            f"Сэмплов и столько же тестовых картинок: {samples}; DPM-Solver++, шагов {steps}; guidance "
            f"выбран по валидационным картинкам ({chosen_on}); среднее ± стандартное отклонение по "
            f"{trainings} обучениям; {computers}; `eval_ddpm.py`."
        )
    return (
        f"Samples, against as many test images: {samples}; DPM-Solver++, {steps} steps; guidance chosen on "
        f"validation images ({chosen_on}); mean ± standard deviation over {trainings} trainings; "
        f"{computers}; `eval_ddpm.py`."
    )


GUIDANCE = Column("guidance", "guidance", "guidance", 1)
DISTANCE = Column("fd", "Fréchet distance", "расстояние Фреше", 2)
CLASS = Column("class", "class as asked, %", "класс как просили, %", 1)
PRECISION_AND_RECALL = Column("precision", "precision", "точность"), Column("recall", "recall", "полнота")
TABLES = {
    "ddpm_trainings": Table(
        (
            Column("data", "data set", "набор"),
            Column("steps", "steps", "шагов", 0),
            Column("batch", "images a step", "картинок на шаг", 0),
            Column("device", "device", "устройство"),
            Column("minutes", "minutes", "минут", 0),
            Column("error", "error", "ошибка", 4),
            DISTANCE,
        ),
        training_rows,
        training_note,
    ),
    "linear_distances": table(DENOISERS | GAUSSIANS | BOUNDS, "fd", 1),
    "linear_obeyed": table(DENOISERS | GAUSSIANS | BOUNDS, "obeyed", 1),
    "linear_errors": table(DENOISERS, "error", 4, error_note),
    "linear_variances": table(DENOISERS | GAUSSIANS, "variance", 2),
    "ddpm_test": Table(
        (
            Column("data", "data set", "набор"),
            GUIDANCE,
            DISTANCE,
            Column("floor", "of training images", "обучающих картинок", 2),
            CLASS,
            *PRECISION_AND_RECALL,
            Column("nearest", "to the nearest training image", "до ближайшей обучающей", 2),
        ),
        ddpm_rows,
        ddpm_note,
    ),
    "ddpm_samplers": Table(sampler_columns, sampler_rows, sampler_note),
    "ddpm_guidance": Table(
        (
            GUIDANCE,
            DISTANCE,
            *PRECISION_AND_RECALL,
            CLASS,
        ),
        guidance_rows,
        guidance_note,
    ),
}
