"""Alignment: FFHQ's square from landmarks, files of landmarks, photographs with a face and without."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

from common import command_line

import numpy as np
import pytest
from PIL import Image

from hw3_stylegan_sampling import align
from hw3_stylegan_sampling.align import Landmarks


def point(x: float, y: float) -> np.ndarray:
    return np.array([x, y], dtype=float)


def test_the_square_of_an_upright_face():
    """FFHQ's formulas by hand: eyes 40 apart, the mouth 50 below them."""
    quad = align.corners(Landmarks(point(80, 100), point(120, 100), point(100, 150)))
    half = max(2 * 40, 1.8 * 50)
    centre = point(100, 100 + 5)
    expected = centre + half * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])
    assert np.allclose(quad, expected)


def test_a_mouth_that_nobody_told_is_below_the_eyes():
    told = align.corners(Landmarks(point(80, 100), point(120, 100), point(100, 144)))
    assert np.allclose(align.corners(Landmarks(point(80, 100), point(120, 100))), told)


def test_eyes_and_mouth_both_say_where_up_is():
    """FFHQ's formulas by hand, of a mouth to the right of the middle."""
    quad = align.corners(Landmarks(point(80, 100), point(120, 100), point(110, 150)))
    x = point(40, 0) + point(50, -10)  # what the eyes say, and what the mouth says, a quarter back
    x *= 1.8 * math.hypot(10, 50) / math.hypot(*x)
    y, centre = point(-x[1], x[0]), point(100, 100) + 0.1 * point(10, 50)
    assert np.allclose(quad, [centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def test_a_turned_face_is_turned_back():
    """By 20 degrees: the square turns with it, and the picture comes out upright."""
    turn = lambda p: point(*(np.array([[c, -s], [s, c]]) @ (p - 200) + 200))
    c, s = math.cos(math.radians(20)), math.sin(math.radians(20))
    face = Landmarks(point(180, 190), point(220, 190), point(200, 240))
    upright = align.corners(face)
    assert np.allclose(align.corners(Landmarks(*map(turn, face))), [turn(p) for p in upright])
    marks = np.zeros((400, 400, 3), np.uint8)
    for k, landmark in enumerate(map(turn, face)):
        x, y = landmark.round().astype(int)
        marks[y - 4 : y + 5, x - 4 : x + 5, k] = 255
    image = np.asarray(
        align.cut(Image.fromarray(marks), align.corners(Landmarks(*map(turn, face))), 90)
    ).astype(float)
    ys, xs = np.mgrid[:90, :90] + 0.5
    left, right, mouth = (
        point((xs * channel).sum(), (ys * channel).sum()) / channel.sum()
        for channel in np.moveaxis(image, 2, 0)
    )
    scale = 90 / align.side_of(upright)
    assert np.allclose(right - left, [40 * scale, 0], atol=0.5)
    assert np.allclose(mouth - (left + right) / 2, [0, 50 * scale], atol=0.5)
    assert np.allclose((left + right) / 2, [45, 45 - 5 * scale], atol=0.7)


def test_beyond_the_border_the_photograph_is_mirrored():
    rows = np.repeat(np.arange(60, dtype=np.uint8)[:, None, None], 60, 1).repeat(3, 2)
    quad = np.array([[10.0, -20.0], [10.0, 20.0], [50.0, 20.0], [50.0, -20.0]])
    image = np.asarray(align.cut(Image.fromarray(rows), quad, 40)).astype(int)
    assert image.shape == (40, 40, 3)
    assert abs(image[25:38, 20, 0] - np.arange(5, 18)).max() <= 1
    assert abs(image[2:15, 20, 0] - np.arange(17, 4, -1)).max() <= 1


def test_large_photographs_are_shrunk_without_stripes():
    lines = np.zeros((800, 800, 3), np.uint8)
    lines[:, ::2] = 255  # finer than the result can show: grey
    quad = np.array([[0.0, 0], [0, 800], [800, 800], [800, 0]])
    image = np.asarray(align.cut(Image.fromarray(lines), quad, 40)).astype(int)
    assert abs(image - 127).max() <= 3
    lines[:] = (np.arange(800) // 4)[None, :, None]  # from black on the left to grey 199 on the right
    image = np.asarray(align.cut(Image.fromarray(lines), quad, 40)).astype(int)
    assert abs(image[20, 2:-2, 0] - (2 + 5 * np.arange(2, 38))).max() <= 1


def test_dlibs_68_points_are_read():
    points = np.zeros((68, 2))
    points[36:42], points[42:48], points[48], points[54] = (80, 100), (120, 100), (90, 150), (110, 150)
    face = align.landmarks_of(points.tolist())
    assert [tuple(p) for p in face] == [(80, 100), (120, 100), (100, 150)]


# ---- pairs of eyes among what the detector sees


def test_eyes_lie_on_both_sides_at_about_one_height():
    left, right = align.pair_of(np.array([[20, 30, 20, 20], [60, 32, 18, 18]]), 100)
    assert left.tolist() == [30, 40] and right.tolist() == [69, 41]
    assert align.pair_of(np.array([[20, 30, 20, 20], [30, 32, 18, 18]]), 100) is None  # both on one side
    assert align.pair_of(np.array([[20, 0, 20, 20], [60, 40, 18, 18]]), 100) is None  # one far above
    assert align.pair_of(np.array([[20, 30, 20, 20]]), 100) is None
    nostril = [45, 50, 8, 8]
    assert align.pair_of(np.array([nostril, [20, 30, 20, 20], [60, 32, 18, 18]]), 100)[0].tolist() == [30, 40]
    brow = [62, 26, 8, 8]  # a pair with the left eye too, but smaller than the right one
    assert align.pair_of(np.array([brow, [20, 30, 20, 20], [60, 32, 18, 18]]), 100)[1].tolist() == [69, 41]


def test_eyes_behind_glasses_are_found_within_the_upper_part_of_the_face(monkeypatch):
    """OpenCV stood in for: a face at (40, 30), whose eyes only the second cascade sees."""
    searched = []

    class Cascade:
        def __init__(self, path):
            self.path = path

        def detectMultiScale(self, grey, *_, **__):
            searched.append(grey.shape)
            if "frontalface" in self.path:
                return np.array([[40, 30, 100, 100]])
            return np.array([[20, 30, 20, 20], [60, 32, 18, 18]] if "eyeglasses" in self.path else [])

    fake = SimpleNamespace(CascadeClassifier=Cascade, data=SimpleNamespace(haarcascades=""))
    monkeypatch.setitem(sys.modules, "cv2", fake)
    (face,) = align.eyes_found(Image.new("RGB", (200, 160)), Path("anna.png"))
    assert face.left_eye.tolist() == [70, 70] and face.right_eye.tolist() == [109, 71] and face.mouth is None
    assert searched == [(160, 200), (60, 100), (60, 100)]


# ---- the script


@pytest.fixture
def photo(tmp_path):
    """Random colours, 200 x 160."""
    pixels = np.random.default_rng(0).integers(0, 256, (160, 200, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "anna.png")
    return tmp_path / "anna.png"


def run(*flags) -> str:
    """Exit code of the script as text, empty for success."""
    try:
        command_line.run(align.main, align.Config, [str(flag) for flag in flags])
    except SystemExit as stopped:
        return str(stopped.code)
    return ""


def landmarks(folder, content) -> list:
    (folder / "marks.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return ["--landmarks", folder / "marks.json"]


FACE = {"left_eye": [80, 70], "right_eye": [120, 70], "mouth": [100, 110]}


def test_several_faces_are_numbered_from_the_left(photo, tmp_path):
    other = {"left_eye": [20, 70], "right_eye": [50, 70]}
    flags = landmarks(tmp_path, {"anna.png": [FACE, other]})
    assert run("--images", photo, *flags, "--size", 64, "--outdir", tmp_path / "out") == ""
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["anna-1.png", "anna-2.png"]
    one = align.cut(Image.open(photo), align.corners(align.landmarks_of(other)), 64)
    with Image.open(tmp_path / "out" / "anna-1.png") as first:
        assert np.array_equal(first, one) and first.size == (64, 64)


def test_one_face_keeps_the_photographs_name_and_grey_ones_are_mentioned(photo, tmp_path, capsys):
    with Image.open(photo) as image:
        image.convert("L").save(tmp_path / "bob.png")
    flags = landmarks(tmp_path, {"bob.png": FACE})
    assert run("--images", tmp_path / "bob.png", *flags, "--size", 64, "--outdir", tmp_path / "out") == ""
    assert (tmp_path / "out" / "bob.png").is_file()
    assert "bob.png: a grey photograph" in capsys.readouterr().err
    Image.fromarray(np.full((160, 200), 40000, dtype=np.uint16)).save(tmp_path / "bob.png")
    assert run("--images", tmp_path / "bob.png", *flags, "--size", 64, "--outdir", tmp_path / "out") == ""
    assert "bob.png: 16 bits of grey from 0, black, to 65535, white" in capsys.readouterr().err


def test_a_photograph_is_turned_as_its_camera_was_held(photo, tmp_path):
    with Image.open(photo) as image:
        lying = image.transpose(Image.Transpose.ROTATE_90)
        exif = image.getexif()
        exif[0x0112] = 6  # shown turned by a quarter, clockwise
        lying.save(tmp_path / "held.png", exif=exif)
        assert np.array_equal(align.opened(tmp_path / "held.png"), image.convert("RGB"))


def test_what_cannot_be_aligned_is_named_and_the_rest_is_made(photo, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    flags = landmarks(tmp_path, {"anna.png": FACE})
    assert run("--images", tmp_path, *flags, "--size", 64, "--outdir", tmp_path / "out") == ""
    assert "broken.png: not a picture Pillow knows" in capsys.readouterr().err


def test_no_photograph_and_no_other_face_is_overwritten(photo, tmp_path, capsys):
    before = photo.read_bytes()
    flags = [*landmarks(tmp_path, {"anna.png": FACE}), "--size", 64]
    assert "anna.png: would replace " in run("--images", photo, *flags, "--outdir", tmp_path)
    assert photo.read_bytes() == before
    (tmp_path / "more").mkdir()
    twin = tmp_path / "more" / "anna.png"
    with Image.open(photo) as image:
        image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(twin)
    out = tmp_path / "out"
    assert run("--images", photo, twin, *flags, "--outdir", out) == ""
    assert f"warning: {twin}: would replace {out / 'anna.png'}; choose" in capsys.readouterr().err
    assert run("--images", photo, *flags, "--outdir", out) == ""  # what it made before it may replace
    with Image.open(photo) as image, Image.open(out / "anna.png") as made:
        face = align.corners(align.landmarks_of(FACE))
        assert np.array_equal(made, align.cut(image, face, 64))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "marks.json: no JSON"),
        ([1, 2], "marks.json: needs an object"),
        ({}, "anna.png: --landmarks"),
        ({"anna.png": {"left_eye": [1, 2]}}, "anna.png needs left_eye and right_eye"),
        ({"anna.png": {"left_eye": [120, 70], "right_eye": [80, 70]}}, "anna.png needs left_eye"),
        ({"anna.png": [[1, 2], [3, 4]]}, "anna.png needs left_eye"),
        ({"anna.png": FACE | {"mouth": [math.nan, 110]}}, "anna.png needs left_eye"),
        ({"anna.png": FACE | {"left_eye": [80, -math.inf]}}, "anna.png needs left_eye"),
        (
            {"anna.png": {"left_eye": [90, 70], "right_eye": [96, 70]}},
            "anna.png: the face is too small, its square 24",
        ),
    ],
)
def test_mistakes_in_one_line(photo, tmp_path, content, message):
    said = run("--images", photo, *landmarks(tmp_path, content), "--size", 64, "--outdir", tmp_path / "out")
    assert message in said and "\n" not in said.strip()


def test_a_name_is_found_however_its_letters_are_composed_and_behind_a_byte_order_mark(photo, tmp_path):
    """macOS stores й as two letters, and an editor of Windows puts three bytes before the text."""
    decomposed = photo.rename(tmp_path / "andrei\u0306.png")
    content = "\ufeff" + json.dumps({"andre\u012d.png": FACE}, ensure_ascii=False)
    (tmp_path / "marks.json").write_text(content, encoding="utf-8")
    flags = ["--landmarks", tmp_path / "marks.json", "--size", 64, "--outdir", tmp_path / "out"]
    assert run("--images", decomposed, *flags) == ""


# ---- with OpenCV, and the photograph of a face that scikit-image carries


@pytest.fixture
def astronaut(tmp_path):
    pytest.importorskip("cv2")
    pixels = pytest.importorskip("skimage.data").astronaut()
    Image.fromarray(pixels).save(tmp_path / "astronaut.png")
    return tmp_path / "astronaut.png"


def test_the_astronauts_eyes_come_to_where_ffhqs_are(astronaut, tmp_path):
    (face,) = align.eyes_found(Image.open(astronaut), astronaut)
    assert np.hypot(*(face.left_eye - (202, 101))) < 6 and np.hypot(*(face.right_eye - (247, 103))) < 6
    assert run("--images", astronaut, "--size", 128, "--outdir", tmp_path / "out") == ""
    with Image.open(tmp_path / "out" / "astronaut.png") as aligned:
        (again,) = align.eyes_found(aligned.convert("RGB"), astronaut)
    assert np.hypot(*((again.left_eye + again.right_eye) / 2 - (64, 60))) < 6
    assert abs(again.right_eye[0] - again.left_eye[0] - 32) < 5


def test_a_cat_has_no_face_and_two_persons_have_two(astronaut, tmp_path):
    data = pytest.importorskip("skimage.data")
    Image.fromarray(data.chelsea()).save(tmp_path / "chelsea.png")
    said = run("--images", tmp_path / "chelsea.png", "--outdir", tmp_path / "out")
    assert "chelsea.png: no face found" in said
    with Image.open(astronaut) as image:
        both = Image.new("RGB", (1024, 512))
        both.paste(image, (0, 0))
        both.paste(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (512, 0))
        both.save(tmp_path / "both.png")
    assert run("--images", tmp_path / "both.png", "--outdir", tmp_path / "out", "--size", 64) == ""
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["both-1.png", "both-2.png"]


def test_without_opencv_it_says_what_to_install(photo, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert "pip install -e" in run("--images", photo)
