"""FID of images: network and two folders end to end, ours against pytorch-fid with the same weights.

python benchmarks/inception.py                                     # random weights, 2 x 100 images
python benchmarks/inception.py --images 1000 --rounds 1            # the share of the network grows with N

The ways run in turn within one process; medians and ratios are printed.  End to end: decoding, network,
statistics and distance; "cached" reads the statistics of the first folder from an .npz.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common import (
    command_line,
    flags,
    torchvision_operators,  # noqa: F401  pytorch-fid needs it
)
from common.metrics import fid, inception

import numpy as np
import torch
from PIL import Image


@dataclass(frozen=True)
class Config(flags.Flags):
    images: flags.Count = 100
    """Images in each of the two folders."""
    side: flags.Pixels = 64
    """Their height and width."""
    batch_size: flags.Count = 25
    """Images per pass."""
    rounds: flags.Count = 3
    """Runs of each way, in turn."""
    cpu_time: bool = False
    """Count CPU seconds instead of wall time, for a machine with other work; set OMP_NUM_THREADS=1 then."""

    @property
    def clock(self) -> Callable[[], float]:
        """Where the seconds come from."""
        return time.process_time if self.cpu_time else time.perf_counter

    weights: Path | None = None
    """Inception's weight file; random weights, which cost the same, when left out."""


def main(config: Config) -> None:
    from pytorch_fid import fid_score
    from pytorch_fid import inception as published

    warnings.simplefilter("ignore")  # both say that N is small
    what = "CPU" if config.cpu_time else "wall"
    print(f"cpu, {torch.get_num_threads()} threads, {config.rounds} rounds, {what} seconds")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        weights = config.weights or random_weights(root / "random.pth")
        published.load_state_dict_from_url = lambda *_, **__: torch.load(weights, weights_only=True)
        paths = [draw(root / name, config, seed) for seed, name in enumerate("ab")]
        compare_networks(config, weights, published)
        ours = lambda *sets: fid_of([*map(str, sets)], weights, config.batch_size)
        moments = fid.joined(
            fid.parts_of(settings(str(paths[0]), "", weights, config.batch_size), [str(paths[0])])[0]
        )
        moments.save(root / "a.npz")
        theirs = lambda first: fid_score.calculate_fid_given_paths(
            [str(first), str(paths[1])], config.batch_size, "cpu", 2048, num_workers=torch.get_num_threads()
        )
        ways = {
            "pytorch-fid": lambda: theirs(paths[0]),
            "ours": lambda: ours(*paths),
            "pytorch-fid, cached": lambda: theirs(root / "a.npz"),
            "ours, cached": lambda: ours(root / "a.npz", paths[1]),
        }
        print(f"two folders of {config.images} images of {config.side} x {config.side}, end to end:")
        show(*in_turn(ways, config.rounds, config.clock))


def compare_networks(config: Config, weights: Path, published) -> None:
    """Images a second of the network alone, and how far the features differ."""
    generator = torch.Generator().manual_seed(0)
    shape = (config.batch_size, 3, config.side, config.side)
    batch = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    network = published.InceptionV3([3]).eval()
    fast, coarse = inception.Inception(weights), inception.Inception(weights, precision="bf16")
    with torch.no_grad():
        reference = lambda: network(batch / 255)[0].flatten(1)
        ways = {"pytorch-fid": reference, "ours": lambda: fast(batch), "ours, bf16": lambda: coarse(batch)}
        expected = reference()
        errors = {
            way: float((compute() - expected).norm() / expected.norm()) for way, compute in ways.items()
        }
        print(f"network, batches of {config.batch_size}; relative error of the features:")
        show(in_turn(ways, config.rounds, config.clock)[0], errors)


def show(seconds: dict[str, list[float]], values: dict[str, float]) -> None:
    """One line for each way: median seconds, how many times faster than the first way, and its value."""
    first = next(iter(seconds.values()))
    for way, each in seconds.items():
        ratios = sorted(a / b for a, b in zip(first, each))
        print(
            f"  {way:20} {statistics.median(each):8.3f} s   {statistics.median(ratios):6.2f} times "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})   {values[way]:.9g}"
        )


def in_turn(ways: dict, rounds: int, clock: Callable[[], float]) -> tuple[dict[str, list[float]], dict]:
    """Seconds of each run of each way, and the last result of each."""
    seconds, results = {way: [] for way in ways}, {}
    for _ in range(rounds):
        for way, compute in ways.items():
            start = clock()
            results[way] = compute()
            seconds[way].append(clock() - start)
    return seconds, results


def settings(a: str, b: str, weights: Path, batch_size: int) -> fid.Config:
    return fid.Config(a, b, weights=weights, batch_size=batch_size, device="cpu")


def fid_of(sources: list[str], weights: Path, batch_size: int) -> float:
    """What `python -m common.metrics.fid` does, as a number."""
    first, second = fid.parts_of(settings(*sources, weights, batch_size), sources)
    return fid.frechet.distance(fid.joined(first), fid.joined(second))


def random_weights(path: Path) -> Path:
    """A weight file whose activations keep their size from layer to layer."""
    torch.manual_seed(0)
    network = inception.InceptionV3()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    torch.save(network.state_dict(), path)
    return path


def draw(folder: Path, config: Config, seed: int) -> Path:
    """A folder of PNGs of smooth noise."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    for i in range(config.images):
        coarse = random.integers(0, 256, (6 + seed, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((config.side, config.side), Image.Resampling.BICUBIC).save(
            folder / f"{i}.png"
        )
    return folder


if __name__ == "__main__":
    command_line.run(main, Config)
