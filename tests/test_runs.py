"""Run directories, tracking and devices."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import devices, runs, torchvision_operators
from common.errors import InputError

import pytest
import torch

CPU = devices.Device(torch.device("cpu"))


@dataclasses.dataclass(frozen=True)
class Config:
    """Flags of a script that exists for these tests."""

    batch_size: int = 8
    """Images per step."""
    name: str = "x"
    """A name."""
    epochs: int = 1
    """Passes."""
    sizes: tuple[int, ...] = (1, 2)
    """Some sizes."""
    data_dir: Path | None = None
    """A folder."""
    wandb: str = "off"
    """Weights & Biases."""
    outdir: Path = Path("runs")
    """Parent of the run directories."""
    resume: Path | None = None
    """Run directory."""


def test_torchvision_imports_beside_this_torch():
    """The declared operators have the schemas torchvision's own code describes."""
    code = (
        "import common.torchvision_operators, torchvision.transforms, torchvision.datasets, torchvision.utils"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    for name in ("nms", "qnms"):
        schema = str(getattr(torch.ops.torchvision, name).default._schema)
        assert schema == f"torchvision::{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    torchvision_operators._declare()  # a second call finds them declared


def test_run_directories_are_numbered_and_never_reused(tmp_path):
    folders = [runs.start("hw1", name, Config(outdir=tmp_path), CPU).folder for name in ("a", "b", "a")]
    assert [folder.name for folder in folders] == ["0001-a", "0002-b", "0003-a"]
    (tmp_path / "hw1" / "0041-old").mkdir()
    assert runs.start("hw1", "c", Config(outdir=tmp_path), CPU).folder.name == "0042-c"
    environment = json.loads((folders[0] / "env.json").read_text())
    assert environment["torch"] == torch.__version__ and environment["device"].startswith("cpu")
    assert runs.read_json(folders[0] / "config.json")["sizes"] == [1, 2]


def test_runs_that_start_together_have_numbers_of_their_own(tmp_path):
    begin = threading.Barrier(8)

    def start(name: str) -> list[str]:
        begin.wait()
        return [runs.start("hw1", name, Config(outdir=tmp_path), CPU).folder.name for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        names = [name for found in pool.map(start, "abcdefgh") for name in found]
    assert len({name.split("-")[0] for name in names}) == len(names) == 40
    assert sorted(path.name for path in (tmp_path / "hw1").iterdir()) == sorted(names)


def test_an_unwritable_outdir_is_one_clear_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--outdir: cannot write .*file"):
        runs.start("hw1", "a", Config(outdir=tmp_path / "file"), CPU)


def test_a_name_that_is_no_text_is_named_before_anything_is_written(tmp_path):
    config = dataclasses.replace(Config(outdir=tmp_path), name="sk\udce5ne")
    with pytest.raises(InputError, match=r"^--name .*a name that is no UTF-8; rename it"):
        runs.start("hw1", "x", config, CPU)
    assert not list(tmp_path.iterdir())


def test_metrics_are_json_lines_and_rewind_forgets_later_steps(tmp_path):
    with runs.start("hw1", "a", Config(outdir=tmp_path), CPU) as run:
        for step in range(1, 6):
            run.log(step, {"train/loss": torch.tensor(1 / step), "train/kl_per_dimension": torch.ones(3)})
    assert [line["step"] for line in runs.read_metrics(run.folder)] == [1, 2, 3, 4, 5]
    assert runs.read_metrics(run.folder)[1]["train/loss"] == pytest.approx(0.5)
    with runs.Run(run.folder, CPU) as again:
        again.rewind(3)
        again.log(4, {"train/loss": 9.0})
    assert [line["train/loss"] for line in runs.read_metrics(run.folder)][-1] == 9.0
    assert len(runs.read_metrics(run.folder)) == 4


def test_the_clock_of_a_resumed_run_counts_earlier_sittings(tmp_path):
    config = Config(outdir=tmp_path)
    with runs.start("hw1", "clock", config, CPU) as run:
        run.started -= 100  # as if it had been open for that long
        run.log(1, {"train/loss": 1.0})
        run.started -= 50
        run.log(2, {"train/loss": 1.0})
    with runs.start("hw1", "clock", dataclasses.replace(config, resume=run.folder), CPU) as again:
        again.rewind(1)
        again.log(2, {"train/loss": 1.0})
        again.summary({})
    assert pytest.approx([line["seconds"] for line in runs.read_metrics(run.folder)], abs=5) == [100, 100]
    assert runs.read_json(run.folder / "summary.json")["minutes"] == pytest.approx(100 / 60, abs=0.1)


def test_a_line_cut_off_by_a_crash_is_left_out_and_other_damage_named(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert len(runs.read_metrics(tmp_path)) == 2
    assert "metrics.jsonl: its last line is cut off and left out" in capsys.readouterr().err
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"ste\n{"step": 3}\n')
    with pytest.raises(InputError, match="line 2"):
        runs.read_metrics(tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "no line with val/loss"),
        (b'{"step": 1, "train/loss": 2}\n', "no line with val/loss"),
        (b"[1]\n", "line 1 is no measurement"),
        (b'{"loss": 1}\n{"loss": 2}\n', "line 1 is no measurement"),
        (b"\xff\xfe\x00", "not readable as text"),
    ],
)
def test_an_empty_or_foreign_metrics_file_is_one_line(tmp_path, content, message):
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=rf"metrics\.jsonl: {message}"):
        runs.read_metrics(tmp_path, "val/loss")


