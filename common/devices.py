"""Where a script computes: device, number format, seeds, and the processes torchrun started."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

from common.errors import InputError

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

CHOICES_OF_KERNELS = 3
"""Kernels that cuDNN tries for each convolution before it chooses: the likeliest ones.  With the default of
10, StyleGAN's first 17 steps took 55 s on an H200; with 3, 24 s."""


@dataclass(frozen=True)
class Device:
    """The device and number format of this process, and its place among the processes of the run."""

    torch: torch.device
    """Where tensors live."""
    precision: str = "fp32"
    """`fp32`, or `bf16` for autocast to bfloat16 (weights, optimiser and losses stay float32)."""
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files: rank 0 only."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager:
        """The number format of forward passes."""
        return torch.autocast(self.torch.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def prepare(self, model: nn.Module, *, channels_last: bool = False) -> nn.Module:
        """Move `model` here; `channels_last` suits convolutions on CPUs and tensor cores."""
        model = model.to(self.torch)
        return model.to(memory_format=torch.channels_last) if channels_last else model

    def compiled(self, model: nn.Module) -> nn.Module:
        """`model` with kernels that torch.compile writes at its first step; InputError where nothing can be
        compiled, said before the step."""
        try:
            torch.compile(lambda x: 2 * x.sin())(torch.zeros(8, device=self.torch))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"--compile: {reason}; install a compiler, or leave the flag out") from error
        return torch.compile(model)

    def parallel(self, model: nn.Module) -> nn.Module:
        """`model` with gradients averaged over processes, or the model itself in a single process.

        On GPUs batch normalisation takes its statistics from the whole batch; torch cannot do that on CPUs,
        where each process then uses its own part of the batch, which is said on stderr.
        """
        if self.world_size == 1:
            return model
        if self.torch.type == "cuda":  # replaces the layers inside `model`
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
            return nn.parallel.DistributedDataParallel(model, device_ids=[self.torch.index])
        if self.is_main and any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()
        ):
            print(
                "warning: batch normalisation on CPUs uses each process's part of the batch: "
                "results differ from a single process",
                file=sys.stderr,
            )
        return nn.parallel.DistributedDataParallel(model)

    def adam(
        self,
        weights: Iterable[nn.Parameter],
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        *,
        weight_decay: float = 0.0,
    ) -> torch.optim.Adam:
        """Adam whose steps on a GPU can be part of a CUDA graph (see common/cuda_graphs.py).

        Its learning rate is a tensor there; change it with `schedules.set_learning_rate`."""
        if self.torch.type != "cuda":
            return torch.optim.Adam(weights, learning_rate, betas, weight_decay=weight_decay)
        rate = torch.tensor(learning_rate, device=self.torch)
        optimizer = torch.optim.Adam(weights, rate, betas, weight_decay=weight_decay, capturable=True)
        optimizer.register_load_state_dict_pre_hook(_keep_learning_rates)
        return optimizer

    def mean(self, value: Tensor) -> Tensor:
        """Mean of a tensor of one shape over processes (the tensor itself in a single process)."""
        if self.world_size == 1:
            return value
        value = value.detach().clone()
        dist.all_reduce(value)
        return value / self.world_size

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world_size > 1:
            dist.barrier()

    def broadcast(self, value):
        """Rank 0's (picklable) `value`, on every process."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value) -> list:
        """Every process's (picklable) `value`, in rank order, on every process."""
        if self.world_size == 1:
            return [value]
        box = [None] * self.world_size
        dist.all_gather_object(box, value)
        return box


def _keep_learning_rates(optimizer: torch.optim.Optimizer, state: dict) -> dict:
    """The state of a run, begun on a CPU perhaps, with this optimiser's own tensors as learning rates."""
    own = [{name: group[name] for name in ("lr", "capturable")} for group in optimizer.param_groups]
    return state | {"param_groups": [saved | kept for saved, kept in zip(state["param_groups"], own)]}


def start(
    name: str = "auto",
    *,
    precision: str = "fp32",
    seed: int = 0,
    processes: Literal["any", "one"] = "any",
) -> Device:
    """Choose the device, join torchrun's processes if there are any, and seed every generator.

    `name` is `auto` (CUDA, then Apple's MPS, then the CPU), `cpu`, `mps`, `cuda` or `cuda:N`.  Under torchrun
    each process takes the GPU of its LOCAL_RANK over NCCL, or the CPU over Gloo.  Each process draws its own
    random numbers: its seed is `seed + 1000003 * rank`.  On a CPU without bfloat16 instructions `bf16`
    becomes `fp32`, which is said on stderr.  `processes`: `one` refuses torchrun, for what trains in minutes.
    """
    rank, world_size, local_rank = _place()
    if world_size > 1 and processes == "one":
        raise InputError("torchrun: these networks train in minutes; start the script with python")
    device = _choose(name, local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.benchmark_limit = CHOICES_OF_KERNELS
    if world_size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    seed_everything(seed + 1000003 * rank)
    if precision == "bf16" and device.type == "cpu" and not cpu_has_bfloat16():
        precision = "fp32"
        if rank == 0:
            print(
                "warning: --precision bf16: this CPU has no bfloat16 instructions, fp32 is faster: "
                "going on in fp32",
                file=sys.stderr,
            )
    return Device(device, precision, rank, world_size)


def cpu_has_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16 and torch lets it; where it does not, convolutions take 15 times
    as long in bfloat16 as in float32 (measured on an AMD EPYC with AVX2)."""
    known = torch.cpu.get_capabilities()
    instructions = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # the last two are ARM's
    return torch.backends.mkldnn.is_available() and any(known.get(name, False) for name in instructions)


def leave() -> None:
    """End this process together with torchrun's other ones, if there are any.

    Python's own end is left out: gloo's and NCCL's threads may outlive it, and then abort a process whose
    work is done (seen once in some hundred runs on a busy machine, also after destroy_process_group)."""
    if dist.is_initialized():
        dist.barrier()  # whoever ends first must not close the sockets under the others
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators (CPU and GPU)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _place() -> tuple[int, int, int]:
    """Rank, number of processes and local rank, as torchrun says them; a process alone where nothing is said.

    InputError where the environment says only a part of it: schedulers leave such variables behind."""
    said = {name: os.environ.get(name, "").strip() for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    if said["WORLD_SIZE"] in ("", "1"):
        return 0, 1, 0
    needed = {**said, **{name: os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT")}}
    missing = [name for name, value in needed.items() if not value]
    numbers = [value for value in said.values() if value]
    if missing or not all(value.isdecimal() for value in numbers):
        raise InputError(
            f"WORLD_SIZE={said['WORLD_SIZE']} is set in the environment, but "
            + (f"{', '.join(missing)} not" if missing else f"not all of {', '.join(said)} are numbers")
            + "; start several processes with torchrun, or unset WORLD_SIZE for one"
        )
    return int(said["RANK"]), int(said["WORLD_SIZE"]), int(said["LOCAL_RANK"])


def _choose(name: str, local_rank: int) -> torch.device:
    mps = torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "mps", "cuda"):
        raise InputError(f"--device {name}: no such device; use auto, cpu, mps, cuda or cuda:N")
    if (device.type == "cuda" and not torch.cuda.is_available()) or (device.type == "mps" and not mps):
        raise InputError(f"--device {name}: this machine has none that torch can use; use --device cpu")
    if device.type == "cuda":
        index = local_rank if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise InputError(
                f"--device {name}: only {torch.cuda.device_count()} GPUs here, wanted number {index}"
            )
        device = torch.device("cuda", index)
    return device
