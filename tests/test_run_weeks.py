"""`python3 -m course run`, in copies of course/ whose weeks are toy scripts, each a real process."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from course.weeks import SCRIPTS
from course.weeks.run import chosen, flat

ROOT = Path(__file__).resolve().parent.parent
START = [sys.executable, "-c", "import sys; from course.weeks.run import main; sys.exit(main(sys.argv[1:]))"]

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


def toy(name: str, arguments: str, *shows: str, full: str | None = None, short: bool = True) -> str:
    return (
        f"Script(name={name!r}, file='hw9_toys/toy.py', what='what {name} is for', data='toys', "
        f"short={arguments if short else None!r}, full={full or arguments!r}, shows={shows!r})"
    )


def make_weeks(folder: Path, *scripts: str) -> Path:
    shutil.copytree(ROOT / "course", folder / "course", ignore=shutil.ignore_patterns("__pycache__"))
    weeks = f"from course.weeks.script import Script\n\nSCRIPTS = ({', '.join(scripts)},)\n"
    (folder / "course" / "weeks" / "__init__.py").write_text(weeks, encoding="utf-8")
    (folder / "hw9_toys").mkdir()
    (folder / "hw9_toys" / "toy.py").write_text(textwrap.dedent(TOY), encoding="utf-8")
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = dict(os.environ, PYTHONIOENCODING="utf-8")
    return subprocess.run(
        [*START, *arguments], cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False
    )


def results(folder: Path, number: int = 1) -> dict[str, dict]:
    text = (folder / "runs" / f"course-{number:04d}" / "results.json").read_text(encoding="utf-8")
    return {row["name"]: row for row in json.loads(text)["scripts"]}


TRAIN = toy("train_it", "good", "val/mse", full="good --longer")
EVALUATE = toy("eval_it", "good {train_it}", "test/tpr")


def test_success(tmp_path):
    folder = make_weeks(tmp_path / "две недели", TRAIN, EVALUATE)
    process = run(folder)
    assert (process.returncode, process.stderr) == (0, "")
    lines = process.stdout.splitlines()
    assert lines[0] == "2 scripts, results in runs/course-0001"
    assert lines[1].startswith("[1/2] train_it (toys)  0:0") and lines[1].endswith("  ok")
    table = [line.split() for line in lines[4:]]
    assert table[0] == ["script", "data", "min:s", "numbers", "figures", "(how", "many)"]
    assert table[2][:2] + table[2][3:] == [
        "train_it",
        "toys",
        "val/mse",
        "0.012346",
        "runs/course-0001/hw9/0001-good",
        "(2)",
    ]
    assert table[3][3:] == ["test/tpr", "0.93", "runs/course-0001/hw9/0002-good", "(2)"]
    row = results(folder)["train_it"]
    assert row["numbers"] == {"val/mse": 0.01234567, "epoch": 3}  # texts and booleans are not numbers
    assert row["command"] == "python hw9_toys/toy.py good --outdir runs/course-0001"
    assert row["figures"] == [
        f"runs/course-0001/hw9/0001-good/{name}" for name in ("loss.png", "samples/grid.png")
    ]
    assert "строка 29" in (folder / row["log"]).read_text(encoding="utf-8")
    assert results(folder)["eval_it"]["numbers"]["read"] == 1


def test_failure_by_name_skips_only_what_needs_it(tmp_path):
    folder = make_weeks(
        tmp_path / "w",
        toy("train_it", "broken"),
        EVALUATE,
        toy("other", "good"),
        toy("chained", "good {eval_it}"),
    )
    process = run(folder)
    assert process.returncode == 1
    assert process.stderr == "course run: failed: train_it\n"
    assert "[1/4] train_it (toys)  0:0" in process.stdout and "failed: exit status 1\n" in process.stdout
    assert (
        "    | error: --steps -1: must be above 0\n    the whole log: runs/course-0001/logs/train_it.log\n"
        in process.stdout
    )
    assert "    | строка 29\n" in process.stdout and "строка 3\n" not in process.stdout
    assert {name: (row["status"], row["reason"]) for name, row in results(folder).items()} == {
        "train_it": ("failed", "exit status 1"),
        "eval_it": ("skipped", "needs train_it"),
        "other": ("ok", ""),
        "chained": ("skipped", "needs eval_it"),
    }
    table = process.stdout[process.stdout.index("script ") :]
    assert "skipped: needs train_it" in table and "failed: exit status 1" in table


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (toy("it", "silent"), "runs/course-0001/hw9/0001-silent/summary.json is missing or is not JSON"),
        (toy("it", "good", "test/auc"), "runs/course-0001/hw9/0001-good/summary.json has no test/auc"),
    ],
)
def test_run_without_its_numbers_has_failed(tmp_path, script, reason):
    folder = make_weeks(tmp_path / "w", script)
    process = run(folder)
    assert process.returncode == 1 and results(folder)["it"]["reason"] == reason


def test_only_brings_what_is_needed(tmp_path):
    folder = make_weeks(tmp_path / "w", toy("other", "broken"), TRAIN, EVALUATE)
    process = run(folder, "--only", "eval_it")
    assert process.returncode == 0 and list(results(folder)) == ["train_it", "eval_it"]
    assert run(folder, "--only", "hw9").returncode == 1 and len(results(folder, 2)) == 3
    unknown = run(folder, "--only", "hw8")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr == "course run: --only hw8: no such week or script; see --list\n"


def test_full_and_list(tmp_path):
    folder = make_weeks(tmp_path / "w", TRAIN, toy("big", "good", short=False))
    assert run(folder, "--list").stdout == (
        "hw9  train_it (toys): what train_it is for\n     python hw9_toys/toy.py good\n"
    )
    assert run(folder, "--list", "--full").stdout == (
        "hw9  train_it (toys): what train_it is for\n     python hw9_toys/toy.py good --longer\n"
        "hw9  big (toys): what big is for\n     python hw9_toys/toy.py good\n"
    )
    assert not (folder / "runs").exists()
    process = run(folder, "--full")  # the toy knows no --longer
    assert process.returncode == 1 and process.stderr == "course run: failed: train_it\n"
    assert results(folder)["big"]["status"] == "ok"


@pytest.mark.skipif(os.name == "nt", reason="process groups as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_stops_the_script_cleanly(tmp_path, number):
    folder = make_weeks(tmp_path / "w", TRAIN, toy("slow", "slow"), toy("never", "good"))
    process = subprocess.Popen(
        START, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not (folder / "runs/course-0001/hw9/0002-slow/started").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, number)
    output, errors = process.communicate()
    assert (process.returncode, errors) == (130, "course run: interrupted\n")
    log = folder / "runs/course-0001/logs/slow.log"
    assert log.read_text(encoding="utf-8").endswith("saved the checkpoint\n")
    assert "  interrupted\n    | saved the checkpoint\n    the whole log: " in output
    table = output[output.index("script ") :]
    assert "val/mse 0.012346" in table and "interrupted" in table and "not run" in table
    assert [row["status"] for row in results(folder).values()] == ["ok", "interrupted", "not run"]


def test_metrics_may_be_nested():
    assert flat({"test": {"tpr": 1, "deep": {"x": 2.5}}, "n": 3, "name": "a", "flag": True}) == {
        "test/tpr": 1,
        "test/deep/x": 2.5,
        "n": 3,
    }


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_script_exists(script):
    assert (ROOT / script.file).is_file()


@pytest.mark.parametrize("full", [False, True])
def test_scripts_follow_those_they_need(full):
    seen = set()
    for script in chosen(SCRIPTS, None, full):
        assert script.name not in seen and seen >= set(script.needs(full))
        seen.add(script.name)


def test_list_needs_no_packages():
    command = [sys.executable, "-S", "-m", "course", "run", "--list"]  # -S: without site-packages
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0 and process.stderr == ""
    assert "hw1  bayes_styles (style counts): styles and their exact probabilities" in process.stdout
