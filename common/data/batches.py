"""Batches by index: one gather of uint8 rows and one scale on the device, no per-image Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from common.data.image_set import ImageSet, to_model_range
from common.devices import Device
from common.errors import InputError

import torch
from torch import Tensor


class Batch(NamedTuple):
    images: Tensor
    """float32 (B, C, H, W) in [-1, 1]."""
    labels: Tensor | None
    """int64 (B,), where the set has labels."""
    index: Tensor
    """int64 (B,): rows of the set."""


class SameImages:
    """A part of a checkpoint that lets a run go on with the images it began with, and no others."""

    def __init__(self, image_set: ImageSet):
        self.image_set = image_set

    def state_dict(self) -> dict:
        return {"count": len(self.image_set), "identity": self.image_set.identity}

    def load_state_dict(self, state: dict) -> None:
        """InputError where the state is of other images."""
        if state["identity"] != self.image_set.identity:
            raise InputError(
                f"--data: these are other images than the run began with ({len(self.image_set)} of the "
                f"{self.image_set.split} split of {self.image_set.name}; there were {state['count']}); put "
                "the set back as it was, name where it is now with --data, or start a new run"
            )


class Batches:
    """Iterate over a set, one epoch an iteration, in an order that can be saved and continued.

    The order of each epoch is a permutation from a generator this object owns, so nothing else that draws
    random numbers moves it.  `state_dict()` taken after a batch continues with the next one: it holds the
    generator as it was when the epoch began, the epoch, and how many batches were handed out.

    `device`: a `Device` of torchrun shares every batch among its processes, rows rank, rank + world_size, ...
    of the same permutation to each; a torch device gives all rows to whoever iterates.  `batch_size` is that
    of all processes together.  An incomplete last batch is split the same way, so a process may hand out one
    row fewer, and none if fewer rows than processes are left: that batch is then dropped on every process, to
    keep them in step.
    """

    def __init__(
        self,
        image_set: ImageSet,
        batch_size: int,
        device: Device | torch.device | str = "cpu",
        *,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
    ):
        shared = device if isinstance(device, Device) else Device(torch.device(device))
        self.device, self.rank, self.world_size = shared.torch, shared.rank, shared.world_size
        if batch_size < 1:
            raise ValueError(f"batch_size {batch_size} must be positive")
        if batch_size % self.world_size:
            raise InputError(
                f"--batch-size {batch_size}: cannot be shared by {self.world_size} processes; use a multiple"
            )
        if drop_last and len(image_set) < batch_size:
            raise InputError(
                f"--batch-size {batch_size}: the {image_set.split} split of {image_set.name} has only "
                f"{len(image_set)} images; use a smaller batch or add images"
            )
        self.image_set, self.batch_size = image_set, batch_size
        self.shuffle, self.drop_last = shuffle, drop_last
        self.generator = torch.Generator().manual_seed(seed)
        self.epoch, self.position = 0, 0
        self._epoch_start = self.generator.get_state()
        on_device = image_set.images
        if self.device.type == "cuda" and on_device.numel() < 8 * 2**30:  # the set fits beside the model
            on_device = on_device.to(self.device)
        self.images = on_device

    def __len__(self) -> int:
        """Batches an epoch."""
        whole, rest = divmod(len(self.image_set), self.batch_size)
        return whole + (not self.drop_last and rest >= self.world_size)

    def __iter__(self) -> Iterator[Batch]:
        """The batches left in this epoch; the next iteration begins the next epoch."""
        self.generator.set_state(self._epoch_start)
        count = len(self.image_set)
        order = torch.randperm(count, generator=self.generator) if self.shuffle else torch.arange(count)
        while self.position < len(self):
            start = self.position * self.batch_size
            self.position += 1
            yield self._gather(order[start : start + self.batch_size][self.rank :: self.world_size])
        self.epoch, self.position = self.epoch + 1, 0
        self._epoch_start = self.generator.get_state()

    def forever(self) -> Iterator[Batch]:
        """Batches without end, epoch after epoch."""
        if len(self) == 0:
            raise ValueError(f"{len(self.image_set)} images make no batch of {self.batch_size}")
        while True:
            yield from self

    def _gather(self, index: Tensor) -> Batch:
        rows = self.images[index.to(self.images.device)]
        labels = self.image_set.labels
        return Batch(
            to_model_range(rows.to(self.device, non_blocking=True)),
            None if labels is None else labels[index].to(self.device),
            index,
        )

    def state_dict(self) -> dict:
        return {
            "epoch": self.epoch,
            "position": self.position,
            "generator": self._epoch_start.clone(),
            **SameImages(self.image_set).state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        """InputError where the state is of other images than these: an epoch would be another one."""
        SameImages(self.image_set).load_state_dict(state)
        self.epoch, self.position, self._epoch_start = (
            state["epoch"],
            state["position"],
            state["generator"].clone(),
        )
