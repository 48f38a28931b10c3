"""`python3 -m course run`, in copies of course/ whose weeks are toy scripts, each a real process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from course_copy import wait_for
from toy_weeks import ROOT, START, make_weeks, results, run, toy

from course.processes import linux_prctl
from course.weeks.run import flat

TRAIN = toy("train_it", "good", "val/mse", full="good --longer")
EVALUATE = toy("eval_it", "good {train_it}", "test/tpr")


@pytest.fixture(scope="module")
def two_weeks(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A folder after a run of two scripts, the second of which reads what the first made."""
    folder = make_weeks(tmp_path_factory.mktemp("tmp") / "две недели", TRAIN, EVALUATE)
    return folder, run(folder)


def test_a_run_that_works_has_status_0_and_no_errors(two_weeks):
    _, process = two_weeks
    assert (process.returncode, process.stderr) == (0, "")


def test_each_script_has_a_line_when_it_ends(two_weeks):
    _, process = two_weeks
    lines = process.stdout.splitlines()
    assert lines[0] == "2 scripts, results in runs/course-0001"
    assert lines[1].startswith("[1/2] train_it (toys)  0:0")
    assert lines[1].endswith("  ok")


def test_the_table_shows_numbers_and_figures(two_weeks):
    _, process = two_weeks
    head, _, first, second = (line.split() for line in process.stdout.splitlines()[4:8])
    assert head == ["script", "data", "min:s", "numbers", "figures", "(how", "many)"]
    made = "runs/course-0001/hw9"
    assert first[:2] == ["train_it", "toys"]
    assert first[3:] == ["val/mse", "0.012346", f"{made}/0001-good", "(2)"]
    assert second[3:] == ["test/tpr", "0.93", f"{made}/0002-good", "(2)"]


def test_results_hold_command_numbers_and_figures(two_weeks):
    row = results(two_weeks[0])["train_it"]
    assert row["numbers"] == {"val/mse": 0.01234567, "epoch": 3}  # texts and booleans are not numbers
    assert row["command"] == "python hw9_toys/toy.py good --outdir runs/course-0001"
    made = "runs/course-0001/hw9/0001-good"
    assert row["figures"] == [f"{made}/loss.png", f"{made}/samples/grid.png"]


def test_the_log_holds_what_the_script_printed(two_weeks):
    folder, _ = two_weeks
    log = folder / results(folder)["train_it"]["log"]
    assert "строка 29" in log.read_text(encoding="utf-8")


def test_a_script_is_given_the_run_it_needs(two_weeks):
    assert results(two_weeks[0])["eval_it"]["numbers"]["read"] == 1


