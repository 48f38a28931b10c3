"""eval_ddpm.py: numbers of two seeds, the bound, equal evaluations, models that are not alike."""

import json
import types
from pathlib import Path

from common import data, devices, figures
from common.data import digits
from common.errors import InputError, warn
from common.metrics import samples

import pytest
import torch
from small_diffusion import untrained

from hw2_gan import gan_data, train_gan
from hw3_stylegan_sampling import train_encoder, train_stylegan
from hw4_diffusion import (
    ddpm_figures,
    ddpm_measures,
    eval_ddpm,
    models,
    samplers,
    train_controlnet,
    train_ddpm,
)
from hw4_diffusion.ddpm_measures import Way
from hw4_diffusion.schedule import sampling_times
from lab8_generative import train_gan as lab_gan


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


SMALL_EVALUATION = {"samples": 40, "curve_samples": 24, "evaluations": (3, 5), "guidances": (1.0, 2.0),
                    "curve_models": 2, "steps": 3, "bound_images": 4, "device": "cpu", "seed": 7}  # fmt: skip


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, data_dir) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed in (0, 1):
        models.save(folder / f"{seed}.safetensors", untrained(seed), "a test")
    names = tuple(str(folder / f"{seed}.safetensors") for seed in (0, 1))
    return eval_ddpm.main(
        eval_ddpm.Config(names, data_dir=data_dir, outdir=tmp_path_factory.mktemp("runs"), **SMALL_EVALUATION)
    )


def test_an_evaluation_keeps_every_number_of_two_seeds(evaluated):
    summary = json.loads((evaluated / "summary.json").read_text())
    assert summary["n_test"] == 40 and summary["n_curve"] == 24 and len(summary["rows"]["model"]) == 2
    names = {"fd_digits_40", "fd_digits_40_standard_error", "kid_digits_40", "precision", "recall",
             "class_accuracy", "nearest_training_ratio", "bits_per_dimension", "seconds_an_image",
             "diversity"}  # fmt: skip
    assert {f"eval/{name}" for name in names} <= summary["metrics"].keys()
    assert {f"eval/{name}_sd" for name in names} <= summary["metrics"].keys()
    curve = {(row["sampler"], row["evaluations"]): row for row in summary["curve"]}
    assert curve.keys() == {
        (name, count)
        for name in ("ancestral", "ddim", "dpm-solver++", "sde-dpm-solver++", "heun")
        for count in (3, 5)
    }
    assert curve["heun", 5]["steps"] == 3 and curve["ddim", 5]["steps"] == 5
    assert all(row["seeds"] == 2 and row["fd_digits_24"] > 0 for row in summary["curve"])
    assert [row["guidance"] for row in summary["guidance"]] == [1, 2]
    assert set(summary["figures"]) == {"evaluations.png", "guidance.png", "neighbours.png", "samples.png"}
    assert all((evaluated / name).is_file() for name in summary["figures"])
    assert "| dpm-solver++ | 5 |" in (evaluated / "table.md").read_text()


def test_the_numbers_are_those_of_the_images(evaluated, data_dir):
    """One point of the curve by hand: the images, their distance, the share of the class asked for."""
    summary = json.loads((evaluated / "summary.json").read_text())
    (row,) = [row for row in summary["rows"]["curve"]
              if (row["seed"], row["sampler"], row["evaluations"]) == (1, "ddim", 5)]  # fmt: skip
    chosen_on = data.load("digits", "val", size=16, data_dir=data_dir).few(24)
    model = models.load(json.loads((evaluated / "config.json").read_text())["models"][1])
    noise = torch.randn(24, 1, 16, 16, generator=torch.Generator().manual_seed(7))
    times = sampling_times(model.schedule, 5)
    drawn = samplers.last(
        samplers.ddim(model.denoiser(chosen_on.labels), model.schedule, times, noise, 0.0, torch.randn_like)
    )
    real = samples.reference_of(chosen_on, any_side=True)
    features = real.features_of(data.to_uint8(drawn))
    assert row["fd_digits_24"] == pytest.approx(real.distance(features), rel=1e-3)
    answers = real.extractor.answers(features)["label"]
    assert row["class_accuracy"] == pytest.approx((answers == chosen_on.labels).double().mean().item())


def test_each_seeds_own_model_is_measured_at_the_guidance_chosen_on_validation_images(evaluated, data_dir):
    summary = json.loads((evaluated / "summary.json").read_text())
    best = min(summary["guidance"], key=lambda row: row["fd_digits_24"])
    assert summary["chosen_guidance"] == best["guidance"]
    test = data.load("digits", "test", size=16, data_dir=data_dir).few(40)
    real = samples.reference_of(test, any_side=True)
    for row, path in zip(summary["rows"]["model"], summary["models"]):
        model, way = models.load(path), Way("dpm-solver++", 3, guidance=best["guidance"])
        drawn = ddpm_measures.draw(model, way, 40, test.labels, 7, torch.device("cpu")).images
        assert row["fd_digits_40"] == pytest.approx(real.distance(real.features_of(drawn)), rel=1e-3)


