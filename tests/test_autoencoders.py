"""Autoencoders of homework 1: shapes, limiting cases, one batch overfitted, and both scripts as a student
runs them."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

from common import runs
from common.data.wells_layout import write_layout
from common.errors import InputError

import pytest
import torch

from hw1_bayes_and_autoencoders import anomaly_data, anomaly_scores, autoencoders, eval_vae
from hw1_bayes_and_autoencoders import eval_autoencoder as evaluation
from hw1_bayes_and_autoencoders import train_autoencoder as training

ROOT = Path(__file__).resolve().parent.parent
ARCHS = {"linear2": 28, "linear5": 28, "conv": 32, "vae": 32, "memory": 32}


def build(arch: str, **more) -> autoencoders.Autoencoder:
    torch.manual_seed(0)
    return autoencoders.build(arch, 1, ARCHS[arch], more.pop("latent", 8), **more)


@pytest.mark.parametrize("arch", ARCHS)
def test_loss_terms_are_per_image_and_reconstructions_keep_the_shape(arch):
    model = build(arch)
    x = torch.rand(3, 1, ARCHS[arch], ARCHS[arch]) * 2 - 1
    terms = model(x, x)
    assert all(value.shape == (3,) and (value >= 0).all() for value in terms.values()) and "mse" in terms
    model.eval()
    assert model.reconstruct(x).shape == x.shape and model.reconstruct(x).abs().max() <= 1
    assert torch.equal(model.reconstruct(x), model.reconstruct(x))  # scores have no randomness


@pytest.mark.parametrize("arch", ARCHS)
def test_one_batch_is_overfitted(arch):
    generator = torch.Generator().manual_seed(1)
    size = ARCHS[arch]
    coarse = torch.rand(4, 1, 4, 4, generator=generator)
    x = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear").mul(1.6).sub(0.8)
    model = build(arch, latent=16, pixel_sigma=0.01)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    first = None
    for _ in range(150):
        terms = model(x, x)
        first = terms["mse"].mean().item() if first is None else first
        optimizer.zero_grad()
        sum(term.mean() for term in terms.values()).backward()
        optimizer.step()
    assert terms["mse"].mean().item() < 0.1 * first


def test_patches_are_painted_as_often_on_every_pixel_as_on_its_mirror_image():
    grey = torch.zeros(20_000, 1, 16, 12)
    painted = (autoencoders.with_patches(grey, 1) != 0)[:, 0]
    for over in (1, 2):
        shares = painted.any(over).double().mean(0)
        assert (shares - shares.flip(0)).abs().max() < 0.03  # five sd of a difference of shares: 0.02
    assert 0 < painted.double().mean() < 0.1


@pytest.mark.parametrize("color", [False, True])
def test_colour_is_a_flag_of_the_script(color):
    model = training.build_model(training.Config(color=color))
    x = torch.rand(2, 3 if color else 1, 28, 28)
    assert model.reconstruct(x).shape == x.shape


def test_squared_error_is_in_grey_levels_of_0_to_1():
    black, white = -torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    assert torch.equal(autoencoders.squared_error(black, white), torch.ones(1, 2, 2))


def test_the_vae_pays_nothing_for_the_prior_and_its_closed_form_otherwise():
    model = build("vae")
    x = torch.rand(5, 1, 32, 32) * 2 - 1
    mu, log_variance = model.encoder(x).chunk(2, 1)
    q = torch.distributions.Normal(mu, (log_variance / 2).exp())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0, 1)).sum(1)
    torch.manual_seed(3)
    expected = kl * 2 * 0.1**2 / 1024
    torch.testing.assert_close(model(x, x)["kl"], expected, rtol=1e-5, atol=1e-9)


def test_memory_keeps_unit_items_moves_only_in_training_and_pulls_towards_its_queries():
    model = build("memory", memory_items=3)
    x = torch.rand(4, 1, 32, 32) * 2 - 1
    before = model.memory.clone()
    model.eval()
    model(x, x)
    assert torch.equal(model.memory, before)
    model.train()
    queries = model.queries(x).flatten(0, 1).detach()
    nearest = (queries @ before.T).argmax(1)
    model(x, x)
    assert torch.allclose(model.memory.norm(dim=1), torch.ones(3), atol=1e-6)
    for item in nearest.unique().tolist():
        mean = queries[nearest == item].mean(0)
        assert model.memory[item] @ mean > before[item] @ mean
    unused = [item for item in range(3) if item not in nearest.tolist()]
    assert torch.allclose(model.memory[unused], before[unused], atol=1e-6)


def test_scores_find_what_they_are_made_for():
    torch.manual_seed(0)
    clean = torch.randn(400, 1, 32, 32) * 0.1
    spilled = clean[:200].clone()
    spilled[:, :, 4:11, 9:16] += 0.06  # faint and bright, on one patch
    usual = anomaly_scores.usual_error(clean[200:])
    score = lambda name, residual: anomaly_scores.score(name, residual, usual, 7)
    auc = {name: (score(name, spilled)[:, None] > score(name, clean[200:])).double().mean().item()
           for name in anomaly_scores.SCORES}  # fmt: skip
    assert auc["bright"] > 0.9 > auc["patch"] > auc["mse"]
    assert abs(auc["weighted-bright"] - auc["bright"]) < 0.05  # all pixels have the same usual error here


def test_one_class_of_a_labelled_set():
    part = lambda name: anomaly_data.load("digits", name, size=32, color=False, normal_class=7, data_dir=None)
    train, val, anomalies, test = (part(name) for name in get_args(anomaly_data.Part))
    assert train.shape == (1, 32, 32) and (train.labels == 0).all() and (val.labels == 0).all()
    assert (anomalies.labels == 1).all() and 0 < (test.labels == 0).sum() < (test.labels == 1).sum()
    assert (train.images[:, :, :2] == 0).all()  # the frame around 28 pixels


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--latent", "0"], "--latent 0: must be greater than or equal to 1"),
        (["--memory-items", "1"], "--memory-items 1: must be greater than or equal to 2"),
        (["--patches", "100000"], "--patches 100000: must be less than"),
        (["--normal-class", "3"], "--normal-class 3: wells has no classes"),
        (["--data", "digits", "--color"], "--color: the images of digits are grey"),
        (["--arch", "conv", "--size", "30"], "--size 30: --arch conv needs a multiple of 8"),
        (["--data", "digits", "--normal-class", "10"], "digits has classes 0 to 9"),
        (["--data", "digits", "--size", "16"], "--size 16"),
        (["--data", "nowhere"], "--data nowhere: neither a data set"),
        (["--resume", "nowhere"], "nowhere/config.json: no such file"),
        (["--resume", __file__], "test_autoencoders.py/config.json: no such file; name a run directory"),
        (["--outdir", "/dev/null/x"], "--outdir: cannot write"),
    ],
)
def test_a_mistake_is_one_line(flags, message, capsys):
    from common import command_line

    with pytest.raises(SystemExit) as stop:
        command_line.run(training.main, training.Config, ["--device", "cpu", "--epochs", "1", *flags])
    assert message in stop.value.code and "\n" not in stop.value.code


def test_a_batch_larger_than_the_set_is_refused(tmp_path):
    write_layout(tmp_path / "moulds", {"train": 20, "proliv": 4, "test": 4})
    config = training.Config(data=str(tmp_path / "moulds"), batch_size=64, outdir=tmp_path, device="cpu")
    with pytest.raises(InputError, match=r"--batch-size 64: the train split of moulds has only \d+"):
        training.main(config)


def script(name: str, *flags) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "hw1_bayes_and_autoencoders" / f"{name}.py", *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_the_course_folder_from_training_to_the_table(tmp_path):
    """train/, proliv/ and test/ as the course gives them; two seeds of one architecture, one of another."""
    write_layout(tmp_path / "moulds", {"train": 160, "proliv": 24, "test": 40})
    flags = [
        "--data",
        tmp_path / "moulds",
        "--epochs",
        1,
        "--batch-size",
        32,
        "--outdir",
        tmp_path,
        "--device",
        "cpu",
    ]
    for more in (
        ["--arch", "linear2"],
        ["--arch", "linear2", "--seed", 1],
        ["--arch", "memory", "--size", 32],
    ):
        script("train_autoencoder", *flags, *more)
    trained = sorted((tmp_path / "hw1").iterdir())
    assert [path.name for path in trained] == [
        "0001-linear2-moulds",
        "0002-linear2-moulds",
        "0003-memory-moulds",
    ]
    for name in ("loss.png", "reconstructions.png", "summary.json", "env.json", "checkpoints/best.pt"):
        assert (trained[0] / name).is_file()

    done = script(
        "eval_autoencoder", *trained, "--outdir", tmp_path, "--false-alarm-rate", 0.2, "--bootstrap", 50
    )
    folder = tmp_path / "hw1" / "0004-eval-autoencoder-moulds"
    summary = runs.read_json(folder / "summary.json")
    rows = {(row["arch"], row["score"], row["rule"]): row for row in summary["rows"]}
    assert len(rows) == 2 * len(anomaly_scores.SCORES) * 3 and summary["n_test"] == 40
    assert rows["linear2", "mse", "youden"]["seeds"] == 2 and rows["memory", "mse", "youden"]["seeds"] == 1
    assert all(0 <= summary["metrics"][f"test/{name}"] <= 1 for name in ("tpr", "tnr", "auc"))
    assert (folder / "table.md").read_text() in done.stdout
    for name in ("roc.png", "mse.png", "scores.png", "rules.png", "mistakes.png", "memory.png"):
        assert (folder / name).stat().st_size > 5000


def test_thresholds_come_from_validation_images_alone():
    """Whatever the test scores are, the thresholds and the choice of the best pair stay."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda count, shift=0.0: torch.rand(count, generator=generator) + shift
    val, anomalies = draw(50), draw(30, 0.4)
    config = evaluation.Config(run_dirs=())
    scored = lambda test: evaluation.Scored(
        Path(), "conv", "mse", 0, val, anomalies, test, torch.arange(20) % 2
    )
    one, other = scored(draw(20)), scored(draw(20) * 100)
    assert evaluation.thresholds(one, config) == evaluation.thresholds(other, config)
    assert one.validation_auc == other.validation_auc
    manual = evaluation.thresholds(one, evaluation.Config(run_dirs=(), threshold=0.7))
    assert manual["manual"] == 0.7 and len(manual) == 4


def test_evaluating_nothing_is_one_line():
    with pytest.raises(InputError, match="no run directory given"):
        evaluation.main(evaluation.Config(run_dirs=()))
    with pytest.raises(InputError, match="no run directory given"):
        eval_vae.main(eval_vae.Config(run_dirs=()))
