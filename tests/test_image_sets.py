"""Image sets, their batches, folders of any files, IDX files, and the cache of drawn sets."""

import gzip
import itertools
import os
import struct

from common import data
from common.data import Batches, ImageSet, cache, to_model_range, to_uint8
from common.data.folder import load_folder, split_of_name
from common.data.image_set import to_grey
from common.data.real import load_idx_set, read_idx
from common.devices import Device
from common.errors import InputError

import numpy as np
import pytest
import torch
from PIL import Image


def numbered(count: int, size: int = 2) -> ImageSet:
    """Images that hold their own number, so that a batch tells what it gathered."""
    images = (
        torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 1, size, size).contiguous()
    )
    return ImageSet(images, "numbered", "train", "made here", labels=torch.arange(count), class_names=("a",))


def test_a_few_images_are_from_all_parts_of_a_set():
    images = numbered(20)
    assert images.few(5).labels.tolist() == [0, 4, 8, 12, 16]
    assert images.few(7).images[:, 0, 0, 0].tolist() == [0, 2, 5, 8, 11, 14, 17]
    assert images.few(20) is images and images.few(99) is images
    assert len(images.few(0)) == 0


def test_conversion_round_trip_keeps_every_grey_level():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    scaled = to_model_range(levels)
    assert scaled.min() == -1 and scaled.max() == 1
    assert torch.equal(to_uint8(scaled), levels)


def test_conversion_refuses_the_wrong_type():
    with pytest.raises(TypeError, match="uint8"):
        to_model_range(torch.zeros(1))
    with pytest.raises(TypeError, match="float"):
        to_uint8(torch.zeros(1, dtype=torch.uint8))


def test_image_set_refuses_lists_of_another_length():
    with pytest.raises(ValueError, match="3 values for 4 images"):
        ImageSet(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), "x", "train", "here", labels=torch.zeros(3))
    with pytest.raises(ValueError, match="uint8"):
        ImageSet(torch.zeros(4, 2, 2, 2, dtype=torch.uint8), "x", "train", "here")


def test_take_keeps_everything_aligned():
    full = numbered(10)
    part = full.take(torch.tensor([7, 2]))
    assert part.labels.tolist() == [7, 2] == part.images[:, 0, 0, 0].tolist()
    assert full.take(slice(3, 5)).labels.tolist() == [3, 4]


def test_grey_is_the_luma_of_bt601():
    pure = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], dtype=torch.uint8).view(
        4, 3, 1, 1
    )
    assert to_grey(pure).flatten().tolist() == [76, 150, 29, 255]


# ---- batches


def rows(batches: Batches) -> list[list[int]]:
    return [batch.index.tolist() for batch in batches]


def test_an_epoch_visits_every_image_once_in_a_new_order():
    batches = Batches(numbered(23), 5, seed=1)
    first, second = rows(batches), rows(batches)
    assert [len(batch) for batch in first] == [5, 5, 5, 5, 3] and len(batches) == 5
    assert (
        sorted(itertools.chain(*first)) == sorted(itertools.chain(*second)) == list(range(23))
        and first != second
    )


def test_images_and_labels_follow_the_index():
    for batch in Batches(numbered(23), 4):
        assert torch.equal(to_uint8(batch.images)[:, 0, 0, 0].long(), batch.index)
        assert torch.equal(batch.labels, batch.index)


def test_drop_last_and_unshuffled_order():
    assert rows(Batches(numbered(7), 3, drop_last=True, shuffle=False)) == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("taken", [0, 1, 4, 5, 7, 12])
def test_a_saved_state_continues_with_the_next_batch(taken):
    straight = Batches(numbered(23), 5, seed=3)
    stream = straight.forever()
    expected = [next(stream).index.tolist() for _ in range(20)]

    interrupted = Batches(numbered(23), 5, seed=3)
    stream = interrupted.forever()
    before = [next(stream).index.tolist() for _ in range(taken)]
    state = interrupted.state_dict()
    resumed = Batches(numbered(23), 5, seed=99)
    resumed.load_state_dict(state)
    stream = resumed.forever()
    after = [next(stream).index.tolist() for _ in range(20 - taken)]
    assert before + after == expected


def test_the_order_of_one_set_is_not_continued_on_another():
    state = Batches(numbered(23), 5).state_dict()
    with pytest.raises(InputError, match=r"other images than the run began with \(22 .* there were 23\)"):
        Batches(numbered(22), 5).load_state_dict(state)
    Batches(numbered(23), 5).load_state_dict(state)


