"""The hair of an avatar: seven styles, each a part behind the head and a part before it.

Lengths as in avatar_face: half widths of the picture, y downwards; colours sRGB (B, 3) in [0, 255].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from common.data.avatar_face import Face, shade, tint
from common.data.canvas import Canvas
from common.data.signed_distance import (
    Shape,
    bezier,
    circle,
    circles,
    ellipse,
    half_plane,
    polyline,
    rounded_box,
    smooth_union,
    union,
)

import torch
from torch import Tensor

LINE = 0.022
"""Width of the outline."""


def paint_hair_behind(head: Canvas, face: Face, hair: str, color: Tensor) -> None:
    """What hangs or stands out behind the head."""
    painters = {
        "long straight": _straight_behind,
        "long wavy": _wavy_behind,
        "long bun": _bun_behind,
        "short curly": _curly_behind,
    }
    if hair in painters:
        painters[hair](head, face, color)


def paint_hair_front(head: Canvas, face: Face, hair: str, color: Tensor) -> None:
    """What lies over the forehead and, when long, over the clothes."""
    painters = {
        "long straight": _straight_front,
        "long wavy": _wavy_front,
        "long bun": _bun_front,
        "short curly": _curly_front,
        "short straight": _short_straight,
        "short wavy": _short_wavy,
    }
    if hair in painters:
        painters[hair](head, face, color)


def _fill(head: Canvas, shape: Shape, color: Tensor) -> None:
    head.paint(shape, color, line=shade(color, 0.5), line_width=LINE)


def _strand(head: Canvas, color: Tensor, *points: tuple, width: float = 0.012, light: bool = False) -> None:
    """A darker line along the hair, or a lighter one."""
    head.paint(bezier(*points, width, 0.3 * width), tint(color, 0.38) if light else shade(color, 0.68))


def _cap(face: Face, thick: float, height: float = 0.5) -> Shape:
    """Hair close to the skull, `thick` beyond it; the back of the head moves against the turn."""
    return ellipse((-0.035 * face.sin, -0.19), (face.half_width + thick, height))


def _window(face: Face, top: float, width: float = 0.9) -> Shape:
    """The part of the face that the hair leaves free, an arch that follows the turn."""
    return ellipse((0.13 * face.sin, 0.1), (face.half_width * width, 0.1 - top))


# --- long straight: blunt fringe, curtain to the chest ---------------------------------------------


def _straight_behind(head: Canvas, face: Face, color: Tensor) -> None:
    back = rounded_box((-0.05 * face.sin, 0.2), (face.half_width + 0.1, 0.66), 0.16)
    _fill(head, union(back, _cap(face, 0.09, 0.55)), shade(color, 0.72))


def _straight_front(head: Canvas, face: Face, color: Tensor) -> None:
    width = face.half_width
    shift = 0.12 * face.sin
    free = rounded_box((shift, 0.25), (width * 0.9, 0.62), 0.09)
    fringe = (_cap(face, 0.085, 0.55) - half_plane((0.0, 0.02))) - free
    locks = []
    for side in (-1, 1):
        x = side * (width + 0.05) + 0.03 * face.sin
        locks.append(
            bezier(
                (x - side * 0.02, -0.2),
                (x + side * 0.03, 0.3),
                (x - side * 0.02, 0.86),
                0.085,
                0.075,
                pieces=4,
            )
        )
    _fill(head, smooth_union(union(*locks), fringe, 0.06), color)
    for side in (-1, 1):
        x = side * (width + 0.05) + 0.03 * face.sin
        _strand(head, color, (x, 0.0), (x + side * 0.02, 0.3), (x, 0.75))
    for i in (-1.5, -0.5, 0.5, 1.5):
        top, low = 0.6 * shift + i * 0.09, shift + i * width * 0.42
        _strand(head, color, (top, -0.6 + 0.02 * abs(i)), (low, -0.53), (low, -0.4))
    _shine(head, face, color, -0.55)


def _shine(head: Canvas, face: Face, color: Tensor, y: float) -> None:
    """A band of light across the crown."""
    shift = 0.07 * face.sin
    left, right = (shift - 0.6 * face.half_width, y + 0.07), (shift + 0.15 * face.half_width, y - 0.01)
    head.paint(
        bezier(left, (shift - 0.3 * face.half_width, y - 0.05), right, 0.03, 0.012), tint(color, 0.4), 0.8
    )


# --- long wavy: parted in the middle, waves over the shoulders -------------------------------------

WAVES = ((-0.3, 0.05), (-0.12, 0.1), (0.06, 0.05), (0.24, 0.13), (0.42, 0.05), (0.6, 0.13), (0.76, 0.06))
"""(y, distance of the middle of a lock from the side of the head) of its bends."""
STRANDS = ((-0.3, 0.0), (-0.11, 0.07), (0.06, -0.01), (0.24, 0.09), (0.42, -0.01), (0.6, 0.09), (0.76, 0.0))
"""The same for the line along a lock."""


def _wavy_behind(head: Canvas, face: Face, color: Tensor) -> None:
    back = ellipse((-0.05 * face.sin, 0.15), (face.half_width + 0.16, 0.62))
    _fill(head, back | _cap(face, 0.12, 0.57), shade(color, 0.72))


def _wavy_front(head: Canvas, face: Face, color: Tensor) -> None:
    width, shift = face.half_width, 0.12 * face.sin
    part = (0.6 * shift + 0.05, -0.72)
    left = ellipse((shift - 0.02, 0.16), (width * 0.92, 0.6), -0.22)
    right = ellipse((shift + 0.12, 0.16), (width * 0.78, 0.6), 0.2)
    crown = (_cap(face, 0.1, 0.56) - half_plane((0.0, 0.0))) - (left | right)
    centres = []
    for side in (-1, 1):
        for y, out in WAVES:
            x = side * (width + out) + 0.02 * face.sin
            centres.append(torch.stack([x, torch.full_like(x, y)], -1))
    _fill(head, smooth_union(circles(torch.stack(centres, 1), 0.112), crown, 0.05), color)
    for side in (-1, 1):
        points = [(side * (width + out) + 0.02 * face.sin, y) for y, out in STRANDS]
        head.paint(polyline(_smooth(_smooth(points)), 0.014), shade(color, 0.66))
        shine = [(px + side * 0.06, py) for px, py in points[:4]]
        head.paint(polyline(_smooth(_smooth(shine)), 0.011), tint(color, 0.35))
    for low, y, bend in ((-0.86, -0.26, -0.62), (-0.5, -0.42, -0.6), (0.78, -0.3, -0.6)):
        _strand(head, color, part, (part[0] + 0.6 * low * width, bend), (shift + low * width, y))
    _shine(head, face, color, -0.6)


def _smooth(points: list[tuple]) -> list[tuple]:
    """One round of Chaikin's corner cutting: a broken line turned into a wavy one."""
    cut = [points[0]]
    for (ax, ay), (bx, by) in pairwise(points):
        cut += [
            (0.75 * ax + 0.25 * bx, 0.75 * ay + 0.25 * by),
            (0.25 * ax + 0.75 * bx, 0.25 * ay + 0.75 * by),
        ]
    return [*cut, points[-1]]


