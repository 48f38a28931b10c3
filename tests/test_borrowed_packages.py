"""Commands that need no packages, and a student's repository that borrows those of the course."""

import os
import shutil
import subprocess
import sys

import pytest
from course_copy import course, environment, make_copy, one_line, write

from course.environment import environment_python


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML is read by a package")
@pytest.mark.parametrize("arguments", ["tasks", "tasks hw2", "start --help", "branches -h"])
def test_what_the_standard_library_can_do_installs_nothing(tmp_path, arguments):
    folder = make_copy(tmp_path / "copy")
    process = course(folder, *arguments.split())
    assert (process.returncode, process.stderr) == (0, "") and "hw2" in process.stdout
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize("command", ["results", "check", "report", "notebook", "exam", "grade", "test"])
def test_help_installs_nothing(tmp_path, command):
    folder = make_copy(tmp_path / "copy")
    process = course(folder, command, "--help", env=environment(PYTHONPATH=""))
    assert process.returncode == 0 and (command == "test" or not process.stderr)  # pytest's plugins warn
    assert f"python3 -m course {command}" in process.stdout or command == "test"  # pytest's, if it is there
    assert not (folder / ".venv").exists()


def test_a_students_repository_borrows_the_packages_and_imports_its_own_code(tmp_path):
    """`toy==1.0` with no index is there only if it is found where it was installed before."""
    clone, own = make_copy(tmp_path / "курс"), tmp_path / "мои работы"
    course(clone, "run")
    write(clone / "requirements.txt", "toy==1.0\n-e .\n")
    for page in ("hw1_toy/README.md", "hw1_toy/README.ru.md", "hw2_toy/README.md"):
        (clone / page).parent.mkdir(exist_ok=True)
        write(clone / page, "# Toy\n")
    write(clone / ".gitignore", ".venv\n__pycache__\n")
    person = {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "a",
              "GIT_CONFIG_KEY_1": "user.email", "GIT_CONFIG_VALUE_1": "a@example.org"}  # fmt: skip
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "one"]):
        subprocess.run(["git", *command], cwd=clone, env=environment(**person), check=True)
    assert course(clone, "run").returncode == 7
    python = str(environment_python(clone / ".venv"))
    begun = course(clone, "start", "hw1", str(own), python=python, env=environment(**person))
    assert begun.returncode == 0 and f"borrows the packages of {clone / '.venv'}; " in begun.stdout, begun
    for _ in range(2):  # the second time nothing is installed
        process = course(own, "run")
        assert (process.returncode, process.stderr) == (7, ""), process
    assert process.stdout == f"toy 1.0 prefix {own / '.venv'} arguments\n"
    where = "import course, sys, toy; print(toy.__file__, course.__file__, sep='\\n')"
    command = [environment_python(own / ".venv"), "-c", where]
    found = subprocess.check_output(command, cwd=tmp_path, text=True, env=environment()).splitlines()
    assert found[0].startswith(f"{clone}{os.sep}") and found[1] == str(own / "course" / "__init__.py")
    assert course(clone, "run").stdout.startswith("toy 1.0")  # the lender is as it was
    shutil.rmtree(clone)
    assert "No matching distribution found for toy==1.0" in one_line(course(own, "run"))
