"""Homework 1: the weights that are validated, kept, evaluated and reported are those of the best epoch, and
averaged where that is asked for."""

import copy
import math

from common import checkpoints, figures, runs
from common.data import digits

import pytest
import torch

from hw1_bayes_and_autoencoders import eval_autoencoder, eval_vae, train_autoencoder, train_vae, vae

LOSSES = (3.0, 1.0, 2.0)
"""Validation losses that the runs below are told: the best epoch is neither the first nor the last."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of 16x16 pictures with splits."""
    folder = tmp_path_factory.mktemp("pictures")
    for split, count in (("train", 40), ("val", 10), ("test", 10)):
        for number, image in enumerate(digits.draw_set(split, 16, count, 0).images):
            figures.save_png(folder / split / f"{number}.png", image)
    return folder


class Told:
    """A validation that measures as the real one does, remembers the weights it was shown, and then says
    another loss."""

    def __init__(self, validate, told):
        self.validate, self.told, self.shown = validate, told, []

    def __call__(self, *arguments):
        model = next(one for one in arguments if isinstance(one, torch.nn.Module))
        self.shown.append(copy.deepcopy(model.state_dict()))
        return self.told(self.validate(*arguments), LOSSES[len(self.shown) - 1])


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module", params=[0.0, 0.9], ids=["raw", "averaged"])
def trained_vae(request, pictures, tmp_path_factory):
    """A VAE of three epochs, the weights it was validated with, and its learning rates."""
    told = Told(train_vae.validate, lambda measured, loss: measured | {"val/loss_nats": loss})
    config = train_vae.Config(
        data=str(pictures),
        size=16,
        latent=3,
        ema=request.param,
        warmup_epochs=2,
        lr=0.01,
        lr_decay="cosine",
        epochs=len(LOSSES),
        batch_size=8,
        outdir=tmp_path_factory.mktemp("runs"),
        device="cpu",
    )
    rates, step = [], torch.optim.Adam.step

    def noting_step(optimizer, *arguments, **more):
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_vae, "validate", told)
        patch.setattr(torch.optim.Adam, "step", noting_step)
        folder = train_vae.main(config)
    return config, folder, told.shown, rates


def test_the_vae_that_is_loaded_is_that_of_the_best_epoch(trained_vae):
    config, folder, shown, _ = trained_vae
    val = train_vae.load_split(config, "val")
    loaded = train_vae.load_best(config, folder, val).state_dict()
    assert same(loaded, shown[1])
    assert not same(loaded, shown[2])


def test_the_best_epoch_is_what_the_summary_tells(trained_vae):
    _, folder, _, _ = trained_vae
    summary, lines = runs.read_json(folder / "summary.json"), runs.read_metrics(folder)
    assert summary["metrics"]["epoch"] == 2
    assert summary["metrics"]["val/loss_nats"] == LOSSES[1]
    assert summary["metrics"]["val/mse"] == lines[1]["val/mse"] != lines[2]["val/mse"]


def test_averaged_weights_are_validated_where_they_are_asked_for(trained_vae):
    config, folder, shown, _ = trained_vae
    parts = checkpoints.read(folder / "checkpoints" / "last.pt")["parts"]
    assert same(shown[2], parts["model"]) == (config.ema == 0)
    if config.ema:
        averaged = {name.removeprefix("module."): value for name, value in parts["ema"].items()}
        averaged.pop("n_averaged")
        assert same(shown[2], averaged)


def test_the_weights_are_averaged_step_by_step(pictures, tmp_path):
    """With a decay of 0 the average is the weights themselves; with one near 1 it stays at the start."""
    parts = {}
    for decay in (1e-9, 1 - 1e-9):
        flags = {"size": 16, "batch_size": 8, "epochs": 1, "ema": decay, "outdir": tmp_path, "device": "cpu"}
        folder = train_vae.main(train_vae.Config(data=str(pictures), **flags))
        parts[decay] = checkpoints.read(folder / "checkpoints" / "last.pt")["parts"]
    distance = {
        decay: (part["model"]["encoder.head.weight"] - part["ema"]["module.encoder.head.weight"]).abs().max()
        for decay, part in parts.items()
    }
    assert distance[1e-9] < 1e-6
    assert distance[1 - 1e-9] > 1e-4


SHORT = {"samples": 10, "importance_samples": 1, "importance_images": 2, "components": (1,)}
"""Flags of an evaluation of ten images."""


