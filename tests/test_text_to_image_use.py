"""Text to image: numbers are those of the images, captions and split that they are called by."""

import json
from pathlib import Path

import pytest
import torch
from small_portraits import FIRST, SECOND, config, logged

from hw4_diffusion import eval_text_to_image as evaluation
from hw4_diffusion import small_pipeline, text_to_image_figures, text_to_image_measures
from hw4_diffusion import train_text_to_image as training


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def asked() -> list[dict]:
    """Calls of draw while the run of `trained` was measured."""
    return []


@pytest.fixture(scope="module")
def trained(data_dir, asked, tmp_path_factory) -> Path:
    """The folder of both stages' runs, of one update each; what is drawn is noise."""

    def draw(pipeline, texts, **more):
        images = torch.randint(0, 256, (len(texts), 3, 32, 32), dtype=torch.uint8)
        asked.append({"pipeline": pipeline, "texts": texts, "images": images, **more})
        return images

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_to_image_measures, "draw", draw)
        one = config(data_dir, tmp_path_factory.mktemp("runs"), steps=1, autoencoder_steps=1, guidance=2.5)
        return training.main(one).parent


# ---- measurements of both stages


def test_reconstructions_are_of_validation_portraits_by_the_averaged_weights(trained, data_dir):
    validation = training.load(config(data_dir, Path()), "val", 12)
    autoencoder = small_pipeline.read_autoencoder(trained / FIRST)
    through = text_to_image_measures.reconstructed(autoencoder, validation.images)
    line, real = logged(trained / FIRST)[-1], text_to_image_measures.reference_of(validation, "cpu")
    assert line["val/psnr_db"] == pytest.approx(
        text_to_image_measures.psnr(validation.images, through), abs=1e-3
    )
    assert line["val/fd_avatars_12"] == pytest.approx(real.distance(real.features_of(through)), rel=1e-4)
    read = real.extractor.answers(real.features_of(through))
    right = (read["expression"].cpu() == validation.attributes["expression"]).double().mean().item()
    assert line["val/read_expression_percent"] == pytest.approx(100 * right)


def test_samples_are_of_validation_captions_that_training_has_not_seen(trained, data_dir, asked):
    validation = training.load(config(data_dir, Path()), "val", 12)
    orders = text_to_image_measures.orders_of(validation, 1_000_000)
    (call,) = asked
    assert call["texts"] == orders.texts and call["guidance"] == 2.5 and call["steps"] == 20
    real = text_to_image_measures.reference_of(validation, "cpu")
    features = real.features_of(call["images"])
    expected = text_to_image_measures.obeyed_percent(orders.options, real.extractor.answers(features))
    line = logged(trained / SECOND)[-1]
    assert {name: line[f"val/obeyed_{name}_percent"] for name in expected} == pytest.approx(expected)
    assert line["val/fd_avatars_12"] == pytest.approx(real.distance(features), rel=1e-4)


# ---- evaluation


def test_an_evaluation_chooses_on_validation_captions_and_measures_on_test_ones(
    trained, data_dir, tmp_path, monkeypatch
):
    """A model that draws every portrait itself, but for a guidance of 3, at which all are mixed up."""
    portraits = {
        split: training.load(config(data_dir, Path()), split, count)
        for split, count in (("val", 20), ("test", 24))
    }
    orders = {split: text_to_image_measures.orders_of(each, 2_000_000) for split, each in portraits.items()}
    calls = []

    def draw(pipeline, texts, *, guidance, steps, seed):
        split = next(name for name, each in orders.items() if each.texts[: len(texts)] == tuple(texts))
        calls.append((split, len(texts), guidance, steps, seed))
        images = portraits[split].images[: len(texts)]
        return images.roll(1, 0) if guidance == 3 else images

    monkeypatch.setattr(evaluation, "draw", draw)
    monkeypatch.setattr(evaluation, "reconstructed", lambda vae, images: images.roll(1, 0))
    monkeypatch.setattr(
        text_to_image_figures.drawing,
        "draw",
        lambda pipeline, texts, seeds, **_: torch.zeros(len(texts), 3, 32, 32, dtype=torch.uint8),
    )
    run_dir = evaluation.main(evaluation.Config(
        str(trained / SECOND), samples=24, sweep_samples=20, guidances=(3.0, 1.5), step_sweep=(2, 9), steps=5,
        seed=4, device="cpu", data_dir=data_dir, outdir=tmp_path,
    ))  # fmt: skip
    assert calls == [
        ("val", 20, 3.0, 5, 4), ("val", 20, 1.5, 5, 4),
        ("val", 20, 1.5, 2, 4), ("val", 20, 1.5, 9, 4),
        ("test", 24, 1.5, 5, 4), ("test", 1, 1.5, 5, 0), ("test", 1, 1.5, 5, 0),
    ]  # fmt: skip
    kept = json.loads((run_dir / "summary.json").read_text())
    mixed, itself = kept["rows"]["guidance"]
    assert mixed["obeyed_attributes_percent"] < 50
    assert itself["obeyed_attributes_percent"] > 80
    (numbers,) = kept["rows"]["test"]
    assert numbers["fd_avatars_24"] < 1e-6, "as many test portraits, which were drawn"
    assert numbers["obeyed_attributes_percent"] > 80
    bound = kept["rows"]["autoencoder"][0]
    assert bound["fd_avatars_24"] < 1e-6, "the same portraits, in another order"
    assert bound["read_attributes_percent"] < 50, "but none in its place"
    test = portraits["test"].images
    assert bound["psnr_db"] == pytest.approx(text_to_image_measures.psnr(test, test.roll(1, 0)))
