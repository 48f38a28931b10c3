"""Comparing models: which prompts with which seeds, of which model, and which images each number is of."""

import dataclasses
from types import SimpleNamespace

from common.data import avatars
from common.metrics import identity

import pytest
import torch
from small_text_to_image import folder, pipeline

from hw4_diffusion import (
    compare,
    drawing,
    edges,
    prompt_measures,
    small_pipeline,
    subjects,
    tuned,
)

TEXTS = ("a portrait of a smiling sks person, mint background", "a portrait of a sad sks person")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return folder(tmp_path_factory.mktemp("model") / "small")


def config(**changes) -> compare.Config:
    small = {"seeds": 2, "seed": 7, "class_images": 3, "num_inference_steps": 5, "guidance_scale": 2.5,
             "class_prompt": "a calm person", "batch_size": 4, "device": "cpu"}  # fmt: skip
    return compare.Config(**(small | changes))


@pytest.fixture
def draws(monkeypatch) -> list[SimpleNamespace]:
    """Every call of drawing.draw, which gives noise."""
    calls = []

    def draw(pipeline, prompts, seeds, **more):
        calls.append(SimpleNamespace(pipeline=pipeline, pairs=list(zip(prompts, seeds, strict=True)), **more))
        calls[-1].images = torch.randint(0, 256, (len(prompts), 3, 32, 32), dtype=torch.uint8)
        return calls[-1].images

    monkeypatch.setattr(drawing, "draw", draw)
    return calls


def test_every_prompt_is_drawn_with_every_seed_and_the_class_with_others(draws):
    draw = compare.Drawing(config(), None, 32)
    draw.by_prompts(TEXTS)
    draw.of_the_class()
    assert draws[0].pairs == [(TEXTS[0], 7), (TEXTS[0], 8), (TEXTS[1], 7), (TEXTS[1], 8)]
    assert draws[1].pairs == [("a calm person", seed) for seed in (1007, 1008, 1009)]
    for call in draws:
        assert (call.steps, call.guidance, call.batch_size, call.resolution) == (5, 2.5, 4, 32)
    assert compare.Drawing(config(class_images=0), None, 32).of_the_class() is None


class Seen:
    """Reads an expression in the first pixel and sees the subject in bright ones."""

    def __init__(self, *_):
        pass

    @staticmethod
    def options(images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"expression": images[:, 0, 0, 0].long() % 5, "background": torch.zeros(len(images)).long()}

    def similarity(self, images):
        return images[:, 1].double().mean().item()

    def first(self, images):
        return (images[:, 1, 0, 0] > 100).double().mean().item()


@pytest.fixture
def judge(monkeypatch) -> compare.Judge:
    monkeypatch.setattr(prompt_measures, "Recognition", Seen)
    monkeypatch.setattr(prompt_measures, "seen", Seen.options)
    return compare.Judge(config(), subjects.load("drawn1", 32), object(), TEXTS)


