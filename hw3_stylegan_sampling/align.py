"""Crop and rotate photographs by the eyes, the way FFHQ was made (Karras et al. 2019, appendix A).

pip install -e ".[photographs]"
python hw3_stylegan_sampling/align.py --images photos/ --size 256
python hw3_stylegan_sampling/align.py --images anna.jpg --landmarks eyes.json

A generator of faces knows no others than those cut as its training images were: of a face elsewhere, or
smaller, a projection is another person's.  Eyes are found by OpenCV's cascades, which lie in the package; or
told by a file: {"anna.jpg": {"left_eye": [x, y], "right_eye": [x, y], "mouth": [x, y]}}, left as seen in the
picture, the mouth may be left out, a list for several faces; or the 68 points of dlib for each face.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from common import command_line
from common.data.decoding import DEEP_GREY, printable, reason, to_rgb, upright, words_for
from common.data.folder import list_images
from common.errors import InputError, warn
from common.flags import Flags, Pixels

import numpy as np
from PIL import Image

LOWER = 1.1
"""How far below the eyes a mouth lies that nobody told, in distances between the eyes."""
ENLARGED = 2
"""How many times a face may be enlarged."""
FACE, EYES = "frontalface_default", ("eye", "eye_tree_eyeglasses")
"""OpenCV's cascades; the second one for eyes is for those behind glasses."""
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Config(Flags):
    """Flags of align.py."""

    images: tuple[Path, ...]
    """Photographs, and folders of them."""
    landmarks: Path | None = None
    """JSON file that says where the eyes are; if left out, they are looked for."""
    size: Pixels = 256
    """Side of the aligned images."""
    outdir: Path = Path("people")
    """Folder of the aligned images; made if need be."""


class Landmarks(NamedTuple):
    """Points (x, y) of one face in pixels; left as seen in the picture."""

    left_eye: np.ndarray
    right_eye: np.ndarray
    mouth: np.ndarray | None = None


def main(config: Config) -> None:
    paths = [p for path in config.images for p in (list_images(path) if path.is_dir() else [path])]
    told = None if config.landmarks is None else read_landmarks(config.landmarks)
    made, faults, taken = [], [], {path.resolve() for path in paths}
    for path in paths:
        try:
            photograph = opened(path)
            faces = eyes_found(photograph, path) if told is None else told_of(told, path, config.landmarks)
            made += save(config, path, photograph, faces, taken)
        except InputError as error:
            faults.append(str(error))
    if not made:
        raise InputError(faults[0] if faults else "--images: name photographs, or a folder of them")
    for fault in faults:
        warn(fault)
    print(f"{config.outdir}: {', '.join(made)}")


def save(
    config: Config, path: Path, photograph: Image.Image, faces: list[Landmarks], taken: set[Path]
) -> list[str]:
    """Every face as NAME.png, or numbered from left to right; gives their names.  InputError for a file that
    is `taken`: a photograph, or another's face; what is written is taken too."""
    names = []
    for number, face in enumerate(sorted(faces, key=lambda face: face.left_eye[0]), 1):
        name = path.stem + (f"-{number}" if len(faces) > 1 else "") + ".png"
        quad = corners(face)
        if (side := side_of(quad)) < config.size / ENLARGED:
            raise InputError(
                f"{printable(path.name)}: the face is too small, its square {side:.0f} pixels wide; use a "
                f"larger photograph, or --size {max(8, int(side))}"
            )
        if (target := config.outdir / name).resolve() in taken:
            raise InputError(
                f"{printable(str(path))}: would replace {printable(str(target))}; choose another --outdir, "
                "or rename the photograph"
            )
        config.outdir.mkdir(parents=True, exist_ok=True)
        cut(photograph, quad, config.size).save(target)
        taken.add(target.resolve())
        names.append(name)
    return names


# ---- the square


def corners(face: Landmarks) -> np.ndarray:  # -> (4, 2): upper left, lower left, lower right, upper right
    """FFHQ's square: upright between the eyes and the mouth, as large as both ask."""
    across = face.right_eye - face.left_eye
    between = (face.left_eye + face.right_eye) / 2
    down = turned(across) * LOWER if face.mouth is None else face.mouth - between
    x = across - turned(down)  # both say where the right is
    x *= max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down)) / np.hypot(*x)
    y, centre = turned(x), between + 0.1 * down
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def turned(vector: np.ndarray) -> np.ndarray:
    """(x, y) by a quarter, from the right to below."""
    return np.array([-vector[1], vector[0]])


def side_of(quad: np.ndarray) -> float:
    return float(np.hypot(*(quad[3] - quad[0])))


def cut(photograph: Image.Image, quad: np.ndarray, size: int) -> Image.Image:
    """What lies in the square, upright, size x size.

    # DIFFERS: beyond the border the photograph is mirrored; FFHQ blurs the mirrored part too."""
    shrink = max(1, int(side_of(quad) / size / 2))
    photograph, quad = photograph.reduce(shrink), quad / shrink
    low, high = np.floor(quad.min(0)).astype(int) - 2, np.ceil(quad.max(0)).astype(int) + 3
    width, height = photograph.size
    left, top = np.maximum(-low, 0)
    right, bottom = np.maximum(high - (width, height), 0)
    pixels = np.pad(np.asarray(photograph), ((top, bottom), (left, right), (0, 0)), mode="symmetric")
    data = tuple((quad + np.array([left, top])).ravel())
    fine = Image.fromarray(pixels).transform(
        (4 * size,) * 2, Image.Transform.QUAD, data, Image.Resampling.BILINEAR
    )
    return fine.resize((size, size), Image.Resampling.LANCZOS)


