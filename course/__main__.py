"""Start of `python3 -m course`.

This file and course/__init__.py are written so that any Python, even 2.7, can read them: an old one then says
in one line that it is too old, instead of failing with a SyntaxError somewhere else.
"""

import os
import sys

if sys.version_info < (3, 10):  # noqa: UP036 - the very case this file is for
    sys.exit(
        "course: Python 3.10 or newer is needed, and this is "
        + ".".join(str(number) for number in sys.version_info[:3])
        + " ("
        + (sys.executable or "unknown path")
        + "); start it with a newer one, for example: python3.12 -m course run"
    )

# `python3 -m` looks for modules in the current folder first: a student's random.py there is not Python's
COURSE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:] = [COURSE] + [place for place in sys.path if place not in ("", os.getcwd(), COURSE)]

from course.command_line import main  # noqa: E402 - after the check: everything below needs 3.10

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
