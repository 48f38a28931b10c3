"""Code and pictures that two students share.

Code: Schleimer, Wilkerson, Aiken (2003), "Winnowing: local algorithms for document fingerprinting".
Scripts and the code cells of notebooks become streams of tokens in which own names and literals are one
word each; of every WINDOW neighbouring hashes of TOKENS tokens the smallest is kept, so that any shared run
of TOKENS + WINDOW - 1 tokens is found wherever it stands.  What the course handed out, and what many
students have in common, does not count. Pictures: equal bytes, or perceptual hashes a few bits apart.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

from common import atomic
from common.errors import InputError

import numpy as np
from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Literal, Name, Operator, Punctuation, String

from course.mentor import notebooks

TOKENS, WINDOW = 24, 8
MOST_LETTERS = 400_000
"""Of one script or notebook."""
LEAST_SHARED, LEAST_SHARE = 6, 0.2
"""Fingerprints two files must share, and which part of the smaller file's: below both nothing is said..."""
MANY_SHARED = 40
"""...unless so many are shared: a copied function in a long file."""
COMMON_SHARE, COMMON_LEAST = 0.2, 4
"""What more than this part of the students have (and at least so many) is public code."""
NEAR_BITS = 5
COMMON_PICTURE = 4
MOST_PAIRS, MOST_SNIPPET_LINES = 300, 30
LEXER = PythonLexer(stripnl=False, ensurenl=False)


def units(code: Iterable[tuple[str, str]]) -> list[dict]:
    """Fingerprints of every script, and of every notebook as one text: {place, fingerprints: [[hash,
    line]], text}.

    code: (place, text); the places of a notebook's cells are `gan.ipynb cell 3`.
    """
    texts: dict[str, list[str]] = {}
    for place, text in code:
        texts.setdefault(place.split(" cell ")[0], []).append(text)
    found = []
    for place, parts in texts.items():
        text = "\n".join(parts)[:MOST_LETTERS]
        prints = fingerprints(text)
        if prints:
            found.append({"place": place, "fingerprints": prints, "text": text})
    return found


def fingerprints(text: str) -> list[tuple[int, int]]:
    """(hash, line) of the tokens that winnowing keeps."""
    stream = tokens(text)
    if len(stream) < TOKENS:
        return []
    hashes = [
        int.from_bytes(
            hashlib.blake2b(
                "\0".join(word for word, _ in stream[i : i + TOKENS]).encode(), digest_size=6
            ).digest(),
            "big",
        )
        for i in range(len(stream) - TOKENS + 1)
    ]
    return [(hashes[place], stream[place][1]) for place in winnow(hashes, WINDOW)]


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


def tokens(text: str) -> list[tuple[str, int]]:
    """(word, line) of what counts in Python code: own names are N, strings and numbers L, comments nothing.

    What follows a dot is a library's name and stays, since a copier cannot rename it; after `self.` it is
    own.
    """
    text = re.sub(r"^[ \t]*[!%].*$", "", text, flags=re.MULTILINE)  # a notebook's commands to its shell
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    found: list[tuple[str, int]] = []
    before = ("", "")
    for place, kind, value in LEXER.get_tokens_unprocessed(text):
        if kind in Comment or kind in String.Doc or not value.strip():
            continue
        if kind in String or kind in Literal:
            word = "L"
            if before[1] == "L":  # a string is several tokens
                continue
        elif kind in Keyword or kind in Operator.Word:
            word = value
        elif kind in Name:
            word = value if before[1] == "." and before[0] != "self" else "self" if value == "self" else "N"
        elif kind in Operator or kind in Punctuation:
            word = value.strip()
        else:
            word = "N"
        found.append((word, bisect.bisect_right(starts, place)))
        before = (before[1], word)
    return found


