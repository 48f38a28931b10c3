"""What is measured of images by prompt: what was asked is shown, who is shown, and what became of the class.

asked("a sad sks person, green hoodie")     # {"expression": 3, "clothes": 0, "clothes_color": 3}
obeyed(seen(images), prompts)               # share of what was asked that is shown
Recognition(net, subject).first(images)     # share of images recognised as the subject, first among 100
drift(seen(before), seen(after))            # distance of two distributions of attributes
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from common.data import ImageSet, avatars
from common.data.avatar_captions import SYNONYMS, words_in
from common.metrics import extractors, identity

import torch
from torch import Tensor

OTHERS = 99
"""Persons besides the subject among whom it is to be recognised."""
PICTURES = 16
"""Drawings by which the identity network knows each of them."""


# ---- what a prompt asks


def asked(prompt: str) -> dict[str, int]:
    """Options of the avatars' attributes that a prompt names, by their numbers; what it leaves open is left
    out."""
    text = f" {' '.join(words_in(prompt))} "
    found = {}
    for name, phrase, options in _phrases():
        if f" {' '.join(words_in(phrase))} " in text and name not in found:
            found[name] = options
    return {name: option for options in found.values() for name, option in options.items()}


def _phrases():
    """(what, phrase, {attribute: option}), longer phrases first: "short red waves" before "red waves"."""
    numbers = {name: {option: i for i, option in enumerate(avatars.CHOICES[name])} for name in SYNONYMS}
    words = lambda name: [
        (said, numbers[name][option]) for option, ways in SYNONYMS[name].items() for said in ways
    ]
    found = [("expression", said, {"expression": i}) for said, i in words("expression")]
    found += [("accessory", said, {"accessory": i}) for said, i in words("accessory")]
    found += [("background", f"{said} background", {"background": i}) for said, i in words("background")]
    for (color, c), (said, i) in product(words("hair_color"), words("hair")):
        found.append(("hair", said.format(color=color), {"hair": i, "hair_color": c}))
    for (color, c), (said, i) in product(words("clothes_color"), words("clothes")):
        found.append(("clothes", f"{color} {said}", {"clothes": i, "clothes_color": c}))
    return sorted(found, key=lambda each: -len(each[1]))


# ---- what an image shows


def seen(images: Tensor) -> dict[str, Tensor]:
    """int64 (N,) for each attribute of avatars, uint8 (N, 3, 64, 64): by the shipped classifier, which reads
    all but the background, and by the colour of the upper corners."""
    classifier = extractors.load_extractor("avatars")
    sized = torch.nn.functional.interpolate(
        images.float(), classifier.shape[1:], mode="bilinear", antialias=True, align_corners=False
    )
    found = extractors.predictions_of(sized.round().clamp(0, 255).byte(), classifier)
    return found | {"background": background(images)}


def background(images: Tensor) -> Tensor:
    """int64 (N,): the background whose colour is nearest to that of the upper corners."""
    height, width = (side // 10 + 1 for side in images.shape[-2:])
    corners = torch.cat([images[:, :, :height, :width], images[:, :, :height, -width:]], 3)
    color = corners.float().mean((2, 3))  # (N, 3)
    tops = torch.tensor(avatars.GRADIENTS, dtype=torch.float32)[:, 0]  # (K, 3)
    return torch.cdist(color, tops).argmin(1)


def obeyed(found: dict[str, Tensor], prompts: Sequence[str]) -> float:
    """Mean over all attributes that the prompts ask for: the share of images that show them, in [0, 1]."""
    # task hw4.e: the share of what was asked that is shown
    wanted = [(i, *each) for i, prompt in enumerate(prompts) for each in asked(prompt).items()]
    right = [found[name][i] == option for i, name, option in wanted]
    return torch.stack(right).double().mean().item() if right else float("nan")
    # end task


def drift(before: dict[str, Tensor], after: dict[str, Tensor]) -> float:
    """Mean over attributes of the total variation distance between their distributions, in [0, 1].

    Half the sum of |p - q| over the options: 0.1 says that a tenth of the images show another option."""
    # task hw4.e: how far the class drifted
    distances = []
    for name, values in before.items():
        count = len(avatars.CHOICES[name])
        shares = [torch.bincount(x, minlength=count).double() / len(x) for x in (values, after[name])]
        distances.append((shares[0] - shares[1]).abs().sum() / 2)
    return torch.stack(distances).mean().item()
    # end task


class Recognition:
    """Whether images show the subject: by a network of identities, among other persons."""

    def __init__(self, net: identity.Identity, subject: ImageSet):
        self.net, self.others = net, None
        if subject.attributes:
            persons = torch.arange(OTHERS + 1) + avatars.PEOPLE["test"].stop - 1000
            persons[0] = subject.attributes["person"][0]
            known = identity.gallery(net, persons, PICTURES)
            self.subject, self.others = known[0], known
        else:
            own = identity.embed(net, subject.images)
            self.subject = torch.nn.functional.normalize(own.mean(0), dim=0)

    def similarity(self, images: Tensor) -> float:
        """Mean cosine to the subject."""
        return identity.similarity(identity.embed(self.net, images), self.subject).mean().item()

    def first(self, images: Tensor) -> float | None:
        """Share of images in which the subject is recognised first among OTHERS + 1 persons; None for
        photographs, where others are not known."""
        if self.others is None:
            return None
        who = identity.nearest(identity.embed(self.net, images), self.others)
        return (who == 0).double().mean().item()
