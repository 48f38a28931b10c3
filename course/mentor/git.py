"""Git started so that what a student put into a repository is only ever data.

Every call runs with a closed environment: no configuration but ours, no hooks, no filters or attributes
(nothing is ever checked out), no replacement objects, no lazy fetching, no questions asked, and limits on
time, memory and the size of any file that git writes.  Outside of the sandbox, this is the only file here
that starts another program.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from course.processes import end_with_parent

try:
    import resource
except ImportError:  # Windows has no such limits: time alone bounds git there
    resource = None


class GitError(Exception):
    """Why git could not do it, in one line without passwords."""


@dataclass(frozen=True)
class Limits:
    """What one git process may use."""

    seconds: float = 60
    memory_bytes: int = 2 << 30
    """Address space: packs are mapped into it in windows."""
    file_bytes: int = 1 << 30
    """Of each file it writes, a pack being fetched among them."""


KEPT_FOR_NETWORK = {
    *("GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_CONFIG_GLOBAL"),
}
"""Variables of git's that say how this mentor reaches a server; every other one is left out."""

SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.attributesFile": os.devnull,
    "core.useReplaceRefs": "false",
    "core.packedGitWindowSize": "16m",
    "core.packedGitLimit": "256m",
    "core.deltaBaseCacheLimit": "64m",
    "core.bigFileThreshold": "16m",  # larger blobs are streamed, never held whole
    "pack.threads": "1",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "fetch.fsckObjects": "false",  # odd trees are read with care here; refusing them would hide the work
    "fetch.writeCommitGraph": "false",
    "protocol.allow": "never",  # GIT_ALLOW_PROTOCOL says what a fetch may use
}


def run(
    arguments: list[str],
    directory: Path | None,
    *,
    protocols: str = "",
    stdin: bytes = b"",
    settings: dict[str, str] | None = None,
    limits: Limits | None = None,
) -> bytes:
    """What `git ARGUMENTS` prints in the bare repository `directory`, or outside of any; GitError when it
    fails or meets a limit.

    protocols: transports it may use, as `https:ssh`; none otherwise.
    """
    limits = limits or Limits()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:  # RLIMIT_FSIZE holds
        process = start(arguments, directory, protocols, settings, limits, output, complaints)
        try:
            _feed(process, stdin)
            _wait(process, limits.seconds)
        except subprocess.TimeoutExpired:
            raise GitError(f"git {arguments[0]} took longer than {limits.seconds:g} s") from None
        finally:
            end(process)
        if process.returncode:
            complaints.seek(0)
            raise GitError(_reason(process.returncode, complaints.read(1 << 16), arguments[0], limits))
        output.seek(0)
        return output.read()


def _feed(process: subprocess.Popen, stdin: bytes) -> None:
    """Give a process its input, which is small enough to stay in the pipe."""
    with contextlib.suppress(OSError):  # it may have ended without reading
        process.stdin.write(stdin)
    with contextlib.suppress(OSError):
        process.stdin.close()


def _wait(process: subprocess.Popen, seconds: float) -> None:
    """Wait for its end, without the naps of Popen.wait where the system can tell; TimeoutExpired after
    `seconds`."""
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            watched = os.pidfd_open(process.pid)
            try:
                select.select([watched], [], [], seconds)
            finally:
                os.close(watched)
            seconds = 0 if process.poll() is None else seconds
    process.wait(seconds)


def start(
    arguments: list[str],
    directory: Path | None,
    protocols: str = "",
    settings: dict[str, str] | None = None,
    limits: Limits | None = None,
    stdout: object = subprocess.PIPE,
    stderr: object = subprocess.DEVNULL,
) -> subprocess.Popen:
    """`git ARGUMENTS` as a process that reads from a pipe; whoever starts it calls `end` on it."""
    configured = [f"{name}={value}" for name, value in {**SETTINGS, **(settings or {})}.items()]
    command = ["git", "--no-replace-objects", *([f"--git-dir={directory}"] if directory else [])]
    command += [word for each in configured for word in ("-c", each)]
    try:
        return subprocess.Popen(
            [*command, *arguments],
            cwd=os.path.abspath(os.sep),  # a folder of the mentor's could be a repository itself
            env=environment(protocols),
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,  # a group of its own, so that `end` reaches its children
            preexec_fn=_in_child(limits or Limits()),  # noqa: PLW1509 - it only calls the system
        )
    except FileNotFoundError:
        raise GitError("git is not installed; install it and start again") from None


def end(process: subprocess.Popen) -> None:
    """Kill what is left of `process` and of its children."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def environment(protocols: str) -> dict[str, str]:
    """The variables git is started with; the mentor's own keys and proxies only where a server is asked."""
    network = bool({"https", "ssh"} & set(protocols.split(":")))
    kept = KEPT_FOR_NETWORK if network else set()
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in kept}
    env |= {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": protocols or "none",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "LC_ALL": "C",
    }
    if network:
        env.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")  # a question would wait for ever
    else:
        env["GIT_CONFIG_GLOBAL"] = os.devnull
    return env


def _in_child(limits: Limits) -> Callable[[], None] | None:
    if resource is None:
        return None
    tie = end_with_parent()

    def prepare() -> None:
        for kind, wanted in (
            (resource.RLIMIT_FSIZE, limits.file_bytes),
            (resource.RLIMIT_AS, limits.memory_bytes),
            (resource.RLIMIT_CORE, 0),
        ):
            ceiling = resource.getrlimit(kind)[1]
            most = wanted if ceiling == resource.RLIM_INFINITY else min(wanted, ceiling)
            resource.setrlimit(kind, (most, most))
        if tie is not None:
            tie()

    return prepare


def _reason(status: int, complaints: bytes, name: str, limits: Limits) -> str:
    """One line from what git printed, the size limit by its name."""
    lines = [line.strip() for line in complaints.decode("utf-8", "replace").splitlines() if line.strip()]
    too_large = hasattr(signal, "SIGXFSZ") and -status == signal.SIGXFSZ
    if too_large or any("File too large" in line or "signal 25" in line for line in lines):
        return f"more than {limits.file_bytes >> 20} MB; raise --limit-mb if it is meant to be that large"
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))]
    said = redacted((fatal or lines or [f"exit status {status}"])[0])[:300]
    return f"git {name}: {''.join(c if c.isprintable() else '?' for c in said)}"


def redacted(text: str) -> str:
    """`text` without the user and password of any address in it."""
    return re.sub(r"(\w+://)[^/\s@]*@", r"\1", text)
