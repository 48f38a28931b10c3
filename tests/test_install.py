"""The start of `python3 -m course`: real processes, real virtual environments, real pip, no network.

Tests work in copies of course/, in a folder with spaces and Cyrillic letters, whose requirements are a tiny
wheel made here and `-e .` with a build backend that needs nothing; `course run` there prints what it got.
"""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import pytest

from course import install
from course.command_line import COMMANDS

resource = pytest.importorskip("resource", reason="limits and signals as POSIX has them")

ROOT = Path(__file__).resolve().parent.parent
BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)  # outside any virtual environment
INSTALLING = "course: installing requirements.txt into .venv"
REPORT = """
    import sys
    from importlib.metadata import version

    def main(arguments):
        print("toy", version("toy"), "prefix", sys.prefix, "arguments", *arguments)
        return 7
"""
BACKEND = """
    import os, pathlib, time, zipfile

    def build_editable(directory, config_settings=None, metadata_directory=None):
        if os.path.exists("slow"):
            pathlib.Path("started").touch()
            time.sleep(60)
        with zipfile.ZipFile(os.path.join(directory, "project-1.0-py3-none-any.whl"), "w") as wheel:
            wheel.writestr("project.pth", os.getcwd())
            info = "project-1.0.dist-info/"
            tags = "Root-Is-Purelib: true\\nTag: py3-none-any\\n"
            wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: project\\nVersion: 1.0\\n")
            wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\n" + tags)
            wheel.writestr(info + "RECORD", "")
        return "project-1.0-py3-none-any.whl"
"""
PROJECT = """
    [build-system]
    requires = []
    build-backend = "backend"
    backend-path = ["."]

    [project]
    name = "project"
    version = "1.0"
"""


def run_changed(change: str, folder: Path) -> subprocess.CompletedProcess:
    """`python3 -m course run` in an interpreter in which the statement `change` was made first."""
    start = "runpy.run_module('course', run_name='__main__')"
    command = [BASE_PYTHON, "-c", f"import runpy, sys; {change}; {start}", "run"]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def write(path: Path, text: str) -> None:
    path.write_text(textwrap.dedent(text), encoding="utf-8")


