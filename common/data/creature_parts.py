"""The parts of a pixel monster: where its cells are, for B creatures at once.

A creature lives on GRID x GRID cells.  x runs from -16 to 16 with 0 in its middle, y downwards from 0 to 32;
a part is a shape of signed_distance.py asked at the middles of the cells.  Parts are asked at |x|, which
mirrors them; only the tail is asked at x itself.  `Sprite` keeps one palette index per cell and paints a
part with a dark rim and three tones, lit from the top left.
"""

from __future__ import annotations

from collections.abc import Callable

from common.data.signed_distance import (
    Shape,
    bezier,
    circle,
    column,
    ellipse,
    polygon,
    rounded_box,
    segment,
    smooth_union,
    union,
)

import torch
from torch import Tensor
from torch.nn.functional import pad

GRID = 32
PAPER, RIM, BODY, ACCENT, PALE, WHITE, BLACK, MOUTH, TONGUE = 0, 1, 2, 5, 8, 11, 12, 13, 14
"""Palette indices; BODY, ACCENT and PALE begin ramps of three: shadow, middle, light."""
COLORS = 15

Uniform = Callable[[float, float], Tensor]
"""low, high -> (B,) uniform random numbers."""

OPTIONS = {
    "body": ("round", "tall", "wide", "pear", "big head", "mushroom", "ghost"),
    "head": ("bare", "cat ears", "long ears", "horns", "antennae", "crest", "sprout"),
    "eyes": ("one", "two", "three"),
    "look": ("round", "sleepy", "angry", "buttons"),
    "mouth": ("smile", "open", "fangs", "grin", "beak", "small"),
    "legs": ("none", "feet", "legs", "four legs", "tentacles", "claws"),
    "arms": ("none", "hanging", "raised", "bat wings", "feathers", "fins"),
    "tail": ("none", "devil", "bushy", "curled"),
    "pattern": ("plain", "spots", "stripes", "patches"),
    "belly": ("none", "oval"),
}

MEASURES = torch.tensor(
    [  # in cells: y of the head from the lifted ground, rx and ry of the head, rx and ry of the torso
        [-10.0, 9.0, 8.5, 9.0, 8.0],  # round
        [-13.0, 7.0, 8.5, 7.4, 8.0],  # tall
        [-8.0, 11.0, 7.0, 11.5, 6.5],  # wide
        [-14.5, 6.6, 6.0, 9.5, 7.2],  # pear
        [-13.0, 9.5, 7.6, 5.6, 5.0],  # big head
        [-13.5, 11.5, 6.0, 6.2, 6.0],  # mushroom
        [-12.0, 8.6, 8.5, 8.8, 6.5],  # ghost
    ]
)
LIFT = torch.tensor([1.0, 2.0, 4.0, 4.0, 5.0, 2.0])
"""How far each of the options of `legs` holds the body over the ground."""


BLUR = torch.ones(GRID, GRID).tril(3).triu(-3) @ torch.ones(GRID, GRID).tril(3).triu(-3)
"""Box sums over seven cells, twice."""
SLOPE = pad(BLUR, (0, 0, 0, 2))[1:-1] - pad(BLUR, (0, 0, 2, 0))[1:-1]
"""Differences of the blurred values of the next cell and the one before."""


class Sprite:
    """Palette indices (B, GRID, GRID) of B creatures being painted from back to front."""

    def __init__(self, choices: dict[str, Tensor]):
        self.choices = choices
        self.cells = torch.zeros(len(choices["body"]), GRID, GRID, dtype=torch.int64)
        middles = torch.arange(GRID) + 0.5
        self.x, self.y = (middles - GRID / 2).view(1, 1, -1), middles.view(1, -1, 1)

    def has(self, name: str, option: str) -> Tensor:
        """bool (B, 1, 1): whether a creature has this option."""
        return (self.choices[name] == OPTIONS[name].index(option)).view(-1, 1, 1)

    def region(self, shape: Shape, mirrored: bool = True) -> Tensor:
        """bool (B or 1, GRID, GRID): cells whose middle lies in the shape."""
        return shape.distance(self.x.abs() if mirrored else self.x, self.y) < 0

    def choose(self, name: str, regions: dict[str, Shape | Tensor]) -> Tensor:
        """bool (B, GRID, GRID): the region of the option a creature has, nothing where it is not listed."""
        chosen = torch.zeros_like(self.cells, dtype=torch.bool)
        for option, where in regions.items():
            region = where if isinstance(where, Tensor) else self.region(where)
            chosen |= region & self.has(name, option)
        return chosen

    def paint(self, region: Tensor, ramp: int) -> None:
        """A part with its rim and three tones of light from the top left."""
        self.fill(region, ramp + 1 + shade(region))
        self.fill(region & ~eroded(region), RIM)

    def fill(self, region: Tensor, color: Tensor | int) -> None:
        self.cells = torch.where(region, color, self.cells)


