"""Collect a set of Pokémon pictures from PokéAPI v2: square PNGs for training, and a manifest of all of them.

python lab8_generative/fetch_pokemon.py                                  # sprites, 64 px, on white
python lab8_generative/fetch_pokemon.py --limit 151 --artwork official --size 96 --out data/first151
python lab8_generative/fetch_pokemon.py --background "#202040" --out data/night    # nothing asked twice

    data/pokemon/images/0025.png    trimmed, padded to a square, resized once
    data/pokemon/manifest.jsonl     one line per Pokémon: id, name, address, SHA-256, or what was wrong

The folder is then an image set: `--data data/pokemon`.  All of it is some 2,600 requests: 9 minutes at the
default rate.  However a run ends, the same command goes on where it stopped and tries again what failed.
As the service's fair use policy asks, what it answered is kept (--cache) and not asked for again, so that
another --size or --background costs no request; to ask everything anew, delete that folder.  The pictures
are (c) The Pokémon Company: study them, do not publish them.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
import warnings
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image, ImageColor
from tqdm import tqdm

from common import command_line
from common.errors import InputError
from lab8_generative.manifest import Manifest, Row
from lab8_generative.polite_download import (
    BadAnswer,
    Downloader,
    Interrupted,
    Manners,
    host_of,
    printable,
    write_whole,
)
from lab8_generative.sprite_pictures import square_png

ARTWORK = {
    "default": ("front_default",),
    "official": ("other", "official-artwork", "front_default"),
    "home": ("other", "home", "front_default"),
    "shiny": ("front_shiny",),
}
"""Where in the `sprites` of a Pokémon's details the address of each kind of picture stands."""

PAGE = 500
"""Entries of the list asked for at a time; a service may give fewer."""


