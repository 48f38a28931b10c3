"""Mixed styles, projections as rows, walks between images: what is drawn, and mistakes in one line."""

from common import command_line, figures
from common.latent_space import slerp

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from hw3_stylegan_sampling import interpolate, projections, sample, style_mixing, weights
from hw3_stylegan_sampling.networks import Architecture, Generator

SMALL = Architecture(size=8, channels=(6, 5), z_dim=6, w_dim=7, mapping_layers=2, noise=False)


@pytest.fixture
def network(tmp_path):
    torch.manual_seed(0)
    generator = Generator(SMALL)
    generator.w_mean.normal_()
    weights.save(tmp_path / "net.safetensors", generator, "a test")
    return tmp_path / "net.safetensors"


def run(module, network, *flags: str) -> str:
    """Exit code of a script as text, empty for success; it draws into `out`."""
    words = ["--network", str(network), "--device", "cpu", "--outdir", str(network.parent / "out"), *flags]
    try:
        command_line.run(module.main, module.Config, words)
    except SystemExit as stopped:
        return str(stopped.code)
    return ""


def image_of(network, ws) -> np.ndarray:
    image = weights.read(network).synthesis(ws)
    return ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()


def styles(network, seed: int, psi: float = 1.0):
    generator = weights.read(network)
    return generator.styles(sample.latent(seed, generator), psi=psi)


# ---- mixing


def test_a_cell_is_its_row_but_for_the_columns_layers(network, capsys):
    flags = ["--rows", "3-4", "--cols", "7", "--styles", "1-2", "--trunc", "0.6"]
    assert run(style_mixing, network, *flags) == ""
    out = network.parent / "out"
    own = ["3-3.png", "4-4.png", "7-7.png"]
    assert sorted(path.name for path in out.iterdir()) == sorted(["3-7.png", "4-7.png", *own, "grid.png"])
    for seed in (3, 4, 7):  # what is mixed has files of its own, as with NVIDIA
        drawn = imageio.imread(out / f"{seed}-{seed}.png")
        assert np.array_equal(drawn, image_of(network, styles(network, seed, 0.6)))
    for row in (3, 4):
        ws, column = styles(network, row, 0.6), styles(network, 7, 0.6)
        expected = torch.cat([ws[:, :1], column[:, 1:3], ws[:, 3:]], 1)
        assert np.array_equal(imageio.imread(out / f"{row}-7.png"), image_of(network, expected))
    assert "2 x 1 images" in capsys.readouterr().out


def test_the_sheet_holds_what_is_mixed(network):
    generator = weights.read(network)
    own, other = torch.cat([styles(network, 1), styles(network, 2)]), styles(network, 3)
    sheet = style_mixing.mixed(generator, own, other, [0, 1, 2, 3], "const")
    assert sheet.shape == (3, 2, 3, 8, 8) and (sheet[0, 0] == 255).all()
    for i, seed in enumerate((1, 2)):
        assert np.array_equal(sheet[i + 1, 0].permute(1, 2, 0), image_of(network, styles(network, seed)))
        assert torch.equal(sheet[i + 1, 1], sheet[0, 1])  # all layers are the column's


def test_projections_become_rows(network, tmp_path):
    ws = torch.randn(1, 4, 7)
    (tmp_path / "anna").mkdir()
    np.savez(tmp_path / "anna" / "projected_w.npz", w=ws.numpy())
    np.savez(tmp_path / "ivan.npz", w=2 * ws.numpy())
    flags = ["--projected-w", str(tmp_path / "anna" / "projected_w.npz"), str(tmp_path / "ivan.npz")]
    assert run(style_mixing, network, *flags, "--cols", "5", "--styles", "3") == ""
    out = network.parent / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "5-5.png", "anna-5.png", "anna-anna.png", "grid.png", "ivan-5.png", "ivan-ivan.png"
    ]  # fmt: skip
    for name, own in (("anna", ws), ("ivan", 2 * ws)):
        expected = torch.cat([own[:, :3], styles(network, 5)[:, 3:]], 1)
        assert np.array_equal(imageio.imread(out / f"{name}-5.png"), image_of(network, expected))
    assert run(style_mixing, network, *flags, "--cols", "5", "--styles", "3", "--rows", "8") == ""
    assert (out / "8-5.png").exists()


