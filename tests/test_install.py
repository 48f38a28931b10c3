"""What `python3 -m course` installs, with real pip and no network; a failure leaves what there was."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from course_copy import (
    BASE_PYTHON,
    INSTALLING,
    course,
    environment,
    make_copy,
    make_wheel,
    one_line,
    start,
    wait_for,
    write,
)

from course import failures, install
from course.environment import environment_python

resource = pytest.importorskip("resource", reason="limits and signals as POSIX has them")

OLD = "./toy-1.0-py3-none-any.whl\n-e .\n"
NEW = "./toy-2.0-py3-none-any.whl\n./big-1.0-py3-none-any.whl\n-e .\n"
"""pip installs the toy first and fails at big, or is killed while it writes its files."""


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
    write(repository / "requirements.txt", OLD)
    assert "toy 1.0" in course(repository, "run").stdout
    return repository


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the environment and the marker, but for pip's log, the lock and compiled files."""
    kept = {}
    for path in sorted((folder / ".venv").rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and path.name not in (install.LOG, install.LOCK):
            kept[str(path.relative_to(folder))] = path.read_bytes()
    return kept


def run_without_pip(folder: Path) -> subprocess.CompletedProcess:
    """`course run` where pip would fail if it were started."""
    main = next(folder.glob(".venv/[Ll]ib/**/site-packages/pip/__main__.py"))
    text = main.read_text()
    main.write_text("raise SystemExit('pip was started')")
    try:
        return course(folder, "run", env=environment(PATH="/nowhere"))
    finally:
        main.write_text(text)


def test_second_start_does_not_run_pip(installed):
    log = (installed / ".venv" / install.LOG).stat().st_mtime_ns
    again = run_without_pip(installed)
    assert (again.returncode, again.stderr) == (7, "")
    assert again.stdout.startswith("toy 1.0") and again.stdout.count("\n") == 1
    assert (installed / ".venv" / install.LOG).stat().st_mtime_ns == log


def test_starts_inside_the_environment_and_from_another_folder(installed, tmp_path):
    python = str(environment_python(installed / ".venv"))
    inside = course(installed, "run", python=python)
    elsewhere = course(tmp_path, "run", python=python)  # `-e .` made the course importable everywhere
    assert inside.stdout == elsewhere.stdout == f"toy 1.0 prefix {installed / '.venv'} arguments\n"


def test_changed_requirements_are_installed(installed):
    write(installed / "requirements.txt", "./toy-2.0-py3-none-any.whl\n-e .\n")
    changed = course(installed, "run")
    assert INSTALLING in changed.stdout and "toy 2.0" in changed.stdout
    assert not list((installed / ".venv").glob(f"{install.BEFORE}*"))


def test_an_active_environment_is_used_by_one_clone_at_a_time(tmp_path):
    first, second, shared = make_copy(tmp_path / "first"), make_copy(tmp_path / "second"), tmp_path / "shared"
    subprocess.run([BASE_PYTHON, "-m", "venv", shared], check=True)
    active = environment(VIRTUAL_ENV=str(shared))
    process = course(first, "run", env=active)
    assert f"prefix {shared} " in process.stdout and process.returncode == 7
    assert f"is the Python of another clone, {first}, " in one_line(course(second, "run", env=active))
    shutil.rmtree(first)  # nobody's then
    assert f"prefix {shared} " in course(second, "run", env=active).stdout
    assert not (second / ".venv").exists()


@pytest.mark.parametrize("marked", [True, False])
def test_the_environment_of_another_clone_is_refused_and_stays_as_it_is(installed, tmp_path, marked):
    other, python = make_copy(tmp_path / "other"), environment_python(installed / ".venv")
    if not marked:  # installed by hand
        (installed / ".venv" / install.MARKER).unlink()
    before = contents(installed)
    for process in (
        course(other, "run", python=str(python)),
        course(other, "run", env=environment(VIRTUAL_ENV=str(installed / ".venv"))),
    ):
        line = one_line(process)
        assert f"{python} is the Python of another clone, {installed}, " in line and "deactivate" in line
    assert contents(installed) == before and not (other / ".venv").exists()
    assert "toy 1.0" in course(installed, "run").stdout


def test_a_link_to_the_environment_of_another_clone_is_refused(installed, tmp_path):
    other = make_copy(tmp_path / "other")
    (other / ".venv").symlink_to(installed / ".venv")
    before = contents(installed)
    line = one_line(course(other, "run"))
    assert f"is the Python of another clone, {installed}, " in line and f"remove the link {other}" in line
    assert contents(installed) == before
    (other / ".venv").unlink()
    linked = tmp_path / "link to the same clone"
    linked.symlink_to(installed)
    assert course(linked, "run").stdout.startswith("toy 1.0")


def test_an_environment_that_lies_elsewhere_may_be_linked_to(tmp_path):
    folder, elsewhere = make_copy(tmp_path / "clone"), tmp_path / "elsewhere"
    subprocess.run([BASE_PYTHON, "-m", "venv", elsewhere], check=True)
    (folder / ".venv").symlink_to(elsewhere)
    assert "toy 1.0" in course(folder, "run").stdout
    assert course(folder, "run").stdout.startswith("toy 1.0")


def test_a_copy_of_a_clone_installs_itself_into_the_environment_it_came_with(installed, tmp_path):
    copy = shutil.copytree(installed, tmp_path / "copy", symlinks=True)
    process = course(copy, "run")
    assert INSTALLING in process.stdout and f"prefix {copy / '.venv'} " in process.stdout


def test_here_stays_in_the_current_interpreter(tmp_path, monkeypatch):
    folder = make_copy(tmp_path / "here")
    seen = []
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(install, "install_requirements", seen.append)
    monkeypatch.setattr(install, "become", seen.append)
    install.enter_environment(folder, ["run"], here=True)
    assert seen == [folder] and not (folder / ".venv").exists()


# ---- installations that fail, or cannot succeed


def unpublished(folder: Path) -> None:
    write(folder / "requirements.txt", "./toy-2.0-py3-none-any.whl\nnumpy==9.9.9\n")


def contradiction(folder: Path) -> None:
    write(folder / "requirements.txt", "./toy-2.0-py3-none-any.whl\n./toy-1.0-py3-none-any.whl\n")


def broken_wheel(folder: Path) -> None:
    (folder / "bad-1.0-py3-none-any.whl").write_bytes(b"PK\x05\x06")
    write(folder / "requirements.txt", "./toy-2.0-py3-none-any.whl\n./bad-1.0-py3-none-any.whl\n")


def missing_requirements(folder: Path) -> None:
    (folder / "requirements.txt").unlink()


IMPOSSIBLE = {
    unpublished: "the installation failed: ERROR: No matching distribution found for numpy==9.9.9; log: ",
    contradiction: "the installation failed: ERROR: ",
    broken_wheel: "the installation failed: ERROR: ",
    missing_requirements: "requirements.txt is missing; start from a complete clone of the course",
}


@pytest.mark.parametrize(
    ("change", "words"), IMPOSSIBLE.items(), ids=lambda one: getattr(one, "__name__", "")
)
def test_an_impossible_installation_changes_nothing(installed, change, words):
    before = contents(installed)
    change(installed)
    assert words in one_line(course(installed, "run"))
    assert contents(installed) == before
    write(installed / "requirements.txt", OLD)
    assert run_without_pip(installed).stdout.startswith("toy 1.0")


def test_no_network_is_said_and_changes_nothing(installed):
    before = contents(installed)
    write(installed / "requirements.txt", "numpy==9.9.9\n")
    env = environment(PIP_INDEX_URL="http://127.0.0.1:9", PIP_RETRIES="0")
    del env["PIP_NO_INDEX"]
    line = one_line(course(installed, "run", env=env))
    assert line.startswith(
        "course: no network: pip cannot reach its package index (ERROR: No matching distribution"
    )
    assert line.endswith(f"log: {installed / '.venv' / install.LOG}\n")
    assert "127.0.0.1" in (installed / ".venv" / install.LOG).read_text()
    assert contents(installed) == before


def test_disk_full_in_the_middle_of_an_installation_changes_nothing(installed):
    before = contents(installed)
    make_wheel(installed, "big", "1.0", {"big.py": b"#" * 3_000_000})
    write(installed / "requirements.txt", NEW)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    line = one_line(course(installed, "run", preexec_fn=limit))
    assert line.startswith("course: the disk is full: ") and "GB are free" in line
    assert contents(installed) == before


def interrupted_in_the_middle(folder: Path, number: int) -> subprocess.Popen:
    """A start to which the signal was sent when pip had changed the toy and was writing the files of big."""
    make_wheel(folder, "big", "1.0", {f"big/module_{i}.py": b"x = 1\n" * 50 for i in range(3000)})
    write(folder / "requirements.txt", NEW)
    packages = next(folder.glob(".venv/[Ll]ib/**/site-packages"))
    process = start(folder, stderr=subprocess.PIPE)
    try:
        wait_for((packages / "big" / "module_0.py").exists)
    finally:
        os.killpg(process.pid, number)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
def test_an_interrupted_installation_changes_nothing(installed, number):
    before = contents(installed)
    process = interrupted_in_the_middle(installed, number)
    assert process.communicate()[1] == "\ncourse: interrupted; start it again to go on\n"
    assert process.returncode == 130
    assert contents(installed) == before


def test_a_killed_installation_is_undone_by_the_next_start(installed):
    before = contents(installed)
    process = interrupted_in_the_middle(installed, signal.SIGKILL)
    process.communicate()
    assert contents(installed) != before  # nobody was left who could have undone it
    write(installed / "requirements.txt", OLD)
    assert course(installed, "run", env=environment()).stdout.startswith("toy 1.0")
    assert contents(installed) == before


def test_a_killed_installation_is_completed_by_the_next_start(installed):
    interrupted_in_the_middle(installed, signal.SIGKILL).communicate()
    make_wheel(installed, "big", "1.0")
    second = course(installed, "run")
    assert INSTALLING in second.stdout and "toy 2.0" in second.stdout
    assert not list((installed / ".venv").glob(f"{install.BEFORE}*"))


def test_a_first_start_killed_twice_is_completed_by_the_third(tmp_path):
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


def test_of_two_starts_at_once_one_installs(tmp_path):
    folder = make_copy(tmp_path / "twice")
    both = [start(folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    outputs = [(process.communicate()[0], process.returncode) for process in both]
    assert [status for _, status in outputs] == [7, 7], outputs
    text = "".join(output for output, _ in outputs)
    assert text.count("toy 1.0") == 2
    assert text.count("course: making the virtual environment") == 1
    assert text.count(INSTALLING) == 1


LETTERLESS = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_a_locale_without_letters_installs_and_uses_the_same_marker(tmp_path):
    folder = make_copy(tmp_path / "курс")
    first = course(folder, "run", env=environment(**LETTERLESS))
    assert "toy 1.0" in first.stdout and (first.returncode, first.stderr) == (7, "")
    assert run_without_pip(folder).stdout.startswith("toy 1.0")  # in UTF-8


# ---- what is said, and what is remembered


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
def test_a_failure_is_explained_in_one_line(tmp_path, lines, answer):
    text = failures.explain(lines, tmp_path / "no.log")
    assert answer in text and "\n" not in text


def test_marker_that_is_damaged_counts_as_none(tmp_path):
    (tmp_path / install.MARKER).write_text('{"python": ')
    assert install.installed(tmp_path) is None
    (tmp_path / install.MARKER).write_text(json.dumps({"python": "3"}))
    assert install.installed(tmp_path) == {"python": "3"}