def test_curves_and_pictures_are_of_the_first_model_and_of_the_images_it_learned_from(
    evaluated, data_dir, tmp_path, monkeypatch
):
    calls, shown = [], {}
    monkeypatch.setitem(digits.DEFAULT_COUNTS, "val", 15)  # fewer than the points ask for

    def draw(model, way, count, labels, seed, device):
        calls.append((model, way, labels, torch.randint(256, (count, 1, 16, 16), dtype=torch.uint8)))
        return ddpm_measures.Drawn(calls[-1][-1], 1.0)

    keep = lambda name: lambda path, *given, **_: shown.update({name: given})
    monkeypatch.setattr(ddpm_measures, "draw", draw)
    for owner, name in ((ddpm_figures, "save_curves"), (ddpm_figures, "save_neighbours"),
                        (eval_ddpm.figures, "save_grid")):  # fmt: skip
        monkeypatch.setattr(owner, name, keep(name))
    names = tuple(json.loads((evaluated / "config.json").read_text())["models"])
    folder = eval_ddpm.main(eval_ddpm.Config(
        names, data_dir=data_dir, outdir=tmp_path, samples=20, curve_samples=20, evaluations=(3,),
        guidances=(), spacing="log-snr", bound_images=0, device="cpu",
    ))  # fmt: skip
    train, val, test = (data.load("digits", split, size=16, count=count, data_dir=data_dir)
                        for split, count in (("train", 30), ("val", None), ("test", None)))  # fmt: skip
    assert len(calls) == 5 + 2 and all(way.spacing == "log-snr" for _, way, *_ in calls)
    for k, (model, _, labels, _) in enumerate(calls):
        assert (model is calls[0][0]) == (k < 6)  # curves are of one model unless told otherwise
        assert torch.equal(labels, (val if k < 5 else test).few(20).labels)
    first, near = calls[5][-1], samples.reference_of(val.few(20), any_side=True)
    assert torch.equal(shown["save_grid"][0], first)
    neighbours, learned, _ = shown["save_neighbours"]
    assert torch.equal(neighbours, first[:8]) and torch.equal(learned.images, train.images)
    rows, distance, floor, title = shown["save_curves"]
    assert floor and floor == eval_ddpm.points_of(near, val.labels[:15], train, train.labels).floor
    best = min(rows, key=lambda row: row[distance])
    assert f"lowest at 3 evaluations of {best['sampler']}, {best[distance]:.3g}" in title
    assert json.loads((folder / "summary.json").read_text())["n_curve"] == 15
    table = (folder / "table.md").read_text()
    assert "| heun | 3 |" in table and "|  |" not in table  # no table of guidance, of which nothing is known


def test_training_images_on_a_curve_have_the_classes_of_its_validation_images():
    images = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 1, 2, 2)
    labels = torch.tensor([0, 1, 0, 1, 2, 2])
    train = data.ImageSet(images, "digits", "train", "a test", labels=labels)
    near = types.SimpleNamespace(
        extractor="",
        count=4,
        features_of=lambda images: images,
        distance=lambda seen: seen[:, 0, 0, 0].tolist(),
    )
    asked = lambda *classes: eval_ddpm.points_of(near, torch.tensor(classes), train, labels)
    assert sorted(asked(2, 0, 0, 1).floor) == [0, 1, 2, 4] and asked(2, 0, 0, 1).count == 4
    assert sorted(asked(0, 0, 1, 1).floor) == [0, 1, 2, 3]
    assert asked(2, 2, 2, 0).floor is None  # there are two images of class 2
    assert eval_ddpm.points_of(near, None, train, None).floor == [0, 1, 3, 4]  # from all parts of the set


def test_the_guidance_with_the_smallest_mean_distance_is_chosen():
    rows = [{"seed": seed, "guidance": guidance, "fd_digits_9": distance, "precision": 1 - distance / 10}
            for seed, guidance, distance in ((0, 1.0, 3.0), (0, 1.5, 2.0), (0, 3.0, 1.0),
                                             (1, 1.0, 3.0), (1, 1.5, 2.0), (1, 3.0, 5.0))]  # fmt: skip
    assert eval_ddpm.chosen(eval_ddpm.Config(("a",)), rows) == 1.5
    assert eval_ddpm.chosen(eval_ddpm.Config(("a",), guidance=4.0), rows) == 4
    assert eval_ddpm.chosen(eval_ddpm.Config(("a",), curve_samples=0), []) == 1


