"""`python3 -m course test`: pytest in the course's environment; every argument goes to pytest."""

import sys

from course import install


def main(arguments: list[str]) -> int:
    """Become pytest (a new process, in which no module of ours is loaded yet); its exit status is ours."""
    return install.become([sys.executable, "-m", "pytest", *arguments])
