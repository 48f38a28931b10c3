"""`python3 -m course run`: start the scripts of the weeks one after another and table what they measured.

Every script is a process of its own with its output in a log file.  All of one start lies in a new folder:

runs/course-0001/
    logs/NAME.log      what the script printed
    hw1/0001-.../      the run directories the scripts made, with summary.json and figures
    results.json       the table, with all numbers
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from course.processes import adopt_orphans, clock, end_orphans, end_with_parent
from course.weeks import SCRIPTS
from course.weeks.script import Script

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_STOP = 30  # how long an interrupted script may take to save its checkpoint
LOG_LINES_SHOWN = {"failed": 15, "interrupted": 1}  # the last one tells how to go on


@dataclass
class Result:
    """What became of one script; one row of the table."""

    name: str
    data: str
    status: str = "not run"  # then "ok", "failed", "skipped", "interrupted" or "given"
    reason: str = ""
    command: str = ""
    log: str = ""
    seconds: float = 0.0
    run_directory: str = ""
    figures: list[str] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)


def main(arguments: list[str]) -> int:
    """Exit status 0 if every script worked, 1 if one failed, 2 for a wrong command line, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python3 -m course run", description="Run the homework scripts.")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these weeks (hw1) or scripts, and what they need"
    )
    parser.add_argument("--full", action="store_true", help="the README's budgets (hours) instead of minutes")
    parser.add_argument(
        "--list", action="store_true", help="print the scripts and what they do, and run nothing"
    )
    parser.add_argument(
        "--with", nargs="+", default=[], metavar="NAME=RUN_DIR", dest="given",
        help="do not start NAME: the scripts that need it read this run directory",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    names = {name for script in SCRIPTS for name in (script.name, script.week)}
    if unknown := [name for name in options.only or () if name not in names]:
        print(f"course run: --only {unknown[0]}: no such week or script; see --list", file=sys.stderr)
        return 2
    scripts = chosen(SCRIPTS, options.only, options.full)
    given = dict(word.partition("=")[::2] for word in options.given)
    for name, folder in given.items():
        if name not in {script.name for script in scripts} or not Path(folder, "config.json").is_file():
            wanted = "give NAME=RUN_DIR, a script that would run and the directory of a run of it"
            print(f"course run: --with {name}={folder}: {wanted}", file=sys.stderr)
            return 2
    if options.list:
        for script in scripts:
            print(f"{script.week}  {script.name} ({script.data}): {script.what}")
            print(f"     {command_line(script.file, script.arguments(options.full))}")
        return 0
    return run_all(scripts, options.full, new_folder(ROOT / "runs"), given)


def chosen(scripts: Iterable[Script], only: list[str] | None, full: bool) -> list[Script]:
    """The scripts of the weeks and names in `only` (None: all), with those they need, in their order."""
    by_name = {script.name: script for script in scripts if script.arguments(full) is not None}
    wanted = [s for s in by_name.values() if only is None or s.name in only or s.week in only]
    for script in wanted:  # grows while it is walked
        wanted += [by_name[name] for name in script.needs(full) if by_name[name] not in wanted]
    return [script for script in by_name.values() if script in wanted]


def new_folder(parent: Path) -> Path:
    """Make `parent`/course-NNNN with the first free number after the last one."""
    parent.mkdir(exist_ok=True)
    numbers = [int(path.name[7:]) for path in parent.glob("course-*") if path.name[7:].isdigit()]
    number = max(numbers, default=0) + 1
    while True:
        with contextlib.suppress(FileExistsError):  # another start took it just now
            folder = parent / f"course-{number:04d}"
            folder.mkdir()
            (folder / "logs").mkdir()
            return folder
        number += 1


def run_all(scripts: list[Script], full: bool, outdir: Path, given: dict[str, str]) -> int:
    """Run the scripts in order; a failure skips those that need it, and nothing else.

    `given`: by name, run directories that stand for scripts which are not started."""
    results = {script.name: Result(script.name, script.data) for script in scripts}
    for name, folder in given.items():
        results[name].status, results[name].run_directory = "given", folder
    interrupted = False
    adopt_orphans()
    print(f"{len(scripts)} scripts, results in {relative(outdir)}", flush=True)
    try:
        for number, script in enumerate(scripts, 1):
            if script.name in given:
                continue
            result = results[script.name]
            lacking = [name for name in script.needs(full) if results[name].status not in ("ok", "given")]
            if lacking:
                result.status, result.reason = "skipped", f"needs {lacking[0]}"
            else:
                run_one(script, full, outdir, results, prefix=f"[{number}/{len(scripts)}]")
            save(results, full, outdir)  # first: whoever reads the next line may have gone
            report(result, prefix=f"[{number}/{len(scripts)}]")
            interrupted = result.status == "interrupted"
            if interrupted:
                break
    except KeyboardInterrupt:  # between two scripts
        interrupted = True
    print("\n" + table(results.values()), flush=True)
    print(f"\nresults: {relative(outdir / 'results.json')}", flush=True)
    failed = [result.name for result in results.values() if result.status == "failed"]
    if failed:
        print(f"course run: failed: {', '.join(failed)}", file=sys.stderr)
    if interrupted:
        print("course run: interrupted", file=sys.stderr)
    return 130 if interrupted else 1 if failed else 0


def run_one(script: Script, full: bool, outdir: Path, results: dict[str, Result], prefix: str) -> None:
    """Run one script and fill in its result."""
    result = results[script.name]
    places = {name: results[name].run_directory for name in script.needs(full)}
    arguments = [word.format(**places) for word in script.arguments(full)]
    arguments += ["--outdir", relative(outdir / script.week / script.name if script.only_draws else outdir)]
    log = outdir / "logs" / f"{script.name}.log"
    result.command, result.log = command_line(script.file, arguments), relative(log)
    before = set(outdir.glob("*/*"))
    started = time.monotonic()
    status = run_logged(
        [sys.executable, script.file, *arguments], log, f"{prefix} {script.name} ({script.data})"
    )
    result.seconds = round(time.monotonic() - started, 1)
    made = sorted(path for path in set(outdir.glob("*/*")) - before if path.is_dir())
    if made:
        result.run_directory = relative(made[-1])
        result.figures = [
            relative(path) for path in sorted(made[-1].rglob("*")) if path.suffix in (".png", ".gif")
        ]
    if status is None:
        result.status = "interrupted"
    elif status != 0:
        result.status = "failed"
        result.reason = f"exit status {status}" if status > 0 else f"killed by signal {-status}"
    else:
        result.status, result.reason = ended_well(script, result)


def ended_well(script: Script, result: Result) -> tuple[str, str]:
    """Status and reason of a script that returned 0: what it should leave must be there."""
    if not result.run_directory:
        return "failed", "it made no run directory"
    if script.only_draws:
        return ("ok", "") if result.figures else ("failed", f"no figures in {result.run_directory}")
    return read_numbers(result, script.shows)


def read_numbers(result: Result, shows: tuple[str, ...]) -> tuple[str, str]:
    """Fill in the numbers from the run's summary.json; return status and reason."""
    path = ROOT / result.run_directory / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "failed", f"{relative(path)} is missing or is not JSON"
    result.numbers = flat(summary.get("metrics", summary))
    result.shown = list(shows)
    missing = [name for name in shows if name not in result.numbers]
    return ("failed", f"{relative(path)} has no {missing[0]}") if missing else ("ok", "")


def flat(metrics: dict, prefix: str = "") -> dict[str, float]:
    """The numbers of a summary by name: {"test": {"tpr": 0.9}} -> {"test/tpr": 0.9}."""
    numbers = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            numbers |= flat(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            numbers[prefix + name] = value
    return numbers


def command_line(file: str, arguments: list[str]) -> str:
    return shlex.join(["python", file, *arguments]).replace("'{", "{").replace("}'", "}")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# --- processes


def run_logged(command: list[str], log: Path, label: str) -> int | None:
    """Run `command` with its output in `log`; its exit status, or None if Ctrl-C stopped it.

    It runs in a session of its own, so that Ctrl-C reaches it once, from here; should this process be killed,
    the script is interrupted too (on Linux).
    """
    environment = dict(os.environ, PYTHONUNBUFFERED="1", PYTHONIOENCODING="utf-8")
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=os.name != "nt",
            preexec_fn=end_with_parent(),  # noqa: PLW1509 - there are no threads
        )
        try:
            started = time.monotonic()
            while True:
                if sys.stdout.isatty():
                    print(f"\r{label}  {clock(time.monotonic() - started)}", end="", flush=True)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(timeout=1)
        except BaseException as error:
            stop(process)
            if isinstance(error, KeyboardInterrupt):
                return None
            raise  # the terminal is gone


def stop(process: subprocess.Popen) -> None:
    """Ask the script to stop, which saves its checkpoint; kill it if it takes long or Ctrl-C comes again."""
    with contextlib.suppress(ProcessLookupError):
        if os.name != "nt":  # on Windows the console has told it already
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=SECONDS_TO_STOP)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill() if os.name == "nt" else os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    end_orphans()  # trainings that a study had started


