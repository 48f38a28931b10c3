"""Mix two styles in one image, layer by layer: a sheet of rows and columns.  Theory: theory/en/stylegan.md.

python hw3_stylegan_sampling/style_mixing.py --network runs/hw3/0001-stylegan-avatars --styles 0-3
python hw3_stylegan_sampling/style_mixing.py --network ffhq.pkl --rows 85,100 --cols 55,821,1789 --styles 0-6
python hw3_stylegan_sampling/style_mixing.py --network ffhq.pkl --projected-w out/projected_w.npz

Each cell is the image of its row, but for the layers --styles, which are those of its column: the first ones
hold shapes, the last ones colours.  Files are called as NVIDIA's style_mixing.py calls them: 85-55.png, those
that are mixed 85-85.png and 55-55.png, and grid.png with everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common import command_line, devices, figures
from common.data import to_uint8
from common.errors import InputError
from common.flags import CountOrZero, Flags

import torch
import tyro
from torch import Tensor

from hw3_stylegan_sampling import models, projections, sample
from hw3_stylegan_sampling.networks import Generator, NoiseMode

ROWS = "85,100,75,458"
"""Seeds of the rows where no projection is given."""


@dataclass(frozen=True)
class Config(Flags):
    """Flags of style_mixing.py."""

    network: models.Network
    """A shipped generator's name, a run directory of train_stylegan.py, a .safetensors or a .pkl file."""
    rows: str | None = None
    """Seeds of the rows: 0,1,4-6.  If left out: none beside --projected-w, a few without it."""
    cols: str = "55,821,1789,293"
    """Seeds of the columns."""
    styles: str = "0-6"
    """Layers that the column gives: 0-3, or 0,1,8."""
    projected_w: tuple[Path, ...] = ()
    """Files of projections, each of which becomes a row above those of --rows."""
    trunc: sample.Psi = 1.0
    """Psi of eq. (stylegan.14) for the seeds' styles."""
    class_index: Annotated[CountOrZero | None, tyro.conf.arg(name="class")] = None
    """Class to draw, for generators with classes."""
    noise_mode: NoiseMode = "const"
    """Noise in the layers: the same maps for all images, new ones, or none."""
    outdir: Path = Path("mixed")
    """Folder of the images; made if need be."""
    device: str = "auto"
    """Device to draw on: auto, cpu, mps, cuda or cuda:N."""


def main(config: Config) -> None:
    device = devices.start(config.device)
    if config.rows is None and not config.projected_w:
        rows = sample.numbers(ROWS, "--rows")
    else:
        rows = sample.numbers(config.rows, "--rows") if config.rows is not None else []
    columns = sample.numbers(config.cols, "--cols")
    generator = models.load(config.network, device.torch)
    layers = layers_of(config.styles, generator)
    labels = models.class_labels(generator, config.class_index)
    of_seed = lambda seed: generator.styles(sample.latent(seed, generator), labels, psi=config.trunc)
    own = [projections.read(path, generator) for path in config.projected_w] + list(map(of_seed, rows))
    names = [*names_of(config.projected_w, {*rows, *columns}), *map(str, rows)]
    mode = config.noise_mode
    with torch.inference_mode():
        sheet = mixed(generator, torch.cat(own), torch.cat(list(map(of_seed, columns))), layers, mode)
    save(config.outdir, sheet, names, columns, config.styles)
    print(f"{config.outdir}: {len(names)} x {len(columns)} images, and all of them in grid.png")


def name_of(path: Path) -> str:
    """anna for anna.npz and for anna/projected_w.npz."""
    return path.parent.name or path.stem if path.stem == "projected_w" else path.stem


def names_of(paths: tuple[Path, ...], seeds: set[int]) -> list[str]:
    """What files of projections are called; InputError where two images would be one file."""
    names = [name_of(path) for path in paths]
    for name, path in zip(names, paths):
        if names.count(name) > 1 or name in map(str, seeds):
            raise InputError(
                f"--projected-w {path}: another row or column is called {name} too; rename the file"
            )
    return names


def mix(own: Tensor, other: Tensor, layers: list[int]) -> Tensor:  # (..., L, D) twice -> (..., L, D)
    """The first styles, but for `layers`, which are the second ones."""
    # task hw3.b: some layers of another image
    mixed = own.clone()
    mixed[..., layers, :] = other[..., layers, :]
    return mixed
    # end task


def mixed(
    generator: Generator, own: Tensor, other: Tensor, layers: list[int], noise_mode: NoiseMode
) -> Tensor:
    """ws (R, L, D) and (C, L, D) -> uint8 (R + 1, C + 1, 3, S, S): the first row and column hold the
    images that are mixed; the corner is white."""
    draw = lambda ws: to_uint8(generator.synthesis(ws[None], noise_mode))[0].cpu()
    columns = [draw(ws) for ws in other]
    sheet = [[torch.full_like(columns[0], 255), *columns]]
    sheet += [[draw(row), *(draw(mix(row, column, layers)) for column in other)] for row in own]
    return torch.stack([torch.stack(images) for images in sheet])


def save(outdir: Path, sheet: Tensor, rows: list[str], columns: list[int], styles: str) -> None:
    """Every image, those that are mixed too, and the sheet with their names."""
    try:
        for name, image in zip([*rows, *columns], [*sheet[1:, 0], *sheet[0, 1:]], strict=True):
            figures.save_png(outdir / f"{name}-{name}.png", image)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                figures.save_png(outdir / f"{row}-{column}.png", sheet[i + 1, j + 1])
        save_sheet(outdir / "grid.png", sheet, rows, columns, styles)
    except OSError as error:
        raise InputError(f"--outdir {outdir}: {error.strerror}; choose another folder") from error


def save_sheet(path: Path, sheet: Tensor, rows: list[str], columns: list[int], styles: str) -> None:
    """The sheet as a figure."""
    title = f"Rows' images with the columns' styles in layers {styles}"
    names = ("", *map(str, columns))
    figures.save_grid(
        path, sheet.flatten(0, 1), len(names), title=title, row_titles=("", *rows), column_titles=names
    )


def layers_of(text: str, generator: Generator, flag: str = "--styles") -> list[int]:
    """0-3 -> [0, 1, 2, 3]; InputError for layers that the generator lacks."""
    layers = sample.numbers(text, flag)
    if max(layers) >= generator.layers:
        raise InputError(
            f"{flag} {text}: its style layers are 0 to {generator.layers - 1}; name some of these"
        )
    return layers


if __name__ == "__main__":
    command_line.run(main, Config)
