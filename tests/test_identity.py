"""The network that tells who is in a picture: its margin, its measures, its file, and users' own networks."""

from __future__ import annotations

import json
import re
import shlex

from common import command_line, runs
from common.data import ImageSet, avatars
from common.errors import InputError
from common.metrics import extractors, identity

import pytest
import torch
import torch.nn.functional as F

from pretrained import train_identity

SMALL = identity.Architecture(16, ((8, 2), (8, 2)), 6)
HERE = torch.device("cpu")
AMONG = 100


def random_network() -> identity.IdentityNetwork:
    """Untrained, its batch normalisations have seen something."""
    torch.manual_seed(0)
    network = identity.IdentityNetwork(SMALL)
    for _ in range(3):
        network(torch.randn(8, 3, 16, 16) + 0.5)
    return network.eval()


# ---- the margin


def test_without_margin_it_is_the_softmax_over_scaled_cosines():
    torch.manual_seed(0)
    margin = train_identity.ArcFace(5, 4, 8.0, 0.0).double()
    embeddings, persons = F.normalize(torch.randn(7, 4, dtype=torch.float64), dim=1), torch.randint(5, (7,))
    cosines = embeddings @ F.normalize(margin.centres, dim=1).T
    expected = F.cross_entropy(8 * cosines, persons, reduction="none")
    assert torch.allclose(margin(embeddings, persons), expected, atol=1e-5)  # cosines are kept off 1


def test_the_margin_is_an_angle_added_to_the_right_person_alone():
    """By hand: two persons at right angles, a picture 0.5 from the first."""
    margin = train_identity.ArcFace(2, 2, 10.0, 0.3).double()
    margin.centres.data = torch.eye(2, dtype=torch.float64) * 3  # their length does not matter
    angle = torch.tensor(0.5, dtype=torch.float64)
    picture = torch.stack([angle.cos(), angle.sin()])[None]
    logits = 10 * torch.stack([(angle + 0.3).cos(), angle.sin()])
    expected = logits.logsumexp(0) - logits[0]
    assert margin(picture, torch.tensor([0])).item() == pytest.approx(expected.item(), rel=1e-9)


def test_beyond_the_half_turn_the_loss_goes_on_rising():
    margin = train_identity.ArcFace(2, 3, 10.0, 0.5).double()
    margin.centres.data = torch.eye(2, 3, dtype=torch.float64)
    angles = torch.linspace(
        0, torch.pi, 50, dtype=torch.float64
    )  # from the first; at right angles to the other
    pictures = torch.stack([angles.cos(), 0 * angles, angles.sin()], 1)
    losses = margin(pictures, torch.zeros(50, dtype=torch.int64))
    assert (losses.diff() > 0).all()


# ---- measures


def test_the_threshold_is_where_both_errors_are_equal():
    generator = torch.Generator().manual_seed(0)
    same = 0.7 + 0.1 * torch.randn(4000, generator=generator)
    different = 0.1 + 0.2 * torch.randn(9000, generator=generator)
    threshold = train_identity.threshold_of(train_identity.Pairs(same, different))
    # equally many standard deviations from both means: (0.7 - t) / 0.1 = (t - 0.1) / 0.2
    assert threshold == pytest.approx(0.5, abs=0.02)


def test_pairs_are_each_two_pictures_once():
    embeddings, persons = torch.eye(4), torch.tensor([5, 5, 5, 6])
    embeddings[1] = embeddings[0]
    pairs = train_identity.pairs_of(embeddings, persons)
    assert sorted(pairs.same.tolist()) == [0, 0, 1] and pairs.different.tolist() == [0, 0, 0]


class Oracle:
    """Reads a person's id out of the first pixel of a picture that `draw` wrote it into."""

    def __call__(self, images):
        code = ((images[:, 0, 0, 0] + 1) * 127.5).round().long() % 200
        return F.one_hot(code, 200).float()


def test_recognition_compares_with_the_right_hundred(monkeypatch):
    def draw(attributes, size):
        codes = (attributes["person"] - avatars.PEOPLE["val"].start).to(torch.uint8)
        return codes[:, None, None, None].expand(-1, 3, size, size).contiguous()

    monkeypatch.setattr(avatars, "draw", draw)
    persons = avatars.PEOPLE["val"].start + torch.arange(200).repeat(2)
    images = draw({"person": persons}, 8)
    images[1:51] = 199  # fifty of the first hundred look like somebody of the second
    image_set = ImageSet(images, "avatars", "val", "a test", attributes={"person": persons})
    measured = train_identity.measure(identity.Identity("oracle", Oracle(), HERE), image_set)
    assert measured["first_among_100"] == pytest.approx(350 / 400)


def test_a_gallery_is_the_mean_of_many_drawings_and_never_depends_on_company():
    net = identity.Identity("", random_network(), HERE)
    persons = torch.tensor([2_000_003, 2_000_001, 2_000_002])
    gallery = identity.gallery(net, persons, 4, size=16)
    assert gallery.shape == (3, 6) and torch.allclose(gallery.norm(dim=1), torch.ones(3))
    attributes = avatars.sample_attributes(12, torch.Generator().manual_seed(0))
    attributes["person"] = persons.repeat_interleave(4)
    each = identity.embed(net, avatars.draw(attributes, 16)).view(3, 4, 6)
    assert torch.allclose(gallery, F.normalize(each.mean(1), dim=1), atol=1e-6)
    assert identity.nearest(gallery, gallery).tolist() == [0, 1, 2]


# ---- the network and its file


