"""The run directory: what was asked, where it ran, what was measured, what it looked like.

runs/hw1/0007-vae-mnist/
    config.json     the flags
    env.json        command, commit, dirty flag, versions, device, number format
    metrics.jsonl   one JSON object a line: the truth; TensorBoard and W&B are copies
    tb/  samples/  checkpoints/
    summary.json    the final numbers, with N
"""

from __future__ import annotations

import dataclasses
import json
import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import atomic, figures, wandb_tracking
from common.devices import Device
from common.environment import device_name, environment
from common.errors import InputError
from common.tensorboard_tracking import TensorBoard

import filelock
from torch import Tensor
from tqdm import tqdm


class Run:
    """One run directory, open for writing by rank 0; on other ranks the same calls do nothing."""

    def __init__(self, folder: Path, device: Device, wandb: str = "off"):
        self.folder, self.device = Path(folder), device
        self.samples_dir, self.checkpoints_dir = self.folder / "samples", self.folder / "checkpoints"
        self.started = time.monotonic()
        self._metrics = self.folder / "metrics.jsonl"
        self._wandb_mode, self._tensorboard, self._wandb, self._file = wandb, None, None, None
        self._lock = _lock(self.folder) if device.is_main else None

    # ---- numbers

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl (and TensorBoard, W&B).  Names: `split/what_unit`, e.g.
        `train/kl_nats`.

        Values are numbers or flat lists of numbers (lists go to metrics.jsonl only).
        """
        if not self.device.is_main:
            return
        values = {name: _number(value) for name, value in values.items()}
        line = {"step": step, "seconds": round(time.monotonic() - self.started, 3), **values}
        self._open_trackers(step)
        if not self._metrics.exists():
            raise InputError(
                f"{self._metrics}: gone, deleted or moved during the run; nothing more can be kept; start a "
                "new run"
            )
        self._write(lambda: (self._file.write(json.dumps(line) + "\n"), self._file.flush()))
        scalars = {name: value for name, value in values.items() if not isinstance(value, list)}
        for name, value in scalars.items():
            self._tensorboard.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(scalars, step=step)

    def rewind(self, step: int) -> None:
        """Forget what was logged after `step`: a resumed run logs those steps again.

        Its clock goes on from the last line that stays, so that `seconds` and the summary's minutes count all
        sittings, though not the steps between that line and the end of a sitting."""
        if not self.device.is_main:
            return
        if self._metrics.exists():
            kept = [line for line in self.lines() if line["step"] <= step]
            write_text_atomic(self._metrics, "".join(json.dumps(line) + "\n" for line in kept))
            if kept:
                self.started = time.monotonic() - kept[-1]["seconds"]

    def lines(self) -> list[dict]:
        """What has been logged so far, which may be nothing."""
        return _parse_metrics(self._metrics) if self._metrics.exists() else []

    def summary(self, metrics: dict[str, Any], **more: Any) -> None:
        """Write summary.json: `metrics` (name -> number), minutes, device, and whatever else is told."""
        if not self.device.is_main:
            return
        metrics = {name: _number(value) for name, value in metrics.items()}
        minutes = round((time.monotonic() - self.started) / 60, 3)
        write_json(
            self.folder / "summary.json",
            {"metrics": metrics, "minutes": minutes, "device": device_name(self.device), **more},
        )
        if self._wandb is not None:
            self._wandb.summary.update(metrics)

    # ---- pictures

    def save_samples(
        self, name: str, step: int, images: Tensor, columns: int, title: str | None = None
    ) -> None:
        """A grid of uint8 images (N, C, H, W) as samples/NAME-STEP.png and in TensorBoard."""
        if not self.device.is_main:
            return
        self._open_trackers(step)
        self._write(
            lambda: figures.save_grid(
                self.samples_dir / f"{name}-{step:06d}.png", images, columns, title=title
            )
        )
        self._tensorboard.add_image(name, figures.image_grid(images, columns), step)

    # ---- progress

    def progress(self, first: int, last: int, unit: str = "step") -> Iterator[int]:
        """Count first, ..., last under one bar; without a terminal, under no bar at all (the log lines
        remain)."""
        silent = not (self.device.is_main and sys.stderr.isatty())
        with tqdm(
            range(first, last + 1),
            initial=first - 1,
            total=last,
            unit=unit,
            disable=silent,
            dynamic_ncols=True,
        ) as bar:
            yield from bar

    def say(self, text: str) -> None:
        """One line for the reader of the terminal or the log."""
        if self.device.is_main:
            tqdm.write(text)

    # ---- inside

    def close(self) -> None:
        for tracker in (self._tensorboard, self._file):
            if tracker is not None:
                tracker.close()
        if self._wandb is not None:
            self._wandb.finish()
        self._tensorboard = self._wandb = self._file = None
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _open_trackers(self, step: int) -> None:
        if self._file is not None:
            return
        self._file = self._write(lambda: self._metrics.open("a", encoding="utf-8"))
        self._tensorboard = TensorBoard(self.folder / "tb", step, self.say)
        if self._wandb_mode != "off":
            self._wandb = wandb_tracking.start(self.folder, self._wandb_mode)

    def _write(self, action):
        try:
            return action()
        except OSError as error:
            raise InputError(
                f"{self.folder}: {error.strerror}; free some space or choose another --outdir"
            ) from error


class Averages:
    """Means of per-image losses between two log lines, part of the checkpoint so that a resumed run logs the
    same."""

    def __init__(self):
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: dict[str, Tensor]) -> None:
        """`values`: name -> (B,) of this process; nothing is copied off the device."""
        for name, value in values.items():
            total = value.detach().float().sum()
            self.sums[name] = self.sums[name] + total if name in self.sums else total
        self.count += len(next(iter(values.values())))

    def take(self, device: Device, prefix: str = "train/") -> dict[str, float]:
        """The means over all processes since the last call, their names after `prefix`."""
        means = {prefix + name: device.mean(total / self.count).item() for name, total in self.sums.items()}
        self.sums, self.count = {}, 0
        return means

    def state_dict(self) -> dict:
        return {"sums": self.sums, "count": self.count}

    def load_state_dict(self, state: dict) -> None:
        self.sums, self.count = state["sums"], state["count"]


def start(homework: str, name: str, config: Any, device: Device) -> Run:
    """Make `OUTDIR/HOMEWORK/NNNN-NAME` (the next number) with config.json and env.json, or open the one to
    resume.

    `config`: the script's flags; `outdir`, `resume` and `wandb` are read from it where it has them.  Raises
    InputError when the directory cannot be written or `resume` is not a run.
    """
    wandb, resume = getattr(config, "wandb", "off"), getattr(config, "resume", None)
    wandb_tracking.check(wandb)
    if resume is not None:
        if not (Path(resume) / "config.json").is_file():
            raise InputError(f"--resume {resume}: no config.json there; name a run directory")
        run = Run(resume, device, wandb)
        if device.is_main:
            atomic.remove_partial(run.folder)  # of a run that was killed: nobody else writes here now
            # flags that may change on resume: --epochs, --device, ...
            write_json(run.folder / "config.json", {**dataclasses.asdict(config), "resume": None})
        return run
    _require_text(dataclasses.asdict(config))
    folder = device.broadcast(_next_folder(Path(config.outdir) / homework, name) if device.is_main else None)
    run = Run(folder, device, wandb)
    if device.is_main:
        write_json(folder / "config.json", dataclasses.asdict(config))
        write_json(folder / "env.json", environment(device))
    run.say(f"run directory: {folder}")
    return run


def _require_text(flags: dict[str, Any]) -> None:
    """InputError for a flag that config.json cannot hold: a name whose bytes are no UTF-8."""
    for name, value in flags.items():
        text = json.dumps(value, default=str, ensure_ascii=False)
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InputError(f"--{name.replace('_', '-')} {text}: a name that is no UTF-8; rename it")


def _lock(folder: Path) -> filelock.BaseFileLock:
    """Keeps a second process from writing into the same run directory; the lock goes with the process, also
    when it is killed."""
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise InputError(
            f"{folder}: another process is writing in this run directory; wait until it ends, or stop it"
        ) from None
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; choose another --outdir") from error
    return lock


def _next_folder(parent: Path, name: str) -> Path:
    """Create `parent/NNNN-name` with the next number; never one that is there already."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            number = max(_numbers(parent), default=0) + 1
            folder = parent / f"{number:04d}-{name}"
            try:
                folder.mkdir()
            except FileExistsError:  # another process was faster: take the next number
                continue
            if _numbers(parent).count(number) == 1:
                return folder
            folder.rmdir()  # another run has the number under another name: whoever sees that looks again
            time.sleep(random.SystemRandom().uniform(0, 0.01))  # leaves the seeded numbers alone
    except OSError as error:
        raise InputError(
            f"--outdir: cannot write {parent} ({error.strerror}); choose another folder"
        ) from error


