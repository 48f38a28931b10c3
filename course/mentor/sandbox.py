"""A student's functions on inputs of ours, in a sandbox; what they answer is judged outside of it.

The only file that executes what a student wrote.  Bubblewrap gives it namespaces of its own (users,
processes, network without an interface, host name), a system that can only be read, an empty temporary
folder in memory, no environment and no capabilities; a filter refuses system calls that have led out of
such walls before (system_calls.py).  Time, memory, number of processes and size of the
answer are bounded from outside.  Inside there are only the inputs, drawn with a seed the caller keeps to
itself, and never an expected value: code that prints a score, patches a test or rewrites its result can
only answer with wrong arrays.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import InputError

import numpy as np

from course.checks import exchange
from course.checks.exchange import Answer, Call, Lost, Raised, Unfit
from course.mentor import system_calls
from course.mentor.objects import shown

PROGRAM = "/checks/inside.py"
OUT_OF_TIME = 128 + getattr(signal, "SIGXCPU", 24)
"""Bubblewrap's status after a process that has used up its time."""
ADVICE = "install bubblewrap (Debian, Ubuntu: apt install bubblewrap), or leave out what runs students' code"
MOST_ERRORS, PAUSE = 4000, 0.02


@dataclass(frozen=True)
class Limits:
    """What one call may use."""

    seconds: float = 60
    """Of one start, computing or not."""
    cpu_seconds: float | None = None
    """Of computing, of all its processes together; None: no such limit."""
    seconds_in_all: float = 300
    """Of all starts for one list of calls."""
    memory_bytes: int = 4 << 30
    """Resident, of all its processes together."""
    processes: int = 64
    answer_bytes: int = 64 << 20
    """Of all that one start of it writes."""
    disk_bytes: int = 256 << 20
    """Of its temporary folder, which lies in memory."""


class Failed(Exception):
    """Why there is no answer, in one line: for a student's feedback."""


def refuse_without() -> None:
    """InputError unless a sandbox works on this machine."""
    if shutil.which("bwrap") is None:
        raise InputError(f"no sandbox on this machine: {ADVICE}")
    walls = _walls(Path(tempfile.gettempdir()), 1 << 20, [])
    with _refused_calls() as (flags, kept_open):
        tried = subprocess.run(
            [walls[0], *flags, *walls[1:], "true"],
            capture_output=True,
            check=False,
            timeout=60,
            pass_fds=kept_open,
        )
    if tried.returncode:
        reason = shown(" ".join(tried.stderr.decode("utf-8", "replace").split()), 200)
        raise InputError(f"bubblewrap does not work on this machine ({reason}); {ADVICE}")


def call(
    files: dict[str, bytes],
    module: str,
    function: str,
    inputs: Sequence[np.ndarray],
    limits: Limits | None = None,
) -> list[np.ndarray]:
    """What `module.function(*inputs)` of a student's files returns, as arrays; Failed if it does not.

    files: path inside the student's folder -> content; paths that lead out of it are refused.
    """
    (answer,) = ask(files, {"module": module}, [Call(function, tuple(inputs))], limits or Limits())
    if isinstance(answer, Lost):
        raise Failed(answer.why)
    if isinstance(answer, Raised):
        raise Failed(shown(f"{answer.kind}: {answer.said}", 300))
    if isinstance(answer, Unfit):
        raise Failed(shown(f"it returns {answer.found}: no numbers", 300))
    return answer


def ask(
    files: dict[str, bytes],
    about: dict,
    calls: Sequence[Call],
    limits: Limits,
    folders: Sequence[str] = ("",),
) -> list[Answer]:
    """An answer to every call of a student's functions; Failed for files that cannot be laid out.

    about: `module` of the student's whose functions are called, or the `work` whose calls are asked;
    folders: of the student's files, where modules are looked for.  A call that meets a limit is lost, the
    next ones are asked anew, as long as `seconds_in_all` are not over."""
    ends = time.monotonic() + limits.seconds_in_all
    refuse_without()
    with tempfile.TemporaryDirectory(prefix="student-") as name:
        folder = Path(name)
        _lay_out(folder, files)
        shown_inside = [exchange.INSIDE, exchange.INSIDE.with_name("elsewhere.py")]
        if work := about.get("work"):
            shown_inside += [exchange.INSIDE.with_name(f"{work}_{part}.py") for part in ("calls", "adapter")]
        command = [*_walls(folder, limits.disk_bytes, shown_inside), sys.executable, "-I", "-B", PROGRAM]
        places = [f"/student/{each}".rstrip("/") for each in folders]
        about = {**about, "folders": places, "processes": limits.processes}
        if limits.cpu_seconds:
            about["cpu_seconds"] = math.ceil(limits.cpu_seconds)

        def run(given: bytes) -> tuple[bytes, str]:
            left = ends - time.monotonic()
            if left <= 0:
                return b"", f"not asked: {limits.seconds_in_all:g} s were over"
            return _run(command, given, replace(limits, seconds=min(limits.seconds, left)))

        return exchange.ask(run, about, calls, limits.answer_bytes)


