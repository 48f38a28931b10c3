"""Captions of avatars that vary: true to their attributes, in other words and another order every time."""

import re

from common.data import avatar_captions, avatars
from common.data.avatar_captions import SYNONYMS, WORDS, varied, words_in

import pytest
import torch

N = 2000
TURN = r"(head turned|looking|facing) (?:to the )?(left|right|forward|straight)"


@pytest.fixture(scope="module")
def attributes():
    return avatars.sample_attributes(N, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def captions(attributes):
    return varied(attributes, 0)


def said(text: str, phrases: tuple[str, ...]) -> bool:
    """Whether the text holds one of the phrases, as whole words."""
    return any(re.search(rf"\b{re.escape(phrase)}\b", text) for phrase in phrases)


@pytest.mark.parametrize("name", ["expression", "accessory", "clothes", "background"])
def test_what_is_told_is_the_portraits_own_and_what_is_not_is_not_said(name, attributes, captions):
    options = list(SYNONYMS[name].values())
    for i, text in enumerate(captions.texts):
        own = int(attributes[name][i])
        heard = {number for number, phrases in enumerate(options) if said(text, phrases)}
        assert heard == ({own} if captions.told[name][i] else set()), text


def test_hair_and_its_colour_are_said_together(attributes, captions):
    hair, colors = list(SYNONYMS["hair"].values()), list(SYNONYMS["hair_color"].values())
    assert torch.equal(captions.told["hair"], captions.told["hair_color"])
    for i, text in enumerate(captions.texts):
        phrases = {form.format(color=color) for form in hair[attributes["hair"][i]]
                   for color in colors[attributes["hair_color"][i]]}  # fmt: skip
        assert any(phrase in text for phrase in phrases) == bool(captions.told["hair"][i]), text


def test_clothes_have_their_colour_and_the_head_its_turn(attributes, captions):
    kinds, colors = list(SYNONYMS["clothes"].values()), list(SYNONYMS["clothes_color"].values())
    assert torch.equal(captions.told["clothes"], captions.told["clothes_color"])
    turns = 0
    for i, text in enumerate(captions.texts):
        phrases = {f"{color} {kind}" for kind in kinds[attributes["clothes"][i]]
                   for color in colors[attributes["clothes_color"][i]]}  # fmt: skip
        assert any(phrase in text for phrase in phrases) == bool(captions.told["clothes"][i]), text
        if found := re.search(TURN, text):
            yaw, turns = attributes["yaw"][i], turns + 1
            side = "straight" if yaw.abs() < avatars.CLEARLY_TURNED else "right" if yaw > 0 else "left"
            assert found[2] == side or (side == "straight" and found[2] == "forward"), (text, yaw)
    assert 0.7 * N < turns < 0.9 * N


def test_parts_are_left_out_as_often_as_is_said(captions):
    wanted = 1 - sum(avatar_captions.OMISSIONS) / len(avatar_captions.OMISSIONS)
    for name, told in captions.told.items():
        assert told.double().mean().item() == pytest.approx(wanted, abs=0.03), name
    everything = torch.stack(list(captions.told.values())).all(0)
    assert everything.double().mean().item() > 0.5


def test_the_order_varies_and_every_synonym_is_used(captions):
    together = " | ".join(captions.texts)
    for name, options in SYNONYMS.items():
        for phrases in options.values():
            assert all(said(together, (form.format(color=""),)) for form in phrases if "{" not in form), name
    for form in ("long {} waves", "short {} curls", "no hair, {} eyebrows", "{} hair in a bun"):
        assert re.search(form.format(r"[a-z ]+"), together), form
    places = [text.index("background") > text.index("glasses") for text in captions.texts
              if "background" in text and "glasses" in text]  # fmt: skip
    assert 0.4 < sum(places) / len(places) < 0.6


def test_a_seed_gives_the_same_captions_and_another_one_others(attributes, captions):
    assert varied(attributes, 0).texts == captions.texts
    others = varied(attributes, 1).texts
    assert sum(one == other for one, other in zip(others, captions.texts)) < 0.05 * N
    assert len(set(captions.texts)) > 0.95 * N


def test_the_words_are_those_of_captions_and_no_more(attributes, captions):
    texts = [*captions.texts, *varied(attributes, 1).texts, *avatars.caption(attributes)]
    assert {word for text in texts for word in words_in(text)} == set(WORDS)
    assert not any("  " in text or " ," in text or text != text.strip() for text in texts)
    assert not any(re.search(r"\ba [aeiou]|\ban [^aeiou]", text) for text in captions.texts)


def test_words_are_told_apart_as_clip_does():
    assert words_in("A V-neck tee, 2 hats!") == ["a", "v", "-", "neck", "tee", ",", "2", "hats", "!"]
