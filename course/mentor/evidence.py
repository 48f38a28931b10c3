"""Whether a submission shows what the rubric asks for, and where: the answer is always found, missing,
could not be read, or lies elsewhere, with a place to look at.

Each check takes what was read and an item of rubric.toml.  What no check anchors on, and a mentor would
notice, stands in the remarks (remarks.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from course.mentor import numbers, words
from course.mentor import reading as reading_
from course.mentor.objects import shown
from course.mentor.page import Block, Page
from course.mentor.reading import Reading, Seen
from course.mentor.rubric import Item, Rubric

FOUND, MISSING, UNREADABLE, EXTERNAL = "found", "missing", "unreadable", "external"
MOST_PLACES = 4
ENOUGH_WORDS = 4
"""In a paragraph that says something."""
NAMED, NEAR = 3, 2
"""How much a caption or a file's name, or a heading or the text before a picture, says about it; NEAR is
enough."""
PLOTTING = re.compile(r"^.*(?:plot|title|label|legend|imshow|save_image|savefig).*$", re.MULTILINE)
TO_DO = re.compile(r"\b(todo|tbd|заполнить|позже|coming soon|\.{3,}|xxx)\b", re.IGNORECASE)
GRID = (
    "grid",
    "samples",
    "images",
    "generated",
    "сетк",
    "сэмпл",
    "пример",
    "изображен",
    "сгенерирован",
    "результат",
    "output",
)


@dataclass
class Evidence:
    """What was found of one item."""

    status: str
    places: list[str] = field(default_factory=list)
    note: str = ""


class Checks:
    """The checks of one submission."""

    def __init__(self, reading: Reading, rubric: Rubric):
        self.reading, self.rubric = reading, rubric
        self.schemes = rubric.schemes.terms
        items = rubric.items
        self.curves = items["loss_curve"].terms + items["metric_curve"].terms
        self.data = items["dataset"].terms
        self._words: dict[int, list[str]] = {}

    def evidence(self, item: Item) -> Evidence:
        check: Callable[[Item], Evidence] = getattr(self, f"_{item.check}")
        return check(item)

    def of(self, block: Block) -> list[str]:
        """The words of a block, found once."""
        if id(block) not in self._words:
            self._words[id(block)] = words.words(block.text[:20_000])
        return self._words[id(block)]

    # ---- files

    def _readme(self, item: Item) -> Evidence:
        pages = self.reading.readmes
        said = lambda page: sum(len(self.of(block)) for block in page.blocks if block.own)
        full = [page for page in pages if said(page) >= ENOUGH_WORDS]
        if full:
            return Evidence(FOUND, [page.file for page in full][:MOST_PLACES])
        unread = [note for note in self.reading.notes if "readme" in note.casefold()]
        if unread:
            return Evidence(UNREADABLE, note=unread[0])
        if pages and pages[0].given:
            return Evidence(MISSING, note=f"{pages[0].file} is as the course handed it out")
        return Evidence(MISSING, note=f"{pages[0].file} is empty" if pages else "")

    def _files(self, item: Item) -> Evidence:
        if self.reading.own:
            return Evidence(FOUND, _unique(place.split(" cell ")[0] for place, _ in self.reading.own))
        if self.reading.unread:
            return Evidence(UNREADABLE, self.reading.unread[:MOST_PLACES], "; ".join(self.reading.notes[:2]))
        if links := self._links(self.rubric.items["platform"].terms):
            return Evidence(EXTERNAL, links[:MOST_PLACES], "no code here, only a link")
        if self.reading.code:
            return Evidence(MISSING, note="all of the code is as the course handed it out")
        return Evidence(MISSING)

    def _requirements(self, item: Item) -> Evidence:
        if not self.reading.needs:
            return Evidence(MISSING)
        places = [needs.where for needs in self.reading.needs]
        notes = [f"{needs.where}: {note}" for needs in self.reading.needs for note in needs.notes]
        pinned = sum(needs.pinned for needs in self.reading.needs)
        unpinned = sum(needs.unpinned for needs in self.reading.needs)
        counts = f"{pinned} with a version, {unpinned} without"
        if pinned:
            return Evidence(FOUND, places[:MOST_PLACES], "; ".join([counts, *notes[:2]]))
        if not unpinned and any("damaged" in note or "not a text" in note for note in notes):
            return Evidence(UNREADABLE, places[:MOST_PLACES], "; ".join(notes[:2]))
        return Evidence(MISSING, places[:MOST_PLACES], "; ".join([counts, *notes[:2]]))

    def _link(self, item: Item) -> Evidence:
        places = self._links(item.terms)
        return Evidence(FOUND if places else MISSING, places[:MOST_PLACES])

    def _links(self, terms: list[str]) -> list[str]:
        return _unique(
            f"{link.where} ({shown(link.target, 100)})"
            for page in self.reading.pages
            for link in page.links
            if any(term in link.target.casefold() for term in terms)
        )

    # ---- words

    def _text(self, item: Item) -> Evidence:
        empty = ""
        for page in self.reading.pages:
            if page.given:
                continue
            blocks = [block for block in page.blocks if block.kind in ("heading", "text", "table")]
            for index, block in enumerate(blocks):
                terms = [*item.headings, *item.terms] if block.kind == "heading" else item.terms
                term = words.first(self.of(block), terms)
                if term is None:
                    continue
                if block.kind == "heading":
                    if self._filled(blocks, index, page):
                        return Evidence(FOUND, [block.where], quoted(block.text))
                    empty = empty or f"{block.where}: a heading with nothing under it"
                elif len(self.of(block)) >= ENOUGH_WORDS and not TO_DO.search(block.text):
                    return Evidence(FOUND, [block.where], quoted(_around(block.text, term)))
        return self._absent(empty)

    def _filled(self, blocks: list[Block], index: int, page: Page) -> bool:
        """Whether anything stands under a heading."""
        heading = blocks[index]
        under = [block for block in blocks[index + 1 :] if block.section.startswith(heading.section)]
        said = " ".join(block.text for block in under if block.kind != "heading")
        if len(words.words(said)) >= 2 and not (TO_DO.search(said) and len(words.words(said)) < 8):
            return True
        if not under and heading.own and len(self.of(heading)) > ENOUGH_WORDS:  # all of it is in the heading
            return True
        pictures = [picture for picture in page.pictures if picture.section.startswith(heading.section)]
        code = page.notebook and any(b.kind == "code" and b.section == heading.section for b in page.blocks)
        return bool(pictures) or code

    def _absent(self, note: str = "") -> Evidence:
        """Missing, unless a page that may say it could not be read."""
        trouble = [note for page in self.reading.pages for note in page.notes if note.startswith("not read")]
        lost = [
            name for name in self.reading.notes if "readme" in name.casefold() and not self.reading.readmes
        ]
        if not note and (trouble or lost):
            return Evidence(UNREADABLE, note=(trouble or lost)[0])
        return Evidence(MISSING, note=note)

    def _number(self, item: Item) -> Evidence:
        values: dict[float, str] = {}
        named = ""
        for page in self.reading.pages:
            for block in page.blocks:
                if not block.own or block.kind == "code" or (item.table and block.kind != "table"):
                    continue
                found, said = self._numbers(block, item)
                named = named or (block.where if said else "")
                for value in found:
                    if item.above is None or value > item.above:
                        values.setdefault(value, block.where)
            if len(values) >= item.least:
                break
        if len(values) >= item.least:
            note = ", ".join(f"{value:g}" for value in list(values)[:8])
            return Evidence(FOUND, _unique(values.values()), note)
        if values:
            return Evidence(MISSING, _unique(values.values()), f"{len(values)} of {item.least} values")
        return self._absent(f"{named}: named without a value" if named else "")

    def _numbers(self, block: Block, item: Item) -> tuple[list[float], bool]:
        """The numbers that stand beside a term in a block, and whether it names the term at all."""
        if block.kind == "table":
            if words.first(self.of(block), item.unless):
                return [], False
            heads = lambda cell: words.first(words.words(cell), item.terms) is not None
            return numbers.in_table(block.text, block.section, heads, item.table)
        if not words.first(self.of(block), item.terms):
            return [], False
        found = []
        for sentence in re.split(r"\n|[.!?;](?=\s)", block.text[:20_000]):
            tokens = numbers.NUMBER.findall(sentence.casefold().replace("ё", "е"))[:2000]
            for term in item.terms:
                at = words.says(tokens, term)
                if at >= 0:
                    length = len(term.split())
                    near = tokens[max(0, at - 4) : at] + tokens[at + length : at + length + 10]
                    found += numbers.values(near)
        return found, True

    # ---- pictures

    def weight(self, seen: Seen, terms: list[str]) -> int:
        """How surely a picture is of what the terms say."""
        target = re.sub(r"[?#].*$", "", seen.shown.target.rsplit("/", 1)[-1])
        own = words.words(f"{seen.shown.alt} {'' if seen.shown.target.startswith('data:') else target}")
        own += words.words(" ".join(words.PIECES.findall(target)))
        if words.first(own, terms):
            return NAMED
        drawing = " ".join(PLOTTING.findall(seen.shown.code)).replace("_", " ")
        if words.first(words.words(drawing), terms):
            return NAMED
        heading = seen.shown.section.rsplit(" / ", 1)[-1]
        return NEAR if words.first(words.words(f"{seen.shown.near[-160:]} {heading}"), terms) else 0

    def is_plot(self, seen: Seen) -> bool:
        """A curve or a scheme rather than what a network drew."""
        drawn = seen.picture is not None and seen.picture.looks_drawn
        weight = max(self.weight(seen, self.curves), self.weight(seen, self.schemes))
        return (weight >= NAMED and (drawn or not seen.shown.page.endswith(".ipynb"))) or (
            weight >= NEAR and drawn
        )

    def _fits(self, seen: Seen, item: Item) -> bool:
        weight = self.weight(seen, item.terms)
        if (
            item.drawn
            and seen.picture is not None
            and not seen.picture.trouble
            and not seen.picture.looks_drawn
        ):
            return weight >= NAMED and not seen.shown.page.endswith(".ipynb")
        if not item.drawn and weight < NAMED and self.is_plot(seen):
            return False
        return weight >= NEAR

    def _picture(self, item: Item) -> Evidence:
        fitting = [seen for seen in self.reading.pictures if self._fits(seen, item)]
        good = [seen for seen in _distinct(fitting) if not item.animated or seen.picture.animated]
        if len(good) >= item.least:
            return _with_pictures(FOUND, good)
        return self._fewer(fitting, good, item)

    def _outputs(self, item: Item) -> Evidence:
        outputs = [
            seen
            for seen in self.reading.pictures
            if not self.is_plot(seen)
            and not words.first(words.words(seen.shown.section.rsplit(" / ", 1)[-1]), self.data)
            and not (seen.status == reading_.OK and min(seen.picture.width, seen.picture.height) < 16)
        ]
        good = _distinct(outputs)
        if len(good) >= item.least:
            return _with_pictures(FOUND, good)
        grids = [
            seen
            for seen in good
            if max(seen.picture.width, seen.picture.height) >= 200 and self.weight(seen, list(GRID)) >= NEAR
        ]
        if grids:
            found = _with_pictures(FOUND, good)
            found.note = f"{len(good)} pictures, {len(grids)} of them may be a grid of several: look"
            return found
        return self._fewer(outputs, good, item)

    def _fewer(self, fitting: list[Seen], good: list[Seen], item: Item) -> Evidence:
        """Too few pictures that decode: why."""
        count = f"{len(good)} of {item.least} pictures" if good or item.least > 1 else ""
        for status, outcome in (
            (reading_.EXTERNAL, EXTERNAL),
            (reading_.UNREADABLE, UNREADABLE),
            (reading_.MISSING, MISSING),
        ):
            those = [seen for seen in fitting if seen.status == status]
            if those:
                notes = [count, f"{those[0].label}: {those[0].note}"]
                evidence = _with_pictures(outcome, good)
                evidence.places = _unique(seen.shown.where for seen in those)
                evidence.note = "; ".join(filter(None, notes))
                return evidence
        absent = self._absent(count) if good else self._absent()
        if absent.status == MISSING:
            absent.note = count
        return absent

    # ---- code and names

    def _code(self, item: Item) -> Evidence:
        for place, text in self.reading.own:
            for term in item.terms:
                if _holds(words.identifiers(text), term) or _holds(set(words.words(place)), term):
                    return Evidence(FOUND, [place], term.rstrip("$"))
        if not self.reading.own:
            found = self._files(item)
            return Evidence(
                found.status, note=found.note if self.reading.code else "no code that could be read"
            )
        if self.reading.unread:
            return Evidence(UNREADABLE, self.reading.unread[:MOST_PLACES])
        return Evidence(MISSING)

    def _name(self, item: Item) -> Evidence:
        raise NotImplementedError("names are looked for by main_page.py, which knows the student")


def as_data(evidence: Evidence) -> dict:
    return asdict(evidence)


def _holds(identifiers: set[str], term: str) -> bool:
    stem = term.casefold().rstrip("$")
    return stem in identifiers or (
        not term.endswith("$") and any(name.startswith(stem) for name in identifiers)
    )


def _distinct(seen: list[Seen]) -> list[Seen]:
    """Those that decode, each picture once."""
    by_digest: dict[str, Seen] = {}
    for each in seen:
        if each.status == reading_.OK:
            by_digest.setdefault(each.picture.digest, each)
    return list(by_digest.values())


def _with_pictures(status: str, seen: list[Seen]) -> Evidence:
    count = "1 picture" if len(seen) == 1 else f"{len(seen)} pictures"
    return Evidence(status, _unique(each.shown.where for each in seen), count)


def _unique(places: object) -> list[str]:
    return list(dict.fromkeys(places))[:MOST_PLACES]


def quoted(text: str) -> str:
    return f"“{shown(' '.join(text.split()), 120)}”"


def _around(text: str, term: str) -> str:
    """The part of a long paragraph that says a term."""
    stem = term.split(maxsplit=1)[0].rstrip("$")
    at = max(0, text.casefold().find(stem) - 30)
    if at == 0:
        return text
    begun = re.search(r"\s", text[at:])  # not in the middle of a word
    return "… " + (text[at + begun.end() :] if begun else text[at:])
