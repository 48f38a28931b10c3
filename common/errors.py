"""What ends a script early: a user's mistake in one line, and a signal; and the warning."""

import functools
import sys


class InputError(Exception):
    """A flag, file or folder that cannot be used: the message names it, what was found and what to do."""


@functools.cache
def warn(text: str) -> None:
    """`warning: TEXT` on stderr, the same text once a process however often it is found."""
    print(f"warning: {text}", file=sys.stderr)


class Stopped(Exception):
    """SIGINT or SIGTERM came and the checkpoint is on disk."""

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.signal_number = signal_number
