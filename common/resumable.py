"""A run directory and its checkpoints, opened together: how every training script begins.

parts = dict(model=model, optimizer=optimizer, batches=batches, validation=val, averages=averages)
with resumable.start("hw1", name, config, device, **parts) as (run, saver, done):
    for step, batch in zip(run.progress(done + 1, steps), batches.forever()):
        ...                                      # forward, loss, zero_grad, backward, step
        saver.save_if_due(step, loss)
    saver.save(steps)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from common import checkpoints, runs
from common.checkpoints import Checkpoints, Stateful
from common.data.batches import SameImages
from common.data.image_set import ImageSet
from common.devices import Device
from common.flags import TrainingFlags


@contextmanager
def start(
    homework: str,
    name: str,
    config: TrainingFlags,
    device: Device,
    *,
    validation: ImageSet,
    **parts: Stateful | None,
) -> Iterator[tuple[runs.Run, Checkpoints, int]]:
    """Open `OUTDIR/HOMEWORK/NNNN-NAME`, or the run to resume; yields the run, its checkpoints, and the steps
    done before.

    `parts`: everything that changes while training, by name; what is None is left out.  A resumed run gets
    the states of all parts back, and what it logged after its checkpoint is forgotten.
    `validation`: the held-out images that the run is measured with.  It goes on with the same ones only, as
    it does with its training images (`Batches` sees to those).
    """
    parts = {part: stateful for part, stateful in parts.items() if stateful is not None}
    parts["validation"] = SameImages(validation)
    seconds = config.checkpoint_seconds
    with (
        runs.start(homework, name, config, device) as run,
        Checkpoints(run.checkpoints_dir, device, every_seconds=seconds, **parts) as saver,
    ):
        done = saver.resume() if config.resume else 0
        run.rewind(done)
        yield run, saver, done


def require_same_images(run: runs.Run, *image_sets: ImageSet) -> None:
    """InputError where a study, a run of several trainings, is resumed on other images than it began with."""
    path, parts = run.checkpoints_dir / "images.pt", {one.split: SameImages(one) for one in image_sets}
    if path.is_file():
        checkpoints.load_parts(path, **parts)
    else:
        checkpoints.write(path, {"parts": {split: part.state_dict() for split, part in parts.items()}})