@pytest.mark.parametrize("split", ["test", "val"])
def test_the_evaluation_measures_the_best_weights(trained_vae, split, tmp_path):
    config, folder, shown, _ = trained_vae
    flags = eval_vae.Config(run_dirs=(folder,), split=split, outdir=tmp_path, **SHORT)
    evaluated = eval_vae.main(flags)
    images = train_vae.load_split(config, split)
    model, x = train_vae.build_model(config, images).eval(), images.images.float() / 127.5 - 1
    errors = []
    for weights in shown[1:]:
        model.load_state_dict(weights)
        errors.append((((model.reconstruct(x) - x) / 2) ** 2).mean().item())
    measured = runs.read_json(evaluated / "summary.json")["models"][0]["eval/mse"]
    assert measured == pytest.approx(errors[0], rel=1e-5)
    assert measured != pytest.approx(errors[1], rel=1e-5)


def test_the_learning_rate_is_half_a_cosine(trained_vae):
    config, _, _, rates = trained_vae
    assert len(rates) == 15
    expected = [config.lr * (1 + math.cos(math.pi * step / 15)) / 2 for step in range(1, 16)]
    assert rates == pytest.approx(expected, abs=1e-12)
    assert rates[-1] == 0


def test_beta_grows_over_the_warm_up(trained_vae):
    _, folder, _, _ = trained_vae
    assert [line["train/beta"] for line in runs.read_metrics(folder)] == [0.5, 1, 1]


FLAGS = {"size": 16, "latent": 3, "batch_size": 8, "epochs": 2, "device": "cpu"}


@pytest.mark.parametrize("looser", [{"free_bits": 1000.0}, {"warmup_epochs": 1000.0}, {"beta": 0.001}])
def test_where_the_kl_costs_nothing_it_grows(pictures, looser, tmp_path):
    """More free nats than are ever spent, a warm-up longer than the run, a tiny beta."""
    kl = []
    for flags in ({}, looser):
        config = train_vae.Config(data=str(pictures), lr=0.01, outdir=tmp_path, **FLAGS, **flags)
        kl.append(runs.read_metrics(train_vae.main(config))[-1]["val/kl_nats"])
    assert kl[1] > 1.5 * kl[0]


def test_binarised_pixels_are_all_that_training_and_evaluation_see(pictures, monkeypatch, tmp_path):
    read, encode = [], vae.VAE.encode
    noting = lambda model, x, labels=None: (read.append(x), encode(model, x, labels))[1]
    monkeypatch.setattr(vae.VAE, "encode", noting)
    config = train_vae.Config(data=str(pictures), binarise=True, outdir=tmp_path, **FLAGS)
    folder = train_vae.main(config)
    trained, sets = len(read), {}
    for split in ("train", "val", "test"):
        sets[split] = train_vae.load_split(config, split)
    eval_vae.measure(folder, config, eval_vae.Config(run_dirs=(folder,), **SHORT), sets, 10, None, None)
    assert trained >= 2 * 5
    assert len(read) >= trained + 3
    assert all(torch.equal(x.unique(), torch.tensor([-1.0, 1.0])) for x in read)


# ---- autoencoders


@pytest.fixture(scope="module")
def trained_autoencoder(tmp_path_factory):
    """An autoencoder of zeros, three epochs, and the weights it was validated with."""
    told = Told(train_autoencoder.mean_squared_error, lambda _, loss: loss)
    sets = {}

    def few(config, part):
        if part not in sets:
            sets[part] = train_autoencoder.anomaly_data.load(
                "digits", part, size=28, color=False, normal_class=0, data_dir=config.data_dir
            ).take(slice(0, 60))
        return sets[part]

    outdir = tmp_path_factory.mktemp("runs")
    config = train_autoencoder.Config(
        data="digits", latent=4, epochs=len(LOSSES), batch_size=20, lr=0.01, outdir=outdir, device="cpu"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_autoencoder, "mean_squared_error", told)
        patch.setattr(train_autoencoder, "load_part", few)
        yield config, train_autoencoder.main(config), told.shown


def test_the_autoencoder_that_is_evaluated_is_that_of_the_best_epoch(trained_autoencoder):
    config, folder, shown = trained_autoencoder
    assert same(train_autoencoder.load_best(config, folder).state_dict(), shown[1])
    assert not same(shown[1], shown[2])
    assert runs.read_json(folder / "summary.json")["metrics"] == {"val/mse": LOSSES[1], "epoch": 2}


def test_its_scores_are_those_of_the_best_weights(trained_autoencoder):
    config, folder, shown = trained_autoencoder
    plain = eval_autoencoder.score_run(folder, "linear2", eval_autoencoder.Config(run_dirs=(folder,)))[0]
    model, test = train_autoencoder.build_model(config).eval(), train_autoencoder.load_part(config, "test")
    model.load_state_dict(shown[1])
    x = test.images.float() / 127.5 - 1
    expected = ((x - model.reconstruct(x)) / 2).square().mean((1, 2, 3))
    assert plain.score == "mse"
    assert (plain.test - expected).abs().max() < 1e-6
