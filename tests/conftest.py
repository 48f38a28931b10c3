"""Shared by all tests: one thread per worker, no real data set or home folder touched."""

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # the workers of pytest-xdist share the cores; child processes too

from common import torchvision_operators  # noqa: F401

import torch

torch.set_num_threads(1)
# a shell starts its background jobs deaf to Ctrl-C, and what they start inherits that: tests send it
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real MNIST, Fashion-MNIST and sprites; COURSE_REAL_DATA names another."""
    folder = Path(os.environ.get("COURSE_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "mnist").is_dir():
        pytest.skip(f"no real image sets in {folder}; set COURSE_REAL_DATA")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _quiet_environment():
    """No test may wait for a login or reach W&B."""
    os.environ.setdefault("WANDB_MODE", "disabled")
