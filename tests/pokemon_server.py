"""A Pokémon service on this machine that does on purpose what real ones do by accident."""

import functools
import gzip
import io
import json
import random
import socket
import struct
import threading
import time
import zlib
from collections import Counter, defaultdict
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image

ARTWORK_PATHS = {"default": "", "official": "official/", "home": "home/", "shiny": "shiny/"}


def make_picture(seed: int) -> bytes:
    """A small picture of noise, so that no part of it can be missing unseen, in one of six forms."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(20, 50, 2))
    pixels = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
    pixels[..., 3] = np.where(rng.random((height, width)) < 0.7, 255, 0)
    pixels[height // 2, width // 2, 3] = 255
    image = Image.fromarray(pixels)
    options = {"format": "PNG"}
    match seed % 6:
        case 1:
            image, options = image.convert("RGB").quantize(32), {"format": "PNG", "transparency": 3}
        case 2:
            image = image.convert("LA")
        case 3:
            image = image.convert("RGB")
        case 4:
            image, options = image.convert("RGB").quantize(32), {"format": "GIF", "transparency": 3}
        case 5:
            image, options = (
                image.convert("RGB").quantize(8),
                {"format": "PNG", "transparency": bytes(range(8))},
            )
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels, with data for none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


@functools.cache
def white_picture(side: int) -> bytes:
    """As large as a picture may be."""
    file = io.BytesIO()
    Image.new("RGBA", (side, side), "white").save(file, "PNG")
    return file.getvalue()


class PokemonServer(ThreadingHTTPServer):
    """`with PokemonServer(count=20) as server:` serves on `server.base_url` from a thread until the end.

    faults       path -> names of FAULTS to answer with, one request each, before the right answer comes
    always       path -> name of the fault that is its only answer
    details      id -> what the service says about a Pokémon, to be changed by a test
    entries      the list, to be changed by a test
    hits, times  what was asked: path -> number, and (time.monotonic(), path) in order of arrival
    hosts        the Host headers seen: more than one when a client was lured away
    """

    daemon_threads, block_on_close = True, False

    def __init__(self, count: int = 12, page: int = 1000, delay: float = 0.0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server_port}"
        self.base_url, self.page, self.delay = f"http://{self.host}/api/v2", page, delay
        self.faults, self.always = defaultdict(list), {}
        self.hits, self.times, self.hosts, self.bytes_sent = Counter(), [], set(), Counter()
        self.busy = self.busiest = self.asked_to_wait_until = 0
        self.pictures_before_hold, self.held, self.release = 10**9, threading.Event(), threading.Event()
        self.closing, self.lock = threading.Event(), threading.Lock()
        numbers = range(1, count + 1)
        self.pictures = {
            f"/sprites/{art}{n}.png": make_picture(n + 1000 * i)
            for n in numbers
            for i, art in enumerate(ARTWORK_PATHS.values())
        }
        self.details = {n: self.make_details(n) for n in numbers}
        self.entries = [{"name": f"monster-{n}", "url": f"{self.base_url}/pokemon/{n}/"} for n in numbers]

    def make_details(self, number: int) -> dict:
        url = {art: f"http://{self.host}/sprites/{path}{number}.png" for art, path in ARTWORK_PATHS.items()}
        return {
            "id": number,
            "name": f"monster-{number}",
            "sprites": {
                "front_default": url["default"],
                "front_shiny": url["shiny"],
                "back_default": None,
                "other": {
                    "home": {"front_default": url["home"]},
                    "official-artwork": {"front_default": url["official"]},
                },
            },
        }

    def misbehave(self, seed: int, longest: int = 3) -> None:
        """Before each right answer up to `longest` faults that pass, drawn with this seed."""
        rng = random.Random(seed)
        paths = [f"/api/v2/pokemon/{n}/" for n in self.details] + list(self.pictures)
        kinds = [name for name in sorted(FAULTS) if name not in LASTING]
        for path in paths:
            self.faults[path] = rng.choices(kinds, k=rng.randint(0, longest))

    def picture_hits(self) -> Counter:
        return Counter({path: n for path, n in self.hits.items() if path.startswith("/sprites/")})

    def __enter__(self) -> "PokemonServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.closing.set()
        self.release.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_) -> None:
        """A client that went away in mid-answer is nothing to print."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for the client to acknowledge its headers
    server: PokemonServer

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.times.append((time.monotonic(), self.path))
            server.hits[self.path] += 1
            server.hosts.add(self.headers["Host"])
            server.busy += 1
            server.busiest = max(server.busiest, server.busy)
            waiting = server.faults.get(self.path)
            fault = server.always.get(self.path) or (waiting.pop(0) if waiting else None)
            hold = sum(server.picture_hits().values()) > server.pictures_before_hold
        time.sleep(server.delay)
        if hold and self.path.startswith("/sprites/"):
            server.held.set()
            server.release.wait()
        with server.lock:
            server.busy -= 1
        body = self.right_answer()
        if fault:
            FAULTS[fault](self, body)
        elif body is None:
            self.reply(b"not found", 404)
        else:
            self.reply(body)

    def right_answer(self) -> bytes | None:
        server, parts = self.server, urlsplit(self.path.removeprefix("/moved"))
        if parts.path in server.pictures:
            return server.pictures[parts.path]
        match parts.path.strip("/").split("/"):
            case ["api", "v2", "pokemon"]:
                query = {name: int(values[0]) for name, values in parse_qs(parts.query).items()}
                end = query["offset"] + min(query["limit"], server.page)
                more = f"{server.base_url}/pokemon/?offset={end}" if end < len(server.entries) else None
                page = server.entries[query["offset"] : end]
                return json.dumps({"count": len(server.entries), "next": more, "results": page}).encode()
            case ["api", "v2", "pokemon", number] if int(number) in server.details:
                return json.dumps(server.details[int(number)]).encode()
        return None

    def reply(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        """One answer; `length` is what it claims to be long, -1 for no claim."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length == -1:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.server.bytes_sent[self.path] += len(body)
        self.close_connection = self.close_connection or length is not None

    def log_message(self, *_) -> None:
        """Not to the terminal of the tests."""


# ---- the faults: functions of the handler and the right answer


def hang(handler: Handler, body: bytes) -> None:
    handler.server.closing.wait()
    handler.close_connection = True


def reset(handler: Handler, body: bytes) -> None:
    """The connection is torn down in mid-body."""
    handler.reply(body[: len(body) // 2], length=len(body))
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hang_up(handler: Handler, body: bytes) -> None:
    handler.close_connection = True


def gigabyte(handler: Handler, body: bytes) -> None:
    handler.reply(b"\x89PNG\r\n\x1a\n", length=-1)
    for _ in range(1 << 14):
        handler.wfile.write(bytes(1 << 16))
        handler.server.bytes_sent[handler.path] += 1 << 16


def drip(handler: Handler, body: bytes) -> None:
    handler.reply(b"", length=10**6)
    while not handler.server.closing.wait(0.02):
        handler.wfile.write(b"\0")


def headers_without_end(handler: Handler, body: bytes) -> None:
    """A byte at a time, none later than the time between two pieces allows."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.server.closing.wait(0.02):
        handler.wfile.write(b"X-A: b\r\n"[handler.server.bytes_sent[handler.path] % 8 :][:1])
        handler.server.bytes_sent[handler.path] += 1


def header_in_drops(handler: Handler, body: bytes) -> None:
    """One line that goes on and on."""
    handler.wfile.write(b"HTTP/1.1 200 ")
    while not handler.server.closing.wait(0.02):
        handler.wfile.write(b"O")


def chunk_line_without_end(handler: Handler, body: bytes) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7;x=")
    while not handler.server.closing.wait(0.02):
        handler.wfile.write(b"y")


def in_drops(handler: Handler, body: bytes) -> None:
    """Right, but compressed and in pieces of seven bytes."""
    send_chunks(handler, gzip.compress(body), Content_Encoding="gzip")
    handler.wfile.write(b"0\r\n\r\n")


def chunks_without_end(handler: Handler, body: bytes) -> None:
    send_chunks(handler, body[: len(body) // 2])
    handler.close_connection = True


def send_chunks(handler: Handler, body: bytes, **headers: str) -> None:
    handler.send_response(200)
    for name, value in {"Transfer_Encoding": "chunked", **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    for start in range(0, len(body), 7):
        piece = body[start : start + 7]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))


@functools.cache
def zipped_zeros() -> bytes:
    press = zlib.compressobj(9, wbits=31)
    return b"".join(press.compress(bytes(1 << 20)) for _ in range(50)) + press.flush()


def one_byte_wrong(handler: Handler, body: bytes) -> None:
    """Where it can be noticed: PNG has check sums and JSON is UTF-8, of a GIF only the beginning is known."""
    place = 0 if body.startswith(b"GIF") else 60
    handler.reply(body[:place] + bytes([body[place] ^ 255]) + body[place + 1 :])


def slower_until(handler: Handler, body: bytes) -> None:
    handler.server.asked_to_wait_until = int(time.time()) + 2
    date = formatdate(handler.server.asked_to_wait_until, usegmt=True)
    handler.reply(b"slower", 429, Retry_After=date)


FAULTS = {
    "408": lambda handler, body: handler.reply(b"", 408),
    "500": lambda handler, body: handler.reply(b"oops", 500),
    "503": lambda handler, body: handler.reply(b"busy", 503, Retry_After="1"),
    "403 with Retry-After": lambda handler, body: handler.reply(b"slower", 403, Retry_After="1"),
    "429 seconds": lambda handler, body: handler.reply(b"slower", 429, Retry_After="1"),
    "429 date": slower_until,
    "429 nonsense": lambda handler, body: handler.reply(b"slower", 429, Retry_After="soon"),
    "429 endless": lambda handler, body: handler.reply(b"slower", 429, Retry_After="9" * 5000),
    "404": lambda handler, body: handler.reply(b"not found", 404),
    "hang": hang,
    "hang up": hang_up,
    "reset": reset,
    "short body": lambda handler, body: handler.reply(body[: len(body) // 2], length=len(body)),
    "cut": lambda handler, body: handler.reply(body[: len(body) // 2]),
    "cut, no length": lambda handler, body: handler.reply(body[:-20], length=-1),
    "empty": lambda handler, body: handler.reply(b""),
    "html": lambda handler, body: handler.reply(b"<html>Down for maintenance</html>"),
    "noise": lambda handler, body: handler.reply(random.Random(0).randbytes(5000)),
    "one byte wrong": one_byte_wrong,
    "deep": lambda handler, body: handler.reply(b"[" * 100_000),
    "no pixels": lambda handler, body: handler.reply(png_that_claims(0, 0)),
    "pixel bomb": lambda handler, body: handler.reply(png_that_claims(60_000, 60_000)),
    "long pixel bomb": lambda handler, body: handler.reply(png_that_claims(1_000_000, 1)),
    "picture of 1024 pixels": lambda handler, body: handler.reply(white_picture(1024)),
    "gigabyte": gigabyte,
    "gigabyte announced": lambda handler, body: handler.reply(b"\x89PNG", length=10**9),
    "zip bomb": lambda handler, body: handler.reply(zipped_zeros(), Content_Encoding="gzip"),
    "bad zip": lambda handler, body: handler.reply(body, Content_Encoding="gzip"),
    "drip": drip,
    "headers without end": headers_without_end,
    "header in drops": header_in_drops,
    "chunk line without end": chunk_line_without_end,
    "a million values": lambda handler, body: handler.reply(b"[" + b"[]," * 300_000 + b"0]", length=-1),
    "in drops": in_drops,
    "chunks without end": chunks_without_end,
    "moved": lambda handler, body: handler.reply(b"", 302, Location="/moved" + handler.path),
    "round and round": lambda handler, body: handler.reply(b"", 302, Location=handler.path),
    "elsewhere": lambda handler, body: handler.reply(
        b"", 301, Location=f"http://localhost:{handler.server.server_port}{handler.path}"
    ),
    "to a file": lambda handler, body: handler.reply(b"", 302, Location="file:///etc/passwd"),
}
LASTING = {"404", "round and round", "picture of 1024 pixels"}
"""Faults that asking again does not cure, or that use up all attempts by themselves; or another picture."""
HARMLESS = {"in drops", "moved"}
"""Answers out of the common, but right."""
ENDLESS = {"hang", "drip", "headers without end", "header in drops", "chunk line without end"}
"""Faults that end when the client has waited long enough."""
