"""Pictures of one subject for fine-tuning: drawn persons, or photographs, cut to squares and checked.

subject = subjects.load("drawn1", 64)            # 20 portraits of a person unseen in training
subject = subjects.load("photos/anna", 512)      # squares around the face, at least 15 of them
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common.data import ImageSet, avatars
from common.data.decoding import DEEP_GREY, reason, say_deep, to_rgb, upright
from common.data.folder import list_images
from common.errors import InputError, warn
from common.flags import shipped_or_place

import numpy as np
import torch
from PIL import Image
from pydantic import AfterValidator

LAST_PERSON = avatars.PEOPLE["test"].stop - 1
DRAWN = {
    "drawn1": LAST_PERSON - 2,
    "drawn2": LAST_PERSON - 1,
    "drawn3": LAST_PERSON,
    "drawn4": LAST_PERSON - 3,
    "drawn5": LAST_PERSON - 4,
    "drawn6": LAST_PERSON - 5,
}
"""Ids of the persons that the course draws, of its test people."""
PICTURES = 20
"""Of a drawn person."""
FEWEST = 15
"""Pictures that a subject needs."""
KEPT = ("hair", "hair_color", "accessory")
"""What is the same in all pictures of a drawn person; expression, turn, clothes and background vary."""
AROUND_FACE = 2.4
"""Side of a square in heights of the face."""
CLOSE_UP, MEDIUM = 0.35, 0.12
"""Height of the face as a share of the picture's, from which it is a close-up, or a medium shot."""


def _folder_or_drawn(name: str) -> str:
    if not name.strip():
        raise ValueError("name a folder of pictures, or " + ", ".join(DRAWN))
    return shipped_or_place(name, lambda: DRAWN)


Subject = Annotated[str, AfterValidator(_folder_or_drawn)]
"""A drawn person, or a folder of pictures."""


def attributes_of(person: int, count: int) -> dict[str, torch.Tensor]:
    """What `count` pictures of a person show: KEPT is always the same, all else is drawn."""
    generator = torch.Generator().manual_seed(person)
    attributes = avatars.sample_attributes(count, generator, range(person, person + 1))
    return attributes | {name: attributes[name][:1].expand(count).contiguous() for name in KEPT}


def load(name: str, side: int, *, flag: str = "--instance_data_dir") -> ImageSet:
    """The subject's pictures, uint8 (N, 3, side, side); InputError where there are fewer than FEWEST."""
    if name in DRAWN:
        attributes = attributes_of(DRAWN[name], PICTURES)
        source = f"drawn by common/data/avatars.py, person {DRAWN[name]}"
        return ImageSet(avatars.draw(attributes, side), name, "train", source, attributes=attributes)
    folder = Path(name)
    if not folder.is_dir():
        raise InputError(
            f"{flag} {name}: no such folder; name one with {FEWEST} pictures of the subject, or "
            + ", ".join(DRAWN)
        )
    cuts, skipped, modes = [], [], Counter()
    find = face_finder()
    for path in list_images(folder):
        try:
            with Image.open(path) as image:
                name = path.relative_to(folder).as_posix()
                cuts.append(Cut.of(name, to_rgb(upright(image), (255, 255, 255)), side, find))
                modes[image.mode] += 1
        except Exception as error:  # each of Pillow's decoders has its own ways to fail
            skipped.append(f"{path.name}: {reason(error)}")
    if skipped:
        warn(f"{folder}: skipped {len(skipped)} pictures: {'; '.join(skipped[:3])}")
    deep = {mode: count for mode, count in modes.items() if mode in DEEP_GREY}
    say_deep(folder, len(cuts), deep)
    if len(cuts) < FEWEST:
        raise InputError(
            f"{flag} {folder}: {len(cuts)} pictures of the subject, and at least {FEWEST} are needed"
        )
    print(report(folder, cuts, side, find is not None))
    pixels = torch.stack([cut.pixels for cut in cuts])
    return ImageSet(pixels, folder.name, "train", str(folder), file_names=tuple(cut.name for cut in cuts))


# ---- photographs


Box = tuple[int, int, int]
"""Left and upper edge and side of a square, in pixels."""


@dataclass(frozen=True)
class Cut:
    """A square cut out of a picture."""

    name: str
    pixels: torch.Tensor
    """uint8 (3, side, side)."""
    size: tuple[int, int]
    """Width and height of the picture."""
    square: Box
    face: Box | None

    @staticmethod
    def of(name: str, image: Image.Image, side: int, find: Callable | None) -> Cut:
        face = find(image) if find else None
        left, top, length = square = square_around(face, *image.size)
        cut = image.crop((left, top, left + length, top + length))
        pixels = np.asarray(cut.resize((side, side), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
        return Cut(name, torch.from_numpy(pixels.copy()), image.size, square, face)

    @property
    def distance(self) -> str:
        """How near the camera was."""
        if self.face is None:
            return "unknown"
        share = self.face[2] / self.size[1]
        return "close-up" if share >= CLOSE_UP else "medium" if share >= MEDIUM else "far"


def square_around(face: Box | None, width: int, height: int) -> Box:
    """The largest square of at most AROUND_FACE faces that lies in the picture, its centre near the face's;
    without a face the centre of the picture."""
    if face is None:
        length = min(width, height)
        return (width - length) // 2, (height - length) // 2, length
    left, top, face_side = face
    length = min(width, height, round(AROUND_FACE * face_side))
    inside = lambda middle, whole: min(max(round(middle - length / 2), 0), whole - length)
    return inside(left + face_side / 2, width), inside(top + face_side / 2, height), length


def face_finder() -> Callable[[Image.Image], Box | None] | None:
    """Finds the largest frontal face, where scikit-image is installed; else None."""
    try:
        from skimage.data import lbp_frontal_face_cascade_filename
        from skimage.feature import Cascade
    except ImportError:
        return None
    cascade = Cascade(lbp_frontal_face_cascade_filename())

    def find(image: Image.Image) -> Box | None:
        shrink = max(1.0, max(image.size) / 600)
        small = image.resize([max(1, round(length / shrink)) for length in image.size])
        shortest = min(small.size)
        found = cascade.detect_multi_scale(
            img=np.asarray(small), scale_factor=1.15, step_ratio=1, min_size=(shortest // 12,) * 2,
            max_size=(shortest,) * 2,
        )  # fmt: skip
        if not found:
            return None
        face = max(found, key=lambda each: each["width"])
        return tuple(round(face[key] * shrink) for key in ("c", "r", "width"))

    return find


def report(folder: Path, cuts: list[Cut], side: int, looked_for_faces: bool) -> str:
    """How many pictures there are, how large, from how near, and what would make them better."""
    lengths = sorted(cut.square[2] for cut in cuts)
    lines = [f"{folder}: {len(cuts)} pictures; squares of {lengths[0]} to {lengths[-1]} pixels"]
    if small := sum(length < side for length in lengths):
        lines.append(f"  {small} squares are smaller than {side} pixels and are enlarged")
    if not looked_for_faces:
        return "\n".join(
            [*lines, "  the centre is cut out; pip install scikit-image, and it is the face instead"]
        )
    share = lambda kind: sum(cut.distance == kind for cut in cuts) / len(cuts)
    kinds = ", ".join(f"{share(kind):.0%} {kind}" for kind in ("close-up", "medium", "far", "unknown"))
    lines.append(f"  {kinds} (no face found: the centre is cut out)" if share("unknown") else f"  {kinds}")
    if share("close-up") > 0.9:
        lines.append("  a few pictures from further away help with prompts that show more than the face")
    return "\n".join(lines)
