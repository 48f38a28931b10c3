"""Tables of the lab: what was trained, how far its samples are from real images, how smooth its ways are."""

from pathlib import Path

from course.pages.tables import Column, Table, counted, device, flags, number, summary

RESULTS = "lab8_generative/results"
MODELS = {"ae": "AE", "vae": "VAE", "gan": "GAN"}
LOSSES = ("ae", "ae_mse", "ae_perceptual")
UPSAMPLINGS = ("creatures_gan", "creatures_gan_nearest")
SOURCES = {
    "prior": {"en": "N(0, I)", "ru": "N(0, I)"},
    "mixture": {"en": "mixture fitted to latents", "ru": "смесь по латентным векторам"},
}
TRAINING_IMAGES = {"en": "training images", "ru": "обучающие картинки"}


def present(root: Path, *names: str) -> list[str]:
    """Those of the results that are kept."""
    return [name for name in names if (root / RESULTS / name / "summary.json").is_file()]


def first(root: Path, *names: str) -> dict:
    """The summary of the first that is kept; ValueError naming one where there is none."""
    return summary(root, f"{RESULTS}/{(present(root, *names) or names)[0]}")


def sample_rows(root: Path, data: str) -> list[dict]:
    """Each model with each source of its latents, and the training images themselves."""
    rows, floor = [], None
    for kind, model in MODELS.items():
        for name in present(root, f"{data}_generate_{kind}"):
            kept = summary(root, f"{RESULTS}/{name}")
            measured, spreads, distance = kept["metrics"], kept["standard_errors"], kept["distance"]
            rows += [
                {
                    "model": model,
                    "source": title,
                    "distance": measured[f"{distance}_{source}"],
                    "distance_sd": spreads[f"{distance}_{source}"],
                    "diversity": 100 * measured[f"eval/diversity_{source}"],
                    "nearest": measured[f"eval/nearest_training_image_{source}"],
                }
                for source, title in SOURCES.items()
                if f"{distance}_{source}" in measured
            ]
            floor = {
                "model": TRAINING_IMAGES,
                "source": "–",
                "distance": measured[kept["floor"]],
                "distance_sd": spreads[kept["floor"]],
                "diversity": 100 * measured["eval/diversity_training_images"],
                "nearest": "–",
                "held_out": measured["eval/nearest_training_image_of_held_out"],
            }
    if rows:
        best = min(rows, key=lambda row: row["distance"])
        rows = [{**row, "best": row is best} for row in rows]
    return [*rows, floor] if floor else []


def sample_note(root: Path, data: str, language: str) -> str:
    """N, seed, what ± is, device."""
    kept = first(root, *(f"{data}_generate_{kind}" for kind in MODELS))
    held_out = number(sample_rows(root, data)[-1]["held_out"], language, 3)
    n, floor = number(kept["n_real"], language), number(kept["n_floor"], language)
    computer, seed = device(kept["device"], language), kept["trained_with_seed"]
    if language == "ru":
        return (
            f"Сэмплов и тестовых картинок по {n} (обучающих и тестовых — по {floor}), признаки экстрактора "
            "существ; ± — стандартная ошибка складного ножа по картинкам одного обучения "
            f"(seed {seed}). Ближайшая: медиана расстояния от сэмпла до ближайшей обучающей картинки, "
            f"среднеквадратичное, в долях [0, 1]; для отложенных картинок — {held_out}. "
            f"{computer[0].upper()}{computer[1:]}."
        )
    return (
        f"{n} samples against {n} test images (training images: {floor} against {floor}), features of the "
        "creatures' extractor; ± is the standard error of a jackknife over images of one training (seed "
        f"{seed}). Nearest: median distance of a sample to the nearest training image, root mean square of "
        f"[0, 1]; for held-out images it is {held_out}. {computer}."
    )


def training_rows(root: Path) -> list[dict]:
    """Size, length and validation of every kept training."""
    rows = []
    for name in present(root, "creatures_ae", "creatures_vae", "creatures_gan"):
        kept = summary(root, f"{RESULTS}/{name}")
        measured, options = kept["metrics"], flags(root, f"{RESULTS}/{name}")
        gan = name.endswith("gan")
        rows.append(
            {
                "model": MODELS[name.removeprefix("creatures_")],
                "parameters": kept["generator_parameters" if gan else "parameters"],
                "steps": options["steps"] if gan else kept["steps"],
                "kept": kept["steps" if gan else "best_step"],
                "mse": "–" if gan else measured["val/mse"],
                "kl": measured.get("val/kl_nats", "–"),
                "fd": next((v for k, v in measured.items() if k.startswith("val/ema_fd_")), "–"),
                "minutes": kept["minutes"],
            }
        )
    return rows


