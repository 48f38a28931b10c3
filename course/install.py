"""Make the Python environment in which the course runs, with the standard library alone.

A first start happens in two processes.  The one the user started finds the environment: the one it already
runs in, the active one, or `.venv` in the repository, which it makes.  Then it becomes that environment's
Python with the same command line, and this second process installs requirements.txt into itself.  Success is
noted in a marker file inside the environment; while the marker fits, a start neither runs pip nor touches the
network.
"""

import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import re
import shutil
import site
import subprocess
import sys
import threading
import time
from pathlib import Path

MARKER = "course-requirements.json"  # what is installed; written after success only
LOG = "course-install.log"  # pip's own log of the last installation
LOCK = "course-install.lock"  # held by the process that changes the environment
MAKING = "course-making"  # exists while the environment is being made: an interrupted one has it still

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_SPACE_WORDS = re.compile(r"No space left|quota exceeded|File too large|not enough space on the disk", re.I)
NO_NETWORK_WORDS = re.compile(
    r"connection error|connection broken by|ConnectionError|ConnectTimeout|ReadTimeout"
)


class InstallError(Exception):
    """What went wrong and what to do about it, in one line."""


def enter_environment(root: Path, arguments: list[str], here: bool = False) -> None:
    """Return once this process has `root`/requirements.txt installed; become another process if need be.

    arguments: those of `python3 -m course`, for the process this one becomes.
    here: stay in the current interpreter even if it is not a virtual environment.
    Raises InstallError and OSError.
    """
    if here or sys.prefix != sys.base_prefix:
        install_requirements(root)
        return
    prefix = Path(os.environ.get("VIRTUAL_ENV") or root / ".venv")
    if not is_environment(prefix):
        prefix = root / ".venv"  # VIRTUAL_ENV may name a folder that was deleted since
        make_environment(prefix)
    sys.exit(become([str(environment_python(prefix)), "-m", "course", *arguments]))


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


# --- the virtual environment


def environment_python(prefix: Path, windows: bool = os.name == "nt") -> Path:
    return prefix / "Scripts" / "python.exe" if windows else prefix / "bin" / "python"


def is_environment(prefix: Path) -> bool:
    """Whether `prefix` is a virtual environment, made to the end, whose base Python still exists."""
    complete = (prefix / "pyvenv.cfg").is_file() and environment_python(prefix).exists()
    return complete and not (prefix / MAKING).exists()


def make_environment(prefix: Path) -> None:
    """Make the virtual environment `prefix`, anew if an attempt was interrupted or its Python is gone."""
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
            [sys.executable, "-m", "venv", "--without-pip", str(prefix)],
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


# --- the packages


def install_requirements(root: Path) -> None:
    """Install `root`/requirements.txt into the running interpreter, unless its marker says it is done."""
    wanted = what_to_install(root)
    directory = state_directory()
    if installed(directory) == wanted:
        return
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / LOCK) as lock:
        if installed(directory) == wanted:  # by another process while this one waited
            return
        started = time.monotonic()
        log = directory / LOG
        (directory / MARKER).unlink(missing_ok=True)
        log.unlink(missing_ok=True)  # pip would append to it
        if importlib.util.find_spec("pip") is None:  # some tools make environments without it
            require_modules("ensurepip")
            run_or_explain([sys.executable, "-m", "ensurepip", "--default-pip"], root, log, lock)
        command = [sys.executable, "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
        command += ["--log", str(log), "-r", "requirements.txt"]
        name = directory.name if directory.parent == root else directory
        title = f"course: installing requirements.txt into {name} (once, a few minutes)"
        run_or_explain(command, root, log, lock, title)
        temporary = directory / (MARKER + ".new")
        temporary.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
        os.replace(temporary, directory / MARKER)
        print(f"course: installed in {clock(time.monotonic() - started)}", flush=True)


def what_to_install(root: Path) -> dict:
    """All that makes an installation out of date when it changes; the marker holds the same.

    Besides the requirements these are the Python version (its packages lie in another folder) and where the
    repository is, which `-e .` wrote down: a clone that was copied would import the code of the other.
    """
    requirements = root / "requirements.txt"
    if not requirements.is_file():
        raise InstallError(f"{requirements} is missing; start from a complete clone of the course")
    return {
        "requirements_sha256": hashlib.sha256(requirements.read_bytes()).hexdigest(),
        "python": sys.version.split()[0],
        "root": str(root),
    }


def installed(directory: Path) -> dict | None:
    """The content of the marker in `directory`; None if there is none or it cannot be read."""
    try:
        return json.loads((directory / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def state_directory() -> Path:
    """Where the marker, the lock and the log of the running interpreter lie: beside its packages."""
    writable = sys.prefix != sys.base_prefix or os.access(sys.prefix, os.W_OK)
    return Path(sys.prefix if writable else site.getuserbase())


# --- running pip, showing that something happens, and saying what went wrong


def run_or_explain(command: list[str], root: Path, log: Path, lock: int, title: str | None = None) -> None:
    """Run `command` in `root`, with progress under `title` if there is one; raise InstallError if it fails.

    The child holds `lock` too: should this process be killed, nobody else begins before the child has ended.
    log: where the command writes its own log; if it wrote none, a failure leaves what it printed there.
    """
    process = subprocess.Popen(
        command,
        cwd=root,
        env=dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PYTHONIOENCODING="utf-8"),
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


def explain(lines: list[str], log: Path) -> str:
    """One line that says why pip or venv failed, from what it printed and from its log."""
    lines = [line.strip() for line in lines if line.strip()]
    errors = [line for line in lines if re.match(r"ERROR: |error: |\w*Error: |\u00d7 ", line)]
    last = (errors or lines or ["it printed nothing"])[-1]
    text = "\n".join(lines)
    with contextlib.suppress(OSError):
        text += log.read_text(encoding="utf-8", errors="replace")
    if NO_SPACE_WORDS.search(text):
        return f"{disk_full(log.parent)} ({last})"
    if "externally-managed-environment" in text:
        return (
            "this Python belongs to the operating system, which lets nobody install into it; leave out --here"
        )
    if NO_NETWORK_WORDS.search(text):
        return f"no network: pip cannot reach its package index ({last}); connect and start again; log: {log}"
    return f"the installation failed: {last}; log: {log}"


def explain_os_error(error: OSError, root: Path) -> str:
    return (
        disk_full(root) if error.errno in NO_SPACE else f"{error.filename or root}: {error.strerror or error}"
    )


def disk_full(path: Path) -> str:
    temporary = Path(os.environ.get("TMPDIR") or os.environ.get("TEMP") or "/tmp")  # where pip unpacks
    places = [place for place in (path, temporary) if place.exists()]
    free = " and ".join(
        f"{shutil.disk_usage(place).free / 1e9:.1f} GB are free at {place}" for place in places
    )
    return f"the disk is full: {free}; make room and start again"


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds: 83 -> 1:23."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
