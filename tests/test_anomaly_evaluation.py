"""Homework 1: which side is anomalous, which sign is bright, which images choose what."""

from dataclasses import replace
from pathlib import Path

from common import data, runs
from common.data import ImageSet
from common.data.wells_layout import write_layout
from common.errors import InputError
from common.metrics import detection

import pytest
import torch
from torch import nn

from hw1_bayes_and_autoencoders import anomaly_data, anomaly_scores, autoencoders, eval_autoencoder
from hw1_bayes_and_autoencoders import train_autoencoder as training

COUNTS = {"train": 60, "val": 40, "anomalies": 30, "test": 50}


class Grey(autoencoders.Autoencoder):
    """Reconstructs every image as middle grey."""

    def __init__(self):
        super().__init__(nn.Identity(), nn.Identity())

    def reconstruct(self, x):
        return torch.zeros_like(x)


def grey_sets(spot: float, noise: dict[str, float] | None = None) -> dict[str, ImageSet]:
    """Noisy grey images; anomalies, and every fifth test image, have a spot of that many grey levels."""
    generator, sets = torch.Generator().manual_seed(0), {}
    for part, count in COUNTS.items():
        anomalous = (
            torch.arange(count) % 5 == 0 if part == "test" else torch.full((count,), part == "anomalies")
        )
        deviation = (noise or {}).get(part, 8.0)
        images = 127.5 + deviation * torch.randn(count, 1, 28, 28, generator=generator)
        images[anomalous, :, 5:12, 9:16] += spot
        images = images.round().clamp(0, 255).to(torch.uint8)
        sets[part] = ImageSet(images, name="grey", split=part, source="drawn", labels=anomalous.long())
    return sets


@pytest.fixture
def evaluate(monkeypatch, tmp_path):
    """Evaluate the grey model on sets: summary of the evaluation, and its scores."""

    def run(sets: dict[str, ImageSet], **flags) -> tuple[dict, dict[str, eval_autoencoder.Scored]]:
        monkeypatch.setattr(training, "load_part", lambda config, part: sets[part])
        monkeypatch.setattr(training, "load_best", lambda config, run_dir: Grey())
        monkeypatch.setattr(eval_autoencoder, "training_config", lambda run_dir, config: training.Config())
        config = eval_autoencoder.Config(run_dirs=(Path("trained"),), outdir=tmp_path, **flags)
        scored = eval_autoencoder.score_run(Path("trained"), "grey", config)
        folder = eval_autoencoder.main(config)
        return runs.read_json(folder / "summary.json"), {one.score: one for one in scored}

    return run


def test_spots_are_the_anomalous_side_on_test_and_validation_images(evaluate):
    summary, scored = evaluate(grey_sets(spot=12))
    normal, anomalous = scored["bright"].test_parts
    assert (len(normal), len(anomalous)) == (40, 10)
    assert anomalous.min() > normal.max()
    assert scored["bright"].validation_auc == 1
    assert summary["metrics"]["test/auc"] == summary["metrics"]["test/tpr"] == 1
    assert summary["metrics"]["test/tnr"] > 0.9


def test_a_row_has_the_rates_of_its_threshold_and_the_table_shows_them(evaluate, tmp_path):
    summary, scored = evaluate(grey_sets(spot=4))
    for row in summary["rows"]:
        own = scored[row["score"]]
        on_test = detection.rates(*own.test_parts, row["threshold"])
        assert [row["tpr"], row["tnr"]] == [on_test.tpr.item(), on_test.tnr.item()]
        on_validation = detection.rates(own.val, own.anomalies, row["threshold"])
        balanced = (on_validation.tpr + on_validation.tnr).item() / 2
        assert row["validation_balanced"] == pytest.approx(balanced)
    best = max(summary["rows"], key=lambda row: (row["validation_auc"], row["validation_balanced"]))
    assert summary["best"] == {key: best[key] for key in ("arch", "score", "rule", "seeds")}
    (table,) = tmp_path.rglob("table.md")
    assert "| TPR | TNR | precision | ROC AUC |" in table.read_text(encoding="utf-8")


@pytest.mark.parametrize("part", COUNTS)
def test_a_part_without_images_is_named(evaluate, part):
    sets = grey_sets(spot=12)
    sets[part] = sets[part].take(slice(0, 0))
    with pytest.raises(InputError, match=f"no images in the part {part}$"):
        evaluate(sets)


def test_the_bright_score_looks_for_what_is_brighter_than_its_reconstruction(evaluate):
    _, scored = evaluate(grey_sets(spot=-12))
    for name in ("bright", "weighted-bright"):
        assert detection.roc_auc(*scored[name].test_parts) < 0.5
    assert detection.roc_auc(*scored["patch"].test_parts) > 0.9  # the squared error does not ask for the sign


def test_a_residual_is_the_image_minus_its_reconstruction():
    white = ImageSet(torch.full((1, 1, 4, 4), 255, dtype=torch.uint8), name="w", split="test", source="drawn")
    assert torch.equal(anomaly_scores.residuals(Grey(), white), torch.full((1, 1, 4, 4), 0.5))
    light = Grey()
    light.reconstruct = lambda x: torch.full_like(x, 0.5)
    assert torch.equal(anomaly_scores.residuals(light, white), torch.full((1, 1, 4, 4), 0.25))


