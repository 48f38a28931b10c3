"""FID: network and command against pytorch-fid, with seeded random weights for the published ones."""

import contextlib
import io
import subprocess
import sys

from common import data, devices, downloads
from common.command_line import run
from common.errors import InputError
from common.metrics import fid, images, inception

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_fid import fid_score
from pytorch_fid import inception as published

DIMS = inception.DIMS


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A weight file of pytorch-fid's layout whose activations neither die nor explode."""
    state = inception.InceptionV3().state_dict()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in state.items():
        if name.endswith(("running_var", "bn.weight")):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif tensor.ndim == 1:
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
        elif tensor.ndim > 1:
            spread = (2 / tensor[0].numel()) ** 0.5
            tensor.copy_(spread * torch.randn(tensor.shape, generator=generator))
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(state, path)
    return path


@pytest.fixture
def pytorch_fid(weights, monkeypatch):
    """pytorch-fid with the same weights."""
    monkeypatch.setattr(published, "load_state_dict_from_url", lambda *_, **__: torch.load(weights))
    return fid_score


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """RGB images in a, b; grey ones in grey; sizes and modes as they come in mixed."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    kinds = {
        "a": ["RGB"] * 8,
        "b": ["RGB"] * 6,
        "grey": ["L"] * 6,
        "mixed": ["RGB", "L", "P", "RGBA", "LA", "1"],
    }
    for seed, (folder, modes) in enumerate(kinds.items()):
        (root / folder).mkdir()
        for i, mode in enumerate(modes):
            size = (40 + 9 * i, 64 - 5 * i) if folder == "mixed" else (48, 40)
            noise = random.integers(0, 256, (6 + seed, 5, 3), dtype=np.uint8)
            image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)
            image.save(root / folder / f"{i}.{'jpg' if folder == 'b' else 'png'}")
    return root


def command(*arguments):
    """What the command prints; SystemExit carries the line of an error."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        run(fid.main, fid.Config, [str(argument) for argument in arguments])
    return out.getvalue()


def value_of(*arguments):
    line = command(*arguments)
    return float(line.split(":")[1].split()[0])


@pytest.mark.parametrize("dims", DIMS)
def test_features_equal_pytorch_fid(weights, pytorch_fid, dims):
    batch = torch.randint(
        0, 256, (2, 3, 41, 57), dtype=torch.uint8, generator=torch.Generator().manual_seed(dims)
    )
    network = published.InceptionV3([published.InceptionV3.BLOCK_INDEX_BY_DIM[dims]]).eval()
    with torch.no_grad():
        expected = network(batch / 255)[0].mean((2, 3))
    found = inception.Inception(weights, dims)(batch)
    assert found.shape == (2, dims)
    assert (found - expected).abs().max() <= 3e-6 * expected.abs().max()  # float32 rounding over 94 layers
    assert expected.std(0).max() > 0.01 * expected.abs().max()  # and the features do depend on the image


