"""Command lines, the ranges of flags, what a user's mistake looks like, and the choice of a device."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from common import command_line, devices, flags, runs
from common.errors import InputError

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
CPU = devices.Device(torch.device("cpu"))


@dataclasses.dataclass(frozen=True)
class Config(flags.TrainingFlags):
    """Flags of a script that exists for these tests."""

    batch_size: flags.Count = 8
    """Images per step."""
    epochs: flags.Count = 1
    """Passes."""
    sizes: tuple[int, ...] = (1, 2)
    """Some sizes."""
    lr: flags.LearningRate = 0.1
    """Learning rate."""
    ema: flags.Decay = 0.0
    """Decay."""
    labels: tuple[flags.Share, flags.Share] = (0.0, 1.0)
    """Two shares."""
    size: flags.Pixels | None = None
    """Side."""
    data: flags.Data = "digits"
    """A set or a folder."""
    images: tuple[Path, ...] = ()
    """Some files."""


# ---- flags


def test_dashes_and_underscores_are_the_same_flag():
    for flag in ("--batch-size", "--batch_size"):
        assert command_line.parse(Config, [flag, "3"]).batch_size == 3


def test_resume_takes_the_flags_of_the_run(tmp_path):
    config = Config(batch_size=5, sizes=(7,), data_dir=tmp_path / "d", outdir=tmp_path)
    run = runs.start("hw1", "a", config, CPU)
    resumed = command_line.parse(Config, ["--resume", str(run.folder), "--epochs", "9"])
    assert resumed == dataclasses.replace(config, epochs=9, resume=run.folder)
    with pytest.raises(InputError, match=r"--batch-size: .* was started with 5, not 6"):
        command_line.parse(Config, ["--resume", str(run.folder), "--batch-size", "6"])
    with pytest.raises(InputError, match=r"config.json: no such file"):
        command_line.parse(Config, ["--resume", str(tmp_path)])
    (run.folder / "config.json").write_text('{"other": 1}')
    with pytest.raises(InputError, match="not a run of this script"):
        command_line.parse(Config, ["--resume", str(run.folder)])


@pytest.mark.parametrize(
    "flag, value, problem",
    [
        ("--batch-size", "0", "must be greater than or equal to 1"),
        ("--batch-size", str(2**64), "must be less than or equal to"),
        ("--lr", "nan", "must be a finite number"),
        ("--lr", "inf", "must be a finite number"),
        ("--lr", "0.0", "must be greater than 0"),
        ("--ema", "1.0", "must be less than 1"),
        ("--size", "0", "must be greater than or equal to 1"),
        ("--seed", "-1", "must be greater than or equal to 0"),
        ("--data", " ", "name an image set or a folder"),
        ("--checkpoint-seconds", "nan", "must be a finite number"),
    ],
)
def test_a_flag_out_of_its_range_is_named(flag, value, problem):
    with pytest.raises(InputError, match=rf"^{flag} {value}: {problem}"):
        command_line.parse(Config, [flag, value])


def test_one_of_two_numbers_out_of_range_is_named():
    with pytest.raises(InputError, match=r"^--labels 1.5: must be less than or equal to 1"):
        command_line.parse(Config, ["--labels", "0", "1.5"])


@pytest.mark.parametrize(
    "name, value", [("batch_size", "many"), ("lr", -1), ("labels", [0.0]), ("wandb", "on"), ("size", "64")]
)
def test_edited_values_in_config_json_are_named(tmp_path, name, value):
    run = runs.start("hw1", "a", Config(outdir=tmp_path), CPU)
    known = runs.read_json(run.folder / "config.json")
    (run.folder / "config.json").write_text(json.dumps({**known, name: value}))
    with pytest.raises(InputError, match=rf"config\.json: {command_line.flag(name)} "):
        command_line.parse(Config, ["--resume", str(run.folder)])


def test_folders_are_kept_absolute_and_the_home_folder_is_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "moulds").mkdir()
    config = command_line.parse(Config, ["--data", "moulds", "--data-dir", "sets", "--outdir", "~/runs"])
    assert (config.data, config.data_dir) == (str(tmp_path / "moulds"), tmp_path / "sets")
    assert config.outdir == tmp_path / "runs"
    assert command_line.parse(Config, ["--data", "~/moulds"]).data == str(tmp_path / "moulds")
    assert command_line.parse(Config, ["--data", "digits"]).data == "digits"


def test_the_home_folder_is_known_among_several_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    one = command_line.parse(Config, ["--images", "~/a.png", "b.png"])
    assert one.images == (tmp_path / "a.png", Path("b.png"))
    with pytest.raises(InputError, match=r"--images .*: no name of a file or folder"):
        command_line.checked(Config(images=(Path("a.png"), Path(" "))))


@pytest.mark.parametrize("flag", ["--outdir", "--data-dir", "--data"])
def test_a_folder_without_a_name_is_refused_and_one_of_an_unknown_user_is_no_traceback(flag):
    with pytest.raises(InputError, match=rf"^{flag} .*(no name of a file|name an image set)"):
        command_line.parse(Config, [flag, " "])
    command_line.parse(Config, [flag, "~nobody-of-that-name/x"])


@pytest.mark.parametrize("flag", ["--outdir", "--data-dir", "--data", "--resume"])
def test_a_name_that_is_no_text_is_refused(flag, tmp_path):
    """Bytes that are no UTF-8, as Python hands them on; TensorBoard's writer ends in a traceback of them."""
    folder = tmp_path / "sk\udce5ne"
    folder.mkdir()
    with pytest.raises(InputError, match=rf"^{flag} .*a name that is no UTF-8.* rename it"):
        command_line.parse(Config, [flag, str(folder)])


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["--outdir", ""], "--outdir"),
        (["--lr="], "--lr"),
        ([""], "the first argument"),
        (["ddpm-mnist", ""], "the argument after ddpm-mnist"),
    ],
)
def test_an_empty_argument_is_refused_by_the_flag_before_it(arguments, named):
    with pytest.raises(InputError, match=f"^{named}: an empty value"):
        command_line.parse(Config, arguments)


