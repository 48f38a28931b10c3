"""Code and pictures that two students share.

Code: Schleimer, Wilkerson, Aiken (2003), "Winnowing: local algorithms for document fingerprinting".
Scripts and the code cells of notebooks become streams of tokens in which own names and literals are one
word each; of every WINDOW neighbouring hashes of TOKENS tokens the smallest is kept, so that any shared run
of TOKENS + WINDOW - 1 tokens is found wherever it stands.  What everybody writes does not count: statements
that load, log and plot (code_tokens.py), what the course handed out, what papers and tutorials print
(published_code.txt), what many students of the class have.  Only the very same file counts all the same.
Pictures: equal bytes, or perceptual hashes a few bits apart.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import NamedTuple

from common import atomic

import numpy as np

from course.mentor import code_tokens, handed_out, notebooks
from course.mentor.code_tokens import tokens

TOKENS, WINDOW = 24, 8
SPREAD = 3 * TOKENS
"""Among how many tokens, common ones counted, those of one fingerprint may stand."""
MOST_LETTERS = 400_000
"""Of one script or notebook."""
LEAST_SHARED, LEAST_SHARE = 6, 0.2
"""Fingerprints two files must share, and which part of the smaller file's: below both nothing is said..."""
LONG_RUN = 10
"""...unless so many stand in one place: a copied function in a long file."""
RUN_GAP = 6
"""Lines between two matches of one place, in either file."""
LEAST_LINES = 20
"""Lines from which on a file that two students have letter by letter is said, whatever is in it."""
COMMON_SHARE, COMMON_LEAST = 0.2, 4
"""What more than this part of the students have (and at least so many) is public code."""
PUBLISHED = Path(__file__).resolve().parent / "published_code.txt"
NEAR_BITS = 5
COMMON_PICTURE = 4
MOST_PAIRS, MOST_SNIPPET_LINES = 300, 30


class Match(NamedTuple):
    """A fingerprint of two files: the lines where it stands, and how many students have it."""

    here: int
    there: int
    owners: int


def units(code: Iterable[tuple[str, str]]) -> list[dict]:
    """Fingerprints of every script, and of every notebook as one text: {place, fingerprints, whole,
    text}.

    code: (place, text); the places of a notebook's cells are `gan.ipynb cell 3`.
    """
    texts: dict[str, list[str]] = {}
    for place, text in code:
        texts.setdefault(place.split(" cell ")[0], []).append(text)
    found = []
    for place, parts in texts.items():
        text = "\n".join(parts)[:MOST_LETTERS]
        prints, whole = fingerprints(text), letters(text)
        if prints or whole:
            found.append({"place": place, "fingerprints": prints, "whole": whole, "text": text})
    return found