# ---- where the eyes are


def opened(path: Path) -> Image.Image:
    """The photograph in colours, upright."""
    try:
        with Image.open(path) as image:
            if image.mode in ("1", "L", "LA", *DEEP_GREY):
                warn(f"{printable(path.name)}: a grey photograph; projections onto colours will be grey too")
            if image.mode in DEEP_GREY:
                warn(f"{printable(path.name)}: {words_for(image.mode)}")
            return to_rgb(upright(image), WHITE)
    except Exception as error:  # each of Pillow's decoders has its own ways to fail on bytes it dislikes
        raise InputError(f"{printable(path.name)}: {reason(error)}; name a photograph") from error


def eyes_found(photograph: Image.Image, path: Path) -> list[Landmarks]:
    """Faces and their eyes by OpenCV's cascades (Viola and Jones 2001).  InputError where there is none."""
    try:
        import cv2
    except ImportError:
        raise InputError(
            '--landmarks: eyes are found with OpenCV: pip install -e ".[photographs]", or name a file that '
            "says where they are"
        ) from None
    grey = np.asarray(photograph.convert("L"))
    cascade = lambda name: cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_{name}.xml")
    smallest = max(24, min(grey.shape) // 20)
    boxes = cascade(FACE).detectMultiScale(grey, 1.1, 5, minSize=(smallest, smallest))
    faces = []
    for x, y, width, height in boxes:
        upper = grey[y : y + 6 * height // 10, x : x + width]  # eyes lie in the upper part of a face
        for name in EYES:
            found = cascade(name).detectMultiScale(upper, 1.05, 5)
            if (eyes := pair_of(found, width)) is not None:
                faces.append(Landmarks(*(eye + np.array([x, y]) for eye in eyes)))
                break
    if not faces:
        seen = f"{len(boxes)} faces but no pair of eyes" if len(boxes) else "no face"
        raise InputError(
            f"{printable(path.name)}: {seen} found; take one seen from the front, or name --landmarks"
        )
    return faces


def pair_of(boxes: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Centres of the two largest boxes (x, y, w, h) that can be the eyes of a face so wide."""
    largest = sorted(boxes, key=lambda box: -box[2] * box[3])
    centres = [np.array([x + w / 2, y + h / 2]) for x, y, w, h in largest]
    for k, first in enumerate(centres):
        for second in centres[:k]:
            left, right = sorted((first, second), key=lambda eye: eye[0])
            dx, dy = right - left
            if 0.25 * width < dx < 0.65 * width and abs(dy) < 0.5 * dx and left[0] < width / 2 < right[0]:
                return left, right
    return None


def read_landmarks(path: Path) -> dict:
    """The file's object: names of photographs, composed as `composed` has it, and their faces."""
    try:
        told = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"--landmarks {path}: {error.strerror}; name a JSON file") from error
    except ValueError as error:
        raise InputError(f"--landmarks {path}: no JSON ({error}); see --help for its form") from error
    if not isinstance(told, dict):
        raise InputError(f"--landmarks {path}: needs an object that has a key for each photograph's name")
    return {composed(name): faces for name, faces in told.items()}


def composed(name: str) -> str:
    """One spelling of a name: macOS writes й as и and a breve."""
    return unicodedata.normalize("NFC", name)


def told_of(told: dict, path: Path, source: Path) -> list[Landmarks]:
    """The faces of one photograph; InputError where the file does not say."""
    if (name := composed(path.name)) not in told:
        raise InputError(f"{printable(path.name)}: --landmarks {source} says nothing of it; add it")
    known = told[name]
    faces = known if isinstance(known, list) and not _is_points(known) else [known]
    try:
        return [landmarks_of(face) for face in faces]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"--landmarks {source}: {printable(path.name)} needs left_eye and right_eye, each [x, y], or 68 "
            "points for each face"
        ) from error


def landmarks_of(face: dict | list) -> Landmarks:
    """Of named points, or of dlib's 68: 36-41 and 42-47 are the eyes, 48 and 54 the corners of the mouth."""
    if isinstance(face, dict):
        eyes = _point(face["left_eye"]), _point(face["right_eye"])
        landmarks = Landmarks(*eyes, _point(face["mouth"]) if "mouth" in face else None)
    else:
        points = np.array(face, dtype=float)
        if points.shape != (68, 2):
            raise ValueError("68 points are needed")
        landmarks = Landmarks(points[36:42].mean(0), points[42:48].mean(0), points[[48, 54]].mean(0))
    if not all(np.isfinite(point).all() for point in landmarks if point is not None):
        raise ValueError("a place is two numbers")
    if landmarks.left_eye[0] >= landmarks.right_eye[0]:
        raise ValueError("the left eye must be the left one in the picture")
    return landmarks


def _point(value: list) -> np.ndarray:
    x, y = value
    return np.array([float(x), float(y)])


def _is_points(value: list) -> bool:
    return len(value) == 68 and all(isinstance(one, list) and len(one) == 2 for one in value)


if __name__ == "__main__":
    command_line.run(main, Config)
