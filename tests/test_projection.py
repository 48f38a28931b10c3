"""Projection: what comes back, batches, the layers' noise, and the script's files and mistakes."""

from __future__ import annotations

import json

from common import command_line, figures
from common.data import to_uint8
from common.metrics import identity

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from hw3_stylegan_sampling import encoder as encoders
from hw3_stylegan_sampling import people, project, projection, train_encoder, weights
from hw3_stylegan_sampling.networks import Architecture, Generator
from hw3_stylegan_sampling.projection import Recipe

SMALL = Architecture(size=16, channels=(8, 8, 8), z_dim=6, w_dim=8, noise=False)


def make(shape: Architecture = SMALL) -> Generator:
    torch.manual_seed(0)
    generator = Generator(shape).eval()
    generator.estimate_w_mean(500)
    return generator


def squared(targets: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return (targets - images).square().mean((1, 2, 3))


def last(steps) -> projection.Projected:
    *_, final = steps
    return final


def test_a_generated_image_comes_back_from_each_space():
    generator = make()
    target = generator(torch.randn(1, 6, generator=torch.Generator().manual_seed(1))).detach()
    for space in ("w", "w+"):
        found = last(projection.project(generator, target, squared, Recipe(space, 200)))
        assert found.ws.shape == (1, generator.layers, 8)
        assert projection.psnr(target, found.images) > 30
        with torch.no_grad():
            assert torch.equal(generator.synthesis(found.ws, "const"), found.images)
        assert (found.ws[:, 0] == found.ws[:, 1]).all() == (space == "w")


def test_w_plus_fits_more_than_w():
    """A mixture of two styles is in W+ and not in W."""
    generator = make()
    ws = generator.styles(torch.randn(2, 6, generator=torch.Generator().manual_seed(2)))
    target = generator.synthesis(torch.cat([ws[:1, :3], ws[1:, 3:]], 1), "const").detach()
    errors = {
        space: squared(
            target, last(projection.project(generator, target, squared, Recipe(space, 150))).images
        )
        for space in ("w", "w+")
    }
    assert errors["w+"] < errors["w"] / 4


@pytest.mark.parametrize("noise", [False, True])
def test_in_a_batch_as_alone(noise):
    """With noise, whose penalty must not weigh more the fewer images there are."""
    shape = Architecture(size=16, channels=(8, 8, 8), z_dim=6, w_dim=8, noise=noise)
    targets = make(shape)(torch.randn(3, 6, generator=torch.Generator().manual_seed(3))).detach()

    def projected(rows: slice) -> torch.Tensor:
        generator = make(shape)
        if noise:
            for block in generator.synthesis.blocks:
                torch.nn.init.constant_(block.second.noise_strength, 0.5)
        return last(
            projection.project(generator, targets[rows], squared, Recipe(steps=12, noise_penalty=1))
        ).images

    together = projected(slice(0, 3))
    for row in range(3):  # Adam divides small gradients by small ones
        assert torch.allclose(together[row], projected(slice(row, row + 1))[0], atol=5e-3)


def test_it_starts_at_the_mean_and_leaves_the_weights_alone():
    generator = make()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    target = generator(torch.randn(1, 6)).detach()
    steps = projection.project(generator, target, squared, Recipe(steps=3, wander=0))
    mean, spread = projection.statistics_of_w(generator)
    assert torch.allclose(next(steps).ws, mean.expand(1, generator.layers, -1)) and spread > 0
    last(steps)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


def test_w_wanders_at_the_beginning_and_never_at_the_end():
    generator = make()
    target = generator(torch.randn(1, 6)).detach()
    mean, spread = projection.statistics_of_w(generator)
    recipe = Recipe("w", steps=8, wander=0.5, learning_rate=1e-9)
    far = [
        (found.ws[:, 0] - mean).norm().item() / spread
        for found in projection.project(generator, target, squared, recipe)
    ]
    assert far[0] > 0.5 and far[0] > far[3] > far[5] > 0 and max(far[6:]) < 1e-6


def test_each_image_has_noise_of_its_own_that_stays_noise():
    shape = Architecture(size=16, channels=(8, 8, 8), z_dim=6, w_dim=8)
    generator = make(shape)
    for block in generator.synthesis.blocks:
        torch.nn.init.constant_(block.second.noise_strength, 0.5)
    targets = torch.rand(2, 3, 16, 16) * 2 - 1
    layer, ws = generator.synthesis.blocks[2].second, generator.w_mean.expand(3, generator.layers, -1)
    had, drawn = layer.noise, generator.synthesis(ws, "const")
    noise = None
    for _ in projection.project(generator, targets, squared, Recipe(steps=20)):
        noise = layer.noise.detach()
    assert layer.noise is had and torch.equal(generator.synthesis(ws, "const"), drawn)  # as before
    assert noise.shape == (2, 1, 16, 16) and not torch.equal(noise[0], noise[1])
    assert torch.allclose(noise.mean((1, 2, 3)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(noise.square().mean((1, 2, 3)), torch.ones(2), atol=1e-4)


def test_a_picture_in_the_noise_is_correlated_and_noise_is_not():
    torch.manual_seed(0)
    noise, picture = torch.randn(1, 1, 32, 32), torch.ones(1, 1, 32, 32)
    picture[..., 16:] = -1
    assert projection.correlation(picture) > 50 * projection.correlation(noise)


def test_psnr_of_a_known_error_and_of_numbers_beyond_white():
    images = torch.zeros(1, 3, 4, 4)
    assert projection.psnr(images, images + 0.2).item() == pytest.approx(20, abs=1e-3)
    assert projection.psnr(torch.ones(1, 3, 4, 4), torch.full((1, 3, 4, 4), 1.5)).item() > 100


def test_the_learning_rate_rises_and_falls():
    recipe = Recipe()
    rates = [projection.ramp(recipe, share) for share in (0, 0.025, 0.05, 0.5, 0.75, 0.875, 1)]
    assert rates == pytest.approx([0.01, 0.51, 1, 1, 1, 0.5, 0], abs=0.01)


# ---- the script


@pytest.fixture
def network(tmp_path):
    weights.save(tmp_path / "net.safetensors", make(), "a test")
    return tmp_path / "net.safetensors"


def run(network, *flags: str) -> str:
    """Exit code of the script as text, empty for success."""
    words = [
        "--network",
        str(network),
        "--device",
        "cpu",
        "--outdir",
        str(network.parent / "runs"),
        "--steps",
        "3",
    ]
    try:
        command_line.run(project.main, project.Config, [*words, "--perceptual", "small", *flags])
    except SystemExit as stopped:
        return str(stopped.code)
    return ""


def test_files_of_each_image_fit_the_styles(network, tmp_path):
    image = to_uint8(torch.rand(3, 16, 16) * 2 - 1)
    figures.save_png(tmp_path / "people" / "anna.png", image)
    assert run(network, "--images", str(tmp_path / "people"), "--seeds", "5") == ""
    (folder,) = (tmp_path / "runs" / "hw3").iterdir()
    assert folder.name == "0001-project"
    assert np.array_equal(imageio.imread(folder / "anna" / "target.png"), image.permute(1, 2, 0).numpy())
    generator = weights.read(network)
    for name in ("anna", "seed0005"):
        with np.load(folder / name / "projected_w.npz") as file:
            w = file["w"]
        assert w.shape == (1, generator.layers, 8) and w.dtype == np.float32
        drawn = to_uint8(generator.synthesis(torch.from_numpy(w), "const"))[0].detach()
        assert np.array_equal(
            imageio.imread(folder / name / "projection.png"), drawn.permute(1, 2, 0).numpy()
        )
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["n"] == 2 and all((folder / name).is_file() for name in summary["figures"])


def test_from_given_styles_it_starts_there_and_gets_nearer():
    generator = make()
    z = torch.randn(2, 6, generator=torch.Generator().manual_seed(4))
    target, start = generator(z).detach(), generator.styles(z).detach() + 0.3
    given = start.clone()
    steps = list(projection.project(generator, target, squared, Recipe(steps=30, wander=0), start))
    assert torch.equal(steps[0].ws, given) and torch.equal(start, given)
    assert (steps[-1].distances < steps[0].distances / 3).all()


def test_ways_are_compared_and_each_leaves_its_files(network, tmp_path):
    generator = weights.read(network)
    encoder = train_encoder.build(generator)
    torch.nn.init.normal_(encoder.own.weight, std=0.1)
    encoders.save(tmp_path / "encoder.safetensors", encoder)
    (tmp_path / "mean.py").write_text("def load(device):\n    return lambda images: images.mean((2, 3))\n")
    ways = ("w", "w+", "encoder", "encoder+w+")
    assert run(network, "--seeds", "5-6", "--encoder", str(tmp_path / "encoder.safetensors"), "--how", *ways,
               "--identity", str(tmp_path / "mean.py")) == ""  # fmt: skip
    (folder,) = (tmp_path / "runs" / "hw3").iterdir()
    read = encoders.load(tmp_path / "encoder.safetensors", generator)
    summary = json.loads((folder / "summary.json").read_text())
    found = {}
    for way, key in zip(ways, ("w", "wplus", "encoder", "encoder_wplus")):
        place = folder / f"seed0006-{key}"
        with np.load(place / "projected_w.npz") as file:
            w = found[way] = torch.from_numpy(file["w"])
        drawn = to_uint8(generator.synthesis(w, "const"))[0].detach()
        assert np.array_equal(imageio.imread(place / "projection.png"), drawn.permute(1, 2, 0).numpy())
        rows = [row for row in summary["images"] if row["how"] == way]
        assert [row["image"] for row in rows] == ["seed0005", "seed0006"]
        numbers = summary["metrics"]
        assert numbers[f"{key}_psnr_db"] == pytest.approx(np.mean([row["psnr"] for row in rows]))
        assert numbers[f"{key}_identity"] == pytest.approx(np.mean([row["identity"] for row in rows]))
        if way == "encoder":
            target = torch.from_numpy(imageio.imread(place / "target.png")).permute(2, 0, 1)[None]
            with torch.no_grad():
                assert torch.allclose(read(target / 127.5 - 1), w, atol=1e-5)
    # a step of Adam moves a number by about its learning rate
    assert (
        (found["encoder+w+"] - found["encoder"]).abs().max()
        < 0.4
        < (found["w+"] - found["encoder"]).abs().max()
    )
    assert summary["figures"] == ["projections.png", "losses.png", "progress.gif"]
    assert all((folder / name).is_file() for name in summary["figures"])
    assert imageio.improps(folder / "progress.gif").n_images == 4  # and the result


def test_drawn_persons_come_first_and_are_looked_for_among_a_hundred(network, tmp_path, monkeypatch):
    """A network that calls every picture of the six the third of the hundred: right for two pictures."""
    monkeypatch.setattr(identity, "gallery", lambda net, persons, **_: seen.append(persons) or torch.eye(100))
    monkeypatch.setattr(identity, "embed", lambda net, images: torch.eye(100)[2].expand(len(images), -1))
    seen = []
    (tmp_path / "mean.py").write_text("def load(device):\n    return None\n")
    assert run(network, "--people", "6", "--seeds", "3", "--identity", str(tmp_path / "mean.py")) == ""
    (folder,) = (tmp_path / "runs" / "hw3").iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["n"] == 13 and summary["metrics"]["wplus_first_among_100"] == pytest.approx(1 / 6)
    right = [row["image"] for row in summary["images"] if row["taken_for"] == "the right person"]
    assert right == ["person3", "person3-turned"] and summary["images"][-1]["taken_for"] is None
    six = people.drawn(6, 16)
    assert torch.equal(seen[0][:6], six.attributes["person"][::2])
    for name, image in zip(six.names, six.images):
        target = imageio.imread(folder / name / "target.png")
        assert np.array_equal(target, image.permute(1, 2, 0).numpy())


def test_an_encoder_alone_has_no_way_to_show(network, tmp_path):
    encoders.save(tmp_path / "encoder.safetensors", train_encoder.build(weights.read(network)))
    assert run(network, "--seeds", "5", "--encoder", str(tmp_path), "--how", "encoder") == ""
    (folder,) = (tmp_path / "runs" / "hw3").iterdir()
    assert json.loads((folder / "summary.json").read_text())["figures"] == ["projections.png"]
    assert (folder / "seed0005" / "projected_w.npz").is_file()


def test_the_perceptual_error_asks_for_its_range():
    distance, judge = project.perceptual("small", torch.device("cpu"))
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    assert judge == "the shipped small network" and distance(images, images).abs().max() < 1e-5
    with pytest.raises(ValueError, match=r"not in \[-1, 1\]"):
        distance(images * 127.5 + 127.5, images)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--images: name image files or a folder, --seeds of"),
        (("--images", "nothing.png"), "nothing.png"),
        (("--seeds", "0-400"), "--images: 401 images; project at most 256 at once"),
        (("--images", "{people}", "--seeds", "1"), "seed0001 is the name of two images"),
        (("--seeds", "one"), "--seeds one"),
        (
            ("--seeds", "1", "--how", "encoder"),
            "--how encoder: name an encoder of this network with --encoder",
        ),
        (("--seeds", "1", "--how", "w", "w"), "--how w w: name every way once"),
        (("--seeds", "1", "--how", "encoder", "--encoder", "nobody"), "--encoder nobody: neither a file"),
        (("--seeds", "1", "--identity", "nobody"), "--identity nobody: no such file"),
        (("--images", "{small}"), "small.png: 7 pixels, too small for a generator of 16"),
        (("--seeds", "1", "--perceptual", "lpips"), "--perceptual lpips: it needs `pip install lpips`"),
    ],
)
def test_mistakes_in_one_line(network, tmp_path, flags, message):
    figures.save_png(tmp_path / "people" / "seed0001.png", torch.zeros(3, 16, 16, dtype=torch.uint8))
    figures.save_png(tmp_path / "small.png", torch.zeros(3, 7, 7, dtype=torch.uint8))
    places = {"people": tmp_path / "people", "small": tmp_path / "small.png"}
    said = run(network, *(flag.format(**places) for flag in flags))
    assert message in said and "\n" not in said.strip()
