"""`python3 -m course` as a program among others: its words, its streams, its signals, pytest's status."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from course_copy import ROOT, course, wait_for, write

from course import command_line
from course.command_line import COMMANDS
from course.processes import linux_prctl

pytest.importorskip("resource", reason="streams and signals as POSIX has them")

PYTEST = "import sys; from course.run_tests import main; sys.exit(main(sys.argv[1:]))"
NARROW = ["ascii", "cp1251", "cp1252"]
LETTERLESS = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def command(*arguments: str, encoding: str = "utf-8", **variables: str) -> subprocess.CompletedProcess:
    """`python -m course ARGUMENTS` in this repository and this Python, on a console of an encoding."""
    env = {**os.environ, "PYTHONIOENCODING": encoding, **variables}
    return course(ROOT, *arguments, python=sys.executable, env=env, encoding=encoding or "ascii")


def shell(line: str) -> subprocess.CompletedProcess:
    """`line` in bash, where COURSE is `python -m course`."""
    line = line.replace("COURSE", f"'{sys.executable}' -m course")
    return subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, check=False)


# ---- words


def test_an_unknown_command_is_named():
    process = command("rnu")
    assert (process.returncode, process.stdout) == (2, "")
    said = f"course: there is no command 'rnu'; the commands are: {', '.join(COMMANDS)} (see --help)\n"
    assert process.stderr == said


def test_a_missing_command_is_said():
    process = command()
    assert process.returncode == 2
    assert "a command is missing" in process.stderr


def test_help_tells_the_commands():
    process = command("--help")
    assert (process.returncode, process.stderr) == (0, "")
    assert "run the tests" in process.stdout


# ---- streams


@pytest.mark.parametrize("encoding", NARROW)
@pytest.mark.parametrize(
    "arguments", [("--help",), ("run", "--help"), ("run", "--list", "--full")], ids=" ".join
)
def test_a_narrow_console_gets_everything_it_can_show(arguments, encoding):
    wide = command(*arguments)
    narrow = command(*arguments, encoding=encoding)
    assert (narrow.returncode, narrow.stderr) == (0, "")
    assert narrow.stdout == wide.stdout.encode(encoding, "backslashreplace").decode(encoding)


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--list"), ("rnu", "кот")], ids=" ".join)
def test_a_locale_without_letters(arguments):
    known = {**os.environ, **LETTERLESS}
    alone = subprocess.run([sys.executable, "-c", "pass"], env=known, capture_output=True, check=False)
    if alone.returncode:  # its .pth file names a folder in letters that this locale cannot read
        pytest.skip(f"Python itself does not start from {ROOT} in this locale")
    process = command(*arguments, encoding="", **LETTERLESS)
    assert "Traceback" not in process.stderr
    assert process.returncode == (2 if arguments[0] == "rnu" else 0)


@pytest.mark.parametrize(
    "arguments", [("--help",), ("run", "--help"), ("run", "--list", "--full")], ids=" ".join
)
def test_a_reader_that_has_gone(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    start = [sys.executable, "-m", "course", *arguments]
    process = subprocess.run(start, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert process.stderr == ""
    assert process.returncode in (0, 141)  # argparse itself forgives what it could not write


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("arguments", "status"), [("--help", 0), ("run --list", 0), ("rnu", 2)])
def test_closed_streams_are_no_error(arguments, status, closed):
    process = shell(f"COURSE {arguments} {closed}")
    assert process.returncode == status
    assert "Traceback" not in process.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_under_the_output_is_said_in_one_line():
    process = shell("COURSE run --list > /dev/full")
    assert process.returncode == 1
    assert process.stderr.startswith("course: the disk is full: ")
    assert process.stderr.count("\n") == 1


# ---- tests


@pytest.mark.parametrize(("expression", "status"), [("good", 0), ("bad", 1), ("nothing", 5)])
def test_tests_return_the_status_of_pytest(tmp_path, expression, status):
    write(tmp_path / "test_toy.py", "def test_good(): pass\ndef test_bad(): assert False\n")
    start = [
        sys.executable,
        "-c",
        PYTEST,
        str(tmp_path),
        "-k",
        expression,
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
    ]
    assert subprocess.run(start, cwd=ROOT, capture_output=True, check=False).returncode == status


SLEEPER = """
    import os, pathlib, subprocess, sys

    def test_that_waits():
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        child = subprocess.Popen(command, start_new_session=True)
        pid = pathlib.Path(__file__).with_name("pid")
        pid.with_name("pid.new").write_text(f"{os.getpid()} {child.pid}")
        pid.with_name("pid.new").rename(pid)
        child.wait()
"""


def is_alive(pid: int) -> bool:
    """Whether the process runs: one that ended and was not waited for does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] not in ("", "Z")


@pytest.fixture
def waiting_tests(tmp_path):
    """`course test` in a process group of its own, and the processes of its test: a worker, its child."""
    write(tmp_path / "test_toy.py", SLEEPER)
    start = [sys.executable, "-c", PYTEST, str(tmp_path), "-n", "2", "-p", "no:cacheprovider"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    process = subprocess.Popen(start, cwd=ROOT, **pipes)
    wait_for((tmp_path / "pid").exists)
    pids = [int(pid) for pid in (tmp_path / "pid").read_text().split()]
    yield process, pids
    for pid in (process.pid, *pids):
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(linux_prctl() is None, reason="orphans are found on Linux only")
def test_ctrl_c_ends_the_tests_and_their_children(waiting_tests):
    process, pids = waiting_tests
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 130
    assert errors.endswith("\ncourse test: interrupted\n")
    assert "Traceback" not in output + errors
    assert [pid for pid in pids if is_alive(pid)] == []


@pytest.mark.skipif(linux_prctl() is None, reason="a child learns of its parent's death on Linux only")
def test_kill_9_of_the_command_ends_pytest(waiting_tests):
    process, (worker, _) = waiting_tests
    process.kill()
    process.communicate()
    wait_for(lambda: not is_alive(worker))


def test_paths_begin_where_a_command_was_given_unless_it_works_on_the_course_itself(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line.install, "enter_environment", lambda *arguments, **more: None)
    started = []
    module = SimpleNamespace(main=lambda arguments: started.append(Path.cwd()) or 0)
    monkeypatch.setattr(command_line.importlib, "import_module", lambda name: module)
    for command in ("start", "report", "grade", "exam", "run", "test", "results"):
        monkeypatch.chdir(tmp_path)
        assert command_line.dispatch([command]) == 0
    assert started == [tmp_path] * 4 + [command_line.ROOT] * 3
