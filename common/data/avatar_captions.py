"""Captions of avatars as people would write them: synonyms, another order every time, things left out.

    captions = varied(image_set.attributes, seed=0)
    captions.texts[0]             # "drawing of a happy person in a green hoodie, ginger short curly hair"
    captions.told["accessory"]    # bool (N,): False where the caption says nothing about glasses

A model that is trained on one sentence with seven gaps learns that sentence.  `avatars.caption` is it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from common.data.avatars import BACKGROUNDS, CHOICES, CLEARLY_TURNED, EXPRESSION_WORDS, HAIR_WORDS

import torch
from torch import Tensor

SYNONYMS: dict[str, dict[str, tuple[str, ...]]] = {
    "expression": {
        "neutral": ("calm", "neutral", "serious"), "smile": ("smiling", "happy", "cheerful"),
        "surprise": ("surprised", "astonished", "amazed"), "sadness": ("sad", "unhappy", "gloomy"),
        "anger": ("angry", "furious", "mad"),
    },
    "hair": {
        "none": ("a bald head and {color} eyebrows", "a bald head with {color} brows",
                 "no hair, {color} eyebrows"),
        "long bun": ("long {color} hair in a bun", "{color} hair in a bun", "a {color} bun"),
        "long wavy": ("long wavy {color} hair", "{color} long wavy hair", "long {color} waves"),
        "long straight": ("long straight {color} hair", "{color} straight long hair",
                          "straight long {color} hair"),
        "short wavy": ("short wavy {color} hair", "{color} short wavy hair", "short {color} waves"),
        "short straight": ("short straight {color} hair", "{color} straight short hair",
                           "straight short {color} hair"),
        "short curly": ("short curly {color} hair", "{color} short curly hair", "short {color} curls"),
    },
    "hair_color": {
        "black": ("black", "dark"), "blond": ("blond", "blonde", "golden"), "chestnut": ("chestnut", "brown"),
        "pastel pink": ("pastel pink", "pink"), "red": ("red", "ginger"),
        "silver grey": ("silver grey", "silver", "grey"),
    },
    "accessory": {
        "no glasses": ("no glasses", "without glasses"),
        "round glasses": ("round glasses", "wearing round glasses", "with spectacles"),
        "sunglasses": ("sunglasses", "wearing sunglasses", "with dark glasses"),
    },
    "clothes": {
        "hoodie": ("hoodie", "hooded sweatshirt"), "overall": ("overall", "jumpsuit"),
        "crew-neck tee": ("crew-neck tee", "crew-neck t-shirt", "round-neck tee"),
        "V-neck tee": ("v-neck tee", "v-neck t-shirt", "v-neck shirt"),
    },
    "clothes_color": {name: (name,) for name in CHOICES["clothes_color"]} | {"grey": ("grey", "gray")},
    "background": {name: (name,) for name in BACKGROUNDS},
}  # fmt: skip
"""What people call each option; the first is what `avatars.caption` says, or near it."""
PICTURES = ("a portrait of", "portrait of", "a picture of", "a drawing of", "drawing of", "a photo of", "")
PEOPLE = ("person", "face", "character")
FORMS: dict[str, tuple[str, ...]] = {
    "hair": ("with {}", "{}"),
    "accessory": ("{}",),
    "clothes": ("wearing a {}", "in a {}", "a {}"),
    "turn": ("head turned {}", "looking {}", "facing {}"),
    "background": ("{} background", "on a {} background", "against a {} background"),
}
"""How each part of a sentence begins."""
SIDES = {
    "left": ("left", "to the left"),
    "right": ("right", "to the right"),
    "ahead": ("forward", "straight ahead"),
}
SAID_WITH = {"hair_color": "hair", "clothes_color": "clothes"}
"""Attributes that have no part of their own."""
OMISSIONS = (0.0, 0.0, 0.25, 0.6)
"""Share of the parts that a caption leaves out: one of these, each as often."""


@dataclass(frozen=True)
class Captions:
    """One sentence for each of N portraits."""

    texts: tuple[str, ...]
    told: dict[str, Tensor]
    """bool (N,) for each attribute that is a choice: whether the sentence says it."""


def varied(attributes: dict[str, Tensor], seed: int) -> Captions:
    """A caption of each of N portraits, complete in their attributes.  Other seeds give other sentences."""
    chance = random.Random(seed)
    columns = {name: [options[i] for i in attributes[name].tolist()] for name, options in CHOICES.items()}
    yaws = attributes["yaw"].tolist()
    texts, told = [], {name: torch.zeros(len(yaws), dtype=torch.bool) for name in CHOICES}
    for i, yaw in enumerate(yaws):
        parts = _parts({name: values[i] for name, values in columns.items()}, yaw, chance)
        omitted = chance.choice(OMISSIONS)
        kept = [name for name in parts if chance.random() >= omitted]
        chance.shuffle(kept)
        texts.append(_sentence({name: parts[name] for name in kept}, chance))
        for name, said in told.items():
            said[i] = SAID_WITH.get(name, name) in kept
    return Captions(tuple(texts), told)


def _parts(style: dict[str, str], yaw: float, chance: random.Random) -> dict[str, str]:
    """What can be said of a portrait, in the words that chance picks."""
    word = {name: chance.choice(SYNONYMS[name][option]) for name, option in style.items()}
    said = {
        "hair": word["hair"].format(color=word["hair_color"]),
        "accessory": word["accessory"],
        "clothes": f"{word['clothes_color']} {word['clothes']}",
        "turn": chance.choice(sides(yaw)),
        "background": word["background"],
    }
    said = {name: chance.choice(FORMS[name]).format(text) for name, text in said.items()}
    return {"expression": word["expression"], **said}


def sides(yaw: float) -> tuple[str, ...]:
    """What people call the side to which a head turned by `yaw` degrees looks."""
    return SIDES["ahead" if abs(yaw) < CLEARLY_TURNED else "right" if yaw > 0 else "left"]


def _sentence(parts: dict[str, str], chance: random.Random) -> str:
    """The person with the expression, then the other parts: "portrait of a sad face, sunglasses and a red
    hoodie"."""
    person = f"{parts.pop('expression', '')} {chance.choice(PEOPLE)}".strip()
    *first, last = [f"{chance.choice(PICTURES)} a {person}".strip(), *parts.values()]
    joined = (
        ", ".join([*first, last])
        if chance.random() < 0.5 or len(first) < 2
        else (f"{', '.join(first)} and {last}")
    )
    return re.sub(r"\ba (?=[aeiou])", "an ", joined)


def _phrases() -> Iterator[str]:
    """Everything that a caption may be made of, of `avatars.caption` too."""
    for options in SYNONYMS.values():
        for words in options.values():
            yield from words
    yield from (word for forms in (FORMS, SIDES) for words in forms.values() for word in words)
    yield from (*PICTURES, *PEOPLE, *EXPRESSION_WORDS.values(), *HAIR_WORDS.values(), "an and,")


def words_in(text: str) -> list[str]:
    """Words and signs of a text, in small letters, as CLIP's tokenizer tells them apart."""
    return re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", text.lower())


WORDS = tuple(sorted({word for phrase in _phrases() for word in words_in(phrase.format("", color=""))}))
"""Every word of a caption."""
