"""`python3 -m course test`: pytest in the course's environment; every argument goes to pytest."""

import contextlib
import subprocess
import sys

from course.processes import adopt_orphans, end_orphans, end_with_parent

SECONDS_TO_STOP = 5  # how long interrupted tests may take to clean up


def main(arguments: list[str]) -> int:
    """Run pytest in a new process, which has no module of ours loaded; its exit status, 130 after Ctrl-C."""
    adopt_orphans()
    command = [sys.executable, "-m", "pytest", *arguments]
    process = subprocess.Popen(command, preexec_fn=end_with_parent())  # noqa: PLW1509 - there are no threads
    try:
        return process.wait()
    except KeyboardInterrupt:
        stop(process)
        end_orphans()
        print("\ncourse test: interrupted", file=sys.stderr)
        return 130


def stop(process: subprocess.Popen) -> None:
    """Let pytest, which got Ctrl-C too, clean up; end it if that takes long or Ctrl-C comes again."""
    for end in (None, process.terminate, process.kill):
        if end is not None:
            end()
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(timeout=SECONDS_TO_STOP)
            return
