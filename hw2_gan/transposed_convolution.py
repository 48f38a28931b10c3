"""Transposed convolution seen as a matrix: what it multiplies by, how large its output is, why checkerboards.

Theory: theory/en/layers.md.  A convolution is linear, so it is a matrix; ConvTranspose
multiplies by the transposed one, eq. (gan.18).  Output sizes, eq. (gan.19), for the hyper-parameters of
ConvTranspose2d; and the number of kernel taps that reach each output pixel, eq. (gan.20): uneven unless the
stride divides the kernel's side (Odena, Dumoulin and Olah 2016).

python hw2_gan/transposed_convolution.py                                 # 3 s on a CPU core
python hw2_gan/transposed_convolution.py --kernel 3 --stride 2 --padding 1 --output-padding 1 --size 5
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common import command_line, devices, figures, flags, runs
from common.errors import InputError

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor

Few = Annotated[int, Interval(ge=1, le=64)]
FewOrNone = Annotated[int, Interval(ge=0, le=64)]
"""The matrix is drawn with a number in every cell."""
COMPARED = ((3, 2), (4, 2), (5, 2), (2, 2), (4, 4), (5, 3))
"""Kernel side and stride of the panels of checkerboard.png; one more is upsampling and a convolution."""


@dataclass(frozen=True)
class Config(flags.Flags):
    """Flags of transposed_convolution.py."""

    size: Few = 4
    """Length of the signal that is enlarged."""
    kernel: Few = 4
    """Taps of the kernel."""
    stride: Few = 2
    """Step of the convolution; the factor by which the transposed one enlarges."""
    padding: FewOrNone = 1
    """Zeros around the input of the convolution; cut off the output of the transposed one."""
    output_padding: FewOrNone = 0
    """Extra output positions at the end, which choose among sizes that the convolution maps to one."""
    dilation: Few = 1
    """Distance between neighbouring taps."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """Kernel, stride, padding, output padding, dilation, as `transposed_size` takes them."""
        return self.kernel, self.stride, self.padding, self.output_padding, self.dilation


def main(config: Config) -> None:
    """Print sizes, compare the transposed matrix with torch, draw."""
    check(config)
    with runs.start("hw2", "transposed-convolution", config, devices.start("cpu")) as run:
        kernel, stride, padding, output_padding, dilation = config.sizes
        large = transposed_size(config.size, *config.sizes)
        back = convolution_size(large, kernel, stride, padding, dilation)
        run.say(f"transposed convolution: {config.size} -> {large}; convolution back: {large} -> {back}")
        taps = torch.arange(1, kernel + 1, dtype=torch.float64)  # their numbers, to tell them apart
        matrix = convolution_matrix(taps, large, stride, padding, dilation)  # (size, large)
        signal = torch.randn(config.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        enlarged = F.conv_transpose1d(
            signal[None, None], taps[None, None], None, stride, padding, output_padding, dilation=dilation
        )[0, 0]
        difference = (matrix.T @ signal - enlarged).abs().max()  # eq. (gan.18)
        run.say(f"largest difference between torch's output and the transposed matrix: {difference:.1e}")
        save_matrix(run.folder / "matrix.png", config, matrix)
        found = save_checkerboard(run.folder / "checkerboard.png")
        for name, counts in found.items():
            run.say(f"{name}: taps per output pixel {counts}")
        metrics = {"matrix/largest_difference": difference.item(), "matrix/output_size": large}
        run.log(0, metrics)
        run.summary(metrics, tap_counts=found, figures=["matrix.png", "checkerboard.png"])


def check(config: Config) -> None:
    """InputError for flags that cannot go together."""
    if config.output_padding >= config.stride:
        raise InputError(
            f"--output-padding {config.output_padding}: it chooses among as many sizes as --stride "
            f"{config.stride}: give less than that"
        )
    if transposed_size(config.size, *config.sizes) < 1:
        raise InputError(f"--padding {config.padding}: nothing is left of the output; give less")


# ---- sizes


def convolution_size(size: int, kernel: int, stride: int, padding: int = 0, dilation: int = 1) -> int:
    """Output length of a convolution, eq. (gan.19)."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def transposed_size(
    size: int, kernel: int, stride: int, padding: int = 0, output_padding: int = 0, dilation: int = 1
) -> int:
    """Output length of a transposed convolution, eq. (gan.19)."""
    return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1


# ---- the matrix


