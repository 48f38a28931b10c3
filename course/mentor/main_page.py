"""What the main branch's README must hold: the student's name, in either alphabet, and the subject."""

from __future__ import annotations

import re

from anyascii import anyascii
from rapidfuzz.distance import OSA

from course.mentor.evidence import FOUND, MISSING, UNREADABLE, Checks, Evidence, quoted
from course.mentor.page import Page
from course.mentor.reading import Reading
from course.mentor.rubric import Rubric

SPELLINGS = (
    *(("iy", "i"), ("yi", "i"), ("ij", "i"), ("y", "i"), ("j", "i"), ("kh", "h"), ("x", "ks"), ("ts", "c")),
    *(("shch", "sch"), ("ii", "i")),
)
"""Ways of writing one Russian sound in Latin letters, made one."""


def evidence_of(page: Page | None, rubric: Rubric, last_name: str, first_name: str) -> dict[str, Evidence]:
    """The items of the main branch's README."""
    reading = Reading(pages=[page] if page else [], notes=list(page.notes) if page else [])
    checks = Checks(reading, rubric)
    found = {}
    for name in rubric.main.items:
        item = rubric.items[name]
        found[name] = named(page, last_name, first_name) if item.check == "name" else checks.evidence(item)
    return found


def named(page: Page | None, last_name: str, first_name: str) -> Evidence:
    """Whether the student's name stands on a page, in either alphabet."""
    if page is None:
        return Evidence(MISSING, note="no README on the main branch")
    wanted = [plain for part in (last_name, first_name) for plain in _spelled(part) if len(plain) > 1]
    if not wanted:
        return Evidence(UNREADABLE, note="the list of students has no names to look for")
    for block in page.blocks:
        latin = _spelled(block.text[:5000])
        for word in latin:
            if any(OSA.distance(word, part, score_cutoff=2) <= min(2, len(part) // 4) for part in wanted):
                return Evidence(FOUND, [block.where], quoted(block.text))
    if not (last_name and first_name):
        return Evidence(MISSING, note=f"{last_name or first_name} does not stand on it")
    return Evidence(MISSING, note=f"neither {last_name} nor {first_name} stands on it")


def _spelled(text: str) -> list[str]:
    """The words of a text in Latin letters, the ways of spelling й, ю, я, х, ц made one."""
    latin = anyascii(text).casefold()
    for many, one in SPELLINGS:
        latin = latin.replace(many, one)
    return re.findall(r"[a-z]+", latin)
