"""Whether a text says something: terms as rows of beginnings of words, one slip forgiven in a long word."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from rapidfuzz.distance import OSA

WORD = re.compile(r"[^\W_]+")
PIECES = re.compile(r"[A-ZА-Я]+(?![a-zа-я])|[A-ZА-Я]?[a-zа-я]+|\d+")
SURE_LENGTH = 6
"""Letters from which on a word with one slip is still the same word."""
GAP = 2
"""Words that may stand between those of a term."""


def words(text: str) -> list[str]:
    """The words of a text in one case, ё as е."""
    return WORD.findall(text.casefold().replace("ё", "е"))


def identifiers(code: str) -> set[str]:
    """The names in a piece of code, whole and in their parts: CSPUpBlock -> cspupblock, csp, up, block."""
    found = set()
    for name in set(re.findall(r"[^\W\d]\w*", code)):
        found.add(name.casefold())
        found.update(piece.casefold() for piece in PIECES.findall(name))
    return found


def says(text: Sequence[str], term: str) -> int:
    """Where in a list of words a term begins, -1 where nowhere."""
    stems = term.casefold().replace("ё", "е").split()
    for start, word in enumerate(text):
        if begins(word, stems[0]):
            place = start
            for stem in stems[1:]:
                following = range(place + 1, min(place + 2 + GAP, len(text)))
                place = next((index for index in following if begins(text[index], stem)), -1)
                if place < 0:
                    break
            else:
                return start
    return -1


def first(text: Sequence[str], terms: Sequence[str]) -> str | None:
    """The first of the terms that a text says."""
    return next((term for term in terms if says(text, term) >= 0), None)


@functools.lru_cache(1 << 18)
def begins(word: str, stem: str) -> bool:
    """Whether a word begins with a stem (is it, where the stem ends in $), one slip forgiven in a long
    stem."""
    whole, stem = stem.endswith("$"), stem.removesuffix("$")
    if word == stem or (not whole and word.startswith(stem)):
        return True
    if len(stem) < SURE_LENGTH or len(word) < len(stem) - 1 or word[0] != stem[0]:
        return False
    if whole:
        return OSA.distance(word, stem, score_cutoff=1) <= 1
    lengths = (len(stem) - 1, len(stem), len(stem) + 1)
    return any(OSA.distance(word[:length], stem, score_cutoff=1) <= 1 for length in lengths)
