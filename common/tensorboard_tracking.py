"""TensorBoard beside a run: a copy of metrics.jsonl that must never stop a training."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from torch import Tensor


class TensorBoard:
    """Curves and pictures in `folder`; when that cannot be written, it is said once and the run goes on."""

    def __init__(self, folder: Path, first_step: int, say: Callable[[str], None]):
        """`first_step`: of a resumed run; what an earlier sitting wrote from there on is not shown."""
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.say, self._writer = folder, say, None
        try:
            _move_into_the_past(folder)
            self._writer = SummaryWriter(str(folder), purge_step=first_step)
        except OSError as error:
            self._give_up(error)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self._try(lambda: self._writer.add_scalar(name, value, step))

    def add_image(self, name: str, image: Tensor, step: int) -> None:
        """uint8 (C, H, W)."""
        self._try(lambda: self._writer.add_image(name, image, step))

    def close(self) -> None:
        if self._writer is not None:
            self._try(self._writer.close)

    def _try(self, action: Callable[[], None]) -> None:
        if self._writer is not None:
            try:
                action()
            except OSError as error:  # may be that of an earlier call: a thread writes
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._writer = None
        self.say(
            f"warning: {self.folder}: {error.strerror or error}; going on without TensorBoard: metrics.jsonl "
            "holds every number"
        )


def _move_into_the_past(folder: Path) -> None:
    """TensorBoard reads event files in the order of the seconds in their names: where the clock was set back,
    those of earlier sittings would come last, and what they hold would be taken for the newest."""
    now = int(time.time())
    files = sorted(folder.glob("events.out.tfevents.*"), reverse=True)
    for age, path in enumerate(files, 1):
        words = path.name.split(".")
        with suppress(ValueError, IndexError):
            if int(words[3]) >= now:
                words[3] = str(now - age)
                path.rename(path.with_name(".".join(words)))
