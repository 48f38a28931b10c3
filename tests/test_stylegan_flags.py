"""Flags of interpolate.py, style_mixing.py and project.py reach what they name: psi, class, names, seed."""

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from hw3_stylegan_sampling import (
    directions,
    interpolate,
    project,
    projection,
    projections,
    sample,
    style_mixing,
    weights,
)
from hw3_stylegan_sampling.networks import Architecture, Generator

SMALL = {"size": 8, "channels": (6, 5), "z_dim": 6, "w_dim": 7, "mapping_layers": 2, "noise": False}
SECOND = torch.tensor([[0.0, 1.0, 0.0]])
"""Label of the second of three classes."""


def network_of(folder, **more):
    torch.manual_seed(0)
    generator = Generator(Architecture(**SMALL, **more))
    generator.w_mean.normal_()
    weights.save(folder / "net.safetensors", generator, "a test")
    return folder / "net.safetensors"


@pytest.fixture
def network(tmp_path):
    """A generator with three classes."""
    return network_of(tmp_path, classes=3)


def picture(image: torch.Tensor) -> np.ndarray:
    """(1, 3, S, S) in [-1, 1] as a file holds it."""
    return ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()


def test_directions_of_a_generator_with_classes_are_those_of_all_classes(network):
    generator = weights.read(network)
    axes = directions.principal_axes(generator, 2, samples=60, seed=3)
    z = torch.randn(60, 6, generator=torch.Generator().manual_seed(3))
    w = generator.mapping(z, torch.eye(3).repeat(20, 1))
    _, deviations, expected = torch.linalg.svd(w - w.mean(0), full_matrices=False)
    assert torch.allclose((axes.directions * expected[:2]).sum(1).abs(), torch.ones(2), atol=1e-4)
    assert torch.allclose(axes.strengths, deviations[:2] / 59**0.5, rtol=1e-4)


# ---- walks


@pytest.mark.parametrize("way", ["z-linear", "z-spherical", "w-linear", "w-spherical"])
def test_a_walk_stays_in_its_class(network, way):
    generator = weights.read(network)
    z = torch.randn(2, 6)
    points = interpolate.walk(generator, z, 4, way, SECOND)
    assert torch.allclose(points[::4], generator.mapping(z, SECOND.expand(2, -1)), atol=1e-5)
    if way == "z-linear":
        halfway = generator.mapping((z[:1] + z[1:]) / 2, SECOND)
        assert torch.allclose(points[2:3], halfway, atol=1e-5)


def test_frames_are_of_the_seeds_class_and_psi(network, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(interpolate, "save", lambda outdir, panels, *more: kept.append(panels))
    interpolate.main(
        interpolate.Config(
            str(network), seeds="4,9", ways=("w-linear", "z-linear"), frames=8, trunc=0.4, class_index=1,
            outdir=tmp_path, device="cpu",
        )
    )  # fmt: skip
    generator = weights.read(network)
    assert list(kept[0]) == ["w-linear", "z-linear"]
    for images in kept[0].values():
        for place, seed in ((0, 4), (4, 9)):
            ws = generator.styles(sample.latent(seed, generator), SECOND, psi=0.4)
            assert np.array_equal(images[place].permute(1, 2, 0), picture(generator.synthesis(ws)))


# ---- mixing


def test_mixed_styles_are_of_the_class(network, tmp_path):
    style_mixing.main(
        style_mixing.Config(
            str(network), rows="3", cols="7", styles="2-3", class_index=1, outdir=tmp_path / "out",
            device="cpu",
        )
    )  # fmt: skip
    generator = weights.read(network)
    row, column = (generator.styles(sample.latent(seed, generator), SECOND) for seed in (3, 7))
    expected = generator.synthesis(torch.cat([row[:, :2], column[:, 2:]], 1))
    assert np.array_equal(imageio.imread(tmp_path / "out" / "3-7.png"), picture(expected))


def test_files_are_called_as_the_rows_they_hold(tmp_path):
    """Projections stand above seeds, and so do their names."""
    network = network_of(tmp_path)
    generator, own = weights.read(network), torch.randn(1, 4, 7)
    projections.write(tmp_path / "anna.npz", own, generator)
    style_mixing.main(
        style_mixing.Config(
            str(network), rows="8", cols="5", styles="3", projected_w=(tmp_path / "anna.npz",),
            outdir=tmp_path / "out", device="cpu",
        )
    )  # fmt: skip
    of_seed = lambda seed: generator.styles(sample.latent(seed, generator))
    for name, row in (("anna", own), ("8", of_seed(8))):
        expected = generator.synthesis(torch.cat([row[:, :3], of_seed(5)[:, 3:]], 1))
        assert np.array_equal(imageio.imread(tmp_path / "out" / f"{name}-5.png"), picture(expected))


# ---- projections


def test_a_seeds_own_image_is_drawn_whole_and_of_the_first_class(network):
    generator = weights.read(network)
    _, images = project.targets_of(project.Config(str(network), seeds="6"), generator)
    ws = generator.styles(sample.latent(6, generator), torch.tensor([[1.0, 0.0, 0.0]]))
    assert np.array_equal(images[0].permute(1, 2, 0), picture(generator.synthesis(ws)))


def test_every_way_is_optimised_as_the_flags_say(tmp_path, monkeypatch):
    given, whole = {}, projection.project

    def spy(generator, targets, distance, recipe, start=None):
        given[recipe.space] = recipe
        return whole(generator, targets, distance, recipe, start)

    monkeypatch.setattr(projection, "project", spy)
    folder = project.main(
        project.Config(
            str(network_of(tmp_path)), seeds="1", how=("w", "w+"), steps=2, learning_rate=0.03, pixels=0.25,
            seed=5, perceptual="small", outdir=tmp_path / "runs", device="cpu",
        )
    )  # fmt: skip
    assert given == {space: projection.Recipe(space, 2, 0.03, 0.25, seed=5) for space in ("w", "w+")}
    for name, same in (("seed0001-w", True), ("seed0001-wplus", False)):
        with np.load(folder / name / "projected_w.npz") as file:
            assert (file["w"] == file["w"][:, :1]).all() == same


def test_the_weight_of_pixels_and_the_seed_change_what_is_minimised():
    torch.manual_seed(0)
    generator = Generator(Architecture(**SMALL)).eval()
    targets = torch.rand(1, 3, 8, 8) * 2 - 1
    nothing = lambda targets, images: torch.zeros(len(images))

    def first(**changes) -> projection.Projected:
        return next(projection.project(generator, targets, nothing, projection.Recipe(steps=3, **changes)))

    apart = projection.pixel_distance(targets, first(seed=1).images)
    assert torch.allclose(first(seed=1, pixels=0.5).distances, apart / 2)
    assert not torch.equal(first(seed=1).ws, first(seed=2).ws)
    assert torch.equal(first(seed=1).ws, first(seed=1).ws)
