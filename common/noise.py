"""Random numbers of a batch that do not depend on how many processes share it."""

from __future__ import annotations

from common.devices import Device

import torch
from torch import Tensor


class BatchNoise:
    """Draws for batches of `batch_size`: latents of a GAN, times and noise of a diffusion model.

    Every process draws the numbers of the whole batch from one seed and takes its rows, as `Batches` does
    with images.  Part of the checkpoint.
    """

    def __init__(self, batch_size: int, device: Device, *, seed: int):
        self.batch_size, self.device = batch_size, device
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        """N(0, 1), float32 (B, *shape): B rows of this process."""
        return self._rows(torch.randn(self.batch_size, *shape, generator=self.generator))

    def uniform(self, *shape: int) -> Tensor:
        """U[0, 1), float32 (B, *shape): B rows of this process."""
        return self._rows(torch.rand(self.batch_size, *shape, generator=self.generator))

    def _rows(self, values: Tensor) -> Tensor:
        return values[self.device.rank :: self.device.world_size].to(self.device.torch)

    def state_dict(self) -> dict:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self.generator.set_state(state["generator"])
