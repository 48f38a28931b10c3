"""Folders as people have them: splits under any name, links, odd pictures and names, deep greys."""

import os
import struct
import unicodedata

from common import data
from common.data import decoding, folder
from common.data.folder import list_images, load_folder, read_few, split_of_name
from common.errors import InputError
from common.metrics.images import FolderImages

import numpy as np
import pytest
import torch
from PIL import Image


def make(root, names, size=8):
    """Pictures of the given names, each of one colour of its own; returns name -> colour."""
    colours = {}
    for number, name in enumerate(names):
        colour = (number % 250, 7 * number % 250, 100)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (size, size), colour).save(root / name)
        colours[name] = colour
    return colours


def numbered(prefix, count):
    return [f"{prefix}{number:03d}.png" for number in range(count)]


def names_of(root, split):
    return set(data.load(str(root), split, size=8).file_names)


# ---- splits


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_a_split_is_found_under_each_of_its_usual_names(tmp_path, val):
    for part, names in (("Train", numbered("a", 5)), (val, numbered("b", 3)), ("test", numbered("c", 2))):
        make(tmp_path / part, names)
    assert names_of(tmp_path, "train") == set(numbered("a", 5))
    assert names_of(tmp_path, "val") == set(numbered("b", 3))
    assert names_of(tmp_path, "test") == set(numbered("c", 2))


def test_a_missing_val_is_held_out_of_train_and_nothing_of_test(tmp_path, capsys):
    make(tmp_path / "train", numbered("a", 80))
    make(tmp_path / "test", numbered("c", 20))
    parts = {split: names_of(tmp_path, split) for split in ("train", "val", "test")}
    assert parts["test"] == set(numbered("c", 20))
    assert parts["train"] | parts["val"] == set(numbered("a", 80)) and not parts["train"] & parts["val"]
    assert parts["val"] == {name for name in numbered("a", 80) if split_of_name(name) == "val"}
    (line,) = capsys.readouterr().err.splitlines()
    assert "no val/: a tenth of train/" in line


def test_train_alone_is_split_as_a_plain_folder_is(tmp_path):
    make(tmp_path / "train", numbered("a", 80))
    for split in ("train", "val", "test"):
        assert names_of(tmp_path, split) == names_of(tmp_path / "train", split)


def test_train_and_val_stay_whole_and_a_test_split_is_asked_for(tmp_path):
    make(tmp_path / "train", numbered("a", 60))
    make(tmp_path / "val", numbered("b", 5))
    assert names_of(tmp_path, "train") == set(numbered("a", 60))
    with pytest.raises(InputError, match="has no test/; put images there"):
        names_of(tmp_path, "test")


def test_splits_that_cannot_be_told_are_refused(tmp_path):
    make(tmp_path / "test", numbered("c", 3))
    assert names_of(tmp_path, "test") == set(numbered("c", 3))
    with pytest.raises(InputError, match="has test/ but no train/"):
        names_of(tmp_path, "train")
    make(tmp_path / "train", numbered("a", 3))
    make(tmp_path / "val", numbered("b", 3))
    make(tmp_path / "validation", numbered("d", 3))
    with pytest.raises(InputError, match="val/ and validation/ are both the val split"):
        names_of(tmp_path, "train")


def test_images_beside_the_splits_are_named(tmp_path, capsys):
    make(tmp_path, ["train/a.png", "val/b.png", "more/c.png", "loose.png"])
    (tmp_path / "notes").mkdir()
    assert names_of(tmp_path, "train") == {"a.png"}
    assert "left out what lies beside train/: loose.png, more/\n" in capsys.readouterr().err


def test_a_label_means_the_same_class_in_every_split(tmp_path):
    make(
        tmp_path, ["train/cat/1.png", "train/dog/2.png", "val/dog/3.png", "test/dog/4.png", "test/emu/5.png"]
    )
    parts = {split: data.load(str(tmp_path), split, size=8) for split in ("train", "val", "test", "all")}
    assert all(part.class_names == ("cat", "dog", "emu") for part in parts.values())
    assert [part.labels.tolist() for part in parts.values()] == [[0, 1], [1], [1, 2], [1, 2, 0, 1, 1]]


def test_pictures_are_cropped_or_padded_by_one_loader(tmp_path):
    Image.new("RGB", (20, 10), (255, 0, 0)).save(tmp_path / "wide.png")
    load = lambda fit: data.load(str(tmp_path), "all", size=10, fit=fit).images[0]
    assert load("crop")[:, 0, 0].tolist() == [255, 0, 0]
    assert load("pad")[:, 0, 0].tolist() == [255, 255, 255]


