"""The course's folder layout of the moulds: written, read back, and every way it can be wrong."""

import shutil
import unicodedata

from common.data import wells
from common.data.wells_layout import is_held_out, read_annotation, read_layout, write_layout
from common.errors import InputError

import pytest
import torch
from PIL import Image

COUNTS = {"train": 24, "proliv": 3, "test": 6}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moulds") / "a set with spaces"
    write_layout(folder, COUNTS, seed=4)
    return folder


@pytest.fixture
def layout(written, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(written, tmp_path / "set")


def message(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_written_files_have_many_sizes_and_the_courses_names(written):
    sizes = {Image.open(path).size for path in (written / "train").iterdir()}
    assert len(sizes) > 20 and min(min(size) for size in sizes) >= 100
    assert len(list((written / "proliv").glob("*.jpg"))) == 3
    lines = (written / "test" / "test_annotation.txt").read_text().splitlines()
    assert len(lines) == 6
    assert all((written / "test" / "imgs" / line.split()[0]).is_file() for line in lines)
    assert sorted(line.split()[1] for line in lines) == ["0"] * 3 + ["1"] * 3


def test_read_back_is_what_was_drawn(written):
    read, drawn = read_layout(written, "test", 48), wells.draw_set("test", 48, 6, seed=4)
    assert torch.equal(read.labels, drawn.labels) and read.class_names == ("normal", "spill")
    assert read.images.shape == (6, 3, 48, 48)
    small = [
        torch.nn.functional.avg_pool2d(images.float(), 6).flatten(1) for images in (read.images, drawn.images)
    ]
    assert torch.equal(torch.cdist(*small).argmin(1), torch.arange(6))  # JPEG, resizing and grain apart
    assert (small[0] - small[1]).abs().mean() < 8
    spills = read_layout(written, "proliv", 32, grey=True)
    assert spills.labels.tolist() == [1, 1, 1] and spills.images.shape == (3, 1, 32, 32)


def test_val_is_held_out_of_train_by_name_alone(layout):
    train, val = (read_layout(layout, split, 16) for split in ("train", "val"))
    assert not set(train.file_names) & set(val.file_names)
    assert len(train) + len(val) == 24 and len(val) >= 1
    assert train.labels.count_nonzero() == 0 and val.labels.count_nonzero() == 0
    (layout / "train" / train.file_names[0]).unlink()
    assert read_layout(layout, "val", 16).file_names == val.file_names
    share = sum(is_held_out(f"{i}.jpg") for i in range(4000)) / 4000
    assert abs(share - 0.15) < 0.025  # 4.4 standard deviations


def test_unreadable_images_are_skipped_with_their_labels(layout, capsys):
    whole = read_layout(layout, "test", 16)
    (layout / "test" / "imgs" / whole.file_names[1]).write_bytes(b"<html>not an image</html>")
    read = read_layout(layout, "test", 16)
    rest = [0, 2, 3, 4, 5]
    assert torch.equal(read.labels, whole.labels[rest]) and torch.equal(read.images, whole.images[rest])
    assert len(read.skipped) == 1 and whole.file_names[1] in read.skipped[0]
    assert whole.file_names[1] in capsys.readouterr().err


def test_a_folder_of_nothing_but_unreadable_images(layout):
    for path in (layout / "proliv").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError) as error:
        read_layout(layout, "proliv", 16)
    assert "proliv" in message(error) and "none of 3" in message(error)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("test_00002.jpg", "test_00002.jpg"),
        ("test_00002.jpg 2", "'test_00002.jpg 2'"),
        ("test_00002.jpg spill", "'test_00002.jpg spill'"),
        ("1", "'1'"),
        ("test_00000.jpg 1", "named before"),
    ],
)
def test_wrong_annotation_line_is_named(layout, line, said):
    path = layout / "test" / "test_annotation.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[3:]]))
    with pytest.raises(InputError) as error:
        read_layout(layout, "test", 16)
    assert said in message(error) and "line 3" in message(error) and str(path) in message(error)


