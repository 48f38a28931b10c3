"""How long an epoch of a VAE takes: the usual DataLoader loop against train_vae.py's, step by step of what
differs.

python benchmarks/vae_epoch.py                              # mlp and conv on drawn digits
python benchmarks/vae_epoch.py --data mnist --rounds 9

The variants take turns within each round, and each ratio is the median over rounds of the ratio within a
round: what else the machine does then hits all of them alike.  All train the same model on the same loss."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common import data, latent_space, runs
from common.command_line import run
from common.data import Batches, ImageSet

import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from hw1_bayes_and_autoencoders import vae


@dataclass(frozen=True)
class Config:
    """Flags of vae_epoch.py."""

    data: str = "digits"
    """digits, mnist or fashion-mnist."""
    models: tuple[Literal["mlp", "conv"], ...] = ("mlp", "conv")
    """Architectures of train_vae.py."""
    steps: int = 60
    """Steps of each variant in a round; times are scaled to an epoch of 60,000 images."""
    rounds: int = 7
    """Rounds, after one to warm up."""
    batch_size: int = 128
    threads: int = 0
    """CPU threads; 0 leaves torch's own choice."""
    data_dir: Path | None = None
    """Where image sets lie; default `data/` of the repository."""


class PILImages(Dataset):
    """One image at a time, by way of PIL and ToTensor, as torchvision's MNIST hands them out."""

    def __init__(self, image_set: ImageSet):
        from common import torchvision_operators  # noqa: F401

        from torchvision import transforms

        self.images, self.labels = image_set.images[:, 0].numpy(), image_set.labels.tolist()
        self.transform = transforms.ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def forever(loader: DataLoader) -> Iterator[torch.Tensor]:
    """Images in [0, 1], epoch after epoch."""
    while True:
        for images, _ in loader:
            yield images


def usual_steps(arch: str, pixels: Iterator[torch.Tensor], shape) -> Iterator[float]:
    """The loop of most VAE examples: sigmoid and binary cross-entropy, plain Adam, loss.item() every step."""
    model = vae.build(arch, shape, 20)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    while True:
        images = next(pixels)
        optimizer.zero_grad()
        mu, log_variance = model.encode(2 * images - 1)
        probabilities = torch.sigmoid(model.decode(latent_space.reparameterise(mu, log_variance)))
        reconstruction = F.binary_cross_entropy(probabilities, images, reduction="sum")
        kl = -0.5 * torch.sum(1 + log_variance - mu.pow(2) - log_variance.exp())
        loss = (reconstruction + kl) / len(images)
        loss.backward()
        optimizer.step()
        yield loss.item()


def our_steps(
    arch: str, batches: Batches, *, bf16: bool = False, matmul: str = "highest", channels_last: bool = True
) -> Iterator[float]:
    """The loop of train_vae.py."""
    model = vae.build(arch, batches.image_set.shape, 20)
    if channels_last and arch != "mlp":
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    averages, stream = runs.Averages(), batches.forever()
    while True:
        torch.set_float32_matmul_precision(matmul)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            terms = model(next(stream).images)
        loss = vae.objective(terms)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        averages.add({"reconstruction_nats": terms["reconstruction"], "kl_nats": terms["kl"].sum(1)})
        torch.set_float32_matmul_precision("highest")
        yield loss.detach()


def variants(arch: str, images: ImageSet, batch_size: int) -> dict[str, Iterator[float]]:
    """Name -> an iterator that trains one step each time it is asked, and gives the loss."""
    batches = lambda: Batches(images, batch_size, drop_last=True)
    loader = DataLoader(PILImages(images), batch_size, shuffle=True, drop_last=True)
    in_memory = ((batch.images + 1) / 2 for batch in batches().forever())
    named = {
        "DataLoader, usual loop": usual_steps(arch, forever(loader), images.shape),
        "uint8 in memory, usual loop": usual_steps(arch, in_memory, images.shape),
        "train_vae.py, fp32": our_steps(arch, batches()),
        "train_vae.py, matmul medium": our_steps(arch, batches(), matmul="medium"),
        "train_vae.py --precision bf16": our_steps(arch, batches(), bf16=True),
        "train_vae.py, bf16 and medium": our_steps(arch, batches(), bf16=True, matmul="medium"),
    }
    if arch != "mlp":
        named["train_vae.py, fp32, not channels-last"] = our_steps(arch, batches(), channels_last=False)
    return named


def measure(arch: str, images: ImageSet, config: Config) -> None:
    """Print one table."""
    steps = variants(arch, images, config.batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    losses: dict[str, float] = {}
    scale = 60_000 / (config.steps * config.batch_size)
    for _ in range(config.rounds + 1):
        for name, trained in steps.items():
            start = time.perf_counter()
            values = [next(trained) for _ in range(config.steps)]
            seconds[name].append(scale * (time.perf_counter() - start))
            losses[name] = float(sum(values) / len(values))
    base = next(iter(seconds.values()))[1:]  # the first round warms up
    print(f"\n{arch}, epoch of 60,000 images, batch {config.batch_size}, median of {config.rounds} rounds")
    print(f"{'':40} {'s / epoch':>9} {'(range)':>15} {'ratio':>7} {'loss after, nats':>17}")
    for name, all_times in seconds.items():
        times = all_times[1:]
        ratio = statistics.median(first / own for first, own in zip(base, times))
        spread = f"({min(times):.2f} - {max(times):.2f})"
        print(f"{name:40} {statistics.median(times):9.2f} {spread:>15} {ratio:6.2f}x {losses[name]:17.2f}")


def matmul_error(precision: Literal["highest", "high", "medium"]) -> float:
    """Largest error of a float32 product of 784 terms, relative to the largest entry."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(shape, generator=generator) for shape in ((128, 784), (784, 400)))
    torch.set_float32_matmul_precision(precision)
    product = a @ b
    torch.set_float32_matmul_precision("highest")
    exact = a.double() @ b.double()
    return ((product - exact).abs().max() / exact.abs().max()).item()


def main(config: Config) -> None:
    if config.threads:
        torch.set_num_threads(config.threads)
    images = data.load(config.data, data_dir=config.data_dir)
    amx = "amx_bf16" in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else "unknown"
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, AMX for bfloat16: {amx}")
    for precision in ("highest", "high", "medium"):
        print(f"float32 matmul '{precision}': relative error {matmul_error(precision):.1e}")
    for arch in config.models:
        measure(arch, images, config)


if __name__ == "__main__":
    run(main, Config)
