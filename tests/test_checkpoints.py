"""Exact resume with a real kill -9, damaged files, full disks, signals, and torchrun."""

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from common import checkpoints, devices
from common.errors import InputError

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "hw1_bayes_and_autoencoders" / "train_autoencoder.py"
CPU = devices.Device(torch.device("cpu"))
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


def test_a_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    saver = small_saver(tmp_path)
    saver.save(5)
    with pytest.raises(InputError, match=r"loss became nan at step 6; .* keeps last.pt"):
        saver.save_if_due(6, torch.tensor(float("nan")))
    assert checkpoints.read(tmp_path / "last.pt")["step"] == 5


def small_saver(folder: Path, seed: int = 0) -> checkpoints.Checkpoints:
    torch.manual_seed(seed)
    model = nn.Linear(3, 2)
    return checkpoints.Checkpoints(
        folder, CPU, every_seconds=0, model=model, optimizer=torch.optim.Adam(model.parameters())
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"<html>quota exceeded</html>",
        lambda content: content[:700] + bytes([content[700] ^ 1]) + content[701:],
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_previous_one_used(tmp_path, capsys, damage):
    saver = small_saver(tmp_path)
    saver.save(1)
    saver.save(2)
    path = tmp_path / "last.pt"
    start = path.read_bytes().find(next(saver.parts["model"].parameters()).detach().numpy().tobytes())
    content = path.read_bytes()
    path.write_bytes(
        damage(content)
        if len(damage(content)) != len(content)
        else content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :]
    )
    assert small_saver(tmp_path, seed=9).resume() == 1
    assert f"{path}: damaged checkpoint" in capsys.readouterr().err
    (tmp_path / "previous.pt").unlink()
    with pytest.raises(InputError, match=r"last\.pt: damaged checkpoint .*; start a new run"):
        small_saver(tmp_path).resume()


def test_a_run_resumed_with_fewer_steps_than_done_keeps_its_count(tmp_path):
    small_saver(tmp_path).save(7)
    again = small_saver(tmp_path)
    assert again.resume() == 7
    again.save(3)
    assert small_saver(tmp_path).resume() == 7


def test_code_inside_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"step": 1, "parts": Evil()}, tmp_path / "last.pt")
    with pytest.raises(InputError, match="something other than numbers"):
        checkpoints.read(tmp_path / "last.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content, message",
    [
        ([1, 2], "no checkpoint of a run"),
        ({"step": 1}, "no checkpoint of a run"),
        ({"parts": {"model": {}, "optimizer": {}}}, "its model does not fit this run .*Missing key"),
        ({"parts": {"model": nn.Linear(4, 4).state_dict(), "optimizer": {}}}, "its model .*size mismatch"),
        ({"parts": {"model": [1], "optimizer": 2}}, "its model does not fit this run"),
    ],
)
def test_a_readable_checkpoint_of_other_content_is_named_and_the_previous_one_used(
    tmp_path, capsys, content, message
):
    saver = small_saver(tmp_path)
    saver.save(1)
    saver.save(2)
    torch.save(content, tmp_path / "last.pt")
    again = small_saver(tmp_path, seed=9)
    assert again.resume() == 1
    said = capsys.readouterr().err
    assert re.search(rf"warning: .*last\.pt: .*{message}.*; previous\.pt is used instead", said)
    assert_identical(again.parts["model"].state_dict(), saver.parts["model"].state_dict())
    with pytest.raises(checkpoints.UnfitCheckpoint, match=message):
        checkpoints.load_parts(tmp_path / "last.pt", model=nn.Linear(3, 2))


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


def test_every_generator_is_restored(tmp_path):
    saver = small_saver(tmp_path)
    saver.save(1)
    draw = lambda: (random.random(), np.random.standard_normal(3).tolist(), torch.rand(3).tolist())
    expected = draw()
    draw()
    saver.resume()
    assert draw() == expected


def test_the_best_value_survives_a_resume(tmp_path):
    saver = small_saver(tmp_path)
    saver.save_if_best(1, 0.5)
    saver.save_if_best(2, 0.7)
    saver.save(2)
    assert checkpoints.read(tmp_path / "best.pt")["step"] == 1
    again = small_saver(tmp_path)
    again.resume()
    again.save_if_best(3, 0.6)
    assert again.best == 0.5 and checkpoints.read(tmp_path / "best.pt")["step"] == 1


def test_another_script_or_number_of_processes_is_refused(tmp_path):
    small_saver(tmp_path).save(1)
    with pytest.raises(InputError, match=r"does not fit this script \(no ema; it holds model, optimizer\)"):
        checkpoints.Checkpoints(tmp_path, CPU, **small_saver(tmp_path).parts, ema=nn.Linear(1, 1)).resume()
    two = devices.Device(torch.device("cpu"), world_size=2)
    with pytest.raises(InputError, match="saved by 1 processes, this run has 2"):
        checkpoints.Checkpoints(tmp_path, two, **small_saver(tmp_path).parts).resume()
    with pytest.raises(InputError, match="no checkpoint in"):
        small_saver(tmp_path / "nowhere").resume()


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
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*torchrun, *script, two], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
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