def letters(text: str) -> int | None:
    """A hash of a text to the letter, but for spaces at the ends of lines and empty lines; None of a short
    one."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return _hash("\n".join(lines)) if len(lines) >= LEAST_LINES else None


def _hash(text: str) -> int:
    content = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=6).digest(), "big")


def fingerprints(text: str) -> list[tuple[int, int, int]]:
    """(hash, line, number of its first token) of what winnowing keeps."""
    every = hashes(text)
    return [every[place] for place in winnow([value for value, *_ in every], WINDOW)]


def hashes(text: str) -> list[tuple[int, int, int]]:
    """(hash, line, number of its first token) of every TOKENS tokens in a row; where too much between them is
    common, what is left of a loop and of a plot is no piece of code."""
    stream = tokens(text)
    words = [word for word, *_ in stream]
    return [
        (_hash("\0".join(words[first : first + TOKENS])), line, first)
        for first, ((_, line, place), (_, _, last)) in enumerate(zip(stream, stream[TOKENS - 1 :]))
        if last - place < SPREAD
    ]


def own(prints: Iterable[tuple[int, int, int]], given: set[int]) -> dict[int, int]:
    """Hash -> line of the fingerprints that were not given, nor are for the most part of tokens that were."""
    covered = {
        token for value, _, place in prints if value in given for token in range(place, place + TOKENS)
    }
    mine = lambda place: sum(token not in covered for token in range(place, place + TOKENS))
    return {value: line for value, line, place in prints if value not in given and 2 * mine(place) >= TOKENS}


def winnow(hashes: Sequence[int], window: int) -> list[int]:
    """The places of the smallest hash of every window, the rightmost of equals, each once."""
    kept: list[int] = []
    smallest = -1
    for end in range(len(hashes)):
        start = max(0, end - window + 1)
        if smallest < start:
            smallest = max(range(start, end + 1), key=lambda place: (-hashes[place], place))
        elif hashes[end] <= hashes[smallest]:
            smallest = end
        if (end >= window - 1 or end == len(hashes) - 1) and (not kept or kept[-1] != smallest):
            kept.append(smallest)
    return kept


def starter_units(paths: Iterable[Path], cache: Path) -> set[int]:
    """Fingerprints of what every student was given: scripts and notebooks, and the course's own files.

    They are kept in `cache`, since they take seconds and change seldom.
    """
    root = Path(__file__).resolve().parents[2]
    own = [folder for pattern in ("hw*", "lab8*", "common") for folder in sorted(root.glob(pattern))]
    read = [each for each in handed_out.contents([*own, *paths]) if each[0].suffix in (".py", ".ipynb")]
    files, contents = [file for file, _ in read], [content for _, content in read]
    here = [path.read_bytes() for path in (PUBLISHED, code_tokens.COMMON, Path(code_tokens.__file__))]
    digest = hashlib.sha256(
        b"\0".join([b"%d %d %d" % (TOKENS, WINDOW, SPREAD), *here, *contents])
    ).hexdigest()
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if known.get("digest") != digest:
        texts = [_code_of(file, content) for file, content in zip(files, contents)]
        texts.append(PUBLISHED.read_text(encoding="utf-8"))
        prints = {
            value for text in texts for value, *_ in hashes(text)
        }  # all: where it ends, others are kept
        prints.update(whole for text in texts if (whole := letters(text)))
        known = {"digest": digest, "fingerprints": sorted(prints)}
        with atomic.replacing(cache, advice="make room and start again") as beside:
            beside.write_text(json.dumps(known), encoding="utf-8")
    return set(known["fingerprints"])


def _code_of(file: Path, content: bytes) -> str:
    if file.suffix == ".py":
        return content.decode("utf-8", "replace")
    page = notebooks.read(file.name, content)
    return "\n".join(block.text for block in page.blocks if block.kind == "code")


def compare(assessed: dict[str, dict], given: set[int]) -> list[dict]:
    """Pairs of students' files and pictures, what they share most first."""
    pairs = [*_code_pairs(assessed, given), *_picture_pairs(assessed)]
    return sorted(pairs, key=lambda pair: (-pair["share"], -pair["shared"]))[:MOST_PAIRS]


def _code_pairs(assessed: dict[str, dict], given: set[int]) -> list[dict]:
    holders: dict[int, list[tuple[str, str, int, int]]] = defaultdict(list)
    wholes: dict[int, list[tuple[str, str, int]]] = defaultdict(list)
    units_of, sizes = {}, Counter()
    for student, each in assessed.items():
        known = set()
        for work, found in each["works"].items():
            for index, unit in enumerate(found["code"]):
                content = (unit["whole"], *(value for value, *_ in unit["fingerprints"]))
                if content in known:  # carried along from work to work
                    continue
                known.add(content)
                units_of[student, work, index] = unit
                for value, line in own(unit["fingerprints"], given).items():
                    holders[value].append((student, work, index, line))
                if unit["whole"] and unit["whole"] not in given:
                    wholes[unit["whole"]].append((student, work, index))
    many = max(COMMON_LEAST, COMMON_SHARE * len(assessed))
    few = lambda places: len({student for student, *_ in places}) <= many
    shared: dict[tuple, list[Match]] = defaultdict(list)
    for places in filter(few, holders.values()):
        owners = len({student for student, *_ in places})
        for student, work, index, _ in places:
            sizes[student, work, index] += 1
        for first, second in combinations(places, 2):
            if first[0] != second[0]:
                shared[first[:3], second[:3]].append(Match(first[3], second[3], owners))
    same = {
        pair
        for files in filter(few, wholes.values())
        for pair in combinations(files, 2)
        if pair[0][0] != pair[1][0]
    }
    found = [_same_file(*pair, units_of[pair[0]], units_of[pair[1]]) for pair in sorted(same)]
    for pair, matches in shared.items():
        share = len(matches) / min(sizes[each] for each in pair)
        runs = _runs(sorted(matches))
        longest = max(runs, key=len)
        enough = len(matches) >= LEAST_SHARED and share >= LEAST_SHARE
        if pair not in same and (enough or len(longest) >= LONG_RUN):
            found.append(_code_pair(*pair, units_of[pair[0]], units_of[pair[1]], runs, share))
    return found