def convolution_matrix(kernel: Tensor, size: int, stride: int, padding: int = 0, dilation: int = 1) -> Tensor:
    """The matrix (output length, size) of a one-dimensional convolution, eq. (gan.18), from unit impulses.

    Row o holds the kernel (k,) from column o * stride - padding on; taps that fall outside are cut.
    """
    impulses = torch.eye(size, dtype=kernel.dtype)[:, None]  # (size, 1, size)
    return F.conv1d(impulses, kernel[None, None], stride=stride, padding=padding, dilation=dilation)[:, 0].T


# ---- checkerboards


def tap_counts(size: int, kernel: int, stride: int, padding: int = 0) -> Tensor:  # -> (H, H)
    """Number of kernel taps that reach each pixel when size x size pixels are enlarged, eq. (gan.20)."""
    ones = torch.ones(1, 1, size, size), torch.ones(1, 1, kernel, kernel)
    return F.conv_transpose2d(*ones, stride=stride, padding=padding)[0, 0]


def upsampled_tap_counts(size: int, kernel: int = 3, factor: int = 2) -> Tensor:  # -> (H, H)
    """The same for nearest-neighbour upsampling and a convolution of stride 1: even inside, eq. (gan.20)."""
    enlarged = torch.ones(1, 1, factor * size, factor * size)
    return F.conv2d(enlarged, torch.ones(1, 1, kernel, kernel), padding=kernel // 2)[0, 0]


def interior(counts: Tensor, margin: int) -> Tensor:
    """The counts away from the border."""
    return counts[margin:-margin, margin:-margin]


# ---- figures


def save_matrix(path: Path, config: Config, matrix: Tensor) -> None:
    """The convolution's matrix beside its transpose, each nonzero entry with the number of its tap."""
    rows, columns = matrix.shape
    height = 8 * max(rows, columns) / (rows + columns) + 1
    figure, axes = figures.new_figure(9, height, ncols=2, width_ratios=(columns, rows))
    titles = (
        f"convolution: {matrix.shape[1]} values in, {matrix.shape[0]} out",
        f"transposed convolution: {matrix.shape[0]} in, {matrix.shape[1]} out",
    )
    for axis, values, title in zip(axes, (matrix, matrix.T), titles):
        shown = values.clone()
        shown[shown == 0] = float("nan")
        axis.imshow(shown.numpy(), cmap="viridis", vmin=0, vmax=config.kernel + 1, alpha=0.75)
        for row, column in values.nonzero().tolist():
            text = f"w{int(values[row, column]) - 1}"
            axis.text(column, row, text, ha="center", va="center", fontsize=9)
        axis.grid(False)
        axis.spines[["top", "right"]].set_visible(True)
        axis.set(title=title, xlabel="input position", ylabel="output position")
        axis.set_xticks(range(values.shape[1]))
        axis.set_yticks(range(values.shape[0]))
        axis.title.set_fontsize(10)
    figure.suptitle(
        f"One matrix and its transpose: kernel {config.kernel}, stride {config.stride}, "
        f"padding {config.padding}", fontsize=11
    )  # fmt: skip
    figures.save_figure(figure, path)


def save_checkerboard(path: Path) -> dict[str, list[int]]:
    """Tap counts of COMPARED and of upsampling with a convolution; returns the counts that occur inside."""
    panels = {f"kernel {k}, stride {s}": (tap_counts(9, k, s), k) for k, s in COMPARED}
    panels["upsample ×2, convolution 3"] = upsampled_tap_counts(9), 2
    figure, axes = figures.new_figure(10, 5.4, nrows=2, ncols=4)
    found = {}
    for axis, (name, (counts, margin)) in zip(axes.flat, panels.items()):
        values = interior(counts, margin)
        found[name] = sorted({int(value) for value in values.flatten()})
        crop = values[:10, :10]
        axis.imshow(crop.numpy(), cmap="viridis", vmin=0, vmax=9.5)
        for row in range(len(crop)):
            for column in range(len(crop)):
                value = int(crop[row, column])
                color = "black" if value > 5 else "white"
                axis.text(column, row, value, ha="center", va="center", fontsize=6.5, color=color)
        even = len(found[name]) == 1
        axis.set_title(
            f"{name}\n{'even' if even else 'uneven'}: {', '.join(map(str, found[name]))}", fontsize=9
        )
        axis.axis("off")
    axes.flat[-1].axis("off")
    figure.suptitle(
        "Kernel taps that reach each output pixel: even when the stride divides the kernel", fontsize=11
    )
    figures.save_figure(figure, path)
    return found


if __name__ == "__main__":
    command_line.run(main, Config)
