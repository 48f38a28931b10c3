"""The comparison of edits: each is made of the right pictures, and judged by what it should show."""

from __future__ import annotations

from common.data import avatars, to_model_range
from common.metrics import identity

import pytest
import torch
from small_edits import (
    FACES,
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

from hw3_stylegan_sampling import compare_edits, directions, edit_measures, edits, people


@pytest.fixture
def optimisations(monkeypatch) -> list:
    """The arguments of every swap by optimisation."""
    return remember_optimisations(monkeypatch)


@pytest.fixture
def scene(tmp_path) -> tuple[compare_edits.Tools, compare_edits.Scene]:
    """Of three persons; other judges than the networks that edits ask."""
    generator = make_generator()
    trio = make_trio(generator, tmp_path / "trio")
    names = [f"person{k}{ending}" for k in (1, 2, 3) for ending in ("", "-turned")]
    attributes = told(6) | {"expression": torch.tensor([0, 0, 2, 0, 0, 1])}
    sitters = people.People(names, trio.images, trio.persons, attributes)
    spaces = directions.subspaces(generator)
    distance = lambda images, others: (images - others).square().mean((1, 2, 3))
    draw = lambda count: torch.randn(count, generator.layers, 40)
    tools = compare_edits.Tools(generator, NET, None, None, spaces, distance)
    return tools, compare_edits.Scene(
        sitters, trio.ws, draw(4), draw(3), {name: values + 3 for name, values in answers(3).items()},
        Recording(), torch.arange(1.0, 7), identity.embed(NET, trio.images),
    )  # fmt: skip


def settings(**changes) -> compare_edits.Config:
    return compare_edits.Config("", **{"people": 3, "swap_steps": 0, "strengths": (0.7,), **changes})


def test_compared_swaps_are_of_frontal_faces_in_turned_pictures(scene, optimisations):
    tools, known = scene
    rows = compare_edits.swaps(settings(swap_steps=6, identity_weights=(0.3, 3.0)), tools, known)
    ways = [(row["method"], row["what"], row["strength"]) for row in rows]
    assert ways == [*(("layers", what, 1.0) for what in compare_edits.SWAP_LAYERS), ("subspace", "", 0.7),
                    ("optimised", "", 0.3), ("optimised", "", 3.0)]  # fmt: skip
    ws, faces = known.ws[PICTURES], known.ws[FACES]
    layers = edits.images_of(tools.generator, edits.towards(ws, faces, 1.0, range(2, 6)))
    kept = edits.images_of(tools.generator, edits.swapped(ws, faces, tools.spaces, tools.spaces.bases, 0.7))
    seen = dict(zip(ways, known.judges.seen))
    assert same(seen["layers", "2-5", 1.0][0], layers)
    assert same(seen["subspace", "", 0.7][0], kept)
    for _, goal in known.judges.seen:
        assert goal.persons.tolist() == [0, 0, 1, 1, 2, 2]
        assert torch.equal(goal.own_similarity, known.own[FACES])
        assert torch.equal(goal.attributes["yaw"], known.people.attributes["yaw"][PICTURES])
    assert [one.recipe for one in optimisations] == [
        edits.SwapRecipe(6, identity=weight) for weight in (0.3, 3.0)
    ]
    for one in optimisations:
        assert torch.equal(one.start, ws) and torch.equal(one.source, known.embeddings[FACES])
        assert torch.equal(one.targets, to_model_range(known.people.images[PICTURES]))


def test_compared_styles_are_those_of_the_three_others(scene, optimisations):
    tools, known = scene
    rows = compare_edits.styles(
        settings(swap_steps=2, strengths=(0.7,), restored_strengths=(0.7,)), tools, known
    )
    own, style = torch.arange(6).repeat(3), torch.arange(3).repeat_interleave(6)
    ws, others = known.ws[own], known.styles[style]
    seen = {(row["method"], row["strength"]): images for row, (images, _) in zip(rows, known.judges.seen)}
    from_two = edits.images_of(
        tools.generator, edits.towards(ws, others, 1.0, range(2, tools.generator.layers))
    )
    moved = edits.transferred(ws, others, tools.spaces, edit_measures.STYLE, 0.7)
    assert same(seen["layers from", 2.0], from_two)
    assert same(seen["subspace", 0.7], edits.images_of(tools.generator, moved))
    for _, goal in known.judges.seen:
        assert torch.equal(goal.persons, known.people.persons[own])
        assert torch.equal(goal.attributes["hair"], known.styled["hair"][style])
        assert torch.equal(goal.attributes["expression"], known.people.attributes["expression"][own])
    asked = torch.cat([one.source for one in optimisations])
    assert torch.equal(asked, known.embeddings[own])


def test_compared_expressions_are_given_to_neutral_pictures(scene, optimisations):
    tools, known = scene
    rows = compare_edits.expressions(
        settings(swap_steps=2, strengths=(0.7,), restored_strengths=(0.7,)), tools, known
    )
    calm = [0, 1, 3, 4]
    seen = {(row["method"], row["what"]): both for row, both in zip(rows, known.judges.seen)}
    drawn = lambda ws: edits.images_of(tools.generator, ws)
    for place, emotion in enumerate(compare_edits.EMOTIONS, 1):
        felt, ws = known.feelings[place], known.ws[calm]
        option = avatars.EXPRESSIONS.index(emotion)
        pair = ws.clone()
        pair[:, 3:7] += 0.7 * (felt - known.feelings[0])[3:7]
        mean = edits.moved(ws, directions.paired(tools.generator, "expression", option, 0), 0.7, range(2, 8))
        space = edits.transferred(ws, felt.expand_as(ws), tools.spaces, ["expression"], 0.7)
        for method, expected in (("one pair", pair), ("mean of pairs", mean), ("subspace", space)):
            images, goal = seen[method, emotion]
            assert same(images, drawn(expected)), method
            assert goal.attributes["expression"].tolist() == [option] * 4
            assert torch.equal(goal.persons, known.people.persons[calm])
    assert torch.equal(optimisations[0].source, known.embeddings[calm])


def test_judges_and_edits_ask_networks_of_their_own(scene, monkeypatch):
    """The judge makes gallery and similarities, the other network the embeddings that edits look for."""
    asked, tools = {}, scene[0]._replace(judge=object())
    monkeypatch.setattr(
        edit_measures, "judges_of", lambda net, *_: asked.update(judge=net) or (Recording(), torch.ones(4))
    )
    monkeypatch.setattr(identity, "embed", lambda net, images: asked.update(edit=net) or images)
    monkeypatch.setattr(
        compare_edits, "projected", lambda config, tools, images: torch.arange(len(images))[:, None, None]
    )
    found = compare_edits.scene_of(settings(people=2), tools, 0)
    assert asked == {"judge": tools.judge, "edit": tools.net}
    assert torch.equal(found.embeddings, found.people.images)
    places = torch.cat([found.ws, found.feelings, found.styles]).flatten()
    assert places.tolist() == list(range(11)) and len(found.ws) == 4 and len(found.feelings) == 4
