"""Cartoon portraits drawn from attributes: the faces of every week of the course.

A picture has five style attributes (28 options, 4,032 combinations), an expression, a person, a turn of
the head and a background, and is a deterministic function of them:

    attributes = sample_attributes(8, generator)     # {"hair": int64 (8,), ..., "yaw": float32 (8,)}
    images = draw(attributes, 64)                    # uint8 (8, 3, 64, 64)
    caption(attributes)[0]                           # "a portrait of a smiling person with ..."

The style attributes are those of the course's style table; the person is a number, from which
`identity` makes a vector of traits (face, skin, eyes, nose, mouth, brows, ...) that no style hides
altogether.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from common.data import avatar_clothes, avatar_face, avatar_hair
from common.data.avatar_face import EXPRESSIONS, NECK, Face
from common.data.canvas import Canvas
from common.data.chunks import draw_in_chunks
from common.data.image_set import ImageSet
from common.data.signed_distance import circle
from common.errors import InputError

import torch
from torch import Tensor

VERSION = 1
DEFAULT_SIZE = 64
DEFAULT_COUNTS = {"train": 10_000, "val": 1_000, "test": 2_000}
SIZES = range(16, 513)

STYLE_OPTIONS: dict[str, tuple[str, ...]] = {
    "hair": ("none", "long bun", "long wavy", "long straight", "short wavy", "short straight", "short curly"),
    "hair_color": ("black", "blond", "chestnut", "pastel pink", "red", "silver grey"),
    "accessory": ("no glasses", "round glasses", "sunglasses"),
    "clothes": ("hoodie", "overall", "crew-neck tee", "V-neck tee"),
    "clothes_color": ("black", "blue", "grey", "green", "orange", "pink", "red", "white"),
}
"""The options of the style table, in its order."""

RUSSIAN_NAMES: dict[str, dict[str, str]] = {
    "hair": {
        "none": "нет волос", "long bun": "длинные в пучок", "long wavy": "длинные волнистые",
        "long straight": "длинные прямые", "short wavy": "короткая волнистые",
        "short straight": "короткая прямые", "short curly": "короткая курчавые",
    },
    "hair_color": {
        "black": "черный", "blond": "блонд", "chestnut": "каштановый", "pastel pink": "пастельный розовый",
        "red": "рыжий", "silver grey": "серебристо серый",
    },
    "accessory": {
        "no glasses": "нет очков", "round glasses": "круглые очки", "sunglasses": "солнцезащитные очки",
    },
    "clothes": {
        "hoodie": "худи", "overall": "комбинезон", "crew-neck tee": "футболка с круглым вырезом",
        "V-neck tee": "футболка с V-вырезом",
    },
    "clothes_color": {
        "black": "черный", "blue": "синий", "grey": "серый", "green": "зеленый", "orange": "оранжевый",
        "pink": "розовый", "red": "красный", "white": "белый",
    },
}  # fmt: skip
"""The style table's own Russian names of the options."""

BACKGROUNDS = ("sky blue", "mint", "lavender", "sand", "rose", "teal", "violet", "night blue")
CHOICES: dict[str, tuple[str, ...]] = {**STYLE_OPTIONS, "expression": EXPRESSIONS, "background": BACKGROUNDS}
"""Every attribute that is a choice, with the names of its options."""
TURNS = {"yaw": 30.0, "tilt": 10.0}
"""Largest turn of the head in degrees: yaw positive when the face looks to the right of the picture,
tilt positive when the head leans to the right."""

HAIR_COLORS = ((40, 36, 46), (246, 206, 96), (118, 66, 40), (252, 178, 208), (214, 76, 30), (178, 186, 200))
CLOTHES_COLORS = ((48, 48, 58), (58, 110, 216), (142, 148, 158), (62, 164, 92), (248, 140, 40),
                  (250, 150, 188), (212, 46, 56), (248, 248, 246))  # fmt: skip
GRADIENTS = (
    ((150, 206, 246), (206, 234, 252)), ((150, 224, 196), (212, 244, 226)),
    ((190, 178, 240), (226, 218, 252)), ((238, 214, 170), (250, 236, 208)),
    ((248, 190, 196), (254, 226, 224)), ((44, 140, 150), (120, 196, 196)),
    ((124, 86, 176), (178, 146, 214)), ((40, 52, 98), (92, 108, 164)),
)  # fmt: skip
"""Colour at the top and at the bottom of each background."""

TRAITS = (
    "face_width", "face_height", "jaw", "skin_tone", "skin_warmth", "eye_size", "eye_spacing", "eye_height",
    "eye_color", "lashes", "nose", "nose_width", "mouth_width", "mouth_height", "lips", "brow_thickness",
    "brow_tilt", "ears", "freckles", "mole", "blush", "shoulders",
)  # fmt: skip
"""Names of the entries of an identity vector."""

PEOPLE = {
    "train": range(0, 1_000_000),
    "val": range(1_000_000, 2_000_000),
    "test": range(2_000_000, 3_000_000),
}
"""Person ids of each split; the splits share nobody."""
PEOPLE_PER_SET = {"train": 2_000, "val": 200, "test": 400}
"""How many of them a set shows, so that a person is seen about five times, in different styles and turns."""