def _run(command: list[str], given: bytes, limits: Limits) -> tuple[bytes, str]:
    """What a sandboxed process wrote, and the limit it met, if any."""
    with _refused_calls() as (flags, kept_open):
        process = subprocess.Popen(
            [command[0], *flags, *command[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={},
            start_new_session=True,
            pass_fds=kept_open,
        )
    watch = _Watch(process, limits)
    try:
        watch.feed_and_read(given)
    except Failed as error:
        return bytes(watch.out), str(error)
    finally:
        _end(process)
    return bytes(watch.out), ""


@contextlib.contextmanager
def _refused_calls() -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """Bubblewrap's flags for the filter of system calls, and the descriptor it reads the filter from; none
    where this processor's numbers are not known."""
    refused = system_calls.program()
    if refused is None:
        yield [], ()
        return
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(refused)
        yield ["--seccomp", str(reading)], (reading,)
    finally:
        os.close(reading)


def _lay_out(folder: Path, files: dict[str, bytes]) -> None:
    """Write the student's files where the sandbox sees them."""
    for path, content in files.items():
        try:
            place = (folder / path).resolve()
            if not place.is_relative_to(folder.resolve()) or place == folder.resolve():
                raise Failed(f"{shown(path)}: leads out of the folder")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        except (OSError, ValueError) as error:
            raise Failed(f"{shown(path)}: no name for a file ({type(error).__name__})") from None


def _walls(folder: Path, disk_bytes: int, shown_inside: Sequence[Path]) -> list[str]:
    """The command line of bubblewrap up to the program; `shown_inside` are the course's own files in it."""
    system = [Path(path) for path in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache")]
    python = [Path(sys.prefix), Path(sys.base_prefix)]
    python += [Path(path) for path in sys.path if path.endswith("site-packages") and Path(path).is_dir()]
    command = [
        "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        "--cap-drop",
        "ALL",
    ]
    command += ["--uid", "65534", "--gid", "65534", "--hostname", "sandbox"]
    command += ["--size", str(disk_bytes), "--tmpfs", "/tmp"]  # first: Python itself may lie below it
    for path in system:
        if path.is_symlink():
            command += ["--symlink", os.readlink(path), str(path)]
        elif path.exists():
            command += ["--ro-bind", str(path), str(path)]
    for path in dict.fromkeys(python):
        command += ["--ro-bind", str(path), str(path)]
    command += ["--proc", "/proc", "--dev", "/dev"]
    command += ["--ro-bind", str(folder), "/student", "--chdir", "/tmp"]
    for path in shown_inside:
        command += ["--ro-bind", str(path), f"/checks/{path.name}"]
    for name, value in (
        ("HOME", "/tmp"),
        ("OMP_NUM_THREADS", "1"),
        ("LC_ALL", "C.UTF-8"),
        ("PATH", "/usr/bin:/bin"),
    ):
        command += ["--setenv", name, value]
    return [*command, "--remount-ro", "/"]


class _Watch:
    """Feeds a sandboxed process and reads it until it ends or meets a limit."""

    def __init__(self, process: subprocess.Popen, limits: Limits):
        self.process, self.limits = process, limits
        self.until = time.monotonic() + limits.seconds
        self.out, self.errors = bytearray(), bytearray()

    def feed_and_read(self, given: bytes) -> None:
        """Until it ends, into `out`; Failed with the limit it met, or with the last line of its errors."""
        pipes = {self.process.stdout: self.out, self.process.stderr: self.errors}
        for pipe in (*pipes, self.process.stdin):
            os.set_blocking(pipe.fileno(), False)
        left = memoryview(given)
        while pipes:
            writing = [self.process.stdin] if left else []
            readable, writable, _ = select.select(list(pipes), writing, [], PAUSE)
            for pipe in readable:
                part = pipe.read1(1 << 16)
                if not part:
                    del pipes[pipe]
                pipes.get(pipe, bytearray()).extend(part)
            if writable:
                left = self._write(left)
            self._hold_limits()
        status = self.process.wait(timeout=max(1.0, self.until - time.monotonic()))
        if status == OUT_OF_TIME and self.limits.cpu_seconds:
            raise Failed(f"it did not end within {self.limits.cpu_seconds:g} s")
        if status:
            if 128 < status < 128 + signal.NSIG:  # bubblewrap's, of a signal
                status = 128 - status
            raise Failed(shown(exchange.why_ended(status, self.errors.decode("utf-8", "replace")), 300))

    def _write(self, left: memoryview) -> memoryview:
        try:
            left = left[os.write(self.process.stdin.fileno(), left[: 1 << 16]) :]
        except BlockingIOError:
            return left
        except OSError:  # it has ended, or closed its input
            return memoryview(b"")
        if not left:
            self.process.stdin.close()
        return left

    def _hold_limits(self) -> None:
        """Failed as soon as one limit is passed; whoever catches it ends the process."""
        del self.errors[:-MOST_ERRORS]
        if len(self.out) > self.limits.answer_bytes + exchange.MOST_HEADER:
            raise Failed(f"it answered with more than {self.limits.answer_bytes >> 20} MB")
        if time.monotonic() > self.until:
            raise Failed(f"it did not end within {self.limits.seconds:g} s")
        pids = _descendants(self.process.pid, 4 * self.limits.processes)
        if len(pids) > self.limits.processes + 2:  # bubblewrap itself is two
            raise Failed(f"it started more than {self.limits.processes} processes")
        if self.limits.cpu_seconds and sum(map(_computed, pids)) > self.limits.cpu_seconds:
            raise Failed(f"it did not end within {self.limits.cpu_seconds:g} s")
        if sum(map(_resident, pids)) > self.limits.memory_bytes:
            raise Failed(f"it used more than {self.limits.memory_bytes >> 20} MB of memory")


def _descendants(pid: int, most: int) -> list[int]:
    """A process and what it started, as far as `most`."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError, ValueError):
            for task in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{task}/children", encoding="ascii") as file:
                    found += [int(child) for child in file.read().split()]
        if len(found) > most:
            break
    return found


def _resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _computed(pid: int) -> float:
    """Seconds that a process and its children that have ended computed; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()  # a process may put brackets into its own name
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return 0.0


def _end(process: subprocess.Popen) -> None:
    """Kill the sandbox: with its first process every other one in it dies."""
    for pid in reversed(_descendants(process.pid, 3)[:3]):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(OSError):
            pipe.close()
