"""Downloads from a server of the test's own: digests, mirrors, deadlines, and what is left behind."""

import gzip
import hashlib
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from common import data, downloads
from common.downloads import fetch, wrong_environment
from common.errors import InputError

import pytest
from torchvision import datasets

CONTENT = b"weights " * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PAGE = b"<!DOCTYPE html><html><head><title>Quota\nexceeded</title></head></html>"


class Server(ThreadingHTTPServer):
    daemon_threads = True
    files: dict[str, bytes]
    asked: list[str]

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path[1:]
        self.server.asked.append(name)
        if name == "drip":  # a byte of the headers now and then, for ever
            with suppress(OSError):  # nobody listens any more
                for _ in range(100):
                    self.wfile.write(b"H")
                    time.sleep(0.05)
            return
        content = self.server.files.get(name)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"") + 10 * (name == "cut")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", *downloads.CERTIFICATES):
        monkeypatch.delenv(name, raising=False)
    server = Server(("127.0.0.1", 0), Answers)
    server.files, server.asked = {"good": CONTENT, "page": PAGE, "empty": b"", "cut": CONTENT}, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def left_in(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_a_file_comes_once_and_whole(tmp_path, server):
    path = tmp_path / "new" / "folder" / "weights.pth"
    for _ in range(2):
        fetch(path, server.address("good"), SHA256, otherwise="fetch it otherwise")
    assert path.read_bytes() == CONTENT and server.asked == ["good"]
    assert [path.name for path in path.parent.iterdir()] == ["weights.pth"]


def test_md5_is_taken_where_nothing_better_was_published(tmp_path, server):
    fetch(tmp_path / "x", server.address("good"), hashlib.md5(CONTENT).hexdigest(), otherwise="")
    with pytest.raises(InputError, match=f"has MD5 {hashlib.md5(CONTENT).hexdigest()} where 0{{32}}"):
        fetch(tmp_path / "y", server.address("good"), "0" * 32, otherwise="")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("page", r"a web page \(Quota exceeded\) saved under this name"),
        ("empty", "an empty file"),
        ("none", "HTTP 404"),
        ("cut", "the connection broke off"),
        ("good", f"has SHA-256 {SHA256} where f{{64}} was published"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_stays(tmp_path, server, name, message):
    url = server.address(name)
    with pytest.raises(InputError, match=f"^{url}: {message}.*; ask a friend$") as caught:
        fetch(tmp_path / "new" / "x.pth", url, "f" * 64, otherwise="ask a friend")
    assert "\n" not in str(caught.value) and left_in(tmp_path) == []


def test_mirrors_are_tried_in_turn(tmp_path, server):
    fetch(tmp_path / "x", [server.address(name) for name in ("none", "page", "good")], SHA256, otherwise="")
    assert server.asked == ["none", "page", "good"] and (tmp_path / "x").read_bytes() == CONTENT
    with pytest.raises(InputError, match=r"none: HTTP 404; .*page: a web page"):
        fetch(tmp_path / "y", [server.address(name) for name in ("none", "page")], SHA256, otherwise="")


def test_a_server_that_drips_its_headers_is_left_in_time(tmp_path, server, monkeypatch):
    began = time.monotonic()
    with pytest.raises(InputError, match=r"drip: no whole answer within 0\.3 s"):
        fetch(tmp_path / "x", server.address("drip"), SHA256, otherwise="", seconds=0.3)
    assert time.monotonic() - began < 5 and left_in(tmp_path) == []


def test_no_server_is_no_connection(tmp_path, server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    with pytest.raises(InputError, match=r"/x: no connection; "):
        fetch(tmp_path / "x", url, SHA256, otherwise="")


def test_a_place_that_cannot_be_written_is_named(tmp_path, server):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"file/x: .*; choose another"):
        fetch(tmp_path / "file" / "x", server.address("good"), SHA256, otherwise="choose another")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("REQUESTS_CA_BUNDLE", "/nonexistent.pem", "no such file of certificates"),
        ("CURL_CA_BUNDLE", __file__, "not a file of certificates"),
        ("http_proxy", "http://proxy:abc", "not the address of a proxy"),
        ("ALL_PROXY", "http://", "not the address of a proxy"),
    ],
)
def test_the_variable_that_is_wrong_is_named(tmp_path, server, monkeypatch, variable, value, message):
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=f"{variable}={value}: {message}"):
        fetch(tmp_path / "x", "http://example.org/x", SHA256, otherwise="")


def test_sound_variables_and_those_of_other_schemes_are_left_alone(server, monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    for proxy in ("http://proxy:8080", "proxy:8080", "http://user:word@proxy", "socks5://[::1]:1080"):
        monkeypatch.setenv("http_proxy", proxy)
        assert wrong_environment("http://example.org") is None
    monkeypatch.setenv("http_proxy", "http://proxy:abc")
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    assert wrong_environment("https://example.org") is None
    monkeypatch.setenv("no_proxy", "example.org")
    assert wrong_environment("http://example.org") is None


def test_mnist_comes_from_its_mirrors_and_leaves_nothing_when_it_does_not(tmp_path, server, monkeypatch):
    idx = lambda *axes: bytes([0, 0, 8, len(axes)]) + b"".join(axis.to_bytes(4, "big") for axis in axes)
    files = {
        "t10k-images-idx3-ubyte.gz": gzip.compress(idx(3, 4, 5) + bytes(range(60))),
        "t10k-labels-idx1-ubyte.gz": gzip.compress(idx(3) + bytes([7, 2, 1])),
    }
    monkeypatch.setattr(datasets.MNIST, "mirrors", [server.address("gone/"), server.address("")])
    monkeypatch.setattr(
        datasets.MNIST,
        "resources",
        [(name, hashlib.md5(content).hexdigest()) for name, content in files.items()],
    )
    data_dir = tmp_path / "data"
    with pytest.raises(InputError, match=r"HTTP 404; --data mnist: put the four .* or use --data digits"):
        data.load("mnist", "test", data_dir=data_dir)
    assert left_in(tmp_path) == []
    server.files |= files
    assert data.load("mnist", "test", data_dir=data_dir).labels.tolist() == [7, 2, 1]
