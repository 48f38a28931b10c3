"""The command on a card: the flags of a run that make its weights."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from common import command_line, data

NOT_ABOUT_THE_WEIGHTS = (
    *("data_dir", "outdir", "resume", "device", "compile", "publish", "checkpoint_seconds", "wandb"),
)
"""Flags that the command of a card leaves out."""


def command_of(script: str, config: Any, **instead: str) -> str:
    """`python SCRIPT` with its set and the flags that differ from the defaults, without folders of the
    machine it ran on.

    instead  words for the values of some flags, such as a folder of that machine"""
    words = ["python", script]
    for field in fields(config):
        value = getattr(config, field.name)
        if (value == field.default and field.name != "data") or field.name in NOT_ABOUT_THE_WEIGHTS:
            continue
        if isinstance(value, bool):
            words.append(command_line.flag(field.name if value else f"no_{field.name}"))
            continue
        values = value if isinstance(value, tuple) else (value,)
        plain = [one.name if isinstance(one, Path) else str(one) for one in values]
        words += [command_line.flag(field.name), instead.get(field.name, " ".join(plain))]
    if getattr(config, "data", None) in data.REAL:
        words += ["--data-dir", "DIR"]
    return " ".join(words)
