"""From a frozen dataclass to a command line, and from a user's mistake to one clear line."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

import tyro

from common import checkpoints, devices, runs
from common.errors import InputError

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True)
class TrainingFlags:
    """The flags that every training script has; a script's Config adds its own."""

    seed: int = 0
    """Of weights, order and noise."""
    device: str = "auto"
    """auto, cpu, mps, cuda or cuda:N."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Number format of the forward pass while training; losses, weights and evaluation stay float32."""
    checkpoint_seconds: float = 60
    """Time between checkpoints."""
    wandb: Literal["off", "offline", "online"] = "off"
    """Also log to Weights & Biases."""
    data_dir: Path | None = None
    """Where image sets lie or are put; default `data/` of the repository."""
    outdir: Path = Path("runs")
    """Parent of the run directories."""
    resume: Path | None = None
    """Run directory to go on with; its config.json gives all other flags."""


CHANGEABLE_ON_RESUME = {"epochs", "steps", "device", "wandb", "resume", "outdir", "data_dir", "jobs"}
"""Flags that a resumed run may be given anew; every other one would make it another run."""


def run(
    main: Callable[[Config], object], config_class: type[Config], arguments: list[str] | None = None
) -> None:
    """Parse the command line into `config_class` and call `main(config)`; exits with status 1 on a user's
    mistake.

    Flags may be written with dashes or underscores; the docstring under each field is its help.  Where the
    class has a field `resume` and a run directory is given, the other fields start from that run's
    config.json.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        main(parse(config_class, arguments, _description(main.__globals__.get("__doc__") or "")))
        devices.leave()
    except InputError as error:
        sys.exit(f"error: {error}")
    except checkpoints.Stopped as stop:  # SIGINT or SIGTERM, after the checkpoint was written
        print(stop, file=sys.stderr)
        sys.exit(128 + stop.signal_number)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe went away: `script | head`
        sys.stderr.close()
        sys.exit(1)


def parse(config_class: type[Config], arguments: list[str], description: str = "") -> Config:
    """The configuration that `arguments` ask for.

    A class with a method `preset` chooses its own defaults: the configuration it returns holds what one flag
    implies for the others, and flags that were given win over it."""
    read = lambda default: tyro.cli(config_class, args=arguments, description=description, default=default)
    config = read(None)
    if getattr(config, "resume", None) is None:
        return read(config.preset()) if hasattr(config, "preset") else config
    saved = config_from_run(config_class, config.resume)
    resumed = read(dataclasses.replace(saved, resume=config.resume))
    for field in dataclasses.fields(config_class):
        was, now = getattr(saved, field.name), getattr(resumed, field.name)
        if was != now and field.name not in CHANGEABLE_ON_RESUME:
            flag = "--" + field.name.replace("_", "-")
            raise InputError(
                f"{flag}: {config.resume} was started with {was}, not {now}; "
                "leave the flag out to resume it, or start a new run"
            )
    return resumed


def _description(module_docstring: str) -> str:
    """What a script does, without the example commands, whose lines --help would run together."""
    paragraphs = module_docstring.strip().split("\n\n")
    return "\n\n".join(text for text in paragraphs if not text.startswith(("python ", "torchrun ")))


def config_from_run(config_class: type[Config], run_dir: Path) -> Config:
    """The configuration a run was started with, from its config.json."""
    values = runs.read_json(Path(run_dir) / "config.json")
    types = {field.name: field.type for field in dataclasses.fields(config_class)}
    unknown, missing = values.keys() - types.keys(), types.keys() - values.keys()
    if unknown or missing:
        raise InputError(
            f"{run_dir}/config.json: not a run of this script "
            f"(unknown: {sorted(unknown) or 'none'}, missing: {sorted(missing) or 'none'}); "
            "give a run directory that this script made"
        )
    return config_class(**{name: _from_json(value, types[name]) for name, value in values.items()})


def _from_json(value, annotation):
    """JSON has no paths and no tuples: put them back where the field's annotation asks for them."""
    if isinstance(value, list):
        return tuple(value)
    return Path(value) if isinstance(value, str) and "Path" in str(annotation) else value
