"""The virtual environment `.venv`, made with the standard library alone, and the lock on what changes it."""

import contextlib
import errno
import importlib.util
import os
import shutil
import sys
import time
from pathlib import Path

from course.failures import InstallError
from course.processes import run_or_explain

LOG = "course-install.log"  # pip's own log of the last installation
LOCK = "course-install.lock"  # held by the process that changes the environment
MAKING = "course-making"  # exists while the environment is being made: an interrupted one has it still


def environment_python(prefix: Path, windows: bool = os.name == "nt") -> Path:
    return prefix / "Scripts" / "python.exe" if windows else prefix / "bin" / "python"


def is_environment(prefix: Path) -> bool:
    """Whether `prefix` is a virtual environment, made to the end, whose base Python still exists."""
    complete = (prefix / "pyvenv.cfg").is_file() and environment_python(prefix).exists()
    return complete and not (prefix / MAKING).exists()


def make_environment(prefix: Path, base: Path | str = sys.executable) -> None:
    """Make the virtual environment `prefix` with the Python `base`, anew if an attempt was interrupted or its
    Python is gone."""
    require_modules("venv", "ensurepip")
    if prefix.exists() and not prefix.is_dir():
        raise InstallError(f"{prefix} is a file where the virtual environment belongs; move it away")
    prefix.mkdir(exist_ok=True)
    with locked(prefix / LOCK) as lock:
        if is_environment(prefix):  # made by another process while this one waited
            return
        ours = (prefix / "pyvenv.cfg").exists() or (prefix / MAKING).exists()
        content = [path for path in prefix.iterdir() if path.name not in (LOCK, MAKING)]
        if content and not ours:
            raise InstallError(f"{prefix} is a folder, but no virtual environment; move it away")
        (prefix / MAKING).touch()
        for path in content:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        print(f"course: making the virtual environment {prefix.name}", flush=True)
        python = str(environment_python(prefix))
        for command in (
            [str(base), "-m", "venv", "--without-pip", str(prefix)],
            [python, "-m", "ensurepip", "--default-pip"],  # a step of its own: venv hides its messages
        ):
            run_or_explain(command, prefix.parent, prefix / LOG, lock)
        (prefix / MAKING).unlink()


def require_modules(*names: str) -> None:
    """Raise InstallError if this Python lacks one of the modules that make environments."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise InstallError(
                f"this Python ({sys.executable}) has no {name} module, so it cannot make an environment; on "
                "Debian and Ubuntu: sudo apt install python3-venv"
            )


@contextlib.contextmanager
def locked(path: Path):
    """Hold the lock file `path` and yield its descriptor.  The system frees it when its last holder ends."""
    with open(path, "a+b") as file:
        told = False
        while not try_to_lock(file):
            if not told:
                print(f"course: another start is installing into {path.parent}; waiting for it", flush=True)
                told = True
            time.sleep(0.2)
        yield file.fileno()


def try_to_lock(file) -> bool:
    """Lock `file` for this process; False if another process holds it."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network file systems have no locks at all: there, go on without one.
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True
