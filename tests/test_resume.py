"""Exact resume of whole trainings: a real kill -9, full disks, signals, moved images, and torchrun."""

import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from common import checkpoints

import pytest
import torch
import two_processes
from PIL import Image
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "hw1_bayes_and_autoencoders" / "train_autoencoder.py"
FLAGS = [
    "--data",
    "digits",
    "--normal-class",
    "3",
    "--arch",
    "vae",
    "--latent",
    "4",
    "--epochs",
    "2",
    "--batch-size",
    "100",
    "--device",
    "cpu",
]


def train(outdir: Path, *more: str, **popen) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, SCRIPT, *FLAGS, "--outdir", outdir, "--checkpoint-seconds", "0", *map(str, more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **popen,
    )


def finish(process: subprocess.Popen, status: int = 0) -> str:
    output = process.communicate()[0]
    assert process.returncode == status, output
    return output


def run_dir(outdir: Path) -> Path:
    (folder,) = (outdir / "hw1").iterdir()
    return folder


def weights(outdir: Path) -> dict:
    return checkpoints.read(run_dir(outdir) / "checkpoints" / "last.pt")["parts"]


def logged(outdir: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run_dir(outdir) / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def assert_identical(one, two, where=""):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two), where
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for name in one:
            assert_identical(one[name], two[name], f"{where}/{name}")
    elif isinstance(one, (list, tuple)):
        for i, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_identical(a, b, f"{where}/{i}")
    else:
        assert one == two, where


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    outdir = tmp_path_factory.mktemp("uninterrupted")
    finish(train(outdir))
    return outdir


