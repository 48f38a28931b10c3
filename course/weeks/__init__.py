"""The scripts that `python3 -m course run` starts, in this order; one file of data a homework."""

import pkgutil
import re
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType


def homework_modules(package: str, path: Iterable[str], parts: bool = False) -> list[ModuleType]:
    """hw1, hw2, ..., lab8 of a package: as many as there are, since a homework's branch has its own alone.

    `parts`: hw3_edits and the like too."""
    pattern = r"(hw|lab)\d+(_\w+)?" if parts else r"(hw|lab)\d+"
    names = sorted(name for _, name, _ in pkgutil.iter_modules(path) if re.fullmatch(pattern, name))
    return [import_module(f"{package}.{name}") for name in names]


SCRIPTS = tuple(script for week in homework_modules(__name__, __path__) for script in week.SCRIPTS)
