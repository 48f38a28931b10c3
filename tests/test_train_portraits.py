"""Training the reader of portraits, with networks and sets as small as can be."""

import re
import shlex

from common import command_line, runs
from common.data import avatars
from common.metrics import extractors, portraits

import pytest
import torch

from pretrained import train_portraits


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """The flags of the shortest training, and the run it gave."""
    root = tmp_path_factory.mktemp("portraits")
    patch = pytest.MonkeyPatch()
    patch.setattr(avatars, "DEFAULT_COUNTS", {"train": 60, "val": 12, "test": 30})
    patch.setattr(avatars, "PEOPLE_PER_SET", {"train": 4, "val": 3, "test": 3})
    flags = {"train_images": 40, "epochs": 2, "features": 8, "batch_size": 10, "device": "cpu",
             "precision": "fp32", "data_dir": root / "data", "outdir": root / "runs",
             "checkpoint_seconds": 1e9}  # fmt: skip
    yield flags, train_portraits.main(train_portraits.Config(**flags))
    patch.undo()


def test_a_training_leaves_a_reader_and_its_card(short):
    _, folder = short
    path, card = folder / "portraits.safetensors", (folder / "portraits.md").read_text(encoding="utf-8")
    assert f"SHA-256: `{extractors.file_sha256(path)}`" in card and str(folder.parent) not in card
    command = shlex.split(re.search(r"Command: `(.+)`", card)[1])
    again = command_line.parse(train_portraits.Config, command[2:])
    assert (again.epochs, again.features, again.batch_size, again.precision) == (2, 8, 10, "fp32")
    assert "40 portraits" in card and "on the 30 portraits" in card
    numbers = runs.read_json(folder / "summary.json")["metrics"]
    assert numbers["test/right answers, hair, %"] <= 100 and numbers["test/mean error of yaw, degrees"] > 0


def test_stopped_and_resumed_it_ends_with_the_same_bits(short):
    flags, whole = short

    class Stop(Exception):
        pass

    def stopping(images):
        stopping.calls += 1
        if stopping.calls == 6:
            raise Stop
        return original(images)

    stopping.calls, original = 0, train_portraits.spoilt
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_portraits, "spoilt", stopping)
        with pytest.raises(Stop):
            train_portraits.main(train_portraits.Config(**{**flags, "checkpoint_seconds": 0}))
    (half,) = (folder for folder in whole.parent.iterdir() if folder != whole)
    train_portraits.main(command_line.parse(train_portraits.Config, ["--resume", str(half)]))
    files = [folder / "portraits.safetensors" for folder in (half, whole)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_every_portrait_shows_another_person():
    images = train_portraits.portraits_of_many(train_portraits.Config(train_images=200))
    assert len(images.attributes["person"].unique()) == 200
    assert torch.equal(images.images, avatars.draw(images.attributes))


def test_the_truth_is_between_minus_one_and_one_and_its_units_come_back():
    images = train_portraits.portraits_of_many(train_portraits.Config(train_images=50))
    true = train_portraits.truth(images)
    assert true["turn"].abs().max() <= 1 and true["traits"].abs().max() <= 1
    read = portraits.numbers_of(true)
    assert torch.allclose(read["turn"][:, 0], images.attributes["yaw"], atol=1e-4)  # degrees
    assert torch.allclose(read["traits"], avatars.identity(images.attributes["person"]).float(), atol=1e-6)


def test_a_reader_without_errors_is_measured_as_such():
    images = train_portraits.portraits_of_many(train_portraits.Config(train_images=60))
    true = train_portraits.truth(images)
    answers = {name: images.attributes[name] for name in avatars.CHOICES}

    class Perfect:
        def read(self, shown):
            read = portraits.numbers_of(true)
            return portraits.Reading(answers, read["turn"], read["traits"])

        def nearest_person(self, traits, people):
            return torch.cdist(traits, avatars.identity(people).float()).argmin(1)

    numbers = train_portraits.measured(Perfect(), images)
    assert numbers["mean error of yaw, degrees"] < 1e-4 and numbers["right answers, expression, %"] == 100
    assert numbers["people recognised among 100, %"] == 100
    answers["expression"] = (answers["expression"] + 1) % len(avatars.EXPRESSIONS)
    assert train_portraits.measured(Perfect(), images)["right answers, expression, %"] == 0


def test_spoilt_pictures_are_the_same_picture():
    torch.manual_seed(0)
    images = torch.linspace(-1, 1, 8 * 3 * 16 * 16).reshape(8, 3, 16, 16)
    spoilt = train_portraits.spoilt(images)
    assert not torch.equal(spoilt, images) and (spoilt - images).abs().mean() < 0.1
    assert abs((spoilt - images).mean()) < 0.01
