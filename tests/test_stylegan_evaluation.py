"""eval_stylegan.py and compare_sampling.py on the smallest run: numbers, artefacts, mistakes in one line."""

import json
import re
import shutil
from pathlib import Path

from common import checkpoints, command_line, data
from common.data import creatures
from common.metrics import extractors, samples

import pytest
import torch
from small_stylegans import config

from hw3_stylegan_sampling import compare_sampling, eval_stylegan, models, train_stylegan, trained, ways


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    """One step on drawn creatures."""
    folder = tmp_path_factory.mktemp("runs")
    one = config("creatures", folder, data_dir=folder / "data", train_images=24, size=32, steps=2,
                 channels=(6, 6, 6, 6), measure_every=2, r1_every=1, path_every=1)  # fmt: skip
    return train_stylegan.main(one)


def flags(run_dir: Path, *more: str) -> list[str]:
    folder = run_dir.parent.parent
    return [
        str(run_dir),
        "--device",
        "cpu",
        "--data-dir",
        str(folder / "data"),
        "--outdir",
        str(folder),
        *more,
    ]


def evaluation(run_dir: Path, *more: str) -> eval_stylegan.Config:
    words = flags(run_dir, "--data", "creatures", "--samples", "40", "--psis", "0.5", "-1", *more)
    return command_line.parse(eval_stylegan.Config, words)


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


# ---- both networks of a run


def test_a_run_gives_its_averaged_generator_and_its_discriminator(run_dir):
    found = trained.load(run_dir)
    kept = checkpoints.read(run_dir / "checkpoints" / "last.pt")
    assert found.step == kept["step"] == 2 and found.generator.shape.options
    for name, value in found.generator.named_parameters():
        assert torch.equal(value, kept["parts"]["ema"][f"module.{name}"])
    for name, value in found.discriminator.state_dict().items():
        assert torch.equal(value, kept["parts"]["discriminator"][name])
    assert not any(parameter.requires_grad for parameter in found.discriminator.parameters())
    assert torch.allclose(found.generator.w_mean, models.load(run_dir).w_mean, atol=1e-5)


def test_the_mean_w_is_that_of_the_loaded_weights(run_dir, tmp_path):
    """A checkpoint between two measurements holds the mean of earlier weights."""
    copy = shutil.copytree(run_dir, tmp_path / "run")
    path = copy / "checkpoints" / "last.pt"
    content = torch.load(path, weights_only=True)
    content["parts"]["ema"]["module.w_mean"] += 5
    torch.save(content, path)
    assert torch.allclose(trained.load(copy).generator.w_mean, models.load(run_dir).w_mean, atol=1e-5)


def test_a_generators_file_has_no_discriminator(run_dir):
    with pytest.raises(trained.InputError, match=r"a generator alone; .* name the run directory"):
        trained.load(run_dir / "generator.safetensors")


# ---- against psi


@pytest.fixture(scope="module")
def evaluated(run_dir) -> Path:
    return eval_stylegan.main(evaluation(run_dir, "--seeds", "3", "4"))


def test_every_psi_is_measured_and_1_too(evaluated):
    kept = summary(evaluated)
    assert [row["psi"] for row in kept["rows"]] == [-1, 0.5, 1]
    assert kept["step"] == 2 and kept["n_test"] == 40 and kept["seeds"] == [3, 4]
    names = {"fd_creatures_40", "precision", "recall", "diversity", "obeyed_all"}
    for row in kept["rows"]:
        assert names <= row.keys() and {f"{name}_sd" for name in names} <= row.keys()
    plain = kept["rows"][2]
    assert kept["metrics"] == {f"eval/{name}": value for name, value in plain.items() if name != "psi"}
    for name in kept["figures"]:
        assert (evaluated / name).stat().st_size > 0
    expected = {"psi.png", "samples.png", "truncation.png", "mixing.png", "interpolation.gif"}
    assert expected <= set(kept["figures"])


def test_what_is_measured_are_images_of_that_psi_and_seed(evaluated, run_dir):
    generator = models.load(run_dir).to(memory_format=torch.channels_last)
    test = data.load("creatures", "test", size=32, count=40, data_dir=run_dir.parent.parent / "data")
    real = samples.Reference(test.images, extractors.load_extractor("creatures"))
    distances = []
    for seed in (3, 4):
        z = ways.normal(generator, 40, torch.Generator().manual_seed(seed))
        drawn = torch.cat([generator(part, psi=0.5, noise_mode="const") for part in z.split(20)])
        distances.append(real.measure(data.to_uint8(drawn))["fd_creatures_40"])
    row = summary(evaluated)["rows"][1]
    assert row["fd_creatures_40"] == pytest.approx(sum(distances) / 2)
    assert row["fd_creatures_40_sd"] == pytest.approx(abs(distances[0] - distances[1]) / 2**0.5)


def test_orders_are_the_options_that_z_chooses(run_dir):
    generator = models.load(run_dir)
    z = torch.randn(9, generator.z_dim)
    ordered = eval_stylegan.orders(generator, z, "creatures")
    assert list(ordered) == list(creatures.OPTIONS)
    labels, start = generator.mapping.labels(z), 0
    for name, options in creatures.OPTIONS.items():
        assert torch.equal(labels[:, start : start + len(options)].argmax(1), ordered[name])
        start += len(options)
    assert eval_stylegan.orders(generator, z, "avatars") == {}  # another set's attributes


