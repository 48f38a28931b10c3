"""Checkpoints as files: what is written, restored and refused, damaged ones and those of other content."""

import os
import random
import re
from pathlib import Path

from common import checkpoints, devices
from common.errors import InputError

import numpy as np
import pytest
import torch
from torch import nn

CPU = devices.Device(torch.device("cpu"))


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
    same = [part.parts["model"].state_dict() for part in (again, saver)]
    torch.testing.assert_close(*same, rtol=0, atol=0)
    with pytest.raises(checkpoints.UnfitCheckpoint, match=message):
        checkpoints.load_parts(tmp_path / "last.pt", model=nn.Linear(3, 2))


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
