"""Checkpoints of fine-tuning, numbered as those of diffusers' scripts, with the trained weights alone."""

from __future__ import annotations

import re
from pathlib import Path

from common.checkpoints import Checkpoints, Stateful
from common.devices import Device
from common.errors import InputError

import torch
from torch import nn


class NumberedCheckpoints(Checkpoints):
    """checkpoint-100.pt, checkpoint-200.pt, ...: the newest `limit` of them, everything to go on from."""

    def __init__(self, folder: Path, device: Device, *, every_steps: int, limit: int, **parts: Stateful):
        super().__init__(folder, device, every_seconds=float("inf"), **parts)
        self.every_steps, self.limit = every_steps, limit

    def is_due(self, step: int) -> bool:
        return step % self.every_steps == 0

    def save(self, step: int, name: str | None = None) -> None:
        """Every process must call it.  Of later steps, from before a resume, nothing stays."""
        step = max(step, self.resumed_at)
        super().save(step, name or f"checkpoint-{step}")
        if self.device.is_main:
            later = [path for path in self.found() if self.number(path) > step]
            for path in later + self.found()[len(later) + self.limit :]:
                path.unlink(missing_ok=True)

    @staticmethod
    def number(path: Path) -> int:
        return int(path.stem.removeprefix("checkpoint-"))

    def found(self) -> list[Path]:
        """The newest first."""
        files = [path for path in self.folder.glob("*.pt") if re.fullmatch(r"checkpoint-[0-9]+", path.stem)]
        return sorted(files, key=self.number, reverse=True)

    def resume(self, name: str | None = None) -> int:
        """Restore everything from the checkpoint called `name`, or from the newest that is sound.

        Returns the step to go on from."""
        wanted = self.folder / f"{(name or 'latest').removesuffix('.pt')}.pt"
        candidates = self.found() if wanted.stem == "latest" else [wanted]
        if not candidates or not candidates[0].is_file():
            there = ", ".join(path.stem for path in self.found()) or "none"
            raise InputError(f"--resume_from_checkpoint: no {wanted.stem} in {self.folder}; there: {there}")
        return self.restore_first_sound(candidates, "--resume_from_checkpoint")


class TrainedWeights:
    """The part of a checkpoint with those weights of a network that are trained, and no others."""

    def __init__(self, network: nn.Module):
        self.network = network

    def named(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    def state_dict(self) -> dict:
        return {name: parameter.detach() for name, parameter in self.named().items()}

    def load_state_dict(self, state: dict) -> None:
        here = self.named()
        if here.keys() != state.keys():
            raise ValueError(f"{len(state)} trained weights there, {len(here)} here")
        with torch.no_grad():
            for name, value in state.items():
                here[name].copy_(value)
