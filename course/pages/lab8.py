"""Tables of the lab: what was trained, how far its samples are from real images, how smooth its ways are."""

import json
from pathlib import Path

from course.pages.tables import Column, Table, summary

RESULTS = "lab8_generative/results"
MODELS = {"ae": "AE", "vae": "VAE", "gan": "GAN"}
LOSSES = ("ae", "ae_mse", "ae_perceptual")
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


def config(root: Path, name: str) -> dict:
    """The flags of a kept run."""
    return json.loads((root / RESULTS / name / "config.json").read_text(encoding="utf-8"))


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


def sample_note(root: Path, data: str) -> dict[str, str]:
    """N, seed, what ± is, device."""
    kept = first(root, *(f"{data}_generate_{kind}" for kind in MODELS))
    held_out = sample_rows(root, data)[-1]["held_out"]
    n, floor, device, seed = kept["n_real"], kept["n_floor"], kept["device"], kept["trained_with_seed"]
    return {
        "en": f"{n} samples against {n} test images (training images: {floor} against {floor}), features of "
        "the creatures' extractor; ± is the standard error of a jackknife over images of one training (seed "
        f"{seed}). Nearest: median distance of a sample to the nearest training image, root mean square of "
        f"[0, 1]; for held-out images it is {held_out:.3f}. {device}.",
        "ru": f"Образцов и тестовых картинок по {n} (обучающих и тестовых — по {floor}), признаки "
        "экстрактора существ; ± — стандартная ошибка складного ножа по картинкам одного обучения (seed "
        f"{seed}). Ближайшая: медиана расстояния от образца до ближайшей обучающей картинки, "
        f"среднеквадратичное, в долях [0, 1]; для отложенных картинок — {held_out:.3f}. {device}.",
    }


def training_rows(root: Path) -> list[dict]:
    """Size, length and validation of every kept training."""
    rows = []
    for name in present(root, "creatures_ae", "creatures_vae", "creatures_gan"):
        kept = summary(root, f"{RESULTS}/{name}")
        measured, flags = kept["metrics"], config(root, name)
        gan = name.endswith("gan")
        rows.append(
            {
                "model": MODELS[name.removeprefix("creatures_")],
                "parameters": f"{kept['generator_parameters' if gan else 'parameters']:,}".replace(",", " "),
                "steps": str(flags["steps"] if gan else kept["steps"]),
                "best": False,
                "kept": str(kept["steps"] if gan else kept["best_step"]),
                "mse": "–" if gan else measured["val/mse"],
                "kl": measured.get("val/kl_nats", "–"),
                "fd": next((v for k, v in measured.items() if k.startswith("val/ema_fd_")), "–"),
                "minutes": kept["minutes"],
            }
        )
    return rows


def training_note(root: Path) -> dict[str, str]:
    kept = first(root, "creatures_ae", "creatures_vae", "creatures_gan")
    return {
        "en": "1,200 drawn creatures of 64×64 to learn from; AE and VAE validated on "
        f"{kept['n_val']} images, the GAN on 1,000; one training each, seed 0; minutes of wall time on a "
        f"machine shared with other trainings; {kept['device']}.",
        "ru": "Обучение на 1200 нарисованных существах 64×64; AE и VAE проверяются на "
        f"{kept['n_val']} картинках, GAN — на 1000; по одному обучению, seed 0; минуты по часам "
        f"на машине, занятой и другими обучениями; {kept['device']}.",
    }


def loss_rows(root: Path) -> list[dict]:
    """The same autoencoder trained on three losses, judged alike."""
    rows = []
    for name in present(root, *(f"creatures_{loss}" for loss in LOSSES)):
        measured, flags = summary(root, f"{RESULTS}/{name}")["metrics"], config(root, name)
        keys = ("l1", "mse", "perceptual")
        rows.append({"loss": flags["loss"], **{key: measured[f"val/{key}"] for key in keys}})
    return rows


def loss_note(root: Path) -> dict[str, str]:
    kept = summary(root, f"{RESULTS}/creatures_ae")
    return {
        "en": f"Drawn creatures, {kept['n_val']} validation images, the epoch with the lowest validation "
        f"loss, seed 0; {kept['device']}.",
        "ru": f"Нарисованные существа, {kept['n_val']} валидационных картинок, эпоха с наименьшей ошибкой на "
        f"валидации, seed 0; {kept['device']}.",
    }


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


def walk_note(root: Path) -> dict[str, str]:
    kept = first(root, *(f"creatures_interpolate_{kind}" for kind in MODELS))
    ends, positions = kept["images"], kept["frames"] // 2
    unknown = kept["metrics"]["eval/mse_of_mean_image"]
    return {
        "en": f"Training images {ends[0]} and {ends[1]} of the drawn creatures, {positions} "
        "steps each way; both numbers as multiples of the cross-fade's, for which they are 1; a single jump "
        f"would be {positions}. Error of the ends: mean square of [0, 1]; that of the mean image is "
        f"{unknown:.4f}.",
        "ru": f"Обучающие картинки {ends[0]} и {ends[1]} нарисованных существ, {positions} "
        "шагов в каждую сторону; оба числа — во сколько раз больше, чем у наложения, у которого они равны 1; "
        f"один скачок дал бы {positions}. Ошибка концов: средний квадрат в долях [0, 1]; у средней "
        f"картинки — {unknown:.4f}.",
    }


SAMPLE_COLUMNS = (
    Column("model", "model", "модель"),
    Column("source", "latents from", "откуда латентные векторы"),
    Column("distance", "Fréchet distance", "расстояние Фреше", 1),
    Column("diversity", "diversity, % of the data's", "разнообразие, % от данных", 0),
    Column("nearest", "nearest", "ближайшая"),
)


def sample_table(data: str) -> Table:
    """Samples of every model of one set."""
    return Table(SAMPLE_COLUMNS, lambda root: sample_rows(root, data), lambda root: sample_note(root, data))


TABLES = {
    "lab_training": Table(
        (
            Column("model", "model", "модель"),
            Column("parameters", "parameters", "параметров"),
            Column("steps", "steps", "шагов"),
            Column("kept", "kept: step", "оставлен шаг"),
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
