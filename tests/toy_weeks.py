"""Copies of course/ whose weeks are toy scripts, each a real process that `course run` starts."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from course_copy import write

ROOT = Path(__file__).resolve().parent.parent
IN_THIS_ENVIRONMENT = """
import sys
from course import command_line, install

install.enter_environment = lambda *arguments, **options: None  # toys need nothing
sys.exit(command_line.main(["run", *sys.argv[1:]]))
"""
START = [sys.executable, "-c", IN_THIS_ENVIRONMENT]

TOY = """
    import argparse, json, pathlib, sys, time

    parser = argparse.ArgumentParser()
    parser.add_argument("what")
    parser.add_argument("run_dirs", nargs="*")
    parser.add_argument("--outdir", required=True)
    options = parser.parse_args()
    for line in range(30):
        print("строка", line)
    if options.what == "broken":
        sys.exit("error: --steps -1: must be above 0")
    if options.what == "drawing":
        folder = pathlib.Path(options.outdir)
        folder.mkdir(parents=True)
        if options.run_dirs:
            (folder / "digits.png").touch()
        sys.exit(0)
    week = pathlib.Path(options.outdir, "hw9")
    week.mkdir(exist_ok=True)
    run = week / f"{len(list(week.iterdir())) + 1:04d}-{options.what}"
    run.mkdir()
    if options.what == "slow":
        try:
            (run / "started").touch()
            time.sleep(60)
        except KeyboardInterrupt:
            print("saved the checkpoint")
            sys.exit(130)
    if options.what == "pausing":
        (run / "started").touch()
        while not pathlib.Path("go on").exists():
            time.sleep(0.01)
    if options.what == "silent":
        sys.exit(0)
    (run / "samples").mkdir()
    (run / "loss.png").touch()
    (run / "samples" / "grid.png").touch()
    numbers = {"val": {"mse": 0.01234567}, "epoch": 3, "best": "conv", "done": True}
    if options.run_dirs:
        texts = [pathlib.Path(folder, "summary.json").read_text() for folder in options.run_dirs]
        numbers = {"test/tpr": 0.93, "read": len(texts)}
    (run / "summary.json").write_text(json.dumps({"metrics": numbers, "minutes": 1}))
"""


def toy(
    name: str, arguments: str, *shows: str, full: str | None = None, short: bool = True, draws: bool = False
) -> str:
    return (
        f"Script(name={name!r}, file='hw9_toys/toy.py', what='what {name} is for', data='toys', "
        f"short={arguments if short else None!r}, full={full or arguments!r}, shows={shows!r}, "
        f"only_draws={draws!r})"
    )


def make_weeks(folder: Path, *scripts: str) -> Path:
    shutil.copytree(ROOT / "course", folder / "course", ignore=shutil.ignore_patterns("__pycache__"))
    weeks = f"from course.weeks.script import Script\n\nSCRIPTS = ({', '.join(scripts)},)\n"
    (folder / "course" / "weeks" / "__init__.py").write_text(weeks, encoding="utf-8")
    (folder / "hw9_toys").mkdir()
    write(folder / "hw9_toys" / "toy.py", TOY)
    return folder


def run(folder: Path, *arguments: str, encoding: str = "utf-8") -> subprocess.CompletedProcess:
    """`course run ARGUMENTS` in the folder, on a console of the encoding."""
    environment = dict(os.environ, PYTHONIOENCODING=encoding)
    return subprocess.run(
        [*START, *arguments], cwd=folder, env=environment, capture_output=True, encoding=encoding, check=False
    )


def results(folder: Path, number: int = 1) -> dict[str, dict]:
    text = (folder / "runs" / f"course-{number:04d}" / "results.json").read_text(encoding="utf-8")
    return {row["name"]: row for row in json.loads(text)["scripts"]}
