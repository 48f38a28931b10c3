"""Edits of several persons at once: whose styles, whose embedding, whose picture, and what should be seen."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from common import figures
from common.data import avatars, to_model_range
from common.metrics import identity

import pytest
import torch
from small_edits import (
    FACES,
    FUNCTION,
    NAMES,
    NET,
    PICTURES,
    Recording,
    answers,
    make_generator,
    make_trio,
    remember_optimisations,
    same,
    told,
)

from hw3_stylegan_sampling import (
    directions,
    edit_measures,
    edits,
    expression_transfer,
    face_swap,
    projected,
    restoring,
    style_transfer,
    weights,
)


@pytest.fixture
def generator():
    return make_generator()


@pytest.fixture
def trio(generator, tmp_path) -> projected.Projected:
    """Two pictures of each of three persons, in a folder as project.py leaves it."""
    weights.save(tmp_path / "net.safetensors", generator, "a test")
    (tmp_path / "net.py").write_text(f"def load(device):\n    return {FUNCTION}\n")
    return make_trio(generator, tmp_path / "trio")


def flags(folder: Path) -> dict:
    return {"projections": folder / "trio", "network": str(folder / "net.safetensors"), "device": "cpu",
            "judge": str(folder / "net.py"), "identity": str(folder / "net.py"),
            "outdir": folder / "runs"}  # fmt: skip


@pytest.fixture
def sheets(monkeypatch) -> dict[str, torch.Tensor]:
    """Pictures of every sheet by its name."""
    kept = {}
    monkeypatch.setattr(figures, "save_grid", lambda path, images, *_, **__: kept.update({path.stem: images}))
    return kept


@pytest.fixture
def goals(monkeypatch) -> list[edit_measures.Wanted]:
    """What each measurement was told that its images should show."""
    kept, measure = [], edit_measures.Judges.measure
    monkeypatch.setattr(
        edit_measures.Judges,
        "measure",
        lambda self, images, goal: kept.append(goal) or measure(self, images, goal),
    )
    return kept


@pytest.fixture
def optimisations(monkeypatch) -> list:
    """The arguments of every swap by optimisation."""
    return remember_optimisations(monkeypatch)


# ---- swaps


def test_the_face_of_the_row_is_put_into_the_picture_of_the_column(trio, generator, sheets, goals, tmp_path):
    face_swap.main(face_swap.Config(**flags(tmp_path), by="layers", layers="1-2"))
    cells = sheets["everyone"].unflatten(0, (4, 4))
    assert (cells[0, 0] == 255).all()
    for k, (face, picture) in enumerate(((0, 1), (2, 3), (4, 5)), 1):
        assert torch.equal(cells[k, 0], trio.images[face]) and torch.equal(cells[0, k], trio.images[picture])
        assert torch.equal(cells[k, k], trio.images[picture]), "nobody is swapped with oneself"
    for face, picture in zip(FACES, PICTURES):
        ws = trio.ws[picture : picture + 1].clone()
        ws[:, 1:3] = trio.ws[face : face + 1, 1:3]
        cell = cells[1 + face // 2, 1 + picture // 2]
        assert same(cell, edits.images_of(generator, ws)[0])
    assert len(goals) == 2, "the pictures themselves, and the swaps"
    judge = identity.load(tmp_path / "net.py")
    _, own = edit_measures.judges_of(judge, trio.images, trio.persons, {})
    for goal in goals:
        assert goal.persons.tolist() == [0, 0, 1, 1, 2, 2]
        assert torch.equal(goal.own_similarity, own[FACES])


def test_a_swap_keeps_all_that_the_subspaces_know(trio, generator, monkeypatch, sheets, tmp_path):
    spaces = directions.subspaces(generator)
    monkeypatch.setattr(face_swap, "spaces_of", lambda *_: spaces)
    face_swap.main(face_swap.Config(**flags(tmp_path), by="subspace"))
    ws, faces = trio.ws[PICTURES], trio.ws[FACES]
    moved = ws + spaces.beside(faces - ws, spaces.bases)
    assert same(sheets["everyone"].unflatten(0, (4, 4))[1, 2], edits.images_of(generator, moved)[0])


def test_the_optimiser_is_asked_for_the_faces_owner_with_the_flags_weights(trio, optimisations, tmp_path):
    one = face_swap.Config(**flags(tmp_path), steps=7, learning_rate=0.03, identity_weight=2.0,
                           perceptual_weight=3.0, colour_weight=4.0, pose_weight=5.0)  # fmt: skip
    face_swap.main(one)
    (asked,) = optimisations
    assert torch.equal(asked.start, trio.ws[PICTURES])
    assert torch.equal(asked.targets, to_model_range(trio.images[PICTURES]))
    assert torch.allclose(asked.source, identity.embed(NET, trio.images[FACES]))
    assert asked.recipe == edits.SwapRecipe(7, 0.03, identity=2.0, perceptual=3.0, colour=4.0, kept=5.0)


def test_persons_are_brought_back_as_who_they_were(trio, generator, optimisations, monkeypatch, tmp_path):
    monkeypatch.setattr(edits, "CHUNK", 2)
    rows, ws = torch.tensor([4, 0, 5]), torch.randn(3, generator.layers, 40)
    restore = restoring.restorer(9, str(tmp_path / "net.py"), generator, trio.images)
    assert torch.equal(restore(ws, rows), ws)
    asked = torch.cat([one.source for one in optimisations])
    assert torch.allclose(asked, identity.embed(NET, trio.images[rows]))
    assert all(one.recipe == edits.SwapRecipe(9) for one in optimisations)


def test_the_optimiser_of_a_swap_slows_down_to_a_halt(trio, generator, monkeypatch):
    rates, step = [], torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self: rates.append(self.param_groups[0]["lr"]) or step(self)
    )
    targets, owner = to_model_range(trio.images[:1]), identity.embed(NET, trio.images[2:3])
    distance = lambda images, others: (images - others).square().mean((1, 2, 3))
    recipe = edits.SwapRecipe(4, 0.08)
    steps = edits.optimised_swap(generator, trio.ws[:1], targets, trio.ws[:1], owner, NET, distance, recipe)
    assert len(list(steps)) == 5 and rates == pytest.approx([0.08, 0.06, 0.04, 0.02])


def test_colours_of_the_face_itself_are_free():
    picture, other = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    other[:, :, 28:36, 28:36] = 1.0  # one of 8 x 8 cells, in the middle of the face
    outside = 1 - edits.face_window(picture)
    assert edits.coarse_colour(picture, other, outside).item() < 1e-4
    other = torch.zeros(1, 3, 64, 64)
    other[:, :, :8, :8] = 1.0  # one in a corner: half of the range, in a 64th of the picture
    assert edits.coarse_colour(picture, other, outside).item() == pytest.approx(0.5 / 64, rel=0.01)


# ---- styles


@pytest.mark.parametrize("by", ["subspace", "layers"])
def test_everyone_is_shown_in_every_style(by, trio, generator, sheets, tmp_path):
    style_transfer.main(
        style_transfer.Config(
            **flags(tmp_path), by=by, layers="2-3", strength=0.6, style_pictures=("carl", "bob")
        )
    )
    rows = sheets["styles"].unflatten(0, (7, 3))  # the styles, then original, carl's, bob's
    spaces = directions.subspaces(generator)
    for row, (ws, image) in enumerate(zip(trio.ws.split(1), trio.images), 1):
        assert torch.equal(rows[row, 0], image)
        for column, name in ((1, "carl"), (2, "bob")):
            style = trio.ws[NAMES.index(name)][None]
            if by == "layers":
                styled = edits.towards(ws, style, 0.6, [2, 3])
            else:
                styled = ws + 0.6 * spaces.components(style - ws, edit_measures.STYLE)
            assert same(rows[row, column], edits.images_of(generator, styled)[0])
    for column, name in ((1, "carl"), (2, "bob")):
        own = edits.images_of(generator, trio.ws[NAMES.index(name)][None])[0]
        assert same(rows[0, column], own)


def test_styled_persons_are_brought_back_one_by_one(trio, optimisations, tmp_path):
    style_transfer.main(
        style_transfer.Config(**flags(tmp_path), by="layers", layers="2-3", style_seeds="0-1", steps=3)
    )
    everyone = torch.arange(6).repeat_interleave(2)
    asked = torch.cat([one.source for one in optimisations])
    assert torch.allclose(asked, identity.embed(NET, trio.images[everyone]))


def test_a_styled_picture_should_show_the_styles_attributes_and_else_its_own(trio, generator):
    judges, attributes = Recording(), told(6)
    known = dataclasses.replace(trio, attributes=attributes)
    styles, ws = torch.randn(2, generator.layers, 40), torch.randn(12, generator.layers, 40)
    style_transfer.measured(generator, judges, known, torch.ones(6), styles, ws)
    ((_, goal),) = judges.seen
    own, style = torch.arange(6).repeat_interleave(2), torch.arange(2).repeat(6)
    assert torch.equal(goal.persons, trio.persons[own])
    for name in avatars.CHOICES:
        expected = answers(2)[name][style] if name in edit_measures.STYLE else attributes[name][own]
        assert torch.equal(goal.attributes[name], expected), name


# ---- expressions


def test_a_persons_expression_moves_in_the_named_layers_alone(
    trio, generator, optimisations, sheets, tmp_path
):
    expression_transfer.main(
        expression_transfer.Config(
            **flags(tmp_path), pair=("anna", "anna-turned"), strengths=(0.5,), layers="1-2", steps=4
        )
    )
    (asked,) = optimisations
    moved = trio.ws.clone()
    moved[:, 1:3] += 0.5 * (trio.ws[1] - trio.ws[0])[1:3]
    assert torch.allclose(asked.start, moved, atol=1e-6)
    assert torch.allclose(asked.source, identity.embed(NET, trio.images))
    assert asked.recipe == edits.SwapRecipe(4)


def test_the_wanted_expression_is_the_emotion():
    for emotion in expression_transfer.EMOTIONS:
        (options,) = expression_transfer.shown(emotion, 3).values()
        assert [avatars.EXPRESSIONS[option] for option in options.tolist()] == [emotion] * 3
    assert expression_transfer.shown("anna-turned", 3) == {}


def test_the_summary_is_that_of_a_strength_of_one_over_all_emotions():
    rows = [{"emotion": emotion, "strength": strength, "ratio": ratio} for emotion, strength, ratio in
            (("smile", 0.0, 0.1), ("smile", 0.9, 0.5), ("smile", 2.0, 0.2), ("anger", 0.9, 0.7))]  # fmt: skip
    assert expression_transfer.at_one(rows)["ratio"] == pytest.approx(0.6)
