"""Weights & Biases beside a run: only when asked for, and never with a question at the terminal."""

from __future__ import annotations

import hashlib
import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

from common.errors import InputError


def check(mode: str) -> None:
    """InputError for `online` without a key: nobody is asked for a login while a run goes on."""
    if mode == "online" and not has_key():
        raise InputError("--wandb online: no W&B key here; run `wandb login` once, or use --wandb offline")


def start(folder: Path, mode: str):
    """W&B beside the run."""
    import wandb

    directory = Path(os.environ.get("WANDB_DIR", folder))
    directory.mkdir(parents=True, exist_ok=True)
    return wandb.init(
        project="deep-generative-models",
        name=folder.name,
        id=hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[
            :16
        ],  # a resumed run goes on in its place
        resume="allow",
        dir=str(directory),
        mode=mode,
        settings=wandb.Settings(silent=True),
    )


def has_key() -> bool:
    """Whether `wandb login` was done here: in the environment or, where it writes its key, in .netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False
