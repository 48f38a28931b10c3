"""What is measured and drawn of a text-to-image model: counts by hand, choice of guidance, scripts."""

import json
from pathlib import Path

from common import command_line
from common.data import avatar_captions, avatars, to_uint8
from common.errors import InputError

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from small_portraits import SECOND, config

from hw4_diffusion import drawing, pipelines, small_pipeline, text_to_image_measures
from hw4_diffusion import eval_text_to_image as evaluation
from hw4_diffusion import sample_text_to_image as sampling
from hw4_diffusion import train_text_to_image as training


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    """Where drawn sets are kept between the tests of this file."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory) -> Path:
    """A run directory of the second stage."""
    return training.main(config(data_dir, tmp_path_factory.mktemp("runs"), steps=3, autoencoder_steps=3))


@pytest.fixture(scope="module")
def pipeline(trained):
    return pipelines.load(str(trained))


# ---- measures


def test_orders_are_counted_where_they_are_given():
    options = {"hair": torch.tensor([0, 1, -1, 2]), "expression": torch.tensor([3, -1, -1, 4]),
               "background": torch.tensor([0, 0, 0, 0])}  # fmt: skip
    found = {"hair": torch.tensor([0, 5, 1, 2]), "expression": torch.tensor([3, 3, 3, 0])}
    percent = text_to_image_measures.obeyed_percent(options, found)
    assert percent == pytest.approx({
        "hair": 200 / 3, "expression": 50, "attributes": 60, "all": 50,  # the third image has no orders
    })  # fmt: skip


def test_an_attribute_that_is_nowhere_ordered_is_not_divided_by(recwarn):
    options = {"hair": torch.tensor([-1, -1]), "clothes": torch.tensor([1, 1])}
    found = {"hair": torch.tensor([0, 0]), "clothes": torch.tensor([1, 0])}
    percent = text_to_image_measures.obeyed_percent(options, found)
    assert percent["hair"] == 0 and percent["attributes"] == 50 and percent["all"] == 50


def test_orders_are_those_that_the_captions_tell(data_dir):
    images = avatars.draw_set("val", 32, 50, 0)
    orders = text_to_image_measures.orders_of(images, 7)
    captions = avatar_captions.varied(images.attributes, 7)
    assert orders.texts == captions.texts
    for name, option in orders.options.items():
        told = captions.told[name]
        assert torch.equal(option[told], images.attributes[name][told]) and (option[~told] == -1).all()


def test_portraits_are_compared_by_their_styles_too():
    images = avatars.draw_set("val", 64, 40, 0)
    real = text_to_image_measures.reference_of(images, torch.device("cpu"))
    itself = real.measure(images.images)
    assert itself["fd_avatars_40"] == pytest.approx(0, abs=1e-2) and itself["valid"] > 0.8
    assert itself["coverage"] == itself["evenness"] == 1
    assert real.measure(images.images[:10].repeat(4, 1, 1, 1))["coverage"] < 0.5


def test_psnr_by_hand():
    images = torch.full((2, 3, 8, 8), 100, dtype=torch.uint8)
    others = images.clone()
    others[0] += 10
    others[1, :, :4] += 20
    wanted = (10 * torch.log10(255**2 / torch.tensor([100.0, 200.0]))).mean()
    assert text_to_image_measures.psnr(images, others) == pytest.approx(wanted.item(), rel=1e-5)


def test_reconstructions_are_of_the_mean_latent(pipeline):
    images = avatars.draw(avatars.sample_attributes(5, torch.Generator().manual_seed(1)), 32)
    through = text_to_image_measures.reconstructed(pipeline.vae, images)
    with torch.inference_mode():
        latents = pipeline.vae.encode(images.float() / 127.5 - 1).latent_dist.mean
        wanted = to_uint8(pipeline.vae.decode(latents).sample)
    assert (through.int() - wanted.int()).abs().max() <= 1 and through.shape == images.shape


# ---- drawing


def test_an_image_does_not_depend_on_what_is_drawn_beside_it(pipeline, monkeypatch):
    texts = ("a sad person", "a happy face", "an angry character", "a person, sunglasses", "a face")
    whole = text_to_image_measures.draw(pipeline, texts, guidance=3.0, steps=3, seed=2)
    monkeypatch.setitem(drawing.PIXELS, "cpu", 2 * whole.shape[-1] ** 2)
    parts = text_to_image_measures.draw(pipeline, texts, guidance=3.0, steps=3, seed=2)
    assert (whole.int() - parts.int()).abs().max() <= 1
    alone = drawing.draw(pipeline, texts[3:4], [2_000_003], guidance=3.0, steps=3)
    assert (whole[3].int() - alone[0].int()).abs().max() <= 1
    assert not torch.equal(whole, text_to_image_measures.draw(pipeline, texts, guidance=3.0, steps=3, seed=3))


def test_guidance_prompt_and_negative_prompt_reach_the_network(pipeline, monkeypatch):
    """The U-Net's two answers by hand, in one step from noise alone."""
    seen = []
    forward = type(pipeline.unet).forward

    def spy(self, sample, *rest, **more):
        output = forward(self, sample, *rest, **more)
        seen.append((more["encoder_hidden_states"], output[0]))
        return output

    guided = []
    step = DPMSolverMultistepScheduler.step

    def listening_step(self, output, *rest, **more):
        guided.append(output)
        return step(self, output, *rest, **more)

    monkeypatch.setattr(type(pipeline.unet), "forward", spy)
    monkeypatch.setattr(DPMSolverMultistepScheduler, "step", listening_step)
    drawing.draw(pipeline, ["a sad person"], [0], guidance=3.0, steps=1, negative_prompt="a face")
    words, (negative, told) = seen[0][0], seen[0][1]
    encode = lambda text: pipeline.text_encoder(
        pipeline.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
    ).last_hidden_state[0]
    with torch.inference_mode():
        assert torch.allclose(words[0], encode("a face"), atol=1e-5)
        assert torch.allclose(words[1], encode("a sad person"), atol=1e-5)
    assert torch.allclose(guided[0][0], negative + 3 * (told - negative), atol=1e-4)