@pytest.fixture(scope="module")
def failed_weeks(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A folder after a run whose first of four scripts failed; two of the others need it."""
    scripts = (toy("train_it", "broken"), EVALUATE, toy("other", "good"), toy("chained", "good {eval_it}"))
    folder = make_weeks(tmp_path_factory.mktemp("tmp") / "w", *scripts)
    return folder, run(folder)


def test_a_failure_skips_only_what_needs_it(failed_weeks):
    rows = results(failed_weeks[0])
    assert {name: (row["status"], row["reason"]) for name, row in rows.items()} == {
        "train_it": ("failed", "exit status 1"),
        "eval_it": ("skipped", "needs train_it"),
        "other": ("ok", ""),
        "chained": ("skipped", "needs eval_it"),
    }


def test_failures_are_named_at_the_end(failed_weeks):
    _, process = failed_weeks
    assert (process.returncode, process.stderr) == (1, "course run: failed: train_it\n")
    table = process.stdout[process.stdout.index("script ") :]
    assert "skipped: needs train_it" in table
    assert "failed: exit status 1" in table


def test_a_failure_shows_the_end_of_its_log(failed_weeks):
    output = failed_weeks[1].stdout
    log = "runs/course-0001/logs/train_it.log"
    assert f"    | error: --steps -1: must be above 0\n    the whole log: {log}\n" in output
    assert "    | строка 29\n" in output
    assert "строка 3\n" not in output


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


def test_a_script_that_only_draws_needs_figures_and_no_numbers(tmp_path):
    drawn, nothing = toy("drawn", "drawing something", draws=True), toy("nothing", "drawing", draws=True)
    folder = make_weeks(tmp_path / "w", drawn, nothing)
    assert run(folder).returncode == 1
    rows = results(folder)
    assert (rows["drawn"]["status"], rows["drawn"]["numbers"]) == ("ok", {})
    assert rows["drawn"]["figures"] == ["runs/course-0001/hw9/drawn/digits.png"]
    assert rows["nothing"]["reason"] == "no figures in runs/course-0001/hw9/nothing"


def test_only_brings_what_is_needed(tmp_path):
    folder = make_weeks(tmp_path / "w", toy("other", "broken"), TRAIN, EVALUATE)
    assert run(folder, "--only", "eval_it").returncode == 0
    assert list(results(folder)) == ["train_it", "eval_it"]


def test_only_takes_a_week(tmp_path):
    folder = make_weeks(tmp_path / "w", toy("other", "broken"), TRAIN, EVALUATE)
    assert run(folder, "--only", "hw9").returncode == 1
    assert list(results(folder)) == ["other", "train_it", "eval_it"]


def test_a_run_that_is_given_is_not_started_again(two_weeks, tmp_path):
    folder = make_weeks(tmp_path / "w", toy("train_it", "broken"), EVALUATE)
    before = two_weeks[0] / results(two_weeks[0])["train_it"]["run_directory"]
    (before / "config.json").write_text("{}")
    assert run(folder, "--with", f"train_it={before}").returncode == 0
    rows = results(folder)
    assert [row["status"] for row in rows.values()] == ["given", "ok"]
    assert (
        str(before) in rows["eval_it"]["command"]
        and not (folder / "runs/course-0001/logs/train_it.log").exists()
    )


@pytest.mark.parametrize("given", ["nothing=.", "train_it=.", "train_it"])
def test_what_is_no_run_of_a_script_cannot_be_given(tmp_path, given):
    process = run(make_weeks(tmp_path / "w", TRAIN), "--with", given)
    assert (process.returncode, process.stdout) == (2, "")
    assert (
        process.stderr.startswith(f"course run: --with {given.partition('=')[0]}=")
        and process.stderr.count("\n") == 1
    )


def test_only_refuses_an_unknown_name(tmp_path):
    unknown = run(make_weeks(tmp_path / "w", TRAIN), "--only", "hw8")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr == "course run: --only hw8: no such week or script; see --list\n"


def test_list_shows_the_commands_and_runs_nothing(tmp_path):
    folder = make_weeks(tmp_path / "w", TRAIN, toy("big", "good", short=False))
    assert run(folder, "--list").stdout == (
        "hw9  train_it (toys): what train_it is for\n     python hw9_toys/toy.py good\n"
    )
    assert run(folder, "--list", "--full").stdout == (
        "hw9  train_it (toys): what train_it is for\n     python hw9_toys/toy.py good --longer\n"
        "hw9  big (toys): what big is for\n     python hw9_toys/toy.py good\n"
    )
    assert not (folder / "runs").exists()


def test_full_starts_what_the_short_run_leaves_out(tmp_path):
    folder = make_weeks(tmp_path / "w", TRAIN, toy("big", "good", short=False))
    process = run(folder, "--full")  # the toy knows no --longer
    assert (process.returncode, process.stderr) == (1, "course run: failed: train_it\n")
    assert results(folder)["big"]["status"] == "ok"


@pytest.fixture
def slow_run(tmp_path):
    """A run, in a process group of its own, whose second script is at work; the folder and the process.

    It takes signals as from a terminal, also where the tests were started by nohup or in the background."""
    folder = make_weeks(tmp_path / "w", TRAIN, toy("slow", "slow"), toy("never", "good"))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    as_usual = lambda: [
        signal.signal(number, default)
        for number, default in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGTERM, signal.SIG_DFL),
            (signal.SIGHUP, signal.SIG_DFL),
        )
    ]
    process = subprocess.Popen(START, cwd=folder, preexec_fn=as_usual, **pipes)  # noqa: PLW1509
    wait_for((folder / "runs/course-0001/hw9/0002-slow/started").exists)
    yield folder, process
    process.kill()
    process.communicate()


@pytest.mark.skipif(os.name == "nt", reason="process groups as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_stops_the_script_cleanly(slow_run, number):
    folder, process = slow_run
    os.killpg(process.pid, number)
    output, errors = process.communicate()
    assert (process.returncode, errors) == (130, "course run: interrupted\n")
    log = folder / "runs/course-0001/logs/slow.log"
    assert log.read_text(encoding="utf-8").endswith("saved the checkpoint\n")
    assert "  interrupted\n    | saved the checkpoint\n    the whole log: " in output
    assert [row["status"] for row in results(folder).values()] == ["ok", "interrupted", "not run"]
    table = output[output.index("script ") :]
    for cell in ("val/mse 0.012346", "interrupted", "not run"):
        assert cell in table


@pytest.mark.skipif(os.name == "nt", reason="nohup as POSIX has it")
def test_a_closed_terminal_does_not_end_a_run_under_nohup(tmp_path):
    folder = make_weeks(tmp_path / "w", toy("pausing", "pausing"))
    process = subprocess.Popen(["nohup", *START], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for((folder / "runs/course-0001/hw9/0001-pausing/started").exists)
    process.send_signal(signal.SIGHUP)
    (folder / "go on").touch()
    process.communicate()
    assert process.returncode == 0


@pytest.mark.skipif(linux_prctl() is None, reason="a child learns of its parent's death on Linux only")
def test_kill_9_of_the_run_interrupts_the_script(slow_run):
    folder, process = slow_run
    process.kill()
    log = folder / "runs/course-0001/logs/slow.log"
    wait_for(lambda: log.read_text(encoding="utf-8").endswith("saved the checkpoint\n"))


@pytest.mark.skipif(os.name == "nt", reason="background jobs as POSIX shells have them")
def test_a_script_can_be_stopped_although_a_background_job_ignores_ctrl_c(tmp_path):
    folder = make_weeks(tmp_path / "w", toy("slow", "slow"))
    ignoring = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(START, cwd=folder, preexec_fn=ignoring, **quiet)  # noqa: PLW1509
    wait_for((folder / "runs/course-0001/hw9/0001-slow/started").exists)
    process.terminate()
    assert process.wait() == 130
    assert "saved the checkpoint\n" in (folder / "runs/course-0001/logs/slow.log").read_text(encoding="utf-8")


def test_results_are_kept_when_nobody_reads_the_output(tmp_path):
    folder = make_weeks(tmp_path / "w", TRAIN, EVALUATE)
    reading, writing = os.pipe()
    process = subprocess.Popen(START, cwd=folder, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    with open(reading, encoding="utf-8") as output:
        output.readline()
    assert process.communicate()[1] == ""
    assert process.returncode == 141
    assert results(folder)["train_it"]["status"] == "ok"


@pytest.mark.parametrize("encoding", ["ascii", "cp1251", "cp1252"])
def test_a_narrow_console_loses_no_results(tmp_path, encoding):
    folder = make_weeks(tmp_path / "две недели", toy("train_it", "broken"), toy("other", "good"))
    process = run(folder, encoding=encoding)
    assert (process.returncode, process.stderr) == (1, "course run: failed: train_it\n")
    assert "строка 29".encode(encoding, "backslashreplace").decode(encoding) in process.stdout
    assert results(folder)["other"]["status"] == "ok"


def test_metrics_may_be_nested():
    assert flat({"test": {"tpr": 1, "deep": {"x": 2.5}}, "n": 3, "name": "a", "flag": True}) == {
        "test/tpr": 1,
        "test/deep/x": 2.5,
        "n": 3,
    }


def test_list_needs_no_packages():
    command = [sys.executable, "-S", "-m", "course", "run", "--list"]  # -S: without site-packages
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0 and process.stderr == ""
    assert "hw1  bayes_styles (style counts): styles and their exact probabilities" in process.stdout
