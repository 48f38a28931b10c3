"""What a download opens, follows and waits for; the rest is tested with a server in test_fetch_pokemon.py."""

import socket
import threading
import time
from pathlib import Path

import pytest

from lab8_generative import daemon_threads, polite_download
from lab8_generative.polite_download import BadAnswer
from lab8_generative.timed_answers import AnswerTooSlow, Interrupted, TimedReader


def test_nothing_is_waited_for_longer_than_asked(monkeypatch):
    waits = []
    downloader = polite_download.Downloader(
        polite_download.Manners(attempts=6, backoff_seconds=2, longest_wait_seconds=9), Path(), ()
    )
    monkeypatch.setattr(downloader._pace, "pause", lambda seconds: waits.append(("pause", seconds)))
    monkeypatch.setattr(downloader._pace, "sleep", lambda seconds: waits.append(("sleep", seconds)))
    monkeypatch.setattr(polite_download.random, "uniform", lambda low, high: high)

    def read(url):
        raise BadAnswer("HTTP 429", wait=86_400 if len(waits) < 2 else 0)

    monkeypatch.setattr(downloader, "_read", read)
    with pytest.raises(BadAnswer, match="HTTP 429"):
        downloader._ask("http://x/", lambda body: body)
    assert waits == [("pause", 9), *(("sleep", seconds) for seconds in (4, 8, 9, 9, 9))]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://allowed/a.png",
        "//allowed/a.png",
        "/a.png",
        "http://user@allowed/a.png",
        "http://allowed@evil/a.png",
        "http://evil\\@allowed/a.png",
        "http://allowed:81/a.png",
        "http://allowed.evil/a.png",
        "http://аllowed/a.png",  # its first letter is Cyrillic
        "http://169.254.169.254/latest",
        "http://allowed/a\n.png",
        "http://[::1/a.png",
        "http://allowed/" + "a" * 2000,
        "",
    ],
)
def test_only_allowed_hosts_are_opened(url, tmp_path, monkeypatch):
    downloader = polite_download.Downloader(polite_download.Manners(), tmp_path, ["allowed"])
    monkeypatch.setattr(downloader._session, "get", lambda *_, **__: pytest.fail("was opened"))
    with pytest.raises(BadAnswer, match=r"not a plain|not allowed") as caught:
        downloader.get(url, lambda body: body)
    assert not caught.value.again


def test_hosts_are_told_apart():
    assert polite_download.host_of("HTTPS://Raw.GitHubUserContent.com:443/x") == "raw.githubusercontent.com"
    assert polite_download.host_of("http://127.0.0.1:8000/x?y") == "127.0.0.1:8000"
    same = lambda url, to: polite_download.redirect_target(url, to, polite_download.host_of(url))
    assert same("http://a/b/c", "../d") == "http://a/d"
    assert same("http://a/b", "https://a/b") == "https://a/b"
    for url, to in [("https://a/b", "http://a/b"), ("http://a/b", "//c/b"), ("http://a/b", "http://[")]:
        with pytest.raises(BadAnswer, match="redirect"):
            same(url, to)


# ---- one socket, one clock


@pytest.fixture
def sockets():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(60)
        yield ours, theirs


def test_nothing_until_the_deadline_is_a_timeout_and_something_without_end_is_too_slow(sockets):
    ours, theirs = sockets
    reader = TimedReader(ours, time.monotonic() + 0.2, threading.Event())
    with pytest.raises(TimeoutError) as caught:
        reader.readinto(bytearray(8))
    assert not isinstance(caught.value, AnswerTooSlow)
    reader = TimedReader(ours, time.monotonic() + 0.2, threading.Event())
    theirs.send(b"a")
    assert reader.readinto(bytearray(8)) == 1
    with pytest.raises(AnswerTooSlow):
        reader.readinto(bytearray(8))


def test_a_pause_longer_than_the_timeout_ends_an_answer_before_its_deadline(sockets):
    ours, theirs = sockets
    ours.settimeout(0.2)
    theirs.send(b"a")
    reader = TimedReader(ours, time.monotonic() + 60, threading.Event())
    assert reader.readinto(bytearray(8)) == 1
    with pytest.raises(TimeoutError) as caught:
        reader.readinto(bytearray(8))
    assert not isinstance(caught.value, AnswerTooSlow)


def test_a_reader_that_waits_looks_up_when_it_is_to_stop(sockets):
    stopped = threading.Event()
    threading.Timer(0.1, stopped.set).start()
    with pytest.raises(Interrupted):
        TimedReader(sockets[0], time.monotonic() + 60, stopped).readinto(bytearray(8))


# ---- threads


def test_all_items_are_worked_on_by_threads_that_python_does_not_wait_for():
    seen = list(daemon_threads.unordered(lambda n: (n, threading.current_thread().daemon), range(50), 4))
    assert sorted(seen) == [(n, True) for n in range(50)]


def test_what_a_thread_raises_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(daemon_threads.unordered(lambda n: 1 / n, [1, 0, 2], 2))
