"""requirements.txt installed into the running environment: once, and wholly or not at all.

A first start happens in two processes.  The one the user started finds the environment: the one it already
runs in, the active one, or `.venv` in the repository, which it makes.  Then it becomes that environment's
Python with the same command line, and this second process installs requirements.txt into itself.

Success is noted in a marker file inside the environment; while the marker fits, a start neither runs pip nor
touches the network.  Before pip changes anything, the environment is copied by hard links, which takes
seconds and no space.  A failed installation is undone from the copy at once, a killed one by the next start.

A student's own repository borrows the packages of the clone it was started from (`lend_packages`).
"""

import ast
import contextlib
import hashlib
import importlib.util
import json
import os
import site
import subprocess
import sys
import time
from pathlib import Path

from course.environment import (
    LOCK,
    LOG,
    environment_python,
    is_environment,
    locked,
    make_environment,
    require_modules,
)
from course.failures import InstallError
from course.linked_copy import link_tree, remove, restore
from course.processes import become, clock, run_or_explain

MARKER = "course-requirements.json"  # what is installed; written after success only
LENDER = "course-lender.txt"  # names the environment whose packages this one finds too
BEFORE = "course-before"  # the environment as it was; exists while pip works
OURS = frozenset((MARKER, LOG, LOCK, BEFORE, BEFORE + ".new", BEFORE + ".old"))
"""Not part of what is copied and put back."""


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


def install_requirements(root: Path) -> None:
    """Install `root`/requirements.txt into the running interpreter, unless its marker says it is done."""
    wanted = what_to_install(root)
    directory = state_directory()
    if installed(directory) == wanted and not (directory / BEFORE).exists():
        return
    refuse_another_clone(root, directory)
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / LOCK) as lock:
        undo(directory)  # what a killed start left
        if installed(directory) == wanted:  # by another process while this one waited
            return
        started = time.monotonic()
        with undone_on_failure(directory):
            run_pip(root, directory, lock)
        temporary = directory / (MARKER + ".new")
        temporary.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
        os.replace(temporary, directory / MARKER)
        print(f"course: installed in {clock(time.monotonic() - started)}", flush=True)


def refuse_another_clone(root: Path, directory: Path) -> None:
    """Raise InstallError if the running interpreter is the environment of another clone of the course.

    `-e .` would make the scripts of that clone import the code of this one.  The environment is that of the
    clone it lies in; one that lies elsewhere, of the last clone installed into it, if that is still there.
    """
    if root in directory.parents:
        return
    marked = (installed(directory) or {}).get("root", directory.parent)
    for clone in (directory.parent, Path(os.fsdecode(str(marked).encode("utf-8", "surrogateescape")))):
        if (clone / "course" / "install.py").is_file() and not clone.samefile(root):
            link = root / ".venv"
            way_out = f"remove the link {link}" if link.is_symlink() else "deactivate; python3 -m course run"
            raise InstallError(
                f"{sys.executable} is the Python of another clone, {clone}, which would then run the code of "
                f"{root}; use another Python, for example: {way_out}"
            )


def run_pip(root: Path, directory: Path, lock: int) -> None:
    """Let pip install the requirements, with its log in `directory`; raise InstallError if it cannot."""
    log = directory / LOG
    log.unlink(missing_ok=True)  # pip would append to it
    if importlib.util.find_spec("pip") is None:  # some tools make environments without it
        require_modules("ensurepip")
        run_or_explain([sys.executable, "-m", "ensurepip", "--default-pip"], root, log, lock)
    command = [sys.executable, "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
    command += ["--log", str(log), "-r", "requirements.txt"]
    name = directory.name if directory.parent == root else directory
    title = f"course: installing requirements.txt into {name} (once, a few minutes)"
    run_or_explain(command, root, log, lock, title)


@contextlib.contextmanager
def undone_on_failure(directory: Path):
    """Copy the virtual environment `directory`; whatever ends the block before its end puts the copy back.

    With --here there is none: then pip changes a Python of the user's, and takes back each package by itself.
    """
    if sys.prefix == sys.base_prefix:
        yield
        return
    unfinished = directory / (BEFORE + ".new")
    remove(unfinished)
    link_tree(directory, unfinished, leave_out=OURS)
    os.rename(unfinished, directory / BEFORE)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # the next start tries again, and this one says what failed first
            undo(directory)
        raise
    discard(directory)


def undo(directory: Path) -> None:
    """Put back what was there before an installation that did not end well, if there was one."""
    if (directory / BEFORE).exists():
        restore(directory / BEFORE, directory, leave_alone=OURS)
        discard(directory)


def discard(directory: Path) -> None:
    """Take away the copy; renamed first, because half a copy must never be put back."""
    old = directory / (BEFORE + ".old")
    remove(old)
    os.rename(directory / BEFORE, old)
    remove(old)


def what_to_install(root: Path) -> dict:
    """All that makes an installation out of date when it changes; the marker holds the same.

    Besides the requirements these are the Python version (its packages lie in another folder) and where the
    repository is, which `-e .` wrote down: a clone that was copied would import the code of the other.  Where
    packages are borrowed, it is also what the lender has.
    """
    requirements = root / "requirements.txt"
    if not requirements.is_file():
        raise InstallError(f"{requirements} is missing; start from a complete clone of the course")
    wanted = {
        "requirements_sha256": hashlib.sha256(requirements.read_bytes()).hexdigest(),
        "python": sys.version.split()[0],
        "root": written(root),
    }
    lender = state_directory() / LENDER
    if lender.is_file():
        wanted["lender"] = installed(Path(lender.read_text(encoding="utf-8")))
    return wanted


def written(path: Path) -> str:
    """A path as the marker has it, the same in every locale."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def installed(directory: Path) -> dict | None:
    """The content of the marker in `directory`; None if there is none or it cannot be read."""
    try:
        return json.loads((directory / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def state_directory() -> Path:
    """Where the marker, the lock and the log of the running interpreter lie: beside its packages.

    The folder itself, not a link to it: `.venv` may be a link into another clone.
    """
    writable = sys.prefix != sys.base_prefix or os.access(sys.prefix, os.W_OK)
    return Path(sys.prefix if writable else site.getuserbase()).resolve()


def environment_of(root: Path) -> Path | None:
    """The environment into which the requirements of `root` are installed; None if there is none yet."""
    active = [Path(os.environ["VIRTUAL_ENV"])] if os.environ.get("VIRTUAL_ENV") else []
    for prefix in (*active, Path(sys.prefix), root / ".venv"):
        if is_environment(prefix) and (installed(prefix) or {}).get("root") == written(root):
            return prefix.resolve()
    return None


def lend_packages(lender: Path, prefix: Path) -> None:
    """Make the environment `prefix`, whose Python finds the packages of `lender` after its own.

    Only the packages: Python does not read the lender's .pth files from there, so that `-e .` of the lender
    does not come along, and `prefix` has its own.
    """
    python = environment_python(lender)
    make_environment(prefix, python)
    theirs, own = packages(python), packages(environment_python(prefix))
    line = f"import sys; sys.path.append({theirs!a})\n"  # as code: a path may have letters
    (Path(own) / "course-lender.pth").write_text(line, encoding="ascii")
    (prefix / LENDER).write_text(str(lender), encoding="utf-8")


def packages(python: Path) -> str:
    """The folder into which pip of this Python installs."""
    command = [str(python), "-c", "import sysconfig; print(ascii(sysconfig.get_path('purelib')))"]
    return ast.literal_eval(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
