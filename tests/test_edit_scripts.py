"""The scripts that edit people: what they leave behind, and users' mistakes."""

from __future__ import annotations

import json
from pathlib import Path

from common import command_line, figures
from common.data import to_uint8
from common.metrics import identity, portraits

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from hw3_stylegan_sampling import (
    compare_edits,
    directions,
    edit_measures,
    edits,
    expression_transfer,
    face_swap,
    find_directions,
    people,
    project,
    projected,
    projection,
    projections,
    restoring,
    style_transfer,
    weights,
)
from hw3_stylegan_sampling.networks import Architecture, Generator
from hw3_stylegan_sampling.train_stylegan import ATTRIBUTES

OPTIONS = tuple(map(len, ATTRIBUTES["avatars"].values()))
SHAPE = Architecture(
    size=64, channels=(6, 6, 6, 4, 4), z_dim=5 + len(OPTIONS), w_dim=40, options=OPTIONS, noise=False
)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Few other persons and images: what the scripts do is the same with many."""
    monkeypatch.setattr(edit_measures, "AMONG", 5)
    monkeypatch.setattr(directions, "READ", 60)


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    """A folder with a generator, an identity network, and the projections of two drawn people."""
    folder = tmp_path_factory.mktemp("scene")
    torch.manual_seed(0)
    generator = Generator(SHAPE).eval()
    for block in generator.synthesis.blocks:
        block.to_image.weight.data *= 0.2  # images about in [-1, 1]
    generator.estimate_w_mean(200)
    weights.save(folder / "small.safetensors", generator, "random")
    network = identity.IdentityNetwork(identity.Architecture()).eval()
    identity.save(folder / "who.safetensors", network, 0.5)
    run(project, folder, "--people", "2", "--steps", "2", "--perceptual", "small")
    return folder


def run(script, scene: Path, *flags: str, judged: bool = False, network: str = "small.safetensors") -> str:
    """What a user reads: nothing if it went well, else the message."""
    words = ["--network", str(scene / network), "--device", "cpu", "--outdir", str(scene / "runs"), *flags]
    if judged:
        words += ["--judge", str(scene / "who.safetensors"), "--identity", str(scene / "who.safetensors")]
    try:
        command_line.run(script.main, script.Config, words)
    except SystemExit as stopped:
        return str(stopped.code)
    return ""


def newest(scene: Path, name: str) -> Path:
    return sorted((scene / "runs" / "hw3").glob(f"*-{name}"))[-1]


def edit(script, scene: Path, *flags: str) -> tuple[Path, dict]:
    """The run directory and the summary of a script that edits."""
    name = script.__name__.rsplit(".", 1)[1].split("_")
    assert run(script, scene, str(newest(scene, "project")), *flags, judged=True) == ""
    folder = newest(scene, {"face": "swap"}.get(name[0], name[0]))
    summary = json.loads((folder / "summary.json").read_text())
    assert all((folder / figure).is_file() for figure in summary["figures"])
    return folder, summary


def test_projected_people_bring_their_truth(scene):
    generator = weights.read(scene / "small.safetensors")
    found, drawn = (
        projected.load(newest(scene, "project"), generator),
        people.load("drawn", 64, count=2),
    )
    assert found.names == drawn.names and torch.equal(found.images, drawn.images)
    assert torch.equal(found.persons, drawn.persons)
    assert torch.equal(found.attributes["person"], drawn.attributes["person"])


def test_an_expression_is_moved_along_its_direction(scene, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        figures, "save_grid", lambda path, images, columns, **_: seen.update({path.stem: images})
    )
    words = ["--emotions", "smile", "anger", "--strengths", "0", "1.5", "--layers", "3-6"]
    assert run(expression_transfer, scene, str(newest(scene, "project")), *words, judged=True) == ""
    generator = weights.read(scene / "small.safetensors")
    known = projected.load(newest(scene, "project"), generator)
    for emotion, option in (("smile", 1), ("anger", 4)):
        move = directions.paired(generator, "expression", option, 0)
        ws = edits.moved(known.ws, move, 1.5, range(3, 7))
        sheet = seen[emotion].unflatten(0, (4, 3))  # original, 0, 1.5
        assert torch.equal(sheet[:, 0], known.images)
        assert torch.equal(sheet[:, 1], edits.images_of(generator, known.ws))
        assert torch.equal(sheet[:, 2], edits.images_of(generator, ws))
    rows = json.loads((newest(scene, "expression") / "summary.json").read_text())["rows"]
    assert [(row["emotion"], row["strength"]) for row in rows] == [
        ("smile", 0), ("smile", 1.5), ("anger", 0), ("anger", 1.5)
    ]  # fmt: skip
    assert all(
        {"reached", "similarity", "ratio", "recognised", "yaw_off", "clothes"} <= row.keys() for row in rows
    )


def test_a_pair_of_pictures_is_a_direction_too(scene):
    folder, summary = edit(
        expression_transfer,
        scene,
        "--pair",
        "person1",
        "person1-turned",
        "--strengths",
        "1",
        "--layers",
        "0-9",
    )
    sheet = imageio.imread(folder / "person1-turned.png")
    assert sheet.ndim == 3 and "reached" not in summary["rows"][0]
    generator = weights.read(scene / "small.safetensors")
    known = projected.load(newest(scene, "project"), generator)
    config = expression_transfer.Config(folder, "", pair=("person1", "person1-turned"))
    (move,) = expression_transfer.moves_of(config, generator, known).values()
    torch.testing.assert_close(known.ws[:1] + move, known.ws[1:2])


def test_styles_come_from_seeds_or_pictures(scene):
    folder, summary = edit(style_transfer, scene, "--style-seeds", "0,3", "--strength", "0.5")
    assert [row["layers"] for row in summary["rows"]] == ["subspace", *(f"{k} and later" for k in range(10))]
    assert summary["n"] == 8 and summary["rows"][0]["strength"] == 0.5
    whole = summary["rows"][1]  # all layers replaced: nothing of the person but the style's own image
    generator = weights.read(scene / "small.safetensors")
    known = projected.load(newest(scene, "project"), generator)
    _, styles = style_transfer.styles_of(
        style_transfer.Config(folder, "", style_seeds="0,3"), generator, known
    )
    assert styles.shape == (2, 10, 40) and whole["strength"] == 1
    edit(style_transfer, scene, "--style-pictures", "person2", "--by", "layers", "--layers", "8-9")
    assert sorted(path.name for path in folder.glob("*.png")) == ["layers.png", "styles.png"]


def test_a_person_is_brought_back_after_an_edit(scene):
    generator = weights.read(scene / "small.safetensors")
    known = projected.load(newest(scene, "project"), generator)
    net = identity.load(scene / "who.safetensors")
    rows = torch.tensor([1, 3])
    edited = torch.lerp(known.ws[rows], known.ws[[3, 1]], 0.5)
    similarity = lambda ws: identity.similarity(
        identity.embed(net, edits.images_of(generator, ws)), identity.embed(net, known.images[rows])
    )
    restore = restoring.restorer(25, scene / "who.safetensors", generator, known.images)
    assert (similarity(restore(edited, rows)) > similarity(edited)).all()
    leave = restoring.restorer(0, "nobody", generator, known.images)
    assert torch.equal(leave(edited, rows), edited)


def test_a_restored_expression_is_another_picture(scene):
    words = ["--emotions", "smile", "--strengths", "1"]
    plain = edit(expression_transfer, scene, *words)[0] / "smile.png"
    restored = edit(expression_transfer, scene, *words, "--steps", "2")[0] / "smile.png"
    assert plain.read_bytes() != restored.read_bytes()


def test_faces_are_swapped_three_ways(scene):
    tables = {}
    for by in ("layers", "subspace", "optimised"):
        folder, summary = edit(face_swap, scene, "--by", by, "--steps", "8")
        tables[by] = imageio.imread(folder / "everyone.png")
        assert summary["n"] == 2 and [row["swap"] for row in summary["rows"]] == [
            "the pictures themselves",
            by,
        ]
        assert (folder / "losses.png").is_file() == (by == "optimised")
    assert (
        summary["rows"][1]["similarity"] > summary["rows"][0]["similarity"]
    )  # the asked network sees the source
    assert len({table.tobytes() for table in tables.values()}) == 3


def test_directions_are_drawn_and_read(scene):
    words = ["--count", "3", "--images", "4", "--distance", "0.5"]
    assert run(find_directions, scene, *words) == ""
    folder = newest(scene, "directions")
    rows = json.loads((folder / "summary.json").read_text())["rows"]
    assert [(row["way"], row["number"]) for row in rows] == [
        (w, k) for w in ("ganspace", "sefa") for k in range(3)
    ]
    assert all(row["by"] == max(row["changes"].values()) >= row["then_by"] >= 0 for row in rows)
    assert (folder / "ganspace.png").is_file() and (folder / "sefa.png").is_file()
    assert run(find_directions, scene, *words, "--no-read", "--ways", "sefa", "--layers", "2-3") == ""


def test_directions_move_as_far_and_in_the_layers_that_are_named(scene, monkeypatch):
    sheets = {}
    monkeypatch.setattr(figures, "save_grid", lambda path, images, columns, row_titles, **_: sheets.update(
        {path.stem: (images.unflatten(0, (-1, columns)), row_titles)}
    ))  # fmt: skip
    words = ["--count", "2", "--images", "3", "--distance", "0.5", "--layers", "2-3", "--seed", "3"]
    assert run(find_directions, scene, *words) == ""
    rows = json.loads((newest(scene, "directions") / "summary.json").read_text())["rows"]
    generator, reader = weights.read(scene / "small.safetensors"), portraits.load_reader()
    z = torch.randn(3, SHAPE.z_dim, generator=torch.Generator().manual_seed(3))
    ws, far = generator.styles(z).detach(), 0.5 * projection.statistics_of_w(generator)[1]
    axes = {
        "ganspace": directions.principal_axes(generator, 2).directions,
        "sefa": directions.closed_form(generator, 2, [2, 3]).directions,
    }
    for row in rows:
        move, (sheet, titles) = far * axes[row["way"]][row["number"]], sheets[row["way"]]
        read = find_directions.most_moved(generator, reader, ws, move, [2, 3])
        assert row["changes"] == pytest.approx(read["changes"], abs=1e-4)
        shown = [edits.moved(ws[:1], move, shift, [2, 3]) for shift in (-1, -0.5, 0, 0.5, 1)]
        expected = edits.images_of(generator, torch.cat(shown))
        assert (sheet[row["number"]].int() - expected.int()).abs().max() <= 1
        assert titles[row["number"]] == f"{row['number']} {row['moves']}"


def test_edits_are_compared(scene):
    words = [
        "--people",
        "2",
        "--seeds",
        "0",
        "1",
        "--steps",
        "1",
        "--swap-steps",
        "1",
        "--strengths",
        "0",
        "1",
    ]
    assert run(compare_edits, scene, *words, judged=True) == ""
    folder = newest(scene, "edits")
    rows = json.loads((folder / "summary.json").read_text())["rows"]
    assert {row["edit"] for row in rows} == {"none", "expression", "style", "swap"}
    by = {(row["edit"], row["method"], row["what"], row["strength"]): row for row in rows}
    assert len(by) == len(rows) and all(row["seeds"] == 2 and "ratio_sd" in row for row in rows)
    nothing = by["style", "subspace", "", 0.0]
    everything = by["style", "layers from", "", 0.0]
    assert nothing["ratio"] == pytest.approx(by["none", "projection", "", 0.0]["ratio"], rel=1e-4)
    assert everything["reached"] != nothing["reached"] or everything["ratio"] != nothing["ratio"]
    for emotion in compare_edits.EMOTIONS:
        assert ("expression", "mean of pairs, restored", emotion, 1.0) in by
    assert (folder / "tradeoff.png").is_file()


def plain_network(scene: Path) -> str:
    """A generator whose z chooses nothing, with projections of its own."""
    torch.manual_seed(1)
    generator = Generator(
        Architecture(size=64, channels=(4, 4, 4, 4, 4), z_dim=5, w_dim=6, noise=False)
    ).eval()
    weights.save(scene / "plain.safetensors", generator, "random")
    for name in ("anna", "bob"):
        image = to_uint8(torch.rand(3, 64, 64) * 2 - 1)
        figures.save_png(scene / "photographs" / name / "target.png", image)
        projections.write(scene / "photographs" / name / "projected_w.npz", torch.randn(1, 10, 6), generator)
    return "plain.safetensors"


def test_photographs_and_generators_without_options_can_be_edited(scene):
    words = {"judged": True, "network": plain_network(scene)}
    folder = str(scene / "photographs")
    assert run(face_swap, scene, folder, "--steps", "2", **words) == ""
    assert run(face_swap, scene, folder, "--by", "layers", **words) == ""
    assert run(style_transfer, scene, folder, "--by", "layers", **words) == ""
    assert run(expression_transfer, scene, folder, "--pair", "anna", "bob", **words) == ""
    assert "give --pair with two pictures" in run(expression_transfer, scene, folder, **words)
    assert "--by subspace: this generator's z chooses no attributes" in run(
        style_transfer, scene, folder, **words
    )
    assert "--by subspace: it needs a generator of avatars" in run(
        face_swap, scene, folder, "--by", "subspace", **words
    )


@pytest.mark.parametrize(
    ("script", "flags", "said"),
    [
        (expression_transfer, ["--strengths", "9"], "--strengths"),
        (expression_transfer, ["--strengths", "1", "1"], "--strengths: name one or more, each once"),
        (expression_transfer, ["--strengths"], "--strengths: name one or more"),
        (expression_transfer, ["--emotions"], "--emotions: none"),
        (expression_transfer, ["--layers", "3-12"], "--layers 3-12: its style layers are 0 to 9"),
        (
            expression_transfer,
            ["--pair", "person1", "nobody"],
            "--pair nobody: no such picture; there are person1",
        ),
        (expression_transfer, ["--judge", "nobody"], "--identity nobody: no such file"),
        (style_transfer, ["--strength", "-6"], "--strength"),
        (style_transfer, ["--style-pictures", "nobody"], "--style-pictures nobody: no such picture"),
        (style_transfer, ["--style-seeds", "one"], "--style-seeds one"),
        (face_swap, ["--layers", "ten"], "--layers ten"),
        (face_swap, ["--steps", "0"], "--steps 0"),
    ],
)
def test_a_mistake_is_one_line(script, flags, said, scene):
    before = set((scene / "runs" / "hw3").iterdir())
    text = run(
        script, scene, str(newest(scene, "project")), *(["--judge", str(scene / "who.safetensors")]), *flags
    )
    assert said in text and text.startswith("error: ") and "\n" not in text
    assert set((scene / "runs" / "hw3").iterdir()) == before


def test_mistakes_about_directions_and_people_are_one_line(scene):
    assert "--ways: none" in run(find_directions, scene, "--ways")
    assert "--distance" in run(find_directions, scene, "--distance", "9")
    one = scene / "one"
    figures.save_png(one / "anna" / "target.png", torch.zeros(3, 64, 64, dtype=torch.uint8))
    np.savez(one / "anna" / "projected_w.npz", w=np.zeros((1, 10, 40), np.float32))
    assert "pictures of 1 person (anna); this needs 2 or more" in run(face_swap, scene, str(one), judged=True)
    assert "no projections there" in run(face_swap, scene, str(scene / "nothing"), judged=True)