def training_note(root: Path, language: str) -> str:
    kept, gan = (summary(root, f"{RESULTS}/creatures_{kind}") for kind in ("ae", "gan"))
    n_train = number(summary(root, f"{RESULTS}/creatures_generate_ae")["n_train"], language)
    n_val, n_gan = number(kept["n_val"], language), number(gan["n_val"], language)
    computer = device(kept["device"], language)
    if language == "ru":
        return (
            f"Обучение на {n_train} нарисованных существах 64×64; AE и VAE проверяются на {n_val} картинках, "
            f"GAN — на {n_gan}; по одному обучению, seed {kept['seed']}; время измерено на машине, занятой и "
            f"другими обучениями; {computer}."
        )
    return (
        f"{n_train} drawn creatures of 64×64 to learn from; AE and VAE validated on {n_val} images, the GAN "
        f"on {n_gan}; one training each, seed {kept['seed']}; minutes measured on a machine shared with "
        f"other trainings; {computer}."
    )


def loss_rows(root: Path) -> list[dict]:
    """The same autoencoder trained on three losses, judged alike."""
    rows = []
    for name in present(root, *(f"creatures_{loss}" for loss in LOSSES)):
        measured, loss = (
            summary(root, f"{RESULTS}/{name}")["metrics"],
            flags(root, f"{RESULTS}/{name}")["loss"],
        )
        rows.append({"loss": loss, **{key: measured[f"val/{key}"] for key in ("l1", "mse", "perceptual")}})
    return rows


def loss_note(root: Path, language: str) -> str:
    kept = summary(root, f"{RESULTS}/creatures_ae")
    n_val, computer = number(kept["n_val"], language), device(kept["device"], language)
    if language == "ru":
        return (
            f"Нарисованные существа, {n_val} валидационных картинок, эпоха с наименьшей ошибкой на "
            f"валидации, seed {kept['seed']}; {computer}."
        )
    return (
        f"Drawn creatures, {n_val} validation images, the epoch with the lowest validation loss, seed "
        f"{kept['seed']}; {computer}."
    )


def walk_rows(root: Path) -> list[dict]:
    """One walk of each model between the same two images."""
    rows = []
    for kind, model in MODELS.items():
        for name in present(root, f"creatures_interpolate_{kind}"):
            measured = summary(root, f"{RESULTS}/{name}")["metrics"]
            row = {"model": model, "ends": (measured["eval/mse_first"] + measured["eval/mse_second"]) / 2}
            for way in ("linear", "spherical"):
                row[f"{way}_step"] = measured[f"eval/{way}_largest_step"]
                row[f"{way}_detour"] = measured[f"eval/{way}_detour"]
            rows.append(row)
    return rows


def walk_note(root: Path, language: str) -> str:
    kept = first(root, *(f"creatures_interpolate_{kind}" for kind in MODELS))
    ends, positions = kept["images"], kept["frames"] // 2
    unknown = number(kept["metrics"]["eval/mse_of_mean_image"], language, 4)
    if language == "ru":
        return (
            f"Обучающие картинки {ends[0]} и {ends[1]} нарисованных существ, {positions} "
            f"{counted(positions, 'шаг', 'шага', 'шагов')} в каждую сторону. Оба числа — во сколько раз "
            f"больше, чем у наложения, у которого они равны 1; один скачок дал бы {positions}. Ошибка "
            f"концов: средний квадрат в долях [0, 1]; у средней картинки — {unknown}."
        )
    return (
        f"Training images {ends[0]} and {ends[1]} of the drawn creatures, {positions} steps each way. Both "
        "numbers are multiples of the cross-fade's, for which they are 1; a single jump would be "
        f"{positions}. Error of the ends: mean square of [0, 1]; that of the mean image is {unknown}."
    )