def images_of(expressions: list[int], bright: list[int]) -> torch.Tensor:
    images = torch.zeros(len(expressions), 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor(expressions, dtype=torch.uint8)
    images[:, 1] = torch.tensor(bright, dtype=torch.uint8)[:, None, None]
    return images


def known(name: str) -> SimpleNamespace:
    return SimpleNamespace(name=name, facts=dict)


def test_drift_is_from_the_base_and_the_subject_is_looked_for_in_images_of_the_class(judge):
    smile, sad = (prompt_measures.asked(text)["expression"] for text in TEXTS)
    right = images_of([smile, smile, sad, sad], [200, 200, 200, 0])
    judge.note(known("base"), right, images_of([0, 0, 1], [0, 0, 0]))
    judge.note(known("first"), right[[0, 2, 1, 3]], images_of([0, 1, 1], [0, 200, 200]))
    judge.note(known("second"), right, images_of([0, 0, 1], [200, 0, 0]))
    rows = {row["model"]: row for row in judge.rows}
    # an expression and a background each: of two attributes one moves, in a third of the images
    assert [row["drift"] for row in judge.rows] == pytest.approx([0, 1 / 6, 0])
    assert [row["bleed"] for row in judge.rows] == pytest.approx([0, 2 / 3, 1 / 3])
    assert all(row["identity_first"] == 0.75 for row in judge.rows)
    assert rows["base"]["identity"] == 150
    assert rows["base"]["obeyed"] - rows["first"]["obeyed"] == pytest.approx(1 / 3)  # 2 of 6 orders


def test_a_sheet_has_a_row_for_each_prompt_all_of_one_seed(judge, monkeypatch):
    kept = {}
    monkeypatch.setattr(
        compare.figures, "save_grid", lambda path, cells, *_, **__: kept.update({path: cells})
    )
    one, two = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    judge.sheet("seed 8", {"base": one, "LoRA": two}, 1)
    assert torch.equal(kept["seed 8"], torch.stack([one[1], two[1], one[3], two[3]]))


def test_images_along_edges_are_drawn_with_the_controlnet_and_compared_with_these_edges(
    model, draws, tmp_path, monkeypatch
):
    """Of the base and of the U-Net of dreambooth.py, each from its own pipeline."""
    changed = pipeline(seed=1)
    small_pipeline.save(changed, tmp_path / "tuned")
    given, f1 = {}, []
    monkeypatch.setattr(tuned, "controlnet", lambda name, pipe: given.setdefault(pipe, torch.nn.Linear(1, 1)))
    agreement = edges.agreement
    monkeypatch.setattr(edges, "agreement", lambda *pair: f1.append(pair) or agreement(*pair))
    monkeypatch.setattr(prompt_measures, "Recognition", Seen)
    monkeypatch.setattr(identity, "load", lambda *_: object())
    compare.main(
        config(pretrained_model_name_or_path=model, unet=tmp_path / "tuned", controlnet="some/net",
               prompts=TEXTS, data_dir=tmp_path, outdir=tmp_path, instance_token="sks")
    )  # fmt: skip
    by_prompts = [call for call in draws if len(call.pairs) == 4]
    free, led = ([call for call in by_prompts if (call.edges is None) == bare] for bare in (True, False))
    assert len(led) == len(free) == 2 and len(draws) == 6
    each = [text for text, _ in free[0].pairs]
    along = compare.condition(config(data_dir=tmp_path), subjects.load("drawn1", 32), each, 32)
    for call, (found, wanted) in zip(led, f1, strict=True):
        assert call.pairs == free[0].pairs and call.controlnet is given[call.pipeline]
        assert torch.equal(call.edges, along) and torch.equal(wanted, along)
        assert torch.equal(found, edges.canny(call.images))
    weights = [call.pipeline.unet.conv_in.weight for call in free]
    assert torch.allclose(weights[1], changed.unet.conv_in.weight, atol=1e-3), "of the folder --unet"
    assert not torch.allclose(weights[0], weights[1], atol=1e-3)


def test_edges_are_of_strangers_with_the_subjects_hair_who_do_what_each_prompt_asks(monkeypatch):
    drawn, draw_avatars = [], avatars.draw
    subject = subjects.load("drawn2", 32)
    monkeypatch.setattr(avatars, "draw", lambda *given: drawn.append(given[0]) or draw_avatars(*given))
    each = [*TEXTS, "a portrait of a calm sks person in a red overall"]
    along = compare.condition(config(), subject, each, 32)
    (shown,) = drawn
    assert torch.equal(along, edges.canny(draw_avatars(shown, 32))) and len(along) == 3
    for i, text in enumerate(each):
        asked = prompt_measures.asked(text)
        assert asked and all(shown[name][i] == option for name, option in asked.items())
        assert all(shown[name][i] == subject.attributes[name][0] for name in subjects.KEPT)
    assert all(person in avatars.PEOPLE["val"] for person in shown["person"].tolist())


def test_edges_show_the_hair_that_each_prompt_asks_and_the_subject_keeps_its_own(monkeypatch):
    drawn, draw_avatars = [], avatars.draw
    subject = subjects.load("drawn2", 32)
    had = {name: values.clone() for name, values in subject.attributes.items()}
    monkeypatch.setattr(avatars, "draw", lambda *given: drawn.append(given[0]) or draw_avatars(*given))
    each = [f"a portrait of a calm sks person, {glasses}" for glasses in ("sunglasses", "round glasses")]
    wanted = [prompt_measures.asked(text)["accessory"] for text in each]
    compare.condition(config(), subject, each, 32)
    assert drawn[0]["accessory"].tolist() == wanted and wanted[0] != wanted[1]
    assert all(torch.equal(values, had[name]) for name, values in subject.attributes.items())


def test_what_draws_photographs_is_not_read_by_the_avatars_classifier(monkeypatch):
    texts = ("a photo of a smiling sks woman", "a photo of a sad sks woman")
    sheets = lambda **more: compare.Judge(config(**more), subjects.load("drawn1", 32), None, texts)
    assert sheets().knows_attributes
    assert not sheets(pretrained_model_name_or_path="stable-diffusion-v1-5/x").knows_attributes


def test_edges_for_photographs_are_those_of_the_subjects_own_pictures():
    own = dataclasses.replace(subjects.load("drawn2", 32).take(slice(0, 3)), attributes={})
    along = compare.condition(config(), own, ["a sks person"] * 5, 32)
    assert torch.equal(along, edges.canny(own.images)[[0, 1, 2, 0, 1]])
