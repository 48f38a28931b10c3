"""Tables of week 1: models of pixels, spill detectors, VAEs."""

from pathlib import Path

from course.pages.tables import Column, Table, command_of, device, flags, number, summary
from course.weeks.hw1 import VAES

RESULTS = "hw1_bayes_and_autoencoders/results"


def detector_rows(root: Path, evaluation: str) -> list[dict]:
    """For each architecture: the class-room rule on the MSE, then every rule on its best score."""
    kept = summary(root, f"{RESULTS}/{evaluation}")
    rows, best = kept["rows"], kept["best"]
    chosen = []
    for arch in dict.fromkeys(row["arch"] for row in rows):
        mine = [row for row in rows if row["arch"] == arch]
        score = max(mine, key=lambda row: row["validation_auc"])["score"]
        chosen += [
            row
            for row in mine
            if row["score"] == score or (row["score"], row["rule"]) == ("mse", "fraction-of-max")
        ]
    is_best = lambda row: all(row[key] == best[key] for key in ("arch", "score", "rule"))
    return [{**row, "best": is_best(row)} for row in chosen]


def detector_note(root: Path, evaluation: str, data: dict[str, str], language: str) -> str:
    """What a table of detectors was measured on; `data` names the set in each language."""
    kept = summary(root, f"{RESULTS}/{evaluation}")
    n, seeds = number(kept["n_test"], language), kept["best"]["seeds"]
    how = f"{device(kept['device'], language)}; `python3 -m course run --full --only {evaluation}`"
    if language == "ru":
        return (
            f"{data['ru']}, тестовых картинок {n}, среднее ± стандартное отклонение по {seeds} запускам; "
            f"{how}. Полужирным — пара из архитектуры и оценки, лучше всех разделяющая валидационные "
            "картинки."
        )
    return (
        f"{data['en']}, {n} test images, mean ± standard deviation over {seeds} seeds; {how}. "
        "Bold: the pair of architecture and score that separates the validation images best."
    )


def detector_table(evaluation: str, data: dict[str, str]) -> Table:
    """The table of one evaluation of detectors."""
    columns = (
        Column("arch", "architecture", "архитектура"),
        Column("score", "score", "оценка картинки"),
        Column("rule", "threshold", "порог"),
        Column("tpr", "TPR", "TPR"),
        Column("tnr", "TNR", "TNR"),
        Column("precision", "precision", "точность"),
        Column("auc", "ROC AUC", "ROC AUC"),
    )
    rows = lambda root: detector_rows(root, evaluation)
    return Table(columns, rows, lambda root, language: detector_note(root, evaluation, data, language))


PIXEL_MODELS = {
    "channels_mle": {"en": "channels independent, MLE", "ru": "независимые каналы, ММП"},
    "channels_smoothed": {"en": "channels independent, α = 1", "ru": "независимые каналы, α = 1"},
    "channels_one_pseudo_observation": {
        "en": "channels independent, α = 1/256",
        "ru": "независимые каналы, α = 1/256",
    },
    "colors_mle": {"en": "colours independent, MLE", "ru": "независимые цвета, ММП"},
    "colors_one_pseudo_observation": {
        "en": "colours independent, α = 1/256³",
        "ru": "независимые цвета, α = 1/256³",
    },
    "chain": {"en": "pixel given its neighbours", "ru": "пиксель по соседям"},
}


def pixel_rows(root: Path) -> list[dict]:
    """Bits per pixel of each model; infinite where some held-out pixel is impossible."""
    measured = summary(root, f"{RESULTS}/bayes_pixels")["metrics"]
    rows = []
    for key, name in PIXEL_MODELS.items():
        row = {"model": name, "best": key == "chain"}
        for split in ("train", "val"):
            for end in ("", "_sd"):
                row[f"{split}{end}"] = measured.get(f"{split}/{key}_bits_per_pixel{end}")
        row["val"] = "∞" if row["val"] is None else row["val"]
        row["impossible"] = 100 * measured[f"val/{key}_impossible_pixels"]
        row["difference"] = measured[f"sampled/{key}_neighbour_difference_levels2"]
        rows.append(row)
    data = {"en": "the training images themselves", "ru": "сами обучающие картинки"}
    difference = measured["train/neighbour_difference_levels2"]
    return [*rows, {"model": data, "train": "–", "val": "–", "impossible": "–", "difference": difference}]


