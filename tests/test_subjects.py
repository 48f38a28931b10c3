"""Pictures of a subject: drawn persons, photographs, squares around a face, and what is reported."""

import importlib.util
from pathlib import Path

from common import figures
from common.data import avatars
from common.errors import InputError

import numpy as np
import pytest
import torch
from PIL import Image

from hw4_diffusion import subjects


def photographs(folder: Path, count: int, size: tuple[int, int] = (60, 40)) -> Path:
    """Pictures whose left half is red and whose right half is blue."""
    width, height = size
    for i in range(count):
        image = torch.zeros(3, height, width, dtype=torch.uint8)
        image[0, :, : width // 2], image[2, :, width // 2 :] = 250, 100 + i
        figures.save_png(folder / f"{i:02d}.png", image)
    return folder


# ---- drawn persons


def test_a_drawn_subject_is_one_unseen_person_in_many_surroundings():
    seen = set()
    for name in subjects.DRAWN:
        subject = subjects.load(name, 32)
        person = subject.attributes["person"].unique().tolist()
        assert len(subject) == subjects.PICTURES >= subjects.FEWEST and subject.shape == (3, 32, 32)
        assert person == [subjects.DRAWN[name]] and person[0] in avatars.PEOPLE["test"]
        for split in avatars.PEOPLE:  # no set shows it, whatever its seed
            assert all(person[0] not in avatars.people_of(split, seed) for seed in range(100))
        assert all(len(subject.attributes[each].unique()) == 1 for each in subjects.KEPT)
        for each in ("expression", "background", "clothes", "clothes_color", "yaw"):
            assert len(subject.attributes[each].unique()) > 3
        seen |= set(person)
        assert torch.equal(subject.images, subjects.load(name, 32).images)
    assert len(seen) == len(subjects.DRAWN)


# ---- photographs


def test_squares_lie_around_the_face_and_in_the_picture():
    assert subjects.square_around(None, 60, 40) == (10, 0, 40)
    assert subjects.square_around((100, 50, 50), 400, 300) == (65, 15, 120)  # centre 125, 75
    assert subjects.square_around((0, 0, 50), 400, 300) == (0, 0, 120)  # a face in the corner
    assert subjects.square_around((350, 250, 50), 400, 300) == (280, 180, 120)
    assert subjects.square_around((50, 50, 200), 400, 300) == (0, 0, 300)  # no larger than the picture


def test_a_folder_is_cut_reported_and_read_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(subjects, "face_finder", lambda: None)
    subject = subjects.load(str(photographs(tmp_path / "anna", 16)), 16)
    assert len(subject) == 16 and subject.shape == (3, 16, 16)
    assert subject.file_names == tuple(f"{i:02d}.png" for i in range(16))
    assert subject.images[:, 0, :, 0].float().mean() > 240 and subject.images[3, 2, 8, 15] == 103
    said = capsys.readouterr().out
    assert "16 pictures; squares of 40 to 40 pixels" in said and "pip install scikit-image" in said
    subjects.load(str(tmp_path / "anna"), 64)
    assert "16 squares are smaller than 64 pixels and are enlarged" in capsys.readouterr().out


def test_shares_of_close_ups_are_reported(tmp_path, monkeypatch, capsys):
    faces = iter([(5, 5, 20)] * 4 + [(5, 5, 10)] * 8 + [(5, 5, 3)] * 2 + [None] * 2)
    monkeypatch.setattr(subjects, "face_finder", lambda: lambda image: next(faces))
    subjects.load(str(photographs(tmp_path, 16)), 16)
    said = capsys.readouterr().out
    assert "25% close-up, 50% medium, 12% far, 12% unknown" in said and "no face found" in said


def test_the_square_of_a_found_face_is_what_is_learned_from(tmp_path, monkeypatch):
    monkeypatch.setattr(subjects, "face_finder", lambda: lambda image: (45, 15, 8))  # in the blue half
    subject = subjects.load(str(photographs(tmp_path, 15)), 16)
    assert subject.images[:, 0].float().mean() < 10 < subject.images[:, 2].float().mean()


@pytest.mark.skipif(importlib.util.find_spec("skimage") is None, reason="scikit-image is not installed")
def test_a_real_face_is_found():
    from skimage import data

    left, top, side = subjects.face_finder()(Image.fromarray(data.astronaut()))
    assert abs(left + side / 2 - 224) < 40 and abs(top + side / 2 - 112) < 40


def test_too_few_pictures_and_unreadable_ones_are_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(subjects, "face_finder", lambda: None)
    folder = photographs(tmp_path / "anna", 15)
    (folder / "07.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"--instance_data_dir .*anna: 14 pictures of the subject"):
        subjects.load(str(folder), 16)
    assert "skipped 1 pictures: 07.png" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no images"):
        subjects.load(str(tmp_path / "empty"), 16)
    with pytest.raises(InputError, match="--subject nobody: no such folder; name one with 15 pictures"):
        subjects.load("nobody", 16, flag="--subject")


def test_how_16_bits_of_grey_are_read_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(subjects, "face_finder", lambda: None)
    folder = photographs(tmp_path / "anna", 15)
    Image.fromarray(np.full((40, 40), 257 * 99, dtype=np.uint16)).save(folder / "07.png")
    found = subjects.load(str(folder), 16)
    assert (found.images[found.file_names.index("07.png")] == 99).all()
    assert "anna: 1 of 15 images have 16 bits of grey from 0, black, to 65535" in capsys.readouterr().err


def test_photographs_are_set_upright(tmp_path, monkeypatch):
    """Turned a quarter clockwise, the red left half comes to the top."""
    monkeypatch.setattr(subjects, "face_finder", lambda: None)
    folder, exif = photographs(tmp_path / "anna", 15), Image.Exif()
    exif[0x0112] = 6
    for path in folder.iterdir():
        Image.open(path).save(path, exif=exif)
    images = subjects.load(str(folder), 16).images
    assert (images[:, 0, :7] > 240).all() and (images[:, 0, 9:] < 10).all()
