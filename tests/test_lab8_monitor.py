"""What the lab's monitor compares with what, and when it warns."""

from common import runs
from common.devices import Device

import pytest
import torch
from torch import nn

from lab8_generative import monitor

CPU = Device(torch.device("cpu"))

BRIGHTNESS = lambda images: images.flatten(1).mean(1)
"""A discriminator that takes bright images for real."""


class Grey(nn.Module):
    """A generator of one grey."""

    def __init__(self, level: float):
        super().__init__()
        self.level = level

    def forward(self, z):
        return self.level + 0.01 * z[:, :1, None, None].expand(-1, 3, 48, 48)


def grey_images(count: int, level: float) -> torch.Tensor:
    noise = torch.randint(-3, 4, (count, 3, 48, 48), generator=torch.Generator().manual_seed(count))
    return (level * 127.5 + 127.5 + noise).clamp(0, 255).to(torch.uint8)


def test_overfitting_is_0_for_like_images_and_1_for_held_out_ones_judged_as_generated():
    train, fake = torch.ones(3, 3, 4, 4), -torch.ones(3, 3, 4, 4)
    assert monitor.overfitting(BRIGHTNESS, train, train, fake) == 0
    assert monitor.overfitting(BRIGHTNESS, train, fake, fake) == pytest.approx(1)
    assert monitor.overfitting(BRIGHTNESS, train, torch.full((3, 3, 4, 4), 0.5), fake) == pytest.approx(0.25)


def test_the_monitor_compares_the_averaged_generator_and_asks_d_about_the_raw_one(tmp_path):
    with runs.Run(tmp_path, CPU) as run:
        watch = monitor.Monitor(grey_images(60, 0.8), grey_images(20, 0.5), 6, CPU)
        numbers = watch.measure(run, 7, {"train/d_real": 0.6}, Grey(-0.4), Grey(0.5), BRIGHTNESS)
    assert numbers["val/overfitting"] == pytest.approx((0.8 - 0.5) / (0.8 + 0.4), abs=0.01)
    assert numbers["val/ema_fd_creatures_20"] < numbers["val/raw_fd_creatures_20"]
    assert watch.distance == "val/ema_fd_creatures_20"
    (line,) = runs.read_metrics(tmp_path)
    assert line["step"] == 7 and line["train/d_real"] == 0.6 and line.items() >= numbers.items()
    assert (tmp_path / "samples" / "ema-000007.png").is_file()


def test_the_monitor_warns_once_of_each_turn(tmp_path):
    said = []
    run = runs.Run(tmp_path, CPU)
    run.say = said.append
    watch = monitor.Monitor(grey_images(30, 0), grey_images(20, 0), 6, CPU)
    for step, (share, diversity, beginning) in enumerate(
        [(0, 0.1, True), (0, 0.9, False), (0, 0.4, False), (0, 0.4, False), (0, 0.9, False), (0.6, 0.9, True)]
    ):
        numbers = {"val/overfitting": share, "val/raw_diversity": diversity}
        watch.warn(run, step, numbers, beginning=beginning)
    assert [
        "step 2" in said[0] and "collapse;" in said[0],
        "step 5" in said[1] and "over-fitting;" in said[1],
    ] == [
        True,
        True,
    ]
    assert len(said) == 2
