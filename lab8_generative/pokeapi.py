"""What PokéAPI v2 says: its list of Pokémon and where their pictures are; nothing is taken on trust."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from lab8_generative.polite_download import BadAnswer, Downloader, host_of, printable

ARTWORK = {
    "default": ("front_default",),
    "official": ("other", "official-artwork", "front_default"),
    "home": ("other", "home", "front_default"),
    "shiny": ("front_shiny",),
}
"""Where in the `sprites` of a Pokémon's details the address of each kind of picture stands."""

PAGE = 500
"""Entries of the list asked for at a time; a service may give fewer."""
MOST = 20_000
"""Lines of the list that are read: one that goes on after so many is no list of Pokémon."""
MOST_JSON_VALUES = 100_000
"""Values in one answer, three times as many as the longest details have: empty ones take 60 times their bytes
of memory."""


@dataclass(frozen=True)
class Entry:
    """A Pokémon of the list."""

    id: int
    name: str


def read_json(body: bytes) -> Any:
    if sum(map(body.count, (b",", b"[", b"{"))) > MOST_JSON_VALUES:
        raise BadAnswer("JSON of far too many values")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        kind = "HTML" if body.lstrip()[:1] == b"<" else "something"
        raise BadAnswer(f"{kind} instead of JSON") from error


def part(tree: Any, keys: tuple[str, ...], kind: type) -> Any:
    """`tree[key][key]...`, which must be of this kind.  BadAnswer when the service has changed its form."""
    for depth, key in enumerate(keys, 1):
        if not isinstance(tree, dict) or key not in tree:
            raise BadAnswer(f"changed form: no {'.'.join(keys[:depth])}", again=False)
        tree = tree[key]
    if not isinstance(tree, kind) or isinstance(tree, bool):
        found = "null" if tree is None else type(tree).__name__
        raise BadAnswer(f"changed form: {'.'.join(keys)} is {found}, not {kind.__name__}", again=False)
    return tree


def read_page(body: bytes) -> tuple[list[Entry | None], bool]:
    """The entries of one page of the list, None for each that cannot be used; and whether more follow."""
    page = read_json(body)
    entries = []
    for item in part(page, ("results",), list):
        try:
            # only the number is taken from the address: where to ask next is not for an answer to say
            number = re.search(r"/pokemon/([1-9][0-9]{0,5})/?$", part(item, ("url",), str))
            entries.append(Entry(int(number[1]), printable(part(item, ("name",), str))) if number else None)
        except BadAnswer:
            entries.append(None)
    return entries, page.get("next") is not None


def list_pokemon(downloader: Downloader, api: str, limit: int | None) -> tuple[list[Entry], list[int]]:
    """The first `limit` Pokémon of the service's list, each once; and the lines of it that cannot be used."""
    entries: dict[int, Entry] = {}
    odd: list[int] = []
    seen, more = 0, True
    while more and seen < MOST and len(entries) < (limit or MOST):
        page, more = downloader.get(f"{api}/pokemon/?limit={PAGE}&offset={seen}", read_page)
        known = len(entries)
        for line, entry in enumerate(page, seen + 1):
            if entry is None:
                odd.append(line)
            else:
                entries.setdefault(entry.id, entry)
        seen += len(page)
        more = more and len(entries) > known  # a list that only repeats itself has ended
    return list(entries.values())[: limit or MOST], odd


def sprite_address(body: bytes, entry: Entry, artwork: str) -> str:
    """The address of one kind of picture in a Pokémon's details.  Raises BadAnswer."""
    details = read_json(body)
    if part(details, ("id",), int) != entry.id:
        raise BadAnswer("details of another Pokémon")
    keys = ("sprites", *ARTWORK[artwork])
    part(details, keys[:-1], dict)
    if not part(details, keys, object):  # null, or empty
        raise BadAnswer(f"no {artwork} picture", again=False)
    address = part(details, keys, str)
    if host_of(address) is None:
        raise BadAnswer("address that is not plain http(s)", again=False)
    return address
