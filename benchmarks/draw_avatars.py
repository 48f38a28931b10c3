"""How long it takes to draw a set of avatars, uniform over all styles.

Seconds on the clock, and seconds of processor time over all threads: the first says nothing on a machine that
is busy with something else, the second still does.

python benchmarks/draw_avatars.py                     # 10,000 of 64 x 64, three times
python benchmarks/draw_avatars.py --size 256 --count 500
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from common.command_line import run
from common.data import avatars

import torch


@dataclass(frozen=True)
class Config:
    count: int = 10_000
    """Portraits a repeat draws."""
    size: int = avatars.DEFAULT_SIZE
    """Side in pixels."""
    repeats: int = 3
    """Repeats, after one warm-up of a tenth of the portraits."""
    threads: int = 0
    """CPU threads; 0 leaves torch's own choice."""
    device: str = "cpu"
    """Where to draw: cpu, cuda, mps."""


def main(config: Config) -> None:
    if config.threads:
        torch.set_num_threads(config.threads)
    attributes = avatars.sample_attributes(config.count, torch.Generator().manual_seed(0))
    attributes = {name: values.to(config.device) for name, values in attributes.items()}
    avatars.draw(
        {name: values[: max(1, config.count // 10)] for name, values in attributes.items()}, config.size
    )
    seconds, processor = [], []
    for _ in range(config.repeats):
        start, start_processor = time.perf_counter(), time.process_time()
        avatars.draw(attributes, config.size).sum().item()  # .item() waits for the device
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    median, spread = statistics.median(seconds), max(seconds) - min(seconds)
    print(
        f"{config.count} avatars of {config.size} x {config.size}: median {median:.2f} s "
        f"(spread {spread:.2f} s over {config.repeats} repeats), {config.count / median:.0f} images/s, "
        f"{config.device}, {torch.get_num_threads()} threads, "
        f"{statistics.median(processor):.2f} s of processor time"
    )


if __name__ == "__main__":
    run(main, Config)
