"""The one exception for a user's mistake, whose text is the single line the user reads, and the warning."""

import functools
import sys


class InputError(Exception):
    """A flag, file or folder that cannot be used: the message names it, what was found and what to do."""


@functools.cache
def warn(text: str) -> None:
    """`warning: TEXT` on stderr, the same text once a process however often it is found."""
    print(f"warning: {text}", file=sys.stderr)