CHUNK_PIXELS = 2**19
"""Pixels drawn at a time, so that the planes of a shape stay in the cache."""


def identity(person: Tensor) -> Tensor:
    """Traits (N, len(TRAITS)) float64 in [0, 1) of people (N,) int64: a hash, so a pure function of the id.

    Trait k of person i is the SplitMix64 mix of i * len(TRAITS) + k + 1 (Steele, Lea and Flood 2014),
    whose upper 53 bits make the fraction.
    """
    golden, first, second = (_signed(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
    counter = person.long()[:, None] * len(TRAITS) + torch.arange(1, len(TRAITS) + 1, device=person.device)
    bits = counter * golden
    bits = (bits ^ _shifted(bits, 30)) * first
    bits = (bits ^ _shifted(bits, 27)) * second
    bits = bits ^ _shifted(bits, 31)
    return _shifted(bits, 11).double() / 2**53


def _signed(constant: int) -> int:
    """A 64-bit constant as the int64 with the same bits."""
    return constant - 2**64 if constant >= 2**63 else constant


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Logical right shift of int64."""
    return (bits >> by) & (2 ** (64 - by) - 1)


def sample_attributes(
    count: int, generator: torch.Generator, people: range = PEOPLE["train"]
) -> dict[str, Tensor]:
    """Attributes of `count` portraits, each uniform over its options or its range, all independent.

    Returns int64 (count,) for every name in CHOICES and for `person`, float32 (count,) degrees for yaw
    and tilt.
    """
    attributes = {
        name: torch.randint(len(options), (count,), generator=generator) for name, options in CHOICES.items()
    }
    attributes["person"] = torch.randint(people.start, people.stop, (count,), generator=generator)
    for name, largest in TURNS.items():
        attributes[name] = (2 * torch.rand(count, generator=generator) - 1) * largest
    return attributes


def draw(attributes: dict[str, Tensor], size: int = DEFAULT_SIZE) -> Tensor:
    """Portraits uint8 (N, 3, size, size) of the attributes (see `sample_attributes`), on the device
    they are on.

    Attributes left out are neutral: person 0, no turn, the first option.  InputError for values that do
    not exist.
    """
    attributes = _checked(attributes, size)
    count = len(attributes["hair"])
    images = torch.empty(count, 3, size, size, dtype=torch.uint8, device=attributes["hair"].device)
    kinds = attributes["hair"] * len(STYLE_OPTIONS["clothes"]) + attributes["clothes"]
    parts = []  # what differs in shape is drawn apart, so that no shape is drawn in vain
    for kind in kinds.unique().tolist():
        parts += (kinds == kind).nonzero()[:, 0].split(max(1, CHUNK_PIXELS // size**2))

    def draw_part(rows: Tensor) -> None:
        images[rows] = _draw_alike({name: values[rows] for name, values in attributes.items()}, size)

    _in_threads(draw_part, parts)
    return images


def _in_threads(function: Callable[[Tensor], None], parts: list[Tensor]) -> None:
    """Call the function on every part, as many at a time as torch has threads, with one thread inside each.

    Threads inside the operations would wait for one another thousands of times a second, which costs
    little on an idle machine and everything on a busy one.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(function, parts))
    finally:
        torch.set_num_threads(threads)  # what one thread sets, threads started later begin with


def _draw_alike(attributes: dict[str, Tensor], size: int) -> Tensor:
    """Portraits (B, 3, size, size) that have the same hair style and the same kind of clothes."""
    hair = STYLE_OPTIONS["hair"][attributes["hair"][0]]
    clothes = STYLE_OPTIONS["clothes"][attributes["clothes"][0]]
    hair_color, clothes_color = (
        torch.tensor(table, dtype=torch.float64, device=attributes[name].device)[attributes[name]]
        for name, table in (("hair_color", HAIR_COLORS), ("clothes_color", CLOTHES_COLORS))
    )
    traits = dict(zip(TRAITS, identity(attributes["person"]).unbind(-1)))
    face = Face(traits, attributes["expression"], attributes["yaw"].double().deg2rad())
    canvas = Canvas(len(attributes["hair"]), size, clothes_color.device)
    _paint_background(canvas, attributes["background"])
    head = canvas.turned(attributes["tilt"].double().deg2rad(), NECK)

    avatar_hair.paint_hair_behind(head, face, hair, hair_color)
    avatar_clothes.paint_behind_neck(canvas, face, clothes, clothes_color)
    avatar_face.paint_neck_and_ears(canvas, head, face)
    avatar_clothes.paint_clothes(canvas, face, clothes, clothes_color)
    avatar_face.paint_face(head, face)
    round_glasses, sunglasses = ((attributes["accessory"] == index).double() for index in (1, 2))
    avatar_clothes.paint_temples(head, face, round_glasses, sunglasses)
    avatar_hair.paint_hair_front(head, face, hair, hair_color)
    avatar_clothes.paint_glasses(head, face, round_glasses, sunglasses)
    avatar_face.paint_brows(head, face, hair_color)
    return canvas.images()


def _paint_background(canvas: Canvas, background: Tensor) -> None:
    """A gradient from top to bottom with a lighter disc behind the head."""
    colors = torch.tensor(GRADIENTS, dtype=torch.float32, device=background.device)[background]  # (B, 2, 3)
    top, bottom = colors[:, 0, :, None, None], colors[:, 1, :, None, None]
    canvas.pixels.copy_(top + (bottom - top) * ((canvas.y + 1) / 2))
    canvas.paint(circle((0.0, -0.06), 0.84), avatar_face.WHITE, 0.22)


def _checked(attributes: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    """All attributes as tensors of one length; InputError naming the first that cannot be drawn."""
    if size not in SIZES:
        raise InputError(f"size {size}: portraits are drawn at {SIZES.start} to {SIZES.stop - 1} pixels")
    known = {**CHOICES, "person": None, "yaw": None, "tilt": None}
    for name in attributes:
        if name not in known:
            raise InputError(f"attribute {name!r}: a portrait has {', '.join(known)}")
    given = {name: torch.as_tensor(values) for name, values in attributes.items()}
    lengths = {name: len(values) if values.ndim == 1 else -1 for name, values in given.items()}
    if len(set(lengths.values())) != 1 or -1 in lengths.values():
        raise InputError(f"attributes: expected one value per portrait each, got lengths {lengths}")
    count, some = next(iter(lengths.values())), next(iter(given.values()))
    complete = {}
    for name, options in known.items():
        values = given.get(name, torch.zeros(count, dtype=torch.int64, device=some.device))
        if (
            options is not None
            and len(values)
            and not 0 <= int(values.min()) <= int(values.max()) < len(options)
        ):
            wrong = sorted(set(values.tolist()) - set(range(len(options))))[0]
            raise InputError(
                f"attribute {name!r}: there is no option {wrong}; 0 to {len(options) - 1} are "
                + ", ".join(options)
            )
        if name in TURNS and not bool((values.abs() <= 2 * TURNS[name]).all()):
            raise InputError(
                f"attribute {name!r}: the head turns by at most {2 * TURNS[name]:g} degrees either way"
            )
        complete[name] = values if name in TURNS else values.long()
    return complete


HAIR_WORDS = {
    "none": "a bald head and {color} eyebrows", "long bun": "long {color} hair in a bun",
    "long wavy": "long wavy {color} hair", "long straight": "long straight {color} hair",
    "short wavy": "short wavy {color} hair", "short straight": "short straight {color} hair",
    "short curly": "short curly {color} hair",
}  # fmt: skip
EXPRESSION_WORDS = {
    "neutral": "a calm", "smile": "a smiling", "surprise": "a surprised", "sadness": "a sad",
    "anger": "an angry",
}  # fmt: skip
CLEARLY_TURNED = 10.0
"""Degrees of yaw from which a caption mentions the turn."""


def caption(attributes: dict[str, Tensor]) -> list[str]:
    """One English sentence per portrait, naming the expression, all style attributes and the turn of
    the head: "a portrait of a smiling person with short curly red hair, round glasses and a green
    hoodie, head turned left"."""
    attributes = _checked(attributes, DEFAULT_SIZE)
    columns = {name: [options[i] for i in attributes[name].tolist()] for name, options in CHOICES.items()}
    sentences = []
    for i, yaw in enumerate(attributes["yaw"].tolist()):
        style = {name: values[i] for name, values in columns.items()}
        hair = HAIR_WORDS[style["hair"]].format(color=style["hair_color"])
        article = "an" if style["clothes_color"][0] in "aeiou" else "a"
        turn = (
            "facing forward" if abs(yaw) < CLEARLY_TURNED else f"head turned {'right' if yaw > 0 else 'left'}"
        )
        sentences.append(
            f"a portrait of {EXPRESSION_WORDS[style['expression']]} person with {hair}, {style['accessory']} "
            f"and {article} {style['clothes_color']} {style['clothes']}, {turn}, "
            f"{style['background']} background"
        )
    return sentences


def people_of(split: str, seed: int) -> range:
    """Ids of the people in a set; up to 100 seeds show different ones."""
    start = PEOPLE[split].start + seed % 100 * PEOPLE_PER_SET[split]
    return range(start, start + PEOPLE_PER_SET[split])


def draw_set(split: str, size: int, count: int, seed: int) -> ImageSet:
    """The first `count` portraits of a split: styles uniform over the 4,032, people of this split only.

    labels: the expression.  Deterministic in its arguments; image n does not depend on `count`.
    """
    if split not in PEOPLE:
        raise InputError(f"split {split!r} of avatars: there are {', '.join(PEOPLE)}")
    people = people_of(split, seed)
    attributes = draw_in_chunks(
        "avatars", split, count, seed, lambda chunk, generator: sample_attributes(chunk, generator, people)
    )
    return ImageSet(
        draw(attributes, size),
        "avatars",
        split,
        f"drawn by common/data/avatars.py, version {VERSION}, seed {seed}",
        labels=attributes["expression"],
        class_names=EXPRESSIONS,
        attributes=attributes,
        options=CHOICES,
        captions=tuple(caption(attributes)),
    )
