"""What a download opens, follows and waits for; the rest is tested with a server in test_fetch_pokemon.py."""

from pathlib import Path

import pytest

from lab8_generative import polite_download
from lab8_generative.polite_download import BadAnswer


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
