"""CelebA (Liu et al. 2015, "Deep learning face attributes in the wild"): 202,599 aligned faces of 178 x 218
pixels, 40 attributes each.  For research, not for commerce: see the authors' agreement.

Found in each published layout below --data-dir, or downloaded by torchvision where none is there:

    celeba/img_align_celeba/*.jpg (or celeba/img_align_celeba.zip), celeba/list_*.txt         torchvision's
    img_align_celeba/img_align_celeba/*.jpg, list_*.csv                                       Kaggle's
    Img/img_align_celeba/*.jpg (or Img/img_align_celeba.zip), Anno/list_*.txt, Eval/list_*.txt  the authors'

Preprocessing is that of PyTorch's DCGAN example: the centre square, 178 x 178, then one antialiased resize
(here Lanczos).  Papers also cut 140 or 108 pixels, which leaves less hair; Fréchet distances compare only
within one crop.

Images are decoded once, into `decoded/` (see common/data/decoded.py).  Measured with 202,599 drawn JPEGs of
this size on 2 CPU cores shared with other work: 1,560 images a second, train at 64 pixels (2.0 GB) in 104 s;
from then on 3 s to check and open it, with 0.25 GB of memory of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

from common import downloads
from common.data.decoded import decode_once
from common.data.decoding import report
from common.data.image_set import ImageSet
from common.downloads import fault, web_page
from common.errors import InputError

import filelock
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

VERSION = 1
"""Raise when the preprocessing changes, so that old caches are not used."""
DEFAULT_SIZE = 64
WIDTH = 178
SPLITS = {"train": 0, "val": 1, "test": 2}
FOLDER, ARCHIVE = "img_align_celeba", "img_align_celeba.zip"
PARTITION, ATTRIBUTES = "list_eval_partition", "list_attr_celeba"
AUTHORS = ("Img", "Anno", "Eval")
"""Subfolders of the authors' copy: images, attributes, the partition."""
NEEDED = (f"{PARTITION}.txt", f"{ATTRIBUTES}.txt", ARCHIVE)
"""What is downloaded, small files first."""
DRIVE = "https://drive.google.com"
KAGGLE = "Kaggle's copy (kaggle.com/datasets/jessicali9530/celeba-dataset)"


def load_celeba(
    split: str,
    size: int | None,
    data_dir: Path,
    *,
    count: int | None = None,
    spare_dir: Path | None = None,
) -> ImageSet:
    """Split `train` (162,770), `val` (19,867) or `test` (19,962), memory-mapped at size x size.

    `data_dir` is the folder with all of it, the one above, or one below as far as img_align_celeba itself.
    Where it cannot be written (as on Kaggle) the cache goes to `spare_dir`.  With `count` only that many
    images are decoded.  Attributes are int64 0 or 1, where their list is there.  InputError for anything
    missing or damaged.
    """
    size = size or DEFAULT_SIZE
    if split not in SPLITS:
        raise InputError(f"split {split!r} of celeba: there are {', '.join(SPLITS)}")
    if count is not None and count < 1:
        raise InputError(f"count {count}: give at least 1 image of celeba")
    if not 8 <= size <= WIDTH:
        raise InputError(f"--size {size}: the faces of celeba are {WIDTH} pixels wide; give 8 to {WIDTH}")
    data_dir = Path(data_dir)
    while data_dir.name in (FOLDER, *AUTHORS):
        data_dir = data_dir.parent
    root = _find(data_dir) or _download(data_dir)
    partition = _list_file(root, PARTITION)
    if partition is None:
        raise InputError(
            f"{root}: {PARTITION}.txt (or .csv) is missing; put it there, it says which images are train, "
            "val and test"
        )
    listed = read_partition(partition)
    folder = _images(root) or unpack(_archive(root))
    sizes = _sizes_of_split(folder, listed, split)
    cache_dir = data_dir if spare_dir is None or os.access(data_dir, os.W_OK) else Path(spare_dir)
    path = cache_dir / "decoded" / f"celeba-v{VERSION}-{split}-{size}px.u8"
    images, names, skipped = decode_once(path, folder, sizes, size, count=count)
    report(folder, len(names) + len(skipped), skipped)
    attributes = _attributes(root, names)
    return ImageSet(
        images,
        "celeba",
        split,
        str(folder),
        attributes=attributes,
        options=dict.fromkeys(attributes, ("no", "yes")),
        file_names=tuple(names),
        skipped=tuple(skipped),
    )