def _numbers(parent: Path) -> list[int]:
    """Of the runs in a folder."""
    return [int(found[1]) for path in parent.iterdir() if (found := re.match(r"(\d{4,})-", path.name))]


def read_json(path: Path) -> dict:
    """A JSON object from a file; InputError naming the file when there is none or it is not one."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file; name a run directory that a training script made") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a run directory that can be read") from error
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def read_metrics(run_dir: Path, *names: str) -> list[dict]:
    """The lines of metrics.jsonl that hold all of `names`; a last line cut off by a crash is left out.

    InputError when there is no such file or no such line."""
    path = Path(run_dir) / "metrics.jsonl"
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a run directory that a training script made")
    lines = [line for line in _parse_metrics(path) if all(name in line for name in names)]
    if not lines:
        raise InputError(
            f"{path}: no line with {' and '.join(names) or 'numbers'}: the run stopped before its first "
            "measurement, or another script made it; go on with --resume, or name another run"
        )
    return lines


def _parse_metrics(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as text ({error}); the file was edited or damaged") from error
    parsed = []
    for number, line in enumerate(lines, 1):
        try:
            parsed.append(json.loads(line))
            sound = isinstance(parsed[-1], dict) and isinstance(parsed[-1].get("step"), int)
        except ValueError:
            if number == len(lines):
                print(f"warning: {path}: its last line is cut off and left out", file=sys.stderr)
                break
            sound = False
        if not sound:
            raise InputError(f"{path}: line {number} is no measurement; the file was edited or damaged")
    return parsed


def write_json(path: Path, value: Any) -> None:
    """Write a JSON object atomically; paths become strings."""
    write_text_atomic(path, json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n")


def write_text_atomic(path: Path, text: str) -> None:
    """Write beside and rename: a reader or a crash never sees half a file."""
    with atomic.replacing(path, advice="free some space or choose another --outdir") as beside:
        beside.write_text(text, encoding="utf-8")


def _number(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.detach().tolist()
    return (
        [float(item) for item in value]
        if isinstance(value, (list, tuple))
        else value
        if isinstance(value, int)
        else float(value)
    )