@pytest.mark.skipif(
    not devices.cpu_has_bfloat16(), reason="a CPU without bfloat16: the script goes on in float32 there"
)
def test_bfloat16_is_near(weights):
    batch = torch.randint(
        0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    exact = inception.Inception(weights, 192)(batch)
    coarse = inception.Inception(weights, 192, precision="bf16")(batch)
    assert 0 < (coarse - exact).norm() < 0.02 * exact.norm()


def test_each_image_has_its_own_features_however_many_come_together(weights):
    extractor = inception.Inception(weights, dims=64)
    batch = torch.randint(0, 256, (inception.AT_ONCE + 3, 3, 40, 40), dtype=torch.uint8)
    alone = torch.cat([extractor(image[None]) for image in batch])
    assert (extractor(batch) - alone).abs().max() < 1e-5 * alone.abs().max()


def test_images_of_other_sizes_keep_their_order(weights):
    extractor = inception.Inception(weights, 64)
    large, small = torch.randint(256, (3, 40, 30), dtype=torch.uint8), torch.zeros(3, 20, 20).byte()
    together = extractor([large, small])
    for row, image in zip(together, (large, small)):
        assert torch.allclose(row, extractor(image[None])[0], rtol=1e-4, atol=1e-5)


def test_where_onednn_is_not_features_are_the_same(weights, monkeypatch):
    """As on GPUs and on other processors: folded convolutions, each ReLU by itself."""
    images = torch.randint(256, (2, 3, 40, 30), dtype=torch.uint8)
    found = inception.Inception(weights, 768)(images)
    monkeypatch.setattr(inception, "HAS_ONEDNN", False)
    plain = inception.Inception(weights, 768)(images)
    assert (plain - found).abs().max() < 1e-5 * found.abs().max()  # other orders of float32 sums


def test_network_has_the_published_layout():
    state = inception.InceptionV3().state_dict()
    assert len(state) == 566  # keys of the published file
    assert state["fc.weight"].shape == (1008, 2048)
    assert sum(tensor.numel() for tensor in state.values() if tensor.is_floating_point()) == 23_885_392


@pytest.mark.parametrize(("first", "second", "dims"), [("a", "b", 64), ("a", "b", 192), ("a", "mixed", 64)])
def test_command_gives_pytorch_fids_number(weights, pytorch_fid, folders, first, second, dims):
    batch = 1 if "mixed" in (first, second) else 3  # pytorch-fid cannot stack images of several sizes
    paths = [str(folders / first), str(folders / second)]
    expected = pytorch_fid.calculate_fid_given_paths(paths, batch, "cpu", dims, num_workers=0)
    found = value_of(*paths, "--weights", weights, "--dims", dims, "--batch_size", 4, "--num-workers", 2)
    assert found == pytest.approx(expected, rel=1e-4)


def test_photographs_are_made_smaller_as_pytorch_fid_does_it(weights, pytorch_fid, tmp_path):
    """310x420 pixels, more than the 299 the network reads: bilinear, without antialiasing.

    Noise of single pixels, which antialiasing would smooth."""
    random = np.random.default_rng(1)
    for folder, contrast in (("x", 60), ("y", 90)):
        (tmp_path / folder).mkdir()
        for i in range(3):
            noise = 128 + contrast * random.standard_normal((310, 420, 3))
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(tmp_path / folder / f"{i}.png")
    paths = [str(tmp_path / "x"), str(tmp_path / "y")]
    expected = pytorch_fid.calculate_fid_given_paths(paths, 3, "cpu", 64, num_workers=0)
    assert value_of(*paths, "--weights", weights, "--dims", 64) == pytest.approx(expected, rel=1e-4)


def test_grey_folders_at_2048_dimensions(weights, pytorch_fid, folders):
    """Six images in 2048 dimensions: covariances of rank five, where sqrtm is good for four digits."""
    halves = folders / "grey halves"
    for half, keep in (("x", (0, 1, 2)), ("y", (3, 4, 5))):
        (halves / half).mkdir(parents=True, exist_ok=True)
        for i in keep:
            (halves / half / f"{i}.png").write_bytes((folders / "grey" / f"{i}.png").read_bytes())
    paths = [str(halves / "x"), str(halves / "y")]
    network = published.InceptionV3([3])
    x, y = (
        pytorch_fid.get_activations(sorted((halves / half).glob("*.png")), network, 3, num_workers=0)
        for half in "xy"
    )
    cross = np.linalg.svd((x - x.mean(0)) @ (y - y.mean(0)).T, compute_uv=False).sum() / 2
    expected = (
        ((x.mean(0) - y.mean(0)) ** 2).sum() + x.var(0, ddof=1).sum() + y.var(0, ddof=1).sum() - 2 * cross
    )
    assert value_of(*paths, "--weights", weights) == pytest.approx(expected, rel=1e-4)


def test_statistics_files_stand_for_their_folder(weights, pytorch_fid, folders, tmp_path):
    a, b, options = folders / "a", folders / "b", ("--weights", weights, "--dims", 64)
    direct = value_of(a, b, *options)
    line = command(a, tmp_path / "ours.npz", "--save-stats", *options)
    assert "inception-64, N = 8" in line
    pytorch_fid.save_fid_stats([str(a), str(tmp_path / "theirs.npz")], 8, "cpu", 64, num_workers=0)
    assert value_of(tmp_path / "ours.npz", b, *options) == pytest.approx(direct, rel=1e-12)
    assert value_of(tmp_path / "theirs.npz", b, *options) == pytest.approx(direct, rel=1e-4)
    assert value_of(tmp_path / "theirs.npz", tmp_path / "ours.npz", "--dims", 64) < 1e-4 * direct
    theirs = pytorch_fid.calculate_fid_given_paths([str(tmp_path / "ours.npz"), str(b)], 3, "cpu", 64, 0)
    assert theirs == pytest.approx(direct, rel=1e-4)


def test_published_flags_are_understood(weights, folders, monkeypatch):
    flags = [
        "--batch-size",
        "2",
        "--dims",
        "64",
        "--device",
        "cpu",
        "--num-workers",
        "0",
        "--weights",
        str(weights),
    ]
    line = command(folders / "a", folders / "b", *flags)
    assert line.startswith("FID with 64 dimensions (not comparable with published FID):  ")
    assert line.rstrip().endswith("(N = 8 and 6)")


def test_folds_leave_the_value_and_add_its_error(weights, folders):
    options = ("--weights", weights, "--dims", 64, "--batch-size", 3)
    line = command(folders / "a", folders / "b", *options, "--folds", 3)
    value, sign, error = line.split(":")[1].split()[:3]
    assert float(value) == pytest.approx(value_of(folders / "a", folders / "b", *options), rel=1e-9)
    assert (sign, float(error) > 0, "3 folds" in line) == ("±", True, True)


def test_folds_do_not_depend_on_the_batches(weights, folders):
    extractor = inception.Inception(weights, 64)
    parts = [
        fid.statistics_of(images.FolderImages(folders / "a"), extractor, batch_size, folds=3)
        for batch_size in (1, 4, 8)
    ]
    for other in parts[1:]:
        for part, same in zip(parts[0], other):
            assert part.count == same.count
            assert torch.allclose(part.mu, same.mu, rtol=1e-5, atol=1e-7)


def test_data_sets_by_name(weights, tmp_path):
    options = ("--weights", weights, "--dims", 64, "--data-dir", tmp_path)
    pixels = torch.randint(0, 256, (4, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    header = lambda *axes: bytes([0, 0, 8, len(axes)]) + b"".join(axis.to_bytes(4, "big") for axis in axes)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte").write_bytes(header(4, 28, 28) + pixels.numpy().tobytes())
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").write_bytes(header(4) + bytes(4))
    (tmp_path / "folder").mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image.numpy()).save(tmp_path / "folder" / f"{i}.png")
    assert value_of("mnist", tmp_path / "folder", *options) < 1e-9
    assert value_of("mnist:test", "mnist", *options) < 1e-9


def test_grey_flag_compares_grey_with_colour(weights, folders, tmp_path):
    (tmp_path / "grey").mkdir()
    for path in (folders / "a").glob("*.png"):
        Image.open(path).convert("L").save(tmp_path / "grey" / path.name)
    options = ("--weights", weights, "--dims", 64)
    assert value_of(folders / "a", tmp_path / "grey", "--grey", *options) < 1e-9
    with pytest.raises(
        SystemExit, match=r"grey has 1 channel \(all grey\) and .*a has 3 \(colour\).*give --grey"
    ):
        command(folders / "a", tmp_path / "grey", *options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{a}", "{root}/none"], r"none: no such folder, .npz file or data set"),
        (["{a}", "{root}/empty"], r"empty: no images; expected files ending in"),
        (["{a}", "{root}/one"], r"one: FID needs at least two images, found 1"),
        (["{a}", "{root}/broken"], r"broken/1.png: cannot be read as an image"),
        (["{a}", "{root}/no.npz"], r"no.npz: no such file"),
        (["{a}", "{root}/wide.npz"], r"wide.npz: statistics of 2048 dimensions; give --dims 2048"),
        (["{root}/named.npz", "{b}"], r"statistics of digits-v1 and of inception-64 cannot be compared"),
        (["{a}", "{b}", "--weights", "{root}/none.pth"], r"none.pth: no such file; add --download"),
        (["{a}", "{b}", "--weights", "{a}/0.png"], r"0.png: cannot be read as PyTorch weights"),
        (
            ["{a}", "{b}", "--weights", "{root}/other.pth"],
            r"470 missing \(Conv2d_1a_3x3.*1 unknown \(fc.scale\)",
        ),
        (["{a}", "{b}", "--weights", "{root}/list.pth"], r"not the weights of FID's Inception: a list"),
        (
            ["{a}", "{b}", "--weights", "{root}/nan.pth"],
            r"nan.pth: not the weights of FID's Inception: 1 with NaN or infinite values",
        ),
        (["{a}", "{root}/wide.npz", "--save-stats"], r"wide.npz: exists already"),
        (["{a}", "{root}/statistics", "--save-stats"], r"statistics: does not end in .npz"),
        (["{a}", "{b}", "--folds", "5"], r"a: FID needs at least 10 images for --folds 5, found 8"),
        (["{a}", "{b}", "--batch-size", "0"], r"--batch-size"),
        (["{a}", "{b}", "--device", "tpu"], r"--device tpu: no such device"),
    ],
)
def test_mistakes_get_one_line(weights, folders, tmp_path, arguments, message):
    for folder in ("empty", "one", "broken"):
        (tmp_path / folder).mkdir()
    png = (folders / "a" / "0.png").read_bytes()
    (tmp_path / "one" / "0.png").write_bytes(png)
    (tmp_path / "broken" / "0.png").write_bytes(png)
    (tmp_path / "broken" / "1.png").write_bytes(png[:200])
    np.savez(tmp_path / "wide.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    np.savez(tmp_path / "named.npz", mu=np.zeros(64), sigma=np.eye(64), features="digits-v1")
    state = torch.load(weights)
    torch.save(
        {"fc.weight": state["fc.weight"], "fc.bias": state["fc.bias"], "fc.scale": torch.ones(1)},
        tmp_path / "other.pth",
    )
    torch.save([1.0], tmp_path / "list.pth")
    if any("nan.pth" in argument for argument in arguments):
        state["Conv2d_1a_3x3.bn.bias"][0] = float("nan")
        torch.save(state, tmp_path / "nan.pth")
    places = {"a": folders / "a", "b": folders / "b", "root": tmp_path}
    arguments = [argument.format(**places) for argument in arguments]
    defaults = [] if "--weights" in arguments else ["--weights", str(weights)]
    with pytest.raises(SystemExit, match=message) as stop:
        command(*arguments, *defaults, "--dims", "64")
    assert "\n" not in str(stop.value)


def test_weights_are_never_fetched_unasked(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(downloads, "fetch", lambda *_, **__: pytest.fail("fetched"))
    with pytest.raises(InputError, match=rf"checkpoints/{inception.FILE_NAME}: no such file; add --download"):
        inception.weights_file()


def test_the_weights_are_fetched_where_asked_by_the_hash_of_the_published_file(
    monkeypatch, weights, tmp_path
):
    asked = []
    monkeypatch.setattr(downloads, "fetch", lambda *given, **_: asked.append(given))
    target = tmp_path / "weights.pth"
    with pytest.raises(InputError, match=r"weights.pth: no such file"):
        inception.weights_file(target, download=True)
    assert asked == [(target, inception.URL, inception.SHA256)]
    assert inception.SHA256.startswith(inception.FILE_NAME.removesuffix(".pth").rsplit("-", 1)[1])
    assert not inception.is_published(weights)


def test_only_uint8_images_are_taken(weights):
    extractor = inception.Inception(weights, 64)
    with pytest.raises(ValueError, match=r"expected uint8 images .* got torch.float32"):
        extractor(torch.zeros(2, 3, 8, 8))
    samples = torch.rand(2, 1, 8, 8) * 2 - 1
    grey = data.to_uint8(samples)
    assert torch.equal(extractor(grey), extractor(grey.repeat(1, 3, 1, 1)))


def test_module_runs_as_a_command():
    result = subprocess.run(
        [sys.executable, "-m", "common.metrics.fid", "none", "none.npz"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: none: no such folder")