def _same_file(first: tuple, second: tuple, one: dict, other: dict) -> dict:
    lines = [each["text"].count("\n") + 1 for each in (one, other)]
    places = [[Match(1, 1, 2), Match(*lines, 2)]]
    pair = _code_pair(first, second, one, other, places, 1.0)
    return pair | {"shared": len(one["fingerprints"]), "note": "the very same file"}


def _code_pair(
    first: tuple, second: tuple, one: dict, other: dict, runs: list[list[Match]], share: float
) -> dict:
    """A pair with the longest matching place of both side by side."""
    longest, shared = max(runs, key=len), sum(map(len, runs))
    start, end = longest[0].here, longest[-1].here
    start_there, end_there = (each(match.there for match in longest) for each in (min, max))
    cut = lambda text, begin, stop: "\n".join(
        text.split("\n")[begin - 1 : min(stop + 3, begin + MOST_SNIPPET_LINES)]
    )
    lines = sum(run[-1].here - run[0].here + 1 for run in runs)
    note = (
        f"about {lines} lines alike in {len(runs)} places" if len(runs) > 1 else f"about {lines} lines alike"
    )
    owners = int(median(match.owners for match in longest))
    return {
        "kind": "code",
        "first": first[0],
        "second": second[0],
        "share": round(min(1.0, share), 2),
        "shared": shared,
        "first_place": f"{first[1]}: {one['place']}:{start}-{end}",
        "second_place": f"{second[1]}: {other['place']}:{start_there}-{end_there}",
        "note": note + (f"; {owners} students have this place" if owners > 2 else ""),
        "first_text": cut(one["text"], start, end),
        "second_text": cut(other["text"], start_there, end_there),
    }


def _runs(matches: list[Match]) -> list[list[Match]]:
    """Matches that are neighbours in both files."""
    runs: list[list[Match]] = []
    for match in matches:
        last = runs[-1][-1] if runs else None
        if last and match.here - last.here <= RUN_GAP and abs(match.there - last.there) <= RUN_GAP:
            runs[-1].append(match)
        else:
            runs.append([match])
    return runs


def _picture_pairs(assessed: dict[str, dict]) -> list[dict]:
    """Pictures of two students that are equal or look alike; those that many have are public."""
    first_seen = {
        (student, picture["digest"]): (student, work, picture)
        for student, each in assessed.items()
        for work, found in reversed(each["works"].items())
        for picture in reversed(found["gallery"])
        if picture["digest"] and picture["status"] == "ok"
    }
    pictures = list(first_seen.values())
    equal: dict[str, list[int]] = defaultdict(list)
    for index, (_, _, picture) in enumerate(pictures):
        equal[picture["digest"]].append(index)
    matches = {pair: 0 for group in equal.values() for pair in combinations(group, 2)}
    hashed = [index for index, (_, _, picture) in enumerate(pictures) if picture["hash"]]
    values = np.array([int(pictures[index][2]["hash"], 16) for index in hashed], dtype=np.uint64)
    for row, value in enumerate(values):
        bits = np.bitwise_count(values[row + 1 :] ^ value)
        for other in np.flatnonzero(bits <= NEAR_BITS):
            matches.setdefault((hashed[row], hashed[row + 1 + int(other)]), int(bits[other]))
    owners: dict[int, set[str]] = defaultdict(set)
    for first, second in matches:
        owners[first] |= {pictures[first][0], pictures[second][0]}
        owners[second] |= {pictures[first][0], pictures[second][0]}
    return [
        _picture_pair(pictures[first], pictures[second], bits)
        for (first, second), bits in matches.items()
        if pictures[first][0] != pictures[second][0] and len(owners[first] | owners[second]) <= COMMON_PICTURE
    ]


def _picture_pair(first: tuple, second: tuple, bits: int) -> dict:
    same = first[2]["digest"] == second[2]["digest"]
    return {
        "kind": "picture",
        "first": first[0],
        "second": second[0],
        "share": round(1 - bits / 64, 2),
        "shared": 1,
        "first_place": f"{first[1]}: {first[2]['label']} ({first[2]['where']})",
        "second_place": f"{second[1]}: {second[2]['label']} ({second[2]['where']})",
        "note": "the very same file" if same else f"look alike: {bits} of 64 bits differ",
        "first_jpeg": first[2]["jpeg"],
        "second_jpeg": second[2]["jpeg"],
    }
