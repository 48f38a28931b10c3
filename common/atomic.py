"""Files that are whole or not there: written beside their place, flushed to the disk, and renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import InputError

from safetensors import SafetensorError

PARTIAL = ".partial"


@contextmanager
def replacing(path: Path, *, advice: str, keep_old_as: Path | None = None) -> Iterator[Path]:
    """A place beside `path` to write to; it becomes `path` when the block ends, and goes when it fails.

    A reader, a crash or a full disk never leaves half a file under `path`; what was there before is kept, as
    `keep_old_as` if that is given.  An InputError with `advice` replaces what a failed write raises.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        if keep_old_as is not None and path.exists():
            path.replace(keep_old_as)
        beside.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch wraps a failed write in a RuntimeError
        _remove(beside)
        reason = getattr(error, "strerror", None) or "the file could not be written"
        raise InputError(f"{path}: {reason}; {advice}") from error
    except BaseException:
        _remove(beside)
        raise


def copy(source: Path, path: Path, *, advice: str) -> None:
    """A copy of a file as `path`, whole or not at all."""
    with replacing(path, advice=advice) as beside:
        shutil.copyfile(source, beside)


@contextmanager
def replacing_folder(folder: Path, *, advice: str) -> Iterator[Path]:
    """The same for a folder of several files: `folder` holds all of the old ones, then all of the new ones.

    Between the two it is missing for the time of one renaming."""
    folder = Path(folder)
    beside, old = (folder.with_name(f".{folder.name}.{os.getpid()}{age}{PARTIAL}") for age in ("", ".old"))
    try:
        beside.mkdir(parents=True)
        yield beside
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or "the folder could not be written"
        raise InputError(f"{folder}: {reason}; {advice}") from error
    finally:
        if old.exists() and not folder.exists():  # stopped between the two
            old.rename(folder)
        for place in (beside, old):
            _remove(place)


def remove_partial(folder: Path) -> None:
    """Remove what killed processes left half-written under `folder`, which nobody else may be writing to."""
    for path in list(folder.rglob(f".*{PARTIAL}")):
        _remove(path)


def _remove(path: Path) -> None:
    """Without an error of its own: the first one is what its user has to see."""
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
