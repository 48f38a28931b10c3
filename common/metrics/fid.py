"""Fréchet Inception distance of two sets of images, eqs. (metrics.7)-(metrics.8) of theory/en/metrics.md.

python -m common.metrics.fid path/to/real path/to/generated --weights pt_inception-2015-12-05-6726825d.pth
python -m common.metrics.fid mnist:train mnist_train.npz --save-stats     # once; pytorch-fid reads it too
python -m common.metrics.fid mnist_train.npz path/to/generated --folds 10

A and B are folders of images, .npz statistics, or data sets by name (`mnist`, `avatars:train`).  The number
is pytorch-fid's on the same folders and weights.  Images of any size are resized to 299 x 299, grey ones
become RGB.  The spread (--folds) is a jackknife over parts of the images; it does not contain the bias of a
small N.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from common import command_line, devices, flags
from common.errors import InputError
from common.metrics import frechet, inception, spread
from common.metrics.frechet import Moments, Statistics
from common.metrics.images import Images, open_images

import tyro
from torch import Tensor
from tqdm import tqdm

Extractor = Callable[[Tensor | Sequence[Tensor]], Tensor]
"""uint8 images (B, C, H, W) -> features (B, D)."""


@dataclass(frozen=True)
class Config(flags.Flags):
    a: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """Folder of images, .npz of statistics, or data set (NAME or NAME:SPLIT)."""
    b: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
    """The same; with --save-stats: the .npz file to write."""
    weights: Path | None = None
    """Inception's weight file; by default where torch.hub (and pytorch-fid) keep it."""
    download: bool = False
    """Fetch the weight file (96 MB) when it is not there; its SHA-256 is checked."""
    batch_size: flags.Count = 50
    """Images per pass of the network."""
    dims: Literal[64, 192, 768, 2048] = 2048
    """Features: 64, 192 (first, second pool), 768 (before the auxiliary classifier), 2048 (FID)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    num_workers: flags.Processes | None = None
    """Decoding threads; by default one per core, at most 8."""
    save_stats: bool = False
    """Write the statistics of A to the .npz file B instead of comparing."""
    precision: flags.Precision = "fp32"
    """bf16 is faster and moves the third digit: not for published numbers."""
    folds: flags.Count = 1
    """Parts for the standard error; 10 is usual, 1 leaves it out."""
    grey: bool = False
    """Turn both sets grey first, to compare grey images with coloured ones."""
    data_dir: flags.Folder | None = None
    """Where real data sets lie; default data/ of the repository."""


def main(config: Config) -> None:
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
        if config.save_stats:
            save_statistics(config)
        else:
            a, b = parts_of(config, (config.a, config.b))
            print(report(a, b, config.dims))


def save_statistics(config: Config) -> None:
    """Statistics of the images of `config.a` into the file `config.b`."""
    target = Path(config.b)
    if target.suffix != ".npz" or target.exists():
        found = "exists already" if target.exists() else "does not end in .npz"
        raise InputError(f"{target}: {found}; name a new .npz file after --save-stats A")
    (parts,) = parts_of(config, (config.a,))
    moments = joined(parts)
    moments.save(target)
    print(f"{target}: mu and sigma of {moments.features}, N = {moments.count}")


def parts_of(config: Config, sources: Sequence[str]) -> list[list[Statistics] | list[Moments]]:
    """For each source its statistics in `config.folds` parts; an .npz file holds only one."""
    opened = [
        Moments.load(Path(source))
        if source.endswith(".npz")
        else open_images(source, workers=config.num_workers, grey=config.grey, data_dir=config.data_dir)
        for source in sources
    ]
    for source, each in zip(sources, opened):
        found = len(each.mu) if isinstance(each, Moments) else config.dims
        if found != config.dims:
            raise InputError(
                f"{source}: statistics of {found} dimensions; give --dims {found}, or make it anew"
            )
    images = [each for each in opened if not isinstance(each, Moments)]
    check_images(images, config.folds)
    if images:
        extractor = open_inception(config)
    return [
        [each]
        if isinstance(each, Moments)
        else statistics_of(each, extractor, config.batch_size, config.folds)
        for each in opened
    ]


def open_inception(config: Config) -> inception.Inception:
    """The network the flags ask for, with a word where its weights are not the published ones."""
    weights = inception.weights_file(config.weights, download=config.download)
    device = devices.start(config.device, precision=config.precision)
    extractor = inception.Inception(weights, config.dims, device.torch, device.precision)
    if not inception.is_published(weights):
        print(f"warning: {weights}: not the published weights; this is no FID", file=sys.stderr)
    return extractor


def check_images(images: Sequence[Images], folds: int) -> None:
    """InputError for sets too small, and for a grey set against a coloured one."""
    for each in images:
        if len(each) < 2 * folds:
            need = "at least two images" if folds == 1 else f"at least {2 * folds} images for --folds {folds}"
            raise InputError(f"{each.name}: FID needs {need}, found {len(each)}; add images")
    if len(images) < 2 or any(each.grey for each in images):
        return
    grey = {each.is_grey(): each.name for each in images}
    if len(grey) == 2:
        raise InputError(
            f"{grey[True]} has 1 channel (all grey) and {grey[False]} has 3 (colour): the distance would "
            "measure colour; give --grey to compare both in grey"
        )


def statistics_of(
    images: Images, extractor: Extractor, batch_size: int = 50, folds: int = 1, name: str = ""
) -> list[Statistics]:
    """Streamed statistics of the features of `images`, in `folds` parts: image i is in part i mod folds."""
    parts: list[Statistics] = []
    start = 0
    batches: Iterable = images.batches(batch_size)
    with tqdm(total=len(images), desc=images.name, unit="img", disable=not sys.stderr.isatty()) as bar:
        for batch in batches:
            features = extractor(batch)  # (B, D)
            if not parts:
                where = features.device if features.device.type == "cuda" else "cpu"
                label = name or getattr(extractor, "name", "")
                parts = [Statistics(features.shape[1], features=label, device=where) for _ in range(folds)]
            try:
                for fold in range(folds):
                    parts[fold].update(features[(fold - start) % folds :: folds])
            except InputError as error:
                raise InputError(f"{images.name}: {error}") from error
            start += len(features)
            bar.update(len(features))
    return parts


def joined(parts: Sequence[Statistics] | Sequence[Moments]) -> Moments:
    """Statistics of all parts together."""
    if isinstance(parts[0], Moments):
        return parts[0]
    return (parts[0] if len(parts) == 1 else Statistics.merged(parts)).moments()


def report(a: Sequence, b: Sequence, dims: int) -> str:
    """The line pytorch-fid prints, with N of each set, and the spread where there are folds."""
    first, second = joined(a), joined(b)
    numbers = " and ".join(str(each.count or "unknown") for each in (first, second))
    label = "FID" if dims == 2048 else f"FID with {dims} dimensions (not comparable with published FID)"
    if max(len(a), len(b)) == 1:
        return f"{label}:  {frechet.distance(first, second)}  (N = {numbers})"
    frechet.check_comparable(first, second)
    value, error = spread.jackknife_of_groups(_distance, list(a), list(b), joined)
    return f"{label}:  {value} ± {error:.2g}  (N = {numbers}, {max(len(a), len(b))} folds)"


def _distance(first: Moments, second: Moments) -> float:
    return frechet.frechet_distance(first.mu, first.sigma, second.mu, second.sigma)


if __name__ == "__main__":
    command_line.run(main, Config)