def test_processes_share_each_global_batch_without_overlap():
    places = [Device(torch.device("cpu"), rank=rank, world_size=2) for rank in (0, 1)]
    shards = [rows(Batches(numbered(22), 6, place, seed=5)) for place in places]
    whole = rows(Batches(numbered(22), 6, seed=5))
    for one, two, both in zip(*shards, whole):
        assert sorted(one + two) == sorted(both) and len(one) == len(two)
    with pytest.raises(InputError, match="--batch-size 5: cannot be shared by 2 processes"):
        Batches(numbered(22), 5, places[0])


def test_a_set_smaller_than_a_whole_batch_is_refused():
    with pytest.raises(InputError, match=r"--batch-size 8: the train split of \w+ has only 7 images"):
        Batches(numbered(7), 8, drop_last=True)


# ---- folders


def test_every_kind_of_image_file_is_read(tmp_path):
    red = Image.new("RGB", (20, 10), (255, 0, 0))
    red.save(tmp_path / "a_rgb.png")
    Image.new("RGBA", (10, 10), (255, 0, 0, 0)).save(tmp_path / "b_transparent.png")
    Image.new("L", (7, 9), 128).save(tmp_path / "c_grey.jpg")
    red.quantize(4).save(tmp_path / "d_palette.gif")
    Image.fromarray(np.full((5, 5), 65535, np.uint16)).save(tmp_path / "e_16bit.png")
    turned = Image.new("RGB", (2, 4), (0, 0, 255))
    turned.paste((0, 255, 0), (0, 0, 2, 2))  # green on top as stored; EXIF 3 turns it upside down
    exif = Image.Exif()
    exif[0x0112] = 3
    turned.save(tmp_path / "f_exif.png", exif=exif)
    red.convert("CMYK").save(tmp_path / "g_cmyk.jpg")
    found = load_folder(tmp_path, 8)
    assert found.shape == (3, 8, 8) and len(found) == 7 and not found.skipped
    corner = dict(zip(found.file_names, found.images[:, :, 0, 0].tolist()))
    assert corner["a_rgb.png"] == [255, 0, 0] == corner["d_palette.gif"]
    assert corner["b_transparent.png"] == [255] * 3 == corner["e_16bit.png"]
    assert corner["f_exif.png"] == [0, 0, 255]
    assert all(abs(level - 128) < 3 for level in corner["c_grey.jpg"])


def test_unreadable_files_are_listed_and_skipped(tmp_path, capsys):
    Image.new("RGB", (9, 9)).save(tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    (tmp_path / "empty.jpg").touch()
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    found = load_folder(tmp_path, 8)
    assert found.file_names == ("good.png",) and len(found.skipped) == 3
    assert "skipped 3 of 4" in capsys.readouterr().err


def test_subfolders_become_classes(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 9)).save(tmp_path / name / "1.png")
    found = load_folder(tmp_path, 8)
    assert found.class_names == ("cat", "dog") and found.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda folder: None, "no images"),
        (lambda folder: (folder / "x.png").write_text("no"), "none of 1 images could be read"),
    ],
)
def test_a_folder_without_images_is_an_error(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(InputError, match=message):
        load_folder(tmp_path, 8)


def test_fit_keeps_the_centre_pads_or_stretches(tmp_path):
    wide = Image.new("RGB", (30, 10), (255, 0, 0))
    wide.paste((0, 0, 255), (10, 0, 20, 10))
    wide.save(tmp_path / "wide.png")
    centre = lambda fit: load_folder(tmp_path, 10, fit=fit).images[0]
    assert (centre("crop")[2] == 255).all() and (centre("crop")[0] == 0).all()
    assert (centre("pad")[:, 0] == 255).all()
    assert centre("stretch")[0, 5, 0] == 255


def test_plain_folders_split_by_name_without_overlap(tmp_path):
    for number in range(60):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number}.png")
    parts = {split: data.load(str(tmp_path), split, size=8) for split in ("train", "val", "test")}
    names = [name for part in parts.values() for name in part.file_names]
    assert (
        sorted(names) == sorted(f"{number}.png" for number in range(60)) and parts["train"].split == "train"
    )
    assert {split_of_name(name) for name in parts["val"].file_names} == {"val"}


# ---- real sets


def write_idx(path, array, compress):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(header + array.tobytes()) if compress else header + array.tobytes())


@pytest.mark.parametrize("folder, compress", [("mnist", True), ("MNIST/raw", False), (".", True)])
def test_idx_sets_are_found_in_each_published_layout(tmp_path, folder, compress):
    images, labels = (
        np.random.default_rng(0).integers(0, 256, (6000, 3, 4), np.uint8),
        (np.arange(6000) % 10).astype(np.uint8),
    )
    ending = ".gz" if compress else ""
    write_idx(tmp_path / folder / f"train-images-idx3-ubyte{ending}", images, compress)
    write_idx(tmp_path / folder / f"train-labels-idx1-ubyte{ending}", labels, compress)
    train, val = load_idx_set("mnist", "train", tmp_path), load_idx_set("mnist", "val", tmp_path)
    assert len(train) == 5500 and len(val) == 500  # as 55,000 and 5,000 of the 60,000
    assert np.array_equal(torch.cat([train.images, val.images])[:, 0].numpy(), images)
    assert val.labels[0] == 5500 % 10


