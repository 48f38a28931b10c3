"""The smallest trainings of GANs, and how their run directories are read."""

import dataclasses
import json
from pathlib import Path

from common import checkpoints, figures
from common.data import creatures

from hw2_gan import train_gan

SCRIPTS = Path(__file__).resolve().parent.parent / "hw2_gan"
COUNTS = {"train": 96, "val": 24, "test": 24}
EVERYTHING = {  # whatever draws random numbers or has a state of its own
    "epochs": 3,
    "normalisation": "batch",
    "output": "tanh",
    "real_label": (0.8, 1.0),
    "instance_noise": 0.1,
    "augment": ("color", "translation", "cutout"),
    "lr_decay": "cosine",
    "gradient_penalty": 1.0,
    "penalty_every": 2,
}


def save_pets(folder: Path, counts: dict[str, int] = COUNTS) -> Path:
    """A folder of small drawn creatures with its splits."""
    for split, count in counts.items():
        for i, image in enumerate(creatures.draw_set(split, 32, count, 0).images):
            figures.save_png(folder / split / f"{i:03d}.png", image)
    return folder


def config(data: Path | str, outdir: Path, **changes) -> train_gan.Config:
    """The smallest training: 32 pixels, two steps an epoch."""
    small = {"size": 32, "width": 0.125, "epochs": 1, "batch_size": 48, "measure_images": 8, "device": "cpu"}
    return train_gan.Config(data=str(data), outdir=outdir, **{"checkpoint_seconds": 1e9, **small, **changes})


def words(one) -> list[str]:
    """A configuration as flags of the command line."""
    flags = []
    for field in dataclasses.fields(one):
        value, name = getattr(one, field.name), field.name.replace("_", "-")
        if isinstance(value, bool):
            flags += [f"--{name}" if value else f"--no-{name}"]
        elif value != field.default:
            flags += [f"--{name}", *map(str, value if isinstance(value, tuple) else (value,))]
    return flags


def logged(run_dir: Path) -> list[dict]:
    """The lines of metrics.jsonl without their times."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def parts(run_dir: Path, name: str = "last") -> dict:
    """What a checkpoint holds."""
    return checkpoints.read(run_dir / "checkpoints" / f"{name}.pt")["parts"]
