"""CelebA in small fabricated layouts: splits, lists, archives, downloads."""

import hashlib
import os
import zipfile
from pathlib import Path

from common import data
from common.data import celeba, decoded
from common.data.celeba import load_celeba
from common.errors import InputError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

COUNT = 40
PARTS = [0] * 24 + [1] * 8 + [2] * 8
NAMES = [f"{number:06d}.jpg" for number in range(1, COUNT + 1)]
HEADER = ["Bald", "Smiling", "5_o_Clock_Shadow"]
QUOTA_PAGE = b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>" * 40


def picture(number: int) -> Image.Image:
    """178 x 218 pixels of a grey level that tells the number."""
    return Image.new("RGB", (178, 218), (5 * number,) * 3)


def levels(image_set) -> list[int]:
    """The numbers of the pictures, read from their pixels."""
    return (image_set.images.float().mean((1, 2, 3)) / 5).round().int().tolist()


def values(number: int) -> list[int]:
    return [1 if number >> bit & 1 else -1 for bit in range(3)]


def make_lists(root: Path, kaggle: bool) -> None:
    root.mkdir(parents=True, exist_ok=True)
    rows = [(name, part, values(number)) for number, (name, part) in enumerate(zip(NAMES, PARTS), start=1)]
    if kaggle:
        partition = ["image_id,partition", *(f"{name},{part}" for name, part, _ in rows)]
        table = [
            ",".join(["image_id", *HEADER]),
            *(",".join([name, *map(str, known)]) for name, _, known in rows),
        ]
    else:
        partition = [f"{name} {part}" for name, part, _ in rows]
        table = [str(COUNT), " ".join(HEADER) + " "]
        table += [f"{name} {' '.join(f'{value:2d}' for value in known)}" for name, _, known in rows]
    ending = "csv" if kaggle else "txt"
    (root / f"list_eval_partition.{ending}").write_text("\n".join(partition) + "\n")
    (root / f"list_attr_celeba.{ending}").write_text("\n".join(table) + "\n")


def make_images(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES, start=1):
        picture(number).save(folder / name, quality=95)
    return folder


def make_layout(root: Path, kaggle: bool = False) -> Path:
    """All of CelebA as published, but for the number of images; returns the folder with the images."""
    make_lists(root, kaggle)
    folder = root / "img_align_celeba"
    return make_images(folder / folder.name if kaggle else folder)


def raw_file(data_dir: Path) -> Path:
    (path,) = (data_dir / "decoded").glob("*.u8")
    return path


# ---- layouts