# --- long bun: combed back and tied on top ---------------------------------------------------------


def _bun_behind(head: Canvas, face: Face, color: Tensor) -> None:
    x = -0.1 * face.sin
    _fill(head, circle((x, -0.77), 0.185), color)
    head.paint(circle((x, -0.77), 0.11).hollow(0.012), shade(color, 0.68))
    head.paint(bezier((x - 0.11, -0.8), (x - 0.07, -0.9), (x + 0.02, -0.9), 0.02, 0.01), tint(color, 0.4))


def _bun_front(head: Canvas, face: Face, color: Tensor) -> None:
    width, shift = face.half_width, 0.12 * face.sin
    crown = (_cap(face, 0.05, 0.49) - half_plane((0.0, 0.02))) - ellipse((shift, 0.14), (width * 0.95, 0.56))
    _fill(head, crown, color)
    band = bezier(
        (-0.08 * face.sin - 0.11, -0.645), (-0.08 * face.sin, -0.6), (-0.08 * face.sin + 0.11, -0.645), 0.03
    )
    head.paint(band, (250.0, 244.0, 226.0), line=shade(color, 0.5), line_width=0.016)
    for i in (-2, -1, 0, 1, 2):
        low = shift + i * width * 0.4
        _strand(
            head,
            color,
            (-0.08 * face.sin + 0.03 * i, -0.57),
            (0.5 * low, -0.53),
            (low, -0.42 + 0.035 * i * i),
        )
    for side in (-1, 1):
        x = side * (width + 0.01)
        start, end = (x - side * 0.03 + 0.3 * shift, -0.16), (x + side * 0.045, 0.3)
        loose = bezier(start, (x - side * 0.05, 0.1), end, 0.03, 0.012)
        _fill(head, loose, color)


# --- short styles ----------------------------------------------------------------------------------


