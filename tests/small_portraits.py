"""Text to image small enough for tests: flags of its training, and what a run left."""

import dataclasses
import json
from pathlib import Path

from common import checkpoints

from hw4_diffusion import train_text_to_image as training

FIRST, SECOND = "0001-autoencoder-avatars", "0002-text-to-image-avatars"
"""Run directories of both stages."""


def config(data_dir: Path, outdir: Path, **changes) -> training.Config:
    """The smallest training."""
    small = {
        "train_images": 40, "size": 32, "autoencoder_channels": (8, 8, 16), "unet_channels": (16, 32),
        "text_width": 16, "text_layers": 1, "autoencoder_steps": 6, "autoencoder_batch_size": 8, "steps": 6,
        "batch_size": 8, "wordings": 3, "measure_every": 3, "measure_images": 12, "ema_decay": 0.5,
        "warm_up": 2, "device": "cpu", "checkpoint_seconds": 1e9,
    }  # fmt: skip
    return training.Config(data_dir=data_dir, outdir=outdir, **{**small, **changes})


def second_stage(trained: Path, data_dir: Path, outdir: Path, **changes) -> training.Config:
    """The denoiser on the latents of the autoencoder that was trained under `trained`."""
    return config(data_dir, outdir, stage="denoiser", autoencoder=trained / FIRST, **changes)


def words(one: training.Config) -> list[str]:
    """A configuration as flags of the command line."""
    flags = []
    for field in dataclasses.fields(one):
        value = getattr(one, field.name)
        if value != field.default:
            values = value if isinstance(value, tuple) else (value,)
            flags += [f"--{field.name.replace('_', '-')}", *map(str, values)]
    return flags


def logged(run_dir: Path) -> list[dict]:
    """metrics.jsonl without what differs between two runs."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def parts(run_dir: Path) -> dict:
    """States in the last checkpoint."""
    return checkpoints.read(run_dir / "checkpoints" / "last.pt")["parts"]