def test_only_the_images_of_a_split_are_decoded(tmp_path, monkeypatch):
    make(tmp_path, numbered("a", 60))
    asked = []
    read = folder.read_images
    monkeypatch.setattr(
        folder, "read_images", lambda paths, *a, **k: asked.extend(paths) or read(paths, *a, **k)
    )
    val = data.load(str(tmp_path), "val", size=8)
    assert len(asked) == len(val) < 20


def test_a_folder_called_as_a_set_is_said_to_be_passed_over(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "creatures", numbered("a", 3))
    drawn = data.load("creatures", "val", count=2, data_dir=tmp_path / "data")
    assert drawn.source.startswith("drawn by")
    assert "--data creatures: taken for the set of that name; give ./creatures" in capsys.readouterr().err
    assert len(data.load("./creatures", "all", size=8)) == 3


# ---- files


def test_links_to_folders_are_followed_once_and_broken_ones_named(tmp_path, capsys):
    make(tmp_path / "elsewhere", ["1.png", "2.png"])
    make(tmp_path / "set", ["cat/3.png"])
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "cat" / "loop").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "emu").symlink_to(tmp_path / "gone")
    (tmp_path / "set" / "cat" / "4.png").symlink_to(tmp_path / "gone.png")
    found = load_folder(tmp_path / "set", 8)
    assert found.file_names == ("cat/3.png", "dog/1.png", "dog/2.png")
    assert found.class_names == ("cat", "dog") and found.labels.tolist() == [0, 1, 1]
    said = capsys.readouterr().err
    assert "4.png (a broken link); emu (a broken link)" in said


def test_hidden_files_and_folders_are_no_images_here_and_for_fid(tmp_path):
    make(tmp_path, ["x/1.png", "x/2.png", "x/.ipynb_checkpoints/1-checkpoint.png", ".cover.png", "x/._1.png"])
    assert [path.name for path in list_images(tmp_path)] == ["1.png", "2.png"]
    assert [path.name for path in FolderImages(tmp_path).paths] == ["1.png", "2.png"]


def test_kinds_that_pillow_reads_are_read_and_the_others_counted(tmp_path, capsys, monkeypatch):
    Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / "a.jfif", format="jpeg")
    Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / "b.ppm")
    for name in ("c.heic", "d.HEIC", "e.jxl"):
        (tmp_path / name).write_bytes(b"a photograph")
    assert (
        list(load_folder(tmp_path, 8).file_names)
        == ["a.jfif", "b.ppm"]
        == [path.name for path in FolderImages(tmp_path).paths]
    )
    assert "left out 2 .heic (convert them to PNG or JPEG); 1 .jxl" in capsys.readouterr().err
    for name in ("a.jfif", "b.ppm"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match=r"no images; found 2 \.heic"):
        load_folder(tmp_path, 8)


@pytest.mark.skipif(not {".avif"} & set(decoding.readable_endings()), reason="Pillow without AVIF")
def test_avif_is_read(tmp_path):
    Image.new("RGB", (16, 16), (200, 40, 40)).save(tmp_path / "a.avif")
    assert (load_folder(tmp_path, 8).images[0, :, 4, 4] - torch.tensor([200, 40, 40])).abs().max() < 6


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("qoi.png", b"qoif" + bytes([0, 0, 0, 8, 0, 0, 0, 8, 4, 0]) + b"\xfe"),
        ("dds.png", b"DDS " + (124).to_bytes(4, "little") + b"\xff" * 120),
        ("avif.png", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + b"\xff" * 40),
        ("tiff.tif", b"II*\0\x08\0\0\0\x01\0\0\x01\x05\0\xff\xff\xff\xff\0\0\0\0"),
        ("gif.gif", b"GIF89a\x08\0\x08\0\x80\0\0" + b"\0" * 6 + b",\0\0\0\0\x08\0\x08\0\0\x0d\x01"),
    ],
)
def test_a_file_that_a_decoder_chokes_on_is_skipped_and_named(tmp_path, capsys, name, content):
    make(tmp_path, ["a.png"])
    (tmp_path / name).write_bytes(content)
    found = load_folder(tmp_path, 8)
    assert found.file_names == ("a.png",) and found.skipped[0].startswith(f"{name}: ")
    assert f"skipped 1 of 2 images: {name}" in capsys.readouterr().err


