"""Which command `python3 -m course` was given, and in which environment it runs."""

import ast
import importlib
import os
import signal
import sys
from pathlib import Path

from course import failures, install

ROOT = Path(__file__).resolve().parent.parent

COMMANDS = {  # name: (module with main(arguments) -> exit status, what it does)
    "run": ("course.weeks.run", "run the homework scripts and print a table of the numbers they measured"),
    "results": ("course.pages.results", "keep what a run measured and write the tables of the pages from it"),
    "start": ("course.student.start", "begin a homework in a repository of your own: start hw2 DIR"),
    "check": (
        "course.student.check",
        "check your code of a homework, and say in words what is wrong: check hw2",
    ),
    "report": ("course.student.report", "write what runs measured and drew into a README: report RUN..."),
    "notebook": ("course.student.notebook", "a script as a notebook for Jupyter, Colab and Kaggle, and back"),
    "exam": ("course.student.exam", "drill for the oral exam; exam export makes cards for Anki or a page"),
    "tasks": ("course.tasks", "list what a student writes: tasks, points, and where they stand in the code"),
    "branches": ("course.branches", "make a branch for every homework, solved or as starter code"),
    "grade": (
        "course.mentor.grade",
        "read a group's repositories: evidence, suggested points, feedback (for mentors)",
    ),
    "test": ("course.run_tests", "run the tests; more arguments go to pytest: test tests/test_x.py -x"),
}
IN_THE_COURSE = {"run", "results", "test"}
"""Commands whose files are the course's own; paths given to the others begin where the command was given."""
NEED_NO_PACKAGES = {"tasks", "start", "branches"} if sys.version_info >= (3, 11) else set()
"""Commands of the standard library alone, which reads TOML since Python 3.11."""
HELP = {"-h", "--help"}


def usage() -> str:
    commands = "\n".join(f"  {name:<9}{description}" for name, (_, description) in COMMANDS.items())
    return f"""usage: python3 -m course [--here] COMMAND [ARGUMENTS]

commands:
{commands}

The first start installs requirements.txt into .venv, or into the active virtual environment; with --here
into the Python that runs this command.  `python3 -m course COMMAND --help` tells more of a command."""


def main(arguments: list[str]) -> int:
    """Run one command and return its exit status: 2 for a wrong command line, 130 after Ctrl-C, 141 after a
    reader such as `head` had enough."""
    mend_streams()
    stop_on_signals()
    try:
        try:
            status = dispatch(arguments)
        except SystemExit as end:  # of argparse
            status = end.code
        sys.stdout.flush()  # here, where a failure can be dealt with
        return status
    except BrokenPipeError:
        forget_output()
        return 141
    except failures.InstallError as error:
        print(f"course: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a folder that cannot be written, a disk that is full
        forget_output()
        print(f"course: {failures.explain_os_error(error, ROOT)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncourse: interrupted; start it again to go on", file=sys.stderr)
        return 130


def dispatch(arguments: list[str]) -> int:
    """The exit status of the command that `arguments` name, run in its environment."""
    here = "--here" in arguments
    command, *rest = [argument for argument in arguments if argument != "--here"] or [""]
    if command in ("-h", "--help"):
        print(usage())
        return 0
    if command not in COMMANDS:
        found = f"there is no command {command!r}" if command else "a command is missing"
        print(f"course: {found}; the commands are: {', '.join(COMMANDS)} (see --help)", file=sys.stderr)
        return 2
    if command in IN_THE_COURSE:
        os.chdir(ROOT)
    if HELP.intersection(rest):
        return tell_more(command, rest)
    if command not in NEED_NO_PACKAGES and not (command == "run" and "--list" in rest):
        install.enter_environment(ROOT, [command, *rest], here=here)
    return importlib.import_module(COMMANDS[command][0]).main(rest)


def tell_more(command: str, rest: list[str]) -> int:
    """`COMMAND --help`, which installs nothing: without the packages it is the command's docstring."""
    name = COMMANDS[command][0]
    try:
        if command == "test":
            importlib.import_module("pytest")  # whose help it is
        main_of_command = importlib.import_module(name).main
    except ImportError:
        if sys.prefix == sys.base_prefix and (ready := install.environment_of(ROOT)):
            return install.become([str(install.environment_python(ready)), "-m", "course", command, *rest])
        page = ROOT.joinpath(*name.split(".")).with_suffix(".py").read_text(encoding="utf-8")
        print(ast.get_docstring(ast.parse(page)))
        print(f"\nOnce python3 -m course {command} has installed its packages, --help lists its flags too.")
        return 0
    return main_of_command(rest)


def mend_streams() -> None:
    """Open what the shell closed (`>&-`), or the next file would get its number, and our output with it; and
    write letters that the console lacks as their numbers instead of failing."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number is this one
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8"))
        getattr(sys, name).reconfigure(errors="backslashreplace")


def stop_on_signals() -> None:
    """Make `kill` and a closed terminal do what Ctrl-C does; what nohup ignores stays ignored."""
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def forget_output() -> None:
    """Let what is still to be written go nowhere: Python tries it again at its end, and would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