def eroded(region: Tensor) -> Tensor:
    """The cells of a region whose four neighbours belong to it too."""
    around = pad(region, (1, 1, 1, 1))
    vertical = around[:, :-2, 1:-1] & around[:, 2:, 1:-1]
    return region & vertical & around[:, 1:-1, :-2] & around[:, 1:-1, 2:]


def shade(region: Tensor) -> Tensor:
    """int64 -1, 0, 1 for shadow, middle and light: the region, blurred, as a relief lit from the top left.

    All numbers are whole and small enough for float32, so the sums are exact on every machine.
    """
    relief = region.float()
    across, down = BLUR @ relief @ SLOPE.T, SLOPE @ relief @ BLUR.T
    light = 3 * across + 4 * down
    return (light > 1200.5).long() - (light < -960.5).long()


class Frame:
    """The measures of B bodies, each (B,), that the other parts hang on."""

    def __init__(self, choices: dict[str, Tensor], uniform: Uniform):
        measures = MEASURES[choices["body"]] * torch.stack([uniform(0.9, 1.08) for _ in range(5)], 1)
        lift = LIFT[choices["legs"]]
        self.ground = torch.full_like(lift, 30.0)
        self.head_y, self.head_rx, self.head_ry = measures[:, 0] + 30 - lift, measures[:, 1], measures[:, 2]
        self.torso_rx, self.torso_ry = measures[:, 3], measures[:, 4]
        self.bottom = self.ground - lift
        self.torso_y = self.bottom - self.torso_ry
        self.top = self.head_y - self.head_ry
        self.wave = uniform(0.5, 1.1), uniform(0.0, 6.3), uniform(0.0, 6.3)

    def body(self, sprite: Sprite) -> Tensor:
        """Head and torso grown together, their edge gently waved; a ghost has a hem instead of a bottom."""
        head = ellipse((0.0, self.head_y), (self.head_rx, self.head_ry))
        torso = ellipse((0.0, self.torso_y), (self.torso_rx, self.torso_ry))
        x, y = sprite.x.abs(), sprite.y
        height, phase_x, phase_y = (column(value) for value in self.wave)
        wave = height * (0.5 * x + phase_x).sin() * (0.55 * y + phase_y).sin()
        plain = smooth_union(head, torso, 3.0).distance(x, y) + wave < 0
        hem = column(self.bottom - 0.5) + 1.3 * (1.3 * x).cos()
        sheet = rounded_box((0.0, self.torso_y + 2), (self.torso_rx, self.torso_ry + 2), 3.0)
        ghost = sprite.region(head | sheet) & (y < hem)
        return torch.where(sprite.has("body", "ghost"), ghost, plain)


def arms(sprite: Sprite, frame: Frame, uniform: Uniform) -> None:
    """Behind the body: arms in its own colour, wings and fins in the second one."""
    x, y = frame.torso_rx, frame.torso_y - 0.35 * frame.torso_ry
    reach = uniform(2.2, 3.6)
    wide = torch.maximum(uniform(11.5, 15.0), x + 4).clamp(max=15.4)
    middle, half = (x + wide) / 2, (wide - x) / 2
    hanging = segment((x - 2, y), (x + reach - 0.5, y + 5), 1.9)
    raised = segment(
        (x - 2, y + 2), (torch.maximum(x + reach, frame.head_rx + 1.5).clamp(max=14), y - 4), 1.9
    )
    outer = [(wide, y - 8), (wide - 0.8, y - 3), (wide, y + 3.5), (wide - 3, y + 1.8)]
    bat = polygon([(x - 4, y + 2), (x - 1, y - 5), *outer, (x, y + 5)])
    feathers = union(
        ellipse((middle, y - 3.5), (half + 2, 2.3), -0.55),
        ellipse((middle - 0.6, y), (half + 1.6, 2.2), -0.15),
        ellipse((middle - 1.2, y + 3), (half + 1, 2.0), 0.25),
    )
    fins = polygon([(x - 2, y - 1.5), (x + reach + 1.5, y + 0.5), (x + reach, y + 5), (x - 2, y + 4)])
    sprite.paint(sprite.choose("arms", {"hanging": hanging, "raised": raised}), BODY)
    sprite.paint(sprite.choose("arms", {"bat wings": bat, "fins": fins}), ACCENT)
    sprite.paint(sprite.choose("arms", {"feathers": feathers}), PALE)


