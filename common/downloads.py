"""Files from addresses known beforehand: checked, whole or not there, and never waited for without end."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from common import atomic
from common.errors import InputError

import filelock
import requests
from tqdm import tqdm

ALGORITHMS = {32: hashlib.md5, 64: hashlib.sha256}
"""By the hexadecimal digits of a published digest."""
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables of the environment that say whom a download trusts, in the order `requests` reads them."""
STALLED_SECONDS = 60
"""Silence after which a server counts as gone."""


def fetch(
    path: Path, urls: str | Sequence[str], digest: str, *, otherwise: str, seconds: float = 3600
) -> None:
    """Download one file to `path` unless it is there; it gets its name when its digest is right.

    urls       the address, or mirrors that are tried in turn
    digest     hexadecimal SHA-256, or MD5 where nothing better was published
    otherwise  what a user can do instead: the end of the line of an InputError
    seconds    for a whole answer, its headers included

    Another process that fetches the same file is waited for.  InputError names each address and its trouble.
    """
    path, troubles = Path(path), []
    new = [folder for folder in path.parents if not folder.exists()]
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(lock):
            for url in [urls] if isinstance(urls, str) else urls:
                if path.is_file():
                    return
                print(f"downloading {url} to {path}", file=sys.stderr)
                try:
                    with atomic.replacing(path, advice=otherwise) as part:
                        _download(url, part, seconds)
                        if wrong := fault(part, digest, path.name):
                            raise Trouble(wrong)
                except Trouble as trouble:
                    troubles.append(f"{url}: {trouble}")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); {otherwise}") from error
    finally:
        _tidy(path, lock, new)
    if troubles and not path.is_file():
        raise InputError(f"{'; '.join(troubles)}; {otherwise}")


def _tidy(path: Path, lock: Path, new: Sequence[Path]) -> None:
    """Leave no empty folders behind a download that failed."""
    with suppress(OSError):
        lock.unlink()
    for folder in [] if path.is_file() else new:
        with suppress(OSError):
            folder.rmdir()


class Trouble(Exception):
    """What was wrong with one answer."""


def _download(url: str, part: Path, seconds: float) -> None:
    """Write an answer into `part`; raises Trouble, or OSError where `part` cannot be written.

    A thread does the work and is left alone when time is up: a server that sends a byte of its headers now
    and then can hold a socket, whose own limit begins anew with each byte, but not whoever waits here.
    """
    if wrong := wrong_environment(url):
        raise Trouble(wrong)
    failure: list[Exception] = []
    late = threading.Event()

    def work() -> None:
        try:
            with requests.get(url, stream=True, timeout=STALLED_SECONDS) as answer, part.open("wb") as file:
                answer.raise_for_status()
                for block in _shown(answer, part):
                    if late.is_set():
                        return
                    file.write(block)
        except Exception as error:
            failure.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        until = time.monotonic() + seconds
        while thread.is_alive() and time.monotonic() < until:
            thread.join(min(0.5, max(0.0, until - time.monotonic())))  # short waits let Ctrl-C through
        if thread.is_alive():
            raise Trouble(f"no whole answer within {seconds:g} s")
    finally:
        late.set()
    if failure and getattr(failure[0], "filename", None) == str(part):
        raise failure[0]
    if failure:
        raise Trouble(reason(failure[0], url)) from failure[0]


def _shown(answer: requests.Response, part: Path) -> Iterator[bytes]:
    """The blocks of an answer, with a bar where someone looks."""
    size = int(answer.headers.get("Content-Length") or 0) or None
    with tqdm(total=size, unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
        for block in answer.iter_content(1 << 20):
            bar.update(len(block))
            yield block


def reason(error: BaseException, url: str) -> str:
    """What went wrong on the way, in few words, with the variable of the environment that may be to blame."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    by = lambda variable: " ({}={})".format(*variable) if variable else ""
    for kind, words in (
        (requests.exceptions.ProxyError, f"no way through the proxy{by(_proxy(url))}"),
        (requests.exceptions.SSLError, f"no secure connection{by(_given(CERTIFICATES))}"),
        (requests.Timeout, "timed out"),
        (requests.exceptions.ChunkedEncodingError, "the connection broke off"),
        (requests.ConnectionError, "no connection"),
    ):
        if isinstance(error, kind):
            return words
    return " ".join(str(error).split())[:200] or type(error).__name__


def wrong_environment(url: str) -> str | None:
    """The variable about certificates or proxies that cannot be meant so, as far as `url` needs it; else
    None."""
    if bundle := _given(CERTIFICATES):
        name, path = bundle
        if not os.path.exists(path):
            return f"{name}={path}: no such file of certificates; correct or unset the variable"
        try:
            ssl.create_default_context(**{"capath" if os.path.isdir(path) else "cafile": path})
        except OSError:  # ssl.SSLError is one
            return f"{name}={path}: not a file of certificates; correct or unset the variable"
    if proxy := _proxy(url):
        name, address = proxy
        try:
            parts = urlsplit(address if "://" in address else f"http://{address}")
            sound = bool(parts.hostname) and parts.port != 0
        except ValueError:
            sound = False
        if not sound:
            return (
                f"{name}={address}: not the address of a proxy, as http://host:8080 is; correct or unset it"
            )
    return None


def _proxy(url: str) -> tuple[str, str] | None:
    """The variable that names the proxy for an address, and its value."""
    if requests.utils.should_bypass_proxies(url, no_proxy=None):
        return None
    names = (f"{urlsplit(url).scheme}_proxy", "all_proxy")
    return _given([each for name in names for each in (name, name.upper())])


def _given(names: Sequence[str]) -> tuple[str, str] | None:
    """The first of the variables that is set, and its value."""
    return next(((name, os.environ[name]) for name in names if os.environ.get(name)), None)


def fault(path: Path, digest: str, name: str | None = None) -> str | None:
    """What is wrong with a file (that is to be called `name`) whose digest was published; None when nothing
    is."""
    found, size = digest_of(path, len(digest)), path.stat().st_size
    if found == digest:
        return None
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        return "an empty file"
    if page := web_page(head.decode("utf-8", "replace")):
        return page
    is_zip = Path(name or path).suffix == ".zip"
    if is_zip and head[:2] != b"PK":
        return f"not a zip archive (it begins with {head[:8]!r})"
    if is_zip and not zipfile.is_zipfile(path):
        return f"a zip archive cut off after {size:,} bytes"
    kind = {32: "MD5", 64: "SHA-256"}[len(digest)]
    return f"has {kind} {found} where {digest} was published: damaged or another file"


def digest_of(path: Path, digits: int = 64) -> str:
    """The file's SHA-256 in hexadecimal (MD5 for 32 digits)."""
    digest = ALGORITHMS[digits](usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def web_page(head: str) -> str | None:
    """How to call a text that is HTML: servers answer with a page where a quota is used up."""
    if not re.match(r"\s*<(!doctype html|html|head)", head, re.IGNORECASE):
        return None
    title = re.search(r"<title>([^<]*)", head, re.IGNORECASE)
    return f"a web page ({' '.join(title[1].split()) if title else 'without a title'}) saved under this name"