def wait_for_checkpoint(outdir: Path, process: subprocess.Popen) -> None:
    while not list(outdir.glob("hw1/*/checkpoints/last.pt")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_bits(uninterrupted, tmp_path):
    """kill -9, four times, at moments that fall into steps, checkpoints and log lines alike."""
    pause = random.Random(0)
    process = train(tmp_path)
    wait_for_checkpoint(tmp_path, process)
    for _ in range(4):
        time.sleep(pause.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        process = train(tmp_path, "--resume", run_dir(tmp_path))
        time.sleep(2)  # let it load and go on
    finish(process)
    assert_identical(weights(tmp_path), weights(uninterrupted))
    assert logged(tmp_path) == logged(uninterrupted)


def test_sigterm_saves_and_says_how_to_go_on(uninterrupted, tmp_path):
    process = train(tmp_path, "--checkpoint-seconds", "0")
    wait_for_checkpoint(tmp_path, process)
    process.terminate()
    output = finish(process, 128 + signal.SIGTERM)
    assert f"continue with --resume {run_dir(tmp_path)}" in output
    finish(train(tmp_path, "--resume", run_dir(tmp_path)))
    assert_identical(weights(tmp_path), weights(uninterrupted))


def test_a_full_disk_is_one_line_and_the_old_checkpoint_stays(tmp_path):
    """A limit on file sizes makes real writes fail half-way, as a full disk does."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    output = finish(train(tmp_path, preexec_fn=limit), 1)
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in output, output
    assert ".pt: " in lines[0] and "free some space" in lines[0]
    assert not list((run_dir(tmp_path) / "checkpoints").glob(".*"))  # no half-written file is left


def test_a_run_goes_on_where_its_images_are_now_and_from_any_folder(tmp_path, monkeypatch):
    """Trained on a relative path, resumed from another working folder; then the images move."""
    (tmp_path / "here" / "moulds" / "train").mkdir(parents=True)
    for i, pixels in enumerate(torch.randint(256, (40, 28, 28), dtype=torch.uint8).numpy()):
        Image.fromarray(pixels).save(tmp_path / "here" / "moulds" / "train" / f"{i}.png")
    flags = ["--arch", "linear2", "--batch-size", "8", "--device", "cpu", "--checkpoint-seconds", "0"]
    start = lambda folder, *words: subprocess.run(
        [sys.executable, SCRIPT, *map(str, words)], cwd=folder, capture_output=True, text=True, check=False
    )
    done = start(tmp_path / "here", "--data", "moulds", *flags, "--epochs", "1", "--outdir", tmp_path)
    assert done.returncode == 0, done.stderr
    run = run_dir(tmp_path)
    done = start(tmp_path, "--resume", run, "--epochs", "2")
    assert done.returncode == 0, done.stderr
    (tmp_path / "here" / "moulds").rename(tmp_path / "there")
    done = start(tmp_path, "--resume", run, "--epochs", "3")
    assert done.returncode == 1 and "moulds" in done.stderr and "Traceback" not in done.stderr
    done = start(tmp_path, "--resume", run, "--epochs", "3", "--data", "there")
    assert done.returncode == 0, done.stderr
    assert [line["epoch"] for line in logged(tmp_path)] == [1, 2, 3]
    for number in range(10):  # some of them are training images, some may be held out
        (tmp_path / "there" / "train" / f"{number}.png").unlink()
    done = start(tmp_path, "--resume", run, "--epochs", "4")
    assert done.returncode == 1 and "error: --data: these are other images" in done.stderr


def test_half_written_files_of_killed_runs_are_removed_on_resume(tmp_path):
    finish(train(tmp_path))
    left = [run_dir(tmp_path) / name for name in (".config.json.7.partial", "checkpoints/.last.pt.7.partial")]
    for path in left:
        path.write_text("half")
    finish(train(tmp_path, "--resume", run_dir(tmp_path)))
    assert not any(path.exists() for path in left)


def test_two_processes_do_not_write_into_one_run(tmp_path):
    first = train(tmp_path, "--epochs", "1000")
    wait_for_checkpoint(tmp_path, first)
    output = finish(train(tmp_path, "--resume", run_dir(tmp_path)), 1)
    assert output.startswith(f"error: {run_dir(tmp_path)}: another process is writing in this run directory")
    first.send_signal(signal.SIGKILL)  # the lock goes with the process
    first.communicate()
    finish(train(tmp_path, "--resume", run_dir(tmp_path), "--epochs", "1"))


def test_a_run_directory_deleted_while_it_is_written_is_said(tmp_path):
    process = train(tmp_path, "--epochs", "1000")
    wait_for_checkpoint(tmp_path, process)
    shutil.move(run_dir(tmp_path), tmp_path / "elsewhere")
    output = finish(process, 1)
    assert "Traceback" not in output and "gone, deleted or moved during the run" in output


def test_ten_times_ctrl_c_is_no_traceback(tmp_path):
    process = train(tmp_path, "--epochs", "1000")
    wait_for_checkpoint(tmp_path, process)
    for _ in range(10):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    output = process.communicate()[0]
    assert process.returncode in (130, -signal.SIGINT) and "Traceback" not in output, output


def test_torchrun_trains_with_averaged_gradients_and_writes_once(tmp_path):
    """Two processes of half a batch follow one with the whole (linear2 has no batch statistics)."""
    flags = [
        "--data",
        "digits",
        "--normal-class",
        "3",
        "--arch",
        "linear2",
        "--epochs",
        "1",
        "--batch-size",
        "100",
        "--device",
        "cpu",
    ]
    script = [SCRIPT, *flags, "--outdir"]
    one, two = tmp_path / "one", tmp_path / "two"
    subprocess.run([sys.executable, *script, one], check=True, capture_output=True)
    two_processes.start(*script, two)
    alone, together = weights(one)["model"], weights(two)["model"]
    # Adam divides by the gradient's size: float32's order of summation shows as a part of lr = 1e-3 a step
    largest = max((alone[name] - together[name]).abs().max() for name in alone)
    assert largest < 2e-4
    assert logged(one)[0]["train/mse"] == pytest.approx(logged(two)[0]["train/mse"], rel=1e-3)


@pytest.mark.parametrize(
    "content", [{"parts": {"ema": {}}}, {"parts": {"model": nn.Linear(3, 2).state_dict()}}, [1]]
)
def test_evaluating_a_checkpoint_of_another_network_is_one_line(uninterrupted, tmp_path, content):
    copy = shutil.copytree(run_dir(uninterrupted), tmp_path / "run")
    torch.save(content, copy / "checkpoints" / "best.pt")
    script = SCRIPT.with_name("eval_autoencoder.py")
    done = subprocess.run(
        [sys.executable, script, copy, "--outdir", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"error: {copy}/checkpoints/best.pt: " in done.stderr
