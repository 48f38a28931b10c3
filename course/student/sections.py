"""The parts of a homework's README that numbers and pictures can fill, in two languages."""

from __future__ import annotations

import math
import re
from pathlib import Path

from common import figures

from PIL import Image

from course.pages import tables
from course.pages.tables import number
from course.student.trained_run import TrainedRun, differing_flags, example_images

MOST = 10
"""Output images: the course asks for 5 to 10."""
LOSS_FIGURES = ("loss", "training")
"""Figures of a run that show the losses, which the report draws itself."""
DRAWN = re.compile(r"drawn by (?P<file>\S+), version (?P<version>\S+), seed (?P<seed>\S+)")
"""The source of a set that the course draws."""
LARGEST = 1200
"""Pixels of a picture's longer side in the report."""
WORDS = {
    "en": {
        "set": "{name} ({source}): {count} training images, {height}×{width}, channels: {channels}{classes}.",
        "classes": ", {count} classes",
        "no set": "The run does not say which images it learned from.",
        "examples": "Training images.",
        "loss": "Curve of the loss.",
        "metric": "Curve of the metric on validation images.",
        "output": "What the model drew: {name}.",
        "figure": "Figure of the run: {name}.",
        "names": {},
        "drawn": "drawn by {file}, version {version}, seed {seed}",
        "known": {
            "n": "n {}",
            "n_test": "n_test {}",
            "n_generated": "n_generated {}",
            "minutes": "{} min",
            "device": "{}",
        },
        "metrics": ("metric", "value"),
        "measured": "Measured by `{run}`{more}.",
        "flags": "flags that differ from the baseline: {flags}",
        "same": "the same flags as the baseline",
        "result": "Result",
        "comparison": "Comparison with the baseline",
        "versus": ("metric", "this run", "baseline `{baseline}`", "difference"),
        "unmeasured": "nothing that both runs measured",
    },
    "ru": {
        "set": "{name} ({source}): {count} обучающих картинок {height}×{width}, каналы: {channels}{classes}.",
        "classes": ", классов: {count}",
        "no set": "В запуске не сказано, на каких картинках он обучался.",
        "examples": "Обучающие картинки.",
        "loss": "Кривая функции потерь.",
        "metric": "Кривая метрики на валидации.",
        "output": "Нарисовано моделью: {name}.",
        "figure": "Рисунок запуска: {name}.",
        "names": {
            "samples": "сэмплы",
            "reconstructions": "реконструкции",
            "interpolation": "интерполяция",
            "neighbours": "ближайшие обучающие картинки",
            "mistakes": "ошибки",
            "scores": "оценки аномальности",
            "roc": "ROC-кривая",
        },
        "drawn": "рисует {file}, версия {version}, seed {seed}",
        "known": {
            "n": "примеров: {}",
            "n_test": "тестовых: {}",
            "n_generated": "сгенерированных: {}",
            "minutes": "{} мин",
            "device": "{}",
        },
        "metrics": ("метрика", "значение"),
        "measured": "Измерено запуском `{run}`{more}.",
        "flags": "флаги, которые отличаются от базового запуска: {flags}",
        "same": "те же флаги, что у базового запуска",
        "result": "Результат",
        "comparison": "Сравнение с базовым вариантом",
        "versus": ("метрика", "этот запуск", "базовый `{baseline}`", "разница"),
        "unmeasured": "нет метрик, измеренных обоими запусками",
    },
}