def pixel_note(root: Path, language: str) -> str:
    kept = summary(root, f"{RESULTS}/bayes_pixels")
    n_train, n_val = number(kept["n_train"], language), number(kept["n_val"], language)
    how = f"{device(kept['device'], language)}; `{command_of(root, f'{RESULTS}/bayes_pixels')}`"
    if language == "ru":
        return (
            f"Обучение на {n_train} нарисованных аватарах 128×128, проверка на {n_val} аватарах других "
            "людей; среднее ± стандартное отклонение по картинкам; 24 бита — равномерное распределение; "
            f"{how}."
        )
    return (
        f"{n_train} drawn avatars of 128×128 to learn from, {n_val} of other people to judge; mean ± "
        f"standard deviation over images; 24 bits is the uniform distribution; {how}."
    )


VAE_MODELS = {
    "mlp": {"en": "VAE, 784-400-20, the classic", "ru": "VAE, 784-400-20, классический"},
    "conv": {"en": "VAE, convolutions", "ru": "VAE, свёрточный"},
    "cvae": {"en": "CVAE, 784-400-20", "ru": "CVAE, 784-400-20"},
    "residual": {"en": "VAE, residual blocks", "ru": "VAE, остаточные блоки"},
    "calibrated": {
        "en": "the same, Gaussian with σ² = MSE",
        "ru": "то же, гауссово правдоподобие с σ² = MSE",
    },
    "improved": {
        "en": "the improved one: residual blocks, σ² = MSE, 24 dimensions, averaged weights, cosine",
        "ru": "улучшенный: остаточные блоки, σ² = MSE, 24 измерения, усреднённые веса, косинус",
    },
    "beta": {"en": "beta-VAE, convolutions, β = 5, D = 10", "ru": "beta-VAE, свёртки, β = 5, D = 10"},
}


def vae_rows(root: Path, data: str) -> list[dict]:
    """One row for each model of `VAES`, in its order; spreads only where there are several seeds."""
    kept = summary(root, f"{RESULTS}/eval_vae_{data.replace('-', '_')}")
    distance = next(
        (key.removesuffix("_prior") for key in kept["models"][0] if "/fd_" in key and key.endswith("_prior")),
        "",
    )
    rows = []
    for key, measured in zip(VAES[data], kept["models"], strict=True):
        row = {"model": VAE_MODELS[key], "seeds": measured["seeds"], "best": key in ("improved", "beta")}
        for name, value in measured.items():
            several = not name.endswith("_sd") or measured["seeds"] > 1
            if several and isinstance(value, (int, float)):
                row[name.replace(distance, "fd") if distance else name] = value
        for name in ("recognised_percent_prior", "recognised_percent_mixture"):
            row.setdefault(f"eval/{name}", "–")
        if key == "beta" or "gaussian" in measured["model"]:  # nats of another likelihood or objective
            row["eval/negative_elbo_nats"] = "–"
        rows.append(row)
    return rows


SETS = {
    "mnist": {"en": "MNIST", "ru": "MNIST"},
    "fashion-mnist": {"en": "Fashion-MNIST", "ru": "Fashion-MNIST"},
    "digits": {"en": "Drawn digits", "ru": "Нарисованные цифры"},
}


def vae_note(root: Path, data: str, language: str) -> str:
    set_name = data.replace("-", "_")
    kept = summary(root, f"{RESULTS}/eval_vae_{set_name}")
    epochs = flags(root, f"{RESULTS}/train_vae_{set_name}_mlp_0")["epochs"]
    n, n_test = number(kept["n_generated"], language), number(kept["n_test"], language)
    how = f"{device(kept['device'], language)}; `python3 -m course run --full --only eval_vae_{set_name}`"
    real = kept["real_distance"]
    floor = None if real is None else number(real, language, 2)
    if language == "ru":
        return (
            f"{SETS[data]['ru']}, {epochs} эпох; сгенерированных картинок {n}, тестовых {n_test} (расстояние "
            "Фреше на приложенном экстракторе), среднее ± стандартное отклонение по запускам; "
            f"{how}." + (f" Столько же обучающих картинок вместо сгенерированных: {floor}." if floor else "")
        )
    return (
        f"{SETS[data]['en']}, {epochs} epochs, {n} generated against {n_test} test images (Fréchet distance "
        f"on the shipped extractor), mean ± standard deviation over seeds; {how}."
        + (f" As many training images in place of generated ones: {floor}." if floor else "")
    )