# ---- where things lie


def _find(data_dir: Path) -> Path | None:
    """The folder that has the images or the archive: `data_dir` or one of its subfolders."""
    subfolders = sorted(path for path in data_dir.glob("*") if path.is_dir()) if data_dir.is_dir() else []
    return next((root for root in (data_dir, *subfolders) if _images(root) or _archive(root)), None)


def _images(root: Path) -> Path | None:
    for above in (root, root / "Img"):
        for folder in (above / FOLDER / FOLDER, above / FOLDER):
            if folder.is_dir():
                with os.scandir(folder) as entries:
                    if any(entry.name.endswith(".jpg") for entry in entries):
                        return folder
    return None


def _archive(root: Path) -> Path | None:
    return next((path for path in (root / ARCHIVE, root / "Img" / ARCHIVE) if path.is_file()), None)


def _list_file(root: Path, stem: str) -> Path | None:
    paths = [root / part / f"{stem}{ending}" for part in ("", *AUTHORS) for ending in (".txt", ".csv")]
    return next((path for path in paths if path.is_file()), None)


# ---- the lists


def _sizes_of_split(folder: Path, listed: dict[str, int], split: str) -> dict[str, int]:
    """Bytes of each image of a split that is there, in the order of the list; says how many are missing."""
    with os.scandir(folder) as entries:
        found = {entry.name: entry.stat().st_size for entry in entries if entry.name in listed}
    if len(found) < len(listed):
        print(
            f"warning: {folder}: {len(listed) - len(found):,} of the {len(listed):,} images in the list are "
            "missing; going on with the others",
            file=sys.stderr,
        )
    chosen = {name: found[name] for name, part in listed.items() if part == SPLITS[split] and name in found}
    if not chosen:
        raise InputError(
            f"{folder}: none of its {len(found):,} listed images belongs to the {split} split; "
            f"unpack {ARCHIVE} again"
        )
    return chosen


def read_partition(path: Path) -> dict[str, int]:
    """`000001.jpg 0` (or with a comma) a line -> part of each image, in order: 0 train, 1 val, 2 test."""
    parts = {}
    for number, line in enumerate(_lines(path), start=1):
        words = line.split()
        if words[1:] in (["0"], ["1"], ["2"]) and words[0].endswith(".jpg"):
            parts[words[0]] = int(words[1])
        elif number > 1 and words:
            raise InputError(
                f"{path}, line {number}: {line[:60]!r} is not an image and 0, 1 or 2; download it again"
            )
    if not parts:
        raise InputError(f"{path}: lists no images; download it again")
    return parts


def _attributes(root: Path, names: list[str]) -> dict[str, Tensor]:
    """int64 (N,) of 0 and 1 for each of the 40 attributes, or nothing where there is no list."""
    path = _list_file(root, ATTRIBUTES)
    if path is None:
        return {}
    lines = _lines(path)
    table, header = {}, []
    for number, line in enumerate(lines):
        name, _, values = line.partition(" ")
        if name.endswith(".jpg"):
            table[name] = values
        elif number < 2:  # torchvision's begins with the number of images, Kaggle's with image_id
            header = [word for word in line.split() if word != "image_id"]
    missing = [name for name in names if name not in table]
    if missing:
        raise InputError(f"{path}: has no line for {missing[0]}; download it again")
    try:
        values = np.stack([np.fromstring(table[name], np.int8, sep=" ") for name in names], axis=1)
    except ValueError:  # rows of different lengths, or words
        values = np.empty((0, 0))
    if not header or len(values) != len(header) or (np.abs(values) != 1).any():
        raise InputError(f"{path}: is not a table of {len(header)} values of 1 or -1; download it again")
    positive = torch.from_numpy(values > 0).long()  # (40, N)
    return dict(zip(header, positive))


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if page := web_page(text[:4096]):
        raise InputError(f"{path}: {page}; delete it and download it again, or use {KAGGLE}")
    return text.replace(",", " ").splitlines()


