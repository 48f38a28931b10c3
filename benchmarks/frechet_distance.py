"""Fréchet distance from statistics and from features: ours against pytorch-fid's square root of a matrix.

python benchmarks/frechet_distance.py                   # 2,048 dimensions
python benchmarks/frechet_distance.py --dims 768 --rounds 3

Both run in turn within one process, on the same numbers; medians and ratios are printed.  Three cases: more
images than dimensions, fewer (covariances of deficient rank), and fewer with the features still at hand.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from common import (
    command_line,
    flags,
    torchvision_operators,  # noqa: F401  pytorch-fid needs it
)
from common.metrics import frechet

import numpy as np
import torch


@dataclass(frozen=True)
class Config(flags.Flags):
    dims: flags.Count = 2048
    """Dimensions of the features."""
    rounds: flags.Count = 2
    """Runs of each way, in turn."""
    cpu_time: bool = False
    """Count CPU seconds instead of wall time, for a machine with other work; set OMP_NUM_THREADS=1 then."""

    @property
    def clock(self) -> Callable[[], float]:
        """Where the seconds come from."""
        return time.process_time if self.cpu_time else time.perf_counter


def main(config: Config) -> None:
    warnings.simplefilter("ignore")  # sqrtm's remarks on singular matrices
    D = config.dims
    what = "CPU" if config.cpu_time else "wall"
    print(f"cpu, {torch.get_num_threads()} threads, {D} dimensions, {config.rounds} rounds, {what} seconds")
    for name, count in (("full rank", 3 * D), ("deficient rank", D // 4)):
        print(f"{name}, N = {count}:")
        compare(features(count, D, seed=0), 1.1 * features(count, D, seed=1), config)


def compare(x: torch.Tensor, y: torch.Tensor, config: Config) -> None:
    """One line for each way: seconds, ratio to pytorch-fid, value."""
    from pytorch_fid.fid_score import calculate_frechet_distance

    moments = [m for rows in (x, y) for m in (rows.mean(0).numpy(), np.cov(rows.numpy(), rowvar=False))]
    ways = {
        "pytorch-fid": lambda: calculate_frechet_distance(*moments),
        "ours": lambda: frechet.frechet_distance(*moments),
        "ours from features": lambda: frechet.frechet_distance_from_features(x, y),
    }
    seconds, values = in_turn(ways, config.rounds, config.clock)
    for way, each in seconds.items():
        ratios = sorted(a / b for a, b in zip(seconds["pytorch-fid"], each))
        difference = abs(values[way] / values["ours from features"] - 1)
        print(
            f"  {way:20} {statistics.median(each):8.3f} s   {statistics.median(ratios):6.1f} times "
            f"({ratios[0]:.1f} to {ratios[-1]:.1f})   {values[way]:.12g}, off by {difference:.1e}"
        )


def features(count: int, dimension: int, seed: int) -> torch.Tensor:
    """float64 (count, dimension) with variances over three decades."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    return rows * torch.logspace(0, -1.5, dimension, dtype=torch.float64)


def in_turn(
    ways: dict, rounds: int, clock: Callable[[], float]
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each run of each way, and the value each way gives."""
    seconds, values = {way: [] for way in ways}, {}
    for _ in range(rounds):
        for way, compute in ways.items():
            start = clock()
            values[way] = float(compute())
            seconds[way].append(clock() - start)
    return seconds, values


if __name__ == "__main__":
    command_line.run(main, Config)