# --- what the user reads


def report(result: Result, prefix: str) -> None:
    """One line for a script that ended, and the end of its log if it did not end well."""
    lead = "\r" if sys.stdout.isatty() else ""
    reason = f": {result.reason}" if result.reason else ""
    print(
        f"{lead}{prefix} {result.name} ({result.data})  {clock(result.seconds)}  {result.status}{reason}",
        flush=True,
    )
    if result.status in LOG_LINES_SHOWN:
        lines = (ROOT / result.log).read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines[-LOG_LINES_SHOWN[result.status] :]:
            print(f"    | {line}")
        print(f"    the whole log: {result.log}", flush=True)


def save(results: dict[str, Result], full: bool, outdir: Path) -> None:
    """Write results.json, complete after every script."""
    rows = [asdict(result) for result in results.values()]
    text = json.dumps({"full": full, "scripts": rows}, indent=1, ensure_ascii=False)
    temporary = outdir / "results.json.new"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(outdir / "results.json")


def table(results: Iterable[Result]) -> str:
    """Rows of script, data, minutes, numbers (one a line), figures."""
    rows = [[["script"], ["data"], ["min:s"], ["numbers"], ["figures (how many)"]]]
    for result in results:
        numbers = [f"{name} {result.numbers[name]:.5g}" for name in result.shown if name in result.numbers]
        if result.status != "ok":
            numbers = [f"{result.status}: {result.reason}" if result.reason else result.status]
        figures = f"{result.run_directory} ({len(result.figures)})" if result.figures else "-"
        rows.append([[result.name], [result.data], [clock(result.seconds)], numbers or ["-"], [figures]])
    widths = [max(len(line) for row in rows for line in row[column]) for column in range(5)]
    lines = []
    for row in rows:
        for i in range(max(len(cell) for cell in row)):
            cells = [cell[i] if i < len(cell) else "" for cell in row]
            lines.append("  ".join(f"{text:<{width}}" for text, width in zip(cells, widths)).rstrip())
    lines.insert(1, "-" * min(sum(widths) + 8, shutil.get_terminal_size().columns))
    return "\n".join(lines)
