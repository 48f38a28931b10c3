"""Comparing models: the same seeds for all, sheets and table, what prompts ask and images show, studies."""

import dataclasses
import json
import shutil
from pathlib import Path

from common import command_line, data
from common.data import avatar_captions, avatars
from common.errors import InputError
from common.metrics import identity

import pytest
import torch
from small_text_to_image import folder, tuning

from hw4_diffusion import (
    compare,
    drawing,
    dreambooth,
    fine_tuning_study,
    pipelines,
    prompt_measures,
    subjects,
    train_lora,
    tuned,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return folder(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def net(tmp_path_factory) -> Path:
    """An untrained network of identities."""
    path = tmp_path_factory.mktemp("net") / "identity.safetensors"
    torch.manual_seed(0)
    identity.save(path, identity.IdentityNetwork(identity.Architecture()), 0.5)
    return path


@pytest.fixture(autouse=True)
def _few_drawings(monkeypatch):
    """Of each of the hundred persons."""
    monkeypatch.setattr(prompt_measures, "PICTURES", 1)


@pytest.fixture(scope="module")
def tunings(model, tmp_path_factory) -> tuple[Path, Path]:
    """A U-Net and a LoRA."""
    outdir = tmp_path_factory.mktemp("runs")
    (lora,) = train_lora.main(train_lora.Config(**tuning(model, outdir, rank=(2,), max_train_steps=1)))
    return dreambooth.main(dreambooth.Config(**tuning(model, outdir, max_train_steps=1))), lora


# ---- images


def draw(model: str, seeds: list[int], batch_size: int) -> torch.Tensor:
    words = ["a portrait of a smiling person", "a sad person"] * len(seeds)
    return drawing.draw(
        pipelines.load(model), words[: len(seeds)], seeds, resolution=32, steps=3, guidance=4.0,
        batch_size=batch_size,
    ).int()  # fmt: skip


def test_an_image_does_not_depend_on_the_batch_it_is_drawn_in(model):
    one, all_ = draw(model, [5, 6, 7, 8, 9], 2), draw(model, [5, 6, 7, 8, 9], 5)
    assert (one - all_).abs().max() <= 1
    assert (draw(model, [7, 6], 1)[1] - all_[1]).abs().max() <= 1
    assert (all_[0] - all_[2]).abs().max() > 5  # the same prompt, another seed


def test_guidance_and_a_negative_prompt_change_images(model):
    pipe = pipelines.load(model)
    drawn = lambda **more: drawing.draw(
        pipe, ["a smiling person"], [0], resolution=32, steps=3, **({"guidance": 4.0} | more)
    ).int()  # fmt: skip
    assert (drawn() - drawn(negative_prompt="a sad person")).abs().max() > 0
    assert (drawn() - drawn(guidance=8.0)).abs().max() > 0


# ---- the whole


def test_all_models_are_compared_on_the_same_prompts_and_seeds(model, tunings, net, tmp_path, capsys):
    unet, lora = tunings
    run = compare.main(compare.Config(
        pretrained_model_name_or_path=model, unet=unet, lora=(lora,), identity=str(net), seeds=2,
        class_images=4, num_inference_steps=2, device="cpu", outdir=tmp_path,
    ))  # fmt: skip
    summary = json.loads((run / "summary.json").read_text())
    rows = {row["model"]: row for row in summary["rows"]}
    assert list(rows) == ["base", "U-Net", "LoRA, rank 2"]
    assert rows["base"]["drift"] == 0 and rows["U-Net"]["drift"] >= 0
    assert all(0 <= row[name] <= 1 for row in rows.values() for name in ("obeyed", "identity_first", "bleed"))
    taught = json.loads((lora / "summary.json").read_text())
    assert rows["LoRA, rank 2"]["trained_parameters"] == taught["metrics"]["trained_parameters"]
    assert rows["LoRA, rank 2"]["minutes"] == taught["minutes"]
    assert summary["n_images"] == 10 and len(summary["prompts"]) == 5
    assert sorted(path.name for path in (run / "samples").iterdir()) == [
        "prompts-seed0.png", "prompts-seed1.png"
    ]  # fmt: skip
    table = (run / "table.md").read_text()
    assert table.count("\n") == 5 and "| LoRA, rank 2 |" in table and table in capsys.readouterr().out


def test_a_sheet_shows_the_subjects_own_pictures_beside_those_drawn_of_it(model, net, tmp_path, monkeypatch):
    sheets = []
    monkeypatch.setattr(compare.figures, "save_grid", lambda path, cells, columns, **titles: sheets.append(
        (path.name, cells.unflatten(0, (-1, columns)), titles["column_titles"])
    ))  # fmt: skip
    compare.main(compare.Config(
        pretrained_model_name_or_path=model, identity=str(net), seeds=2, class_images=0,
        num_inference_steps=1, device="cpu", outdir=tmp_path,
    ))  # fmt: skip
    own = subjects.load("drawn1", 32).images
    for name, cells, titles in sheets:
        assert name.startswith("prompts") and titles[0] == "the subject"
        assert torch.equal(cells[:, 0], own[:5])


def test_a_lora_leaves_the_model_as_it_was(model, tunings):
    pipe = pipelines.load(model)
    before = {name: value.clone() for name, value in pipe.unet.state_dict().items()}
    with tuned.LoRA(tunings[1]).inside(pipe) as changed:
        assert changed.unet.state_dict().keys() != before.keys()
    after = pipe.unet.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)


def test_subjects_and_seeds_become_one_table(model, net, tmp_path):
    small = fine_tuning_study.Config(
        pretrained_model_name_or_path=model, subjects=("drawn1",), seeds=(0, 1), rank=(1,), max_train_steps=4,
        num_class_images=4, class_images=4, images=1, identity=str(net), num_inference_steps=1, device="cpu",
        outdir=tmp_path, data_dir=tmp_path / "data",
    )  # fmt: skip
    run = fine_tuning_study.main(small)
    summary = json.loads((run / "summary.json").read_text())
    names = ["base", "U-Net", "LoRA, rank 1", *(model for model, _ in fine_tuning_study.VARIANTS.values())]
    assert [row["model"] for row in summary["rows"]] == names
    assert [row["seeds"] for row in summary["rows"]] == [2, 2, 2, 1, 1]
    assert ["trained_parameters" in row for row in summary["rows"]] == [False, True, True, True, True]
    assert {row["seed"] for row in summary["rows_of_runs"]} == {"drawn1-0", "drawn1-1"}
    sheets = ["drawn1-seed0-prompts.png", "drawn1-seed1-prompts.png"]
    assert summary["figures"] == sheets and all((run / name).is_file() for name in sheets)
    with_prior = json.loads(next(run.glob("drawn1-seed0/with-prior/hw4/*/config.json")).read_text())
    assert with_prior["with_prior_preservation"] and with_prior["seed"] == 0
    for name, flag in (("without-prior", "with_prior_preservation"), ("one-prompt", "instance_captions")):
        other = json.loads(next(run.glob(f"drawn1-seed0/{name}/hw4/*/config.json")).read_text())
        different = {key for key, value in other.items() if value != with_prior[key]}
        assert different == {flag, "outdir"} and other[flag] is False
    times = {path: path.stat().st_mtime_ns for path in run.glob("*/*/hw4/*/summary.json")}
    resumed = fine_tuning_study.main(type(small)(**{**vars(small), "resume": run}))
    assert resumed == run and all(path.stat().st_mtime_ns == was for path, was in times.items())
    other = fine_tuning_study.Config(**{**vars(small), "parts": (run,), "subjects": (), "seeds": (0,)})
    with pytest.raises(InputError, match="--subjects, --seeds: name at least one of each"):
        fine_tuning_study.main(other)


def test_a_study_of_a_large_model_trains_with_the_values_of_one(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(dreambooth, "main", given.append)
    flags = {"pretrained_model_name_or_path": "stable-diffusion-v1-5/x", "num_inference_steps": 7}
    fine_tuning_study.finished(tmp_path, dreambooth, flags)
    words = ["--pretrained_model_name_or_path", "stable-diffusion-v1-5/x", "--num_inference_steps", "7"]
    by_hand = command_line.parse(dreambooth.Config, [*words, "--outdir", str(tmp_path)])
    assert given == [by_hand] and by_hand.learning_rate != dreambooth.Config().learning_rate


def test_loras_of_one_rank_have_names_of_their_own(tunings, tmp_path):
    other = tmp_path / "0009-lora-drawn2-rank2"
    shutil.copytree(tunings[1], other)
    assert [one.name for one in tuned.loras([other])] == ["LoRA, rank 2"]
    names = [one.name for one in tuned.loras([other, tunings[1]])]
    assert names == ["LoRA, rank 2, 0009-lora-drawn2-rank2", "LoRA, rank 2, 0001-lora-drawn1-rank2"]
    with pytest.raises(InputError, match="two of them are called alike; name each once"):
        tuned.loras([other, other])


# ---- what a prompt asks and an image shows


def test_every_caption_is_understood():
    attributes = avatars.sample_attributes(300, torch.Generator().manual_seed(1))
    captions = avatar_captions.varied(attributes, 0)
    for i, text in enumerate(captions.texts):
        found = prompt_measures.asked(text)
        expected = {name: int(attributes[name][i]) for name in avatars.CHOICES if captions.told[name][i]}
        assert found == expected, text


def test_the_five_prompts_ask_for_surroundings_and_expression():
    for text in compare.PROMPTS:
        asked = prompt_measures.asked(text.format("sks"))
        assert asked.keys() == {"expression", "clothes", "clothes_color", "background"}
    assert len({prompt_measures.asked(text.format("sks"))["background"] for text in compare.PROMPTS}) == 5
    assert not prompt_measures.asked("a portrait of a sks person")


def test_drawn_portraits_show_what_was_asked():
    attributes = avatars.sample_attributes(60, torch.Generator().manual_seed(2))
    images, texts = avatars.draw(attributes, 64), avatars.caption(attributes)
    found = prompt_measures.seen(images)
    assert torch.equal(found["background"], attributes["background"])
    assert prompt_measures.obeyed(found, texts) > 0.97
    assert prompt_measures.obeyed(found, texts[1:] + texts[:1]) < 0.4
    assert prompt_measures.obeyed(prompt_measures.seen(avatars.draw(attributes, 96)), texts) > 0.9


def test_the_background_is_read_from_both_upper_corners_alone():
    tops = torch.tensor(avatars.GRADIENTS, dtype=torch.uint8)[:, 0]  # (K, 3)
    images = tops.roll(1, 0)[:, :, None, None].repeat(1, 1, 32, 32)  # everything else of another background
    images[:, :, :4, :4] = images[:, :, :4, -4:] = tops[:, :, None, None]
    assert prompt_measures.background(images).tolist() == list(range(len(tops)))


def test_obeyed_is_a_mean_over_all_that_is_asked():
    found = {"expression": torch.tensor([1, 2]), "background": torch.tensor([0, 0])}
    texts = ["a smiling person, mint background", "a surprised person"]
    assert prompt_measures.obeyed(found, texts) == pytest.approx(2 / 3)


def test_drift_is_the_share_of_images_that_show_something_else():
    half = {"expression": torch.tensor([0] * 50 + [1] * 50), "background": torch.zeros(100).long()}
    assert prompt_measures.drift(half, half) == 0
    moved = {
        "expression": torch.tensor([0] * 30 + [1] * 50 + [2] * 20),
        "background": torch.zeros(100).long(),
    }
    assert prompt_measures.drift(half, moved) == pytest.approx(0.1)  # 0.2 of one attribute of two
    shuffled = {name: values.flip(0) for name, values in half.items()}
    assert prompt_measures.drift(half, shuffled) == 0  # a distribution has no order
    fewer = {name: values[25:75] for name, values in half.items()}
    assert prompt_measures.drift(half, fewer) == 0  # nor a number of images


class ByBackground:
    """A stand-in for a trained network: knows a person by the colour of the upper corners."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :, :6, :6].mean((2, 3)) + 1e-3


def test_the_subject_is_recognised_among_others(monkeypatch):
    net = identity.Identity("toy", ByBackground(), torch.device("cpu"))
    subject = subjects.load("drawn2", 64)
    asked = {}

    def gallery(net, persons, pictures):
        asked["persons"] = persons
        backgrounds = torch.arange(len(persons)) % 8
        return identity.embed(net, avatars.draw({"background": backgrounds}, 64))

    monkeypatch.setattr(identity, "gallery", gallery)
    recognition = prompt_measures.Recognition(net, subject)
    persons = asked["persons"].tolist()
    assert len(set(persons)) == 100 and persons[0] == subjects.DRAWN["drawn2"]
    assert set(persons) <= set(avatars.PEOPLE["test"])
    images = avatars.draw({"background": torch.tensor([0, 0, 3, 5])}, 64)
    assert recognition.first(images) == 0.5
    assert recognition.similarity(images[:1]) == pytest.approx(1, abs=1e-5)


def test_photographs_have_a_similarity_and_no_rank(net, tmp_path):
    pictures = data.load("avatars", "val", size=64, count=20, data_dir=tmp_path)
    photographs = dataclasses.replace(pictures, attributes={})
    recognition = prompt_measures.Recognition(identity.load(net), photographs)
    assert recognition.first(pictures.images) is None
    own = identity.embed(recognition.net, pictures.images)
    direction = own.mean(0) / own.mean(0).norm()  # photographs have one subject, whom all of them show
    assert recognition.similarity(pictures.images[:5]) == pytest.approx((own[:5] @ direction).mean().item())


# ---- mistakes


@pytest.mark.parametrize(("changes", "message"), [
    ({"prompts": ("a portrait of a smiling person",)}, r"--prompts .* the token sks"),
    ({"prompts": ("a sks person in a forest",)}, r"--prompts .*: the model does not know the word forest"),
    ({"class_prompt": "a sks person"}, r"--class_prompt .* has the subject's token"),
    ({"unet": Path("nowhere")}, r"--unet nowhere: no pipeline there"),
    ({"lora": (Path("nowhere"),)}, r"--lora nowhere: no pytorch_lora_weights"),
    ({"controlnet": "nowhere"}, r"--controlnet nowhere: no such folder, and no hub id"),
    ({"identity": "nobody"}, r"--identity nobody: no such file"),
    ({"subject": "nobody"}, r"--subject nobody: no such folder"),
])  # fmt: skip
def test_mistakes_are_said_before_anything_is_drawn(changes, message, model, net, tmp_path):
    flags = {"identity": str(net)} | changes
    one = compare.Config(
        pretrained_model_name_or_path=model, device="cpu", outdir=tmp_path, data_dir=tmp_path, seeds=1,
        class_images=0, num_inference_steps=1, **flags,
    )  # fmt: skip
    with pytest.raises(InputError, match=message):
        compare.main(one)
    assert not (tmp_path / "hw4").exists()