@pytest.mark.parametrize(
    "place",
    [
        "train-{kind}.idx{axes}-ubyte",
        "train-{kind}.idx{axes}-ubyte.gz",
        "train-{kind}-idx{axes}-ubyte/train-{kind}-idx{axes}-ubyte",
        "MNIST/train-{kind}-idx{axes}-ubyte.gz/train-{kind}-idx{axes}-ubyte.gz",
    ],
)
def test_idx_files_are_found_as_programs_unpack_them(tmp_path, place):
    images = np.arange(24 * 6, dtype=np.uint8).reshape(24, 2, 3)
    for kind, axes, array in (("images", 3, images), ("labels", 1, images[:, 0, 0] % 10)):
        write_idx(tmp_path / place.format(kind=kind, axes=axes), array, place.endswith(".gz"))
    train, val = (load_idx_set("mnist", split, tmp_path) for split in ("train", "val"))
    assert (len(train), len(val)) == (22, 2)
    assert np.array_equal(val.images[:, 0].numpy(), images[22:])


def test_idx_files_of_another_set_and_too_few_images_are_refused(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((11, 2, 2), np.uint8), False)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.arange(11, dtype=np.uint8), False)
    with pytest.raises(InputError, match="a label is 10, and mnist has classes 0 to 9; is this another set"):
        load_idx_set("mnist", "train", tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(11, np.uint8), False)
    assert len(load_idx_set("mnist", "train", tmp_path)) == 11
    with pytest.raises(InputError, match="11 images are too few for a val split"):
        load_idx_set("mnist", "val", tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"<html>403</html>", "not an IDX file"),
        (b"\0\0\x08\x03" + struct.pack(">3i", 10, 28, 28) + b"\0" * 100, "100 bytes where"),
        (gzip.compress(os.urandom(5000))[:2000], "cannot be read"),
        (b"\0\0\x08\x03\0", "cut off"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path, content, message):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path.name}.*{message}"):
        read_idx(path)


def test_real_mnist_and_fashion_mnist(real_data):
    digits = data.load("mnist", "test", data_dir=real_data)
    assert len(digits) == 10_000 and digits.shape == (1, 28, 28)
    assert digits.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    garments = data.load("fashion-mnist", "train+val", data_dir=real_data)
    assert len(garments) == 60_000 and garments.labels.bincount().tolist() == [6000] * 10


# ---- names and the cache


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("no-such-set",), "neither a data set"),
        (("digits", "proliv"), "there are"),
        (("mnist", "nope"), "there are train"),
    ],
)
def test_unknown_names_are_refused(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        data.load(*arguments, data_dir=tmp_path)


def test_cached_set_equals_the_drawn_one_and_damage_is_repaired(tmp_path, capsys):
    drawn = data.load("digits", "val", count=20, data_dir=tmp_path)
    again = data.load("digits", "val", count=20, data_dir=tmp_path)
    assert torch.equal(drawn.images, again.images) and torch.equal(drawn.labels, again.labels)
    assert drawn.class_names == again.class_names and drawn.attributes.keys() == again.attributes.keys()
    assert drawn.identity == again.identity
    (path,) = (tmp_path / "drawn").iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    assert torch.equal(data.load("digits", "val", count=20, data_dir=tmp_path).images, drawn.images)
    assert "damaged" in capsys.readouterr().err


def test_a_run_that_drew_its_set_goes_on_with_the_set_read_back(tmp_path):
    drawn, again = (data.load("avatars", "val", size=16, count=6, data_dir=tmp_path) for _ in range(2))
    assert list(drawn.attributes) != list(again.attributes)  # a file has them in alphabetical order
    assert drawn.identity == again.identity


def test_cache_keeps_captions_and_file_names(tmp_path):
    texts = ("первый", "second")
    image_set = ImageSet(
        torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
        "x",
        "train",
        "here",
        captions=texts,
        file_names=texts,
        attributes={"yaw": torch.tensor([0.5, 1.0])},
        options={"hair": ("none", "long")},
    )
    cache.save(tmp_path / "x.safetensors", image_set)
    loaded = cache.load(tmp_path / "x.safetensors")
    assert loaded.captions == loaded.file_names == texts and loaded.options == image_set.options
    assert torch.equal(loaded.attributes["yaw"], image_set.attributes["yaw"])