def tails(sprite: Sprite, frame: Frame, uniform: Uniform) -> None:
    """Behind the body, to the right: the one part that is not mirrored."""
    y = frame.torso_y + 0.3 * frame.torso_ry
    root = frame.torso_rx - 2
    tip = torch.maximum(14.0 - uniform(0.0, 1.0), frame.torso_rx + 2.5).clamp(max=15.2)
    rise = uniform(6.0, 10.0)
    stem = bezier((root, y + 1), (tip + 1, y + 3), (tip - 1, y - rise + 3), 1.1)
    head = polygon([(tip - 3.5, y - rise + 4), (tip - 0.5, y - rise - 2), (tip + 1.8, y - rise + 4.5)])
    bush = smooth_union(ellipse((tip - 2.2, y - 3), (3.4, 5.2), 0.3), circle((root + 2, y + 1), 2.2), 2.0)
    ring = segment((root, y + 2), (tip - 3.0, y + 1), 1.4) | circle((tip - 2.4, y - 1), 2.9)
    curl = ring - circle((tip - 2.4, y - 1), 0.8)
    region = lambda shape: sprite.region(shape, mirrored=False)
    sprite.paint(
        sprite.choose("tail", {"devil": region(stem), "bushy": region(bush), "curled": region(curl)}), BODY
    )
    sprite.paint(sprite.choose("tail", {"devil": region(head)}), ACCENT)


def legs(sprite: Sprite, frame: Frame, uniform: Uniform) -> None:
    """Behind the body, standing on the ground."""
    base, ground = frame.torso_y + 0.3 * frame.torso_ry, frame.ground
    apart = frame.torso_rx * uniform(0.4, 0.6)
    thick = uniform(1.6, 2.3)
    foot = ellipse((apart + 0.8, ground - 1.6), (3.4, 2.6))
    two = segment((apart, base), (apart, ground - 2), thick) | ellipse(
        (apart + 0.7, ground - 1.2), (2.9, 1.9)
    )
    outer = frame.torso_rx * uniform(0.72, 0.86)
    four = segment((outer, base), (outer, ground - 1.8), 1.8) | segment((2.4, base), (2.4, ground - 1.2), 1.8)
    arm = lambda at, length: segment((at * 0.7, base), (at, ground - length), 2.0, 1.3)
    tentacles = union(
        *(arm(frame.torso_rx * at, length) for at, length in ((0.22, 0.8), (0.62, 1.2), (1, 2.2)))
    )
    claw = ellipse((apart + 0.8, ground - 2), (3.6, 2.6))
    sprite.paint(sprite.choose("legs", {"legs": two, "four legs": four, "tentacles": tentacles}), BODY)
    sprite.paint(sprite.choose("legs", {"feet": foot, "claws": claw}), ACCENT)
    nails = union(*(circle(((apart + 0.8).round() + at, ground - 1.2), 1.0) for at in (-2.0, 0.5, 3.0)))
    sprite.fill(sprite.choose("legs", {"claws": sprite.region(nails) & eroded(sprite.region(claw))}), WHITE)


def head_dress(sprite: Sprite, frame: Frame, uniform: Uniform) -> None:
    """Ears, horns and what else grows on a head, behind it."""
    top, x = frame.top, frame.head_rx * uniform(0.5, 0.62)
    tall = torch.minimum(uniform(4.0, 6.5), top - 0.5)
    long = torch.minimum(tall + 2.0, top - 0.4)
    tip = top - tall
    cat = polygon([(x - 3.2, top + 3), (x + 1.5, tip), (x + 3.6, top + 5.5)])
    cat_lining = polygon([(x - 0.8, top + 3), (x + 1.4, tip + 3.4), (x + 2.0, top + 5)])
    rabbit = ellipse((x - 0.2, top - long / 2 + 1.5), (2.3, long / 2 + 2), 0.2)
    rabbit_lining = ellipse((x - 0.1, top - long / 2 + 1.8), (0.9, long / 2), 0.2)
    horn = bezier((x - 1, top + 2.5), (x + 3.2, top + 1), (x + 2.6, tip + 1), 2.1, 0.7)
    feeler = bezier((1.5, top + 2), (2.0, tip + 1), (x + 1.5, tip + 1.8), 0.8)
    ball = circle((x + 1.5, tip + 1.8), 1.9)
    crest = union(
        polygon([(-3.0, top + 2), (0.0, tip), (3.0, top + 2)]),
        polygon([(1.0, top + 2), (4.0, tip + 2.2), (5.6, top + 3)]),
    )
    stalk = segment((0.0, top + 2), (0.0, tip + 2.5), 1.0)
    leaf = ellipse((2.9, tip + 2), (3.1, 1.7), -0.4)
    sprite.paint(sprite.choose("head", {"cat ears": cat, "long ears": rabbit}), BODY)
    sprite.fill(sprite.choose("head", {"cat ears": cat_lining, "long ears": rabbit_lining}), ACCENT + 1)
    sprite.paint(sprite.choose("head", {"horns": horn}), PALE)
    sprite.fill(sprite.choose("head", {"antennae": feeler, "sprout": stalk}), RIM)
    sprite.paint(sprite.choose("head", {"antennae": ball, "crest": crest, "sprout": leaf}), ACCENT)
