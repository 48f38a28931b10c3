"""Fetching Pokémon from a server that misbehaves on purpose: all that is good arrives, nothing else stays."""

import functools
import gzip
import hashlib
import subprocess
import sys
import threading
from pathlib import Path

from common import data
from common.errors import InputError

import pytest
from PIL import Image
from pokemon_fetches import images_of, quick_config, right_images, rows_of
from pokemon_server import ARTWORK_PATHS, ENDLESS, FAULTS, HARMLESS, LASTING, PokemonServer

from lab8_generative import fetch_pokemon
from lab8_generative.fetch_pokemon import Config

SCRIPT = Path(fetch_pokemon.__file__)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def config(tmp_path):
    """config(server, flag=...) -> Config."""
    return functools.partial(quick_config, tmp_path)


# ---- everything at once


@pytest.mark.parametrize("seed", [0, 1])
def test_every_good_picture_arrives_intact_once_from_a_server_that_misbehaves_at_random(config, seed, capsys):
    with PokemonServer(count=30, page=7) as server:
        server.misbehave(seed)
        server.always |= {"/api/v2/pokemon/3/": "404", "/sprites/4.png": "404"}
        server.details[5]["sprites"]["front_default"] = None
        del server.details[6]["sprites"]
        server.details[7]["sprites"]["front_default"] = {"url": "x"}
        server.details[8]["sprites"]["front_default"] = "http://localhost/secret.png"
        server.entries += [{"name": "no address"}, {"name": "odd", "url": "/pokemon/../../etc/"}, 3]
        made = config(server, attempts=30, timeout_seconds=0.3, answer_seconds=0.3, connections=8)
        fetch_pokemon.main(made)

        good = set(range(1, 31)) - {3, 4, 5, 6, 7, 8}
        assert images_of(made.out) == right_images(server, good)
        rows = rows_of(made.out)
        assert set(rows) == set(range(1, 31))
        assert {number for number, row in rows.items() if row["problem"] is None} == good
        for number in good:
            file = made.out / "images" / f"{number:04d}.png"
            assert rows[number]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
            assert rows[number]["url"] == f"http://{server.host}/sprites/{number}.png"
            assert (rows[number]["size"], rows[number]["bytes"]) == (32, file.stat().st_size)
        assert {number: rows[number]["problem"] for number in set(rows) - good} == {
            3: "details: HTTP 404",
            4: "picture: HTTP 404",
            5: "details: no default picture",
            6: "details: changed form: no sprites",
            7: "details: changed form: sprites.front_default is dict, not str",
            8: "picture: on a host that is not allowed: http://localhost/secret.png",
        }
        assert server.hosts == {server.host}
        output = capsys.readouterr()
        for row in rows.values():
            assert row["problem"] is None or row["problem"] in output.out
        assert "3  list: changed form" in output.out and "24 pictures of 32 x 32" in output.out
        assert "\r" not in output.err, "no progress bar without a terminal"

        before = server.hits.copy()
        fetch_pokemon.main(made)  # what came is not asked for again, what failed is
        again = {path for path in server.hits if server.hits[path] != before[path]}
        assert again == {f"/api/v2/pokemon/{n}/" for n in (3, 5, 6, 7)} | {"/sprites/4.png"}

    loaded = data.load(str(made.out), "all", size=32)
    assert len(loaded) == len(good) and loaded.images.shape[1:] == (3, 32, 32) and not loaded.skipped


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - LASTING))
def test_each_fault_is_lived_through_when_it_passes_and_named_when_it_stays(config, fault):
    with PokemonServer(count=3) as server:
        bad = {1: "/api/v2/pokemon/1/", 2: "/sprites/2.png"}
        limits = dict.fromkeys(("timeout_seconds", "answer_seconds"), 0.5 if fault in ENDLESS else 60)
        made = config(server, attempts=2, **limits)
        if fault not in HARMLESS:
            server.always = dict.fromkeys(bad.values(), fault)
            fetch_pokemon.main(made)
            assert images_of(made.out) == right_images(server, [3])
            assert rows_of(made.out)[1]["problem"].startswith("details: ")
            assert rows_of(made.out)[2]["problem"].startswith("picture: ")
            for path in bad.values():
                assert server.hits[path] == 2, "asked again once"
                assert server.bytes_sent[path] < 100e6
            server.always = {}
        server.faults |= {path: [fault] for path in bad.values()}
        fetch_pokemon.main(config(server, attempts=20, **limits))
        assert images_of(made.out) == right_images(server, [1, 2, 3])
        assert all(row["problem"] is None for row in rows_of(made.out).values())
        assert server.hosts == {server.host}
        if fault in HARMLESS:
            assert {server.hits[path] for path in bad.values()} == {1}, "right at once"


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("404", "HTTP 404"),
        ("hang", "timed out"),
        ("hang up", "no connection"),
        ("short body", "body shorter than its length"),
        ("chunks without end", "connection lost in mid-answer"),
        ("empty", "empty answer"),
        ("html", "HTML instead of a picture"),
        ("noise", "something instead of a picture"),
        ("cut", "damaged picture"),
        ("no pixels", "something instead of a picture"),
        ("pixel bomb", "picture of far too many pixels"),
        ("long pixel bomb", "picture of 1000000 x 1 pixels"),
        ("gigabyte", "answer of more than 1 MB"),
        ("gigabyte announced", "answer of more than 1 MB"),
        ("zip bomb", "answer of more than 1 MB"),
        ("bad zip", "damaged compression"),
        ("drip", "answer that does not end"),
        ("header in drops", "answer that does not end"),
        ("headers without end", "answer that does not end"),
        ("chunk line without end", "answer that does not end"),
        ("round and round", "more than 5 redirects"),
        ("elsewhere", "redirect to localhost:"),
        ("to a file", "redirect to file:///etc/passwd refused"),
    ],
)
def test_the_manifest_says_what_was_wrong(config, fault, problem):
    with PokemonServer(count=2) as server:
        server.always["/sprites/1.png"] = fault
        limit = 0.5 if fault in ENDLESS else 60
        made = config(server, attempts=1, timeout_seconds=limit, answer_seconds=limit)
        fetch_pokemon.main(made)
        assert rows_of(made.out)[1]["problem"].startswith("picture: " + problem)


