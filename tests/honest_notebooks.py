"""Notebooks of invented students who work alone: code of their own among everybodys_lines."""

from __future__ import annotations

import json
import random

from everybodys_lines import CURVES, IMPORTS, LOADERS, LOOKS, LOOPS, SAMPLES, SET_UP
from plagiarism import program


def cells(seed: int, functions: int = 3, given: str = "", own: str | None = None) -> list[str]:
    """The code cells of one notebook: its own functions (or those of `own`), and the lines of everybody.

    given: what the course handed out, which stands in every notebook.
    """
    draw = random.Random(seed)
    mine = program(seed, functions) if own is None else own
    before = [draw.choice(each) for each in (IMPORTS, SET_UP, LOADERS, LOOKS)]
    after = [draw.choice(each) for each in (LOOPS, CURVES, SAMPLES)]
    return [each.strip() for each in (*before, given, *mine.split("\n\n")[1:], *after) if each.strip()]


def script(seed: int, functions: int = 3, given: str = "", own: str | None = None) -> str:
    return "\n\n".join(cells(seed, functions, given, own))


def notebook(seed: int, functions: int = 3, given: str = "", own: str | None = None) -> bytes:
    made = [
        {"cell_type": "code", "source": each, "outputs": [], "metadata": {}}
        for each in cells(seed, functions, given, own)
    ]
    return json.dumps({"cells": made, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}).encode()
