"""The virtual environment that a first start makes: what may be missing, in the way, or full."""

import errno
import subprocess
from pathlib import Path

import pytest
from course_copy import BASE_PYTHON, ROOT, course, environment, make_copy, one_line, write

from course import failures
from course.environment import environment_python, is_environment

resource = pytest.importorskip("resource", reason="limits as POSIX has them")


def run_changed(change: str, folder: Path) -> subprocess.CompletedProcess:
    """`python3 -m course run` in an interpreter in which the statement `change` was made first."""
    start = "runpy.run_module('course', run_name='__main__')"
    command = [BASE_PYTHON, "-c", f"import runpy, sys; {change}; {start}", "run"]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def test_a_full_disk_while_making_the_environment_is_said(tmp_path):
    folder = make_copy(tmp_path / "full")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    assert one_line(course(folder, "run", preexec_fn=limit)).startswith("course: the disk is full: ")
    assert not is_environment(folder / ".venv")


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_without_venv_is_told_what_to_install(tmp_path, module):
    process = run_changed(f"sys.modules[{module!r}] = None", make_copy(tmp_path / "debian"))
    line = one_line(process)
    assert f"has no {module} module" in line
    assert "apt install python3-venv" in line


def test_a_foreign_folder_is_left_alone(tmp_path):
    folder = make_copy(tmp_path / "foreign")
    (folder / ".venv").mkdir()
    write(folder / ".venv" / "diary.txt", "mine")
    assert "no virtual environment; move it away" in one_line(course(folder, "run"))
    assert (folder / ".venv" / "diary.txt").read_text() == "mine"


def test_an_old_python_is_refused_by_its_number():
    process = run_changed("sys.version_info = (3, 9, 1)", ROOT)
    assert "Python 3.10 or newer is needed, and this is 3.9.1" in one_line(process)


OLD_PYTHONS = [
    python
    for minor in ("2.7", "3.6", "3.7", "3.8", "3.9")
    for python in sorted(Path.home().glob(f".pyenv/versions/{minor}.*/bin/python"))
]


@pytest.mark.skipif(not OLD_PYTHONS, reason="no Python older than 3.10 on this machine")
def test_real_old_pythons_are_refused():
    for python in OLD_PYTHONS:
        command = [str(python), "-B", "-m", "course", "run"]
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert "Python 3.10 or newer is needed" in one_line(process)


def test_the_python_of_an_environment_on_windows_and_posix():
    assert environment_python(Path("v"), windows=True) == Path("v/Scripts/python.exe")
    assert environment_python(Path("v"), windows=False) == Path("v/bin/python")


def test_os_errors_name_the_file():
    refused = OSError(errno.EACCES, "Permission denied", "/a/b")
    assert failures.explain_os_error(refused, ROOT) == "/a/b: Permission denied"
    assert "the disk is full" in failures.explain_os_error(OSError(errno.ENOSPC, "x", "/a"), ROOT)