@dataclass(frozen=True)
class Config(Manners):
    """Flags of fetch_pokemon.py."""

    out: Path = Path("data/pokemon")
    """Folder of the set: images/NNNN.png and manifest.jsonl."""
    cache: Path = Path("data/pokeapi")
    """Folder of the service's answers, shared by all sets."""
    artwork: Literal["default", "official", "home", "shiny"] = "default"
    """Game sprites of 96 px, drawings of 475 px, renderings of 512 px, game sprites in rare colours."""
    limit: int | None = None
    """Only the first so many of the list; default: all, about 1,300."""
    size: int = 64
    """Side of the pictures in pixels."""
    background: str = "white"
    """Colour behind transparent pixels: a name or #rrggbb."""
    base_url: str = "https://pokeapi.co/api/v2"
    """The service, or a mirror of it."""
    image_hosts: tuple[str, ...] = ("raw.githubusercontent.com",)
    """Hosts that pictures may come from, besides that of --base-url."""

    @property
    def api(self) -> str:
        return self.base_url.rstrip("/")

    @property
    def background_rgb(self) -> tuple[int, int, int]:
        return ImageColor.getrgb(self.background)

    def check(self) -> None:
        """InputError for a flag that cannot be used."""
        for name in ("requests_per_second", "timeout_seconds", "answer_seconds", "answer_megabytes"):
            if not getattr(self, name) > 0:
                raise InputError(_flag(self, name, "give a number above 0"))
        for name in ("connections", "attempts", "give_up_after", "limit"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(_flag(self, name, "give 1 or more"))
        for name in ("backoff_seconds", "longest_wait_seconds"):
            if not getattr(self, name) >= 0:
                raise InputError(_flag(self, name, "give 0 or more"))
        if self.connections > 8:
            raise InputError(_flag(self, "connections", "be polite and give 8 or fewer"))
        if not 8 <= self.size <= 1024:
            raise InputError(_flag(self, "size", "give 8 to 1024 pixels"))
        if host_of(self.base_url) is None:
            raise InputError(_flag(self, "base_url", "give an http or https address"))
        try:
            opaque = len(self.background_rgb) == 3
        except ValueError:
            opaque = False
        if not opaque:
            raise InputError(_flag(self, "background", "give an opaque colour, such as white or #ffffff"))


def _flag(config: Config, name: str, advice: str) -> str:
    return f"--{name.replace('_', '-')}: {getattr(config, name)} cannot be used; {advice}"


# ---- what the service says


@dataclass(frozen=True)
class Entry:
    """A Pokémon of the list."""

    id: int
    name: str


def read_json(body: bytes) -> Any:
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


def list_pokemon(downloader: Downloader, config: Config) -> tuple[list[Entry], list[int]]:
    """The first --limit Pokémon of the service's list, each once; and the lines of it that cannot be used."""
    entries: dict[int, Entry] = {}
    odd: list[int] = []
    seen, more = 0, True
    while more and len(entries) < (config.limit or sys.maxsize):
        page, more = downloader.get(f"{config.api}/pokemon/?limit={PAGE}&offset={seen}", read_page)
        known = len(entries)
        for line, entry in enumerate(page, seen + 1):
            if entry is None:
                odd.append(line)
            else:
                entries.setdefault(entry.id, entry)
        seen += len(page)
        more = more and len(entries) > known  # a list that only repeats itself has ended
    return list(entries.values())[: config.limit], odd


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


# ---- the set on disk


def open_set(config: Config) -> Manifest:
    """The manifest of --out, made where there is none.  InputError when the set was made by other flags."""
    images = config.out / "images"
    images.mkdir(parents=True, exist_ok=True)
    for folder, age in ((config.out, 0), (images, 0), (config.cache, 3600)):
        for part in folder.glob(
            ".*.part"
        ):  # what a killed run was writing; the cache may be in use by another
            if time.time() - part.stat().st_mtime >= age:
                part.unlink(missing_ok=True)
    manifest = Manifest(config.out)
    for row in manifest.rows.values():
        if not row.problem and (row.size, row.artwork, row.background) != _recipe(config):
            raise InputError(
                f"--out {config.out}: holds {row.artwork} pictures of {row.size} px on {row.background}; "
                "give the flags it was made with, or another folder"
            )
    return manifest


def _recipe(config: Config) -> tuple[int, str, str]:
    return config.size, config.artwork, "#{:02x}{:02x}{:02x}".format(*config.background_rgb)


# ---- from one to the other


def fetch_one(entry: Entry, downloader: Downloader, config: Config) -> Row | None:
    """Put one picture in its place.  None when the run stops before that was decided."""
    url, step = None, "details"
    size, artwork, background = _recipe(config)
    make_row = lambda **found: Row(
        entry.id, entry.name, url, size=size, artwork=artwork, background=background, **found
    )
    try:
        url = downloader.get(
            f"{config.api}/pokemon/{entry.id}/", lambda body: sprite_address(body, entry, config.artwork)
        )
        step = "picture"
        png = downloader.get(url, lambda body: square_png(body, size, config.background_rgb))
    except Interrupted:
        return None
    except BadAnswer as bad:
        row = make_row(sha256=None, bytes=0, problem=f"{step}: {bad.reason}")
        row.file(config.out).unlink(missing_ok=True)  # what lay there was not what the manifest says
        return row
    row = make_row(sha256=hashlib.sha256(png).hexdigest(), bytes=len(png), problem=None)
    write_whole(row.file(config.out), png)
    return row


def fetch_all(entries: list[Entry], manifest: Manifest, downloader: Downloader, config: Config) -> None:
    """Fetch what is not there yet, on --connections threads; whatever stops this, the manifest is whole."""
    with (
        tqdm(total=len(entries), unit="picture", disable=None, dynamic_ncols=True) as bar,
        ThreadPoolExecutor(config.connections) as pool,
    ):
        try:
            futures = [pool.submit(fetch_one, entry, downloader, config) for entry in entries]
            for done, future in enumerate(as_completed(futures), 1):
                row = future.result()
                if row is not None:
                    manifest.add(row)
                bar.update()
                if bar.disable and done % 100 == 0 and not downloader.stopped.is_set():
                    print(f"{done} of {len(entries)}", flush=True)
        finally:
            downloader.stopped.set()  # ends the waits of threads that are still at it, after an error
            manifest.save()


def report(manifest: Manifest, odd: list[int], config: Config) -> None:
    """What is there, and a table of what was skipped and why.  InputError when there is nothing."""
    skipped: dict[str, list[str]] = defaultdict(list)
    for row in manifest.rows.values():
        if row.problem:
            skipped[row.problem].append(f"{row.id:04d} {row.name}")
    if odd:
        skipped["list: changed form"] = [f"line {line}" for line in odd]
    table = sorted(skipped.items(), key=lambda item: -len(item[1]))
    if table:
        width = max(len(reason) for reason in skipped)
        print(f"skipped:\n  count  {'why':{width}}  which")
        for reason, which in table:
            more = f", and {len(which) - 3} more" if len(which) > 3 else ""
            print(f"  {len(which):5}  {reason:{width}}  {', '.join(which[:3])}{more}")
    there = [row for row in manifest.rows.values() if not row.problem]
    if not there:
        reason = table[0][0] if table else "its list is empty"
        raise InputError(
            f"--base-url {config.base_url}: no usable picture came ({reason}); "
            "run again later, or name a mirror"
        )
    copies = len(there) - len({row.sha256 for row in there})
    print(
        f"{len(there)} pictures of {config.size} x {config.size} in {config.out / 'images'}"
        + (f", of which {copies} repeat another one" if copies else "")
    )


def main(config: Config) -> None:
    config.check()
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # decode() refuses them itself
    hosts = (host_of(config.base_url), *(host.lower() for host in config.image_hosts))
    downloader = Downloader(config, config.cache, hosts)
    try:
        manifest = open_set(config)
        try:
            entries, odd = list_pokemon(downloader, config)
        except BadAnswer as bad:
            raise InputError(
                f"--base-url {config.base_url}: no list of Pokémon ({bad.reason}); "
                "check the address and the network, or run again later"
            ) from bad
        missing = [entry for entry in entries if not manifest.is_there(entry.id)]
        print(f"{len(entries)} in the list, {len(entries) - len(missing)} there, {len(missing)} to fetch")
        fetch_all(missing, manifest, downloader, config)
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)
        raise
    except OSError as error:
        raise InputError(
            f"{error.filename or config.out}: {error.strerror or error}; "
            "give --out and --cache folders that can be written, with space left"
        ) from error
    report(manifest, odd, config)
    if downloader.gave_up:
        print(
            f"stopped after {config.give_up_after} failures in a row: run the same command later to go on",
            file=sys.stderr,
        )


if __name__ == "__main__":
    command_line.run(main, Config)