def starter_units(paths: Iterable[Path], cache: Path) -> set[int]:
    """Fingerprints of what every student was given: scripts and notebooks, and the course's own files.

    They are kept in `cache`, since they take seconds and change seldom.
    """
    root = Path(__file__).resolve().parents[2]
    own = [folder for pattern in ("hw*", "lab8*", "common") for folder in sorted(root.glob(pattern))]
    files = [
        file
        for path in [*own, *paths]
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if file.suffix in (".py", ".ipynb")
    ]
    try:
        contents = [file.read_bytes() for file in files]
    except OSError as error:
        raise InputError(
            f"--starter {error.filename}: {error.strerror}; name existing files or folders"
        ) from None
    digest = hashlib.sha256(b"\0".join([b"%d %d" % (TOKENS, WINDOW), *contents])).hexdigest()
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if known.get("digest") != digest:
        texts = [_code_of(file, content) for file, content in zip(files, contents)]
        prints = sorted({value for text in texts for value, _ in fingerprints(text)})
        known = {"digest": digest, "fingerprints": prints}
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
    texts, sizes = {}, Counter()
    for student, each in assessed.items():
        for work, found in each["works"].items():
            for index, unit in enumerate(found["code"]):
                texts[student, work, index] = unit
                for value, line in dict(unit["fingerprints"]).items():
                    if value not in given:
                        holders[value].append((student, work, index, line))
    many = max(COMMON_LEAST, COMMON_SHARE * len(assessed))
    shared: dict[tuple, list[tuple[int, int]]] = defaultdict(list)
    for places in holders.values():
        if len({student for student, *_ in places}) > many:
            continue
        for student, work, index, _ in places:
            sizes[student, work, index] += 1
        for first, second in combinations(places, 2):
            if first[0] != second[0]:
                shared[first[:3], second[:3]].append((first[3], second[3]))
    found = []
    for (first, second), lines in shared.items():
        share = len(lines) / min(sizes[first], sizes[second])
        if (len(lines) >= LEAST_SHARED and share >= LEAST_SHARE) or len(lines) >= MANY_SHARED:
            found.append(_code_pair(first, second, texts[first], texts[second], lines, share))
    return found


def _code_pair(
    first: tuple, second: tuple, one: dict, other: dict, lines: list[tuple[int, int]], share: float
) -> dict:
    """A pair with the longest matching place of both side by side."""
    runs = _runs(sorted(set(lines)))
    (start, end), (start_there, end_there) = max(runs, key=lambda run: run[0][1] - run[0][0])
    cut = lambda text, begin, stop: "\n".join(
        text.split("\n")[begin - 1 : min(stop + 3, begin + MOST_SNIPPET_LINES)]
    )
    return {
        "kind": "code",
        "first": first[0],
        "second": second[0],
        "share": round(min(1.0, share), 2),
        "shared": len(lines),
        "first_place": f"{first[1]}: {one['place']}:{start}-{end}",
        "second_place": f"{second[1]}: {other['place']}:{start_there}-{end_there}",
        "note": f"{len(lines)} fingerprints in {len(runs)} places",
        "first_text": cut(one["text"], start, end),
        "second_text": cut(other["text"], start_there, end_there),
    }


def _runs(lines: list[tuple[int, int]], gap: int = 6) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Neighbouring matches as ranges of lines in both files."""
    runs: list[list[int]] = []
    for here, there in lines:
        if runs and here - runs[-1][1] <= gap and abs(there - runs[-1][3]) <= gap:
            runs[-1][1], runs[-1][3] = here, max(there, runs[-1][3])
        else:
            runs.append([here, here, there, there])
    return [((a, b), (c, d)) for a, b, c, d in runs]


def _picture_pairs(assessed: dict[str, dict]) -> list[dict]:
    """Pictures of two students that are equal or look alike; those that many have are public."""
    pictures = [
        (student, work, picture)
        for student, each in assessed.items()
        for work, found in each["works"].items()
        for picture in found["gallery"]
        if picture["digest"] and picture["status"] == "ok"
    ]
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
