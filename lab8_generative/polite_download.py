"""Downloads from a service that is not always well-behaved: polite, patient, and trusting nothing it says.

`Downloader.get(url, check)` returns what `check` makes of an answer's body, from the local cache when it has
been asked before.  Every answer is read under a limit of size and of time (timed_answers.py) and must pass
`check` before it counts; what may go better next time is asked again after an exponential back-off with full
jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), or when Retry-After says.
Addresses are opened on the named hosts only, redirects on the same host only.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import random
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urljoin

from common.errors import InputError
from common.flags import Count, Flags

import requests
import urllib3
from annotated_types import Interval
from urllib3.util import Retry, parse_url

from lab8_generative.timed_answers import Adapter, AnswerTooSlow, Interrupted

Checked = TypeVar("Checked")

USER_AGENT = f"deep-generative-models-course/lab8 {requests.utils.default_user_agent()}"
MAX_REDIRECTS = 5
PROXY_TROUBLE = "no connection through the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names"
ASK_AGAIN = {408, 425, 429}
"""Client errors that pass by themselves; all server errors (5xx) may too."""


Seconds = Annotated[float, Interval(ge=0.01, le=86_400)]
SecondsOrZero = Annotated[float, Interval(ge=0, le=86_400)]


@dataclass(frozen=True)
class Manners(Flags):
    """How a service is treated: flags of every script that downloads through `Downloader`."""

    requests_per_second: Annotated[float, Interval(ge=0.001, le=100_000)] = 5
    """Requests a second of all connections together."""
    connections: Annotated[int, Interval(ge=1, le=8)] = 4
    """Connections at a time, at most 8."""
    attempts: Count = 6
    """Attempts for one address, the first included."""
    backoff_seconds: SecondsOrZero = 0.5
    """Unit of the waits: after failed attempt k one of 0 to 2^k units is drawn."""
    longest_wait_seconds: SecondsOrZero = 60
    """Longest wait, whatever Retry-After asks for."""
    timeout_seconds: Seconds = 15
    """Time to connect, and between two pieces of an answer."""
    answer_seconds: Seconds = 120
    """Time for a whole answer, from its first header to its last byte."""
    answer_megabytes: Annotated[float, Interval(ge=0.001, le=1000)] = 1
    """Longest answer; a longer one is not read to its end."""
    give_up_after: Count = 20
    """Addresses in a row that failed all their attempts, after which the run stops."""


class BadAnswer(Exception):
    """An answer that cannot be used: why, whether asking again may help, the wait the service asks for."""

    def __init__(self, reason: str, *, again: bool = True, wait: float = 0.0):
        super().__init__(reason)
        self.reason, self.again, self.wait = reason, again, wait


class Pace:
    """Lets requests of all threads through one by one, a fixed interval apart."""

    def __init__(self, per_second: float, stopped: threading.Event):
        self._interval, self._stopped = 1 / per_second, stopped
        self._lock, self._next = threading.Lock(), 0.0

    def wait(self) -> None:
        """Return when it is this thread's turn.  Raises Interrupted when the downloader is stopped."""
        while True:
            with self._lock:
                delay = self._next - time.monotonic()
                if delay <= 0:
                    self._next = time.monotonic() + self._interval
                    return
            self.sleep(delay)

    def pause(self, seconds: float) -> None:
        """Nobody's turn comes for so long."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)

    def sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise Interrupted


class Downloader:
    """One session with a service, shared by several threads.

    hosts    `host` or `host:port` of the addresses that may be opened
    stopped  an event: once set, every `get`, running or to come, raises Interrupted
    """

    def __init__(self, manners: Manners, cache: Path, hosts: Iterable[str]):
        self.manners, self.cache, self.hosts = manners, Path(cache), frozenset(hosts)
        self.stopped, self.gave_up = threading.Event(), False
        self._pace = Pace(manners.requests_per_second, self.stopped)
        self._lock, self._lost_in_a_row = threading.Lock(), 0
        self._one_check = threading.Lock()
        """A hostile body grows while it is unpacked: one at a time, or eight of them fill the memory."""
        self._session = requests.Session()
        self._session.headers["User-Agent"] = USER_AGENT
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, Adapter(manners.connections, manners.answer_seconds, self.stopped))

    def get(self, url: str, check: Callable[[bytes], Checked]) -> Checked:
        """`check(body)` of the answer; `check` raises BadAnswer for a body it cannot use, which is then not
        cached.

        Raises BadAnswer when no attempt gave a usable answer, OSError when the cache cannot be written.
        """
        if self.stopped.is_set():
            raise Interrupted
        path = self.cache / f"{hashlib.sha256(url.encode()).hexdigest()}.gz"
        try:
            with self._one_check:
                return check(gzip.decompress(path.read_bytes()))
        except (FileNotFoundError, gzip.BadGzipFile, EOFError, zlib.error, BadAnswer):
            pass  # never asked, damaged on disk, or not what is wanted today
        try:
            packed, checked = self._ask(url, check)
        except BadAnswer as bad:
            self._count(lost=bad.again)
            raise
        self._count(lost=False)
        write_whole(path, packed)
        return checked

    def _ask(self, url: str, check: Callable[[bytes], Checked]) -> tuple[bytes, Checked]:
        """The body of a usable answer, compressed, and what `check` makes of it.  Raises BadAnswer."""
        manners = self.manners
        for attempt in range(1, manners.attempts + 1):
            try:
                pieces = self._read(url)
                with self._one_check:
                    body = b"".join(pieces)
                    return gzip.compress(body, mtime=0), check(body)
            except BadAnswer as bad:
                if not bad.again or attempt == manners.attempts:
                    raise
                if bad.wait:
                    self._pace.pause(min(bad.wait, manners.longest_wait_seconds))
                ceiling = min(manners.backoff_seconds * 2**attempt, manners.longest_wait_seconds)
                self._pace.sleep(random.uniform(0, ceiling))
        raise AssertionError("attempts is at least 1")

    def _read(self, url: str) -> list[bytes]:
        """The body of one answer, redirects followed on the same host.  Raises BadAnswer."""
        host = self._allowed_host(url)
        for _ in range(MAX_REDIRECTS + 1):
            self._pace.wait()
            try:
                with self._session.get(
                    url, stream=True, allow_redirects=False, timeout=self.manners.timeout_seconds
                ) as response:
                    if not response.is_redirect:
                        require_success(response)
                        return self._body(response)
                    url = redirect_target(url, response.headers["Location"], host)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                raise BadAnswer(network_trouble(error)) from error
            except OSError as error:  # requests says so when a variable names certificates that are not there
                raise InputError(certificate_trouble(error)) from error
        raise BadAnswer(f"more than {MAX_REDIRECTS} redirects")

    def _body(self, response: requests.Response) -> list[bytes]:
        limit = int(self.manners.answer_megabytes * 1e6)
        too_long = BadAnswer(f"answer of more than {self.manners.answer_megabytes:g} MB")
        if (response.raw.length_remaining or 0) > limit:
            raise too_long
        pieces, length = [], 0
        # read1 returns what has come, so that a flood is not waited for; a body shorter than its
        # Content-Length raises, and compressed bodies are unpacked piece by piece
        while piece := response.raw.read1(1 << 14, decode_content=True):
            pieces.append(piece)
            length += len(piece)
            if length > limit:
                raise too_long
        if not pieces:
            raise BadAnswer("empty answer")
        return pieces

    def _allowed_host(self, url: str) -> str:
        host = host_of(url)
        if host not in self.hosts:
            where = "not a plain http(s) address" if host is None else "on a host that is not allowed"
            raise BadAnswer(f"{where}: {printable(url)}", again=False)
        return host

    def _count(self, *, lost: bool) -> None:
        with self._lock:
            self._lost_in_a_row = self._lost_in_a_row + 1 if lost else 0
            if self._lost_in_a_row >= self.manners.give_up_after:
                self.gave_up = True
                self.stopped.set()


def host_of(url: str) -> str | None:
    """`host` or `host:port` (where it is not the scheme's own) of an http(s) address without a user name,
    else None.

    Read by the parser that opens the address too, so that none can mean one host here and another there.
    """
    if not (url.isascii() and url.isprintable() and len(url) <= 2000):
        return None
    try:
        parts = parse_url(url)
    except urllib3.exceptions.LocationParseError:
        return None
    if parts.scheme not in ("http", "https") or not parts.host or parts.auth is not None:
        return None
    return parts.host if parts.port in (None, {"http": 80, "https": 443}[parts.scheme]) else parts.netloc


def redirect_target(url: str, location: str, host: str) -> str:
    """Where an answer sends us, when that is the same host over no less secure a scheme; else BadAnswer."""
    try:
        target = urljoin(url, location)
    except ValueError as error:
        raise BadAnswer("redirect to an unreadable address") from error
    if host_of(target) != host or (url.startswith("https:") and not target.startswith("https:")):
        raise BadAnswer(f"redirect to {printable(host_of(target) or location)} refused")
    return target


def require_success(response: requests.Response) -> None:
    """BadAnswer for every status but 200, with the wait that Retry-After asks for."""
    status = response.status_code
    if status == 200:
        return
    wait = 0.0
    if "Retry-After" in response.headers:
        with contextlib.suppress(urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
            wait = Retry().parse_retry_after(response.headers["Retry-After"])
    again = status in ASK_AGAIN or status >= 500 or (status >= 400 and wait > 0)
    raise BadAnswer(f"HTTP {status}", again=again, wait=wait)


def network_trouble(error: Exception) -> str:
    """What went wrong on the way, in few words without addresses, so that equal troubles count together."""
    cause = error.args[1] if len(error.args) > 1 else None  # urllib3 wraps what it met in a ProtocolError
    if any(isinstance(each, AnswerTooSlow) for each in chain(error)):
        return "answer that does not end"
    for kinds, text in (
        ((requests.exceptions.ProxyError, urllib3.exceptions.ProxyError), PROXY_TROUBLE),
        (
            (requests.exceptions.InvalidURL, urllib3.exceptions.LocationParseError),
            PROXY_TROUBLE,
        ),  # ours was read
        ((requests.Timeout, urllib3.exceptions.TimeoutError), "timed out"),
        (requests.exceptions.SSLError, "no secure connection"),
        (requests.ConnectionError, "no connection"),
        (urllib3.exceptions.DecodeError, "damaged compression"),
    ):
        if isinstance(error, kinds):
            return text
    if isinstance(cause, urllib3.exceptions.IncompleteRead):
        return "body shorter than its length"
    return "connection lost in mid-answer"


def certificate_trouble(error: OSError) -> str:
    """Which variable names a file of certificates that cannot be read."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if os.environ.get(name) and not os.path.exists(os.environ[name]):
            return f"{name}={os.environ[name]}: no such file; unset the variable, or name your certificates"
    return f"cannot make a secure connection ({error}); check your certificates"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and those it was raised from or while handling."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def printable(text: str, longest: int = 80) -> str:
    """What a stranger wrote, safe for a terminal: one short line without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:longest]) + "…" * (len(text) > longest)


def write_whole(path: Path, data: bytes) -> None:
    """Write beside and rename: whoever looks sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