class Pictures:
    """The folder beside the README where the report's pictures lie."""

    def __init__(self, folder: Path, readme: Path):
        self.folder, self.readme = folder, readme

    def link(self, name: str, caption: str) -> str:
        path = (self.folder / name).relative_to(self.readme.parent).as_posix().replace(" ", "%20")
        return f"![{caption}]({path})\n\n*{caption}*\n"

    def keep(self, name: str, picture: Image.Image, caption: str) -> str:
        """Save a picture, made smaller where it is large, and the Markdown that shows it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        picture = picture.copy()
        picture.thumbnail((LARGEST, LARGEST))
        picture.save(self.folder / name, optimize=True)
        return self.link(name, caption)


def data_set(run: TrainedRun, pictures: Pictures, language: str) -> str:
    """Facts and example images of what the run learned from."""
    words, found = WORDS[language], example_images(run)
    if found is None:
        return words["no set"] + "\n"
    facts, images = found
    channels, height, width = facts["shape"]
    classes = words["classes"].format(count=facts["classes"]) if facts["classes"] else ""
    count = number(facts["count"], language)
    drawn = DRAWN.fullmatch(facts["source"])
    source = words["drawn"].format(**drawn.groupdict()) if drawn else facts["source"]
    text = words["set"].format(
        name=facts["name"], source=source, count=count, height=height, width=width,
        channels=channels, classes=classes,
    )  # fmt: skip
    enlarge = max(1, round(64 / height))
    grid = figures.image_grid(images.repeat_interleave(enlarge, 2).repeat_interleave(enlarge, 3), 8)
    array = grid[0] if len(grid) == 1 else grid.permute(1, 2, 0)
    return f"{text}\n\n" + pictures.keep("data_set.png", Image.fromarray(array.numpy()), words["examples"])


def curves(run: TrainedRun, pictures: Pictures, language: str) -> str:
    """Losses while training, and metrics on validation images."""
    parts = []
    for kind in ("loss", "metric"):
        found = run.curves(kind)
        if found:
            save_curves(pictures.folder / f"{run.name}-{kind}.png", found)
            parts.append(pictures.link(f"{run.name}-{kind}.png", WORDS[language][kind]))
    return "\n".join(parts)


def save_curves(path: Path, found: dict[str, list[tuple[int, float]]], most: int = 9) -> None:
    """A panel for each name: units differ."""
    names = list(found)[:most]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, axes = figures.new_figure(3.4 * columns, 2.4 * rows, nrows=rows, ncols=columns, squeeze=False)
    for axis, name in zip(axes.flat, names):
        axis.plot(*zip(*found[name]), linewidth=1.5, marker="." if len(found[name]) < 40 else "")
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    figures.save_figure(figure, path)


def outputs(run: TrainedRun, pictures: Pictures, language: str) -> str:
    """Up to MOST pictures that the model drew, and figures but for those of the losses."""
    words, parts = WORDS[language], []
    again = LOSS_FIGURES if run.curves("loss") else ()
    shown = [
        (name, picture) for name, picture in run.pictures if name not in again or name not in run.figures
    ]
    for name, picture in shown[:MOST]:
        said = words["figure" if name in run.figures and name != "samples" else "output"]
        caption = said.format(name=words["names"].get(name, name.replace("_", " ")))
        parts.append(pictures.keep(f"{run.name}-{name}.png", picture, caption))
    return "\n".join(parts)


def metric_table(run: TrainedRun, language: str) -> str:
    """The numbers of the summary."""
    words = WORDS[language]
    if not run.metrics:
        return ""
    known = [
        said.format(known_in_words(run.known[name], language))
        for name, said in words["known"].items()
        if name in run.known
    ]
    rows = [f"| {name} | {written(value, language)} |" for name, value in run.metrics.items()]
    more = "".join(f", {each}" for each in known)
    heading = "| {} | {} |\n|---|---|\n".format(*words["metrics"])
    return heading + "\n".join(rows) + f"\n\n{words['measured'].format(run=run.name, more=more)}\n"


def known_in_words(value: object, language: str) -> str:
    """A number of images or of minutes, or a device."""
    if isinstance(value, float):
        return written(value, language) if value < 1 else number(value, language, 1)
    return number(value, language) if isinstance(value, int) else tables.device(str(value), language)


def experiment(run: TrainedRun, baseline: TrainedRun, pictures: Pictures, language: str) -> str:
    """Result and comparison of one experiment; its goal, idea and conclusion are the student's words."""
    words = WORDS[language]
    parts = [f"- *{words['result']}*:\n", curves(run, pictures, language), outputs(run, pictures, language)]
    changed = differing_flags(run, baseline)
    flags = ", ".join(f"`{name}` {before} → {now}" for name, (before, now) in changed.items())
    said = words["flags"].format(flags=flags) if changed else words["same"]
    return "\n".join([*parts, f"- *{words['comparison']}*: {said}\n", versus(run, baseline, language)])


def versus(run: TrainedRun, baseline: TrainedRun, language: str) -> str:
    """What both measured, side by side."""
    words = WORDS[language]
    both = [name for name in run.metrics if name in baseline.metrics]
    if not both:
        return f"{words['unmeasured']}\n"
    rows = [
        f"| {name} | {written(run.metrics[name], language)} | {written(baseline.metrics[name], language)} | "
        f"{written(run.metrics[name] - baseline.metrics[name], language, signed=True)} |"
        for name in both
    ]
    heading = " | ".join(words["versus"]).format(baseline=baseline.name)
    return f"| {heading} |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def written(value: float, language: str, signed: bool = False) -> str:
    """Four figures, as the language writes numbers; all of a whole number."""
    if isinstance(value, int):
        return number(value, language, 0, signed)
    if not math.isfinite(value):
        return str(value)
    digits = 0 if value == 0 else max(0, 3 - math.floor(math.log10(abs(value))))
    return number(value, language, min(digits, 8), signed)