def upsampling_rows(root: Path) -> list[dict]:
    """The same GAN with both ways to double the side."""
    rows = []
    for name in UPSAMPLINGS:
        trained, drawn = (
            summary(root, f"{RESULTS}/{kept}") for kept in (name, name.replace("_", "_generate_", 1))
        )
        distance = f"{drawn['distance']}_prior"
        rows.append(
            {
                "upsampling": flags(root, f"{RESULTS}/{name}")["upsampling"],
                "parameters": trained["generator_parameters"],
                "fd": drawn["metrics"][distance],
                "fd_sd": drawn["standard_errors"][distance],
                "diversity": 100 * drawn["metrics"]["eval/diversity_prior"],
                "grid": trained["metrics"]["val/ema_grid"],
            }
        )
    return rows


def upsampling_note(root: Path, language: str) -> str:
    trained = summary(root, f"{RESULTS}/{UPSAMPLINGS[0]}")
    drawn = summary(root, f"{RESULTS}/{UPSAMPLINGS[0].replace('_', '_generate_', 1)}")
    n, n_val, seed = (
        number(value, language) for value in (drawn["n_real"], trained["n_val"], trained["seed"])
    )
    computer = device(trained["device"], language)
    if language == "ru":
        return (
            f"Сэмплов и тестовых картинок по {n}, ± — стандартная ошибка складного ножа; сетка — мощность "
            "на её частотах, во сколько раз больше, чем у настоящих картинок, "
            f"по {n_val} сэмплам и валидационным картинкам; по одному обучению, seed {seed}, fp32; "
            f"{computer}."
        )
    return (
        f"{n} samples against {n} test images, ± is the standard error of a jackknife; grid: power at a "
        f"grid's frequencies as a multiple of the real images', {n_val} samples against as many validation "
        f"images; one training each, seed {seed}, fp32; {computer}."
    )


SAMPLE_COLUMNS = (
    Column("model", "model", "модель"),
    Column("source", "latents from", "откуда латентные векторы"),
    Column("distance", "Fréchet distance", "расстояние Фреше", 1),
    Column("diversity", "diversity, % of the data's", "разнообразие, % от данных", 0),
    Column("nearest", "nearest", "ближайшая"),
)


def sample_table(data: str) -> Table:
    """Samples of every model of one set."""
    return Table(
        SAMPLE_COLUMNS,
        lambda root: sample_rows(root, data),
        lambda root, language: sample_note(root, data, language),
    )


TABLES = {
    "lab_training": Table(
        (
            Column("model", "model", "модель"),
            Column("parameters", "parameters", "параметров", 0),
            Column("steps", "steps", "шагов", 0),
            Column("kept", "step kept", "оставлен шаг", 0),
            Column("mse", "validation MSE of [0, 1]", "MSE на валидации, [0, 1]", 4),
            Column("kl", "KL, nats", "KL, нат", 0),
            Column("fd", "validation Fréchet distance", "расстояние Фреше на валидации", 0),
            Column("minutes", "minutes", "минут", 1),
        ),
        training_rows,
        training_note,
    ),
    "lab_losses": Table(
        (
            Column("loss", "trained on", "обучен на"),
            Column("l1", "mean absolute error", "средний модуль ошибки", 4),
            Column("mse", "MSE", "MSE", 4),
            Column("perceptual", "perceptual", "перцептивная", 4),
        ),
        loss_rows,
        loss_note,
    ),
    "lab_samples": sample_table("creatures"),
    "lab_sprites": sample_table("sprites"),
    "lab_upsampling": Table(
        (
            Column("upsampling", "--upsampling", "--upsampling"),
            Column("parameters", "parameters", "параметров", 0),
            Column("fd", "Fréchet distance", "расстояние Фреше", 1),
            Column("diversity", "diversity, % of the data's", "разнообразие, % от данных", 0),
            Column("grid", "grid", "сетка", 0),
        ),
        upsampling_rows,
        upsampling_note,
    ),
    "lab_walks": Table(
        (
            Column("model", "model", "модель"),
            Column("ends", "error of the ends", "ошибка концов", 4),
            Column("linear_step", "longest step, linear", "длиннейший шаг, прямая", 2),
            Column("linear_detour", "length of the way, linear", "длина пути, прямая", 2),
            Column("spherical_step", "longest step, spherical", "длиннейший шаг, дуга", 2),
            Column("spherical_detour", "length of the way, spherical", "длина пути, дуга", 2),
        ),
        walk_rows,
        walk_note,
    ),
}