def vae_table(data: str, *extra: Column) -> Table:
    """Models against what counts; Inception's column says that it was not run."""
    columns = (
        Column("model", "model", "модель"),
        Column("seeds", "seeds", "запусков", 0),
        Column("eval/negative_elbo_nats", "−ELBO, nats", "−ELBO, наты", 2),
        Column("eval/mse", "MSE", "MSE", 4),
        Column("fd_prior", "distance, z from the prior", "расстояние, z из априорного", 1),
        Column("fd_mixture", "z from the mixture", "z из смеси", 1),
        Column("fd_reconstruction", "reconstructions", "реконструкции", 1),
        *extra,
        Column("fid", "FID (Inception)", "FID (Inception)"),
    )
    note = lambda root, language: vae_note(root, data, language)
    return Table(columns, lambda root: vae_rows(root, data), note)


def cvae_class_rows(root: Path) -> list[dict]:
    """Distance of each digit of the CVAE to its own test images."""
    kept = summary(root, f"{RESULTS}/eval_vae_mnist")
    measured = kept["models"][list(VAES["mnist"]).index("cvae")]
    rows = []
    for digit in range(10):
        row = {"digit": str(digit)}
        for source in ("prior", "mixture"):
            for end in ("", "_sd"):
                row[source + end] = measured[f"eval/fd_mnist_class_{digit}_{source}{end}"]
        rows.append(row)
    return rows


def cvae_class_note(root: Path, language: str) -> str:
    kept = summary(root, f"{RESULTS}/eval_vae_mnist")
    seeds = kept["models"][list(VAES["mnist"]).index("cvae")]["seeds"]
    fewest, most = number(892, language), number(1135, language)  # test images of a five, of a one
    if language == "ru":
        return (
            "MNIST, расстояние Фреше от картинок одной цифры, нарисованных CVAE, до всех её тестовых "
            f"картинок (от {fewest} до {most}, поровну), среднее ± стандартное отклонение по {seeds} "
            "запускам."
        )
    return (
        "MNIST, Fréchet distance of the CVAE's images of a digit to all test images of it "
        f"({fewest} to {most}, as many of each), mean ± standard deviation over {seeds} seeds."
    )


TABLES = {
    "pixels": Table(
        (
            Column("model", "model", "модель"),
            Column("train", "bits per pixel, training", "бит на пиксель, обучение", 2),
            Column("val", "bits per pixel, held out", "бит на пиксель, отложенные", 2),
            Column("impossible", "impossible pixels, %", "невозможных пикселей, %", 1),
            Column("difference", "squared difference of neighbours", "квадрат разности соседей", 0),
        ),
        pixel_rows,
        pixel_note,
    ),
    "spills": detector_table("eval_detectors", {"en": "Drawn wells", "ru": "Нарисованные формы"}),
    "mnist": detector_table("eval_mnist", {"en": "MNIST, zeros are normal", "ru": "MNIST, норма — нули"}),
    "vae_mnist": vae_table(
        "mnist",
        Column("eval/recognised_percent_prior", "recognised, %, prior", "узнано, %, априорное", 2),
        Column("eval/recognised_percent_mixture", "recognised, %, mixture", "узнано, %, смесь", 2),
    ),
    "vae_fashion": vae_table("fashion-mnist"),
    "vae_digits": vae_table("digits"),
    "cvae_classes": Table(
        (
            Column("digit", "digit", "цифра"),
            Column("prior", "z from the prior", "z из априорного", 1),
            Column("mixture", "z from the mixture of its class", "z из смеси её класса", 1),
        ),
        cvae_class_rows,
        cvae_class_note,
    ),
}
