"""Copies of the tree, and the tests of a copy run apart from everything else, for planted_bugs.py.

The tests run in a fork of this process, which has imported the large libraries once for all of them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from multiprocessing import connection
from pathlib import Path

from common import torchvision_operators  # noqa: F401

import matplotlib.pyplot  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import sklearn.metrics  # noqa: F401
import sympy  # noqa: F401
import torch.utils.tensorboard  # noqa: F401
import torchvision  # noqa: F401

EVERY = ""
"""What the name of every test begins with."""
MEMORY = 8 * 2**30
"""Bytes that the tests of a bug may allocate."""


def copy_of_tree(root: Path, folder: Path) -> Path:
    """The files of the working tree that git knows or would take, copied into a new folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, check=True, capture_output=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / name)
    return folder


def plant(path: Path, source: str) -> None:
    """Write a changed file into a copy of the tree, whose files are links to those of another copy."""
    path.unlink()
    path.write_text(source, encoding="utf-8")
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


class Trial:
    """The tests of one copy of the tree, in a process group of their own."""

    entered: dict[int, set[str]] | None = None
    """Known of a first trial: see `Entered`."""

    def __init__(
        self, tree: Path, tests: list[str], limit: float, plugin: FirstRed, *, keep_bytecode: bool = False
    ):
        self.tree, self.started, self.limit = tree, time.monotonic(), limit
        fork = multiprocessing.get_context("fork")
        self.answer, end = fork.Pipe(duplex=False)
        self.process = fork.Process(target=run_tests, args=(tree, tests, end, plugin, keep_bytecode))
        self.process.start()
        end.close()

    def is_over(self) -> bool:
        return not self.process.is_alive() or time.monotonic() - self.started > self.limit

    def result(self) -> str | None:
        """Name of the first red test; None where all are green."""
        self.process.join(max(0, self.started + self.limit - time.monotonic()))
        late = self.process.is_alive()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # and what the tests started
        self.process.join()
        self.seconds = time.monotonic() - self.started
        if late:
            return "time limit"
        if not self.answer.poll():
            return "process ended"
        red, self.entered = self.answer.recv()
        return red


class FirstRed:
    """A plugin of pytest that keeps the name of the first test that failed."""

    name: str | None = None
    entered: dict[int, set[str]] | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self.name is None:
            self.name = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and self.name is None:
            self.name = f"import of {report.nodeid}"


class Entered(FirstRed):
    """The same, of the tests without a bug; keeps which of them enter each function of a file.

    `entered`: line where a function begins -> beginnings of the names of tests: of one test, of a test file
    for what its fixtures call, and "", which begins every name, for what is called while tests are collected.
    """

    def __init__(self, file: Path):
        self.file, self.entered, self.now = str(file), {}, EVERY

    def pytest_sessionstart(self) -> None:
        sys.setprofile(self.called)
        threading.setprofile(self.called)

    def called(self, frame: types.FrameType, event: str, _) -> None:
        """What Python calls at every call and return of a function."""
        if event == "call" and frame.f_code.co_filename == self.file:
            self.entered.setdefault(frame.f_code.co_firstlineno, set()).add(self.now)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest):
        before = self.now
        if fixturedef.scope != "function":
            self.now = EVERY if fixturedef.scope == "session" else request.node.nodeid.split("::")[0]
        result = yield
        self.now = before
        return result

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.now = nodeid


class Chosen(FirstRed):
    """The same, of tests whose names begin in one of these ways; with `rest`, of the others after them."""

    def __init__(self, beginnings: tuple[str, ...], *, rest: bool):
        self.beginnings, self.rest = beginnings, rest

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        first = [item for item in items if item.nodeid.startswith(self.beginnings)]
        others = [item for item in items if not item.nodeid.startswith(self.beginnings)]
        items[:] = first + others if self.rest or not first else first


def run_tests(
    tree: Path, tests: list[str], answer: connection.Connection, plugin: FirstRed, keep_bytecode: bool
) -> None:
    """In a forked process: run the tests of `tree` up to the first red one and send its name."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    os.chdir(tree)
    sys.path[:] = [str(tree), *(place for place in sys.path if Path(place) != Path(__file__).parent)]
    for name in list(sys.modules):
        if (tree / name.partition(".")[0]).is_dir():  # the course's own: imported anew, from the copy
            del sys.modules[name]
    (tree / "temporary").mkdir()
    os.environ.update(PYTHONPATH=str(tree), OMP_NUM_THREADS="1", TMPDIR=str(tree / "temporary"))
    sys.dont_write_bytecode, tempfile.tempdir = not keep_bytecode, None
    if not keep_bytecode:
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    with open(tree / "pytest.log", "w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    flags = ["-x", "-q", "-n0", "-p", "no:cacheprovider", f"--basetemp={tree / 'pytest'}"]
    status = pytest.main([*flags, *tests], plugins=[plugin])
    red = None if status == pytest.ExitCode.OK else plugin.name or f"pytest: {status!r}"
    answer.send((red, plugin.entered))