def test_help_shows_a_scripts_own_flags_first(capsys):
    with pytest.raises(SystemExit):
        command_line.parse(Config, ["--help"])
    text = capsys.readouterr().out
    assert text.index("--batch-size") < text.index("--data ") < text.index("--seed") < text.index("--resume")


# ---- mistakes


def test_a_users_mistake_is_one_line_and_status_1():
    def main(config):
        raise InputError("--name x: no such thing; use y")

    with pytest.raises(SystemExit) as stop:
        command_line.run(main, Config, [])
    assert stop.value.code == "error: --name x: no such thing; use y"


@pytest.mark.parametrize("values", [2**46, 2**62])
def test_too_little_memory_is_one_line(values):
    def main(config):
        torch.empty(values, dtype=torch.float64)

    with pytest.raises(SystemExit) as stop:
        command_line.run(main, Config, [])
    assert stop.value.code.startswith("error: not enough memory: make the batch")


def start(folder: Path, code: str, words: str = "", **environment: str) -> subprocess.CompletedProcess:
    """Run a script of its own in `folder` through a shell; `words`: its flags and where its output goes."""
    (folder / "script.py").write_text(code, encoding="utf-8")
    known = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = f'"{sys.executable}" script.py {words}'
    return subprocess.run(["bash", "-c", command], cwd=folder, env=known, capture_output=True, check=False)


SCRIPT = '''
import dataclasses, sys
from common import command_line

@dataclasses.dataclass(frozen=True)
class Config:
    """Flags."""
    count: int = 1
    """How many lines; \u03a3 of all."""

def main(config):
    for _ in range(config.count):
        print("Fr\u00e9chet \u2264 30")
    print("last")

command_line.run(main, Config, sys.argv[1:])
'''


@pytest.mark.parametrize("encoding", ["ascii", "cp1251", "cp1252"])
@pytest.mark.parametrize("flag, said", [("", "last"), ("--help", "How many lines")])
def test_a_console_without_some_letters_loses_no_results(tmp_path, encoding, flag, said):
    done = start(tmp_path, SCRIPT, flag, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout.decode(encoding)


@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-", "| head -1"])
def test_closed_output_is_no_traceback(tmp_path, redirection):
    assert start(tmp_path, SCRIPT, f"--count 100000 {redirection}").stderr == b""


def test_ctrl_c_while_importing_is_no_traceback(tmp_path):
    done = start(
        tmp_path, "import common, os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(9)"
    )
    assert done.returncode in (130, -signal.SIGINT) and done.stderr == b""


# ---- devices


@pytest.mark.parametrize(
    "said",
    [
        {"WORLD_SIZE": "2"},
        {"WORLD_SIZE": "2", "RANK": "0"},
        {"WORLD_SIZE": "2", "RANK": "x", "LOCAL_RANK": "0", "MASTER_ADDR": "h", "MASTER_PORT": "1"},
    ],
)
def test_half_of_torchruns_environment_is_one_line(monkeypatch, said):
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"WORLD_SIZE=2 is set in the environment, .*torchrun"):
        devices.start("cpu")


def test_a_single_process_with_an_empty_rank_runs(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "")
    assert devices.start("cpu").world_size == 1


def test_what_trains_in_minutes_refuses_torchrun(monkeypatch):
    torchrun = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "h", "MASTER_PORT": "1"}
    for name, value in torchrun.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="start the script with python"):
        devices.start("cpu", processes="one")


@pytest.mark.parametrize(
    "name, message", [("tpu9", "no such device"), ("cuda:7", "--device"), ("meta", "no such device")]
)
def test_unusable_devices_are_refused(name, message):
    if name == "cuda:7" and torch.cuda.device_count() > 7:
        pytest.skip("this machine has eight GPUs")
    with pytest.raises(InputError, match=message):
        devices.start(name)


@pytest.mark.parametrize("able", [True, False])
def test_bfloat16_is_used_only_where_the_cpu_has_it(monkeypatch, capsys, tmp_path, able):
    monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda: able)
    device = devices.start("cpu", precision="bf16")
    folder = runs.start("hw1", "a", Config(outdir=tmp_path), device).folder
    assert runs.read_json(folder / "env.json")["precision"] == ("bf16" if able else "fp32")
    with device.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if able else torch.float32)
    assert ("--precision bf16: this CPU has no bfloat16" in capsys.readouterr().err) != able


def test_seed_sets_every_generator():
    import random

    import numpy as np

    drawn = []
    for _ in range(2):
        devices.start("cpu", seed=7)
        drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]


def test_a_path_too_long_for_the_system_is_one_line():
    with pytest.raises(SystemExit) as stop:
        command_line.run(lambda config: None, Config, ["--data", "x" * 5000])
    assert stop.value.code.startswith("error: xxxx")
    assert stop.value.code.endswith("the name is too long; give a shorter path")


def test_a_path_that_its_user_may_not_look_into_is_one_line(tmp_path):
    """Not only where a script reads: `is_file` of such a path raises too."""

    def main(config: Config) -> None:
        raise PermissionError(
            errno.EACCES, "Permission denied", str(tmp_path / "closed" / "model.safetensors")
        )

    with pytest.raises(SystemExit) as stop:
        command_line.run(main, Config, [])
    assert stop.value.code.startswith(f"error: {tmp_path}/closed/model.safetensors: Permission denied; take")
