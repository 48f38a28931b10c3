"""What no item of the rubric asks for and a mentor would notice all the same."""

from __future__ import annotations

import re
from urllib.parse import unquote

from course.mentor import reading as reading_
from course.mentor.numbers import NUMBER, value
from course.mentor.objects import shown
from course.mentor.reading import Reading

RESULT = re.compile(r"(?<![\w.,])\d+[.,]\d{2,}(?!\d)")
"""A number that was measured: with two decimals or more."""


def remarks(reading: Reading) -> list[str]:
    """Each in one line, with its place."""
    return [*same_pictures(reading), *lost_pictures(reading), *lost_files(reading), *results(reading)]


def same_pictures(reading: Reading) -> list[str]:
    """Pictures shown as different results that are byte for byte one."""
    by_digest: dict[str, list[str]] = {}
    for seen in reading.pictures:
        if seen.status == reading_.OK and seen.shown.page:
            by_digest.setdefault(seen.picture.digest, []).append(f"{seen.label} ({seen.shown.where})")
    return [
        f"one and the same picture is shown as {' and '.join(list(dict.fromkeys(labels))[:4])}"
        for labels in by_digest.values()
        if len(set(labels)) > 1
    ][:10]


def lost_pictures(reading: Reading) -> list[str]:
    return [
        f"{seen.shown.where} {seen.note}" for seen in reading.pictures if seen.status == reading_.MISSING
    ][:10]


def lost_files(reading: Reading) -> list[str]:
    """Notebooks and scripts that a page names and that are not there."""
    there = {path.rsplit("/", 1)[-1].casefold() for path in reading.paths}
    found = []
    for page in reading.readmes:
        for link in page.links:
            name = unquote(re.sub(r"[?#].*$", "", link.target).rsplit("/", 1)[-1])
            if (
                re.search(r"\.(ipynb|py)$", name)
                and "://" not in link.target
                and name.casefold() not in there
            ):
                found.append(f"{link.where} names {shown(name, 80)}, which is not there")
    return list(dict.fromkeys(found))[:10]


def results(reading: Reading) -> list[str]:
    """Results that a README gives and no output of its notebooks has, where there are outputs."""
    printed: set[str] = set()
    for page in reading.pages:
        if page.notebook:
            for block in page.blocks:
                if block.kind in ("output", "text", "table"):
                    printed.update(_forms(block.text))
    if not printed:
        return []
    found = []
    for page in reading.readmes:
        for block in page.blocks:
            if block.kind in ("text", "table"):
                lost = [text for text in RESULT.findall(block.text[:20_000]) if _rounded(text) not in printed]
                if lost:
                    found.append(f"{block.where}: {', '.join(lost[:4])} stands in no output of the notebooks")
    return found[:10]


def _forms(text: str) -> set[str]:
    """Every number of a text, as it is and rounded to fewer decimals."""
    found = set()
    for token in NUMBER.findall(text[:200_000]):
        number = value(token)
        if number is not None and "." in token.replace(",", "."):
            found |= {f"{number * factor:.{decimals}f}" for decimals in (2, 3, 4) for factor in (1, 100)}
    return found


def _rounded(text: str) -> str:
    decimals = min(4, len(text.replace(",", ".").partition(".")[2]))
    return f"{float(text.replace(',', '.')):.{decimals}f}"