def test_a_run_goes_on_where_tensorboard_cannot_be_written(tmp_path, capsys):
    with runs.start("hw1", "a", Config(outdir=tmp_path), CPU) as run:
        (run.folder / "tb").write_text("a file where the folder should be")
        run.log(1, {"train/loss": 0.5})
        run.log(2, {"train/loss": 0.4})
    assert [line["step"] for line in runs.read_metrics(run.folder)] == [1, 2]
    assert capsys.readouterr().out.count("going on without TensorBoard") == 1


def test_a_clock_set_back_does_not_reorder_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with runs.start("hw1", "a", Config(outdir=tmp_path), CPU) as run:
        for step in (1, 2, 3):
            run.log(step, {"train/loss": float(step)})
    (events,) = (run.folder / "tb").iterdir()  # as if written an hour in the future
    words = events.name.split(".")
    words[3] = str(int(words[3]) + 3600)
    events.rename(events.with_name(".".join(words)))
    with runs.start("hw1", "a", Config(outdir=tmp_path, resume=run.folder), CPU) as again:
        again.rewind(2)
        again.log(3, {"train/loss": 30.0})
    shown = EventAccumulator(str(run.folder / "tb"))
    shown.Reload()
    assert [(point.step, point.value) for point in shown.Scalars("train/loss")] == [(1, 1), (2, 2), (3, 30)]


def test_tensorboard_holds_the_same_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with runs.start("hw1", "a", Config(outdir=tmp_path), CPU) as run:
        run.log(1, {"train/loss": 0.5})
        run.save_samples("samples", 1, torch.zeros(4, 3, 8, 8, dtype=torch.uint8), 2)
    events = EventAccumulator(str(run.folder / "tb"))
    events.Reload()
    assert events.Scalars("train/loss")[0].value == 0.5 and events.Tags()["images"] == ["samples"]
    assert (run.folder / "samples" / "samples-000001.png").is_file()


def test_wandb_offline_needs_no_login_and_online_without_a_key_says_so(tmp_path):
    code = """
import dataclasses, sys, torch
from common import devices, runs
from common.errors import InputError
@dataclasses.dataclass(frozen=True)
class Config:
    outdir: str
    wandb: str
try:
    with runs.start("hw1", "a", Config(*sys.argv[1:]), devices.start("cpu")) as run:
        run.log(1, {"train/loss": 0.5})
except InputError as error:
    sys.exit(str(error))
"""
    environment = {**os.environ, "HOME": str(tmp_path), "WANDB_SILENT": "true"}
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR"):
        environment.pop(name, None)
    start = lambda mode: subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / mode), mode],
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    offline = start("offline")
    assert offline.returncode == 0, offline.stderr
    assert list((tmp_path / "offline").rglob("*.wandb"))
    online = start("online")
    assert online.returncode == 1 and "--wandb online: no W&B key" in online.stderr
    assert not (tmp_path / "online").exists()  # said before anything is done


def test_other_ranks_write_nothing(tmp_path):
    other = devices.Device(torch.device("cpu"), rank=1)
    with runs.Run(tmp_path, other) as run:
        run.log(1, {"train/loss": 1.0})
        run.summary({"x": 1})
        run.save_samples("s", 1, torch.zeros(1, 1, 4, 4, dtype=torch.uint8), 1)
    assert not any(tmp_path.iterdir())
