"""A fetch of Pokémon: what it asks of a service and how often, its flags, Ctrl-C, memory and networks."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from common import command_line
from common.errors import InputError

import pytest
from pokemon_fetches import images_of, quick_config, right_images, rows_of
from pokemon_server import PokemonServer

from lab8_generative import fetch_pokemon, pokeapi
from lab8_generative.fetch_pokemon import Config

SCRIPT = Path(fetch_pokemon.__file__)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def config(tmp_path):
    """config(server, flag=...) -> Config."""
    return functools.partial(quick_config, tmp_path)


# ---- manners


@pytest.mark.parametrize("fault", ["429 seconds", "429 date", "503", "403 with Retry-After"])
def test_retry_after_is_waited_for(config, fault):
    with PokemonServer(count=1) as server:
        server.faults["/api/v2/pokemon/1/"] = [fault]
        fetch_pokemon.main(config(server, connections=1, longest_wait_seconds=30))
        _, (refused, _), (answered, _), _ = server.times
        if fault == "429 date":
            answered_at = time.time() - time.monotonic() + answered
            assert answered_at >= server.asked_to_wait_until - 0.01  # two clocks, not read at once
        else:
            assert answered - refused >= 1


def test_the_rate_is_kept_by_all_connections_together(config):
    with PokemonServer(count=10) as server:
        start = time.monotonic()
        fetch_pokemon.main(config(server, requests_per_second=50, connections=4))
        arrivals = [when - start for when, _ in server.times]
        assert len(arrivals) == 21
        for n, when in enumerate(arrivals):
            assert when >= n / 50, "the n-th request is not let out before n intervals have passed"


def test_connections_are_few_but_used(config):
    with PokemonServer(count=10, delay=0.03) as server:
        fetch_pokemon.main(config(server, connections=3))
        assert 2 <= server.busiest <= 3


def test_a_service_that_goes_away_is_left_alone(config, capsys):
    with PokemonServer(count=100) as server:
        for number in range(10, 101):
            server.always[f"/api/v2/pokemon/{number}/"] = "503"
        made = config(server, attempts=2, give_up_after=5, connections=1)
        fetch_pokemon.main(made)
        assert images_of(made.out) == right_images(server, range(1, 10))
        assert sum(server.hits[path] for path in server.always) == 5 * 2
        assert "stopped after 5 failures in a row" in capsys.readouterr().err


# ---- the command line


def run(*arguments) -> str:
    """What the script writes on stderr when it fails: one line."""
    with pytest.raises(SystemExit) as stopped:
        command_line.run(fetch_pokemon.main, Config, [str(argument) for argument in arguments])
    assert isinstance(stopped.value.code, str) and "\n" not in stopped.value.code  # exit status 1
    return stopped.value.code


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--size", 7),
        ("--limit", 0),
        ("--connections", 9),
        ("--connections", 0),
        ("--requests-per-second", 0.0),
        ("--timeout-seconds", "nan"),
        ("--answer-seconds", "inf"),
        ("--answer-megabytes", 1e9),
        ("--backoff-seconds", -1.0),
        ("--background", "whitish"),
        ("--background", "#ff000080"),
        ("--base-url", "pokeapi.co"),
        ("--base-url", ""),
        ("--image-hosts", ""),
        ("--image-hosts", "/dev/null"),
        ("--image-hosts", "https://a.b/c"),
        ("--timeout-seconds", 1e-320),
    ],
)
def test_flags_that_cannot_be_used_are_named(flag, value, tmp_path):
    assert run("--out", tmp_path / "o", flag, value).startswith(f"error: {f'{flag} {value}'.strip()}: ")
    assert not list(tmp_path.iterdir())


def test_an_unreachable_service_is_one_line_and_status_1(tmp_path):
    with PokemonServer() as gone:
        url = gone.base_url
    flags = ["--base-url", url, "--out", tmp_path / "o", "--cache", tmp_path / "c", "--backoff-seconds", "0"]
    done = subprocess.run([sys.executable, SCRIPT, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "no list of Pokémon (no connection)" in done.stderr


def test_a_run_without_a_picture_fails(tmp_path):
    with PokemonServer(count=3) as server:
        server.always = dict.fromkeys(server.pictures, "404")
        flags = ["--base-url", server.base_url, "--out", tmp_path / "o", "--cache", tmp_path / "c"]
        assert "no usable picture came (picture: HTTP 404)" in run(*flags, "--requests-per-second", 1000)
        server.entries.clear()
        server.always = {}
        assert "its list is empty" in run(*flags[:-2], "--cache", tmp_path / "d", "--out", tmp_path / "p")


@pytest.mark.parametrize("flag", ["--out", "--cache"])
def test_a_folder_that_cannot_be_written_is_named(flag, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with PokemonServer(count=2) as server:
        flags = {"--out": tmp_path / "o", "--cache": tmp_path / "c", flag: tmp_path / "file" / "x"}
        message = run("--base-url", server.base_url, *(part for pair in flags.items() for part in pair))
    assert message.startswith(f"error: {tmp_path / 'file'}") and "can be written" in message


# ---- under pressure


def start(server: PokemonServer, made: Config, *flags: str, **environment: str) -> subprocess.Popen:
    """The script in a process of its own; its last line on stderr is its largest resident memory in KB.

    VmHWM, since the kernel adds to a child's ru_maxrss what the process that started it had.
    """
    code = (
        "import atexit, re, runpy, sys; "
        "usage = lambda: re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]; "
        "atexit.register(lambda: print(usage(), file=sys.stderr)); "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    places = [f"--{name}={getattr(made, name)}" for name in ("out", "cache", "base_url")]
    return subprocess.Popen(
        [sys.executable, "-c", code, SCRIPT, *places, "--requests-per-second=1000", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("fault", ["hang", "drip", "headers without end", "chunk line without end"])
@pytest.mark.parametrize("where", ["list", "picture"])
def test_ctrl_c_ends_it_at_once_whatever_the_server_holds_back(config, fault, where):
    with PokemonServer(count=9) as server:
        path = {"list": f"/api/v2/pokemon/?limit={pokeapi.PAGE}&offset=0", "picture": "/sprites/1.png"}[where]
        server.always[path] = fault
        process = start(server, config(server))
        while not server.hits[path]:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=40)  # an answer may take 120 s
    assert process.returncode == 130 and "Traceback" not in errors
    assert "the same command goes on from here" in errors


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_a_server_that_wants_the_memory_gets_150_megabytes_at_8_connections(config):
    faults = ("a million values", "zip bomb", "gigabyte", "pixel bomb", "picture of 1024 pixels")
    with PokemonServer(count=60) as server:
        for number in server.details:
            server.always[f"/sprites/{number}.png"] = faults[number % len(faults)]
            if number % 2:
                server.always[f"/api/v2/pokemon/{number}/"] = "a million values"
        made = config(server)
        process = start(server, made, "--connections=8", "--attempts=1", "--give-up-after=1000")
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert {row["problem"] for row in rows_of(made.out).values()} >= {
        "details: JSON of far too many values",
        None,
    }
    assert int(errors.splitlines()[-1]) < 150 * 1024


def test_a_list_of_millions_is_read_to_a_limit(config, monkeypatch):
    monkeypatch.setattr(pokeapi, "MOST", 20)
    with PokemonServer(count=3, page=8) as server:
        server.entries = [{"name": "m", "url": f"/pokemon/{n}/"} for n in range(1, 100_000)]
        downloader = fetch_pokemon.Downloader(config(server), config(server).cache, [server.host])
        entries, odd = pokeapi.list_pokemon(downloader, server.base_url, None)
        assert [entry.id for entry in entries] == list(range(1, 21)) and not odd
        useless = [None] * 7
        server.entries = [entry for some in server.entries[:9000] for entry in (some, *useless)]
        entries, odd = pokeapi.list_pokemon(
            fetch_pokemon.Downloader(config(server), config(server).out, [server.host]), server.base_url, None
        )
        assert len(entries) == 3 and len(odd) == 21  # three pages of eight lines
        server.always[f"/api/v2/pokemon/?limit={pokeapi.PAGE}&offset=0"] = "a million values"
        with pytest.raises(InputError, match=r"no list of Pokémon \(JSON of far too many values\)"):
            fetch_pokemon.main(config(server, attempts=1, cache=config(server).out / "nothing asked yet"))


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("REQUESTS_CA_BUNDLE", "/nowhere.pem", "REQUESTS_CA_BUNDLE=/nowhere.pem: no such file"),
        ("HTTPS_PROXY", "http://proxy:abc", "the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names"),
        ("HTTPS_PROXY", "http://127.0.0.1:1", "the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names"),
    ],
)
def test_a_variable_that_breaks_the_network_is_named(variable, value, message, tmp_path, monkeypatch):
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv(variable.lower(), value)
    flags = ["--base-url", "https://127.0.0.2:1/api", "--out", tmp_path / "o", "--cache", tmp_path / "c"]
    assert message in run(*flags, "--attempts", 1, "--backoff-seconds", 0)
