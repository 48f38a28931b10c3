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
import sys
import time
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from common import command_line
from common.errors import InputError
from common.flags import Folder

from annotated_types import Interval
from PIL import Image, ImageColor
from pydantic import AfterValidator
from tqdm import tqdm

from lab8_generative import daemon_threads
from lab8_generative.manifest import Manifest, Row
from lab8_generative.pokeapi import MOST, Entry, list_pokemon, sprite_address
from lab8_generative.polite_download import (
    BadAnswer,
    Downloader,
    Manners,
    host_of,
    write_whole,
)
from lab8_generative.sprite_pictures import square_png
from lab8_generative.timed_answers import Interrupted


def _opaque(colour: str) -> str:
    try:
        opaque = len(ImageColor.getrgb(colour)) == 3
    except ValueError:
        opaque = False
    if not opaque:
        raise ValueError("give an opaque colour, such as white or #ffffff")
    return colour


def _host(name: str) -> str:
    if host_of(f"https://{name}") != name.lower():
        raise ValueError("give the name of a host, such as raw.githubusercontent.com")
    return name.lower()


def _web_address(address: str) -> str:
    if host_of(address) is None:
        raise ValueError("give an http or https address")
    return address


@dataclass(frozen=True)
class Config(Manners):
    """Flags of fetch_pokemon.py."""

    out: Folder = Path("data/pokemon")
    """Folder of the set: images/NNNN.png and manifest.jsonl."""
    cache: Folder = Path("data/pokeapi")
    """Folder of the service's answers, shared by all sets."""
    artwork: Literal["default", "official", "home", "shiny"] = "default"
    """Game sprites of 96 px, drawings of 475 px, renderings of 512 px, game sprites in rare colours."""
    limit: Annotated[int, Interval(ge=1, le=MOST)] | None = None
    """Only the first so many of the list; default: all, about 1,300."""
    size: Annotated[int, Interval(ge=8, le=1024)] = 64
    """Side of the pictures in pixels, 8 to 1024."""
    background: Annotated[str, AfterValidator(_opaque)] = "white"
    """Colour behind transparent pixels: a name or #rrggbb."""
    base_url: Annotated[str, AfterValidator(_web_address)] = "https://pokeapi.co/api/v2"
    """The service, or a mirror of it."""
    image_hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = ("raw.githubusercontent.com",)
    """Hosts that pictures may come from, besides that of --base-url."""

    @property
    def api(self) -> str:
        return self.base_url.rstrip("/")

    @property
    def background_rgb(self) -> tuple[int, int, int]:
        return ImageColor.getrgb(self.background)


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
    rows = daemon_threads.unordered(
        lambda entry: fetch_one(entry, downloader, config), entries, config.connections
    )
    with tqdm(total=len(entries), unit="picture", disable=None, dynamic_ncols=True) as bar:
        try:
            for done, row in enumerate(rows, 1):
                if row is not None:
                    manifest.add(row)
                bar.update()
                if bar.disable and done % 100 == 0 and not downloader.stopped.is_set():
                    print(f"{done} of {len(entries)}", flush=True)
        finally:
            downloader.stopped.set()
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
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # decode() refuses them itself
    hosts = (host_of(config.base_url), *config.image_hosts)
    downloader = Downloader(config, config.cache, hosts)
    try:
        manifest = open_set(config)
        try:
            entries, odd = list_pokemon(downloader, config.api, config.limit)
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