# ---- the archive


def unpack(archive: Path) -> Path:
    """img_align_celeba.zip -> the folder beside it, after its MD5 and the names in it were checked.

    Goes on where it was killed; the folder gets its name when all of it is there.
    """
    from common import torchvision_operators  # noqa: F401

    from torchvision.datasets import CelebA

    target, part = archive.with_name(FOLDER), archive.with_name(f".{FOLDER}.part")
    try:
        with filelock.FileLock(target.with_name(f".{target.name}.lock")):
            if ready := _images(archive.parent):  # another process was faster
                return ready
            print(f"checking and unpacking {archive}", file=sys.stderr)
            md5 = next(md5 for _, md5, name in CelebA.file_list if name == ARCHIVE)
            if found := fault(archive, md5):
                raise InputError(
                    f"{archive}: {found}; delete it, then download it again later or put {KAGGLE} "
                    f"into {archive.parent}"
                )
            with zipfile.ZipFile(archive) as file:
                _extract(file, archive, part)
            if target.is_dir():
                target.rmdir()  # it has no images; anything else in it is an error
            part.rename(target)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{archive}: cannot be unpacked ({error}); free some space, or unpack it elsewhere and give that "
            "folder as --data-dir"
        ) from error
    return target


def _extract(file: zipfile.ZipFile, archive: Path, folder: Path) -> None:
    members = [info for info in file.infolist() if not info.is_dir()]
    for info in members:
        if not re.fullmatch(rf"{FOLDER}/[\w-]+\.jpg", info.filename):
            raise InputError(
                f"{archive}: contains {info.filename[:80]!r}, which is no image of {FOLDER}/; nothing was "
                "unpacked, delete it and download it again"
            )
    folder.mkdir(exist_ok=True)
    for info in tqdm(members, desc="unpacking", unit="img", disable=not sys.stderr.isatty()):
        path = folder / Path(info.filename).name
        if path.is_file() and path.stat().st_size == info.file_size:
            continue
        with file.open(info) as source, path.open("wb") as unpacked:
            shutil.copyfileobj(source, unpacked)


# ---- the download


def _download(data_dir: Path) -> Path:
    """Let torchvision fetch what is needed into `data_dir`/celeba; a file gets its name when its MD5 is
    right."""
    from common import torchvision_operators  # noqa: F401

    from torchvision.datasets import CelebA, utils

    root = data_dir / "celeba"
    table = {name: (file_id, md5) for file_id, md5, name in CelebA.file_list}
    try:
        root.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(root.with_name(f".{root.name}.lock")):
            (root / ".download").mkdir(exist_ok=True)
            for name in NEEDED:
                part = root / ".download" / name
                if not (root / name).is_file():
                    print(f"downloading {name} of celeba into {root}", file=sys.stderr)
                    _fetch(utils, part, *table[name], root)
            shutil.rmtree(root / ".download", ignore_errors=True)
    except OSError as error:
        raise InputError(f"{root}: cannot be written ({error}); choose another --data-dir") from error
    return root


def _fetch(utils, part: Path, file_id: str, md5: str, root: Path) -> None:
    if wrong := downloads.wrong_environment(DRIVE):
        raise InputError(f"--data celeba: {wrong}")
    reason = "nothing arrived"
    try:
        utils.download_file_from_google_drive(file_id, part.parent, part.name, md5)
    except Exception as error:  # each version of gdown has classes of its own
        reason = downloads.reason(error, DRIVE)
    found = fault(part, md5) if part.is_file() else reason
    if found is None:
        part.replace(root / part.name)
        return
    part.unlink(missing_ok=True)
    raise InputError(
        f"--data celeba: no images below {root.parent}, and the download of {part.name} failed ({found}); "
        f"put {KAGGLE} into {root}, or use --data avatars, which is drawn here"
    )
