"""A run directory and its checkpoints, opened together: how every training script begins.

parts = dict(model=model, optimizer=optimizer, batches=batches, averages=averages)
with resumable.start("hw1", name, config, device, **parts) as (run, saver, done):
    for step, batch in zip(run.progress(done + 1, steps), batches.forever()):
        ...                                      # forward, loss, zero_grad, backward, step
        saver.save_if_due(step, loss)
    saver.save(steps)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from common import runs
from common.checkpoints import Checkpoints, Stateful
from common.devices import Device
from common.flags import TrainingFlags


@contextmanager
def start(
    homework: str, name: str, config: TrainingFlags, device: Device, **parts: Stateful | None
) -> Iterator[tuple[runs.Run, Checkpoints, int]]:
    """Open `OUTDIR/HOMEWORK/NNNN-NAME`, or the run to resume; yields the run, its checkpoints, and the steps
    done before.

    `parts`: everything that changes while training, by name; what is None is left out.  A resumed run gets
    the states of all parts back, and what it logged after its checkpoint is forgotten.
    """
    parts = {part: stateful for part, stateful in parts.items() if stateful is not None}
    seconds = config.checkpoint_seconds
    with (
        runs.start(homework, name, config, device) as run,
        Checkpoints(run.checkpoints_dir, device, every_seconds=seconds, **parts) as saver,
    ):
        done = saver.resume() if config.resume else 0
        run.rewind(done)
        yield run, saver, done
