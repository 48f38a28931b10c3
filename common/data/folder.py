"""Any folder of images as one set: its files, which of them are train, val and test, and their pixels."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from common.data.decoding import (
    ENDINGS,
    LYING,
    orientation,
    printable,
    read_images,
    readable_endings,
    report,
)
from common.data.image_set import ImageSet
from common.errors import InputError, warn

import torch
from PIL import Image
from torch import Tensor

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""What people call the subfolder of each split, in small or capital letters."""


# ---- which files there are


def list_images(folder: Path) -> list[Path]:
    """All images below `folder`, in a fixed order; links are followed, hidden files and folders left out.

    What looks like an image and cannot be taken (a broken link, a kind Pillow does not read here) is named on
    stderr.  InputError when there are no images.
    """
    folder = _existing(folder)
    unread, trouble = Counter(), []
    paths = [path for path in _walk(folder, (), unread, trouble) if is_image(path)]
    words = [f"{count} {ending} (convert them to PNG or JPEG)" for ending, count in sorted(unread.items())]
    words += sorted(trouble)[:5] + ([f"{len(trouble) - 5} more"] if len(trouble) > 5 else [])
    if not paths:
        found = f"found {'; '.join(words)}, " if words else ""
        raise InputError(
            f"{folder}: no images; {found}expected files ending in {', '.join(readable_endings())}"
        )
    if words:
        warn(f"{folder}: left out {'; '.join(words)}")
    return sorted(paths, key=lambda path: path.parts)


def _existing(folder: Path | str) -> Path:
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder; name a folder of images or a data set")
    return Path(folder)


def is_image(path: Path) -> bool:
    """Whether the name of a file ends as those of images do that can be read here."""
    return path.suffix.lower() in readable_endings()


def _walk(folder: Path, above: tuple[str, ...], unread: Counter, trouble: list[str]) -> Iterator[Path]:
    """Every file below that is not hidden; `above`, the real folders on the way, ends a loop of links.

    Counts in `unread` the endings of pictures that Pillow does not read here, and puts into `trouble` what
    cannot be opened.
    """
    above = (*above, os.path.realpath(folder))
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        trouble.append(f"{printable(folder.name)}/ ({error.strerror})")
        return
    for entry in found:
        path, ending = Path(folder, entry.name), os.path.splitext(entry.name)[1].lower()
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError as error:  # a link into a folder that may not be looked into
            trouble.append(f"{printable(entry.name)} ({error.strerror})")
            continue
        if is_folder:
            if not entry.is_symlink() or os.path.realpath(path) not in above:
                yield from _walk(path, above, unread, trouble)
        elif is_file:
            unread.update([ending] if ending in ENDINGS and ending not in readable_endings() else [])
            yield path
        elif entry.is_symlink():
            trouble.append(f"{printable(entry.name)} (a broken link)")
        elif ending in ENDINGS:
            trouble.append(f"{printable(entry.name)} (not a file)")


# ---- which of them belong to a split


def split_of_name(file_name: str) -> str:
    """`train`, `val` or `test` (80, 10 and 10 %) for a file of a set without splits.

    It depends on the name alone, so adding or losing a file moves no other.
    """
    name = os.fsencode(unicodedata.normalize("NFC", file_name))  # macOS writes й as и and a breve
    bucket = int.from_bytes(hashlib.sha256(name).digest()[:8], "big") % 10
    return {8: "val", 9: "test"}.get(bucket, "train")


def split_folders(folder: Path) -> dict[str, Path]:
    """The subfolders of train, val and test, as far as they are there; InputError for two of one split."""
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir())
    found = {}
    for split, names in SPLIT_NAMES.items():
        paths = [path for path in subfolders if path.name.lower() in names]
        if len(paths) > 1:
            called = " and ".join(f"{path.name}/" for path in paths)
            raise InputError(f"{folder}: {called} are both the {split} split; leave one of them there")
        if paths:
            found[split] = paths[0]
    return found


