"""Atomic checkpoints and exact resume: 10 steps equal 5, a kill, and 5 more, bit for bit on the CPU."""

from __future__ import annotations

import pickle
import random
import signal
import sys
import time
import zipfile
from pathlib import Path
from typing import Any, Protocol

from common import atomic
from common.devices import Device
from common.errors import InputError, Stopped

import numpy as np
import torch
from torch import Tensor


class Stateful(Protocol):
    """A model, an optimiser, a scheduler, `Batches`: whatever saves and restores itself."""

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> Any: ...


class UnfitCheckpoint(InputError):
    """A checkpoint that is damaged, or of another content than is asked of it."""


class Checkpoints:
    """Writes and reads `last.pt` (and `best.pt`) of one run.

    Give it everything that changes while training, by name: model, optimiser, EMA, batches, GradScaler.  The
    states of Python's, NumPy's and torch's random generators of every process are added by itself.  A file is
    written beside its place, flushed to the disk and renamed; the `last.pt` before it stays as `previous.pt`.

    Used as a context manager it turns SIGINT and SIGTERM into `save_if_due` saving once more and raising
    `Stopped`.
    """

    def __init__(self, folder: Path, device: Device, *, every_seconds: float = 60, **parts: Stateful):
        self.folder, self.device, self.parts = Path(folder), device, parts
        self.every_seconds, self._saved_at = every_seconds, time.monotonic()
        self.best = float("inf")
        """The lowest value `save_if_best` was given."""
        self.resumed_at = 0
        """The step that `resume` went back to."""
        self._signal: int | None = None
        self._handlers: dict[int, Any] = {}

    # ---- writing

    def save(self, step: int, name: str = "last") -> None:
        """Write everything after `step` steps as `<name>.pt`.  Every process must call it.

        A run resumed with fewer steps than it has done keeps its count: the weights are those of then."""
        step = max(step, self.resumed_at)
        if self.device.is_main and not self.folder.parent.is_dir():
            raise InputError(
                f"{self.folder.parent}: the run directory is gone, deleted or moved during the run; nothing "
                "can be saved; start a new run"
            )
        states = {part: stateful.state_dict() for part, stateful in self.parts.items()}
        random_states = self.device.gather(_random_states())
        if self.device.is_main:
            content = {"step": step, "best": self.best, "parts": states, "random_states": random_states}
            keep = self.folder / "previous.pt" if name == "last" else None
            write(self.folder / f"{name}.pt", content, keep_old_as=keep)
        self._saved_at = time.monotonic()

    def save_if_due(self, step: int, loss: Tensor) -> None:
        """After every step: save when `every_seconds` have passed; on SIGINT or SIGTERM save and raise
        `Stopped`.

        A `loss` that is not finite is never saved: InputError, and the last good checkpoint stays.
        """
        due, stop = self.is_due(step), self._signal or 0
        if self.device.world_size > 1:  # all processes must save at the same step
            answers = self.device.gather((due, stop))
            due, stop = any(due for due, _ in answers), max(stop for _, stop in answers)
        if due or stop:
            self.require_finite(step, loss)
            self.save(step)
        if stop:
            run_dir = self.folder.parent
            raise Stopped(stop, f"stopped at step {step}; continue with --resume {run_dir}")

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint is written after `step` steps."""
        return time.monotonic() - self._saved_at >= self.every_seconds

    def save_if_best(self, step: int, value: float) -> None:
        """Write `best.pt` when `value` (lower is better, the same on every process) is the lowest so far."""
        self.require_finite(step, value)
        if value < self.best:
            self.best = value
            self.save(step, "best")

    def require_finite(self, step: int, *losses: Tensor | float) -> None:
        """Stop the run when a loss is NaN or infinite, before anything is written."""
        for loss in losses:
            if not np.isfinite(value := float(loss.detach() if isinstance(loss, Tensor) else loss)):
                saved = sorted(path.name for path in self.folder.glob("*.pt"))
                kept = f"{self.folder} keeps {', '.join(saved)}" if saved else "nothing was saved yet"
                raise InputError(
                    f"loss became {value} at step {step}; {kept}; "
                    "try a smaller learning rate or --precision fp32"
                )

    # ---- reading

    def resume(self) -> int:
        """Restore everything from `last.pt`, or `previous.pt` if that is damaged; returns the step to go on
        from."""
        candidates = [path for name in ("last", "previous") if (path := self.folder / f"{name}.pt").exists()]
        if not candidates:
            raise InputError(f"--resume: no checkpoint in {self.folder}; start a new run")
        return self.restore_first_sound(candidates, "--resume")

    def restore_first_sound(self, candidates: list[Path], flag: str) -> int:
        """Restore everything from the first of these files that is whole and fits; returns its step.

        Damaged ones are named on stderr; InputError, beginning with `flag`, where none is sound."""
        problems = []
        for path in candidates:
            try:
                return self._restore(path)
            except UnfitCheckpoint as error:
                problems.append(str(error))
                if path is not candidates[-1]:
                    following = candidates[candidates.index(path) + 1]
                    print(f"warning: {error}; {following.name} is used instead", file=sys.stderr)
        raise InputError(f"{flag}: {'; '.join(problems)}; start a new run")

    def _restore(self, path: Path) -> int:
        """Everything from one checkpoint; UnfitCheckpoint where it is damaged or of another content."""
        content = read(path)
        self._check_processes(content, path)
        load_parts(path, content, **self.parts)
        if more := content["parts"].keys() - self.parts.keys():
            raise UnfitCheckpoint(f"{path}: does not fit this script (it also holds {', '.join(more)})")
        try:
            self.best, self.resumed_at = float(content["best"]), int(content["step"])
            _set_random_states(content["random_states"][self.device.rank])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UnfitCheckpoint(f"{path}: no checkpoint of a run ({_reason(error)})") from error
        return self.resumed_at

    def _check_processes(self, content: Any, path: Path) -> None:
        states = content.get("random_states") if isinstance(content, dict) else None
        if isinstance(states, list) and len(states) != self.device.world_size:
            raise InputError(
                f"--resume: {path} was saved by {len(states)} processes, this run has "
                f"{self.device.world_size}; start torchrun with the same number"
            )

    # ---- signals

    def __enter__(self) -> Checkpoints:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame) -> None:
        if self._signal is not None:  # asked twice: the user does not want to wait for the save
            raise KeyboardInterrupt
        self._signal = number


def write(path: Path, content: Any, keep_old_as: Path | None = None) -> None:
    """torch.save `content` as `path`, whole or not at all; InputError when the disk is full or the folder
    cannot be written."""
    advice = "free some space or choose another --outdir (the checkpoint before it is untouched)"
    with (
        atomic.replacing(path, advice=advice, keep_old_as=keep_old_as) as beside,
        beside.open("wb") as file,  # torch.save would write a path's own name into the file
    ):
        torch.save(content, file)


def read(path: Path) -> Any:
    """Load a checkpoint onto the CPU as data, never as code, after checking every byte against the checksums
    inside it.

    Raises InputError naming the file when it is missing, UnfitCheckpoint when it is cut off or damaged.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such checkpoint; name a run directory that holds one")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"wrong checksum in {damaged}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnfitCheckpoint(f"{path}: holds something other than numbers and names") from error
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise UnfitCheckpoint(f"{path}: damaged checkpoint ({_reason(error)})") from error


def load_parts(path: Path, content: Any = None, **parts: Stateful) -> None:
    """Give `parts` their states from the checkpoint `path` (or from its `content`, read already).

    UnfitCheckpoint naming the part when the file is readable and holds something else: other names, other
    shapes, no states at all.
    """
    content = read(path) if content is None else content
    states = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(states, dict):
        raise UnfitCheckpoint(f"{path}: a readable file, but no checkpoint of a run")
    for name, part in parts.items():
        if name not in states:
            raise UnfitCheckpoint(
                f"{path}: does not fit this script (no {name}; it holds {', '.join(map(str, states))})"
            )
        try:
            part.load_state_dict(states[name])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
            raise UnfitCheckpoint(f"{path}: its {name} does not fit this run ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """An error's words in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _random_states() -> dict:
    """States of all generators of this process, in types that weights_only loading accepts."""
    algorithm, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [algorithm, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def _set_random_states(states: dict) -> None:
    random.setstate(states["python"])
    algorithm, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((algorithm, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
