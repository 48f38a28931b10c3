"""From a frozen dataclass to a command line, and from a user's mistake to one clear line.

Nothing here imports torch before it is needed: the scripts that do without it start in 0.3 seconds."""

from __future__ import annotations

import dataclasses
import errno
import inspect
import itertools
import json
import os
import signal
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from common import flags
from common.errors import InputError, Stopped, warn

import pydantic
import tyro

Config = TypeVar("Config")

CHANGEABLE_ON_RESUME = {
    *("epochs", "steps", "autoencoder_steps", "device", "wandb", "resume", "outdir", "data", "data_dir"),
    *("compile", "jobs", "checkpoint_seconds"),
}
"""Flags that a resumed run may be given anew; every other one would make it another run.  Whether `data` are
the same images in another place, the checkpoint knows."""


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
    _open_streams()
    try:
        main(parse(config_class, arguments, _description(main.__globals__.get("__doc__") or "")))
        _leave_other_processes()
        sys.stdout.flush()
    except InputError as error:
        sys.exit(f"error: {error}")
    except Stopped as stop:  # SIGINT or SIGTERM, after the checkpoint was written
        _no_more_interrupts()
        print(stop, file=sys.stderr)
        sys.exit(128 + stop.signal_number)
    except KeyboardInterrupt:
        _no_more_interrupts()
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe went away: `script | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left has nowhere to go
        sys.exit(1)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            sys.exit(f"error: {str(error.filename)[:40]}...: the name is too long; give a shorter path")
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        sys.exit(f"error: {error.filename}: {error.strerror}; take another path, or change who may use it")
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        sys.exit(
            "error: not enough memory: make the batch, the images or the network smaller, or ask for fewer "
            "images (--batch-size, --size, --width, --latent, --count: those that this script has)"
        )


def parse(config_class: type[Config], arguments: list[str], description: str = "") -> Config:
    """The configuration that `arguments` ask for, every flag in the range it was declared with.

    A class with a method `preset` chooses its own defaults: the configuration it returns holds what one flag
    implies for the others, and flags that were given win over it."""
    _refuse_empty(arguments)
    _plumbing_last(config_class)
    read = lambda default: checked(
        tyro.cli(config_class, args=arguments, description=description, default=default)
    )
    config = read(None)
    if getattr(config, "resume", None) is None:
        return read(config.preset()) if hasattr(config, "preset") else config
    saved = config_from_run(config_class, config.resume)
    resumed = read(dataclasses.replace(saved, resume=config.resume))
    check_resumed(saved, resumed, config.resume)
    return resumed


def check_resumed(saved: object, resumed: object, run_dir: Path) -> None:
    """InputError naming the first flag that would make another run of the one in `run_dir`."""
    changeable = CHANGEABLE_ON_RESUME | getattr(resumed, "changeable_on_resume", frozenset())
    for field in dataclasses.fields(saved):
        was, now = getattr(saved, field.name), getattr(resumed, field.name)
        if was != now and field.name not in changeable:
            raise InputError(
                f"{flag(field.name)}: {run_dir} was started with {was}, not {now}; "
                "leave the flag out to resume it, or start a new run"
            )


def checked(config: Config) -> Config:
    """The same configuration with `~` in its paths expanded; InputError naming the first flag that is out of
    its range."""
    try:
        sound = _adapter(type(config)).validate_python(vars(config))
    except pydantic.ValidationError as error:
        raise InputError(_first_problem(error, type(config))) from None
    expanded = {}
    for name, value in vars(sound).items():
        several = value if isinstance(value, tuple) else (value,)
        if not any(isinstance(one, Path) for one in several):
            continue
        try:
            paths = tuple(flags.expanded(path) for path in several)
        except ValueError as error:
            raise InputError(f"{flag(name)} {' '.join(map(str, several))!r}: {error}") from None
        expanded[name] = paths if isinstance(value, tuple) else paths[0]
    return dataclasses.replace(sound, **expanded)


def flag(name: str) -> str:
    """`--batch-size` for batch_size."""
    return "--" + name.replace("_", "-")


def warn_of_idle(config: Config, *names: str, needs: str, met: bool) -> None:
    """A line for each of these flags that was given although it does nothing without what it `needs`."""
    for name in () if met else names:
        if (value := getattr(config, name)) != _default(config, name):
            shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
            warn(f"{flag(name)} {shown}: does nothing without {needs}")


def _default(config: Config, name: str) -> object:
    """The value of a field that was left out, which other flags may imply."""
    (default,) = (field.default for field in dataclasses.fields(config) if field.name == name)
    without = dataclasses.replace(config, **{name: default})
    return getattr(without.preset() if hasattr(without, "preset") else without, name)


def config_from_run(config_class: type[Config], run_dir: Path) -> Config:
    """The configuration a run was started with, from its config.json."""
    from common import runs

    values = runs.read_json(Path(run_dir) / "config.json")
    names = {field.name for field in dataclasses.fields(config_class)}
    unknown, missing = values.keys() - names, names - values.keys()
    if unknown or missing:
        raise InputError(
            f"{run_dir}/config.json: not a run of this script "
            f"(unknown: {sorted(unknown) or 'none'}, missing: {sorted(missing) or 'none'}); "
            "give a run directory that this script made"
        )
    try:  # strict: a number in quotes is a file that was edited
        return _adapter(config_class).validate_json(json.dumps(values), strict=True)
    except pydantic.ValidationError as error:
        raise InputError(f"{run_dir}/config.json: {_first_problem(error, config_class)}") from None


def _adapter(config_class: type) -> pydantic.TypeAdapter:
    """What checks values against the annotations of a Config."""
    return pydantic.TypeAdapter(config_class)


def _first_problem(error: pydantic.ValidationError, config_class: type) -> str:
    problem = error.errors()[0]
    said = problem["msg"].removeprefix("Value error, ").replace("Input should", "must")
    given = "" if problem["input"] is None else f" {problem['input']}"
    where = _flag_of(config_class, str(problem["loc"][0])) if problem["loc"] else "its flags"
    return f"{where}{given}: {said}"


def _flag_of(config_class: type, name: str) -> str:
    """The flag of a field, which `tyro.conf.arg` may call otherwise: `--class` for class_index."""
    annotation = typing.get_type_hints(config_class, include_extras=True).get(name)
    names = [getattr(note, "name", None) for note in getattr(annotation, "__metadata__", ())]
    return flag(next((given for given in names if isinstance(given, str)), name))


def _refuse_empty(arguments: list[str]) -> None:
    """InputError for an argument without a letter, as an unset variable of a shell leaves it: a path would
    become the working folder."""
    for before, argument in itertools.pairwise(["", *arguments]):
        name, equals, value = argument.partition("=")
        if argument.startswith("--") and equals and not value:
            raise InputError(f"{name}: an empty value; give one, or leave the flag out")
        if not argument:
            after = f"the argument after {before}" if before else "the first argument"
            where = before if before.startswith("-") else after
            raise InputError(f"{where}: an empty value; give one, or leave the flag out")


def _plumbing_last(config_class: type) -> None:
    """--help shows a script's own flags before the inherited ones."""
    fields, own = config_class.__dataclass_fields__, inspect.get_annotations(config_class)
    for name in [name for name in fields if name not in own]:
        fields[name] = fields.pop(name)


def _description(module_docstring: str) -> str:
    """What a script does, without the example commands, whose lines --help would run together."""
    paragraphs = module_docstring.strip().split("\n\n")
    return "\n\n".join(text for text in paragraphs if not text.startswith(("python ", "torchrun ")))


def _leave_other_processes() -> None:
    if "RANK" in os.environ:  # of torchrun
        from common import devices

        devices.leave()


def _no_more_interrupts() -> None:
    """Ctrl-C once more while Python ends: it does end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _open_streams() -> None:
    """A closed stdout or stderr swallows what is printed; a letter its encoding lacks becomes its code."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  open to the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python, torch or a GPU found no room."""
    signs = ("out of memory", "not enough memory", "can't allocate memory", "storage size calculation")
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in signs)
