"""The numbers of the study of hypotheses: of which weights, which images and which run each one is."""

from pathlib import Path
from types import SimpleNamespace

from common import devices, runs
from common.metrics import samples

import pytest
import torch
from torch import nn

from hw2_gan import compare_hypotheses, eval_gan, gan_data, gan_figures
from hw2_gan.compare_hypotheses import Training

SEED = 5


class Grey(nn.Module):
    """A generator whose images are of one brightness, and whose labels are that brightness too."""

    latent = 3

    def __init__(self, brightness: float):
        super().__init__()
        self.brightness = brightness

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.brightness * torch.ones(len(z), 3, 8, 8)

    def labels(self, z: torch.Tensor) -> torch.Tensor:
        return z.sum(1, keepdim=True) + self.brightness


GENERATORS = {"raw": Grey(-1.0), "ema": Grey(1.0)}


@pytest.fixture
def trained(tmp_path) -> Training:
    folder = tmp_path / "hw2" / "0001-gan-3-avatars"
    runs.write_json(folder / "config.json", {"hypothesis": "3", "seed": SEED})
    runs.write_json(folder / "summary.json", {"steps": 40, "collapsed_at_steps": [10, 20], "minutes": 2.5})
    return Training("3", SEED, folder)


@pytest.fixture
def read(monkeypatch) -> dict[str, object]:
    """What the study reads of a training, and of which folder; its networks are two grey generators."""
    read = {}

    def training_config(folder, data_dir):
        read.update(folder=folder, data_dir=data_dir)
        return SimpleNamespace(conditional=True, data="avatars")

    def load_networks(trained, folder, weights="ema"):
        assert folder == read["folder"]
        return GENERATORS[weights], None

    monkeypatch.setattr(eval_gan, "training_config", training_config)
    monkeypatch.setattr(eval_gan, "load_networks", load_networks)
    return read


def real(count: int, seen: list) -> SimpleNamespace:
    """Real images: the number of others is their mean, their features are written down."""
    return SimpleNamespace(
        count=count, name="fd_x", extractor=object(),
        measure=lambda images: {"fd_x": images.float().mean().item(), "coverage": 0.5, "diversity": 1.0},
        features_of=lambda images: seen.append(images) or images.flatten(1).float(),
    )  # fmt: skip


RUN = SimpleNamespace(device=devices.Device(torch.device("cpu"), "fp32"))


def test_a_row_is_of_both_weights_and_the_orders_of_the_averaged_ones(trained, read, monkeypatch):
    seen, asked = [], {}

    def obeyed(trained, ordered, features, real):
        asked.update(ordered=ordered, features=features)
        return {"obeyed_hair": 0.25}

    monkeypatch.setattr(eval_gan, "obeyed", obeyed)
    config = compare_hypotheses.Config(data_dir=Path("/images"))
    row = compare_hypotheses.measure(config, RUN, trained, real(20, seen))
    assert row == {
        "hypothesis": "3", "seed": SEED, "steps": 40, "collapsed_epochs": 2, "minutes": 2.5,
        "raw_fd_x": 0.0, "ema_fd_x": 255.0, "raw_coverage": 0.5, "ema_coverage": 0.5, "raw_diversity": 1.0,
        "ema_diversity": 1.0, "ema_obeyed_hair": 0.25,
    }  # fmt: skip
    assert read == {"folder": trained.folder, "data_dir": Path("/images")}
    z = samples.latents(20, 3, seed=0)  # the same for every training
    assert torch.equal(asked["ordered"], GENERATORS["ema"].labels(z))
    assert asked["features"].unique().tolist() == [255.0]


def test_a_row_is_kept_for_as_many_images(trained, read, monkeypatch):
    monkeypatch.setattr(eval_gan, "obeyed", lambda *given: {})
    config, seen = compare_hypotheses.Config(), []
    first = compare_hypotheses.measure(config, RUN, trained, real(20, seen))
    assert len(seen) == 1
    assert compare_hypotheses.measure(config, RUN, trained, real(20, seen)) == first
    assert len(seen) == 1  # not drawn again
    compare_hypotheses.measure(config, RUN, trained, real(30, seen))
    assert [len(images) for images in seen] == [20, 30]


