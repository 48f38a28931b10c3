"""Scripts started alone and by torchrun, in two processes that share every batch."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from small_gans import logged

ROOT = Path(__file__).resolve().parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def start(*command: str | Path, together: bool = True) -> subprocess.CompletedProcess:
    """A script and its flags, to the end; red where it fails."""
    launcher = TORCHRUN if together else [sys.executable]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*launcher, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def logs_alone_and_together(
    script: str | Path, flags: Callable[[Path], list[str]], folder: Path
) -> tuple[list[dict], list[dict]]:
    """Lines of metrics.jsonl of a training by one process, and of the same by two; `flags` of an --outdir."""
    logs = []
    for together in (False, True):
        outdir = folder / ("together" if together else "alone")
        done = start(script, *flags(outdir), together=together)
        assert done.stdout.count("run directory") == 1  # one process alone writes
        (run_dir,) = (path.parent for path in outdir.glob("*/*/metrics.jsonl"))
        logs.append(logged(run_dir))
    assert len(logs[0]) == len(logs[1])
    return logs[0], logs[1]