@pytest.mark.parametrize("error", [IndexError("x"), KeyError("x"), RuntimeError("x"), MemoryError()])
def test_whatever_a_decoder_raises_costs_one_picture(tmp_path, monkeypatch, error):
    make(tmp_path, ["a.png", "b.png"])
    opened = Image.open

    def fails(path, *arguments):
        if str(path).endswith("b.png"):
            raise error
        return opened(path, *arguments)

    monkeypatch.setattr(decoding.Image, "open", fails)
    assert load_folder(tmp_path, 8).file_names == ("a.png",)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_by_every_orientation_and_by_nothing_else(tmp_path, orientation):
    upright = np.zeros((4, 6), np.uint8)
    upright[0, 0], upright[0, 5], upright[3, 0] = 250, 150, 80
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    entries = struct.pack("<HHI4s", 0x0100, 2, 4, b"403")  # a width in text: Pillow's own turn fails
    entries += struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(8)
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    pictures = decoding.read_images([tmp_path / "a.png"], (4, 6), grey=True)
    assert np.array_equal(pictures.images[0, 0].numpy(), upright)


# ---- names


def test_names_that_are_no_utf8_are_read_and_printable(tmp_path):
    make(tmp_path, ["a.png"])
    os.rename(os.fsencode(tmp_path / "a.png"), os.fsencode(tmp_path) + b"/caf\xe9.png")
    found = load_folder(tmp_path, 8)
    assert found.file_names == ("caf\\xe9.png",)
    "".join(found.file_names).encode()
    split = split_of_name(os.fsdecode(b"caf\xe9.png"))
    assert len(data.load(str(tmp_path), split, size=8)) == 1


def test_a_name_falls_into_one_split_however_unicode_writes_it():
    for number in range(40):
        name = f"й{number}.png"
        assert split_of_name(unicodedata.normalize("NFD", name)) == split_of_name(name)
    assert [split_of_name(f"{number}.png") for number in (1, 2, 0, 5)] == ["train", "train", "val", "test"]


# ---- deep greys


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([[0, 257, 25700, 65535]], np.uint16), "16 bits of grey from 0, black, to 65535, white"),
        (np.array([[0, 257, 25700, 65535]], np.int32), "32-bit whole numbers"),
        (
            np.array([[0, 1 / 255, 100 / 255, 1]], np.float32),
            "floating point levels from 0, black, to 1, white",
        ),
    ],
)
def test_deep_greys_have_one_scale_a_mode_also_where_all_levels_are_low(tmp_path, capsys, array, words):
    Image.fromarray(array).save(tmp_path / "whole.tif")
    Image.fromarray(array[:, :2]).save(tmp_path / "dark.tif")
    whole, dark = (
        decoding.read_images([tmp_path / f"{name}.tif"], (1, width), grey=True).images[0, 0, 0].tolist()
        for name, width in (("whole", 4), ("dark", 2))
    )
    assert whole == [0, 1, 100, 255] and dark == [0, 1]
    images = FolderImages(tmp_path, workers=0)
    assert [image[0, 0].tolist() for image in next(images.batches(2))] == [dark, whole]
    load_folder(tmp_path, 8)
    assert f"2 of 2 images have {words}" in capsys.readouterr().err


# ---- a few images


def test_few_images_are_dealt_out_whole_or_taken_from_splits(tmp_path):
    colours = make(tmp_path / "plain", numbered("a", 7))
    few = read_few(tmp_path / "plain", {"train": 5, "val": 9})
    assert [len(images) for images in few.values()] == [5, 2]
    seen = {tuple(x[:, 0, 0].tolist()) for images in few.values() for x in images}
    assert seen == set(colours.values())
    assert not torch.equal(read_few(tmp_path / "plain", {"train": 5}, seed=1)["train"], few["train"])
    learnt = make(tmp_path / "set/train", numbered("a", 40))
    make(tmp_path / "set/test", numbered("c", 40))
    few = read_few(tmp_path / "set", {"train": 99, "val": 99})
    held_out = [colour for name, colour in learnt.items() if split_of_name(name) == "val"]
    assert [tuple(x[:, 0, 0].tolist()) for x in few["val"]] == held_out
    assert len(few["train"]) == 40 - len(held_out)


def test_the_usual_size_is_of_pictures_set_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in "ab":
        Image.new("RGB", (12, 9)).save(tmp_path / f"{name}.png", exif=exif)
    Image.new("RGB", (5, 5)).save(tmp_path / "c.png")
    assert read_few(tmp_path, {"train": 3})["train"].shape == (3, 3, 12, 9)