def make_wheel(folder: Path, name: str, version: str, payload: bytes = b"") -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        info = f"{name}-{version}.dist-info/"
        wheel.writestr(f"{name}.py", payload)
        wheel.writestr(info + "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(info + "RECORD", "")
    return path


def make_copy(folder: Path) -> Path:
    """A repository with the real course/ (except for what `run` does) and toy requirements."""
    shutil.copytree(ROOT / "course", folder / "course", ignore=shutil.ignore_patterns("__pycache__"))
    write(folder / "course" / "weeks" / "run.py", REPORT)
    write(folder / "backend.py", BACKEND)
    write(folder / "pyproject.toml", PROJECT)
    for version in ("1.0", "2.0"):
        make_wheel(folder, "toy", version)
    write(folder / "requirements.txt", "./toy-1.0-py3-none-any.whl\n-e .\n")
    return folder


def environment(**more: str) -> dict[str, str]:
    """The user's variables without this process's environment and pip settings, and with no index."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON")) and k != "VIRTUAL_ENV"
    }
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", **more}


def course(repository: Path, *arguments: str, python: str = BASE_PYTHON, env: dict | None = None, **options):
    """`python3 -m course ARGUMENTS` in the copy; the completed process, with its output as text."""
    command = [python, "-m", "course", *arguments]
    return subprocess.run(
        command,
        cwd=repository,
        env=env or environment(),
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def start(repository: Path, **options) -> subprocess.Popen:
    """`python3 -m course run` in the copy, in a process group of its own and still running."""
    command = [BASE_PYTHON, "-m", "course", "run"]
    options = {"stdout": subprocess.DEVNULL, "text": True, "start_new_session": True, **options}
    return subprocess.Popen(command, cwd=repository, env=environment(), **options)


def one_line(process: subprocess.CompletedProcess) -> str:
    """The error of a failed start, which must be a single line."""
    assert process.returncode == 1, process
    assert process.stderr.startswith("course: ") and process.stderr.count("\n") == 1, process.stderr
    return process.stderr


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A copy after its first start; the tests change its requirements at will (see `installed`)."""
    folder = make_copy(tmp_path_factory.mktemp("tmp") / "курс с пробелами")
    first = course(folder, "run", "--name", "два слова")
    assert INSTALLING in first.stdout and "course: installed in 0:" in first.stdout, first
    assert f"toy 1.0 prefix {folder / '.venv'} arguments --name два слова\n" in first.stdout
    assert (first.returncode, first.stderr) == (7, "")
    return folder


@pytest.fixture
def installed(repository) -> Path:
    """The copy with version 1.0 of the toy installed."""
    write(repository / "requirements.txt", "./toy-1.0-py3-none-any.whl\n-e .\n")
    assert "toy 1.0" in course(repository, "run").stdout
    return repository


def pip_main(repository: Path) -> Path:
    return next(repository.glob(".venv/[Ll]ib/**/site-packages/pip/__main__.py"))


def test_second_start_does_not_run_pip(installed):
    main = pip_main(installed)
    text = main.read_text()
    log = (installed / ".venv" / install.LOG).stat().st_mtime_ns
    main.write_text("raise SystemExit('pip was started')")
    try:
        again = course(installed, "run", env=environment(PATH="/nowhere"))
    finally:
        main.write_text(text)
    assert (again.returncode, again.stderr) == (7, "")
    assert again.stdout.startswith("toy 1.0") and again.stdout.count("\n") == 1
    assert (installed / ".venv" / install.LOG).stat().st_mtime_ns == log


def test_starts_inside_the_environment_and_from_another_folder(installed, tmp_path):
    python = str(install.environment_python(installed / ".venv"))
    inside = course(installed, "run", python=python)
    elsewhere = course(tmp_path, "run", python=python)  # `-e .` made the course importable everywhere
    assert inside.stdout == elsewhere.stdout == f"toy 1.0 prefix {installed / '.venv'} arguments\n"


def test_changed_requirements_are_installed(installed):
    write(installed / "requirements.txt", "./toy-2.0-py3-none-any.whl\n-e .\n")
    changed = course(installed, "run")
    assert INSTALLING in changed.stdout and "toy 2.0" in changed.stdout


def test_active_environment_is_used(installed, tmp_path):
    other = make_copy(tmp_path / "other")
    process = course(other, "run", env=environment(VIRTUAL_ENV=str(installed / ".venv")))
    assert f"prefix {installed / '.venv'} " in process.stdout and process.returncode == 7
    assert not (other / ".venv").exists()
    assert (
        INSTALLING.replace(" .venv", "") in course(installed, "run").stdout
    )  # `-e .` pointed to the other copy


def test_here_stays_in_the_current_interpreter(tmp_path, monkeypatch):
    folder = make_copy(tmp_path / "here")
    seen = []
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(install, "install_requirements", seen.append)
    monkeypatch.setattr(install, "become", seen.append)
    install.enter_environment(folder, ["run"], here=True)
    assert seen == [folder] and not (folder / ".venv").exists()


def test_no_network(installed):
    write(installed / "requirements.txt", "numpy==9.9.9\n")
    env = environment(PIP_INDEX_URL="http://127.0.0.1:9", PIP_RETRIES="0")
    del env["PIP_NO_INDEX"]
    line = one_line(course(installed, "run", env=env))
    assert line.startswith(
        "course: no network: pip cannot reach its package index (ERROR: No matching distribution"
    )
    assert line.endswith(f"log: {installed / '.venv' / install.LOG}\n")
    assert "127.0.0.1" in (installed / ".venv" / install.LOG).read_text()


def test_package_that_is_nowhere_is_no_network_error(installed):
    write(installed / "requirements.txt", "numpy==9.9.9\n")
    line = one_line(course(installed, "run"))
    assert line.startswith(
        "course: the installation failed: ERROR: No matching distribution found for numpy==9.9.9;"
    )


def test_disk_full_while_installing(installed):
    make_wheel(installed, "big", "1.0", payload=b"#" * 3_000_000)
    write(installed / "requirements.txt", "./big-1.0-py3-none-any.whl\n")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    line = one_line(course(installed, "run", preexec_fn=limit))
    assert line.startswith("course: the disk is full: ") and "GB are free" in line
    assert not (installed / ".venv" / install.MARKER).exists()


def test_disk_full_while_making_the_environment(tmp_path):
    folder = make_copy(tmp_path / "full")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    assert one_line(course(folder, "run", preexec_fn=limit)).startswith("course: the disk is full: ")
    assert not install.is_environment(folder / ".venv")


def test_requirements_missing(installed):
    (installed / "requirements.txt").unlink()
    line = one_line(course(installed, "run"))
    assert (
        line
        == f"course: {installed / 'requirements.txt'} is missing; start from a complete clone of the course\n"
    )


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_python_without_venv(tmp_path, module):
    folder = make_copy(tmp_path / "debian")
    process = run_changed(f"sys.modules[{module!r}] = None", folder)
    assert f"has no {module} module" in one_line(process) and "apt install python3-venv" in process.stderr


def test_foreign_folder_is_left_alone(tmp_path):
    folder = make_copy(tmp_path / "foreign")
    (folder / ".venv").mkdir()
    write(folder / ".venv" / "diary.txt", "mine")
    assert "no virtual environment; move it away" in one_line(course(folder, "run"))
    assert (folder / ".venv" / "diary.txt").read_text() == "mine"


def wait_for(condition) -> None:
    while not condition():
        time.sleep(0.02)


def test_killed_while_making_and_while_installing(tmp_path):
    """kill -9 of everything within the making of .venv, then within pip; the third start completes both."""
    folder = make_copy(tmp_path / "killed")
    (folder / "slow").touch()
    for reached in (folder / ".venv" / "pyvenv.cfg", folder / "started"):
        process = start(folder)
        wait_for(reached.exists)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (folder / ".venv" / install.MARKER).exists()
    (folder / "slow").unlink()
    third = course(folder, "run")
    assert INSTALLING in third.stdout and "toy 1.0" in third.stdout and third.returncode == 7


def test_two_starts_at_once(tmp_path):
    folder = make_copy(tmp_path / "twice")
    both = [start(folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    outputs = [(process.communicate()[0], process.returncode) for process in both]
    assert [status for _, status in outputs] == [7, 7], outputs
    text = "".join(output for output, _ in outputs)
    assert text.count("toy 1.0") == 2
    assert text.count("course: making the virtual environment") == text.count(INSTALLING) == 1


def test_ctrl_c_while_installing(installed):
    (installed / "slow").touch()
    (installed / "started").unlink(missing_ok=True)
    (installed / ".venv" / install.MARKER).unlink()
    process = start(installed, stderr=subprocess.PIPE)
    try:
        wait_for((installed / "started").exists)
    finally:
        (installed / "slow").unlink()
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate()[1] == "\ncourse: interrupted; start it again to go on\n"
    assert process.returncode == 130
    assert not (installed / ".venv" / install.MARKER).exists()


def test_old_python_by_its_number():
    process = run_changed("sys.version_info = (3, 9, 1)", ROOT)
    assert "Python 3.10 or newer is needed, and this is 3.9.1" in one_line(process)


OLD_PYTHONS = [
    python
    for minor in ("2.7", "3.6", "3.7", "3.8", "3.9")
    for python in sorted(Path.home().glob(f".pyenv/versions/{minor}.*/bin/python"))
]


@pytest.mark.skipif(not OLD_PYTHONS, reason="no Python older than 3.10 on this machine")
def test_real_old_pythons():
    for python in OLD_PYTHONS:
        process = subprocess.run(
            [str(python), "-B", "-m", "course", "run"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert "Python 3.10 or newer is needed" in one_line(process)


def test_command_line():
    unknown = course(ROOT, "rnu", python=sys.executable)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert (
        unknown.stderr
        == f"course: there is no command 'rnu'; the commands are: {', '.join(COMMANDS)} (see --help)\n"
    )
    missing = course(ROOT, python=sys.executable)
    assert missing.returncode == 2 and "a command is missing" in missing.stderr
    shown = course(ROOT, "--help", python=sys.executable)
    assert shown.returncode == 0 and "run the tests" in shown.stdout and shown.stderr == ""


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (["ERROR: Could not install: [Errno 28] No space left on device"], "the disk is full"),
        (["OSError: [WinError 112] There is not enough space on the disk"], "the disk is full"),
        (["WARNING: Retrying after connection broken by 'x'", "ERROR: No matching"], "no network"),
        (["error: externally-managed-environment", "\u00d7 managed"], "leave out --here"),
        (
            ["Collecting x", "ERROR: broken wheel", "", "[notice] y"],
            "the installation failed: ERROR: broken wheel;",
        ),
        (["something"], "the installation failed: something;"),
        ([], "the installation failed: it printed nothing;"),
    ],
)
def test_explanations(tmp_path, lines, answer):
    text = install.explain(lines, tmp_path / "no.log")
    assert answer in text and "\n" not in text


def test_windows_and_posix_paths():
    assert install.environment_python(Path("v"), windows=True) == Path("v/Scripts/python.exe")
    assert install.environment_python(Path("v"), windows=False) == Path("v/bin/python")


def test_os_errors_name_the_file():
    refused = OSError(errno.EACCES, "Permission denied", "/a/b")
    assert install.explain_os_error(refused, ROOT) == "/a/b: Permission denied"
    assert "the disk is full" in install.explain_os_error(OSError(errno.ENOSPC, "x", "/a"), ROOT)


def test_marker_that_is_damaged_counts_as_none(tmp_path):
    (tmp_path / install.MARKER).write_text('{"python": ')
    assert install.installed(tmp_path) is None
    (tmp_path / install.MARKER).write_text(json.dumps({"python": "3"}))
    assert install.installed(tmp_path) == {"python": "3"}


def test_tests_return_the_status_of_pytest(tmp_path):
    write(tmp_path / "test_toy.py", "def test_good(): pass\ndef test_bad(): assert False\n")
    start = "import sys; from course.run_tests import main; sys.exit(main(sys.argv[1:]))"
    statuses = []
    for expression in ("good", "bad", "nothing"):
        command = [
            sys.executable,
            "-c",
            start,
            str(tmp_path),
            "-k",
            expression,
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
        ]
        statuses.append(subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode)
    assert statuses == [0, 1, 5]
