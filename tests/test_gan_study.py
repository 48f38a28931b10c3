"""The study of hypotheses: started, stopped, resumed; its table, its figures, and what it cannot be."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from common import command_line, data, runs
from common.errors import InputError
from common.metrics import samples

import pytest
from small_gans import SCRIPTS, logged, save_pets, words

from hw2_gan import compare_hypotheses, eval_gan, gan_data, gan_figures, study_table, train_gan


@pytest.fixture(scope="module")
def pets(tmp_path_factory) -> Path:
    return save_pets(tmp_path_factory.mktemp("data") / "pets")


def study(pets: Path, outdir: Path, **changes) -> compare_hypotheses.Config:
    small = {"size": 32, "width": 0.125, "samples": 20, "device": "cpu", "precision": "fp32", "seeds": (0,)}
    return compare_hypotheses.Config(data=str(pets), outdir=outdir, budget=0.25, **{**small, **changes})


def test_a_stopped_study_goes_on_where_it_was(pets, tmp_path, monkeypatch):
    one = study(pets, tmp_path, hypotheses=("1", "0"), jobs=1)
    command = [sys.executable, SCRIPTS / "compare_hypotheses.py", *words(one)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not list(tmp_path.glob("hw2/*/hw2/*-gan-0-pets/config.json")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output = process.communicate()[0]
    assert process.returncode == 143, output
    assert "Traceback" not in output
    (run_dir,) = (tmp_path / "hw2").iterdir()
    assert not list(run_dir.glob("hw2/*-gan-0-pets/summary.json"))  # it did not wait for the other
    (first,) = run_dir.glob("hw2/*-gan-1-pets")
    measured = (first / "test-20.json").stat().st_mtime_ns  # as soon as it was trained
    finished_at = (first / "summary.json").stat().st_mtime_ns
    again = command_line.parse(compare_hypotheses.Config, ["--resume", str(run_dir), "--jobs", "2"])
    assert compare_hypotheses.main(again) == run_dir
    assert (first / "summary.json").stat().st_mtime_ns == finished_at  # not trained again
    assert (first / "test-20.json").stat().st_mtime_ns == measured
    summary = json.loads((run_dir / "summary.json").read_text())
    assert [(row["hypothesis"], row["steps"]) for row in summary["rows"]] == [("1", 5), ("0", 5)]
    assert all((run_dir / name).stat().st_size > 1000 for name in summary["figures"])
    assert summary["figures"] == ["curves.png", "outcomes.png", "samples.png"]
    table = (run_dir / "table.md").read_text()
    assert "| 1 | 1 |" in table
    assert "| 0 | 1 |" in table
    curves = summary["curves"]["0"]  # what curves.png is drawn from
    assert curves["step"] == [[line["step"] for line in logged(next(run_dir.glob("hw2/*-gan-0-pets")))]]
    assert curves.keys() >= {"val/raw_diversity", "train/discriminator_loss", "train/generator_loss"}
    measured_are_the_weights_they_name(first, summary["rows"][0])
    for split in ("train", "val", "test"):
        with (
            monkeypatch.context() as patch,
            pytest.raises(InputError, match=f"the {split} split of"),
        ):
            patch.setattr(data, "load", without_the_first(split))
            compare_hypotheses.main(again)


def without_the_first(changed: str):
    """`data.load` of a set of which one split has lost an image."""
    load = data.load

    def load_others(name, split, **more):
        images = load(name, split, **more)
        return images.take(slice(1, None)) if split == changed else images

    return load_others


def measured_are_the_weights_they_name(run_dir: Path, row: dict) -> None:
    """A row of the study against the weights themselves, drawn anew."""
    trained = command_line.config_from_run(train_gan.Config, run_dir)
    real = samples.reference_of(gan_data.test_images(trained, 20))
    for weights in ("raw", "ema"):
        generator, _ = eval_gan.load_networks(trained, run_dir, weights)
        drawn = samples.decode(generator, samples.latents(20, generator.latent, seed=0))
        assert row[f"{weights}_diversity"] == real.measure(drawn)["diversity"]
    assert row["raw_diversity"] != row["ema_diversity"]


def test_the_longest_trainings_begin_first(pets, tmp_path, monkeypatch):
    one = study(pets, tmp_path, hypotheses=("base", "0"), seeds=(0, 1), jobs=1)
    started = []

    def popen(command, **options):
        started.append((command[command.index("--hypothesis") + 1], command[command.index("--seed") + 1]))
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])

    monkeypatch.setattr(compare_hypotheses, "subprocess", SimpleNamespace(Popen=popen))
    with pytest.raises(InputError, match="a training failed"):
        compare_hypotheses.main(one)
    assert started == [("0", "0"), ("0", "1"), ("base", "0"), ("base", "1")]


def test_trainings_at_a_time_share_out_the_cores(tmp_path, monkeypatch):
    given = []
    process = SimpleNamespace(wait=lambda: 0)
    popen = lambda command, env, **more: given.append(env["OMP_NUM_THREADS"]) or process
    monkeypatch.setattr(compare_hypotheses, "subprocess", SimpleNamespace(Popen=popen))
    monkeypatch.setattr(compare_hypotheses.os, "cpu_count", lambda: 7)
    for jobs in (1, 3, 9):
        config = compare_hypotheses.Config(jobs=jobs)
        one, run = compare_hypotheses.Training("base", 0, None), SimpleNamespace(folder=tmp_path, say=print)
        compare_hypotheses.train_one(config, run, one, [])
    assert given == ["7", "2", "1"]


def test_a_training_that_fails_names_its_log(pets, tmp_path):
    with pytest.raises(InputError, match=r"logs/2-0\.log: a training failed, see there; .* --resume"):
        compare_hypotheses.main(study(pets, tmp_path, hypotheses=("2",)))
    (log,) = tmp_path.glob("hw2/*/logs/2-0.log")
    assert "error: --batch-size 128" in log.read_text()
    assert "Traceback" not in log.read_text()


# ---- its numbers


def test_means_over_seeds_and_the_table():
    rows = [
        {"hypothesis": "0", "seed": seed, "ema_fd": value, "collapsed_epochs": epochs, "minutes": 2.0}
        for seed, value, epochs in ((0, 1.0, 0), (1, 3.0, 2))
    ]
    (mean,) = study_table.over_seeds(rows)
    assert mean["ema_fd"] == 2
    assert mean["ema_fd_sd"] == pytest.approx(2**0.5)
    assert mean["seeds"] == 2
    assert mean["collapsed_seeds"] == [1]
    lines = study_table.markdown([mean], "fd", 500).splitlines()
    assert lines[0].startswith("500 samples against 500 test images")
    assert lines[2] == "| hypothesis | seeds | fd, averaged weights | epochs with collapse | minutes |"
    assert lines[4] == "| 0 | 2 | 2.0 ± 1.4 | 1.0 ± 1.4 | 2.0 ± 0.0 |"


def test_everyone_after_equally_many_steps():
    study = compare_hypotheses.Config(budget=0.4)
    assert compare_hypotheses.steps(study, "base", 1000) == 2 * 15  # 5 epochs times 0.4, 15 batches of 64
    assert compare_hypotheses.steps(study, "2", 1000) == 8 * 7  # batches of 128
    metrics = lambda steps, *seeds: {"step": [steps] * len(seeds), "val/raw_fd_x": list(seeds)}
    three = metrics([10, 20, 30], [7.0, 6.0, 1.0], [7.0, 4.0, 1.0])
    curves = {"base": metrics([10, 20], [9.0, 8.0]), "3": three}
    assert study_table.after(20, curves) == {"base": 8.0, "3": 5.0}
    assert study_table.after(19, curves) == {"base": 9.0, "3": 7.0}
    assert study_table.after(30, curves) == {"3": 1.0}  # the base run had ended before
    assert study_table.after(20.1, curves) == {"base": 8.0, "3": 5.0}  # and this is the end of both
    slow = {"6": three, "7": metrics([25], [3.0])}
    assert study_table.after(20, slow) == {"6": 5.0}  # 7 had no epoch yet
    assert study_table.after(25, slow) == {"6": 5.0, "7": 3.0}


# ---- its figures


def test_no_two_hypotheses_are_drawn_alike():
    names = ("base", *map(str, range(12)))
    styles = [gan_figures.line_style(place, name) for place, name in enumerate(names)]
    looks = {(style["color"], style["linestyle"], style["marker"]) for style in styles}
    assert len(looks) == len(names)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("val/raw_fd_x", "Lowest Fréchet distance to validation images under b: 20"),
        ("val/raw_coverage", "Styles covered: most under a, 3000 %"),
        ("val/raw_diversity", "Diversity (1: as the data); collapsed at the end: c"),
        ("train/discriminator_loss", "Loss of D: near 0, D has won, under c"),
        ("train/generator_loss", "Loss of G: highest under a, 30.0"),
    ],
)
def test_titles_of_panels_say_what_the_curves_show(name, title):
    assert (
        gan_figures.finding(name, {"a": 30.0, "b": 20.0, "c": 0.05 if "fd" not in name else 25.0})[0] == title
    )


# ---- what it cannot be


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"hypotheses": ("base", "x")}, "--hypothesis x: unknown"),
        ({"seeds": ()}, r"--seeds \(\): "),
        ({"hypotheses": ("base", "base")}, "--hypotheses base base: name each once"),
        ({"seeds": (0, 1, 0)}, "--seeds 0 1 0: name each once"),
        ({"budget": 0.0}, "--budget 0.0: must be greater than 0"),
        ({"data": "mnist"}, "--hypotheses base: --data mnist: grey images"),
    ],
)
def test_studies_that_cannot_be(flags, message):
    with pytest.raises(InputError, match=message):
        compare_hypotheses.check(command_line.checked(compare_hypotheses.Config(**flags)))


def test_none_named_are_all():
    assert compare_hypotheses.Config().names[:3] == ("base", "0", "1")
    assert "7-filter-g" not in compare_hypotheses.Config().names  # parts are compared when they are named
    assert compare_hypotheses.Config(hypotheses=("3",)).names == ("3",)


def test_the_first_seed_of_every_hypothesis_comes_before_the_second(tmp_path):
    config = compare_hypotheses.Config(hypotheses=("3", "base"), seeds=(4, 2))
    order = [(one.hypothesis, one.seed) for one in compare_hypotheses.trainings(config, tmp_path)]
    assert order == [("3", 4), ("base", 4), ("3", 2), ("base", 2)]


def test_samples_are_shown_of_the_first_seed_of_every_hypothesis(tmp_path, monkeypatch):
    config, shown = compare_hypotheses.Config(hypotheses=("3", "base"), seeds=(4, 2)), []
    for one in compare_hypotheses.trainings(config, tmp_path):
        folder = tmp_path / "hw2" / f"{one.hypothesis}-{one.seed}"
        runs.write_json(folder / "config.json", {"hypothesis": one.hypothesis, "seed": one.seed})
        (folder / "metrics.jsonl").write_text('{"step": 1, "val/raw_diversity": 0.5}\n')
    rows = lambda config, run, one, real: {
        "hypothesis": one.hypothesis, "seed": one.seed, "ema_diversity": 0.5,
        "collapsed_epochs": 0, "minutes": 1.0,
    }  # fmt: skip
    monkeypatch.setattr(compare_hypotheses, "measure", rows)
    monkeypatch.setattr(compare_hypotheses, "save_samples", lambda config, path, done: shown.extend(done))
    run = SimpleNamespace(folder=tmp_path, say=print, summary=lambda *numbers, **more: None)
    compare_hypotheses.report(config, run, SimpleNamespace(name=None, count=20), 100)
    assert [(one.hypothesis, one.seed) for one in shown] == [("3", 4), ("base", 4)]


def test_a_training_goes_on_from_its_checkpoint_and_begins_anew_without_one(tmp_path):
    config, folder = compare_hypotheses.Config(hypotheses=("3",), seeds=(5,)), tmp_path / "hw2" / "0001-gan-3"
    one = compare_hypotheses.Training("3", 5, folder)
    (folder / "checkpoints").mkdir(parents=True)
    new = compare_hypotheses.arguments(config, tmp_path, one)
    assert "--resume" not in new and new[new.index("--seed") + 1] == "5"
    (folder / "checkpoints" / "last.pt").touch()
    there = dataclasses.replace(config, data="/new/place", device="cpu", data_dir=tmp_path)
    assert compare_hypotheses.arguments(there, tmp_path, one) == [
        "--resume", str(folder), "--data", "/new/place", "--data-dir", str(tmp_path), "--device", "cpu"
    ]  # fmt: skip
    goes_on = compare_hypotheses.arguments(config, tmp_path, one)
    assert goes_on == ["--resume", str(folder), "--data", "avatars", "--device", "auto"]


def test_steps_of_a_study_are_updates_of_the_generator(monkeypatch):
    """Each of them takes a batch for every step of the discriminator."""
    planned = train_gan.Config(epochs=6, batch_size=10, discriminator_steps=3)
    monkeypatch.setattr(compare_hypotheses.hypotheses, "configuration", lambda *_: planned)
    config = compare_hypotheses.Config(budget=0.5)
    assert compare_hypotheses.steps(config, "mine", 100) == 3 * (10 // 3)


def test_a_training_is_given_every_flag_that_it_shares_with_the_study(tmp_path):
    changed = {"data": "creatures", "size": 32, "width": 0.5, "precision": "fp32", "measure_images": 40}
    config = compare_hypotheses.Config(hypotheses=("3",), seeds=(5,), budget=0.1, device="cpu", **changed)
    one = compare_hypotheses.Training("3", 5, None)
    fields = lambda kind: {field.name for field in dataclasses.fields(kind)}
    shared = fields(compare_hypotheses.Config) & fields(train_gan.Config) - {"data_dir", "outdir", "resume"}
    assert shared == {*changed, "device"}
    given = compare_hypotheses.arguments(config, tmp_path, one)
    values = {given[k].removeprefix("--").replace("-", "_"): given[k + 1] for k in range(0, len(given), 2)}
    assert values == {name: str(value) for name, value in changed.items()} | {
        "device": "cpu", "hypothesis": "3", "seed": "5", "epochs": "2", "outdir": str(tmp_path)
    }  # fmt: skip
