"""Edits: directions and subspaces, what measures of an edit see, and projections that cannot be edited."""

from __future__ import annotations

from common import choices, figures
from common.data import avatars
from common.errors import InputError
from common.metrics import identity, portraits

import numpy as np
import pytest
import torch

from hw3_stylegan_sampling import directions, edit_measures, edits, people, projected, projections
from hw3_stylegan_sampling.networks import Architecture, Generator
from hw3_stylegan_sampling.train_stylegan import ATTRIBUTES

NAMES = tuple(ATTRIBUTES["avatars"])
OPTIONS = tuple(map(len, ATTRIBUTES["avatars"].values()))
SHAPE = Architecture(
    size=16, channels=(6, 6, 6), z_dim=5 + len(OPTIONS), w_dim=60, options=OPTIONS, noise=False
)


def make(shape: Architecture = SHAPE, seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    generator = Generator(shape).eval().requires_grad_(False)
    generator.estimate_w_mean(500)
    return generator


def additive(generator: Generator) -> torch.Tensor:
    """Make w the sum of an effect (sum of options, D) for each option and of what the rest of z moves."""
    draws = torch.Generator().manual_seed(1)
    effects, mixing = torch.randn(sum(OPTIONS), 60, generator=draws), torch.randn(5, 60, generator=draws)

    def mapping(z, labels=None):
        labels = generator.mapping.labels(z) if labels is None else labels
        return labels @ effects + 0.3 * z[:, :5] @ mixing

    generator.mapping.forward = mapping
    return effects


# ---- directions


def test_pairs_give_the_effect_of_an_option():
    generator = make()
    effects = additive(generator)
    place = sum(OPTIONS[: NAMES.index("expression")])
    found = directions.paired(generator, "expression", 2, 0, count=50)
    torch.testing.assert_close(found, effects[place + 2] - effects[place], rtol=0, atol=1e-4)
    everyone = directions.paired(generator, "expression", 2, count=20_000)
    mean = effects[place : place + OPTIONS[NAMES.index("expression")]].mean(0)
    torch.testing.assert_close(everyone, effects[place + 2] - mean, rtol=0, atol=0.05)


def test_subspaces_tell_apart_what_attributes_move(monkeypatch):
    monkeypatch.setattr(directions, "RIDGE", 0.01)
    generator = make()
    additive(generator)
    turn = directions.ways.normal(generator, 8000, torch.Generator().manual_seed(0))[:2000, 0]
    found = directions.subspaces(generator, {"turn": turn})
    assert [len(rows) for rows in found.bases.values()] == [*(count - 1 for count in OPTIONS), 1]
    z = torch.randn(2, generator.z_dim, generator=torch.Generator().manual_seed(5))
    one = choices.chosen(z[:1, -len(OPTIONS) :], OPTIONS)[0]
    for name in ("hair", "expression"):
        place = NAMES.index(name)
        changed = one.clone()
        changed[place] = (one[place] + 1) % OPTIONS[place]
        both = choices.one_hot(torch.stack([one, changed]), OPTIONS)
        before, after = generator.mapping(z[:1].expand(2, -1), both)
        moved = after - before
        assert (found.components(moved, [name]) - moved).norm() < 0.05 * moved.norm()
        rest = [other for other in found.bases if other != name]
        assert found.components(moved, rest).norm() < 0.05 * moved.norm()
    turned = generator.mapping(z[:1] + 2 * torch.eye(generator.z_dim)[:1]) - generator.mapping(z[:1])
    assert found.components(turned, ["turn"]).norm() > 0.9 * turned.norm()
    assert found.components(turned, NAMES).norm() < 0.1 * turned.norm()


def test_generators_without_options_have_no_subspaces():
    plain = make(Architecture(size=16, channels=(6, 6, 6), z_dim=6, w_dim=7))
    assert directions.attributes_of(plain) == () and directions.attributes_of(make()) == NAMES
    with pytest.raises(InputError, match="chooses no attributes"):
        directions.subspaces(plain)
    with pytest.raises(InputError, match="--layers: none that modulates"):
        directions.closed_form(plain, 2, [5])  # the last layer of W+ belongs to the last image alone


# ---- edits


def test_layers_that_are_not_named_stay():
    ws, others = torch.randn(2, 6, 5), torch.randn(2, 6, 5)
    half = edits.towards(ws, others, 0.5, [1, 4])
    assert torch.equal(half[:, [0, 2, 3, 5]], ws[:, [0, 2, 3, 5]])
    torch.testing.assert_close(half[:, [1, 4]], (ws + others)[:, [1, 4]] / 2)
    assert torch.equal(edits.towards(ws, others, 1.0, range(6)), others)
    own = torch.randn(6, 5)
    moved = edits.moved(ws, own, 2.0, [3])
    torch.testing.assert_close(moved[:, 3] - ws[:, 3], 2 * own[3].expand(2, -1))
    assert torch.equal(moved[:, :3], ws[:, :3]) and torch.equal(moved[:, 4:], ws[:, 4:])


def test_the_window_lies_on_the_face():
    window = edits.face_window(torch.zeros(1, 3, 64, 64))[0, 0]
    assert window[32, 32] > 0.99 and window[4, 32] < 0.01 and window[32, 4] < 0.01 and window[60, 32] < 0.01
    faces = people.load("drawn", 64, count=3)
    attributes = {name: values.clone() for name, values in faces.attributes.items()}
    attributes["expression"] += 2
    moved = (avatars.draw(attributes).float() - faces.images.float()).abs().mean((0, 1))
    assert (moved * window).sum() > 0.95 * moved.sum()  # what an expression moves lies inside


def test_everyone_meets_everyone_else_once():
    pairs = set(zip(*(numbers.tolist() for numbers in edits.everyone_with_everyone(4))))
    assert pairs == {(i, j) for i in range(4) for j in range(4) if i != j}


# ---- measures


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    network = identity.IdentityNetwork(identity.Architecture()).eval().requires_grad_(False)
    return identity.Identity("untrained", network, torch.device("cpu"))


@pytest.fixture(scope="module")
def sitters():
    return people.load("drawn", 64, count=4, seed=3)


def measured(net, sitters, images, faces=None, **changed):
    judges, own = edit_measures.judges_of(net, sitters.images, sitters.persons, sitters.attributes)
    rows = torch.arange(len(images))
    goal = edit_measures.wanted(sitters.persons, sitters.attributes, own, rows, faces, **changed)
    return judges.measure(images, goal)


def test_an_unedited_picture_keeps_everything(net, sitters):
    numbers = measured(net, sitters, sitters.images)
    for name in ("recognised_traits", "expression", "clothes", "background", "hair", "style"):
        assert numbers[name].mean() == 1, name
    assert torch.allclose(numbers["ratio"], torch.ones(8).double(), atol=1e-5)
    assert numbers["yaw_off"].max() < 5 and numbers["tilt_off"].max() < 2


@pytest.mark.parametrize(
    ("attribute", "column"),
    [("expression", "expression"), ("clothes", "clothes"), ("clothes_color", "clothes"),
     ("background", "background"), ("hair", "style")],
)  # fmt: skip
def test_a_change_is_seen_where_it_is_and_nowhere_else(attribute, column, net, sitters):
    attributes = {name: values.clone() for name, values in sitters.attributes.items()}
    attributes[attribute] = (attributes[attribute] + 1) % len(avatars.CHOICES[attribute])
    images = avatars.draw(attributes)
    numbers = measured(net, sitters, images)
    assert numbers[column].mean() < 0.9
    others = {"expression", "clothes", "background", "recognised_traits"} - {column}
    assert all(numbers[name].mean() == 1 for name in others)
    goal = measured(net, sitters, images, **{attribute: attributes[attribute]})
    assert goal[attribute].mean() == 1 and goal["style"].mean() == 1
    row = edit_measures.row(goal, attribute, method="drawn anew")
    assert row["reached"] == 1 and row["method"] == "drawn anew" and attribute not in row


def test_another_person_and_another_turn_are_seen(net, sitters):
    attributes = {name: values.clone() for name, values in sitters.attributes.items()}
    attributes["person"] = attributes["person"].roll(2)
    attributes["yaw"] = attributes["yaw"] + 12
    images, faces = avatars.draw(attributes), torch.arange(8).roll(2)
    assert measured(net, sitters, images)["recognised_traits"].mean() == 0
    numbers = measured(net, sitters, images, faces)
    assert numbers["recognised_traits"].mean() == 1
    assert numbers["yaw_off"].mean() == pytest.approx(12, abs=2)


def test_similarity_is_that_to_the_wanted_person_in_units_of_an_unedited_picture(net, sitters):
    judges, own = edit_measures.judges_of(net, sitters.images, sitters.persons, sitters.attributes)
    assert judges.gallery.shape[0] == len(judges.people) == 100 == len(judges.people.unique())
    assert torch.equal(judges.people[:4], sitters.attributes["person"][::2])
    faces = torch.arange(8).roll(2)
    numbers = measured(net, sitters, sitters.images, faces)
    embeddings = identity.embed(net, sitters.images)
    expected = (embeddings * judges.gallery[sitters.persons[faces]]).sum(1)
    torch.testing.assert_close(numbers["similarity"], expected.double())
    torch.testing.assert_close(numbers["ratio"], (expected / own[faces]).double())


def test_photographs_are_compared_with_their_own_pictures(net, sitters):
    judges, own = edit_measures.judges_of(net, sitters.images, sitters.persons, {})
    assert judges.reader is None and judges.gallery.shape[0] == 4
    goal = edit_measures.wanted(sitters.persons, {}, own, torch.arange(8), expression=torch.zeros(8).long())
    assert set(judges.measure(sitters.images, goal)) == {"similarity", "ratio", "recognised"}
    embeddings = identity.embed(net, sitters.images)
    mean = torch.nn.functional.normalize(embeddings[2:4].mean(0), dim=0)
    torch.testing.assert_close(judges.gallery[1], mean)


def test_the_reader_is_as_good_as_its_card_says():
    reader = portraits.load_reader()
    attributes = avatars.sample_attributes(300, torch.Generator().manual_seed(8), avatars.PEOPLE["val"])
    reading = reader.read(avatars.draw(attributes))
    assert (reading.turn[:, 0] - attributes["yaw"]).square().mean().sqrt() < 1.5 * reader.turn_error[0]
    assert (reading.turn[:, 1] - attributes["tilt"]).square().mean().sqrt() < 1.5 * reader.turn_error[1]
    for name, answers in reading.answers.items():
        assert (answers == attributes[name]).double().mean() > 0.98, name
    found = reader.nearest_person(reading.traits, attributes["person"])
    assert (found == torch.arange(300)).double().mean() > 0.95
    off = (reading.traits - avatars.identity(attributes["person"])).square().mean(0).sqrt()
    assert (off < 1.3 * reader.trait_error + 0.02).all()


def test_another_extractor_is_no_reader():
    path = portraits.extractors.FOLDER / "avatars.safetensors"
    with pytest.raises(InputError, match=r"not a reader of portraits; make one with pretrained/train_portra"):
        portraits.load_reader(path=path)


# ---- projections to edit


def project(folder, generator, names):
    """A run directory as project.py leaves it."""
    for number, name in enumerate(names):
        image = torch.full((3, 16, 16), 10 * number, dtype=torch.uint8)
        figures.save_png(folder / name / "target.png", image)
        projections.write(folder / name / "projected_w.npz", torch.randn(1, 6, 60), generator)
    return folder


def test_projections_come_with_who_is_who(tmp_path):
    generator = make()
    folder = project(tmp_path, generator, ["bob", "anna", "anna-turned"])
    found = projected.load(folder, generator)
    assert found.names == ["anna", "anna-turned", "bob"] and found.persons.tolist() == [0, 0, 1]
    assert found.first().tolist() == [0, 2] and found.last().tolist() == [1, 2] and found.count == 2
    assert found.attributes == {} and found.ws.shape == (3, 6, 60)
    assert found.images[:, 0, 0, 0].tolist() == [10, 20, 0]


def test_drawn_people_keep_their_truth(tmp_path, sitters):
    generator = make()
    small = people.load("drawn", 16, count=2)
    folder = project(tmp_path, generator, small.names[::-1])
    projected.write_people(folder, small)
    found = projected.load(folder, generator, at_least=2)
    assert found.names == sorted(small.names) == small.names
    for name, values in small.attributes.items():
        torch.testing.assert_close(found.attributes[name], values, check_dtype=False)
    assert torch.equal(found.persons, small.persons)


def test_what_cannot_be_edited_is_said_in_one_line(tmp_path):
    generator = make()
    project(tmp_path / "one", generator, ["anna", "anna-turned"])
    for name, text in (("broken", '{"names": ["b"]}'), ("list", "[]"), ("cut", '{"names"')):
        project(tmp_path / name, generator, ["a"])
        (tmp_path / name / projected.FILE).write_text(text)
    for name, said in (
        ("none", "no projections there; name the run directory of a project.py"),
        ("one", "of 1 person .anna, anna-turned.; this needs 2 or more"),
        ("broken", "people.json: not what project.py writes there"),
        ("list", "people.json: not what project.py writes there"),
        ("cut", "people.json: not what project.py writes there"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            projected.load(tmp_path / name, generator, at_least=2)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


def test_projections_into_two_networks_do_not_mix(tmp_path):
    generator, other = make(), make(seed=1)
    folder = project(tmp_path, generator, ["anna"])
    project(folder, other, ["bob"])
    with pytest.raises(InputError, match=r"bob.*projected into another generator than --network"):
        projected.load(folder, generator)
    np.savez(folder / "bob" / "projected_w.npz", w=np.zeros((1, 18, 512), np.float32))
    with pytest.raises(InputError, match=r"bob.*this generator needs finite numbers of \(1, 6, 60\)"):
        projected.load(folder, generator)
    np.savez(folder / "bob" / "projected_w.npz", w=np.zeros((1, 6, 60), np.float32))  # NVIDIA's says nothing
    assert projected.load(folder, generator).count == 2