def test_what_is_usual_at_a_pixel_is_measured_on_training_images(evaluate):
    """The images that choose the threshold, or are tested, must not set the scale as well."""
    summary, scored = evaluate(grey_sets(spot=12, noise={"train": 16.0}))
    sets = grey_sets(spot=12, noise={"train": 16.0})
    usual = anomaly_scores.usual_error(anomaly_scores.residuals(Grey(), sets["train"]))
    for part in ("val", "anomalies", "test"):
        residual = anomaly_scores.residuals(Grey(), sets[part])
        expected = anomaly_scores.score("weighted", residual, usual, 3)
        assert torch.equal(getattr(scored["weighted"], part), expected)
    assert summary["rows"][0]["seeds"] == 1


def test_known_anomalies_of_a_labelled_set_are_no_test_images(monkeypatch):
    """Each split of the set below has its own grey level."""
    level = {"train": 10, "val": 20, "test": 30}

    def labelled(name, split, **more):
        images = torch.full((20, 1, 28, 28), level[split], dtype=torch.uint8)
        names = ("zero", "one")
        return ImageSet(
            images, name=name, split=split, source="drawn", labels=torch.arange(20) % 2, class_names=names
        )

    monkeypatch.setattr(data, "load", labelled)
    part = lambda name: anomaly_data.load("digits", name, size=28, color=False, normal_class=0, data_dir=None)
    assert part("anomalies").images.unique().tolist() == [level["val"]]
    assert part("anomalies").labels.unique().tolist() == [1]
    assert part("train").images.unique().tolist() == [level["train"]]
    assert part("val").images.unique().tolist() == [level["val"]]
    assert part("test").images.unique().tolist() == [level["test"]]


def test_the_normal_class_is_the_one_that_is_named(monkeypatch):
    labels = torch.arange(30) % 3
    images = (50 * labels[:, None, None, None]).to(torch.uint8).expand(-1, 1, 28, 28)
    some = ImageSet(images, name="digits", split="any", source="drawn", labels=labels,
                    class_names=("zero", "one", "two"))  # fmt: skip
    monkeypatch.setattr(data, "load", lambda name, split, **more: some)
    for normal in (0, 1, 2):
        part = lambda name, normal=normal: anomaly_data.load(
            "digits", name, size=28, color=False, normal_class=normal, data_dir=None
        )
        others = [50 * label for label in range(3) if label != normal]
        assert part("train").images.unique().tolist() == [50 * normal]
        assert part("anomalies").images.unique().tolist() == others
        assert torch.equal(part("test").labels, (labels != normal).long())


def test_wells_are_smoothed_before_they_are_made_smaller_and_known_anomalies_are_proliv(monkeypatch):
    asked, stripes = [], torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    stripes[..., ::4] = 200

    def load(name, split, **more):
        asked.append((name, split))
        return ImageSet(stripes, name=name, split=split, source="drawn")

    monkeypatch.setattr(data, "load", load)
    for part in ("train", "val", "anomalies", "test"):
        small = anomaly_data.load("wells", part, size=16, color=True, normal_class=None, data_dir=None)
        assert small.shape == (3, 16, 16) and (small.images.int() - 50).abs().max() < 25
    assert asked == [("wells", split) for split in ("train", "val", "proliv", "test")]


# ---- which runs are one row


def test_runs_that_differ_in_more_than_the_seed_are_told_apart():
    base = training.Config(arch="conv")
    configs = [base, replace(base, seed=1), replace(base, latent=8), training.Config()]
    names = eval_autoencoder.detector_names({Path(str(i)): config for i, config in enumerate(configs)})
    assert list(names.values()) == ["conv (latent 32)", "conv (latent 32)", "conv (latent 8)", "linear2"]


# ---- training


@pytest.mark.parametrize("arch", ["linear2", "conv", "vae", "memory"])
def test_the_network_reads_the_corrupted_image_and_is_to_give_the_clean_one(arch):
    torch.manual_seed(0)
    model = autoencoders.build(arch, 1, 32, 8, pixel_sigma=1e-3).double().eval()
    x, corrupted = torch.rand(2, 3, 1, 32, 32, dtype=torch.float64) * 2 - 1
    if arch == "vae":  # without the randomness of z
        with torch.no_grad():
            model.encoder[-1].weight[8:], model.encoder[-1].bias[8:] = 0, -60
    error = lambda read, wanted: autoencoders.squared_error(wanted, model.reconstruct(read)).mean((1, 2))
    measured = model(x, corrupted)["mse"]
    assert (measured - error(corrupted, x)).abs().max() < 1e-12
    for read, wanted in ((x, x), (x, corrupted), (corrupted, corrupted)):
        assert (measured - error(read, wanted)).abs().max() > 1e-10


def test_denoising_is_trained_towards_the_clean_image(monkeypatch, tmp_path):
    """The corrupted images are negatives here: a network that learns the clean ones turns them again."""
    write_layout(tmp_path / "moulds", {"train": 120, "proliv": 4, "test": 4})
    monkeypatch.setattr(autoencoders, "with_patches", lambda x, patches: -x)
    forward, read_negatives = autoencoders.Autoencoder.forward, []

    def noting_forward(model, x, corrupted):
        read_negatives.append(torch.equal(corrupted, -x))
        return forward(model, x, corrupted)

    monkeypatch.setattr(autoencoders.Autoencoder, "forward", noting_forward)
    config = training.Config(
        data=str(tmp_path / "moulds"), patches=1, epochs=4, batch_size=10, outdir=tmp_path, device="cpu"
    )
    folder = training.main(config)
    assert read_negatives
    assert all(read_negatives)
    model = training.load_best(config, folder)
    x = training.load_part(config, "val").images.float() / 127.5 - 1
    with torch.inference_mode():
        output = model.reconstruct(-x)
    assert (output - x).square().mean() < 0.5 * (output + x).square().mean()
    assert folder.name == "0001-linear2-denoising-moulds"