@pytest.mark.parametrize("other", ["5.npz", "7.npz", "elsewhere/anna.npz"])
def test_no_image_takes_the_file_of_another(other, network, tmp_path):
    paths = [tmp_path / name for name in ("anna.npz", other)]
    (tmp_path / "elsewhere").mkdir()
    for path in paths:
        np.savez(path, w=np.zeros((1, 4, 7), np.float32))
    flags = ["--projected-w", *map(str, paths), "--rows", "7", "--cols", "5", "--styles", "3"]
    text = run(style_mixing, network, *flags)
    assert "is called" in text and text.startswith("error: --projected-w") and "\n" not in text
    assert not (network.parent / "out").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--styles", "0-6"], "--styles 0-6: its style layers are 0 to 3"),
        (["--styles", "a"], "--styles a: 'a' is neither a number nor a range"),
        (["--rows", "x"], "--rows x"),
        (["--cols", "3-1"], "--cols 3-1"),
        (["--styles", "1", "--trunc", "nan"], "--trunc"),
        (["--styles", "1", "--class", "0"], "--class 0: this generator has no classes"),
        (["--styles", "1", "--class", "-1"], "--class -1: must be greater than or equal to 0"),
    ],
)
def test_a_mistake_in_mixing_is_one_line(flags, said, network):
    text = run(style_mixing, network, *flags)
    assert said in text and text.startswith("error: ") and "\n" not in text
    assert not (network.parent / "out").exists()


def test_what_is_no_projection_is_named(network, tmp_path):
    generator = weights.read(network)
    (tmp_path / "text.npz").write_text("no numbers")
    np.savez(tmp_path / "other.npz", z=np.zeros(3))
    np.savez(tmp_path / "large.npz", w=np.zeros((1, 18, 512), np.float32))
    np.savez(tmp_path / "nan.npz", w=np.full((1, 4, 7), np.nan))
    np.savez(tmp_path / "objects.npz", w=np.array([{"a": 1}], dtype=object))
    np.save(tmp_path / "plain.npy", np.zeros((1, 4, 7)))
    whole = tmp_path / "whole.npz"
    np.savez(whole, w=np.zeros((1, 4, 7)))
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:-40])
    for name, said in (
        ("missing.npz", "no such file"),
        ("text.npz", "no .npz file with an array w"),
        ("other.npz", "no .npz file with an array w"),
        ("objects.npz", "no .npz file with an array w"),
        ("plain.npy", "no .npz file with an array w"),
        ("cut.npz", "no .npz file with an array w"),
        ("large.npz", r"\(1, 18, 512\); this generator needs finite numbers of \(1, 4, 7\)"),
        ("nan.npz", "needs finite numbers"),
    ):
        with pytest.raises(projections.InputError, match=said) as caught:
            projections.read(tmp_path / name, generator)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    assert projections.read(whole, generator).shape == (1, 4, 7)


# ---- sheets of truncation


def test_several_psis_make_one_sheet(network, monkeypatch):
    seen = []
    monkeypatch.setattr(figures, "save_grid", lambda path, images, columns, **titles: seen.append(images))
    assert run(sample, network, "--seeds", "1-2", "--trunc", "-1", "0", "0.5") == ""
    (images,) = seen
    assert images.shape == (6, 3, 8, 8)
    for i, (seed, psi) in enumerate((seed, psi) for seed in (1, 2) for psi in (-1.0, 0.0, 0.5)):
        assert np.array_equal(images[i].permute(1, 2, 0), image_of(network, styles(network, seed, psi)))


def test_the_sheet_is_a_file(network):
    assert run(sample, network, "--seeds", "1-2", "--trunc", "-1", "1.5") == ""
    assert [path.name for path in (network.parent / "out").iterdir()] == ["psi.png"]
    assert "--trunc: no number" in run(sample, network, "--trunc")


# ---- walks


def test_a_walk_visits_its_places_and_comes_back(network):
    generator = weights.read(network)
    z = torch.randn(3, 6)
    w = generator.mapping(z)
    for way in ("z-linear", "z-spherical", "w-linear", "w-spherical"):
        points = interpolate.walk(generator, z, 5, way)
        assert points.shape == (15, 7) and torch.allclose(points[::5], w, atol=1e-5)
    straight = interpolate.walk(generator, z, 4, "w-linear")
    assert torch.allclose(straight[2], (w[0] + w[1]) / 2, atol=1e-5)
    assert torch.allclose(straight[10], (w[2] + w[0]) / 2, atol=1e-5)
    arc = interpolate.walk(generator, z, 4, "w-spherical") - generator.w_mean
    assert torch.allclose(arc[2], slerp(w[0] - generator.w_mean, w[1] - generator.w_mean, 0.5), atol=1e-5)
    along = interpolate.walk(generator, z, 4, "z-spherical")
    assert torch.allclose(along[1], generator.mapping(slerp(z[:1], z[1:2], 0.25))[0], atol=1e-5)