@pytest.mark.parametrize("kaggle", [False, True])
@pytest.mark.parametrize("given", ["parent", "itself", "images"])
def test_both_layouts_are_found_from_each_folder(tmp_path, kaggle, given):
    images = make_layout(tmp_path / "celeba", kaggle)
    data_dir = {"parent": tmp_path, "itself": tmp_path / "celeba", "images": images}[given]
    load = lambda split: data.load("celeba", split, size=16, data_dir=data_dir)
    parts = {split: load(split) for split in ("train", "val", "test")}
    assert [len(part) for part in parts.values()] == [24, 8, 8]
    assert [name for part in parts.values() for name in part.file_names] == NAMES
    numbers = list(range(25, 33))
    val = parts["val"]
    assert levels(val) == numbers and val.shape == (3, 16, 16) and val.split == "val"
    assert list(val.attributes) == HEADER and val.options["Bald"] == ("no", "yes")
    table = torch.stack([val.attributes[name] for name in HEADER], dim=1)
    assert table.dtype == torch.int64
    assert table.tolist() == [[(value + 1) // 2 for value in values(number)] for number in numbers]


@pytest.mark.parametrize("given", [".", "CelebA", "CelebA/Img", "CelebA/Img/img_align_celeba", "CelebA/Anno"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_authors_own_layout_is_found(tmp_path, monkeypatch, given, packed):
    root = tmp_path / "CelebA"
    make_lists(root / "Anno", kaggle=False)
    (root / "Eval").mkdir()
    (root / "Anno/list_eval_partition.txt").rename(root / "Eval/list_eval_partition.txt")
    if packed:
        (root / "Img").mkdir()
        make_archive(root / "Img/img_align_celeba.zip", monkeypatch)
    else:
        make_images(root / "Img/img_align_celeba")
    if not (tmp_path / given).exists():
        return  # nobody can give the folder of what is not unpacked yet
    val = data.load("celeba", "val", size=8, data_dir=tmp_path / given)
    assert levels(val) == list(range(25, 33)) and list(val.attributes) == HEADER


def test_the_centre_square_is_kept(tmp_path):
    folder = make_layout(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (218, 178, 3), np.uint8)
    Image.fromarray(noise).save(folder / NAMES[0], quality=95)
    with Image.open(folder / NAMES[0]) as image:
        expected = image.resize((64, 64), Image.Resampling.LANCZOS, box=(0, 20, 178, 198))
    found = load_celeba("train", None, tmp_path).images[0]
    assert np.array_equal(found.permute(1, 2, 0).numpy(), np.asarray(expected))


def test_images_are_a_map_of_the_file_and_batches_gather_from_it(tmp_path):
    make_layout(tmp_path)
    train = data.load("celeba", size=8, data_dir=tmp_path)
    before = train.images[3].clone()
    with raw_file(tmp_path).open("r+b") as raw:  # what is written to the file is seen in the tensor
        raw.seek(3 * 3 * 64)
        raw.write(bytes([255]) * 3 * 64)
    assert not torch.equal(train.images[3], before) and train.images[3].eq(255).all()
    batch = next(iter(data.Batches(train, 4, shuffle=False)))
    assert batch.images[3].eq(1).all() and batch.images.shape == (4, 3, 8, 8)


def test_attributes_are_optional_and_the_partition_is_not(tmp_path):
    make_layout(tmp_path)
    (tmp_path / "list_attr_celeba.txt").unlink()
    assert load_celeba("val", 8, tmp_path).attributes == {}
    (tmp_path / "list_eval_partition.txt").unlink()
    with pytest.raises(InputError, match=r"list_eval_partition\.txt \(or \.csv\) is missing; put it there"):
        load_celeba("val", 8, tmp_path)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("list_eval_partition.txt", QUOTA_PAGE, r"a web page \(Google Drive - Quota exceeded\)"),
        ("list_eval_partition.txt", b"000001.jpg 0\n000002.jpg 7\n", r"line 2: '000002.jpg 7' is not"),
        ("list_eval_partition.txt", b"", "lists no images"),
        ("list_attr_celeba.txt", QUOTA_PAGE, "a web page"),
        ("list_attr_celeba.txt", b"40\nBald\n000001.jpg 1\n", "has no line for 000025.jpg"),
        ("list_attr_celeba.txt", "\n".join(["40", "Bald Big"] + [f"{n} 1 -1" for n in NAMES[:30]]
         + [f"{n} 1" for n in NAMES[30:]]).encode(), "is not a table of 2 values"),
        ("list_attr_celeba.txt", "\n".join(["40", "Bald"] + [f"{n} 3" for n in NAMES]).encode(),
         "is not a table of 1 values"),
    ],
)  # fmt: skip
def test_a_damaged_list_is_named(tmp_path, name, content, message):
    make_layout(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}.*{message}"):
        load_celeba("val", 8, tmp_path)


def test_missing_and_unreadable_images_are_counted_and_left_out(tmp_path, capsys):
    folder = make_layout(tmp_path)
    for name in NAMES[1:4]:
        (folder / name).unlink()
    (folder / NAMES[6]).write_bytes(b"not a picture")
    (folder / NAMES[9]).write_bytes((folder / NAMES[9]).read_bytes()[:900])
    train = load_celeba("train", 8, tmp_path)
    kept = [number for number in range(1, 25) if number not in (2, 3, 4, 7, 10)]
    assert levels(train) == kept == [int(name[:6]) for name in train.file_names]
    assert train.attributes["Bald"].tolist() == [number & 1 for number in kept]
    said = capsys.readouterr().err
    assert "3 of the 40 images in the list are missing" in said and "skipped 2 of 21 images" in said
    assert [line[:10] for line in train.skipped] == ["000007.jpg", "000010.jpg"]
    assert load_celeba("train", 8, tmp_path).skipped == train.skipped  # the cache remembers them
    picture(7).save(folder / NAMES[6], quality=95)
    assert 7 in levels(load_celeba("train", 8, tmp_path))  # and takes a repaired one


def test_a_split_without_images_is_an_error(tmp_path):
    folder = make_layout(tmp_path)
    for name in NAMES[32:]:
        (folder / name).unlink()
    with pytest.raises(InputError, match="none of its 32 listed images belongs to the test split"):
        load_celeba("test", 8, tmp_path)
    for name in NAMES[24:32]:
        (folder / name).write_bytes(b"x")
    with pytest.raises(InputError, match="none of 8 images could be read"):
        load_celeba("val", 8, tmp_path)


@pytest.mark.parametrize(
    "split, size, count, message",
    [
        ("valid", 64, None, "there are train, val, test"),
        ("val", 256, None, "178 pixels wide"),
        ("val", 8, 0, "at least 1"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, split, size, count, message):
    with pytest.raises(InputError, match=message):
        data.load("celeba", split, size=size, count=count, data_dir=tmp_path)


def test_the_cache_of_a_read_only_folder_lies_elsewhere(tmp_path, monkeypatch):
    make_layout(tmp_path / "input")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "input")
    val = load_celeba("val", 8, tmp_path / "input", spare_dir=tmp_path / "spare")
    assert len(val) == 8 and raw_file(tmp_path / "spare") and not (tmp_path / "input" / "decoded").exists()


def test_the_first_images_alone_are_decoded(tmp_path, monkeypatch, capsys):
    make_layout(tmp_path)
    monkeypatch.setattr(decoded, "CHUNK", 5)
    few = data.load("celeba", size=8, count=7, data_dir=tmp_path)
    assert levels(few) == list(range(1, 8)) and len(few.attributes["Bald"]) == 7
    assert raw_file(tmp_path).stat().st_size == 10 * 3 * 8 * 8
    whole = data.load("celeba", size=8, data_dir=tmp_path)
    assert levels(whole) == list(range(1, 25))


# ---- archives


def make_archive(path: Path, monkeypatch, extra: str | None = None) -> bytes:
    """A zip as published, whose MD5 is the one torchvision's list has from now on."""
    folder = make_images(path.parent / "to_pack")
    with zipfile.ZipFile(path, "w") as file:
        for name in NAMES:
            file.write(folder / name, f"img_align_celeba/{name}")
        if extra:
            file.writestr(extra, b"evil")
    for name in NAMES:
        (folder / name).unlink()
    folder.rmdir()
    publish(monkeypatch, {"img_align_celeba.zip": path.read_bytes()})
    return path.read_bytes()


def publish(monkeypatch, files: dict[str, bytes]) -> None:
    table = [(f"id of {name}", hashlib.md5(content).hexdigest(), name) for name, content in files.items()]
    monkeypatch.setattr(datasets.CelebA, "file_list", table)


def test_an_archive_is_unpacked_once_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    root = tmp_path / "celeba"
    make_lists(root, kaggle=False)
    make_archive(root / "img_align_celeba.zip", monkeypatch)
    part = root / ".img_align_celeba.part"
    part.mkdir()
    (part / NAMES[0]).write_bytes(b"a file cut off by a kill")
    (root / "img_align_celeba").mkdir()  # without images: no reason not to unpack
    assert levels(data.load("celeba", size=8, data_dir=tmp_path)) == list(range(1, 25))
    assert sorted(path.name for path in (root / "img_align_celeba").iterdir()) == NAMES and not part.exists()
    (root / "img_align_celeba.zip").unlink()
    assert len(data.load("celeba", "val", size=8, data_dir=tmp_path)) == 8


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda content: QUOTA_PAGE, r"a web page \(Google Drive - Quota exceeded\) saved under this name"),
        (lambda content: content[: len(content) // 2], r"a zip archive cut off after [\d,]+ bytes"),
        (lambda content: content + b"\0", "has MD5 [0-9a-f]{32} where [0-9a-f]{32} was published"),
        (lambda content: b"", "an empty file"),
        (lambda content: b"7z\xbc\xaf'\x1c" + content, "not a zip archive"),
    ],
)
def test_nothing_is_unpacked_from_a_bad_archive(tmp_path, monkeypatch, spoil, message):
    make_lists(tmp_path, kaggle=False)
    archive = tmp_path / "img_align_celeba.zip"
    archive.write_bytes(spoil(make_archive(archive, monkeypatch)))
    with pytest.raises(InputError, match=f"{archive.name}: {message}.*; delete it.*Kaggle.* into") as caught:
        data.load("celeba", size=8, data_dir=tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "img_align_celeba").exists() and not (tmp_path / ".img_align_celeba.part").exists()


@pytest.mark.parametrize("member", ["../evil.jpg", "/evil.jpg", "img_align_celeba/../../evil.jpg", "evil.sh"])
def test_an_archive_that_reaches_outside_is_refused(tmp_path, monkeypatch, member):
    root = tmp_path / "celeba"
    make_lists(root, kaggle=False)
    make_archive(root / "img_align_celeba.zip", monkeypatch, extra=member)
    with pytest.raises(InputError, match=r"contains '.*evil.*; nothing was unpacked"):
        data.load("celeba", size=8, data_dir=tmp_path)
    assert not list(tmp_path.rglob("evil*")) and not list(tmp_path.rglob("*.jpg"))


# ---- downloads: torchvision's function is replaced, no test reaches the network


@pytest.fixture
def server(tmp_path, monkeypatch):
    """What a download answers, by file name; at first what is published."""
    origin = tmp_path / "origin"
    make_lists(origin, kaggle=False)
    files = {path.name: path.read_bytes() for path in origin.iterdir()}
    files["img_align_celeba.zip"] = make_archive(origin / "img_align_celeba.zip", monkeypatch)
    publish(monkeypatch, files)
    asked = []

    def answer(file_id, root, filename, md5):
        asked.append(filename)
        if isinstance(files[filename], Exception):
            raise files[filename]
        (Path(root) / filename).write_bytes(files[filename])
        if hashlib.md5(files[filename]).hexdigest() != md5:
            raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(datasets.utils, "download_file_from_google_drive", answer)
    files["asked"] = asked
    return files


def test_what_is_nowhere_is_downloaded_once(tmp_path, server):
    data_dir = tmp_path / "data"
    assert levels(data.load("celeba", "val", size=8, data_dir=data_dir)) == list(range(25, 33))
    assert server["asked"] == ["list_eval_partition.txt", "list_attr_celeba.txt", "img_align_celeba.zip"]
    data.load("celeba", "test", size=8, data_dir=data_dir)
    assert len(server["asked"]) == 3


def test_the_variable_that_keeps_a_download_away_is_named(tmp_path, server, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such.pem")
    with pytest.raises(InputError, match=r"--data celeba: REQUESTS_CA_BUNDLE=/no/such\.pem: no such file"):
        data.load("celeba", "val", size=8, data_dir=tmp_path / "data")


def test_a_bad_download_is_explained_and_leaves_nothing(tmp_path, server):
    good, data_dir = server["img_align_celeba.zip"], tmp_path / "data"
    for bad, message in [
        (QUOTA_PAGE, r"a web page \(Google Drive - Quota exceeded\)"),
        (good[:-500], "a zip archive cut off"),
        (RuntimeError("'gdown' is required.\nInstall it"), r"'gdown' is required\. Install it"),
        (OSError("no route to host"), "no route to host"),
    ]:
        server["img_align_celeba.zip"] = bad
        advice = "; put Kaggle.* into .*, or use --data avatars"
        with pytest.raises(InputError, match=f"{message}.*{advice}") as caught:
            data.load("celeba", "val", size=8, data_dir=data_dir)
        assert "\n" not in str(caught.value) and not list(data_dir.rglob("*.zip"))
    server["img_align_celeba.zip"] = good
    assert len(data.load("celeba", "val", size=8, data_dir=data_dir)) == 8
    assert server["asked"].count("list_attr_celeba.txt") == 1  # the lists that came through were kept


def test_the_published_hashes_are_torchvisions():
    published = {name: md5 for _, md5, name in datasets.CelebA.file_list}
    assert set(celeba.NEEDED) <= set(published)
    assert published["img_align_celeba.zip"] == "00d2c5bc6d35e252742224ab0c1e8fcb"
