"""Shipping a text-to-image pipeline: its folder as it is, and a card with what its runs say."""

import json
import re
import shutil

from common.errors import InputError

import pytest
from small_portraits import FIRST, SECOND, config

from hw4_diffusion import eval_text_to_image, pipelines
from hw4_diffusion import train_text_to_image as training
from pretrained import publish_pipeline


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run directories of both stages and of the evaluation."""
    root = tmp_path_factory.mktemp("shipped")
    second = training.main(config(root / "data", root / "runs", steps=3, autoencoder_steps=3, seed=5))
    evaluation = eval_text_to_image.main(eval_text_to_image.Config(
        str(second), samples=24, sweep_samples=20, guidances=(2.0,), step_sweep=(2,), steps=2, device="cpu",
        data_dir=root / "data", outdir=root / "runs",
    ))  # fmt: skip
    return second, evaluation


def test_a_folder_is_shipped_with_a_card_of_its_runs(runs, tmp_path):
    second, evaluation = runs
    folder = publish_pipeline.main(publish_pipeline.Config(second, evaluation, outdir=tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "text-to-image-avatars",
        "text-to-image-avatars.md",
    ]
    kept = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert kept == {path.relative_to(second / "pipeline") for path in (second / "pipeline").rglob("*.*")}
    pipelines.load(str(folder))
    card = (tmp_path / "text-to-image-avatars.md").read_text(encoding="utf-8")
    measured = json.loads((evaluation / "summary.json").read_text())
    obeyed = measured["metrics"]["eval/obeyed_expression_percent"]
    assert f"| eval/obeyed_expression_percent | {obeyed:.4g} |" in card
    assert f"| autoencoder/psnr_db | {measured['metrics']['autoencoder/psnr_db']:.4g} |" in card
    assert "24 test captions" in card and "guidance 2 (chosen on\n20 validation captions), 2 steps" in card
    commands = re.findall(r"`(python hw4_diffusion/train_text_to_image.py [^`]*)`", card)
    assert len(commands) == 2 and all("--seed 5" in command for command in commands)
    assert "--stage denoiser --autoencoder RUN_DIR" in commands[1] and str(second.parent) not in card
    assert len(re.findall(r"\| \S+\.safetensors \| `[0-9a-f]{64}` \|", card)) == 3


def test_an_evaluation_of_another_model_is_refused(runs, tmp_path):
    second, evaluation = runs
    with pytest.raises(InputError, match="not an evaluation of"):
        publish_pipeline.main(publish_pipeline.Config(second.parent / FIRST, evaluation, outdir=tmp_path))
    assert second.name == SECOND and not list(tmp_path.iterdir())


def test_a_folder_that_is_no_pipeline_is_never_replaced(runs, tmp_path):
    """Nor is a pipeline where its card cannot be written."""
    second, evaluation = runs
    for name in ("thesis", "damaged"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "chapter.txt").write_text("of last year")
    with pytest.raises(InputError, match=r"thesis: there already, and no pipeline; choose another --name"):
        publish_pipeline.main(publish_pipeline.Config(second, evaluation, name="thesis", outdir=tmp_path))
    (tmp_path / "damaged" / "model_index.json").write_text("{}")
    lost = shutil.copytree(second, tmp_path / second.name)
    (lost / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        publish_pipeline.main(publish_pipeline.Config(lost, evaluation, name="damaged", outdir=tmp_path))
    assert all((tmp_path / name / "chapter.txt").exists() for name in ("thesis", "damaged"))


def test_a_run_without_a_pipeline_is_named(runs, tmp_path):
    second, evaluation = runs
    (tmp_path / second.name).mkdir()
    with pytest.raises(InputError, match=r": no pipeline/ there; name a finished run of the second stage"):
        publish_pipeline.main(publish_pipeline.Config(tmp_path / second.name, evaluation, outdir=tmp_path))