# ---- restarts


def start_and_kill(server: PokemonServer, made: Config, pictures: int) -> None:
    """Run the script in a process of its own and kill it while `pictures` have come and others are coming."""
    server.release, server.pictures_before_hold = threading.Event(), pictures
    server.held.clear()
    flags = [f"--{name}={getattr(made, name)}" for name in ("out", "cache", "size")]
    process = subprocess.Popen(
        [sys.executable, SCRIPT, f"--base-url={made.base_url}", "--requests-per-second=1000", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not server.held.wait(0.1):
        assert process.poll() is None, process.stdout.read()
    process.kill()
    process.communicate()
    server.release.set()


def test_a_kill_in_the_middle_loses_nothing_and_nothing_is_fetched_twice(config):
    with PokemonServer(count=40) as server:
        made = config(server)
        for pictures in (6, 25):
            start_and_kill(server, made, pictures)
            there = images_of(made.out)
            assert len(there) > pictures - 2 * made.connections
            numbers = [int(name[:4]) for name in there]
            assert there == right_images(server, numbers), "whole pictures only"
            before = server.hits.copy()
        server.pictures_before_hold = 10**9
        fetch_pokemon.main(made)
        assert images_of(made.out) == right_images(server, range(1, 41))
        assert all(row["problem"] is None for row in rows_of(made.out).values())
        for name in there:
            path = f"/sprites/{int(name[:4])}.png"
            assert server.hits[path] == before[path]
        twice = {path: n for path, n in server.picture_hits().items() if n > 1}
        assert len(twice) <= 2 * made.connections, "only what was on its way when the process died"
        assert not list(made.out.rglob(".*")), "half-written files are cleared away"


def test_damage_on_disk_is_repaired_from_the_cache_and_a_damaged_cache_from_the_service(config):
    with PokemonServer(count=5) as server:
        made = config(server)
        fetch_pokemon.main(made)
        before, images = server.hits.copy(), images_of(made.out)

        manifest = made.out / "manifest.jsonl"
        manifest.write_text(manifest.read_text()[:-30])  # a kill between a picture and the end of its line
        (made.out / "images" / "0002.png").write_bytes(images["0002.png"][:-5])
        (made.out / "images" / "0003.png").unlink()
        fetch_pokemon.main(made)
        assert images_of(made.out) == images and set(rows_of(made.out)) == {1, 2, 3, 4, 5}
        assert server.hits == before, "nothing was asked again"

        address = f"http://{server.host}/sprites/1.png"
        cached = made.cache / f"{hashlib.sha256(address.encode()).hexdigest()}.gz"
        assert gzip.decompress(cached.read_bytes()) == server.pictures["/sprites/1.png"]
        cached.write_bytes(cached.read_bytes()[:-9])
        manifest.unlink()
        fetch_pokemon.main(made)
        assert images_of(made.out) == images
        assert server.hits - before == {"/sprites/1.png": 1}


def test_another_folder_with_other_flags_costs_no_request(config, tmp_path):
    with PokemonServer(count=3) as server:
        made = config(server)
        fetch_pokemon.main(made)
        before = server.hits.copy()
        with pytest.raises(InputError, match="holds default pictures of 32 px on #ffffff"):
            fetch_pokemon.main(config(server, size=48))
        other = config(server, size=48, background="#102030", out=tmp_path / "other", limit=2)
        fetch_pokemon.main(other)
        assert server.hits == before and len(images_of(other.out)) == 2
        with Image.open(other.out / "images" / "0001.png") as image:
            assert (image.size, image.mode) == ((48, 48), "RGB")


# ---- an answer is not to be believed


def test_names_and_addresses_never_become_paths_or_terminal_commands(config, capsys, tmp_path):
    with PokemonServer(count=4) as server:
        server.entries[0]["name"] = "../../../../escape"
        server.entries[1]["name"] = "\x1b[2Jgone\ud800" + "x" * 1000
        server.entries[2]["url"] = "http://localhost:1/api/v2/pokemon/3/"
        server.details[2]["sprites"]["front_default"] = None
        server.details[4]["sprites"]["front_default"] = f"http://{server.host}/sprites/../sprites/4.png"
        server.pictures["/sprites/../sprites/4.png"] = server.pictures["/sprites/4.png"]
        made = config(server)
        fetch_pokemon.main(made)
        assert images_of(made.out) == right_images(server, [1, 3, 4])
        assert {path.name for path in tmp_path.iterdir()} == {"set", "cache"}
        assert {path.name for path in made.out.iterdir()} == {"images", "manifest.jsonl"}
        assert all(len(path.name) == 64 + 3 for path in made.cache.iterdir())
        assert "\x1b" not in capsys.readouterr().out and len(rows_of(made.out)[2]["name"]) <= 81


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d.pop("id"), "changed form: no id"),
        (lambda d: d.update(id="1"), "changed form: id is str, not int"),
        (lambda d: d.update(id=True), "changed form: id is bool, not int"),
        (lambda d: d.update(id=2), "details of another Pokémon"),
        (lambda d: d.update(sprites=[]), "changed form: no sprites.other"),
        (lambda d: d.update(sprites=None), "changed form: no sprites.other"),
        (lambda d: d["sprites"].pop("other"), "changed form: no sprites.other"),
        (lambda d: d["sprites"]["other"].pop("home"), "changed form: no sprites.other.home"),
        (lambda d: d["sprites"]["other"]["home"].update(front_default=None), "no home picture"),
        (lambda d: d["sprites"]["other"]["home"].update(front_default=7), "is int, not str"),
        (lambda d: d["sprites"]["other"]["home"].update(front_default="data:,x"), "not plain http"),
    ],
)
def test_a_changed_form_is_named(config, change, problem):
    with PokemonServer(count=2) as server:
        change(server.details[1])
        made = config(server, artwork="home", attempts=2)
        fetch_pokemon.main(made)
        assert list(images_of(made.out)) == ["0002.png"]
        assert problem in rows_of(made.out)[1]["problem"]


@pytest.mark.parametrize("artwork", ARTWORK_PATHS)
def test_artwork_and_limit_choose_what_is_asked_for(config, artwork):
    with PokemonServer(count=5, page=2) as server:
        fetch_pokemon.main(config(server, artwork=artwork, limit=3))
        assert set(server.picture_hits()) == {f"/sprites/{ARTWORK_PATHS[artwork]}{n}.png" for n in (1, 2, 3)}
        assert set(server.hits.values()) == {1}