def test_directions_have_length_one_gradients_and_any_size():
    network = random_network().requires_grad_(False)
    net = identity.Identity("", network, HERE)
    images = (torch.rand(3, 3, 24, 24) * 2 - 1).requires_grad_()
    directions = net(images)
    assert directions.shape == (3, 6) and torch.allclose(directions.norm(dim=1), torch.ones(3))
    directions[:, 0].sum().backward()
    assert images.grad.abs().sum() > 0
    small = F.interpolate(images, 16, mode="bilinear", antialias=True)
    assert torch.allclose(net(small), directions, atol=1e-6)
    uint8 = torch.randint(256, (5, 3, 16, 16), dtype=torch.uint8)
    alone = torch.cat([identity.embed(net, image[None]) for image in uint8])
    assert torch.allclose(identity.embed(net, uint8), alone, atol=1e-6)
    assert torch.allclose(identity.embed(net, uint8), net(uint8.float() / 127.5 - 1), atol=1e-5)


def test_the_file_keeps_the_network_and_its_threshold(tmp_path):
    network = random_network()
    identity.save(tmp_path / "net.safetensors", network, 0.4321)
    read = identity.load(tmp_path / "net.safetensors")
    assert read.threshold == 0.4321 and read.function.architecture == SMALL
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    # float16 weights: half a unit in the 11th bit
    assert identity.similarity(read(images), network(images)).min() > 0.9999
    assert not any(parameter.requires_grad for parameter in read.function.parameters())


@pytest.mark.parametrize("content", [b"", b"no weights", json.dumps({"architecture": 1}).encode()])
def test_other_files_are_named(tmp_path, content):
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"net\.safetensors: not the weights of an identity network"):
        identity.load(tmp_path / "net.safetensors")
    with pytest.raises(InputError, match="--identity nobody: no such file; shipped networks:"):
        identity.load("nobody")


# ---- a user's own network


def test_a_users_file_gives_the_network(tmp_path):
    file = tmp_path / "faces.py"
    file.write_text("def load(device):\n    return lambda images: 5 * images.mean((2, 3))\n")
    net = identity.load(file)
    images = torch.rand(4, 3, 9, 9)
    assert torch.allclose(net(images), F.normalize(images.mean((2, 3)), dim=1))
    assert net.threshold is None and net.name == "faces.py"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1 / 0\n", r"faces\.py: ZeroDivisionError"),
        ("def open(device): pass\n", r"faces\.py: AttributeError.*must have a function load"),
        ("def load(device):\n    return lambda images: images\n", r"gave \(2, 3, 8, 8\) for images"),
        ("def load(device):\n    return lambda images: None\n", r"gave NoneType for images"),
    ],
)
def test_mistakes_of_a_users_file(tmp_path, code, message):
    (tmp_path / "faces.py").write_text(code)
    with pytest.raises(InputError, match=message):
        identity.load(tmp_path / "faces.py")(torch.zeros(2, 3, 8, 8))


# ---- training


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """The flags of the shortest training, and the run it gave."""
    root = tmp_path_factory.mktemp("identity")
    patch = pytest.MonkeyPatch()
    patch.setattr(avatars, "DEFAULT_COUNTS", {"train": 60, "val": 12, "test": 14})
    patch.setattr(avatars, "PEOPLE_PER_SET", {"train": 4, "val": 3, "test": 3})
    flags = {"train_images": 60, "steps": 6, "batch_size": 12, "measure_every": 3, "device": "cpu",
             "data_dir": root / "data", "outdir": root / "runs", "checkpoint_seconds": 1e9}  # fmt: skip
    yield flags, train_identity.main(train_identity.Config(**flags))
    patch.undo()


def test_a_training_leaves_weights_and_their_card(short):
    _, folder = short
    card = (folder / "identity-avatars.md").read_text(encoding="utf-8")
    weights = folder / "identity-avatars.safetensors"
    assert f"SHA-256: `{extractors.file_sha256(weights)}`" in card
    assert "60 pictures of 4 persons" in card and str(folder.parent) not in card
    command = shlex.split(re.search(r"Command: `(.+)`", card)[1])
    assert command_line.parse(train_identity.Config, command[2:]).steps == 6
    summary = runs.read_json(folder / "summary.json")
    assert (summary["n_val"], summary["n_test"]) == (12, 14)
    assert summary["metrics"]["test/threshold"] == summary["metrics"]["val/threshold"]


def test_stopped_and_resumed_it_ends_with_the_same_bits(short):
    flags, whole = short

    class Stop(Exception):
        pass

    def stopping(images, smallest):
        stopping.calls += 1
        if stopping.calls == 5:
            raise Stop
        return original(images, smallest)

    stopping.calls, original = 0, train_identity.resampled
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_identity, "resampled", stopping)
        with pytest.raises(Stop):
            train_identity.main(train_identity.Config(**{**flags, "checkpoint_seconds": 0}))
    (half,) = (folder for folder in whole.parent.iterdir() if folder != whole)
    train_identity.main(command_line.parse(train_identity.Config, ["--resume", str(half)]))
    for name in ("identity-avatars.safetensors",):
        assert (half / name).read_bytes() == (whole / name).read_bytes()


def test_pictures_of_several_sets_show_different_persons(short):
    flags, _ = short
    train = train_identity.training_pictures(train_identity.Config(**{**flags, "sets": 2}))
    assert len(train) == 120 and len(train.attributes["person"].unique()) == 8


def test_some_batches_lose_detail_and_keep_their_size():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 16, 16)
    made = [train_identity.resampled(images, 8) for _ in range(60)]
    changed = [one for one in made if not torch.equal(one, images)]
    assert 15 < len(changed) < 45 and all(one.shape == images.shape for one in changed)
    detail = lambda x: x.diff(dim=-1).square().mean().item()
    assert max(map(detail, changed)) < detail(images)
