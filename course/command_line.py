"""Which command `python3 -m course` was given, and in which environment it runs."""

import importlib
import os
import sys
from pathlib import Path

from course import install

ROOT = Path(__file__).resolve().parent.parent

COMMANDS = {  # name: (module with main(arguments) -> exit status, what it does)
    "run": ("course.weeks.run", "run the homework scripts and print a table of the numbers they measured"),
    "results": ("course.pages.results", "keep what a run measured and write the tables of the pages from it"),
    "test": ("course.run_tests", "run the tests; more arguments go to pytest: test tests/test_x.py -x"),
}
NEED_NO_PACKAGES = {("run", "--list"), ("run", "--help"), ("run", "-h")}


def usage() -> str:
    commands = "\n".join(f"  {name:<9}{description}" for name, (_, description) in COMMANDS.items())
    return f"""usage: python3 -m course [--here] COMMAND [ARGUMENTS]

commands:
{commands}

The first start installs requirements.txt into .venv, or into the active virtual environment; with --here
into the Python that runs this command.  `python3 -m course COMMAND --help` tells more of a command."""


def main(arguments: list[str]) -> int:
    """Run one command and return its exit status: 2 for a wrong command line, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # the console may lack a letter of the folder's name
    here = "--here" in arguments
    command, *rest = [argument for argument in arguments if argument != "--here"] or [""]
    if command in ("-h", "--help"):
        print(usage())
        return 0
    if command not in COMMANDS:
        found = f"there is no command {command!r}" if command else "a command is missing"
        print(f"course: {found}; the commands are: {', '.join(COMMANDS)} (see --help)", file=sys.stderr)
        return 2
    try:
        os.chdir(ROOT)
        if not any((command, argument) in NEED_NO_PACKAGES for argument in rest):
            install.enter_environment(ROOT, [command, *rest], here=here)
        return importlib.import_module(COMMANDS[command][0]).main(rest)
    except install.InstallError as error:
        print(f"course: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a folder that cannot be written, a disk that is full
        print(f"course: {install.explain_os_error(error, ROOT)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncourse: interrupted; start it again to go on", file=sys.stderr)
        return 130
