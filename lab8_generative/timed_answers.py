"""Answers with a deadline: a server that sends a byte a second, in headers or body, holds nobody for long.

`requests` and `urllib3` limit the time between two pieces of an answer, not that of the answer.  Here every
read of a connection's socket, be it of a header, of a chunk's length or of the body, looks at the clock and
at whether the user has asked to stop.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time

import urllib3.connection
from requests.adapters import HTTPAdapter

LOOK_UP_SECONDS = 0.25
"""No read waits longer before it looks whether it is to stop."""


class Interrupted(Exception):
    """The user or the program asked to stop: this answer was not read to its end."""


class AnswerTooSlow(TimeoutError):
    """Pieces kept coming, but not the end."""


class TimedReader(io.RawIOBase):
    """The bytes of one answer from a socket, until the deadline or until `stopped` is set."""

    def __init__(self, sock: socket.socket, deadline: float, stopped: threading.Event):
        self.sock, self.deadline, self.stopped, self.timeout = sock, deadline, stopped, sock.gettimeout()
        self.begun = False
        self.held = sock.makefile("rb", buffering=0)
        """Keeps the socket open as long as this reader is, as http.client expects of its file."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        give_up = time.monotonic() + (self.timeout or float("inf"))
        while True:
            now = time.monotonic()
            if self.stopped.is_set():
                raise Interrupted
            if self.begun and now >= self.deadline:
                raise AnswerTooSlow("the answer has not ended at its deadline")
            if now >= min(give_up, self.deadline):
                raise TimeoutError("timed out")
            self.sock.settimeout(min(LOOK_UP_SECONDS, give_up - now, self.deadline - now))
            try:
                count = self.sock.recv_into(buffer)
            except TimeoutError:
                continue
            self.begun = True
            return count

    def close(self) -> None:
        self.held.close()
        super().close()


class Adapter(HTTPAdapter):
    """A requests session's connections, whose answers take at most `answer_seconds` each."""

    def __init__(self, connections: int, answer_seconds: float, stopped: threading.Event):
        class Answer(http.client.HTTPResponse):
            def __init__(self, sock, *arguments, **options):
                super().__init__(sock, *arguments, **options)
                self.fp.close()
                reader = TimedReader(sock, time.monotonic() + answer_seconds, stopped)
                self.fp = io.BufferedReader(reader)

        def timed(pool: type[urllib3.HTTPConnectionPool]) -> type[urllib3.HTTPConnectionPool]:
            connection = type("Timed", (pool.ConnectionCls,), {"response_class": Answer})
            return type("TimedPool", (pool,), {"ConnectionCls": connection})

        self._pools = {
            "http": timed(urllib3.HTTPConnectionPool),
            "https": timed(urllib3.HTTPSConnectionPool),
        }
        super().__init__(pool_maxsize=connections, pool_block=True)

    def init_poolmanager(self, *arguments, **options) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **options):
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._pools
        return manager
