"""A copy of a folder made of hard links: it takes no space, and every file can be put back as it was.

It holds because nobody writes into an installed file: pip removes a file, then writes a new one in its place.
"""

import os
import shutil
from collections.abc import Collection
from pathlib import Path


def link_tree(source: Path, target: Path, leave_out: Collection[str]) -> None:
    """Make `target` a copy of `source` without the entries of the names `leave_out` at its top."""
    at_the_top = lambda folder, names: leave_out if Path(folder) == source else ()
    shutil.copytree(source, target, symlinks=True, ignore=at_the_top, copy_function=link)


def link(source: str | Path, target: str | Path) -> None:
    """One more name for a file; a copy where the file system has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def restore(copy: Path, folder: Path, leave_alone: Collection[str] = ()) -> None:
    """Make `folder` what it was when `copy` was made, but for the entries `leave_alone`.

    Files that did not change are not touched: the Python which runs this may lie in the folder.  `copy` stays
    whole: if this is interrupted, it can be called again.
    """
    before = {entry.name: entry for entry in os.scandir(copy)}
    for entry in list(os.scandir(folder)):
        if entry.name not in before and entry.name not in leave_alone:
            remove(Path(entry.path))
    for name, entry in before.items():
        here = folder / name
        if entry.is_dir(follow_symlinks=False):
            if here.is_symlink() or not here.is_dir():
                remove(here)
                here.mkdir()
            restore(Path(entry.path), here)
        elif not is_the_same(Path(entry.path), here):
            put_back(Path(entry.path), here)


def is_the_same(copy: Path, here: Path) -> bool:
    """Whether both are one file, or symbolic links to one place."""
    if copy.is_symlink() or here.is_symlink():
        return copy.is_symlink() and here.is_symlink() and os.readlink(copy) == os.readlink(here)
    return here.exists() and os.path.samefile(copy, here)


def put_back(copy: Path, here: Path) -> None:
    if here.is_dir() and not here.is_symlink():
        remove(here)
    beside = here.with_name(here.name + ".put-back")
    remove(beside)
    if copy.is_symlink():
        os.symlink(os.readlink(copy), beside)
    else:
        link(copy, beside)
    os.replace(beside, here)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
