"""Fetches from the server of pokemon_server.py, and what they leave in their folders."""

import json
from pathlib import Path

from pokemon_server import PokemonServer

from lab8_generative import sprite_pictures
from lab8_generative.fetch_pokemon import Config

WHITE = (255, 255, 255)


def quick_config(folder: Path, server: PokemonServer, **flags) -> Config:
    """A fetch into `folder` that does not wait for a server on this machine."""
    quick = {
        "requests_per_second": 10_000,
        "backoff_seconds": 0,
        "longest_wait_seconds": 0.01,
        "answer_megabytes": 1,
        "size": 32,
        "out": folder / "set",
        "cache": folder / "cache",
        "base_url": server.base_url,
    }
    return Config(**{**quick, **flags})


def rows_of(folder: Path) -> dict[int, dict]:
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert len({row["id"] for row in lines}) == len(lines), "one line per Pokémon"
    return {row["id"]: row for row in lines}


def images_of(folder: Path) -> dict[str, bytes]:
    """File name -> content, without the hidden files that a killed run may leave behind."""
    return {path.name: path.read_bytes() for path in (folder / "images").glob("[!.]*")}


def right_images(server: PokemonServer, numbers, size: int = 32) -> dict[str, bytes]:
    return {
        f"{n:04d}.png": sprite_pictures.square_png(server.pictures[f"/sprites/{n}.png"], size, WHITE)
        for n in numbers
    }