def test_few_images_over_and_over_are_precise_and_recall_little(run_dir):
    test = data.load("creatures", "test", size=64, count=40, data_dir=run_dir.parent.parent / "data")
    found = eval_stylegan.measure(samples.reference_of(test), test.images[:4].repeat(10, 1, 1, 1), {})
    assert found["precision"] == 1 and found["recall"] < 0.5


def test_means_and_spreads():
    found = eval_stylegan.mean_and_spread([{"a": 1.0}, {"a": 3.0}])
    assert found == {"a": 2.0, "a_sd": pytest.approx(2**0.5)}
    assert eval_stylegan.mean_and_spread([{"a": 1.0}]) == {"a": 1.0}


# ---- ways of sampling


def test_all_ways_are_compared_at_their_cost(run_dir):
    more = [
        "--samples",
        "20",
        "--budget",
        "9",
        "--clusters",
        "4",
        "--seeds",
        "0",
        "--calibration-images",
        "8",
    ]
    folder = compare_sampling.main(command_line.parse(compare_sampling.Config, flags(run_dir, *more)))
    kept = summary(folder)
    rows = {row["way"]: row for row in kept["rows"]}
    assert list(rows) == ["plain", "W mean", "W centre", "own mean", "z limit", "rejection", "Langevin"]
    assert all(rows[way]["passes"] == 1 for way in list(rows)[:5])
    assert rows["Langevin"]["passes"] == 9 and rows["rejection"]["passes"] > 9  # its burn-in is counted
    assert kept["step"] == 2 and all((folder / name).stat().st_size > 0 for name in kept["figures"])
    plain = [row["fd_creatures_20"] for row in rows.values()]
    assert len(set(plain)) == 7  # seven ways, seven sets of images


def test_psi_1_is_no_truncation(run_dir):
    """The ways that differ in truncation alone then draw the same images."""
    found = trained.load(run_dir)
    one = command_line.parse(compare_sampling.Config, flags(run_dir, "--psi", "1", "--samples", "20"))
    draw = compare_sampling.ways_of(
        one, ways.Judge(found.generator, found.discriminator), ways.centres(found.generator, 3)
    )
    drawn = {way: draw[way](torch.Generator().manual_seed(0)) for way in ("plain", "W mean", "W centre")}
    for other in ("W mean", "W centre"):
        apart = drawn["plain"].images.int() - drawn[other].images.int()
        assert apart.abs().max() <= 1 and torch.equal(drawn["plain"].z, drawn[other].z)


def test_ways_are_drawn_as_the_flags_say(run_dir, monkeypatch):
    found, given = trained.load(run_dir), []
    more = ["--samples", "20", "--limit", "0.3", "--budget", "13", "--step-size", "0.7"]
    one = command_line.parse(compare_sampling.Config, flags(run_dir, *more))
    for name in ("rejection", "langevin"):
        monkeypatch.setattr(ways, name, lambda judge, count, *numbers: given.append(numbers[:-1]))
    draw = compare_sampling.ways_of(one, ways.Judge(found.generator, found.discriminator), torch.zeros(3, 7))
    free = found.generator.z_dim - len(found.generator.shape.options)
    assert draw["z limit"](torch.Generator().manual_seed(0)).z[:, :free].abs().max() <= 0.3
    draw["rejection"](torch.Generator())
    draw["Langevin"](torch.Generator())
    assert given == [(13,), (13, 0.7)]


def test_the_discriminator_is_calibrated_with_images_that_nothing_was_trained_on(run_dir, monkeypatch):
    found, asked, load = trained.load(run_dir), [], train_stylegan.load
    monkeypatch.setattr(train_stylegan, "load", lambda *given: asked.append(given[1:]) or load(*given))
    one = command_line.parse(compare_sampling.Config, flags(run_dir, "--calibration-images", "8"))
    judge = compare_sampling.calibrated(one, found, torch.device("cpu"))
    assert asked == [("val", 8, one.data_dir)] and judge.scale != 1


# ---- mistakes


@pytest.mark.parametrize(
    ("script", "more", "said"),
    [
        (eval_stylegan, ["--data", "celeba"], "--data celeba: no extractor was trained on such images"),
        (eval_stylegan, ["--samples", "3"], "--samples 3"),
        (eval_stylegan, ["--psis", "inf"], "--psis"),
        (eval_stylegan, ["--seeds"], "--seeds: none"),
        (compare_sampling, ["--budget", "2"], "--budget 2"),
        (compare_sampling, ["--psi", "1.5"], "--psi 1.5"),
        (compare_sampling, ["--seeds"], "--seeds: none"),
    ],
)
def test_a_mistake_is_one_line(script, more, said, run_dir):
    with pytest.raises(SystemExit) as stopped:
        command_line.run(script.main, script.Config, flags(run_dir, *more))
    text = str(stopped.value.code)
    assert said in text and text.startswith("error: ") and "\n" not in text


def test_ways_that_need_a_discriminator_say_so(run_dir):
    words = [str(run_dir / "generator.safetensors"), *flags(run_dir)[1:]]
    with pytest.raises(SystemExit) as stopped:
        command_line.run(compare_sampling.main, compare_sampling.Config, words)
    assert re.match(r"error: .*generator\.safetensors: a generator alone", str(stopped.value.code))