def test_a_line_in_z_shows_what_the_arc_shows_but_for_options():
    torch.manual_seed(0)
    generator = Generator(Architecture(**{**vars(SMALL), "options": (4,)}))
    z = torch.tensor([[1.0, 0, 0, 0, 0, 0.6], [0, 1.0, 0, 0, 0, 0.6], [-1.0, 0, 0, 0, 0, 0.1]])
    line, arc = (interpolate.walk(generator, z, 2, f"z-{shape}")[1:2] for shape in ("linear", "spherical"))
    third, fourth = torch.eye(4)[2:3], torch.eye(4)[3:]  # Phi of 0.6 and, on the arc, more than 0.67
    halfway = (z[:1] + z[1:2]) / 2
    assert torch.allclose(line, generator.mapping(halfway, third), atol=1e-5)
    assert torch.allclose(arc, generator.mapping(halfway, fourth), atol=1e-5)
    assert not torch.allclose(line, arc, atol=1e-2)


def test_frames_are_the_images_of_w_truncated(network):
    generator = weights.read(network)
    w = torch.randn(20, 7)
    images = interpolate.draw(generator, w, 0.5, "const")
    near = generator.broadcast((w + generator.w_mean) / 2)
    assert np.array_equal(images[17].permute(1, 2, 0), image_of(network, near[17:18]))


def test_the_longest_step_is_a_multiple_of_the_mean_one():
    frames = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)
    frames[1:] = 30
    frames[2:] = 60
    frames[3:] = 90  # three steps of 30, and 90 back to the start
    assert interpolate.longest_step(frames) == pytest.approx(90 / 45)


def test_an_interpolation_leaves_a_gif_and_a_film_of_the_same_frames(network, capsys):
    flags = ["--seeds", "0,1", "--frames", "9", "--frame-ms", "50", "--ways", "w-linear", "z-spherical"]
    assert run(interpolate, network, *flags) == ""
    out = network.parent / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "interpolation.gif", "interpolation.mp4", "strip.png"
    ]  # fmt: skip
    gif = imageio.imread(out / "interpolation.gif")
    film = imageio.imread(out / "interpolation.mp4", plugin="FFMPEG")
    assert gif.shape == (10, 8, 16, 3) and film.shape == (10, 256, 512, 3)
    small = film.reshape(10, 8, 32, 16, 32, 3).mean((2, 4))
    assert np.abs(small - gif).mean() < 12  # of 255: both lose something
    assert imageio.immeta(out / "interpolation.mp4", plugin="FFMPEG")["fps"] == pytest.approx(20)
    assert "w-linear" in capsys.readouterr().out


def test_a_film_has_even_sides(tmp_path):
    figures.save_mp4(tmp_path / "a.mp4", torch.full((3, 1, 7, 9), 90, dtype=torch.uint8))
    film = imageio.imread(tmp_path / "a.mp4", plugin="FFMPEG")
    assert film.shape == (3, 8, 10, 3) and np.abs(film.astype(int) - 90).max() < 5


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--seeds", "3"], "--seeds 3: a walk needs two different seeds"),
        (["--seeds", "3,3"], "a walk needs two different seeds"),
        (["--seeds", "3-"], "--seeds 3-"),
        (["--ways"], "--ways: none"),
        (["--class", "-1"], "--class -1: must be greater than or equal to 0"),
        (["--frames", "2"], "--frames 2"),
    ],
)
def test_a_mistake_in_walking_is_one_line(flags, said, network):
    text = run(interpolate, network, *flags)
    assert said in text and text.startswith("error: ") and "\n" not in text
    assert not (network.parent / "out").exists()


def test_wide_frames_are_made_smaller_for_the_gif():
    frames = torch.full((3, 3, 512, 2048), 70, dtype=torch.uint8)
    assert interpolate.fitted(frames).shape == (3, 3, 256, 1024) and (interpolate.fitted(frames) == 70).all()
    assert torch.equal(interpolate.fitted(frames[..., :64]), frames[..., :64])
