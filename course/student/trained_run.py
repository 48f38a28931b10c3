"""What a run left behind, whoever wrote it: a run directory of common.runs, or TensorBoard's event files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common import runs
from common.errors import InputError

import torch
from PIL import Image

PLUMBING = {"outdir", "resume", "wandb", "data_dir", "device", "checkpoint_seconds"}
"""Flags that say nothing of the experiment."""
PROGRESS = ("step", "seconds", "epoch")
"""Numbers that say how far a training is."""


@dataclass(frozen=True)
class TrainedRun:
    """One training or evaluation."""

    folder: Path
    flags: dict = field(default_factory=dict)
    lines: list[dict] = field(default_factory=list)
    """`{"step": ..., name: number}` in the order of the steps."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What was measured at the end."""
    known: dict = field(default_factory=dict)
    """The rest of the summary: minutes, device, numbers of images."""
    pictures: tuple[tuple[str, Image.Image], ...] = ()
    """(name, picture), the newest of each kind."""
    figures: frozenset[str] = frozenset()
    """Names of those pictures that the summary names: figures, which may show anything."""

    @property
    def name(self) -> str:
        return self.folder.name

    def curves(self, kind: str) -> dict[str, list[tuple[int, float]]]:
        """`loss` or `metric`: name -> (step, value) points, for names with at least two of them."""
        points: dict[str, list[tuple[int, float]]] = {}
        for line in self.lines:
            for name, value in line.items():
                if is_measure(name, value):
                    points.setdefault(name, []).append((line["step"], value))
        return {
            name: found
            for name, found in points.items()
            if len(found) > 1 and (kind == "loss") == is_training_number(name)
        }


def is_training_number(name: str) -> bool:
    """Whether a curve is of the training images: named so, or called a loss without naming a split."""
    held_out = name.lower().startswith(("val", "test", "eval"))
    return name.startswith("train") or (not held_out and "loss" in name.lower())


def read(folder: Path) -> TrainedRun:
    """Raises InputError for a folder that no training wrote."""
    if (folder / "config.json").is_file():
        summary = runs.read_json(folder / "summary.json") if (folder / "summary.json").is_file() else {}
        metrics = summary.get("metrics", {})
        pictures = tuple(kept_pictures(folder, summary))
        samples = {kind_of_samples(path) for path in (folder / "samples").glob("*.png")}
        return TrainedRun(
            folder.absolute(),
            runs.read_json(folder / "config.json"),
            runs.read_metrics(folder) if (folder / "metrics.jsonl").is_file() else [],
            {name: value for name, value in metrics.items() if is_measure(name, value)},
            {name: value for name, value in summary.items() if name != "metrics"},
            pictures,
            frozenset(name for name, _ in pictures) - samples,
        )
    events = sorted(folder.rglob("events.out.tfevents.*")) if folder.is_dir() else []
    if not events:
        raise InputError(
            f"{folder}: neither a run directory (config.json) nor TensorBoard's event files; name what a "
            "training script made"
        )
    return read_tensorboard(folder, {path.parent for path in events})


def kept_pictures(folder: Path, summary: dict) -> Iterator[tuple[str, Image.Image]]:
    """The figures that the summary names, then the newest of each kind of samples."""
    kinds = {Path(name).stem: folder / name for name in summary.get("figures", []) if isinstance(name, str)}
    for path in sorted((folder / "samples").glob("*.png")):
        kinds[kind_of_samples(path)] = path
    for kind, path in kinds.items():
        if path.suffix == ".png" and path.is_file():
            with Image.open(path) as image:
                yield kind, image.convert("RGB")


def kind_of_samples(path: Path) -> str:
    """`ema` for samples/ema-000100.png."""
    return path.stem.rpartition("-")[0] or path.stem


def is_measure(name: str, value: object) -> bool:
    """Whether a number says how good the run is, and not how far it is."""
    return name not in PROGRESS and isinstance(value, (int, float))


def read_tensorboard(folder: Path, folders: set[Path]) -> TrainedRun:
    """Scalars and the last picture of each name from the event files in `folders`."""
    from tensorboard.backend.event_processing import event_accumulator

    by_step: dict[int, dict] = {}
    pictures: dict[str, Image.Image] = {}
    for place in sorted(folders):
        events = event_accumulator.EventAccumulator(str(place), {"scalars": 0, "images": 1})
        events.Reload()
        for name in events.Tags()["scalars"]:
            for event in events.Scalars(name):
                by_step.setdefault(event.step, {"step": event.step})[name] = event.value
        for name in events.Tags()["images"]:
            encoded = events.Images(name)[-1].encoded_image_string
            with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
                pictures[name.replace("/", "-")] = image.convert("RGB")
    lines = [by_step[step] for step in sorted(by_step)]
    last: dict[str, float] = {}
    for line in lines:
        last.update(line)
    metrics = {
        name: last[name] for name in last if is_measure(name, last[name]) and not is_training_number(name)
    }
    return TrainedRun(folder.absolute(), lines=lines, metrics=metrics, pictures=tuple(pictures.items()))


def differing_flags(run: TrainedRun, baseline: TrainedRun) -> dict[str, tuple]:
    """Flag -> (the baseline's value, this run's), where they differ."""
    names = [name for name in {**baseline.flags, **run.flags} if name not in PLUMBING]
    both = {name: (baseline.flags.get(name), run.flags.get(name)) for name in names}
    return {name: values for name, values in both.items() if values[0] != values[1]}


def example_images(run: TrainedRun, count: int = 16) -> tuple[dict, torch.Tensor] | None:
    """Facts of the set that the run learned from, and uint8 (count, C, H, W) of its training images.

    None where the run does not say which set it was, or the set cannot be had."""
    from common import data

    name = run.flags.get("data")
    if not isinstance(name, str):
        return None
    wanted = {"size": run.flags.get("size"), "count": run.flags.get("train_images")}
    known = {key: value for key, value in wanted.items() if isinstance(value, int)}
    try:
        images = data.load(name, "train", data_dir=run.flags.get("data_dir"), **known)
    except InputError:
        return None
    facts = {
        "name": images.name,
        "source": images.source,
        "count": len(images),
        "shape": images.shape,
        "classes": len(images.class_names),
    }
    return facts, images.images[:count].clone()