def test_bits_per_dimension_of_a_model_that_knows_nothing(data_dir):
    """Of a network that says 0 where v is wanted every term of the bound is known."""
    model = untrained()
    for parameter in model.network.end.parameters():
        parameter.zero_()
    images = data.load("digits", "test", size=16, data_dir=data_dir).take(slice(0, 3))
    got = ddpm_measures.bits(model, images, images.labels, torch.device("cpu"))
    x0 = data.to_model_range(images.images).double()
    total = 0.0
    for s in range(1, 40):  # the guess is alpha x_t, so that its error is sigma (sigma x_0 - alpha eps)
        (a, b), (a_s, b_s) = model.schedule.pair(s + 1), model.schedule.pair(s)
        error = b**2 * (b**2 * x0.square() + a**2)  # its mean over the noise; clipping makes it smaller
        total += 0.5 * ((a_s / b_s) ** 2 - (a / b) ** 2) * error.flatten(1).sum(1).mean().item()
    inner = got["bits_per_dimension"] - got["bits_per_dimension_first"] - got["bits_per_dimension_last"]
    assert 0.5 * total < inner * 256 * 0.6931 < 1.05 * total


def test_every_sampler_is_measured_at_equal_evaluations():
    model = untrained()
    found = ddpm_measures.ways(model, (1, 10, 40, 41), "time")
    assert Way("heun", 5, "time") in found and Way("heun", 20, "time") in found
    assert Way("ddim", 40, "time") in found and max(way.evaluations for way in found) == 40
    assert "euler" not in {way.sampler for way in found}
    straight = untrained(schedule="flow", prediction="flow")
    assert Way("euler", 10, "time") in ddpm_measures.ways(straight, (10,), "time")


def test_guidance_is_measured_in_the_way_of_the_flags():
    asked = {"sampler": "ddim", "steps": 7, "spacing": "log-snr", "evaluations": (), "guidances": (1.0, 2.0)}
    config = eval_ddpm.Config(("a",), **asked)
    wanted = [("guidance", Way("ddim", 7, "log-snr", scale)) for scale in (1.0, 2.0)]
    assert eval_ddpm.small_ways(config, untrained()) == wanted
    for model in (untrained(guidable=False), untrained(classes=0)):
        assert eval_ddpm.small_ways(config, model) == []


def test_more_evaluations_than_the_schedule_has_are_left_out_in_a_word(tmp_path, capsys):
    models.save(tmp_path / "a.safetensors", untrained(), "a test")
    eval_ddpm.load_models(eval_ddpm.Config((str(tmp_path / "a.safetensors"),), evaluations=(40, 41)))
    warned = "warning: --evaluations 41: the schedule has 40 times; this number is left out\n"
    assert capsys.readouterr().err == warned