def files_of_split(folder: Path, split: str) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the images of a split.

    Where there is no val/, every split without a subfolder is taken out of train/ (out of everything, where
    there are no subfolders of splits) by `split_of_name`.  `all` is everything.
    """
    folder = _existing(folder)
    if split not in SPLIT_NAMES:
        if split != "all" and not (folder / split).is_dir():
            raise InputError(
                f"split {split!r} of {folder}: no such subfolder; a folder has train, val, test and all"
            )
        root = folder / split if (folder / split).is_dir() else folder
        return root, list_images(root)
    folders = split_folders(folder) or {"train": folder}
    if split in folders and split != "train":
        return folders[split], list_images(folders[split])
    if split == "test" and "val" in folders:
        raise InputError(f"{folder}: has no test/; put images there that are neither in train/ nor in val/")
    if "train" not in folders:
        others = " and ".join(f"{path.name}/" for path in folders.values())
        raise InputError(f"{folder}: has {others} but no train/; put the images to learn from into train/")
    train = folders["train"]
    missing = [] if "val" in folders else [name for name in SPLIT_NAMES if name not in folders]
    paths = list_images(train)
    if train != folder:
        _say_what_is_used(folder, folders, missing)
    part = lambda path: where if (where := split_of_name(relative_name(path, train))) in missing else "train"
    chosen = [path for path in paths if part(path) == split]
    if not chosen:
        raise InputError(f"{train}: none of its {len(paths)} images falls into the {split} split; add images")
    return train, chosen


def _say_what_is_used(folder: Path, folders: dict[str, Path], missing: list[str]) -> None:
    """A word about splits that train/ must give, and about images beside the splits."""
    train = folders["train"].name
    if missing:
        called = " or ".join(f"{split}/" for split in missing)
        a_tenth = "a tenth" if len(missing) == 1 else "a tenth for each"
        warn(f"{folder}: no {called}: {a_tenth} of {train}/, chosen by file name, is held out instead")
    beside = [
        f"{printable(path.name)}{'/' * path.is_dir()}"
        for path in sorted(folder.iterdir())
        if path not in folders.values() and not path.name.startswith(".") and has_images(path)
    ]
    if beside:
        more = f" and {len(beside) - 3} more" if len(beside) > 3 else ""
        warn(f"{folder}: left out what lies beside {train}/: {', '.join(beside[:3])}{more}")


def has_images(path: Path) -> bool:
    """Whether a file is an image by its ending, or a folder has one."""
    files = _walk(path, (), Counter(), []) if path.is_dir() else [path]
    return any(map(is_image, files))


def relative_name(path: Path, root: Path) -> str:
    """`class/name.png` of a file below `root`, as it is on disk."""
    return path.relative_to(root).as_posix()


# ---- their pixels


def load_folder(
    folder: Path, size: int, *, grey: bool = False, fit: str = "crop", split: str = "all"
) -> ImageSet:
    """The images of one split of `folder` at size x size, chosen by `files_of_split`.

    Classes are the subfolders, where all images lie in subfolders; val and test have train's, in its order.
    Unreadable files are listed on stderr and skipped; InputError when nothing is left.
    """
    folder = Path(folder)
    root, paths = files_of_split(folder, split)
    pictures = read_images(paths, size, grey=grey, fit=fit)
    report(root, len(paths), pictures.skipped, pictures.deep)
    read = [paths[i] for i in pictures.readable]
    class_names, class_of = _classes(folder, root)
    return ImageSet(
        pictures.images,
        name=folder.resolve().name,
        split=split,
        source=str(root),
        labels=torch.tensor([class_names.index(class_of(path)) for path in read]) if class_names else None,
        class_names=tuple(map(printable, class_names)),
        file_names=tuple(printable(relative_name(path, root)) for path in read),
        skipped=tuple(pictures.skipped),
    )


def _classes(folder: Path, root: Path) -> tuple[tuple[str, ...], Callable[[Path], str]]:
    """The names of the classes, none where an image lies outside them, and the function path -> class.

    All subfolders of splits have the same classes, so that a label means the same in each.
    """
    roots = list(split_folders(folder).values())
    if root not in (folder, *roots) or not roots:
        roots = [root]
    depth = len(roots[0].parts)
    class_of = lambda path: path.parts[depth] if len(path.parts) > depth + 1 else ""
    classes = {
        each: {class_of(path) for path in _walk(each, (), Counter(), []) if is_image(path)} for each in roots
    }
    if any("" in classes[each] for each in roots if root in (each, folder)):
        return (), class_of
    return tuple(sorted(set().union(*(names for names in classes.values() if "" not in names)))), class_of


# ---- a few images, for what learns from eleven


def read_few(
    folder: Path, counts: dict[str, int], size: tuple[int, int] | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """The first images of each split, uint8 (N, 3, H, W): for {"train": 11, "val": 20} up to 11 and 20.

    A folder with a subfolder train/ has splits; of any other the images are shuffled by `seed` and dealt out,
    so that eleven images can be eleven to learn from.  `size` is by default the (height, width) that most of
    the images to learn from have.  InputError when none of a split that must be there can be read.
    """
    folder = _existing(folder)
    if "train" in split_folders(folder):
        chosen = {split: files_of_split(folder, split)[1][:count] for split, count in counts.items()}
    else:
        paths = list_images(folder)
        order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(seed)).tolist()
        dealt = iter([paths[i] for i in order])
        chosen = {split: list(islice(dealt, count)) for split, count in counts.items()}
    few = [path for paths in chosen.values() for path in paths]
    first = next(iter(chosen))
    pictures = read_images(few, size or _usual_size(folder, chosen[first]))
    report(folder, len(few), pictures.skipped, pictures.deep)
    images, start = {}, 0
    for split, paths in chosen.items():
        rows = [row for row, place in enumerate(pictures.readable) if start <= place < start + len(paths)]
        images[split] = pictures.images[rows]
        start += len(paths)
    if len(images[first]) == 0:
        raise InputError(
            f"{folder}: none of the {len(chosen[first])} images of {first} could be read; see the list above"
        )
    return images


def _usual_size(folder: Path, paths: list[Path]) -> tuple[int, int]:
    """The most frequent (height, width), of the images set upright."""
    sizes: Counter = Counter()
    for path in paths:
        with suppress(Exception), Image.open(path) as image:  # read_images names what cannot be read
            lying = (orientation(image) or 1) >= LYING
            sizes[(image.width, image.height) if lying else (image.height, image.width)] += 1
    if not sizes:
        raise InputError(
            f"{folder}: none of {len(paths)} images could be read; give a folder of PNG or JPEG files"
        )
    return sizes.most_common(1)[0][0]
