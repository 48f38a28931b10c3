"""The prompt of each picture of a subject: its own caption where it has one, else the same for all.

said = instance_prompts.of(pipeline, subject, "sks", otherwise="a portrait of a sks person")  # N prompts

A caption says what differs from picture to picture and leaves to the token what does not.  That of 01.png
stands in 01.txt beside it, as trainers of LoRA have it; the drawn persons come with theirs.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from common.data import ImageSet, avatars
from common.data.avatar_captions import SYNONYMS, sides
from common.errors import InputError, warn

from hw4_diffusion import prompts

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline


def of(pipeline: StableDiffusionPipeline, subject: ImageSet, token: str, *, otherwise: str) -> list[str]:
    """A prompt for each of the subject's N pictures; InputError for a caption that cannot be read, has not
    the token, or has words that the model does not know."""
    if subject.attributes:
        return captions_of_drawn(subject, token)
    files = [caption_beside(Path(subject.source) / name) for name in subject.file_names]
    if shared := next((path for path in files if path.is_file() and files.count(path) > 1), None):
        raise InputError(f"{shared}: beside two pictures of that name; rename one, and give each its own")
    said = [caption_in(path) if path.is_file() else None for path in files]
    for path, caption in zip(files, said):
        if caption:
            prompts.check_instance(pipeline, caption, token, str(path))
    without = [path.name for path, caption in zip(files, said) if not caption]
    if 0 < len(without) < len(files):
        warn(f"{subject.source}: {len(without)} pictures have no caption ({', '.join(without[:3])}); theirs "
             f"is {otherwise!r}")  # fmt: skip
    return [caption or otherwise for caption in said]


def captions_of_drawn(subject: ImageSet, token: str) -> list[str]:
    """All but subjects.KEPT: "a portrait of a sad sks person, red hoodie, looking left, sand background"."""
    attributes = subject.attributes
    shown = {name: [options[i] for i in attributes[name]] for name, options in avatars.CHOICES.items()}
    turned = [sides(yaw)[0] for yaw in attributes["yaw"].tolist()]
    return [
        f"a portrait of a {SYNONYMS['expression'][expression][0]} {token} person, "
        f"{color} {SYNONYMS['clothes'][clothes][0]}, looking {side}, {background} background"
        for expression, color, clothes, side, background in zip(
            shown["expression"], shown["clothes_color"], shown["clothes"], turned, shown["background"]
        )
    ]


def caption_beside(picture: Path) -> Path:
    """Its text file, there or not; macOS writes й in a name as и and a breve, most editors as one letter."""
    text = picture.with_suffix(".txt")
    composed = lambda path: unicodedata.normalize("NFC", path.name)
    if text.is_file():
        return text
    return next((path for path in picture.parent.glob("*.txt") if composed(path) == composed(text)), text)


def caption_in(path: Path) -> str:
    """The words of a text file, in one line."""
    try:
        return " ".join(path.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text in UTF-8; save it as one") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


class SamePrompts:
    """A part of a checkpoint that lets a run go on with the prompts it began with, and no others."""

    def __init__(self, said: list[str]):
        self.said = said

    def state_dict(self) -> dict:
        return {"said": self.said}

    def load_state_dict(self, state: dict) -> None:
        """InputError where the state is of other prompts."""
        for was, now in zip(state["said"], self.said):
            if was != now:
                raise InputError(
                    f"a caption is now {now!r} and was {was!r} when the run began; put it back, or start a "
                    "new run"
                )