def _short_straight(head: Canvas, face: Face, color: Tensor) -> None:
    width, shift = face.half_width, 0.12 * face.sin
    left = ellipse((shift - 0.12, 0.1), (width * 0.9, 0.47), -0.5)
    right = ellipse((shift + 0.12, 0.12), (width * 0.74, 0.56), 0.12)
    free = left | right
    hair = (_cap(face, 0.055, 0.5) - half_plane((0.0, -0.02), 0.0)) - free
    _fill(head, hair, color)
    part = shift + 0.16
    for low, y in ((-0.75, -0.26), (-0.42, -0.4), (-0.1, -0.47)):
        _strand(
            head, color, (part - 0.05, -0.62), (shift + low * width * 0.8, -0.56), (shift + low * width, y)
        )
    _strand(head, color, (part, -0.64), (part + 0.12, -0.56), (shift + 0.85 * width, -0.26))
    _shine(head, face, color, -0.56)


def _short_wavy(head: Canvas, face: Face, color: Tensor) -> None:
    """A swept quiff of large soft waves."""
    width, shift = face.half_width, 0.12 * face.sin
    free = _window(face, -0.4, 0.93)
    cap = (_cap(face, 0.06, 0.5) - half_plane((0.0, 0.0))) - free
    places = (
        (-0.98, -0.36),
        (-0.72, -0.58),
        (-0.28, -0.72),
        (0.22, -0.74),
        (0.68, -0.6),
        (0.98, -0.36),
    )
    top = circles(_centres(face, places, -0.3), 0.155)
    fringe = circles(_centres(face, ((-0.6, -0.46), (-0.15, -0.5), (0.3, -0.47), (0.68, -0.42)), 1.0), 0.125)
    _fill(head, smooth_union(smooth_union(top - free, fringe, 0.06), cap, 0.05), color)
    for start, end in ((-0.8, -0.35), (-0.35, 0.1), (0.1, 0.55), (0.5, 0.95)):
        a, b = shift * 0.5 + start * width, shift + end * width
        middle = (a + b) / 2
        crest, trough = (a + 0.02, -0.68 + 0.1 * start**2), (b, -0.4 + 0.1 * end**2)
        points = [crest, (middle - 0.07, -0.56), (middle + 0.07, -0.52), trough]
        head.paint(polyline(_smooth(points), 0.014), shade(color, 0.66))
        light = [(px - 0.055, py + 0.0) for px, py in points[:3]]
        head.paint(polyline(_smooth(light), 0.011), tint(color, 0.38))


def _centres(face: Face, places: Sequence[tuple[float, float]], follow: float) -> Tensor:
    """(B, K, 2) from (x in half widths of the face, y), moved along with the turn by `follow`."""
    xs = [x * face.half_width + 0.12 * follow * face.sin for x, _ in places]
    return torch.stack([torch.stack([x, torch.full_like(x, y)], -1) for x, (_, y) in zip(xs, places)], 1)


CURLS = ((-1.22, -0.1), (-1.24, -0.3), (-1.1, -0.5), (-0.8, -0.68), (-0.4, -0.79), (0.05, -0.82),
         (0.48, -0.77), (0.86, -0.65), (1.12, -0.46), (1.24, -0.26), (1.2, -0.07))  # fmt: skip
FRINGE_CURLS = ((-0.82, -0.33), (-0.56, -0.44), (-0.2, -0.47), (0.18, -0.47), (0.54, -0.44), (0.82, -0.33))


def _curly_behind(head: Canvas, face: Face, color: Tensor) -> None:
    ring = circles(_centres(face, CURLS, -0.3), 0.135)
    _fill(head, union(ring, _cap(face, 0.1, 0.53) - half_plane((0.0, 0.05))), shade(color, 0.78))


def _curly_front(head: Canvas, face: Face, color: Tensor) -> None:
    width = face.half_width
    inner = [(0.82 * x, 0.9 * y) for x, y in CURLS[1:-1]]
    crown = circles(_centres(face, inner, 0.2), 0.125) | _cap(face, 0.03, 0.47)
    fringe = circles(_centres(face, FRINGE_CURLS, 1.0), 0.09)
    free = _window(face, -0.48, 0.86) | half_plane((0.0, -0.08))
    _fill(head, (crown - free) | fringe, color)
    for x, y in (*((0.86 * x, 0.92 * y) for x, y in CURLS[1:-1]), *FRINGE_CURLS[1::2]):
        cx = x * width + (0.05 if y < -0.47 else 0.1) * face.sin
        curl = bezier((cx - 0.05, y + 0.02), (cx - 0.02, y - 0.075), (cx + 0.05, y + 0.005), 0.014, pieces=5)
        head.paint(curl, shade(color, 0.62))
        head.paint(
            bezier((cx - 0.03, y + 0.045), (cx, y), (cx + 0.035, y + 0.04), 0.011, pieces=4),
            tint(color, 0.32),
        )