def test_annotation_takes_blank_lines_windows_line_ends_a_mark_and_spaces_in_names(tmp_path):
    path = tmp_path / "test_annotation.txt"
    path.write_bytes("\ufeffa b.jpg 1\r\n\r\nc.jpg\t0\r\n".encode())
    assert read_annotation(path) == {"a b.jpg": 1, "c.jpg": 0}


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "no lines"), (b"\xff\xfe\x00", "UTF-8"), (None, "no such file")]
)
def test_annotation_that_cannot_be_used(layout, content, said):
    path = layout / "test" / "test_annotation.txt"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_layout(layout, "test", 16)
    assert said in message(error) and "test_annotation.txt" in message(error)


def test_annotated_image_missing_and_unannotated_image(layout):
    images = layout / "test" / "imgs"
    shutil.copy(images / "test_00000.jpg", images / "stranger.jpg")
    with pytest.raises(InputError) as error:
        read_layout(layout, "test", 16)
    assert "no line for stranger.jpg" in message(error)
    (images / "stranger.jpg").unlink()
    (images / "test_00003.jpg").unlink()
    with pytest.raises(InputError) as error:
        read_layout(layout, "test", 16)
    assert "test_00003.jpg" in message(error) and "no such image" in message(error)


def in_subfolders(layout, annotation, names=("x/1.jpg", "y/1.jpg", "y/2.jpg")):
    images = layout / "test" / "imgs"
    shutil.rmtree(images)
    for name in names:
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20)).save(images / name)
    (layout / "test" / "test_annotation.txt").write_text(annotation, encoding="utf-8")
    return read_layout(layout, "test", 16)


def test_a_line_is_about_one_image(layout):
    with pytest.raises(InputError) as error:
        in_subfolders(layout, "1.jpg 1\n2.jpg 0\n")
    assert "one line for 1.jpg, and 2 images are called so (x/1.jpg, y/1.jpg)" in message(error)
    read = in_subfolders(layout, "x/1.jpg 1\ny/1.jpg 0\n2.jpg 1\n")
    assert read.file_names == ("x/1.jpg", "y/1.jpg", "y/2.jpg") and read.labels.tolist() == [1, 0, 1]


def test_names_are_compared_however_unicode_writes_them(layout):
    forms = {form: unicodedata.normalize(form, "й.jpg") for form in ("NFC", "NFD")}
    for on_disk, in_file in (("NFD", "NFC"), ("NFC", "NFD")):
        read = in_subfolders(layout, f"{forms[in_file]} 1\n", [forms[on_disk]])
        assert read.labels.tolist() == [1]
    with pytest.raises(InputError, match="2 images are called so"):
        in_subfolders(layout, f"{forms['NFC']} 1\n", forms.values())
    with pytest.raises(InputError, match="named before"):
        in_subfolders(layout, f"{forms['NFC']} 1\n{forms['NFD']} 0\n", [forms["NFC"]])


@pytest.mark.parametrize(("split", "part"), [("train", "train"), ("proliv", "proliv"), ("test", "test/imgs")])
def test_missing_and_empty_folders(layout, split, part):
    for path in (layout / part).iterdir():
        path.unlink()
    with pytest.raises(InputError) as error:
        read_layout(layout, split, 16)
    assert part.split("/")[-1] in message(error) and "no images" in message(error)
    (layout / part).rmdir()
    with pytest.raises(InputError, match="no such folder"):
        read_layout(layout, split, 16)
    with pytest.raises(InputError, match="no such folder"):
        read_layout(layout / "nowhere", split, 16)


def test_too_few_images_to_hold_some_out(layout):
    for path in (layout / "train").iterdir():
        if is_held_out(path.name):
            path.unlink()
    with pytest.raises(InputError, match="too few images"):
        read_layout(layout, "val", 16)


def test_unknown_split_and_a_folder_in_use_are_refused(layout):
    with pytest.raises(InputError, match="proliv"):
        read_layout(layout, "validation", 16)
    with pytest.raises(InputError, match="not an empty folder"):
        write_layout(layout, COUNTS)