def test_models_that_are_not_alike(tmp_path, data_dir):
    models.save(tmp_path / "a.safetensors", untrained(), "a test")
    models.save(tmp_path / "b.safetensors", untrained(prediction="x0"), "a test")
    names = (str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors"))
    with pytest.raises(InputError, match=r"b.safetensors: not alike .*a.safetensors but for the seed"):
        eval_ddpm.main(eval_ddpm.Config(names, outdir=tmp_path, data_dir=data_dir))
    models.save(tmp_path / "c.safetensors", untrained(classes=0), "a test")
    with pytest.raises(InputError, match="--guidance 2: this model was trained without classes"):
        eval_ddpm.main(eval_ddpm.Config((str(tmp_path / "c.safetensors"),), guidance=2.0, outdir=tmp_path))
    with pytest.raises(InputError, match="no model given"):
        eval_ddpm.main(eval_ddpm.Config((), outdir=tmp_path))
    with pytest.raises(InputError, match=r"--steps 50: .* 40 times"):
        eval_ddpm.main(eval_ddpm.Config(names[:1], steps=50, outdir=tmp_path, data_dir=data_dir))
    with pytest.raises(InputError, match="--curve-samples 3: precision and recall need at least 4 images"):
        eval_ddpm.main(eval_ddpm.Config(names[:1], curve_samples=3, outdir=tmp_path, data_dir=data_dir))
    assert not (tmp_path / "hw4").exists()


def test_images_of_a_folder_of_classes_are_of_all_classes(tmp_path, monkeypatch):
    """They come sorted by class: the first few would be cats alone."""
    for split in ("train", "val", "test"):
        for name in ("cats", "dogs", "foxes"):
            for k in range(8):
                image = torch.randint(256, (3, 16, 16), dtype=torch.uint8)
                figures.save_png(tmp_path / "pets" / split / name / f"{k}.png", image)
    pets = str(tmp_path / "pets")
    few = [
        train_ddpm.load(train_ddpm.Config(data=pets, size=16), "val", 6),
        gan_data.validation_images(train_gan.Config(data=pets, size=32, measure_images=6)),
        gan_data.test_images(train_gan.Config(data=pets, size=32), 6),
        train_stylegan.load(train_stylegan.Config(data=pets, size=16), "val", 6),
        train_controlnet.load(train_controlnet.Config(train_data=pets, validation_images=6), "val", 16),
        data.load(pets, "test", size=16, count=6),
    ]
    shape = types.SimpleNamespace(size=16, image_channels=3)
    encoding = train_encoder.Config(network="a", data=pets, train_images=6, measure_images=6)
    of_encoder = lambda split: train_encoder.load(encoding, types.SimpleNamespace(shape=shape), split)
    few.append(of_encoder("val"))
    monkeypatch.setattr(lab_gan, "MEASURED_DRAWN", 6)
    few.append(lab_gan.load(lab_gan.Config(data=pets, size=48, batch_size=4))[1])
    for images in few:
        assert images.labels.tolist() == [0, 0, 1, 1, 2, 2]
    everything = train_stylegan.load(train_stylegan.Config(data=pets, size=16, train_images=6), "train", 6)
    assert len(everything) == len(of_encoder("train")) == 24, "--train-images is of drawn sets"


def test_the_bound_is_of_images_of_all_parts_of_the_test_set(monkeypatch, data_dir):
    bounded = []
    monkeypatch.setattr(ddpm_measures, "bits", lambda model, images, labels, device: bounded.append(
        (images, labels)) or {})  # fmt: skip
    model, device = untrained(), devices.start("cpu")
    test = data.load("digits", "test", size=16, count=40, data_dir=data_dir)
    real = samples.reference_of(test)
    config = eval_ddpm.Config(("a",), bound_images=4)
    eval_ddpm.measure(config, model, Way("ddim", 2, "time"), test, real, None, device)
    ((images, labels),) = bounded
    assert torch.equal(images.images, test.images[::10]) and torch.equal(labels, test.labels[::10])


def test_numbers_are_kept_though_a_training_was_not_measured_yet(tmp_path, data_dir):
    models.save(tmp_path / "model.safetensors", untrained(), "a test")
    (tmp_path / "metrics.jsonl").write_text("")
    run = types.SimpleNamespace(folder=tmp_path)
    eval_ddpm.save_training(run, eval_ddpm.Config((str(tmp_path), str(tmp_path / "model.safetensors"))))
    assert not (tmp_path / "training.png").exists()


def test_trainings_measured_with_different_numbers_of_images_have_no_figure_together(tmp_path, capsys):
    for count in (10, 12):
        (tmp_path / str(count)).mkdir()
        line = {"step": 1, "seconds": 2.0, "val/loss": 1.0, f"val/fd_digits_{count}": 3.0}
        (tmp_path / str(count) / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    warn.cache_clear()  # a word is said once a process
    run, one, other = types.SimpleNamespace(folder=tmp_path), str(tmp_path / "10"), str(tmp_path / "12")
    eval_ddpm.save_training(run, eval_ddpm.Config((one, other)))
    assert not (tmp_path / "training.png").exists()
    said = "warning: the trainings have no distance in common (val/fd_digits_10, val/fd_digits_12): "
    assert capsys.readouterr().err.startswith(said)
    eval_ddpm.save_training(run, eval_ddpm.Config((one, one)))
    assert (tmp_path / "training.png").is_file() and not capsys.readouterr().err


def test_guidance_is_shown_though_no_number_of_evaluations_is(data_dir, tmp_path):
    models.save(tmp_path / "model.safetensors", untrained(), "a test")
    small = {**SMALL_EVALUATION, "evaluations": (), "samples": 20, "bound_images": 0, "curve_models": 1}
    config = eval_ddpm.Config(
        (str(tmp_path / "model.safetensors"),), data_dir=data_dir, outdir=tmp_path, **small
    )
    folder = eval_ddpm.main(config)
    assert (folder / "guidance.png").is_file() and not (folder / "evaluations.png").exists()
    table = (folder / "table.md").read_text()
    assert "| guidance | fd_digits_24 |" in table and "| sampler |" not in table


def test_trainings_are_shown_over_minutes_or_hours(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: shown.append(figure.axes[0]))
    for seconds in (600.0, 7200.0):
        line = {"step": 1, "seconds": seconds, "val/loss": 1.0, "val/fd": 3.0}
        ddpm_figures.save_training(tmp_path / "training.png", [[line]], "val/fd")
    seen = [(axis.get_xlabel(), axis.lines[0].get_xdata()[0]) for axis in shown]
    assert seen == [("minutes of training", 10), ("hours of training", 2)]
