"""One epoch of 60,000 images of 28 x 28 in batches of 128 as floats: ours against torchvision's DataLoader.

python benchmarks/image_batches.py      # also: loading a cached set, and a script's start to its first step

The two ways run in turn within one process; medians and ratios are printed, seconds depend on the machine.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import (
    data,
    torchvision_operators,  # noqa: F401
)
from common.data import Batches, ImageSet

import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

ROUNDS = 5
SCRIPT = Path(__file__).resolve().parent.parent / "hw1_bayes_and_autoencoders" / "train_autoencoder.py"


def torchvision_mnist(images: torch.Tensor, labels: torch.Tensor) -> datasets.MNIST:
    """torchvision's own MNIST class, with its per-sample conversion, around images already in memory."""
    mnist = datasets.MNIST.__new__(datasets.MNIST)
    mnist.data, mnist.targets = images[:, 0], labels
    mnist.transform, mnist.target_transform = transforms.ToTensor(), None
    return mnist


def seconds(epoch) -> float:
    start = time.perf_counter()
    count = sum(len(batch[0]) for batch in epoch())
    assert count == 60_000
    return time.perf_counter() - start


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (60_000, 1, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(10, (60_000,), generator=generator)
    ours = Batches(ImageSet(images, "noise", "train", "here", labels=labels), 128)
    peer = DataLoader(torchvision_mnist(images, labels), 128, shuffle=True)
    times = [(seconds(lambda: ours), seconds(lambda: peer)) for _ in range(ROUNDS)]
    mine, theirs = (statistics.median(column) for column in zip(*times))
    ratios = sorted(b / a for a, b in times)
    print(f"cpu, {torch.get_num_threads()} threads, {ROUNDS} rounds in turn")
    print(
        f"batches: ours {mine:.3f} s, torchvision DataLoader {theirs:.3f} s an epoch; "
        f"ratio {statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"
    )

    with tempfile.TemporaryDirectory() as folder:
        for name in ("avatars", "wells", "digits"):
            start = time.perf_counter()
            data.load(name, data_dir=folder)
            drawn = time.perf_counter() - start
            start = time.perf_counter()
            loaded = data.load(name, data_dir=folder)
            mapped = time.perf_counter() - start
            loaded.images.sum()
            print(
                f"{name}: {len(loaded)} images drawn and cached in {drawn:.2f} s, loaded from the cache in "
                f"{mapped:.3f} s, every pixel read after {time.perf_counter() - start:.2f} s"
            )
        start = time.perf_counter()
        flags = [
            "--data",
            "wells",
            "--data-dir",
            folder,
            "--epochs",
            "1",
            "--outdir",
            folder,
            "--checkpoint-seconds",
            "0",
        ]
        process = subprocess.Popen([sys.executable, SCRIPT, *flags], stdout=subprocess.DEVNULL)
        while not list(Path(folder).glob("hw1/*/checkpoints/last.pt")) and process.poll() is None:
            time.sleep(0.01)
        print(f"train_autoencoder.py: {time.perf_counter() - start:.2f} s to the checkpoint after step 1")
        process.wait()


if __name__ == "__main__":
    main()