def test_the_report_compares_after_the_steps_of_these_images(tmp_path, monkeypatch):
    config = compare_hypotheses.Config(hypotheses=("base", "3"), seeds=(4, 2))
    for one in compare_hypotheses.trainings(config, tmp_path):
        folder = tmp_path / "hw2" / f"{one.hypothesis}-{one.seed}"
        runs.write_json(folder / "config.json", {"hypothesis": one.hypothesis, "seed": one.seed})
        end = compare_hypotheses.steps(config, one.hypothesis, 640)
        lines = [{"step": step, "val/raw_fd_x": float(step + one.seed)} for step in (50, 200) if step <= end]
        (folder / "metrics.jsonl").write_text("".join(f"{runs.json.dumps(line)}\n" for line in lines))
    kept, rows = {}, lambda config, run, one, real: {
        "hypothesis": one.hypothesis, "seed": one.seed, "ema_fd_x": 1.0,
        "collapsed_epochs": 0, "minutes": 1.0,
    }  # fmt: skip
    monkeypatch.setattr(compare_hypotheses, "measure", rows)
    monkeypatch.setattr(compare_hypotheses, "save_samples", lambda *given: None)
    run = SimpleNamespace(folder=tmp_path, say=print, summary=lambda numbers, **more: kept.update(more))
    compare_hypotheses.report(config, run, real(20, []), 640)
    assert compare_hypotheses.steps(config, "base", 640) == 50
    assert compare_hypotheses.steps(config, "3", 640) == 200
    after = {model["hypothesis"]: (model["after_steps_of_base"], model["after_steps_of_3"])
             for model in kept["models"]}  # fmt: skip
    assert after == {"base": (53.0, None), "3": (53.0, 203.0)}
    assert (kept["n_test"], kept["seeds"], kept["distance"]) == (20, [4, 2], "fd_x")


def test_samples_are_of_averaged_weights_and_the_same_latents(trained, read, monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr(gan_figures, "save_side_by_side", lambda path, rows: shown.extend(rows))
    compare_hypotheses.save_samples(compare_hypotheses.Config(), tmp_path / "samples.png", [trained])
    ((name, images),) = shown
    assert name == "3"
    assert images.unique().tolist() == [255]


def test_every_split_is_read_from_the_folder_that_was_named(monkeypatch, tmp_path):
    asked = []

    def stop(config, *more):
        asked.append((config.data_dir, *more))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ()

    monkeypatch.setattr(gan_data, "load_split", stop)
    monkeypatch.setattr(gan_data, "validation_images", stop)
    monkeypatch.setattr(gan_data, "test_images", stop)
    config = compare_hypotheses.Config(data_dir=tmp_path, samples=30, device="cpu", precision="fp32")
    with pytest.raises(KeyboardInterrupt):
        compare_hypotheses.main(config)
    assert asked == [(tmp_path, "train"), (tmp_path,), (tmp_path, 30)]
    given = compare_hypotheses.arguments(config, tmp_path, Training("3", SEED, None))
    assert given[given.index("--data-dir") + 1] == str(tmp_path)


def test_each_training_is_measured_as_it_ends_and_by_itself(monkeypatch, tmp_path):
    """While others go on; two are never measured at once."""
    config, measured, busy = compare_hypotheses.Config(hypotheses=("3", "base"), seeds=(0, 1), jobs=4), [], []

    def train_one(config, run, one, running):
        folder = tmp_path / "hw2" / f"{one.hypothesis}-{one.seed}"
        runs.write_json(folder / "config.json", {"hypothesis": one.hypothesis, "seed": one.seed})
        return folder, 0

    def measure(config, run, one, real):
        busy.append(one)
        compare_hypotheses.threading.Event().wait(0.05)
        assert busy == [one]
        busy.clear()
        measured.append((one.hypothesis, one.seed))

    monkeypatch.setattr(compare_hypotheses, "train_one", train_one)
    monkeypatch.setattr(compare_hypotheses, "measure", measure)
    compare_hypotheses.train_all(config, SimpleNamespace(folder=tmp_path), None)
    assert sorted(measured) == [("3", 0), ("3", 1), ("base", 0), ("base", 1)]


def test_steps_are_counted_of_the_training_images(monkeypatch, tmp_path):
    splits = {"load_split": range(70), "validation_images": range(6), "test_images": range(8)}
    for name, images in splits.items():
        monkeypatch.setattr(gan_data, name, lambda *given, images=images: images)
    monkeypatch.setattr(samples, "reference_of", lambda images, device: len(images))
    monkeypatch.setattr(compare_hypotheses.resumable, "require_same_images", lambda *given: None)
    monkeypatch.setattr(compare_hypotheses, "train_all", lambda *given: None)
    reported = []
    monkeypatch.setattr(compare_hypotheses, "report", lambda config, run, *given: reported.append(given))
    compare_hypotheses.main(compare_hypotheses.Config(outdir=tmp_path, device="cpu", precision="fp32"))
    assert reported == [(8, 70)]