# ---- evaluation


def test_the_nearest_guidance_of_those_obeyed_nearly_best_is_chosen():
    measured = (1, 70, 10), (2, 94.2, 30), (3, 95, 40), (4, 93.9, 20)
    names = ("guidance", "obeyed_attributes_percent", "fd_avatars_1k")
    rows = [dict(zip(names, numbers)) for numbers in measured]
    assert evaluation.chosen(rows, "fd_avatars_1k") == 2


@pytest.fixture(scope="module")
def evaluated(trained, data_dir, tmp_path_factory) -> Path:
    return evaluation.main(evaluation.Config(
        str(trained), samples=24, sweep_samples=20, guidances=(1.0, 3.0), step_sweep=(2, 3), steps=2,
        device="cpu", data_dir=data_dir, outdir=tmp_path_factory.mktemp("evaluated"),
    ))  # fmt: skip


def test_an_evaluation_keeps_numbers_table_and_figures(evaluated):
    kept = json.loads((evaluated / "summary.json").read_text())
    assert [row["guidance"] for row in kept["rows"]["guidance"]] == [1, 3]
    assert [row["steps"] for row in kept["rows"]["steps"]] == [2, 3]
    (test,) = kept["rows"]["test"]
    assert test["guidance"] == evaluation.chosen(kept["rows"]["guidance"], "fd_avatars_20")
    assert all(row["guidance"] == test["guidance"] for row in kept["rows"]["steps"])
    names = {"eval/obeyed_attributes_percent", "eval/fd_avatars_24", "eval/seconds_one_image",
             "autoencoder/psnr_db", "autoencoder/read_expression_percent"}  # fmt: skip
    assert names < kept["metrics"].keys()
    assert kept["figures"] == ["edits.png", "reconstructions.png", "samples.png", "sweeps.png"]
    assert kept["model"] == SECOND and 0.1 < kept["megabytes"] < 1 and set(kept["parameters"]) == {
        "vae", "text_encoder", "unet"}  # fmt: skip
    assert "| guidance |" in (evaluated / "table.md").read_text()


def test_test_captions_are_not_those_of_training_or_validation(data_dir):
    from hw4_diffusion import text_to_image_report

    seeds = {*range(1000), text_to_image_report.WORDING, evaluation.WORDING}
    assert len(seeds) == 1002


# ---- the script that draws


def test_portraits_are_drawn_and_unknown_words_named(trained, tmp_path, capsys):
    flags = ["--model", str(trained), "--prompts", "a sad person in a tuxedo", "a happy face", "--count", "2",
             "--steps", "2", "--device", "cpu", "--outdir", str(tmp_path)]  # fmt: skip
    sampling.main(command_line.parse(sampling.Config, flags))
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "portraits.png") and (tmp_path / "portraits.png").is_file()
    assert said.err.count("warning") == 1
    assert "'a sad person in a tuxedo': the model does not know tuxedo" in said.err


def test_the_prompts_of_the_scripts_are_known_words():
    from hw4_diffusion import text_to_image_figures as shown

    tokenizer = small_pipeline.build_tokenizer(small_pipeline.Description())
    for text in (*sampling.PROMPTS, *(shown.START.format(*words) for words in shown.EDITS)):
        assert small_pipeline.unknown_words(tokenizer, text) == []


@pytest.mark.parametrize("what", ["nowhere", "empty", "damaged"])
def test_what_is_no_pipeline_is_named(what, trained, tmp_path):
    folder = tmp_path / what
    if what != "nowhere":
        folder.mkdir()
    if what == "damaged":
        (folder / "model_index.json").write_text("{}")
    with pytest.raises(
        InputError, match=rf"--model .*{what}: (no such folder|no model_index.json there|a None)"
    ):
        sampling.main(sampling.Config(model=str(folder), device="cpu", outdir=tmp_path))
