"""Where a run took place: what env.json says for whoever repeats it."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from pathlib import Path

from common.devices import Device

import torch

ROOT = Path(__file__).resolve().parent.parent
"""The repository."""


def environment(device: Device) -> dict:
    """What another person needs to repeat the run."""
    git = lambda *words: subprocess.run(
        ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
    ).stdout.strip()
    try:
        commit, dirty = (
            git("rev-parse", "HEAD") or None,
            bool(git("status", "--porcelain", "--untracked-files=no")),
        )
    except OSError:  # no git on this machine
        commit, dirty = None, None
    return {
        "command": " ".join(["python", _script(), *sys.argv[1:]]),
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": device_name(device),
        "precision": device.precision,
        "threads": torch.get_num_threads(),
        "world_size": device.world_size,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _script() -> str:
    """The running script as a reader would start it: relative to the repository where it lies in there."""
    path = Path(sys.argv[0]).absolute()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def device_name(device: Device) -> str:
    """For people: the GPU's name, or the number of CPU threads."""
    if device.torch.type == "cuda":
        return torch.cuda.get_device_name(device.torch)
    return f"{device.torch.type}, {torch.get_num_threads()} threads"
