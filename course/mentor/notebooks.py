"""A student's notebook as a page: its Markdown cells, code, printed outputs and drawn pictures.

It is read as plain JSON, not through nbformat: that validates (a mended or half-written notebook is refused
or rewritten, and a large one takes seconds), while here each cell that makes sense is read and the rest is
counted.
"""

from __future__ import annotations

import base64
import binascii
import json
import re

from course.mentor import markdown
from course.mentor.page import Block, Page, Shown

MOST_BYTES, MOST_CELLS, MOST_OUTPUT, MOST_PICTURE = 48 << 20, 3000, 20_000, 24 << 20
IMAGES = ("image/png", "image/jpeg", "image/gif", "png", "jpeg")
"""Outputs that hold a picture, by their names in versions 4 and 3 of the format."""
COLOURS = re.compile(r"\x1b\[[0-9;]{0,20}m")


def read(file: str, content: bytes) -> Page:
    """The page of a notebook file; its notes say what of it could not be read."""
    page = Page(file)
    try:
        notebook = json.loads(content)
    except (ValueError, RecursionError, MemoryError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else "not JSON: damaged or cut off"
        page.notes.append(f"not read: {what}")
        return page
    cells = _cells(notebook)
    if cells is None:
        page.notes.append("not read: JSON, but no notebook (it has no cells)")
        return page
    strange = 0
    for number, cell in enumerate(cells[:MOST_CELLS], 1):
        if not isinstance(cell, dict):
            strange += 1
            continue
        try:
            _add(page, cell, f"{file} cell {number}")
        except (TypeError, AttributeError, ValueError):
            strange += 1
    if strange:
        page.notes.append(f"cells that are damaged: {strange}")
    if len(cells) > MOST_CELLS:
        page.notes.append(f"only the first {MOST_CELLS} of {len(cells)} cells are read")
    return page


def _cells(notebook: object) -> list | None:
    """The cells in versions 4 and 3 of the format."""
    if not isinstance(notebook, dict):
        return None
    sheets = notebook.get("worksheets")
    if isinstance(sheets, list) and sheets and isinstance(sheets[0], dict):
        notebook = sheets[0]
    cells = notebook.get("cells")
    return cells if isinstance(cells, list) else None


def _add(page: Page, cell: dict, where: str) -> None:
    text = _joined(cell.get("source", cell.get("input", "")))
    if cell.get("cell_type") == "code":
        page.blocks.append(Block("code", text[: 50 * MOST_OUTPUT], where, page.section))
        outputs = cell.get("outputs")
        for output in outputs[:500] if isinstance(outputs, list) else ():
            if isinstance(output, dict):
                _add_output(page, output, where, text)
    elif cell.get("cell_type") in ("markdown", "heading", "raw"):
        if cell["cell_type"] == "heading":  # of version 3
            text = f"# {text}"
        markdown.add(page, text[: markdown.MOST_BYTES], lambda line: where, _attachments(cell))


def _add_output(page: Page, output: dict, where: str, code: str) -> None:
    """The text of an output, its end included: a training prints its result last."""
    data = output.get("data") if isinstance(output.get("data"), dict) else output
    text = COLOURS.sub("", _joined(output.get("text") or data.get("text/plain") or ""))
    if len(text) > MOST_OUTPUT:
        text = text[: MOST_OUTPUT // 2] + "\n…\n" + text[-MOST_OUTPUT // 2 :]
    if text.strip():
        page.blocks.append(Block("output", text, where, page.section))
    for kind in IMAGES:
        if kind in data and (picture := _decoded(data[kind])) is not None:
            page.pictures.append(
                Shown(page.file, where, "", picture, "", page.section, page.last_text, code[-2000:])
            )
            break


def _attachments(cell: dict) -> dict[str, bytes]:
    """Pictures pasted into a Markdown cell."""
    found = {}
    attachments = cell.get("attachments")
    for name, kinds in attachments.items() if isinstance(attachments, dict) else ():
        for kind in IMAGES:
            if isinstance(kinds, dict) and kind in kinds and (picture := _decoded(kinds[kind])) is not None:
                found[name] = picture
    return found


def _joined(value: object) -> str:
    return value if isinstance(value, str) else "".join(part for part in value if isinstance(part, str))


def _decoded(value: object) -> bytes | None:
    """A picture in base64; empty where it is too large or no base64, so that it is found to be broken."""
    text = _joined(value)
    if len(text) > MOST_PICTURE:
        return b""
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError):
        return b""
