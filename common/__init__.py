"""What the homework scripts share: image sets, devices, run directories, checkpoints, metrics, figures."""

import sys


def _interrupted_quietly(kind, error, trace) -> None:
    """Ctrl-C while a script still imports what it needs ends it without a traceback (status 130)."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _interrupted_quietly
