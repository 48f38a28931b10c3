"""Child processes: become one, run one and say in one line why it failed, let none outlive the course."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from course.failures import InstallError, explain

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # of Linux's prctl


def linux_prctl() -> Callable | None:
    """The system call that ties processes together; None where there is no such thing."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes
    except ImportError:  # a Python built without it
        return None
    return ctypes.CDLL(None).prctl


def end_with_parent() -> Callable[[], None] | None:
    """Popen's `preexec_fn` for a child that is interrupted when this process ends, even by kill -9.

    Linux only; elsewhere a child is ended by whoever handles Ctrl-C, and outlives kill -9.
    """
    prctl, parent = linux_prctl(), os.getpid()
    if prctl is None:
        return None

    def in_child() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell has background jobs ignore it, and we need it
        prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return in_child


def adopt_orphans() -> None:
    """Become the parent of whatever children of children leave behind, so that `end_orphans` finds it."""
    if prctl := linux_prctl():
        prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_orphans() -> None:
    """Kill the processes that were left to this one by its children; call it when no child is left."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while children.exists() and (found := children.read_text().split()):
        for pid in map(int, found):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def become(command: list[str]) -> int:
    """Replace this process by `command`; where that is impossible (Windows), return its exit status."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execv(command[0], command)
    process = subprocess.Popen(command)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the console sends Ctrl-C to the child as well, and the child decides
            continue


def run_or_explain(command: list[str], root: Path, log: Path, lock: int, title: str | None = None) -> None:
    """Run `command` in `root`, with progress under `title` if there is one; raise InstallError if it fails.

    The child holds `lock` too: should this process be killed, nobody else begins before the child has ended.
    log: where the command writes its own log; if it wrote none, a failure leaves what it printed there.
    """
    process = subprocess.Popen(
        command,
        cwd=root,
        env=dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PYTHONIOENCODING="utf-8", PYTHONUTF8="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        pass_fds=() if os.name == "nt" else (lock,),
    )
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    reader.start()
    try:
        show_progress(reader, lines, title)
        status = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if status != 0:
        with contextlib.suppress(OSError):
            if not log.exists():
                log.write_text("".join(lines), encoding="utf-8")
        raise InstallError(explain(lines, log))


def show_progress(reader: threading.Thread, lines: list[str], title: str | None) -> None:
    """While `reader` runs, show the time and the last step: on a terminal in one line, else once a minute."""
    terminal = sys.stdout.isatty()
    started = shown = time.monotonic()
    if title:
        print(title, flush=True)
    while reader.is_alive():
        reader.join(timeout=1)
        now = time.monotonic()
        if title and (terminal or now - shown >= 60):
            shown = now
            step = next((line.strip() for line in reversed(lines) if line.strip()), "")
            line = f"  {clock(now - started)}  {step}"
            width = shutil.get_terminal_size().columns - 1
            print(
                f"\r{line[:width]:<{width}}" if terminal else line, end="" if terminal else "\n", flush=True
            )
    if terminal and title:
        print()


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds: 83 -> 1:23."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
