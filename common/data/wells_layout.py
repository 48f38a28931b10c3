"""Moulds as a folder in the layout of the course's own set: written from the drawn wells, and read.

    train/*.jpg                 moulds without spills
    proliv/*.jpg                moulds with spills, for choosing a threshold
    test/imgs/*.jpg             both
    test/test_annotation.txt    a line `name.jpg label` for each test image: 0 normal, 1 spill

The images have many sizes and shapes.  The layout holds nothing out for choosing thresholds or stopping
early, so about 15 % of train/ is read as the split "val".  Which files depends on their names alone.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from pathlib import Path

from common.data import wells
from common.data.decoding import printable, read_images, report
from common.data.folder import list_images, relative_name
from common.data.image_set import ImageSet
from common.errors import InputError

import torch
from PIL import Image

LAYOUT_COUNTS = {"train": 3500, "proliv": 300, "test": 1000}
"""Files of each folder that `write_layout` draws unless told otherwise."""
SPLITS = ("train", "val", "proliv", "test")
HELD_OUT = 0.15
"""Part of train/ that is read as "val"."""
FOLDERS = {"train": "train", "val": "train", "proliv": "proliv", "test": "test/imgs"}
ANNOTATION = "test/test_annotation.txt"


def write_layout(
    folder: Path | str, counts: dict[str, int] | None = None, seed: int = 0, quality: int = 90
) -> None:
    """Draw moulds at sizes from 112 to 352 pixels into `folder`, as JPEG; the counts are files a folder."""
    folder, counts = Path(folder), LAYOUT_COUNTS | (counts or {})
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is not an empty folder; name a new one for the drawn moulds")
    for split, count in counts.items():
        target = folder / FOLDERS[split]
        target.mkdir(parents=True)
        lines = []
        for i in range(count):
            chunk, row = divmod(i, wells.CHUNK)
            if row == 0:
                scenes = wells.sample_scenes(split, chunk, seed)
            scene = {name: value[row : row + 1] for name, value in scenes.items()}
            height = int(scene["pixels"])
            image, _ = wells.draw(scene, height, round(height * float(scene["aspect"])))
            name = f"{split}_{i:05d}.jpg"
            Image.fromarray(image[0].permute(1, 2, 0).numpy()).save(target / name, quality=quality)
            lines.append(f"{name} {int(scene['label'])}\n")
        if split == "test":
            (folder / ANNOTATION).write_text("".join(lines), encoding="utf-8")


def read_layout(folder: Path | str, split: str, size: int, *, grey: bool = False) -> ImageSet:
    """One split of a folder in the course's layout; images are stretched to `size`×`size`, none is cut.

    Labels are 0 (normal) and 1 (spill).  Files that cannot be decoded are named on stderr and listed in
    `skipped`.  Raises InputError for a missing or empty folder, a wrong line in the annotation, and an
    annotation that does not belong to the images.
    """
    folder = Path(folder)
    if split not in SPLITS:
        raise InputError(f"split {split!r} of {folder}: moulds have {', '.join(SPLITS)}")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; it should hold train/, proliv/ and test/")
    images_folder = folder / FOLDERS[split]
    paths = list_images(images_folder)
    if split in ("train", "val"):
        paths = [path for path in paths if is_held_out(path.name) == (split == "val")]
        if not paths:
            raise InputError(f"{images_folder}: too few images to hold some out for {split!r}; add images")
    if split == "test":
        labels = _labels(folder, paths)
    else:
        labels = [int(split == "proliv")] * len(paths)

    pictures = read_images(paths, size, grey=grey, fit="stretch")
    report(images_folder, len(paths), pictures.skipped, pictures.deep)
    return ImageSet(
        pictures.images,
        name=folder.resolve().name,
        split=split,
        source=str(images_folder),
        labels=torch.tensor(labels)[pictures.readable],
        class_names=wells.CLASS_NAMES,
        file_names=tuple(printable(relative_name(paths[i], images_folder)) for i in pictures.readable),
        skipped=tuple(pictures.skipped),
    )


def is_held_out(file_name: str) -> bool:
    """Whether an image of train/ belongs to "val": by a hash of its name, so other files do not matter."""
    name = os.fsencode(unicodedata.normalize("NFC", file_name))
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") < HELD_OUT * 2**64


def read_annotation(path: Path) -> dict[str, int]:
    """Lines `name.jpg label` -> {name: 0 or 1}.  InputError names the first line that is anything else."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; expected lines 'name.jpg label', 0 normal, 1 spill"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error}); write it again") from None
    labels = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        *name, label = line.strip().rsplit(maxsplit=1)
        if not name or label not in ("0", "1"):
            raise InputError(f"{path}, line {number}: {line!r}; expected 'name.jpg label', label 0 or 1")
        if (image := _composed(name[0])) in labels:
            raise InputError(f"{path}, line {number}: {line!r}; {image} was named before, keep one line")
        labels[image] = int(label)
    if not labels:
        raise InputError(f"{path}: no lines; expected 'name.jpg label' for each image of test/imgs")
    return labels


def _labels(folder: Path, paths: list[Path]) -> list[int]:
    """The label of each image of test/imgs: every image has a line of its own, and every line its image.

    An image in a subfolder may be called `sub/name.jpg`, or by its name alone while no other is called so.
    """
    where, annotation = folder / ANNOTATION, read_annotation(folder / ANNOTATION)
    names = [_composed(relative_name(path, folder / FOLDERS["test"])) for path in paths]
    called = [name if name in annotation else name.rsplit("/", 1)[-1] for name in names]
    some = lambda odd: ", ".join(odd[:3]) + (f" and {len(odd) - 3} more" if len(odd) > 3 else "")
    for name, count in Counter(called).items():
        if count > 1 and name in annotation:
            same = some([full for full, short in zip(names, called) if short == name])
            raise InputError(
                f"{where}: one line for {name}, and {count} images are called so ({same}); write the "
                "subfolder too, or rename them"
            )
    if missing := sorted(annotation.keys() - set(called)):
        raise InputError(f"{where}: no such image in test/imgs: {some(missing)}; add it or remove its line")
    if unnamed := sorted(set(called) - annotation.keys()):
        raise InputError(f"{where}: no line for {some(unnamed)}; add 'name.jpg label' or remove the image")
    return [annotation[name] for name in called]


def _composed(name: str) -> str:
    """One spelling of a name: macOS writes й as и and a breve, editors as one letter."""
    return unicodedata.normalize("NFC", printable(name))
